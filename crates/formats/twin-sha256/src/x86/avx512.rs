//! SHA-256 without SHA instructions: one state to a lane.
//!
//! A round is seventeen small operations, and they cost the same for one state as for the four that a vector holds. AVX-512 has
//! what makes it worth while: rotations, and any function of three operands. Narrow vectors do, for wide ones slow the clock of the
//! processors that have no SHA instructions.
//!
//! The words of two messages lie in turns, so that even lanes take one of them and odd lanes the other.

use std::arch::is_x86_feature_detected;
use std::arch::x86_64::{
    __m128i, _mm_add_epi32, _mm_alignr_epi8, _mm_extract_epi32, _mm_move_epi64, _mm_ror_epi32,
    _mm_set_epi32, _mm_setzero_si128, _mm_shuffle_epi32, _mm_srli_epi32, _mm_ternarylogic_epi32,
    _mm_unpackhi_epi32, _mm_unpackhi_epi64, _mm_unpacklo_epi32, _mm_unpacklo_epi64,
};

use super::{aligned, words};
use crate::constants::{Four, ROUNDS, Rounds};
use crate::{Block, State};

/// Proof that the processor has the instructions.
#[derive(Clone, Copy)]
pub(crate) struct Avx512(());

impl Avx512 {
    /// `None` where the processor or the system lacks one of them.
    pub(crate) fn detect() -> Option<Self> {
        let found = is_x86_feature_detected!("avx512f")
            && is_x86_feature_detected!("avx512vl")
            && is_x86_feature_detected!("avx2");
        found.then_some(Self(()))
    }

    pub(crate) fn compress<const N: usize>(self, states: &mut [State; N], blocks: &[Block]) {
        // SAFETY: an `Avx512` is made by `detect` only, which has found every feature that `compress` is compiled for.
        unsafe { compress(states, blocks) }
    }

    /// Blocks of two messages; what is left of the longer one is taken alone.
    pub(crate) fn compress_both<const N: usize, const M: usize>(
        self,
        one: (&mut [State; N], &[Block]),
        other: (&mut [State; M], &[Block]),
    ) {
        // SAFETY: as above; `compress_both` is compiled for the same features.
        unsafe { compress_both(one, other) }
    }
}

#[target_feature(enable = "avx512f,avx512vl,avx2")]
fn compress<const N: usize>(states: &mut [State; N], blocks: &[Block]) {
    let mut lanes = load(states, &[]);
    take::<false>(&mut lanes, blocks, blocks);
    store(lanes, states, &mut []);
}

#[target_feature(enable = "avx512f,avx512vl,avx2")]
fn compress_both<const N: usize, const M: usize>(
    (states, blocks): (&mut [State; N], &[Block]),
    (other_states, other_blocks): (&mut [State; M], &[Block]),
) {
    let common = blocks.len().min(other_blocks.len());
    let (both, rest) = blocks.split_at(common);
    let (other_both, other_rest) = other_blocks.split_at(common);
    let mut lanes = load(states, other_states);
    take::<true>(&mut lanes, both, other_both);
    store(lanes, states, other_states);
    compress(states, rest);
    compress(other_states, other_rest);
}

/// A state's eight words, of every state.
type Lanes = [__m128i; 8];

#[inline]
#[target_feature(enable = "avx512f,avx512vl,avx2")]
fn load<const N: usize, const M: usize>(even: &[State; N], odd: &[State; M]) -> Lanes {
    let ([a, c], [b, d]) = (pair(even), pair(odd));
    let mut lanes = [_mm_setzero_si128(); 8];
    for (lanes, (((a, b), c), d)) in lanes.iter_mut().zip(a.iter().zip(b).zip(c).zip(d)) {
        *lanes = _mm_set_epi32(d, c, b, *a);
    }
    lanes
}

/// Room for two, of which there may be less.
fn pair<const N: usize>(states: &[State; N]) -> [[i32; 8]; 2] {
    const { assert!(N <= 2, "of four lanes each message has two") };
    let mut pair = [[0; 8]; 2];
    for (to, from) in pair.iter_mut().zip(states) {
        *to = from.map(u32::cast_signed);
    }
    pair
}

#[inline]
#[target_feature(enable = "avx512f,avx512vl,avx2")]
fn store<const N: usize, const M: usize>(
    lanes: Lanes,
    even: &mut [State; N],
    odd: &mut [State; M],
) {
    let evens = [
        lanes.map(|lanes| _mm_extract_epi32::<0>(lanes).cast_unsigned()),
        lanes.map(|lanes| _mm_extract_epi32::<2>(lanes).cast_unsigned()),
    ];
    let odds = [
        lanes.map(|lanes| _mm_extract_epi32::<1>(lanes).cast_unsigned()),
        lanes.map(|lanes| _mm_extract_epi32::<3>(lanes).cast_unsigned()),
    ];
    let even = even.iter_mut().zip(evens);
    for (to, from) in even.chain(odd.iter_mut().zip(odds)) {
        *to = from;
    }
}

