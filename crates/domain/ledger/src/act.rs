//! What people and the server itself do: every act is a leaf, too.

use serde_json::Value;

use crate::{Commitment, Draft, Effect, Guard, Journal, JournalError, Ledger, Written};

/// Who acts.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Actor {
    /// A person, by id.
    Person(String),
    /// The operating system's root on the server host, through the socket.
    LocalRoot,
    /// The server itself.
    Authority,
    /// A node, by name.
    Node(String),
}

impl std::fmt::Display for Actor {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Person(id) => write!(f, "person:{id}"),
            Self::LocalRoot => f.write_str("local:root"),
            Self::Authority => f.write_str("authority"),
            Self::Node(name) => write!(f, "node:{name}"),
        }
    }
}

/// The closed list of acts; its names stand in leaves.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum ActKind {
    /// The log begins.
    Genesis,
    /// The server started.
    ServerStart,
    /// The estate's new version.
    EstateApply,
    /// A change was submitted: it waits, or comes into force in the next leaf.
    ChangeSubmit,
    /// A signature for a change was counted.
    ChangeApprove,
    /// A change was rejected, or withdrawn.
    ChangeReject,
    /// A promoter's statement was taken as a change.
    ImagePromote,
    /// An image was retired from its set, as a change.
    ImageRetire,
    /// A node is banned.
    NodeBan,
    /// A token was made.
    NodeToken,
    /// A quote was checked.
    NodeQuote,
    /// A node's attestation or quote was refused.
    NodeRefused,
    /// A secret's new version.
    SecretPut,
    /// A lease was granted.
    LeaseGranted,
    /// A lease is ending or has ended.
    LeaseEnd,
    /// The server used a connection secret.
    ConnectionUse,
    /// A key document was given out: which key it is about stands in the leaf.
    KeyDocument,
    /// Somebody read the trail.
    AuditRead,
    /// Somebody read something else that is worth a leaf.
    AdminRead,
    /// A person's certificate was made.
    PersonCertificate,
    /// A request of a person was refused.
    AdminRefused,
    /// Denials beyond a budget, as one number.
    DenialsAggregated,
    /// A hand inside a container: nothing in it is exposed by that.
    ExecPermitted,
    /// A hand inside a container was refused.
    ExecRefused,
    /// What a container holds counts as seen by a person.
    Exposure,
    /// The server lives: each minute.
    Heartbeat,
    /// What the server's clocks say: each hour.
    Clock,
    /// A node holds a checkpoint of ours that this tree does not lead to.
    ForkReported,
}

impl ActKind {
    /// The name in leaves.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Genesis => "genesis",
            Self::ServerStart => "server-start",
            Self::EstateApply => "estate-apply",
            Self::ChangeSubmit => "change-submit",
            Self::ChangeApprove => "change-approve",
            Self::ChangeReject => "change-reject",
            Self::ImagePromote => "image-promote",
            Self::ImageRetire => "image-retire",
            Self::NodeBan => "node-ban",
            Self::NodeToken => "node-token",
            Self::NodeQuote => "node-quote",
            Self::NodeRefused => "node-refused",
            Self::SecretPut => "secret-put",
            Self::LeaseGranted => "lease-granted",
            Self::LeaseEnd => "lease-end",
            Self::ConnectionUse => "connection-use",
            Self::KeyDocument => "key-document",
            Self::AuditRead => "audit-read",
            Self::AdminRead => "admin-read",
            Self::PersonCertificate => "person-certificate",
            Self::AdminRefused => "admin-refused",
            Self::DenialsAggregated => "denials-aggregated",
            Self::ExecPermitted => "exec-permitted",
            Self::ExecRefused => "exec-refused",
            Self::Exposure => "exposure",
            Self::Heartbeat => "heartbeat",
            Self::Clock => "clock",
            Self::ForkReported => "fork-reported",
        }
    }
}

impl ActKind {
    /// Whether nothing changes by it but the log.
    fn is_reading(self) -> bool {
        matches!(self, Self::AuditRead | Self::AdminRead | Self::AdminRefused)
    }
}

/// An act to be recorded. Never put a secret, or a hash of one, into a field.
#[derive(Debug, Clone)]
pub struct Act {
    /// What.
    pub kind: ActKind,
    /// By whom.
    pub actor: Actor,
    /// Further values, by name.
    pub fields: Vec<(&'static str, Value)>,
    /// What it changes.
    pub effects: Vec<Effect>,
    /// What must hold.
    pub guards: Vec<Guard>,
}

impl Act {
    /// An act that changes nothing.
    pub fn new(kind: ActKind, actor: Actor) -> Self {
        Self {
            kind,
            actor,
            fields: Vec::new(),
            effects: Vec::new(),
            guards: Vec::new(),
        }
    }
    /// Adds a value.
    #[must_use]
    pub fn field(mut self, name: &'static str, value: impl Into<Value>) -> Self {
        self.fields.push((name, value.into()));
        self
    }
    /// Adds an effect.
    #[must_use]
    pub fn effect(mut self, effect: Effect) -> Self {
        self.effects.push(effect);
        self
    }
    /// Adds a guard.
    #[must_use]
    pub fn guard(mut self, guard: Guard) -> Self {
        self.guards.push(guard);
        self
    }
}

/// An act whose leaf is durable.
#[derive(Debug)]
#[must_use]
pub struct LoggedAct {
    commitment: Commitment,
}

impl LoggedAct {
    /// Leaf and receipt.
    pub fn commitment(&self) -> &Commitment {
        &self.commitment
    }
}

/// An act that a guard refused, on record.
#[derive(Debug)]
pub struct LoggedRefusal {
    /// The guard that failed.
    pub guard: Guard,
    /// Leaf and receipt.
    pub commitment: Commitment,
}

/// The act did not take place.
#[derive(Debug, thiserror::Error)]
pub enum NotRecorded {
    /// Fault: whoever acted on an old state. It is on record.
    #[error("refused: {}", .0.guard.failure())]
    Refused(Box<LoggedRefusal>),
    /// Fault: the store.
    #[error("the act could not be recorded")]
    Unavailable(#[from] JournalError),
}

impl<J: Journal> Ledger<J> {
    /// Records an act with its effects and waits until it is durable.
    ///
    /// # Errors
    /// [`NotRecorded`]
    pub async fn record(&self, act: Act) -> Result<LoggedAct, NotRecorded> {
        let Act {
            kind,
            actor,
            fields,
            effects,
            guards,
        } = act;
        if !kind.is_reading() && matches!(actor, Actor::Person(_) | Actor::LocalRoot) {
            self.trusted()?;
        }
        let entropy = self.entropy();
        let mut draft =
            Draft::new(kind.as_str(), entropy).with("actor", actor.to_string(), entropy);
        for (name, value) in fields {
            draft = draft.with(name, value, entropy);
        }
        // These two say themselves which version they bring.
        if !matches!(kind, ActKind::Genesis | ActKind::EstateApply) {
            draft = self.on_basis(draft);
        }
        match self.append_plain(draft, effects, guards).await? {
            Written::Granted(commitment) => Ok(LoggedAct { commitment }),
            Written::Refused(commitment, guard) => {
                Err(NotRecorded::Refused(Box::new(LoggedRefusal {
                    guard,
                    commitment,
                })))
            }
        }
    }
}
