//! The sweep: ends what must not live on, and what a crash left.

use super::{pauses::Pauses, *};

impl<S: Store, A: DatabaseAccounts> Server<S, A> {
    /// Sweeps for ever: at once when told, and every second.
    pub async fn sweep_forever(self: Arc<Self>) {
        let mut compared = None;
        let mut pace = Pace::AtOnce;
        loop {
            // `apply` does so, too; a crash or a failing store right after an estate came in force left leases that it does
            // not permit.
            let world = self.world();
            if compared != Some(world.version()) {
                match self.end_unpermitted(&world).await {
                    Ok(_) => compared = Some(world.version()),
                    Err(error) => {
                        tracing::warn!(error = %crate::nodes::chain(&error), "leases are not compared with the estate yet");
                    }
                }
            }
            if let Err(error) = self.aggregate_denials().await {
                tracing::warn!(error = %crate::nodes::chain(&error), "denials are not counted in the ledger yet");
            }
            if let Err(error) = self.sweep_at(pace).await {
                tracing::warn!(error = %crate::nodes::chain(&error), "sweep incomplete");
            }
            pace = tokio::select! {
                () = self.sweep.notified() => Pace::AtOnce,
                () = tokio::time::sleep(SWEEP_INTERVAL) => Pace::Patient,
            };
        }
    }

    /// Ends every role whose lease is ending, over, or was never granted.
    ///
    /// # Errors
    /// [`ReleaseError`]; leases of databases that do not answer stay due.
    pub async fn sweep_once(&self) -> Result<usize, ReleaseError> {
        self.sweep_at(Pace::AtOnce).await
    }

    /// As [`Server::sweep_once`]; `pace` says whether databases that failed a moment ago are asked again already.
    ///
    /// # Errors
    /// [`ReleaseError`]; leases of databases that do not answer stay due.
    pub async fn sweep_at(&self, pace: Pace) -> Result<usize, ReleaseError> {
        let now = self.now();
        let due = self
            .store
            .leases_due(now, now.minus(PENDING_PATIENCE))
            .await?;
        // A login is opened for the data set that it belongs to, so leases of another one stand apart.
        let mut by_database: BTreeMap<(DatabaseName, DataSetName), Vec<LeaseRow>> = BTreeMap::new();
        // Read after the due ones: whoever marks a lease later sees that it is ending, and makes nothing.
        let making = locked(&self.making).clone();
        for lease in due.into_iter().filter(|lease| !making.contains(&lease.id)) {
            by_database
                .entry((lease.database.clone(), lease.dataset.clone()))
                .or_default()
                .push(lease);
        }
        let mut ended = 0;
        let mut failure = None;
        for ((database, dataset), leases) in by_database {
            if pace == Pace::Patient && self.pauses().hold(&database, now) {
                continue;
            }
            match self.end_all(&database, &dataset, leases).await {
                Ok(count) => {
                    self.pauses().end(&database);
                    ended += count;
                }
                Err(error) => {
                    self.pauses().failed(&database, now);
                    failure = Some(error);
                }
            }
        }
        if ended > 0 {
            self.announce();
        }
        failure.map_or(Ok(ended), Err)
    }

