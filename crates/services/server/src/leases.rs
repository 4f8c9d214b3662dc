//! Leases: intent, role, granted, answer, in this order; and the sweep that ends what must not live on.

pub(crate) mod pauses;
mod sweep;

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

use estate::{Credential, DataSetName, Database, DatabaseKind, DatabaseName, Grants, LeaseId};
use evidence::{
    Session, Statement,
    request::{Canonical, LeaseRequest},
};
use ledger::{
    Act, ActKind, Actor, Commitment, Effect, Guard, LeaseIntent, LeaseOutcome, LoggedPermit,
    NotRecorded,
    rows::{LeaseRow, SecretRow},
};
use policy::{DenialReason, Lease, Request};
use serde::{Deserialize, Serialize};

use self::sweep::PENDING_PATIENCE;
pub use self::sweep::Pace;
use crate::{
    ports::{AccountError, Connection, DatabaseAccounts, RoleSpec, Store, StoreError},
    release::{Answer, Circumstances, ReleaseError},
    server::Server,
    world::World,
};

/// What a workload needs beside its password: released sealed, although nothing of it is secret.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct LeasedConnection {
    /// The lease.
    pub lease: String,
    /// The role.
    pub user: String,
    /// Host of the database.
    pub host: String,
    /// Port of the database.
    pub port: u16,
    /// Name of the database.
    pub database: String,
    /// Certificates that the server must chain to, PEM.
    pub ca: String,
    /// End of the lease, RFC 3339.
    pub expires: String,
}

struct Found {
    credential: Credential,
    login: Login,
}

/// A database and the secret with which accounts are made on it, sealed still.
struct Login {
    database: Database,
    secret: SecretRow,
    ca: String,
}

impl<S: Store, A: DatabaseAccounts> Server<S, A> {
    /// Leases a credential: the role exists before the answer leaves, and never without a leaf.
    ///
    /// # Errors
    /// [`ReleaseError`]
    pub async fn lease(
        &self,
        on: &Session,
        statement: &Statement,
        canonical: &[u8],
    ) -> Result<Answer, ReleaseError> {
        let body = LeaseRequest::from_canonical(canonical)?;
        let at = self.circumstances(on).await?;
        let credential = at.world.estate.credential(&body.credential).cloned();
        let Some(credential) = credential else {
            let verdict = self.unknown::<Lease>(
                &at,
                "credential",
                format!("credential `{}`", body.credential),
            );
            return Err(self.denied(verdict).await);
        };
        let verifier = body.verifier.clone();
        let request = Request::lease(body, credential.dataset.clone());
        let found = self.find(&at, credential.clone()).await?;
        let refusal = match (&found, self.accounts.accepts(&verifier)) {
            (None, _) => Some(DenialReason::Unknown(
                "connection to the database of this credential",
            )),
            // Else whoever owns another data set could have our login sent to an address of their own.
            (Some(found), _) if found.login.secret.dataset != credential.dataset => Some(
                DenialReason::Unknown("login to the database in the data set of this credential"),
            ),
            (Some(found), _) if found.login.database.kind != DatabaseKind::Postgresql => Some(
                DenialReason::Unknown("way to make accounts on this kind of database"),
            ),
            (_, false) => Some(DenialReason::Unknown("SCRAM-SHA-256 verifier of that form")),
            _ => None,
        };
        let verdict = self
            .verdict(&at, on, statement, canonical, request)
            .refuse_if(refusal);
        let intent = self.intent(&at, &credential, &verdict, verifier);
        let logged = self
            .commit(verdict, vec![Effect::Lease(intent.clone())])
            .await?;
        match found {
            Some(found) => self.fulfil(&at, logged, intent, found).await,
            None => Err(ReleaseError::Undelivered(
                "the connection vanished".to_owned(),
            )),
        }
    }

