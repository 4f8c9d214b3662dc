//! SHA-256 by x86-64's vectors: with SHA instructions, and without them where rotations and logic of three operands are there.

mod avx512;
mod sha_ni;

use std::arch::x86_64::{__m128i, _mm_load_si128, _mm_loadu_si128, _mm_set_epi8, _mm_shuffle_epi8};

use crate::Block;
use crate::constants::Four;

pub(crate) use self::avx512::Avx512;
pub(crate) use self::sha_ni::ShaNi;

/// A block's sixteen words, which are big-endian.
#[inline]
#[target_feature(enable = "ssse3")]
fn words(block: &Block) -> [__m128i; 4] {
    let order = _mm_set_epi8(12, 13, 14, 15, 8, 9, 10, 11, 4, 5, 6, 7, 0, 1, 2, 3);
    let mut words = [order; 4];
    for (words, bytes) in words.iter_mut().zip(block.as_chunks::<16>().0) {
        // SAFETY: `bytes` are sixteen readable bytes, and this load asks for no alignment.
        let bytes = unsafe { _mm_loadu_si128(bytes.as_ptr().cast()) };
        *words = _mm_shuffle_epi8(bytes, order);
    }
    words
}

/// Four of the rounds' constants.
#[inline]
#[target_feature(enable = "sse2")]
fn aligned(Four(constants): &Four) -> __m128i {
    // SAFETY: sixteen readable bytes, the whole of a `Four`, which is aligned to sixteen.
    unsafe { _mm_load_si128(constants.as_ptr().cast()) }
}