    fn pauses(&self) -> std::sync::MutexGuard<'_, Pauses> {
        self.pauses.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(super) async fn end_all(
        &self,
        name: &DatabaseName,
        dataset: &DataSetName,
        leases: Vec<LeaseRow>,
    ) -> Result<usize, ReleaseError> {
        let world = self.world();
        let login = self.login(&world, name).await?.ok_or_else(|| {
            AccountError::Misconfigured(format!(
                "database `{name}` has no usable login in the estate"
            ))
        })?;
        let why = format!("end {} leases", leases.len());
        let connection = self.connect(&world, &login, dataset, why).await?;
        let roles: Vec<String> = leases.iter().map(|lease| lease.role.clone()).collect();
        let (gone, failure) = self.end_roles(&connection, &roles).await;
        let gone: Vec<LeaseRow> = leases
            .into_iter()
            .filter(|lease| gone.contains(&lease.role))
            .collect();
        for lease in &gone {
            let act = Act::new(ActKind::LeaseEnd, Actor::Authority)
                .field("lease", lease.id.to_string())
                .field("role", lease.role.clone())
                .field("reason", "ended")
                .effect(Effect::LeaseMoved(lease.id.clone(), LeaseOutcome::Ended))
                .guard(Guard::LeaseLive(lease.id.clone()));
            match self.ledger.record(act).await {
                Ok(_) | Err(NotRecorded::Refused(_)) => {}
                Err(NotRecorded::Unavailable(error)) => return Err(error.into()),
            }
        }
        failure.map_or(Ok(gone.len()), |error| Err(error.into()))
    }

    /// Ends roles, together where that works: one that can't be ended keeps no other alive. Answers those that are gone.
    pub(super) async fn end_roles(
        &self,
        connection: &Connection,
        roles: &[String],
    ) -> (BTreeSet<String>, Option<AccountError>) {
        match self.accounts.end(connection, roles).await {
            Ok(()) => return (roles.iter().cloned().collect(), None),
            Err(error @ AccountError::Unavailable(_)) => return (BTreeSet::new(), Some(error)),
            Err(error) if roles.len() < 2 => return (BTreeSet::new(), Some(error)),
            Err(_) => {}
        }
        let (mut gone, mut failure) = (BTreeSet::new(), None);
        for role in roles {
            match self
                .accounts
                .end(connection, std::slice::from_ref(role))
                .await
            {
                Ok(()) => {
                    gone.insert(role.clone());
                }
                Err(error) => {
                    let away = matches!(error, AccountError::Unavailable(_));
                    failure = Some(error);
                    if away {
                        break;
                    }
                }
            }
        }
        (gone, failure)
    }

    /// Ends roles that bear our prefix and belong to no live lease, as after a restored database.
    ///
    /// # Errors
    /// [`ReleaseError`]
    pub async fn sweep_orphans(&self) -> Result<usize, ReleaseError> {
        let world = self.world();
        let mut ended = 0;
        let mut failure = None;
        for database in world.estate.databases() {
            match self.end_orphans(&world, &database.name).await {
                Ok(count) => ended += count,
                Err(error) => failure = Some(error),
            }
        }
        failure.map_or(Ok(ended), Err)
    }

    pub(super) async fn end_orphans(
        &self,
        world: &World,
        name: &DatabaseName,
    ) -> Result<usize, ReleaseError> {
        let Some(login) = self.login(world, name).await? else {
            return Ok(0);
        };
        // A database on which the login's own data set has no credential was never agreed to by its owner.
        let mut credentials = world.estate.credentials();
        let owned = |credential: &Credential| {
            credential.database == *name && credential.dataset == login.secret.dataset
        };
        let Some(dataset) = credentials
            .find(|credential| owned(credential))
            .map(|credential| credential.dataset.clone())
        else {
            return Ok(0);
        };
        let why = "look for orphan roles".to_owned();
        let connection = self.connect(world, &login, &dataset, why).await?;
        // Roles first, leases after: a lease is on record before its role is made, so none that is being made now is
        // taken for an orphan.
        let mut orphans = self.accounts.list(&connection).await?;
        let live = self.store.leases(true).await?;
        orphans.retain(|role| !live.iter().any(|lease| lease.role == *role));
        let (gone, failure) = self.end_roles(&connection, &orphans).await;
        failure.map_or(Ok(gone.len()), |error| Err(error.into()))
    }
}

/// How soon a database that failed is asked again.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Pace {
    /// At once: somebody ended something.
    AtOnce,
    /// After a pause that doubles up to a minute: nothing new happened.
    Patient,
}

const SWEEP_INTERVAL: Duration = Duration::from_secs(1);

pub(super) const PENDING_PATIENCE: Duration = Duration::from_secs(30);
