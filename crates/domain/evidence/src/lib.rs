//! What is known about a node or a workload, and from whom. The one proof minted here is [`VerifiedEvidence`]
//! (and, for nodes, [`VerifiedAttestation`]): nobody else can make one, so nothing is decided on facts that were not checked.

pub mod attestation;
pub mod facts;
pub mod request;
pub mod session;
pub mod statement;

pub use attestation::{
    AttestBinding, AttestationError, Challenge, Enrolled, NodeKeys, Proof, Purpose, TpmAttestation,
    TpmHello, VerifiedAttestation, VerifiedQuote, verify_fresh_quote, verify_join,
};
pub use facts::{
    Attestor, ContainerRef, Deviation, ExeFacts, ImageFacts, Interactive, NodeFacts, PodFacts,
    Strength, WorkloadFacts,
};
pub use request::{Action, RequestError};
pub use session::{Session, SessionKeys};
pub use statement::{
    AttestedNode, Confirmation, Rejected, Statement, StatementBuilder, VerifiedEvidence, Verifier,
};
