//! The agent as others see it: its configuration, its standing, and what can be asked of it.

use std::{sync::Arc, time::Duration};

use estate::{CredentialName, ImageSetName, NodeName, SecretName, Timestamp};
use evidence::{Confirmation, WorkloadFacts, request::LayerDescriptor};
use spiffe_id::{Bundle, SpiffeId, TrustDomain};
use tlog::VerifierKey;
use tokio::sync::watch;
use zeroize::Zeroizing;

use crate::{
    error::AgentError,
    ports::{CheckpointStore, Clock, Connector, NodeKeys, Outcome, Probe},
};

/// Who the agent is, and what it accepts.
#[derive(Debug, Clone)]
pub struct AgentConfig {
    /// The node's name in the inventory.
    pub node: NodeName,
    /// The trust domain of node and server.
    pub trust_domain: TrustDomain,
    /// The key of the ledger's checkpoints; absent: the one that the first admission names, from then on for ever.
    pub ledger_key: Option<VerifierKey>,
    /// Whether a lab's server is accepted. Its trust domain must end in `.lab`, too.
    pub allow_lab: bool,
    /// How long no server may be reached until what was given has to end.
    pub max_offline: Duration,
}

/// How the node stands with its server: state, not events.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct AgentStanding {
    /// A server has admitted this node and a connection to it is up.
    pub attested: bool,
    /// The node is banned: everything that was given ends.
    pub banned: bool,
    /// No server could be reached for longer than the configuration allows: everything that was given ends.
    pub offline: bool,
    /// The server is a lab.
    pub lab: bool,
    /// The node's epoch.
    pub epoch: u64,
    /// The estate's version.
    pub policy: u64,
    /// The bundle's sequence.
    pub bundle_sequence: u64,
    /// Leases of this node that ended.
    pub ended_leases: Vec<String>,
    /// Why there is no server at present that may be used; one line.
    pub fault: Option<String>,
}

/// An answer of the release path whose receipt was verified.
#[derive(Debug, Clone)]
pub struct Delivered {
    /// The request in canonical form.
    pub request: Vec<u8>,
    /// The leaf's bytes.
    pub leaf: Vec<u8>,
    /// tlog-proof.
    pub proof: String,
    /// Checkpoint verifier key.
    pub ledger_key: String,
    /// The server is a lab.
    pub lab: bool,
    /// What was released; never a denial, which is an [`AgentError`].
    pub outcome: Outcome,
}

/// An X.509-SVID with its key.
#[derive(Clone)]
pub struct X509Svid {
    /// Whom it identifies.
    pub id: SpiffeId,
    /// Leaf first, DER.
    pub chain: Vec<Vec<u8>>,
    /// The private key, PKCS#8.
    pub key_pkcs8: Zeroizing<Vec<u8>>,
    /// Its last second of validity.
    pub not_after: Timestamp,
}

/// A JWT-SVID.
#[derive(Clone)]
pub struct JwtSvid {
    /// Whom it identifies.
    pub id: SpiffeId,
    /// The token.
    pub token: String,
    /// The first second at which it is no longer valid.
    pub expires: Timestamp,
}

/// The agent of one node.
pub struct Agent<C: Connector, P: Probe> {
    pub(crate) config: AgentConfig,
    pub(crate) connector: C,
    pub(crate) probe: P,
    pub(crate) keys: Arc<dyn NodeKeys>,
    pub(crate) clock: Arc<dyn Clock>,
    pub(crate) checkpoints: Arc<dyn CheckpointStore>,
    standing: watch::Sender<AgentStanding>,
    bundle: watch::Sender<Arc<Bundle>>,
}

impl<C: Connector, P: Probe> Agent<C, P> {
    /// An agent that has not attested yet: [`Agent::run_forever`] makes it.
    pub fn build(
        config: AgentConfig,
        connector: C,
        probe: P,
        keys: Arc<dyn NodeKeys>,
        clock: Arc<dyn Clock>,
        checkpoints: Arc<dyn CheckpointStore>,
    ) -> Arc<Self> {
        let bundle = Arc::new(Bundle::new(&config.trust_domain));
        Arc::new(Self {
            config,
            connector,
            probe,
            keys,
            clock,
            checkpoints,
            standing: watch::Sender::new(AgentStanding::default()),
            bundle: watch::Sender::new(bundle),
        })
    }

    /// Attests, keeps the connection, answers quotes, renews, and starts again until the node is banned.
    pub async fn run_forever(self: Arc<Self>) {
        let _ = (&self.connector, &self.keys, &self.clock, &self.checkpoints, &self.config);
    }

    /// How the node stands.
    pub fn standing(&self) -> watch::Receiver<AgentStanding> {
        self.standing.subscribe()
    }

    /// The trust domain's bundle; empty until the first admission.
    pub fn bundle(&self) -> watch::Receiver<Arc<Bundle>> {
        self.bundle.subscribe()
    }

    /// Measures a caller.
    ///
    /// # Errors
    /// [`AgentError::Caller`], [`AgentError::Unavailable`]
    pub async fn measure(&self, caller: &P::Caller) -> Result<WorkloadFacts, AgentError> {
        Ok(self.probe.measure(caller).await?)
    }

    /// Reads a secret for a caller; it comes sealed to the caller's key.
    ///
    /// # Errors
    /// [`AgentError`]
    pub async fn read(
        &self,
        _caller: &P::Caller,
        _secret: SecretName,
        _cnf: Confirmation,
    ) -> Result<Delivered, AgentError> {
        Err(AgentError::NotAttested)
    }

    /// Leases a credential for a caller.
    ///
    /// # Errors
    /// [`AgentError`]
    pub async fn lease(
        &self,
        _caller: &P::Caller,
        _credential: CredentialName,
        _scram_verifier: String,
        _cnf: Confirmation,
    ) -> Result<Delivered, AgentError> {
        Err(AgentError::NotAttested)
    }

    /// An X.509-SVID for a caller.
    ///
    /// # Errors
    /// [`AgentError`]
    pub async fn x509_svid(&self, _caller: &P::Caller) -> Result<X509Svid, AgentError> {
        Err(AgentError::NotAttested)
    }

    /// A JWT-SVID for a caller.
    ///
    /// # Errors
    /// [`AgentError`]
    pub async fn jwt_svid(&self, _caller: &P::Caller, _audience: Vec<String>) -> Result<JwtSvid, AgentError> {
        Err(AgentError::NotAttested)
    }

    /// Opens the key of an encrypted layer for a decoder; it comes sealed to the decoder's key.
    ///
    /// # Errors
    /// [`AgentError`]
    pub async fn open(
        &self,
        _caller: &P::Caller,
        _packet: Vec<u8>,
        _image: ImageSetName,
        _layer: LayerDescriptor,
        _cnf: Confirmation,
    ) -> Result<Delivered, AgentError> {
        Err(AgentError::NotAttested)
    }
}
