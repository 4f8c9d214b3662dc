//! What the agent needs of the world: a TPM, a link to the server, eyes on the processes of its node, a clock.

mod gate;

use std::future::Future;

use estate::{Digest, Timestamp};
use evidence::{Action, Statement, WorkloadFacts, request::LayerUse};
use zeroize::Zeroizing;

pub use gate::{
    Claim, DecidedOn, Gate, GateError, GatedLayer, Hold, Holding, Inside, SeenHand, Starting,
};

/// Tells the time.
pub trait Clock: Send + Sync {
    /// Now, by the node's clock.
    fn now(&self) -> Timestamp;
}

/// The node's TPM, or in a lab a key file and a token. Calls block: the agent makes them off the async threads.
pub trait NodeKeys: Send + Sync + 'static {
    /// What the node shows first.
    ///
    /// # Errors
    /// [`NodeKeysError`]
    fn identify(&self) -> Result<Identification, NodeKeysError>;
    /// SubjectPublicKeyInfo of the node key, DER.
    fn node_key_spki(&self) -> Vec<u8>;
    /// Signs a SHA-256 digest with the node key: ECDSA P-256, DER.
    ///
    /// # Errors
    /// [`NodeKeysError`]
    fn sign_digest(&self, digest: &[u8; 32]) -> Result<Vec<u8>, NodeKeysError>;
    /// TPM2_ActivateCredential.
    ///
    /// # Errors
    /// [`NodeKeysError`]
    fn activate(
        &self,
        id_object: &[u8],
        encrypted_secret: &[u8],
    ) -> Result<Zeroizing<Vec<u8>>, NodeKeysError>;
    /// TPM2_Certify of the node key by the AK: TPMS_ATTEST and TPMT_SIGNATURE.
    ///
    /// # Errors
    /// [`NodeKeysError`]
    fn certify(&self, qualifying: &[u8; 32]) -> Result<(Vec<u8>, Vec<u8>), NodeKeysError>;
    /// TPM2_Quote by the AK over the SHA-256 bank: TPMS_ATTEST and TPMT_SIGNATURE.
    ///
    /// # Errors
    /// [`NodeKeysError`]
    fn quote(
        &self,
        qualifying: &[u8; 32],
        pcrs: &[u8],
    ) -> Result<(Vec<u8>, Vec<u8>), NodeKeysError>;
    /// The firmware's event log.
    ///
    /// # Errors
    /// [`NodeKeysError`]
    fn event_log(&self) -> Result<Vec<u8>, NodeKeysError>;
}

/// What a node shows first.
pub enum Identification {
    /// A TPM.
    Tpm {
        /// EK certificate, then intermediates, DER.
        ek_chain: Vec<Vec<u8>>,
        /// TPMT_PUBLIC of the endorsement key.
        ek_public: Vec<u8>,
        /// TPMT_PUBLIC of the attestation key.
        ak_public: Vec<u8>,
        /// TPMT_PUBLIC of the node key.
        node_key_public: Vec<u8>,
    },
    /// A one-time token; lab.
    Token(String),
}

/// The TPM did not do what was asked. Fault: the TPM, or its configuration.
#[derive(Debug, thiserror::Error)]
#[error("the node's keys: {0}")]
pub struct NodeKeysError(pub String);

/// Makes connections to servers.
pub trait Connector: Send + Sync + 'static {
    /// A connection that only the server authenticated, for `Attest`.
    type Attesting: AttestingLink;
    /// A connection that both sides authenticated.
    type Link: ServerLink;
    /// Opens a connection without a client certificate.
    fn attesting(&self) -> impl Future<Output = Result<Self::Attesting, LinkError>> + Send;
    /// Opens a connection with the node certificate `chain` (leaf first, DER) and the node key.
    fn mutual(
        &self,
        chain: Vec<Vec<u8>>,
    ) -> impl Future<Output = Result<Self::Link, LinkError>> + Send;
}

