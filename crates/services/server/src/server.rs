//! The server as one value: what it holds, and how it is put together.

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::{Arc, Mutex, PoisonError, RwLock},
    time::Duration,
};

use custody::{Custody, Kek};
use estate::{Founders, LeaseId, NodeName, PersonId, TenantName, Timestamp};
use evidence::Verifier;
use issuer::Serial;
use ledger::{Act, ActKind, Actor, Entropy, Ledger, NotRecorded};
use spiffe_id::TrustDomain;
use tokio::sync::{Notify, watch};

use crate::{
    genesis,
    keyring::{self, Keyring, KeyringError},
    ports::{Clock, DatabaseAccounts, Store, StoreError},
    standing::Changes,
    world::{World, WorldError},
};

/// What a server is built from.
pub struct Parts<S, A> {
    /// Store and journal.
    pub store: Arc<S>,
    /// Users on databases.
    pub accounts: A,
    /// Real or simulated time.
    pub clock: Arc<dyn Clock>,
    /// Real or seeded randomness.
    pub entropy: Arc<dyn Entropy>,
    /// Wraps the server's keys.
    pub kek: Kek,
    /// Trust domain.
    pub trust_domain: TrustDomain,
    /// Tenant.
    pub tenant: TenantName,
    /// Made by `server init --lab`, for ever.
    pub lab: bool,
    /// Manufacturers whose endorsement certificates count; without any, no TPM is believed.
    pub manufacturers: Option<tpm_quote::ManufacturerRoots>,
    /// Checkpoint verifier key, as in signed-note.
    pub ledger_key: String,
    /// How often a node is asked for a fresh quote, give or take a twelfth.
    pub quote_interval: Duration,
}

