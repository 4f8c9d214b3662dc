//! What the instructions do, word for word from the architecture's manual (SHA256H, SHA256H2, SHA256SU0, SHA256SU1).
//! A vector's first word is its lowest lane.

use super::{Sha2, kernel};
use crate::{Block, State};

pub(super) type Vector = [u32; 4];

pub(super) fn exist() -> bool {
    true
}

pub(super) fn compress<const N: usize>(_: Sha2, states: &mut [State; N], blocks: &[Block]) {
    kernel::compress(states, blocks);
}

pub(super) fn compress_both<const N: usize, const M: usize>(
    _: Sha2,
    one: (&mut [State; N], &[Block]),
    other: (&mut [State; M], &[Block]),
) {
    kernel::compress_both(one, other);
}

pub(super) fn load(words: &[u32; 4]) -> Vector {
    *words
}

pub(super) fn load_big_endian(bytes: &[u8; 16]) -> Vector {
    let mut words = [0; 4];
    for (word, bytes) in words.iter_mut().zip(bytes.as_chunks().0) {
        *word = u32::from_be_bytes(*bytes);
    }
    words
}

pub(super) fn store(vector: Vector) -> [u32; 4] {
    vector
}

pub(super) fn add(one: Vector, other: Vector) -> Vector {
    let mut sum = one;
    for (sum, other) in sum.iter_mut().zip(other) {
        *sum = sum.wrapping_add(other);
    }
    sum
}

pub(super) fn hash_lower(abcd: Vector, efgh: Vector, words: Vector) -> Vector {
    hash(abcd, efgh, words).0
}

pub(super) fn hash_upper(efgh: Vector, abcd: Vector, words: Vector) -> Vector {
    hash(abcd, efgh, words).1
}

/// The manual's `SHA256hash`.
fn hash(mut x: Vector, mut y: Vector, words: Vector) -> (Vector, Vector) {
    for word in words {
        let choose = (y[0] & y[1]) ^ (!y[0] & y[2]);
        let majority = (x[0] & x[1]) | (x[2] & (x[0] | x[1]));
        let t = y[3]
            .wrapping_add(rotations(y[0], [6, 11, 25]))
            .wrapping_add(choose)
            .wrapping_add(word);
        x[3] = x[3].wrapping_add(t);
        y[3] = t
            .wrapping_add(rotations(x[0], [2, 13, 22]))
            .wrapping_add(majority);
        // Both as one value of eight words, rotated by one word upwards.
        (x, y) = ([y[3], x[0], x[1], x[2]], [x[3], y[0], y[1], y[2]]);
    }
    (x, y)
}

pub(super) fn schedule_0(d: Vector, n: Vector) -> Vector {
    let t = [d[1], d[2], d[3], n[0]];
    add(t.map(|word| rotations(word, [7, 18]) ^ (word >> 3)), d)
}

pub(super) fn schedule_1(d: Vector, n: Vector, m: Vector) -> Vector {
    let sigma = |word| rotations(word, [17, 19]) ^ (word >> 10);
    let sum = add(d, [n[1], n[2], n[3], m[0]]);
    let low = [
        sigma(m[2]).wrapping_add(sum[0]),
        sigma(m[3]).wrapping_add(sum[1]),
    ];
    let high = [
        sigma(low[0]).wrapping_add(sum[2]),
        sigma(low[1]).wrapping_add(sum[3]),
    ];
    [low[0], low[1], high[0], high[1]]
}

fn rotations<const N: usize>(word: u32, by: [u32; N]) -> u32 {
    by.into_iter()
        .fold(0, |all, by| all ^ word.rotate_right(by))
}
