//! A log that can be cut, forked, and made to lie.

use tlog::{Checkpoint, Hash, Note, Receipt, Signer, Tree, leaf_hash};

/// A log in memory.
pub(crate) struct Log {
    pub(crate) leaves: Vec<Vec<u8>>,
    signer: Signer,
}

impl Log {
    pub(crate) fn new(seed: u8) -> Self {
        let signer = Signer::from_seed(ORIGIN, &[seed; 32]).unwrap();
        Self {
            leaves: vec![b"{\"genesis\":1}".to_vec()],
            signer,
        }
    }

    pub(crate) fn key(&self) -> String {
        self.signer.verifier_key().to_string()
    }

    pub(crate) fn append(&mut self, leaf: Vec<u8>) -> (Vec<u8>, String) {
        self.leaves.push(leaf.clone());
        let index = self.leaves.len() - 1;
        (leaf, self.receipt(index))
    }

    pub(crate) fn receipt(&self, index: usize) -> String {
        let (_, stored) = self.stored();
        let proof =
            tlog::inclusion_proof(index as u64, self.leaves.len() as u64, &stored[..]).unwrap();
        Receipt::new(
            index as u64,
            proof,
            Note::parse(&self.checkpoint()).unwrap(),
        )
        .to_text()
    }

    pub(crate) fn checkpoint(&self) -> String {
        let (tree, _) = self.stored();
        Checkpoint::new(ORIGIN, tree.size(), tree.root())
            .unwrap()
            .sign(&self.signer)
            .unwrap()
            .to_string()
    }

    pub(crate) fn consistency(&self, old: u64) -> Option<Vec<[u8; 32]>> {
        let (tree, stored) = self.stored();
        let proof = tlog::consistency_proof(old, tree.size(), &stored[..]).ok()?;
        Some(proof.iter().map(|hash| *hash.as_bytes()).collect())
    }

    fn stored(&self) -> (Tree, Vec<Hash>) {
        let (mut tree, mut stored) = (Tree::new(), Vec::new());
        for leaf in &self.leaves {
            stored.extend(
                tree.append(leaf_hash(leaf))
                    .unwrap()
                    .into_iter()
                    .map(|stored| stored.hash),
            );
        }
        (tree, stored)
    }
}

const ORIGIN: &str = "log.example.lab";
