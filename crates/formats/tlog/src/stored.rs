//! Where a log keeps its hashes: every complete subtree once, in the order in which it becomes complete.

use std::collections::BTreeMap;

use crate::Hash;

/// The most leaves a tree may hold. Every index of a stored hash then fits a signed 64-bit integer.
pub const MAX_TREE_SIZE: u64 = 1 << 62;

/// A hash together with its place in the store.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct StoredHash {
    /// Its place, as [`stored_hash_index`] counts.
    pub index: u64,
    /// The subtree's hash.
    pub hash: Hash,
}

/// Reads stored hashes; answers exactly one hash per index, in the order asked.
pub trait HashReader {
    /// Why a hash could not be read.
    type Error;

    /// Reads the hashes at `indexes`.
    ///
    /// # Errors
    /// Whatever keeps the store from answering.
    fn read(&self, indexes: &[u64]) -> Result<Vec<Hash>, Self::Error>;
}

/// Fault: whoever filled the store.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("stored hash {0} is missing")]
pub struct MissingHash(pub u64);

impl HashReader for [Hash] {
    type Error = MissingHash;

    fn read(&self, indexes: &[u64]) -> Result<Vec<Hash>, MissingHash> {
        let at = |&index: &u64| {
            usize::try_from(index)
                .ok()
                .and_then(|place| self.get(place))
                .copied()
        };
        indexes
            .iter()
            .map(|index| at(index).ok_or(MissingHash(*index)))
            .collect()
    }
}

impl HashReader for BTreeMap<u64, Hash> {
    type Error = MissingHash;

    fn read(&self, indexes: &[u64]) -> Result<Vec<Hash>, MissingHash> {
        indexes
            .iter()
            .map(|index| self.get(index).copied().ok_or(MissingHash(*index)))
            .collect()
    }
}

/// The place of the `n`-th complete subtree of 2^`level` leaves. A subtree beyond [`MAX_TREE_SIZE`] is
/// said to be at `u64::MAX`, where no store has a hash.
#[must_use]
pub fn stored_hash_index(level: u8, n: u64) -> u64 {
    let end = n
        .checked_add(1)
        .and_then(|after| after.checked_mul(1u64.checked_shl(level.into())?));
    match end {
        // The subtree is complete once its last leaf is there: that leaf's own hash comes first, then
        // one hash for each level up to this one.
        Some(end) if end <= MAX_TREE_SIZE => stored_hash_count(end - 1) + u64::from(level),
        _ => u64::MAX,
    }
}

/// How many hashes a tree of `size` leaves stores, which is the index of the next one.
#[must_use]
pub fn stored_hash_count(size: u64) -> u64 {
    // One for every complete subtree: the sum of size >> k over all k.
    size.saturating_mul(2)
        .saturating_sub(size.count_ones().into())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn stored_hashes_come_in_the_order_in_which_subtrees_complete() {
        let mut expected = 0;
        for leaf in 0..1000u64 {
            assert_eq!(stored_hash_count(leaf), expected);
            for level in 0..=u8::try_from((leaf + 1).trailing_zeros()).unwrap() {
                assert_eq!(stored_hash_index(level, leaf >> level), expected);
                expected += 1;
            }
        }
    }

    #[test]
    fn subtrees_beyond_any_tree_have_no_place() {
        assert_eq!(stored_hash_index(0, MAX_TREE_SIZE), u64::MAX);
        assert_eq!(stored_hash_index(63, 0), u64::MAX);
        assert_eq!(stored_hash_index(255, u64::MAX), u64::MAX);
        assert!(stored_hash_index(62, 0) < i64::MAX as u64);
    }
}
