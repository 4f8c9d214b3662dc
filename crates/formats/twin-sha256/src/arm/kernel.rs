//! The rounds and the schedule, in terms of the instructions.

use super::instructions::{
    Vector, add, hash_lower, hash_upper, load, load_big_endian, schedule_0, schedule_1, store,
};
use crate::constants::{Four, ROUNDS, Rounds};
use crate::{Block, State};

#[cfg_attr(target_arch = "aarch64", target_feature(enable = "neon,sha2"))]
pub(super) fn compress<const N: usize>(states: &mut [State; N], blocks: &[Block]) {
    let Rounds([first, later @ ..]) = &ROUNDS;
    let mut lanes = Lanes::load(states);
    for block in blocks {
        let before = lanes;
        let [mut w0, mut w1, mut w2, mut w3] = words(block);
        let [k0, k1, k2, k3] = first;
        lanes.four_rounds(w0, k0);
        lanes.four_rounds(w1, k1);
        lanes.four_rounds(w2, k2);
        lanes.four_rounds(w3, k3);
        for [k0, k1, k2, k3] in later {
            w0 = next(w0, w1, w2, w3);
            lanes.four_rounds(w0, k0);
            w1 = next(w1, w2, w3, w0);
            lanes.four_rounds(w1, k1);
            w2 = next(w2, w3, w0, w1);
            lanes.four_rounds(w2, k2);
            w3 = next(w3, w0, w1, w2);
            lanes.four_rounds(w3, k3);
        }
        lanes.add(&before);
    }
    lanes.store(states);
}

/// Two messages in turn. The thirty-two registers hold three states, the saved ones and both schedules.
#[cfg_attr(target_arch = "aarch64", target_feature(enable = "neon,sha2"))]
pub(super) fn compress_both<const N: usize, const M: usize>(
    (states, blocks): (&mut [State; N], &[Block]),
    (other_states, other_blocks): (&mut [State; M], &[Block]),
) {
    let Rounds([first, later @ ..]) = &ROUNDS;
    let common = blocks.len().min(other_blocks.len());
    let (both, rest) = blocks.split_at(common);
    let (other_both, other_rest) = other_blocks.split_at(common);
    let (mut lanes, mut others) = (Lanes::load(states), Lanes::load(other_states));
    for (block, other) in both.iter().zip(other_both) {
        let before = (lanes, others);
        let [mut w0, mut w1, mut w2, mut w3] = words(block);
        let [mut v0, mut v1, mut v2, mut v3] = words(other);
        let mut rounds = |w, v, constants| {
            lanes.four_rounds(w, constants);
            others.four_rounds(v, constants);
        };
        let [k0, k1, k2, k3] = first;
        rounds(w0, v0, k0);
        rounds(w1, v1, k1);
        rounds(w2, v2, k2);
        rounds(w3, v3, k3);
        for [k0, k1, k2, k3] in later {
            (w0, v0) = (next(w0, w1, w2, w3), next(v0, v1, v2, v3));
            rounds(w0, v0, k0);
            (w1, v1) = (next(w1, w2, w3, w0), next(v1, v2, v3, v0));
            rounds(w1, v1, k1);
            (w2, v2) = (next(w2, w3, w0, w1), next(v2, v3, v0, v1));
            rounds(w2, v2, k2);
            (w3, v3) = (next(w3, w0, w1, w2), next(v3, v0, v1, v2));
            rounds(w3, v3, k3);
        }
        lanes.add(&before.0);
        others.add(&before.1);
    }
    lanes.store(states);
    others.store(other_states);
    compress(states, rest);
    compress(other_states, other_rest);
}

/// Every state in two vectors.
#[derive(Clone, Copy)]
struct Lanes<const N: usize> {
    abcd: [Vector; N],
    efgh: [Vector; N],
}

impl<const N: usize> Lanes<N> {
    #[inline]
    #[cfg_attr(target_arch = "aarch64", target_feature(enable = "neon,sha2"))]
    fn load(states: &[State; N]) -> Self {
        let nothing = [load(&[0; 4]); N];
        let (mut abcd, mut efgh) = (nothing, nothing);
        for ((abcd, efgh), state) in abcd.iter_mut().zip(&mut efgh).zip(states) {
            let [a, b, c, d, e, f, g, h] = *state;
            (*abcd, *efgh) = (load(&[a, b, c, d]), load(&[e, f, g, h]));
        }
        Self { abcd, efgh }
    }

    #[inline]
    #[cfg_attr(target_arch = "aarch64", target_feature(enable = "neon,sha2"))]
    fn store(self, states: &mut [State; N]) {
        let Self { abcd, efgh } = self;
        for ((state, abcd), efgh) in states.iter_mut().zip(abcd).zip(efgh) {
            let ([a, b, c, d], [e, f, g, h]) = (store(abcd), store(efgh));
            *state = [a, b, c, d, e, f, g, h];
        }
    }

    /// The states take turns, so that none waits for its own last instruction. The sum is made once for all of them.
    #[inline]
    #[cfg_attr(target_arch = "aarch64", target_feature(enable = "neon,sha2"))]
    fn four_rounds(&mut self, words: Vector, constants: &Four) {
        let Self { abcd, efgh } = self;
        let sum = add(words, load(&constants.0));
        for (abcd, efgh) in abcd.iter_mut().zip(efgh.iter_mut()) {
            let before = *abcd;
            *abcd = hash_lower(before, *efgh, sum);
            *efgh = hash_upper(*efgh, before, sum);
        }
    }

    #[inline]
    #[cfg_attr(target_arch = "aarch64", target_feature(enable = "neon,sha2"))]
    fn add(&mut self, before: &Self) {
        for (now, before) in self.abcd.iter_mut().zip(before.abcd) {
            *now = add(*now, before);
        }
        for (now, before) in self.efgh.iter_mut().zip(before.efgh) {
            *now = add(*now, before);
        }
    }
}

/// Four words of the schedule from the sixteen before them.
#[inline]
#[cfg_attr(target_arch = "aarch64", target_feature(enable = "neon,sha2"))]
fn next(w0: Vector, w1: Vector, w2: Vector, w3: Vector) -> Vector {
    schedule_1(schedule_0(w0, w1), w2, w3)
}

/// A block's sixteen words.
#[inline]
#[cfg_attr(target_arch = "aarch64", target_feature(enable = "neon,sha2"))]
fn words(block: &Block) -> [Vector; 4] {
    let mut words = [load(&[0; 4]); 4];
    for (words, bytes) in words.iter_mut().zip(block.as_chunks::<16>().0) {
        *words = load_big_endian(bytes);
    }
    words
}
