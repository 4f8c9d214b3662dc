//! Which stored hashes a root or a proof is made of, and how they are folded together.

use crate::{Hash, MAX_TREE_SIZE, node_hash, stored_hash_index};

/// The stored hashes that a root or proof needs. Callers that wait for their store read [`Plan::indexes`]
/// and give the hashes to [`Plan::complete`].
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Plan {
    /// One group per resulting hash; each lists complete subtrees from left to right.
    groups: Vec<Vec<u64>>,
}

/// Why there is no such root or proof.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum PlanError {
    /// Fault: the caller.
    #[error("leaf {index} is not in a tree of {size}")]
    OutsideTree {
        /// The leaf asked for.
        index: u64,
        /// The tree's size.
        size: u64,
    },
    /// Fault: the caller.
    #[error("a tree of {new} leaves cannot extend one of {old}")]
    Shrunk {
        /// The size known before.
        old: u64,
        /// The size said to be newer.
        new: u64,
    },
    /// Fault: the caller.
    #[error("a tree cannot hold {size} leaves")]
    TooLarge {
        /// The size asked for.
        size: u64,
    },
    /// Fault: whoever read the hashes.
    #[error("{given} hashes were given where {wanted} are needed")]
    WrongCount {
        /// How many came.
        given: usize,
        /// How many were asked for.
        wanted: usize,
    },
}

impl Plan {
    /// The root of the tree of `size` leaves: one hash, or none for the empty tree.
    ///
    /// # Errors
    /// When no tree has that size.
    pub fn root(size: u64) -> Result<Self, PlanError> {
        check_size(size)?;
        let groups = if size == 0 {
            Vec::new()
        } else {
            vec![subtrees(0, size)]
        };
        Ok(Self { groups })
    }

    /// The inclusion proof (RFC 6962 section 2.1.1) of leaf `index` in the tree of `size` leaves.
    ///
    /// # Errors
    /// When the leaf is not in that tree.
    pub fn inclusion(index: u64, size: u64) -> Result<Self, PlanError> {
        check_size(size)?;
        if index >= size {
            return Err(PlanError::OutsideTree { index, size });
        }
        let mut groups = descend(size, |split| index < split, |range| range.1 - range.0 == 1).0;
        groups.reverse();
        Ok(Self { groups })
    }

    /// The consistency proof (RFC 6962 section 2.1.2) between the trees of `old` and `new` leaves; empty
    /// when `old` is zero or both are equal.
    ///
    /// # Errors
    /// When `new` is smaller than `old`.
    pub fn consistency(old: u64, new: u64) -> Result<Self, PlanError> {
        check_size(new)?;
        if old > new {
            return Err(PlanError::Shrunk { old, new });
        }
        if old == 0 || old == new {
            return Ok(Self { groups: Vec::new() });
        }
        let (mut groups, rest) = descend(new, |split| old <= split, |range| range.1 == old);
        // The old tree itself needs no hash: its root is what the verifier already holds.
        if rest.0 != 0 {
            groups.push(subtrees(rest.0, rest.1));
        }
        groups.reverse();
        Ok(Self { groups })
    }

    /// The stored hashes to read, in order.
    #[must_use]
    pub fn indexes(&self) -> Vec<u64> {
        self.groups.concat()
    }

    /// Folds the hashes read at [`Plan::indexes`] into the resulting hashes.
    ///
    /// # Errors
    /// When more or fewer hashes came than were asked for.
    pub fn complete(&self, hashes: &[Hash]) -> Result<Vec<Hash>, PlanError> {
        let wanted = self.groups.iter().map(Vec::len).sum();
        if hashes.len() != wanted {
            return Err(PlanError::WrongCount {
                given: hashes.len(),
                wanted,
            });
        }
        let mut rest = hashes;
        let mut folded = Vec::with_capacity(self.groups.len());
        for group in &self.groups {
            let (own, after) = rest.split_at(group.len());
            folded.extend(fold(own));
            rest = after;
        }
        Ok(folded)
    }
}

/// Joins complete subtrees, given from left to right, into the hash of their range.
pub(crate) fn fold(subtrees: &[Hash]) -> Option<Hash> {
    subtrees
        .iter()
        .copied()
        .rev()
        .reduce(|right, left| node_hash(left, right))
}

/// Goes down from the root to the range where `stop` holds; at each split turns left when `left` says so,
/// and collects the siblings passed, topmost first. Answers the range reached too.
fn descend(
    size: u64,
    left: impl Fn(u64) -> bool,
    stop: impl Fn((u64, u64)) -> bool,
) -> (Vec<Vec<u64>>, (u64, u64)) {
    let (mut low, mut high) = (0, size);
    let mut siblings = Vec::new();
    while high - low > 1 && !stop((low, high)) {
        let split = low + (1 << (high - low - 1).ilog2());
        if left(split) {
            siblings.push(subtrees(split, high));
            high = split;
        } else {
            siblings.push(subtrees(low, split));
            low = split;
        }
    }
    (siblings, (low, high))
}

/// The complete subtrees that make up the range, largest first. `low` is a multiple of the largest.
fn subtrees(mut low: u64, high: u64) -> Vec<u64> {
    let mut indexes = Vec::new();
    while low < high {
        let level = (high - low).ilog2();
        // A level is below 63: sizes were checked.
        indexes.push(stored_hash_index(
            u8::try_from(level).unwrap_or(u8::MAX),
            low >> level,
        ));
        low += 1 << level;
    }
    indexes
}

fn check_size(size: u64) -> Result<(), PlanError> {
    if size > MAX_TREE_SIZE {
        Err(PlanError::TooLarge { size })
    } else {
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn impossible_questions_are_refused() {
        assert_eq!(
            Plan::inclusion(3, 3),
            Err(PlanError::OutsideTree { index: 3, size: 3 })
        );
        assert_eq!(
            Plan::inclusion(0, 0),
            Err(PlanError::OutsideTree { index: 0, size: 0 })
        );
        assert_eq!(
            Plan::consistency(4, 3),
            Err(PlanError::Shrunk { old: 4, new: 3 })
        );
        assert_eq!(
            Plan::root(u64::MAX),
            Err(PlanError::TooLarge { size: u64::MAX })
        );
    }

    #[test]
    fn the_largest_tree_can_be_planned() {
        assert!(
            Plan::inclusion(MAX_TREE_SIZE - 1, MAX_TREE_SIZE)
                .unwrap()
                .indexes()
                .len()
                == 62
        );
        assert!(Plan::consistency(1, MAX_TREE_SIZE).unwrap().indexes().len() == 62);
    }

    #[test]
    fn a_wrong_number_of_hashes_is_refused() {
        let plan = Plan::root(3).unwrap();
        assert_eq!(
            plan.complete(&[]),
            Err(PlanError::WrongCount {
                given: 0,
                wanted: 2
            })
        );
    }
}
