//! Why nothing was released.

use evidence::RequestError;
use ledger::{Commitment, JournalError, LoggedDenial, NotReleased};

use crate::{
    ports::{AccountError, StoreError},
    witnesses::Distrusted,
};

/// Nothing was released.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ReleaseError {
    /// Fault: none. On record.
    #[error("denied: {}", .0.denial.reason)]
    Denied(Box<LoggedDenial>),
    /// Fault: none. A hand inside a container was refused; on record.
    #[error("denied: {1}")]
    ExecRefused(Box<Commitment>, String),
    /// Fault: the caller: nothing was decided.
    #[error("the request can't be read")]
    Request(#[from] RequestError),
    /// Fault: the caller: this connection's node has no attestation in force.
    #[error("the node has to attest first")]
    NotAttested,
    /// Fault: the store. Nothing was decided.
    #[error("the release could not be recorded")]
    Journal(#[from] JournalError),
    /// Fault: the store.
    #[error("the store can't be read")]
    Store(#[from] StoreError),
    /// Fault: the database. The lease is being ended.
    #[error("the database account could not be made")]
    Account(#[from] AccountError),
    /// Fault: the server. Permitted and logged, yet not delivered; that is on record, too.
    #[error("permitted, but not delivered: {0}")]
    Undelivered(String),
    /// Fault: whoever put an old database back. Nothing was decided.
    #[error(transparent)]
    Distrusted(#[from] Distrusted),
    /// Fault: the caller: too many denials in too short a time.
    #[error("too many denials; try again in a minute")]
    Busy,
}

impl From<NotReleased> for ReleaseError {
    fn from(error: NotReleased) -> Self {
        match error {
            NotReleased::Denied(denial) => Self::Denied(denial),
            NotReleased::Unavailable(error) => Self::Journal(error),
        }
    }
}
