//! Verifying proofs against roots that are already trusted (RFC 9162 sections 2.1.3.2 and 2.1.4.2).

use crate::{Hash, MAX_TREE_SIZE, empty_root, node_hash};

/// Why a proof does not hold. Fault: whoever made or changed it, or the roots do not belong together.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum VerifyError {
    /// Fault: whoever named the leaf.
    #[error("leaf {index} is not in a tree of {size}")]
    OutsideTree {
        /// The leaf named.
        index: u64,
        /// The tree's size.
        size: u64,
    },
    /// Fault: the log; a tree never shrinks.
    #[error("a tree of {new} leaves cannot extend one of {old}")]
    Shrunk {
        /// The size known before.
        old: u64,
        /// The size said to be newer.
        new: u64,
    },
    /// Fault: whoever made the proof.
    #[error("the proof has not the length that the tree's size asks for")]
    WrongLength,
    /// Fault: whoever made the proof, or the log is forked.
    #[error("the proof does not lead to the tree's root")]
    WrongRoot,
    /// Fault: whoever made the proof, or the log is forked.
    #[error("the proof does not lead to the older tree's root")]
    WrongOldRoot,
}

/// Checks that `leaf` is leaf number `index` of the tree with this `size` and `root`.
///
/// # Errors
/// When the proof does not show it.
pub fn verify_inclusion(
    proof: &[Hash],
    index: u64,
    size: u64,
    leaf: Hash,
    root: Hash,
) -> Result<(), VerifyError> {
    if index >= size || size > MAX_TREE_SIZE {
        return Err(VerifyError::OutsideTree { index, size });
    }
    let mut path = Path {
        node: index,
        last: size - 1,
    };
    let mut hash = leaf;
    for sibling in proof {
        hash = match path.climb()? {
            Side::Left => node_hash(*sibling, hash),
            Side::Right => node_hash(hash, *sibling),
        };
    }
    path.finished()?;
    if hash == root {
        Ok(())
    } else {
        Err(VerifyError::WrongRoot)
    }
}

/// Checks that the tree of `new` leaves begins with the tree of `old` leaves. An older tree without leaves
/// is the beginning of every tree, with an empty proof.
///
/// # Errors
/// When the proof does not show it.
pub fn verify_consistency(
    proof: &[Hash],
    old: u64,
    new: u64,
    old_root: Hash,
    new_root: Hash,
) -> Result<(), VerifyError> {
    if old > new || new > MAX_TREE_SIZE {
        return Err(VerifyError::Shrunk { old, new });
    }
    if old == 0 || old == new {
        return verify_trivial(proof, old, new, old_root, new_root);
    }
    let mut path = Path {
        node: old - 1,
        last: new - 1,
    };
    path.skip_right_children();
    let (start, rest) = if old.is_power_of_two() {
        (old_root, proof)
    } else {
        let (first, rest) = proof.split_first().ok_or(VerifyError::WrongLength)?;
        (*first, rest)
    };
    let (mut old_hash, mut new_hash) = (start, start);
    for sibling in rest {
        match path.climb()? {
            Side::Left => {
                old_hash = node_hash(*sibling, old_hash);
                new_hash = node_hash(*sibling, new_hash);
            }
            Side::Right => new_hash = node_hash(new_hash, *sibling),
        }
    }
    path.finished()?;
    if old_hash != old_root {
        return Err(VerifyError::WrongOldRoot);
    }
    if new_hash == new_root {
        Ok(())
    } else {
        Err(VerifyError::WrongRoot)
    }
}

fn verify_trivial(
    proof: &[Hash],
    old: u64,
    new: u64,
    old_root: Hash,
    new_root: Hash,
) -> Result<(), VerifyError> {
    if !proof.is_empty() {
        return Err(VerifyError::WrongLength);
    }
    if old == 0 && old_root != empty_root() {
        return Err(VerifyError::WrongOldRoot);
    }
    if old == new && old_root != new_root {
        return Err(VerifyError::WrongRoot);
    }
    Ok(())
}

/// On which side of the current node its sibling stands.
enum Side {
    Left,
    Right,
}

/// The way from a node to the root: the node's number on its level, and the number of the level's last.
struct Path {
    node: u64,
    last: u64,
}

impl Path {
    /// One step up. On the tree's right edge, levels where the node has no sibling are passed over.
    fn climb(&mut self) -> Result<Side, VerifyError> {
        if self.last == 0 {
            return Err(VerifyError::WrongLength);
        }
        let side = if self.node & 1 == 1 || self.node == self.last {
            while self.node & 1 == 0 && self.node != 0 {
                self.up();
            }
            Side::Left
        } else {
            Side::Right
        };
        self.up();
        Ok(side)
    }

    /// Climbs while the node is the right child: there the older tree was complete.
    fn skip_right_children(&mut self) {
        while self.node & 1 == 1 {
            self.up();
        }
    }

    fn up(&mut self) {
        self.node >>= 1;
        self.last >>= 1;
    }

    fn finished(&self) -> Result<(), VerifyError> {
        if self.last == 0 {
            Ok(())
        } else {
            Err(VerifyError::WrongLength)
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::leaf_hash;

    #[test]
    fn a_single_leaf_is_its_own_root() {
        let leaf = leaf_hash(b"only");
        assert_eq!(verify_inclusion(&[], 0, 1, leaf, leaf), Ok(()));
        assert_eq!(
            verify_inclusion(&[leaf], 0, 1, leaf, leaf),
            Err(VerifyError::WrongLength)
        );
        assert!(verify_inclusion(&[], 1, 1, leaf, leaf).is_err());
        assert!(verify_inclusion(&[], 0, 0, leaf, leaf).is_err());
        assert!(verify_inclusion(&[], 0, u64::MAX, leaf, leaf).is_err());
    }

    #[test]
    fn two_roots_of_one_size_are_a_fork() {
        let (one, other) = (leaf_hash(b"one"), leaf_hash(b"other"));
        assert_eq!(
            verify_consistency(&[], 5, 5, one, other),
            Err(VerifyError::WrongRoot)
        );
        assert_eq!(verify_consistency(&[], 5, 5, one, one), Ok(()));
    }

    #[test]
    fn the_empty_tree_has_one_root() {
        let root = leaf_hash(b"root");
        assert_eq!(verify_consistency(&[], 0, 5, empty_root(), root), Ok(()));
        assert_eq!(
            verify_consistency(&[], 0, 5, root, root),
            Err(VerifyError::WrongOldRoot)
        );
    }
}