/// Without `BOTH` the odd lanes have no state, and `others` is not read.
#[target_feature(enable = "avx512f,avx512vl,avx2")]
fn take<const BOTH: bool>(lanes: &mut Lanes, blocks: &[Block], others: &[Block]) {
    let Rounds([first, later @ ..]) = &ROUNDS;
    let mut now = *lanes;
    for (block, other) in blocks.iter().zip(others) {
        let before = now;
        let [mut w0, mut w1, mut w2, mut w3] = words(block);
        let [mut v0, mut v1, mut v2, mut v3] = if BOTH { words(other) } else { [w0, w1, w2, w3] };
        let mut rounds = |w, v, constants| now = four_rounds(now, w, v, constants);
        let next_of_other = |w, v0, v1, v2, v3| if BOTH { next(v0, v1, v2, v3) } else { w };
        let [k0, k1, k2, k3] = first;
        rounds(w0, v0, k0);
        rounds(w1, v1, k1);
        rounds(w2, v2, k2);
        rounds(w3, v3, k3);
        for [k0, k1, k2, k3] in later {
            w0 = next(w0, w1, w2, w3);
            v0 = next_of_other(w0, v0, v1, v2, v3);
            rounds(w0, v0, k0);
            w1 = next(w1, w2, w3, w0);
            v1 = next_of_other(w1, v1, v2, v3, v0);
            rounds(w1, v1, k1);
            w2 = next(w2, w3, w0, w1);
            v2 = next_of_other(w2, v2, v3, v0, v1);
            rounds(w2, v2, k2);
            w3 = next(w3, w0, w1, w2);
            v3 = next_of_other(w3, v3, v0, v1, v2);
            rounds(w3, v3, k3);
        }
        for (now, before) in now.iter_mut().zip(before) {
            *now = _mm_add_epi32(*now, before);
        }
    }
    *lanes = now;
}

#[inline]
#[target_feature(enable = "avx512f,avx512vl,avx2")]
fn four_rounds(lanes: Lanes, w: __m128i, v: __m128i, constants: &Four) -> Lanes {
    let constants = aligned(constants);
    let (w, v) = (_mm_add_epi32(w, constants), _mm_add_epi32(v, constants));
    let (low, high) = (_mm_unpacklo_epi32(w, v), _mm_unpackhi_epi32(w, v));
    let lanes = round(lanes, _mm_unpacklo_epi64(low, low));
    let lanes = round(lanes, _mm_unpackhi_epi64(low, low));
    let lanes = round(lanes, _mm_unpacklo_epi64(high, high));
    round(lanes, _mm_unpackhi_epi64(high, high))
}

/// One round; the names are the specification's, and T1 is the sum of `early`, which does not wait for the round before, and `late`.
#[inline]
#[target_feature(enable = "avx512f,avx512vl,avx2")]
fn round(lanes: Lanes, scheduled: __m128i) -> Lanes {
    let [a, b, c, d, e, f, g, h] = lanes;
    let big_sigma_1 = xor(
        _mm_ror_epi32::<6>(e),
        _mm_ror_epi32::<11>(e),
        _mm_ror_epi32::<25>(e),
    );
    let choice = _mm_ternarylogic_epi32::<CHOICE>(e, f, g);
    let early = _mm_add_epi32(h, scheduled);
    let late = _mm_add_epi32(choice, big_sigma_1);
    let big_sigma_0 = xor(
        _mm_ror_epi32::<2>(a),
        _mm_ror_epi32::<13>(a),
        _mm_ror_epi32::<22>(a),
    );
    let t2 = _mm_add_epi32(big_sigma_0, _mm_ternarylogic_epi32::<MAJORITY>(a, b, c));
    let first = _mm_add_epi32(_mm_add_epi32(t2, early), late);
    let fifth = _mm_add_epi32(_mm_add_epi32(d, early), late);
    [first, a, b, c, fifth, e, f, g]
}

/// Four words of the schedule from the sixteen before them. The last two need the first two.
#[inline]
#[target_feature(enable = "avx512f,avx512vl,avx2")]
fn next(w0: __m128i, w1: __m128i, w2: __m128i, w3: __m128i) -> __m128i {
    let w15 = _mm_alignr_epi8::<4>(w1, w0);
    let small_sigma_0 = xor(
        _mm_ror_epi32::<7>(w15),
        _mm_ror_epi32::<18>(w15),
        _mm_srli_epi32::<3>(w15),
    );
    let sum = _mm_add_epi32(w0, _mm_alignr_epi8::<4>(w3, w2));
    let sum = _mm_add_epi32(sum, small_sigma_0);
    let last = _mm_shuffle_epi32::<0b11_10_11_10>(w3);
    let low = _mm_add_epi32(sum, _mm_move_epi64(small_sigma_1(last)));
    let high = _mm_unpacklo_epi64(_mm_setzero_si128(), small_sigma_1(low));
    _mm_add_epi32(low, high)
}

#[inline]
#[target_feature(enable = "avx512f,avx512vl,avx2")]
fn small_sigma_1(words: __m128i) -> __m128i {
    xor(
        _mm_ror_epi32::<17>(words),
        _mm_ror_epi32::<19>(words),
        _mm_srli_epi32::<10>(words),
    )
}

#[inline]
#[target_feature(enable = "avx512f,avx512vl,avx2")]
fn xor(one: __m128i, two: __m128i, three: __m128i) -> __m128i {
    _mm_ternarylogic_epi32::<XOR>(one, two, three)
}

/// What the instruction answers for each of the eight inputs, from 111 down to 000.
const XOR: i32 = 0b1001_0110;
const CHOICE: i32 = 0b1100_1010;
const MAJORITY: i32 = 0b1110_1000;
