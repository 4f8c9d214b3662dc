//! The store's side of the ledger, as a port.

use std::future::Future;

use crate::{Entry, Guard};

/// Where many entries share one transaction and one sync; an entry is written whole or as its refusal.
/// Leaves, effects, tree edge and a signed checkpoint are durable before this answers.
pub trait Journal: Send + Sync {
    /// Appends one entry and waits until it is durable.
    fn append(&self, entry: Entry) -> impl Future<Output = Result<Written, JournalError>> + Send;
}

/// Where an entry stands in the log, with the proof that it does.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Commitment {
    /// The leaf's index.
    pub index: u64,
    /// The leaf's bytes.
    pub leaf: Vec<u8>,
    /// tlog-proof text: index, inclusion path, signed checkpoint.
    pub receipt: String,
}

/// What became of an entry.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Written {
    /// All guards held.
    Granted(Commitment),
    /// A guard failed; the refusal is in the log, no effect took place.
    Refused(Commitment, Guard),
}

/// The entry is not known to be durable. Never answered as a denial: nobody decided anything.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum JournalError {
    /// Fault: the store. Nothing was written.
    #[error("the ledger can't be written: {0}")]
    Unavailable(String),
    /// Fault: the caller. The entry contradicts the store or is malformed; nothing of it was written.
    #[error("the entry can't be written: {0}")]
    Invalid(String),
    /// Fault: the store. The commit was sent and its outcome is unknown.
    #[error("the ledger did not confirm a write")]
    Uncertain,
    /// Fault: whoever put an old database back: this ledger is not the one that clients know. Nothing was written.
    #[error("{0}")]
    Distrusted(String),
}