/// First half of an attestation, as it goes over the wire.
pub struct Hello {
    /// Node name.
    pub node: String,
    /// `enrol` or `renew`.
    pub purpose: &'static str,
    /// Statement key, public JWK as JSON.
    pub statement_key: Vec<u8>,
    /// Node HPKE key.
    pub hpke: evidence::Confirmation,
    /// TPM or token.
    pub identification: Identification,
    /// SPKI of the node key, for a token.
    pub node_key_spki: Vec<u8>,
}

/// What the server gives to an admitted node.
#[derive(Debug, Clone)]
pub struct Admission {
    /// Node certificate, then the issuing CA, DER.
    pub chain: Vec<Vec<u8>>,
    /// SPIFFE bundle document.
    pub bundle: Vec<u8>,
    /// Trust domain.
    pub trust_domain: String,
    /// Epoch.
    pub epoch: u64,
    /// The server is a lab.
    pub lab: bool,
    /// Checkpoint verifier key.
    pub ledger_key: String,
    /// Leaf bytes and tlog-proof.
    pub receipt: (Vec<u8>, String),
}

/// A connection on which a node attests.
pub trait AttestingLink: Send {
    /// TLS exporter of this connection.
    fn exporter(&self) -> [u8; 32];
    /// First and second message.
    fn hello(
        &mut self,
        hello: Hello,
    ) -> impl Future<Output = Result<evidence::Challenge, LinkError>> + Send;
    /// Third and fourth message.
    fn prove(
        &mut self,
        proof: evidence::Proof,
        possession: Vec<u8>,
    ) -> impl Future<Output = Result<Admission, LinkError>> + Send;
}

/// An authenticated connection.
pub trait ServerLink: Send + Sync + 'static {
    /// TLS exporter of this connection.
    fn exporter(&self) -> [u8; 32];
    /// One of the five releases.
    fn release(
        &self,
        action: Action,
        request: Vec<u8>,
        statement: Statement,
        packet: Vec<u8>,
    ) -> impl Future<Output = Result<Reply, LinkError>> + Send;
    /// A hand inside a container, asked or reported: `request` is evidence's `ExecRequest`. `Plain` holds one word: `probe`,
    /// `free` or `exposed`.
    fn exec(
        &self,
        request: Vec<u8>,
        statement: Statement,
    ) -> impl Future<Output = Result<Reply, LinkError>> + Send;
    /// Answers a quote directive.
    fn quote(
        &self,
        nonce: [u8; 32],
        proof: evidence::Proof,
    ) -> impl Future<Output = Result<(), LinkError>> + Send;
    /// Bundle document and its sequence.
    fn bundle(&self) -> impl Future<Output = Result<(Vec<u8>, u64), LinkError>> + Send;
    /// Consistency proof from `old_size` to the newest checkpoint, and that checkpoint.
    fn consistency(
        &self,
        old_size: u64,
    ) -> impl Future<Output = Result<(Vec<[u8; 32]>, String), LinkError>> + Send;
    /// Waits for the next directive; an end of the stream is [`LinkError::Unavailable`]. The server is told the newest
    /// `checkpoint` that the agent holds when the stream begins.
    fn next_directive(
        &self,
        checkpoint: &str,
    ) -> impl Future<Output = Result<Directive, LinkError>> + Send;
}

/// What the server says of a node's standing.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Directive {
    /// The node's epoch.
    pub node_epoch: u64,
    /// The estate's version.
    pub policy: u64,
    /// The bundle's sequence.
    pub bundle: u64,
    /// A quote is due: nonce and PCRs.
    pub quote: Option<([u8; 32], Vec<u8>)>,
    /// Attest anew.
    pub reattest: bool,
    /// Banned.
    pub banned: bool,
    /// Leases that ended.
    pub ended_leases: Vec<String>,
}