    fn intent(
        &self,
        at: &Circumstances,
        credential: &Credential,
        verdict: &policy::Verdict<Lease>,
        verifier: String,
    ) -> LeaseIntent {
        let image = match verdict {
            policy::Verdict::Permitted(permit) => permit
                .evidence()
                .workload()
                .and_then(|workload| workload.image.as_ref())
                .map(|image| image.config),
            policy::Verdict::Denied(_) => None,
        };
        let longest = at
            .world
            .estate
            .dataset(&credential.dataset)
            .map(|dataset| dataset.max_lease.duration());
        let ttl = credential.ttl.duration().min(longest.unwrap_or_default());
        LeaseIntent {
            tenant: self.tenant.clone(),
            credential: credential.name.clone(),
            dataset: credential.dataset.clone(),
            database: credential.database.clone(),
            node: at.node.facts.name.clone(),
            node_epoch: at.node.facts.epoch,
            image,
            expires: at.now.plus(ttl),
            verifier,
        }
    }

    /// Everything that can be missing is looked for before the ledger is asked.
    async fn find(
        &self,
        at: &Circumstances,
        credential: Credential,
    ) -> Result<Option<Found>, StoreError> {
        let login = self.login(&at.world, &credential.database).await?;
        Ok(login.map(|login| Found { credential, login }))
    }

    async fn login(&self, world: &World, name: &DatabaseName) -> Result<Option<Login>, StoreError> {
        let Some(database) = world.estate.database(name).cloned() else {
            return Ok(None);
        };
        let Some(secret) = self.store.secret(&database.login).await? else {
            return Ok(None);
        };
        if !self.custody().holds_key_of(&secret) {
            return Ok(None);
        }
        let ca = database
            .ca
            .as_deref()
            .and_then(|path| world.estate.key_file(path))
            .unwrap_or_default()
            .to_owned();
        Ok(Some(Login {
            database,
            secret,
            ca,
        }))
    }

    async fn fulfil(
        &self,
        at: &Circumstances,
        logged: LoggedPermit<Lease>,
        intent: LeaseIntent,
        found: Found,
    ) -> Result<Answer, ReleaseError> {
        let index = logged.commitment().index;
        let (id, role) = (intent.id(index), intent.role(index));
        let lease: LeaseId = id
            .parse()
            .map_err(|_| ReleaseError::Undelivered("lease id".to_owned()))?;
        let making = Making::begin(&self.making, &lease);
        let made = match self.is_pending(at, &lease).await {
            Ok(()) => self.create(at, &intent, &found, &role).await,
            Err(error) => Err(error),
        };
        let granted = match made {
            Ok(()) => self.grant(&lease, &role).await,
            Err(error) => Err(error),
        };
        drop(making);
        let granted = match granted {
            Ok(granted) => granted,
            Err(error) => {
                self.abandon(&logged, &lease, &error).await?;
                return Err(error);
            }
        };
        let connection = connection(&id, &role, &intent, &found);
        self.deliver(self.custody().deliver_lease(logged, &granted, &connection))
            .await
    }

    /// Whether no sweep can have begun to end the lease before it was marked as being made.
    async fn is_pending(&self, at: &Circumstances, lease: &LeaseId) -> Result<(), ReleaseError> {
        let young = self
            .now()
            .since(at.now)
            .is_some_and(|age| age < PENDING_PATIENCE);
        let row = self.store.lease(lease).await?;
        match young && row.is_some_and(|row| row.outcome.is_none()) {
            true => Ok(()),
            false => Err(ReleaseError::Undelivered(
                "the lease ended before its role was made".to_owned(),
            )),
        }
    }

    async fn create(
        &self,
        at: &Circumstances,
        intent: &LeaseIntent,
        found: &Found,
        role: &str,
    ) -> Result<(), ReleaseError> {
        let why = format!("create role `{role}`");
        let connection = self
            .connect(&at.world, &found.login, &intent.dataset, why)
            .await?;
        let grants = match &found.credential.grants {
            Grants::Sql(grants) => grants.iter().cloned().collect(),
            Grants::Document(_) => Vec::new(),
        };
        let spec = RoleSpec {
            connection,
            role: role.to_owned(),
            verifier: intent.verifier.clone(),
            expires: intent.expires,
            credential: intent.credential.clone(),
            grants,
        };
        Ok(self.accounts.create(&spec).await?)
    }

