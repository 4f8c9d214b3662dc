//! The instructions themselves.

pub(super) use std::arch::aarch64::{
    uint32x4_t as Vector, vaddq_u32 as add, vsha256h2q_u32 as hash_upper,
    vsha256hq_u32 as hash_lower, vsha256su0q_u32 as schedule_0, vsha256su1q_u32 as schedule_1,
};
use std::arch::aarch64::{vld1q_u8, vld1q_u32, vreinterpretq_u32_u8, vrev32q_u8, vst1q_u32};
use std::arch::is_aarch64_feature_detected;

use super::{Sha2, kernel};
use crate::{Block, State};

pub(super) fn exist() -> bool {
    is_aarch64_feature_detected!("neon") && is_aarch64_feature_detected!("sha2")
}

/// The proof is what makes this function safe to call.
pub(super) fn compress<const N: usize>(_: Sha2, states: &mut [State; N], blocks: &[Block]) {
    // SAFETY: a `Sha2` is made only after `exist` has found every feature that the kernel is compiled for.
    unsafe { kernel::compress(states, blocks) }
}

pub(super) fn compress_both<const N: usize, const M: usize>(
    _: Sha2,
    one: (&mut [State; N], &[Block]),
    other: (&mut [State; M], &[Block]),
) {
    // SAFETY: as above; `compress_both` is compiled for the same features.
    unsafe { kernel::compress_both(one, other) }
}

/// Four words as they lie in memory.
#[inline]
#[target_feature(enable = "neon,sha2")]
pub(super) fn load(words: &[u32; 4]) -> Vector {
    // SAFETY: sixteen readable bytes, aligned as words are.
    unsafe { vld1q_u32(words.as_ptr()) }
}

/// Four words that lie in memory as big-endian bytes.
#[inline]
#[target_feature(enable = "neon,sha2")]
pub(super) fn load_big_endian(bytes: &[u8; 16]) -> Vector {
    // SAFETY: sixteen readable bytes; bytes have no alignment.
    let bytes = unsafe { vld1q_u8(bytes.as_ptr()) };
    vreinterpretq_u32_u8(vrev32q_u8(bytes))
}

#[inline]
#[target_feature(enable = "neon,sha2")]
pub(super) fn store(vector: Vector) -> [u32; 4] {
    let mut words = [0; 4];
    // SAFETY: sixteen writable bytes, aligned as words are.
    unsafe { vst1q_u32(words.as_mut_ptr(), vector) };
    words
}
