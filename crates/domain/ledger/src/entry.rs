//! One entry of the journal: leaf, effects and guards, written whole or as its refusal.

use estate::{ChangeId, Digest, Epoch, LeaseId, NodeName, PolicyVersion, SecretName, Timestamp};

use crate::{
    Draft, Entropy,
    rows::{
        ChangeRow, EstateRow, LeaseIntent, LeaseOutcome, NodeRow, SecretRow, SerialRow, TokenRow,
    },
};

/// Names an entry across an uncertain commit.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct EntryId(pub [u8; 16]);

impl EntryId {
    /// A fresh id.
    pub fn new(entropy: &dyn Entropy) -> Self {
        let mut id = [0; 16];
        entropy.fill(&mut id);
        Self(id)
    }
}

/// What an entry creates or changes in the same transaction as its leaf.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Effect {
    /// A lease's row, pending, with the role named after the leaf.
    Lease(LeaseIntent),
    /// A pending or granted lease moves on.
    LeaseMoved(LeaseId, LeaseOutcome),
    /// An issued certificate or token.
    Serial(SerialRow),
    /// A node was attested: its row is replaced.
    Node(Box<NodeRow>),
    /// A quote was checked.
    Quoted(NodeName, Timestamp, u32),
    /// A node is banned, its epoch rises, its leases are ending.
    Banned(NodeName),
    /// A node's session ends: its epoch rises and its statement key is forgotten.
    EpochRaised(NodeName),
    /// A token was made.
    Token(TokenRow),
    /// A token was used.
    TokenUsed(Digest),
    /// A secret's new version.
    Secret(Box<SecretRow>),
    /// This version of a secret may have been seen by a person; the first time counts.
    SecretExposed(SecretName, u64),
    /// The estate's new version: its change is applied, and every other one that waits is void.
    Estate(Box<EstateRow>),
    /// A change waits.
    ChangeSubmitted(Box<ChangeRow>),
    /// A waiting change's record, JSON, with one more signature.
    ChangeSigned(ChangeId, String),
    /// A waiting change comes into force no more.
    ChangeRejected(ChangeId),
}

/// What must still hold when the transaction runs. A guard that fails turns the entry into its refusal.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Guard {
    /// The node's epoch is still this one and the node is not banned.
    NodeEpoch(NodeName, Epoch),
    /// The node has no row, or has this epoch and is not banned: for an attestation.
    NodeAt(NodeName, Option<Epoch>),
    /// The estate is still this version.
    Policy(PolicyVersion),
    /// The token exists, is for this node, unused and not over at that time.
    TokenUnused(Digest, NodeName, Timestamp),
    /// The newest version of the secret is this one (0 = none yet).
    SecretVersion(SecretName, u64),
    /// The newest change has this number (0 = none yet).
    ChangeNewest(ChangeId),
    /// The change waits, its time is not over, and its stored record is the one with this SHA-256.
    ChangeWaiting(ChangeId, Digest),
    /// The lease is still pending.
    LeasePending(LeaseId),
    /// The lease is pending, granted or ending, not ended.
    LeaseLive(LeaseId),
}

impl Guard {
    /// What a person reads when it failed.
    pub fn failure(&self) -> &'static str {
        match self {
            Self::NodeEpoch(..) => "the node was banned or attested anew meanwhile",
            Self::NodeAt(..) => "the node was attested by another session meanwhile",
            Self::Policy(_) => "the estate changed meanwhile",
            Self::TokenUnused(..) => "the token is unknown, used, expired or for another node",
            Self::SecretVersion(..) => "the secret changed meanwhile",
            Self::ChangeNewest(_) => "another change was submitted meanwhile",
            Self::ChangeWaiting(..) => {
                "the change was signed, decided or replaced meanwhile, or its time is over"
            }
            Self::LeasePending(_) => "the lease is no longer pending",
            Self::LeaseLive(_) => "the lease has ended",
        }
    }
}

/// One entry.
#[derive(Debug, Clone)]
pub struct Entry {
    /// Its id, unique for ever.
    pub id: EntryId,
    /// The leaf when all guards hold.
    pub granted: Draft,
    /// The leaf when one fails.
    pub refused: Draft,
    /// What it does when all guards hold.
    pub effects: Vec<Effect>,
    /// What must hold.
    pub guards: Vec<Guard>,
}