    /// The server's own use of a connection secret: permit, leaf, door, like everybody's.
    async fn connect(
        &self,
        world: &World,
        login: &Login,
        for_dataset: &DataSetName,
        why: String,
    ) -> Result<Connection, ReleaseError> {
        let Login {
            database,
            secret,
            ca,
        } = login;
        let permit = world
            .policies
            .decide_connection(&database.name, &secret.dataset, for_dataset)
            .ok_or_else(|| {
                ReleaseError::Undelivered("no connection to that database is permitted".to_owned())
            })?;
        let logged = self.ledger.commit_connection(permit, why).await?;
        let login = self
            .custody()
            .open_connection(logged, secret)
            .map_err(|error| ReleaseError::Undelivered(error.to_string()))?;
        Ok(Connection {
            url: database.url.to_string(),
            ca_pem: ca.clone(),
            login,
        })
    }

    async fn grant(&self, lease: &LeaseId, role: &str) -> Result<ledger::LoggedAct, ReleaseError> {
        let act = Act::new(ActKind::LeaseGranted, Actor::Authority)
            .field("lease", lease.to_string())
            .field("role", role)
            .effect(Effect::LeaseMoved(lease.clone(), LeaseOutcome::Granted))
            .guard(Guard::LeasePending(lease.clone()));
        match self.ledger.record(act).await {
            Ok(logged) => Ok(logged),
            // A ban or a new estate came between: the lease is ending already, and no answer leaves.
            Err(NotRecorded::Refused(refusal)) => Err(ReleaseError::Undelivered(
                refusal.guard.failure().to_owned(),
            )),
            Err(NotRecorded::Unavailable(error)) => Err(ReleaseError::Journal(error)),
        }
    }

    async fn abandon(
        &self,
        logged: &LoggedPermit<Lease>,
        lease: &LeaseId,
        error: &ReleaseError,
    ) -> Result<(), ReleaseError> {
        self.ledger
            .undelivered(logged, &crate::nodes::chain(error))
            .await?;
        let act = Act::new(ActKind::LeaseEnd, Actor::Authority)
            .field("lease", lease.to_string())
            .field("reason", "the role could not be granted")
            .effect(Effect::LeaseMoved(lease.clone(), LeaseOutcome::Ending))
            .guard(Guard::LeaseLive(lease.clone()));
        let _ended = self.ledger.record(act).await;
        self.sweep.notify_one();
        Ok(())
    }

    /// Ends a lease on somebody's word; its role is gone within a second.
    ///
    /// # Errors
    /// [`NotRecorded`]
    pub async fn revoke(&self, lease: &LeaseId, actor: Actor) -> Result<Commitment, NotRecorded> {
        let act = Act::new(ActKind::LeaseEnd, actor)
            .field("lease", lease.to_string())
            .field("reason", "revoked")
            .effect(Effect::LeaseMoved(lease.clone(), LeaseOutcome::Ending))
            .guard(Guard::LeaseLive(lease.clone()));
        let logged = self.ledger.record(act).await?;
        self.sweep.notify_one();
        self.announce();
        Ok(logged.commitment().clone())
    }

    /// All leases, or those that have not ended.
    ///
    /// # Errors
    /// [`StoreError`]
    pub async fn leases(&self, live: bool) -> Result<Vec<LeaseRow>, StoreError> {
        self.store.leases(live).await
    }
}

/// A lease whose role is being made, until dropped.
struct Making<'a> {
    all: &'a Mutex<BTreeSet<LeaseId>>,
    lease: &'a LeaseId,
}

impl<'a> Making<'a> {
    fn begin(all: &'a Mutex<BTreeSet<LeaseId>>, lease: &'a LeaseId) -> Self {
        locked(all).insert(lease.clone());
        Self { all, lease }
    }
}

impl Drop for Making<'_> {
    fn drop(&mut self) {
        locked(self.all).remove(self.lease);
    }
}

fn locked(all: &Mutex<BTreeSet<LeaseId>>) -> std::sync::MutexGuard<'_, BTreeSet<LeaseId>> {
    all.lock().unwrap_or_else(PoisonError::into_inner)
}

fn connection(id: &str, role: &str, intent: &LeaseIntent, found: &Found) -> Vec<u8> {
    let Login { database, ca, .. } = &found.login;
    let url = &database.url;
    let connection = LeasedConnection {
        lease: id.to_owned(),
        user: role.to_owned(),
        host: url.host().to_owned(),
        port: url.port(),
        database: url.database().unwrap_or_default().to_owned(),
        ca: ca.clone(),
        expires: intent.expires.to_string(),
    };
    serde_json::to_vec(&connection).unwrap_or_default()
}
