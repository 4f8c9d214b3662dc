//! Why an agent did not give what it was asked for.

use crate::ports::{GateError, ProbeError};

/// Nothing was given.
#[derive(Debug, Clone, thiserror::Error)]
#[non_exhaustive]
pub enum AgentError {
    /// Fault: none; policy said no, and that is on record. Not retried.
    #[error("denied: {reason}")]
    Denied {
        /// Stable code.
        code: String,
        /// A sentence.
        reason: String,
        /// The leaf's bytes and its tlog-proof, which was verified.
        receipt: Option<(Vec<u8>, String)>,
    },
    /// Fault: the node: no server has admitted it yet. Retried later.
    #[error("this node is not attested yet")]
    NotAttested,
    /// Fault: the server, the way to it, or the container runtime. Retried later.
    #[error("not available now: {0}")]
    Unavailable(String),
    /// Fault: the caller, its process or its request.
    #[error("the request is refused on this node: {0}")]
    Caller(String),
    /// Fault: the server: its answer can't be shown to be on record, so it is not passed on.
    #[error("the server's answer is not accepted: {0}")]
    BadReceipt(String),
    /// Fault: none; an operator banned the node.
    #[error("this node is banned")]
    Banned,
}

impl From<ProbeError> for AgentError {
    fn from(error: ProbeError) -> Self {
        match error {
            ProbeError::Caller(_) => Self::Caller(error.to_string()),
            ProbeError::Runtime(_) => Self::Unavailable(error.to_string()),
        }
    }
}

impl From<GateError> for AgentError {
    fn from(error: GateError) -> Self {
        Self::Unavailable(error.to_string())
    }
}
