//! What the agent needs where a start gate is set up: what the gate and the agent both keep, and eyes on containers that are
//! about to start.

use std::{collections::BTreeSet, future::Future};

use estate::{Digest, ImageSetName, LeaseId, SecretName};
use evidence::{
    ContainerRef, WorkloadFacts,
    request::{Hand, Held, LayerUse, StartGate},
};

use super::ProbeError;
use crate::gate::GateQuestion;

/// The node's start gate as the agent sees it.
pub trait Gate: Send + Sync + 'static {
    /// A process that asked something over a Unix socket.
    type Caller: Send + Sync + 'static;
    /// The digest of the caller's executable, if it is root and its program is one of those that are named as gates.
    fn program(
        &self,
        caller: &Self::Caller,
    ) -> impl Future<Output = Result<Digest, ProbeError>> + Send;
    /// Whether every way in which the runtime makes containers leads through the gate, and its questions are answered.
    fn coverage(&self) -> impl Future<Output = StartGate> + Send;
    /// Writes down durably that whatever is unpacked from these layers starts only as their image. Called before their keys
    /// are asked for: an error means that nothing is asked.
    fn claim(
        &self,
        image: &ImageSetName,
        uses: &[LayerUse],
    ) -> impl Future<Output = Result<Claim, GateError>> + Send;
    /// Takes back what a claim added, unless somebody else claimed it, too: no key came of it.
    fn withdraw(&self, claim: Claim) -> impl Future<Output = Result<(), GateError>> + Send;
    /// Lets a claim stand: the key leaves.
    fn confirm(&self, claim: Claim) -> impl Future<Output = ()> + Send;
    /// Measures the container that is about to start, from the bundle that it will be started from.
    fn starting(
        &self,
        caller: &Self::Caller,
        question: &GateQuestion,
    ) -> impl Future<Output = Result<Starting, ProbeError>> + Send;
    /// Looks at a container that is there: what it is, what it is made of, what was delivered into it. One that is gone holds
    /// what it held. `gated` are chains that somebody found in it beside what is found now.
    fn inside(
        &self,
        container: &ContainerRef,
        gated: &[Digest],
    ) -> impl Future<Output = Result<Inside, ProbeError>> + Send;
    /// Marks a container for the rest of its life, over restarts of the agent.
    fn touch(
        &self,
        container: &ContainerRef,
        hand: Hand,
        argv: &[String],
    ) -> impl Future<Output = Result<(), GateError>> + Send;
    /// Writes down what is about to be delivered into a container, over restarts of the agent; unless a hand came into it since
    /// the delivery was decided on.
    fn hold(
        &self,
        container: &ContainerRef,
        what: Holding,
        decided: DecidedOn,
    ) -> impl Future<Output = Result<Hold, GateError>> + Send;
    /// The container's leases have ended.
    fn forget_leases(
        &self,
        container: &ContainerRef,
    ) -> impl Future<Output = Result<(), GateError>> + Send;
    /// The gate need not ask about this command again.
    fn allow_probe(
        &self,
        container: &ContainerRef,
        argv: &[String],
    ) -> impl Future<Output = Result<(), GateError>> + Send;
    /// Waits for the next hand that got into a container; the container is marked already.
    fn next_hand(&self) -> impl Future<Output = SeenHand> + Send;
    /// The hand is on record.
    fn reported(
        &self,
        container: &ContainerRef,
    ) -> impl Future<Output = Result<(), GateError>> + Send;
}

/// A layer whose key was asked for: what is unpacked from it starts as this image only.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct GatedLayer {
    /// Chain id of the layer and everything below it.
    pub chain: Digest,
    /// Digest of the configuration that the layer is bound to.
    pub config: Digest,
    /// The image set that the key was asked for.
    pub image: ImageSetName,
}

/// What one question for a key wrote down; confirmed or withdrawn once the answer is there.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct Claim(pub BTreeSet<GatedLayer>);

/// A container before its first process.
#[derive(Debug, Clone)]
pub struct Starting {
    /// What was measured: never the executable, which does not run yet.
    pub facts: WorkloadFacts,
    /// Opened layers that it, or one of its mounts, is made of.
    pub gated: BTreeSet<GatedLayer>,
}

/// A container as a hand finds it.
#[derive(Debug, Clone)]
pub struct Inside {
    /// What was measured of the container as a whole.
    pub facts: WorkloadFacts,
    /// Image sets of the opened layers that it is made of.
    pub images: BTreeSet<ImageSetName>,
    /// What was delivered into it.
    pub held: Held,
    /// The command with which the image says that its health is checked.
    pub healthcheck: Option<Vec<String>>,
}

/// A hand that got into a container.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum SeenHand {
    /// Nobody asked about it, and it is not on record with the container yet.
    Unasked(ContainerRef),
    /// The gate let it in.
    LetIn(ContainerRef),
}

/// One delivery.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Holding {
    /// A secret.
    Secret(SecretName),
    /// A lease.
    Lease(LeaseId),
}

/// What a delivery was decided on.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum DecidedOn {
    /// No hand was in the container.
    Untouched,
    /// One may have been.
    Touched,
}

/// Whether a delivery is written down.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Hold {
    /// It is: it may leave.
    Written,
    /// Somebody got a hand in meanwhile: it may not.
    TouchedMeanwhile,
}

/// What gate and agent keep can't be kept, or not be read. Fault: this machine's disk, or whoever changed the files.
#[derive(Debug, Clone, thiserror::Error)]
#[error("the start gate's files: {0}")]
pub struct GateError(pub String);
