//! The agent as a witness of the ledger: which key signs it, how far it had grown, and that each answer is on record.
//!
//! Tips are held. The *proven* one was shown to extend everything proven before. The *seen* ones are trees that receipts
//! spoke of since; they wait for their own proofs. All must turn out to lie in one tree, or the log was forked. No more
//! than [`MAX_SEEN`] wait; beyond that they replace each other at random, so a fork is then found by sample.

use std::{
    hash::{BuildHasher, Hasher, RandomState},
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

use serde::{Deserialize, Serialize};
use tlog::{Checkpoint, Hash, Note, Receipt, VerifierKey, leaf_hash, verify_consistency};

use crate::ports::{CheckpointStore, CheckpointStoreError};

/// The ledger is not what it was, or an answer is not in it.
#[derive(Debug, Clone, thiserror::Error)]
#[non_exhaustive]
pub(crate) enum WitnessError {
    /// Fault: the server.
    #[error("the ledger's key can't be read")]
    Key(#[source] tlog::KeyError),
    /// Fault: the server, or whoever configured the key: another ledger than the one known here.
    #[error("the ledger is signed by `{found}`, pinned is `{pinned}`")]
    OtherKey {
        /// What the server names.
        found: String,
        /// What is pinned.
        pinned: String,
    },
    /// Fault: the server.
    #[error("the receipt is not accepted: {0}")]
    Receipt(#[source] tlog::ReceiptError),
    /// Fault: the server: the answer's leaf is older than the question.
    #[error(
        "the receipt is of leaf {index}, but the ledger had {known} leaves before the question was asked"
    )]
    Replayed {
        /// The leaf.
        index: u64,
        /// The size known before.
        known: u64,
    },
    /// Fault: the server.
    #[error("the checkpoint can't be read: {0}")]
    Note(#[source] tlog::NoteError),
    /// Fault: the server.
    #[error("the checkpoint is not accepted: {0}")]
    Checkpoint(#[source] tlog::CheckpointError),
    /// Fault: the server: it shows another past, or a shorter one.
    #[error("the ledger was rolled back or forked: {0}")]
    Inconsistent(#[source] tlog::VerifyError),
    /// Fault: the server: two trees of one size.
    #[error("the ledger was forked: there are two trees of {size} leaves")]
    Forked {
        /// Their size.
        size: u64,
    },
    /// Fault: whoever changed the file in which the newest checkpoint is kept.
    #[error("the kept checkpoint can't be read")]
    Kept,
    /// Fault: this machine.
    #[error(transparent)]
    Store(#[from] CheckpointStoreError),
    /// Fault: this program: no ledger is known yet.
    #[error("no ledger is known yet")]
    Unpinned,
}

/// One signed tree.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Tip {
    /// The checkpoint, a signed note.
    pub(crate) note: String,
    /// Its size.
    pub(crate) size: u64,
    root: Hash,
}

/// What is known of the ledger.
pub(crate) struct Witness {
    store: Arc<dyn CheckpointStore>,
    configured: Option<VerifierKey>,
    /// LOCK: held for comparisons only, never across I/O.
    held: Mutex<Option<Held>>,
}

#[derive(Debug, Clone)]
struct Held {
    key: VerifierKey,
    proven: Option<Tip>,
    seen: Vec<Tip>,
}

/// The form in which it is kept.
#[derive(Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
struct Kept {
    v: u8,
    ledger_key: String,
    proven: Option<String>,
    seen: Vec<String>,
}

impl Witness {
    /// A witness that reads what it kept when a server first names its ledger.
    pub(crate) fn new(store: Arc<dyn CheckpointStore>, configured: Option<VerifierKey>) -> Self {
        Self {
            store,
            configured,
            held: Mutex::new(None),
        }
    }

    /// Accepts the ledger's key if it is the pinned one; the first ever named is pinned. Blocks on the store.
    pub(crate) fn pin(&self, named: &str) -> Result<VerifierKey, WitnessError> {
        let named: VerifierKey = named.parse().map_err(WitnessError::Key)?;
        let known = match self.snapshot() {
            Some(held) => Some(held),
            None => self
                .store
                .load()?
                .map(|text| Held::read(&text))
                .transpose()?,
        };
        let kept = known.as_ref().map(|held| &held.key);
        for pinned in [self.configured.as_ref(), kept].into_iter().flatten() {
            if *pinned != named {
                return Err(WitnessError::OtherKey {
                    found: named.to_string(),
                    pinned: pinned.to_string(),
                });
            }
        }
        let first = known.is_none();
        let held = known.unwrap_or(Held {
            key: named.clone(),
            proven: None,
            seen: Vec::new(),
        });
        *self.lock() = Some(held);
        if first {
            self.keep()?;
        }
        Ok(named)
    }

    /// How many leaves the ledger is known to have: what is asked from now on gets a later leaf.
    pub(crate) fn known_size(&self) -> u64 {
        self.to_prove()
            .iter()
            .map(|tip| tip.size)
            .max()
            .unwrap_or(0)
    }

    /// The newest proven checkpoint; empty at first.
    pub(crate) fn newest(&self) -> String {
        self.snapshot()
            .and_then(|held| held.proven)
            .map(|tip| tip.note)
            .unwrap_or_default()
    }

    /// Verifies that `leaf` is in the ledger, and later than `known` leaves that it had before the question.
    pub(crate) fn verify(&self, leaf: &[u8], proof: &str, known: u64) -> Result<(), WitnessError> {
        let key = self.snapshot().ok_or(WitnessError::Unpinned)?.key;
        let receipt = Receipt::parse(proof).map_err(WitnessError::Receipt)?;
        let verified = receipt
            .verify(leaf_hash(leaf), &key)
            .map_err(WitnessError::Receipt)?;
        if verified.index() < known {
            return Err(WitnessError::Replayed {
                index: verified.index(),
                known,
            });
        }
        let tip = Tip {
            note: receipt.checkpoint().to_string(),
            size: verified.size(),
            root: verified.root(),
        };
        self.see(tip)
    }

    /// The tips from which the server has to prove that its present tree follows.
    pub(crate) fn to_prove(&self) -> Vec<Tip> {
        self.snapshot()
            .map(|held| held.tips().cloned().collect())
            .unwrap_or_default()
    }

    /// Whether everything seen lies in the tree that was proven.
    pub(crate) fn is_settled(&self) -> bool {
        self.snapshot()
            .is_some_and(|held| held.proven.is_some() && held.seen.is_empty())
    }

    /// Takes a server's proof that the tree of `checkpoint` begins with `old`'s; `None` is the empty tree.
    pub(crate) fn extend(
        &self,
        old: Option<&Tip>,
        proof: &[[u8; 32]],
        checkpoint: &str,
    ) -> Result<(), WitnessError> {
        let mut guard = self.lock();
        let held = guard.as_mut().ok_or(WitnessError::Unpinned)?;
        let new = open_tip(checkpoint, &held.key)?;
        let proof: Vec<Hash> = proof.iter().copied().map(Hash::from_bytes).collect();
        let (size, root) = old.map_or((0, tlog::empty_root()), |tip| (tip.size, tip.root));
        verify_consistency(&proof, size, new.size, root, new.root)
            .map_err(WitnessError::Inconsistent)?;
        held.advance(old, new)
    }

    /// Writes what is held to the store. Blocks.
    pub(crate) fn keep(&self) -> Result<(), WitnessError> {
        let held = self.snapshot().ok_or(WitnessError::Unpinned)?;
        Ok(self.store.save(&held.write()?)?)
    }

    fn see(&self, tip: Tip) -> Result<(), WitnessError> {
        let mut guard = self.lock();
        let held = guard.as_mut().ok_or(WitnessError::Unpinned)?;
        held.compare(&tip)?;
        if held.tips().any(|known| known.size == tip.size) {
            return Ok(());
        }
        if held.seen.len() >= MAX_SEEN {
            let victim = RandomState::new().build_hasher().finish() as usize % MAX_SEEN;
            held.seen.swap_remove(victim);
        }
        held.seen.push(tip);
        Ok(())
    }

    fn snapshot(&self) -> Option<Held> {
        self.lock().clone()
    }

    fn lock(&self) -> MutexGuard<'_, Option<Held>> {
        self.held.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Held {
    /// The proven tip, then those seen.
    fn tips(&self) -> impl Iterator<Item = &Tip> {
        self.proven.iter().chain(&self.seen)
    }

    /// Two trees of one size have one root.
    fn compare(&self, tip: &Tip) -> Result<(), WitnessError> {
        match self
            .tips()
            .all(|held| held.size != tip.size || held.root == tip.root)
        {
            true => Ok(()),
            false => Err(WitnessError::Forked { size: tip.size }),
        }
    }

    /// `new` was shown to extend `old`.
    fn advance(&mut self, old: Option<&Tip>, new: Tip) -> Result<(), WitnessError> {
        self.compare(&new)?;
        if old == self.proven.as_ref() || self.proven.is_none() {
            self.proven = Some(new);
        } else if !self.tips().any(|tip| tip.size == new.size) {
            self.seen.push(new);
        }
        // What was seen lies in `new`, and `new` is held: it needs no proof of its own any more. Nor does a tree that
        // has the size, and so the root, of the proven one.
        let proven = self.proven.as_ref().map(|tip| tip.size);
        self.seen
            .retain(|tip| Some(tip) != old && Some(tip.size) != proven);
        Ok(())
    }

    fn read(text: &str) -> Result<Self, WitnessError> {
        let kept: Kept = jose::strict_json::from_str(text).map_err(|_| WitnessError::Kept)?;
        let Kept {
            v: 1,
            ledger_key,
            proven,
            seen,
        } = kept
        else {
            return Err(WitnessError::Kept);
        };
        let key: VerifierKey = ledger_key.parse().map_err(|_| WitnessError::Kept)?;
        let proven = proven.map(|note| open_tip(&note, &key)).transpose()?;
        let seen = seen
            .iter()
            .map(|note| open_tip(note, &key))
            .collect::<Result<_, _>>()?;
        Ok(Self { key, proven, seen })
    }

    fn write(&self) -> Result<String, WitnessError> {
        let proven = self.proven.as_ref().map(|tip| tip.note.clone());
        let seen = self.seen.iter().map(|tip| tip.note.clone()).collect();
        let kept = Kept {
            v: 1,
            ledger_key: self.key.to_string(),
            proven,
            seen,
        };
        serde_json::to_string(&kept).map_err(|_| WitnessError::Kept)
    }
}

fn open_tip(text: &str, key: &VerifierKey) -> Result<Tip, WitnessError> {
    let note = Note::parse(text).map_err(WitnessError::Note)?;
    let checkpoint = Checkpoint::open(&note, key).map_err(WitnessError::Checkpoint)?;
    Ok(Tip {
        note: text.to_owned(),
        size: checkpoint.size(),
        root: checkpoint.root(),
    })
}

const MAX_SEEN: usize = 32;

#[cfg(test)]
mod tests;