/// An answer of the release path.
#[derive(Debug, Clone)]
pub struct Reply {
    /// The leaf's bytes.
    pub leaf: Vec<u8>,
    /// tlog-proof.
    pub proof: String,
    /// What was decided.
    pub outcome: Outcome,
}

/// What was decided.
#[derive(Debug, Clone)]
pub enum Outcome {
    /// Sealed to the requester's key.
    Sealed {
        /// HPKE suite.
        suite: String,
        /// Encapsulated key.
        enc: Vec<u8>,
        /// Ciphertext.
        ct: Vec<u8>,
    },
    /// Public material.
    Plain(Vec<Vec<u8>>),
    /// No.
    Denied {
        /// Stable code.
        code: String,
        /// A sentence.
        reason: String,
    },
}

/// The server did not give what was asked.
#[derive(Debug, Clone, thiserror::Error)]
#[non_exhaustive]
pub enum LinkError {
    /// Fault: the server or the way to it. Retried with back-off.
    #[error("the server did not answer: {0}")]
    Unavailable(String),
    /// Fault: the node: it is not admitted, or has to attest again.
    #[error("the server refused this node: {0}")]
    Refused(String),
    /// Fault: the caller: the server can't read the request, or there is no such thing. Nothing was decided.
    #[error("the server can't take the request: {0}")]
    Request(String),
    /// Fault: the server: an answer that does not follow the protocol.
    #[error("the server's answer is not understood: {0}")]
    Protocol(String),
}

/// Eyes on the processes of the node. `Caller` is whatever the adapter knows of a peer: a pidfd and its cgroup.
pub trait Probe: Send + Sync + 'static {
    /// A process that asked something over a Unix socket.
    type Caller: Send + Sync + 'static;
    /// The start gate, where there is one.
    type Gate: Gate<Caller = Self::Caller>;
    /// The node's start gate; `None`: nobody asks before a container is made, or a hand gets into it.
    fn gate(&self) -> Option<&Self::Gate>;
    /// Measures a caller: each fact or its absence. Called again at every request.
    fn measure(
        &self,
        caller: &Self::Caller,
    ) -> impl Future<Output = Result<WorkloadFacts, ProbeError>> + Send;
    /// Every manifest in the node's content store that lists this layer.
    fn layer_uses(
        &self,
        layer: Digest,
    ) -> impl Future<Output = Result<Vec<LayerUse>, ProbeError>> + Send;
    /// The digest of the caller's executable if it is root, its parent is the runtime, and its program is one of those that
    /// are named as decoders.
    fn decoder(
        &self,
        caller: &Self::Caller,
    ) -> impl Future<Output = Result<Digest, ProbeError>> + Send;
}

/// A caller could not be measured: it is refused.
#[derive(Debug, Clone, thiserror::Error)]
#[non_exhaustive]
pub enum ProbeError {
    /// Fault: the caller; it ended, or is not what it says.
    #[error("the caller can't be measured: {0}")]
    Caller(String),
    /// Fault: the runtime.
    #[error("the container runtime did not answer: {0}")]
    Runtime(String),
}

/// Keeps what the agent knows of the ledger across restarts: which key signs it, and how far it had grown.
pub trait CheckpointStore: Send + Sync + 'static {
    /// What was saved last; `None` if nothing was saved ever.
    ///
    /// # Errors
    /// [`CheckpointStoreError`]; never mistaken for "nothing was saved".
    fn load(&self) -> Result<Option<String>, CheckpointStoreError>;
    /// Replaces what was saved, durably.
    ///
    /// # Errors
    /// [`CheckpointStoreError`]
    fn save(&self, state: &str) -> Result<(), CheckpointStoreError>;
}

/// The newest checkpoint can't be kept. Fault: this machine's disk.
#[derive(Debug, Clone, thiserror::Error)]
#[error("the newest checkpoint can't be kept: {0}")]
pub struct CheckpointStoreError(pub String);
