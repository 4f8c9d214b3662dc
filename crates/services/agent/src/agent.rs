//! The agent as others see it: its configuration, its standing, and what can be asked of it.

use std::{
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

use estate::{NodeName, Timestamp};
use spiffe_id::{Bundle, SpiffeId, TrustDomain};
use tlog::VerifierKey;
use tokio::{
    sync::{RwLock, RwLockReadGuard, watch},
    time::{Instant, interval, timeout},
};
use zeroize::Zeroizing;

use crate::{
    error::AgentError,
    exposure::{HandWatch, Hands},
    held::Turns,
    ports::{CheckpointStore, Clock, Connector, NodeKeys, Outcome, Probe},
    session::{Session, SessionError},
    svid::SvidCache,
    witness::Witness,
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
    pub(crate) witness: Arc<Witness>,
    pub(crate) svids: SvidCache,
    pub(crate) turns: Turns,
    pub(crate) hands: Arc<Hands>,
    /// LOCK: shared by each request from its signature to its answer; alone while the node's keys change.
    pub(crate) gate: RwLock<()>,
    session: watch::Sender<Option<Arc<Session<C::Link>>>>,
    standing: watch::Sender<AgentStanding>,
    bundle: watch::Sender<Arc<Bundle>>,
    /// When a server was heard last.
    contact: Mutex<Instant>,
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
        let witness = Arc::new(Witness::new(checkpoints, config.ledger_key.clone()));
        Arc::new(Self {
            config,
            connector,
            probe,
            keys,
            clock,
            witness,
            svids: SvidCache::default(),
            turns: Turns::default(),
            hands: Arc::default(),
            gate: RwLock::new(()),
            session: watch::Sender::new(None),
            standing: watch::Sender::new(AgentStanding::default()),
            bundle: watch::Sender::new(bundle),
            contact: Mutex::new(Instant::now()),
        })
    }

    /// How the node stands.
    pub fn standing(&self) -> watch::Receiver<AgentStanding> {
        self.standing.subscribe()
    }

    /// The trust domain's bundle; empty until the first admission.
    pub fn bundle(&self) -> watch::Receiver<Arc<Bundle>> {
        self.bundle.subscribe()
    }

    /// Tells when somebody gets a hand into a container from now on: what it was given ends.
    pub fn hands(&self) -> HandWatch {
        self.hands.watch()
    }

    /// The session of the moment, and a guard that keeps it until the request is over. While there is none, a request
    /// waits a little.
    pub(crate) async fn session(
        &self,
    ) -> Result<(Arc<Session<C::Link>>, RwLockReadGuard<'_, ()>), AgentError> {
        let mut session = self.session.subscribe();
        let up = async {
            loop {
                let _ = session.wait_for(Option::is_some).await;
                let guard = self.gate.read().await;
                if let Some(session) = session.borrow().clone() {
                    return (session, guard);
                }
            }
        };
        self.refuse_if_banned()?;
        timeout(REQUEST_PATIENCE, up)
            .await
            .map_err(|_| self.absence())
    }

    pub(crate) fn refuse_if_banned(&self) -> Result<(), AgentError> {
        match self.standing.borrow().banned {
            true => Err(AgentError::Banned),
            false => Ok(()),
        }
    }

    /// Refuses what is at hand, too, once no server was heard for too long.
    pub(crate) fn refuse_if_offline(&self) -> Result<(), AgentError> {
        match self.standing.borrow().offline {
            true => Err(self.absence()),
            false => Ok(()),
        }
    }

    fn absence(&self) -> AgentError {
        let standing = self.standing.borrow();
        let fault = standing
            .fault
            .clone()
            .unwrap_or_else(|| "no session with a server".into());
        match (standing.banned, standing.epoch) {
            (true, _) => AgentError::Banned,
            (false, 0) => AgentError::NotAttested,
            (false, _) => AgentError::Unavailable(fault),
        }
    }

    pub(crate) fn publish(&self, session: &Arc<Session<C::Link>>) {
        self.session.send_replace(Some(Arc::clone(session)));
        self.touch();
        self.change_standing(|standing| {
            standing.attested = true;
            standing.offline = false;
            standing.lab = session.identity.lab;
            standing.epoch = session.identity.epoch;
            standing.fault = None;
        });
    }

    pub(crate) fn publish_bundle(&self, bundle: Bundle) {
        self.bundle.send_replace(Arc::new(bundle));
    }

    /// There is no session any more.
    pub(crate) fn withdraw(&self, why: &SessionError) {
        self.session.send_replace(None);
        self.change_standing(|standing| {
            standing.attested = false;
            standing.fault = Some(why.to_string());
        });
    }

    /// The node is banned: nothing is given any more.
    pub(crate) fn stop(&self) {
        self.svids.clear();
        self.change_standing(|standing| standing.banned = true);
    }

    pub(crate) fn change_standing(&self, change: impl FnOnce(&mut AgentStanding)) {
        self.standing.send_if_modified(|standing| {
            let before = standing.clone();
            change(standing);
            *standing != before
        });
    }

    /// A server was heard.
    pub(crate) fn touch(&self) {
        *self.contact.lock().unwrap_or_else(PoisonError::into_inner) = Instant::now();
    }

    /// The dead man's switch: says so when no server was heard for too long.
    pub(crate) async fn watch_contact(&self) {
        let mut tick = interval(CONTACT_TICK);
        loop {
            tick.tick().await;
            let silent = self
                .contact
                .lock()
                .unwrap_or_else(PoisonError::into_inner)
                .elapsed();
            let offline = silent > self.config.max_offline;
            self.change_standing(|standing| standing.offline = offline);
        }
    }
}

/// How long a request waits for a session.
const REQUEST_PATIENCE: Duration = Duration::from_secs(5);
const CONTACT_TICK: Duration = Duration::from_millis(500);
