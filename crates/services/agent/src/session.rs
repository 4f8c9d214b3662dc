//! One authenticated connection, and the keys that it speaks with.

use std::sync::atomic::{AtomicU64, Ordering};

use estate::Timestamp;
use evidence::{AttestBinding, Confirmation};
use hpke_xwing::PrivateKey;
use jose::EcdsaP256Key;
use tokio::sync::watch;

use crate::ports::{LinkError, NodeKeysError};
use crate::witness::WitnessError;

/// Why there is no session at present.
#[derive(Debug, Clone, thiserror::Error)]
#[non_exhaustive]
pub(crate) enum SessionError {
    /// Fault: see the source.
    #[error(transparent)]
    Link(#[from] LinkError),
    /// Fault: see the source.
    #[error("{0}")]
    Keys(String),
    /// Fault: the server, or the configuration: what it says is not accepted.
    #[error("the server is not accepted: {0}")]
    Distrusted(String),
    /// Fault: see the source.
    #[error(transparent)]
    Witness(#[from] WitnessError),
    /// Fault: none: the server wants the node to attest anew.
    #[error("the node has to attest anew")]
    Reattest,
    /// Fault: none: an operator banned the node.
    #[error("the node is banned")]
    Banned,
}

impl From<NodeKeysError> for SessionError {
    fn from(error: NodeKeysError) -> Self {
        Self::Keys(error.to_string())
    }
}

/// What an attestation gave the node. The private keys live here only, in memory, and end with it.
pub(crate) struct Identity {
    pub(crate) statement_key: EcdsaP256Key,
    /// The node's own key; nothing is sealed to it yet but it is named where a request has no other.
    pub(crate) hpke: PrivateKey,
    /// What was bound, for quotes: purpose and exporter differ each time.
    pub(crate) binding: AttestBinding,
    /// Node certificate, then the issuing CA, DER.
    pub(crate) chain: Vec<Vec<u8>>,
    pub(crate) epoch: u64,
    pub(crate) lab: bool,
    pub(crate) ledger_key: String,
    /// By this node's clock; certificates are dated back, so their own beginning tells less.
    pub(crate) admitted_at: Timestamp,
    pub(crate) not_after: Timestamp,
}

impl Identity {
    /// Whether it is time for new keys: half of the certificate's life is over, or a clock jumped.
    pub(crate) fn is_due(&self, now: Timestamp) -> bool {
        now >= half_life(self.admitted_at, self.not_after)
    }

    /// Whether the certificate has ended.
    pub(crate) fn is_over(&self, now: Timestamp) -> bool {
        now >= self.not_after
    }

    pub(crate) fn confirmation(&self) -> Confirmation {
        Confirmation::of(self.hpke.public_key())
    }
}

/// The middle between receipt and end.
pub(crate) fn half_life(from: Timestamp, not_after: Timestamp) -> Timestamp {
    from.plus(not_after.since(from).unwrap_or_default() / 2)
}

/// One mutually authenticated connection.
pub(crate) struct Session<L> {
    pub(crate) identity: std::sync::Arc<Identity>,
    pub(crate) link: L,
    pub(crate) exporter: [u8; 32],
    seq: AtomicU64,
    end: watch::Sender<Option<SessionError>>,
}

impl<L> Session<L> {
    pub(crate) fn new(identity: std::sync::Arc<Identity>, link: L, exporter: [u8; 32]) -> Self {
        Self {
            identity,
            link,
            exporter,
            seq: AtomicU64::new(0),
            end: watch::Sender::new(None),
        }
    }

    /// The next sequence number of this connection; the first is 1.
    pub(crate) fn next_seq(&self) -> u64 {
        self.seq.fetch_add(1, Ordering::Relaxed) + 1
    }

    /// Asks the loop that keeps this session to end it.
    pub(crate) fn end(&self, why: SessionError) {
        self.end.send_if_modified(|end| {
            let first = end.is_none();
            if first {
                *end = Some(why);
            }
            first
        });
    }

    /// Waits until somebody asked for the end.
    pub(crate) async fn ended(&self) -> SessionError {
        let mut end = self.end.subscribe();
        match end.wait_for(Option::is_some).await.as_deref() {
            Ok(Some(why)) => why.clone(),
            _ => SessionError::Reattest,
        }
    }
}
