//! SHA-256 by SHA-NI: two rounds an instruction.
//!
//! A round waits for the one before it, so one state leaves the unit idle for half of its time; a second one fills the gaps.

use std::arch::is_x86_feature_detected;
use std::arch::x86_64::{
    __m128i, _mm_add_epi32, _mm_alignr_epi8, _mm_extract_epi32, _mm_set_epi32, _mm_setzero_si128,
    _mm_sha256msg1_epu32, _mm_sha256msg2_epu32, _mm_sha256rnds2_epu32, _mm_shuffle_epi32,
};

use super::{aligned, words};
use crate::constants::{Four, ROUNDS, Rounds};
use crate::{Block, State};

/// Proof that the processor has the instructions.
#[derive(Clone, Copy)]
pub(crate) struct ShaNi {
    /// So does this prove AVX, which all have but some Atoms.
    avx: bool,
}

impl ShaNi {
    /// `None` where the processor or the system lacks one of them.
    pub(crate) fn detect() -> Option<Self> {
        let found = is_x86_feature_detected!("sha")
            && is_x86_feature_detected!("sse4.1")
            && is_x86_feature_detected!("ssse3")
            && is_x86_feature_detected!("sse2");
        let avx = is_x86_feature_detected!("avx");
        found.then_some(Self { avx })
    }

    #[cfg(test)]
    pub(crate) fn without_avx(self) -> Self {
        Self { avx: false }
    }

    pub(crate) fn compress<const N: usize>(self, states: &mut [State; N], blocks: &[Block]) {
        // SAFETY: a `ShaNi` is made by `detect` only, which has found every feature that `compress` is compiled for.
        unsafe { compress(states, blocks) }
    }

    /// Blocks of two messages; what is left of the longer one is taken alone.
    pub(crate) fn compress_both<const N: usize, const M: usize>(
        self,
        one: (&mut [State; N], &[Block]),
        other: (&mut [State; M], &[Block]),
    ) {
        if self.avx {
            // SAFETY: as above; and `detect` has found AVX, too.
            unsafe { compress_both(one, other) }
        } else {
            self.compress(one.0, one.1);
            self.compress(other.0, other.1);
        }
    }
}

#[target_feature(enable = "sha,sse4.1,ssse3,sse2")]
fn compress<const N: usize>(states: &mut [State; N], blocks: &[Block]) {
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

/// Two messages in turn: even with two states of one the unit has time for one of the other. AVX writes results beside their
/// operands, which saves two copies out of three where registers are short, and a tenth of the time.
///
/// Words in variables stay in registers; in an array, with a function that moves them on, they cost a tenth of the speed.
#[target_feature(enable = "avx,sha,sse4.1,ssse3,sse2")]
fn compress_both<const N: usize, const M: usize>(
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

/// Every state in two vectors, as the instructions want them: the letters from the highest lane to the lowest.
#[derive(Clone, Copy)]
struct Lanes<const N: usize> {
    abef: [__m128i; N],
    cdgh: [__m128i; N],
}

impl<const N: usize> Lanes<N> {
    /// Loops and no `array::map`, here and below: where that was not inlined, the vectors stayed in memory through all rounds.
    #[inline]
    #[target_feature(enable = "sha,sse4.1,ssse3,sse2")]
    fn load(states: &[State; N]) -> Self {
        let vector = |[high, second, third, low]: [u32; 4]| {
            let (high, second) = (high.cast_signed(), second.cast_signed());
            _mm_set_epi32(high, second, third.cast_signed(), low.cast_signed())
        };
        let nothing = [_mm_setzero_si128(); N];
        let (mut abef, mut cdgh) = (nothing, nothing);
        for ((abef, cdgh), state) in abef.iter_mut().zip(&mut cdgh).zip(states) {
            let [a, b, c, d, e, f, g, h] = *state;
            (*abef, *cdgh) = (vector([a, b, e, f]), vector([c, d, g, h]));
        }
        Self { abef, cdgh }
    }

    #[inline]
    #[target_feature(enable = "sha,sse4.1,ssse3,sse2")]
    fn store(self, states: &mut [State; N]) {
        let Self { abef, cdgh } = self;
        for ((state, abef), cdgh) in states.iter_mut().zip(abef).zip(cdgh) {
            *state = [
                _mm_extract_epi32::<3>(abef).cast_unsigned(),
                _mm_extract_epi32::<2>(abef).cast_unsigned(),
                _mm_extract_epi32::<3>(cdgh).cast_unsigned(),
                _mm_extract_epi32::<2>(cdgh).cast_unsigned(),
                _mm_extract_epi32::<1>(abef).cast_unsigned(),
                _mm_extract_epi32::<0>(abef).cast_unsigned(),
                _mm_extract_epi32::<1>(cdgh).cast_unsigned(),
                _mm_extract_epi32::<0>(cdgh).cast_unsigned(),
            ];
        }
    }

    /// The states take turns, so that none waits for its own last instruction. The sum is made once for all of them.
    #[inline]
    #[target_feature(enable = "sha,sse4.1,ssse3,sse2")]
    fn four_rounds(&mut self, words: __m128i, constants: &Four) {
        let Self { abef, cdgh } = self;
        let sum = _mm_add_epi32(words, aligned(constants));
        for (abef, cdgh) in abef.iter().zip(cdgh.iter_mut()) {
            *cdgh = _mm_sha256rnds2_epu32(*cdgh, *abef, sum);
        }
        let sum = _mm_shuffle_epi32::<0b00_00_11_10>(sum);
        for (abef, cdgh) in abef.iter_mut().zip(cdgh.iter()) {
            *abef = _mm_sha256rnds2_epu32(*abef, *cdgh, sum);
        }
    }

    #[inline]
    #[target_feature(enable = "sha,sse4.1,ssse3,sse2")]
    fn add(&mut self, before: &Self) {
        for (now, before) in self.abef.iter_mut().zip(before.abef) {
            *now = _mm_add_epi32(*now, before);
        }
        for (now, before) in self.cdgh.iter_mut().zip(before.cdgh) {
            *now = _mm_add_epi32(*now, before);
        }
    }
}

/// Four words of the schedule from the sixteen before them.
#[inline]
#[target_feature(enable = "sha,sse4.1,ssse3,sse2")]
fn next(w0: __m128i, w1: __m128i, w2: __m128i, w3: __m128i) -> __m128i {
    let sum = _mm_add_epi32(_mm_sha256msg1_epu32(w0, w1), _mm_alignr_epi8::<4>(w3, w2));
    _mm_sha256msg2_epu32(sum, w3)
}
