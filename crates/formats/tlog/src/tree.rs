//! The growing edge of a log: enough of the tree to append to it and to name its root.

use crate::plan::fold;
use crate::{
    BuildError, Hash, HashReader, MAX_TREE_SIZE, Plan, PlanError, StoredHash, empty_root,
    node_hash, stored_hash_count,
};

/// The size of a log and its edge: the hashes of the complete subtrees that it consists of, largest first.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Tree {
    size: u64,
    // INVARIANT: one hash per bit set in `size`.
    edge: Vec<Hash>,
}

/// Why a tree cannot be or grow.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum TreeError {
    /// Fault: nobody; the log has come to its end.
    #[error("the tree is full")]
    Full,
    /// Fault: whoever kept the edge.
    #[error("a tree of {size} leaves has no edge of {hashes} hashes")]
    WrongEdge {
        /// The size given.
        size: u64,
        /// How many hashes were given with it.
        hashes: usize,
    },
}

impl Tree {
    /// The tree without leaves.
    #[must_use]
    pub const fn new() -> Self {
        Self {
            size: 0,
            edge: Vec::new(),
        }
    }

    /// A tree from its size and edge as kept elsewhere.
    ///
    /// # Errors
    /// When the edge has not the number of hashes that the size asks for.
    pub fn from_edge(size: u64, edge: Vec<Hash>) -> Result<Self, TreeError> {
        if size > MAX_TREE_SIZE || u32::try_from(edge.len()) != Ok(size.count_ones()) {
            return Err(TreeError::WrongEdge {
                size,
                hashes: edge.len(),
            });
        }
        Ok(Self { size, edge })
    }

    /// A tree of `size` leaves from its stored hashes.
    ///
    /// # Errors
    /// When no tree has that size or the store does not answer.
    pub fn open<R: HashReader + ?Sized>(
        size: u64,
        reader: &R,
    ) -> Result<Self, BuildError<R::Error>> {
        let indexes = Plan::root(size).map_err(BuildError::Plan)?.indexes();
        let edge = reader.read(&indexes).map_err(BuildError::Read)?;
        let (given, wanted) = (edge.len(), indexes.len());
        Self::from_edge(size, edge)
            .map_err(|_| BuildError::Plan(PlanError::WrongCount { given, wanted }))
    }

    /// The number of leaves.
    #[must_use]
    pub const fn size(&self) -> u64 {
        self.size
    }

    /// The hashes of the complete subtrees, largest first.
    #[must_use]
    pub fn edge(&self) -> &[Hash] {
        &self.edge
    }

    /// The root of the tree as it is now.
    #[must_use]
    pub fn root(&self) -> Hash {
        fold(&self.edge).unwrap_or_else(empty_root)
    }

    /// Appends a leaf and answers the hashes to store: the leaf's own and one for each subtree that it
    /// completes, at consecutive indexes from [`stored_hash_count`] of the size before.
    ///
    /// # Errors
    /// When the tree is full.
    pub fn append(&mut self, leaf: Hash) -> Result<Vec<StoredHash>, TreeError> {
        if self.size >= MAX_TREE_SIZE {
            return Err(TreeError::Full);
        }
        let first = stored_hash_count(self.size);
        let mut hash = leaf;
        let mut stored = vec![StoredHash { index: first, hash }];
        for index in (first + 1..).take(self.size.trailing_ones() as usize) {
            let Some(left) = self.edge.pop() else { break };
            hash = node_hash(left, hash);
            stored.push(StoredHash { index, hash });
        }
        self.edge.push(hash);
        self.size += 1;
        Ok(stored)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::leaf_hash;

    #[test]
    fn an_edge_must_fit_its_size() {
        let hash = leaf_hash(b"x");
        assert!(Tree::from_edge(6, vec![hash; 2]).is_ok());
        assert_eq!(
            Tree::from_edge(6, vec![hash]),
            Err(TreeError::WrongEdge { size: 6, hashes: 1 })
        );
        assert!(Tree::from_edge(u64::MAX, vec![hash; 64]).is_err());
    }

    #[test]
    fn a_full_tree_refuses_leaves() {
        let mut tree = Tree::from_edge(MAX_TREE_SIZE, vec![leaf_hash(b"x")]).unwrap();
        assert_eq!(tree.append(leaf_hash(b"y")), Err(TreeError::Full));
    }
}
