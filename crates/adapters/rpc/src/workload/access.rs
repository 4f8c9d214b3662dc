//! What the sockets ask of the agent, and how its answers become those of gRPC.

use std::{future::Future, sync::Arc};

use agent::{
    Agent, AgentError, AgentStanding, Delivered, GateAnswer, GateQuestion, HandWatch, JwtSvid,
    X509Svid,
    ports::{Connector, Probe},
};
use estate::{CredentialName, Digest, ImageSetName, SecretName};
use evidence::{
    Confirmation, WorkloadFacts,
    request::{LayerDescriptor, LayerUse},
};
use spiffe_id::Bundle;
use tokio::sync::watch;
use tonic::Status;

use crate::gate_socket::GateAgent;

/// The agent as its sockets see it. [`Agent`] is one; tests bring others.
pub trait WorkloadAgent: Send + Sync + 'static {
    /// A process that asks.
    type Caller: Send + Sync + 'static;

    /// Measures a caller.
    fn measure(
        &self,
        caller: &Self::Caller,
    ) -> impl Future<Output = Result<WorkloadFacts, AgentError>> + Send;
    /// Reads a secret.
    fn read(
        &self,
        caller: &Self::Caller,
        secret: SecretName,
        cnf: Confirmation,
    ) -> impl Future<Output = Result<Delivered, AgentError>> + Send;
    /// Leases a credential.
    fn lease(
        &self,
        caller: &Self::Caller,
        credential: CredentialName,
        scram_verifier: String,
        cnf: Confirmation,
    ) -> impl Future<Output = Result<Delivered, AgentError>> + Send;
    /// Issues an X.509-SVID.
    fn x509_svid(
        &self,
        caller: &Self::Caller,
    ) -> impl Future<Output = Result<X509Svid, AgentError>> + Send;
    /// Issues a JWT-SVID.
    fn jwt_svid(
        &self,
        caller: &Self::Caller,
        audience: Vec<String>,
    ) -> impl Future<Output = Result<JwtSvid, AgentError>> + Send;
    /// Opens a layer's key for a decoder.
    fn open(
        &self,
        caller: &Self::Caller,
        packet: Vec<u8>,
        image: ImageSetName,
        layer: LayerDescriptor,
        cnf: Confirmation,
    ) -> impl Future<Output = Result<Delivered, AgentError>> + Send;
    /// Every manifest on this node that lists a layer, for a decoder.
    fn layer_uses(
        &self,
        caller: &Self::Caller,
        layer: Digest,
    ) -> impl Future<Output = Result<Vec<LayerUse>, AgentError>> + Send;
    /// The trust domain's bundle.
    fn bundle(&self) -> watch::Receiver<Arc<Bundle>>;
    /// How the node stands.
    fn standing(&self) -> watch::Receiver<AgentStanding>;
    /// Tells when somebody gets a hand into a container from now on.
    fn hands(&self) -> HandWatch;
}

impl<C: Connector, P: Probe> WorkloadAgent for Agent<C, P> {
    type Caller = P::Caller;

    fn measure(
        &self,
        caller: &P::Caller,
    ) -> impl Future<Output = Result<WorkloadFacts, AgentError>> + Send {
        Agent::measure(self, caller)
    }

    fn read(
        &self,
        caller: &P::Caller,
        secret: SecretName,
        cnf: Confirmation,
    ) -> impl Future<Output = Result<Delivered, AgentError>> + Send {
        Agent::read(self, caller, secret, cnf)
    }

    fn lease(
        &self,
        caller: &P::Caller,
        credential: CredentialName,
        scram_verifier: String,
        cnf: Confirmation,
    ) -> impl Future<Output = Result<Delivered, AgentError>> + Send {
        Agent::lease(self, caller, credential, scram_verifier, cnf)
    }

    fn x509_svid(
        &self,
        caller: &P::Caller,
    ) -> impl Future<Output = Result<X509Svid, AgentError>> + Send {
        Agent::x509_svid(self, caller)
    }

    fn jwt_svid(
        &self,
        caller: &P::Caller,
        audience: Vec<String>,
    ) -> impl Future<Output = Result<JwtSvid, AgentError>> + Send {
        Agent::jwt_svid(self, caller, audience)
    }

    fn open(
        &self,
        caller: &P::Caller,
        packet: Vec<u8>,
        image: ImageSetName,
        layer: LayerDescriptor,
        cnf: Confirmation,
    ) -> impl Future<Output = Result<Delivered, AgentError>> + Send {
        Agent::open(self, caller, packet, image, layer, cnf)
    }

    fn layer_uses(
        &self,
        caller: &P::Caller,
        layer: Digest,
    ) -> impl Future<Output = Result<Vec<LayerUse>, AgentError>> + Send {
        Agent::layer_uses(self, caller, layer)
    }

    fn bundle(&self) -> watch::Receiver<Arc<Bundle>> {
        Agent::bundle(self)
    }

    fn standing(&self) -> watch::Receiver<AgentStanding> {
        Agent::standing(self)
    }

    fn hands(&self) -> HandWatch {
        Agent::hands(self)
    }
}

impl<C: Connector, P: Probe> GateAgent for Agent<C, P> {
    type Caller = P::Caller;

    fn gate(
        &self,
        caller: &P::Caller,
        question: GateQuestion,
    ) -> impl Future<Output = Result<GateAnswer, AgentError>> + Send {
        Agent::gate(self, caller, question)
    }
}

/// `PermissionDenied` is a decision and tells a client to come back seldom; `Unavailable` is none.
pub(crate) fn status(error: &AgentError) -> Status {
    let said = error.to_string();
    match error {
        AgentError::Denied { .. } | AgentError::Caller(_) | AgentError::Banned => {
            Status::permission_denied(said)
        }
        // The client says "not available now" itself.
        AgentError::Unavailable(why) => Status::unavailable(why.clone()),
        AgentError::NotAttested | AgentError::BadReceipt(_) => Status::unavailable(said),
        _ => Status::internal(said),
    }
}