/// The server does not start.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum StartError {
    /// Fault: see the source.
    #[error("the store can't be read")]
    Store(#[from] StoreError),
    /// Fault: see the source.
    #[error("the server's keys can't be used")]
    Keys(#[from] KeyringError),
    /// Fault: whoever edited the database.
    #[error("the estate in force can't be loaded")]
    World(#[from] WorldError),
    /// Fault: the store.
    #[error("the start can't be recorded")]
    Ledger(#[from] NotRecorded),
    /// Fault: whoever configured it: a lab's trust domain ends in `.lab`, and no other does.
    #[error("trust domain `{0}` and lab mode do not fit")]
    Lab(TrustDomain),
}

/// The server.
pub struct Server<S, A> {
    pub(crate) store: Arc<S>,
    pub(crate) ledger: Ledger<S>,
    pub(crate) accounts: A,
    pub(crate) clock: Arc<dyn Clock>,
    pub(crate) entropy: Arc<dyn Entropy>,
    pub(crate) kek: Kek,
    pub(crate) keyring: Keyring,
    pub(crate) verifier: Verifier,
    pub(crate) trust_domain: TrustDomain,
    pub(crate) tenant: TenantName,
    pub(crate) lab: bool,
    pub(crate) manufacturers: Option<tpm_quote::ManufacturerRoots>,
    pub(crate) ledger_key: String,
    /// Who signs the first version, and later what has no rule of approval; fixed by the first leaf.
    pub(crate) founders: Founders,
    pub(crate) quote_interval: Duration,
    pub(crate) changes: watch::Sender<Changes>,
    pub(crate) sweep: Notify,
    /// Leases whose role is being made: none of them is ended before that is over, or the role would come after its end.
    pub(crate) making: Mutex<BTreeSet<LeaseId>>,
    /// One change at a time; guards in the transaction keep two servers apart.
    pub(crate) applying: tokio::sync::Mutex<()>,
    world: RwLock<Arc<World>>,
    custody: RwLock<Arc<Custody>>,
    /// Nonces of quotes that were asked for and not answered yet, by node. Short-lived; lost at a restart.
    pub(crate) nonces: Mutex<BTreeMap<NodeName, crate::nodes::PendingQuote>>,
    /// Databases that failed at a sweep.
    pub(crate) pauses: Mutex<crate::leases::pauses::Pauses>,
    /// Denials by node.
    pub(crate) budget: Mutex<crate::budget::DenialBudget>,
    /// Refused attestations.
    pub(crate) strangers: Mutex<crate::budget::StrangerBudget>,
    /// What agents said of the ledger.
    pub(crate) witnesses: crate::witnesses::Witnesses,
    /// Live directive streams by node: two at once with one endorsement key end both.
    pub(crate) streams: Mutex<BTreeMap<NodeName, u64>>,
}

impl<S: Store, A: DatabaseAccounts> Server<S, A> {
    /// Loads keys and estate, and records the start. Nothing listens yet.
    ///
    /// # Errors
    /// [`StartError`]
    pub async fn build(parts: Parts<S, A>) -> Result<Arc<Self>, StartError> {
        let Parts {
            store,
            accounts,
            clock,
            entropy,
            kek,
            trust_domain,
            tenant,
            lab,
            manufacturers,
            ledger_key,
            quote_interval,
        } = parts;
        if lab != trust_domain.to_string().ends_with(".lab") {
            return Err(StartError::Lab(trust_domain));
        }
        let keyring = Keyring::load(store.as_ref(), &kek, &trust_domain).await?;
        let founders = genesis::founders(store.as_ref(), &ledger_key).await?;
        let world = World::in_force(store.as_ref(), &tenant, &ledger_key, &founders).await?;
        let authority = evidence::statement::authority(&trust_domain);
        let custody =
            keyring::hold_all(store.as_ref(), &kek, authority, &world.estate, clock.now()).await?;
        let ledger = Ledger::new(Arc::clone(&store), Arc::clone(&entropy));
        ledger.set_basis(world.policies.basis());
        let act = Act::new(ActKind::ServerStart, Actor::Authority)
            .field("lab", lab)
            .field("custody", kek.provider());
        let _logged = ledger.record(act).await?;
        let (changes, _) = watch::channel(Changes::default());
        Ok(Arc::new(Self {
            verifier: Verifier::new(trust_domain.clone()),
            store,
            ledger,
            accounts,
            clock,
            entropy,
            kek,
            keyring,
            trust_domain,
            tenant,
            lab,
            manufacturers,
            ledger_key,
            founders,
            quote_interval,
            changes,
            sweep: Notify::new(),
            making: Mutex::default(),
            applying: tokio::sync::Mutex::new(()),
            world: RwLock::new(world),
            custody: RwLock::new(Arc::new(custody)),
            nonces: Mutex::default(),
            pauses: Mutex::default(),
            budget: Mutex::default(),
            strangers: Mutex::default(),
            witnesses: crate::witnesses::Witnesses::default(),
            streams: Mutex::default(),
        }))
    }

    /// The estate in force.
    pub fn world(&self) -> Arc<World> {
        Arc::clone(&self.world.read().unwrap_or_else(PoisonError::into_inner))
    }

    pub(crate) fn custody(&self) -> Arc<Custody> {
        Arc::clone(&self.custody.read().unwrap_or_else(PoisonError::into_inner))
    }

    pub(crate) fn swap(&self, world: Arc<World>, custody: Custody) {
        self.ledger.set_basis(world.policies.basis());
        *self.custody.write().unwrap_or_else(PoisonError::into_inner) = Arc::new(custody);
        *self.world.write().unwrap_or_else(PoisonError::into_inner) = world;
    }

    /// Whether the estate in force names somebody as a robot.
    pub fn is_robot(&self, person: &PersonId) -> bool {
        let world = self.world();
        let known = world.estate.people().persons.get(person);
        known.is_some_and(|known| known.robot)
    }

    /// Now, by the server's clock.
    pub fn now(&self) -> Timestamp {
        self.clock.now()
    }

    /// Trust domain.
    pub fn trust_domain(&self) -> &TrustDomain {
        &self.trust_domain
    }

    /// Whether this is a lab, for ever.
    pub fn is_lab(&self) -> bool {
        self.lab
    }

    /// Checkpoint verifier key.
    pub fn ledger_key(&self) -> &str {
        &self.ledger_key
    }

    /// The root certificate, DER.
    pub fn root_der(&self) -> &[u8] {
        self.keyring.authority.root_der()
    }

    /// The store, for what is public in it (checkpoint, tiles, consistency).
    pub fn store(&self) -> &S {
        self.store.as_ref()
    }

    /// The ledger, for acts that an adapter records, such as a refused caller.
    pub fn ledger(&self) -> &Ledger<S> {
        &self.ledger
    }

    pub(crate) fn serial(&self) -> Serial {
        let mut bytes = [0; 16];
        self.entropy.fill(&mut bytes);
        Serial(bytes)
    }

    pub(crate) fn random(&self) -> [u8; 32] {
        let mut bytes = [0; 32];
        self.entropy.fill(&mut bytes);
        bytes
    }

    /// The server's own TLS certificate for a key made by the caller.
    ///
    /// # Errors
    /// The issuer's error.
    pub fn server_certificate(
        &self,
        names: &[String],
        spki: &[u8],
    ) -> Result<Vec<Vec<u8>>, issuer::IssueError> {
        self.keyring
            .authority
            .server_certificate(names, spki, self.serial(), self.now())
    }

    /// SPIFFE bundle document of the trust domain: X.509 roots and JWT keys. Its sequence is 1 until keys rotate.
    ///
    /// # Errors
    /// [`StoreError::Corrupt`] when the root certificate can't be read.
    pub fn bundle(&self) -> Result<spiffe_id::Bundle, StoreError> {
        let authority = &self.keyring.authority;
        spiffe_id::Bundle::new(&self.trust_domain)
            .with_x509_authority(authority.root_der())
            .and_then(|bundle| bundle.with_jwt_authority(authority.jwt_key()))
            .map(|bundle| bundle.with_sequence(1))
            .map_err(|_| StoreError::Corrupt("root certificate".to_owned()))
    }
}
