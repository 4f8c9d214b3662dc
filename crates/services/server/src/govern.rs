//! Governance: the estate and its changes, secrets as people handle them, and questions about policy.

use std::sync::Arc;

use estate::{
    Change, ChangeRecord, DataSetName, EstateHash, ImageSetName, PersonId, PolicyVersion,
    SecretName, Verb,
};
use evidence::{Action, NodeFacts};
use ledger::{
    Act, ActKind, Actor, Commitment, Effect, Guard, LeaseOutcome, NotRecorded,
    rows::{EstateRow, LeaseRow, SecretRow},
};
use policy::{Facts, Measured, Target, TestReport, TestVerdict};
use serde::{Deserialize, Serialize};

use crate::{
    keyring::{self, KeyringError},
    ports::{DatabaseAccounts, EstateVersion, Store, StoreError},
    server::Server,
    world::{World, WorldError},
};

/// Something that people asked for was not done.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum GovernError {
    /// Fault: whoever wrote the estate.
    #[error("{0}")]
    World(#[from] WorldError),
    /// Fault: whoever wrote the estate or its tests.
    #[error("tests of the estate fail:\n{0}")]
    Tests(String),
    /// Fault: the caller: files are missing, or `prune` is.
    #[error("these would be removed: {0}")]
    WouldRemove(String),
    /// Fault: none; somebody was faster, or there is nothing to change.
    #[error("{0}")]
    Conflict(String),
    /// Fault: the caller.
    #[error("there is no {kind} `{name}`")]
    NotFound {
        /// What kind of thing.
        kind: &'static str,
        /// Its name.
        name: String,
    },
    /// Fault: the caller: the secret is not sealed to the data set's key, or not in this form.
    #[error("the secret is refused: {0}")]
    Secret(&'static str),
    /// Fault: the store.
    #[error("the store can't be read")]
    Store(#[from] StoreError),
    /// Fault: see the source.
    #[error("the act could not be recorded")]
    NotRecorded(#[from] NotRecorded),
    /// Fault: see the source.
    #[error("keys can't be used")]
    Keys(#[from] KeyringError),
}

/// What an estate would change.
#[derive(Debug, Clone, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Plan {
    /// The version in force.
    pub base: PolicyVersion,
    /// Its hash.
    pub base_hash: EstateHash,
    /// Hash of the estate that would be in force.
    pub result_hash: EstateHash,
    /// Hash of the change: what owners will sign.
    pub change: String,
    /// What changes.
    pub changes: Vec<Change>,
}

/// An estate that was applied.
#[derive(Debug, Clone, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Applied {
    /// Its number.
    pub version: PolicyVersion,
    /// What changed.
    pub plan: Plan,
    /// Leases that the new estate no longer permits; they are ending.
    pub ended_leases: Vec<String>,
    /// Index of its leaf.
    pub leaf: u64,
    /// tlog-proof.
    pub receipt: String,
}

/// How the server is.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Status {
    /// Trust domain.
    pub trust_domain: String,
    /// Tenant.
    pub tenant: String,
    /// Made by `server init --lab`.
    pub lab: bool,
    /// Where the key-encryption key comes from.
    pub custody: String,
    /// Version of the estate.
    pub policy: u64,
    /// Hash of the estate.
    pub estate: String,
    /// Fingerprint of the root, for clients to pin.
    pub root: String,
    /// Checkpoint verifier key.
    pub ledger_key: String,
    /// Newest checkpoint.
    pub checkpoint: String,
    /// Attested nodes that are not banned.
    pub nodes: usize,
    /// Leases that have not ended.
    pub leases: usize,
    /// What its operator should know.
    pub warnings: Vec<String>,
}

/// A secret as people see it: never its value.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct SecretSummary {
    /// Its name.
    pub name: SecretName,
    /// `sealed`, always.
    pub value: String,
    /// Newest version.
    pub version: u64,
    /// Whose data.
    pub dataset: DataSetName,
    /// HPKE suite.
    pub suite: String,
    /// Who put it.
    pub by: String,
}

/// A sealed secret on its way in.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct SealedSecret {
    /// The version it was sealed as: the newest plus one.
    pub version: u64,
    /// Whose data.
    pub dataset: DataSetName,
    /// HPKE suite.
    pub suite: String,
    /// Key that it is sealed to, `sha256:…`.
    pub key_id: String,
    /// Encapsulated key, base64.
    pub enc: String,
    /// Ciphertext, base64.
    pub ct: String,
}

impl<S: Store, A: DatabaseAccounts> Server<S, A> {
    /// What these files would change.
    ///
    /// # Errors
    /// [`GovernError`]
    pub fn plan(
        &self,
        files: Vec<(String, String)>,
        submitter: Option<PersonId>,
    ) -> Result<Plan, GovernError> {
        let (_, plan) = self.prepare(files, submitter)?;
        Ok(plan)
    }

    fn prepare(
        &self,
        files: Vec<(String, String)>,
        submitter: Option<PersonId>,
    ) -> Result<(Arc<World>, Plan), GovernError> {
        let now = self.world();
        let next = World::load(files, now.version().next(), &self.tenant)?;
        let failed = failures(&next.policies.test(self.now()));
        if !failed.is_empty() {
            return Err(GovernError::Tests(failed));
        }
        let record = ChangeRecord::new(&now.estate, &next.estate, submitter, self.now());
        let plan = Plan {
            base: now.version(),
            base_hash: now.hash(),
            result_hash: next.hash(),
            change: record.hash().to_string(),
            changes: record.changes,
        };
        Ok((next, plan))
    }

    /// Applies an estate as one version. Nothing is removed unless `prune` says so.
    ///
    /// # Errors
    /// [`GovernError`]
    pub async fn apply(
        &self,
        files: Vec<(String, String)>,
        prune: bool,
        actor: Actor,
        submitter: Option<PersonId>,
    ) -> Result<Applied, GovernError> {
        let _one_at_a_time = self.applying.lock().await;
        let (next, plan) = self.prepare(files, submitter)?;
        if plan.base_hash == plan.result_hash {
            return Err(GovernError::Conflict("nothing changes".to_owned()));
        }
        let removed = removals(&plan);
        if !prune && !removed.is_empty() {
            return Err(GovernError::WouldRemove(removed.join(", ")));
        }
        self.keep_ways_to_leases(&next).await?;
        // Keys first: an image set without its key would be in force but could not be encrypted to.
        let authority = evidence::statement::authority(&self.trust_domain);
        let custody = keyring::hold_all(
            self.store.as_ref(),
            &self.kek,
            authority,
            &next.estate,
            self.now(),
        )
        .await?;
        let logged = self
            .ledger
            .record(self.apply_act(&next, &plan, actor)?)
            .await
            .map_err(|error| match error {
                NotRecorded::Refused(refusal) => {
                    GovernError::Conflict(refusal.guard.failure().to_owned())
                }
                error @ NotRecorded::Unavailable(_) => GovernError::NotRecorded(error),
            })?;
        self.swap(Arc::clone(&next), custody);
        let ended_leases = self.end_unpermitted(&next).await?;
        self.announce();
        let Commitment { index, receipt, .. } = logged.commitment().clone();
        Ok(Applied {
            version: next.version(),
            plan,
            ended_leases,
            leaf: index,
            receipt,
        })
    }

    /// A role can be ended only through its database's entry: that stays as long as a lease lives there.
    async fn keep_ways_to_leases(&self, next: &World) -> Result<(), GovernError> {
        let world = self.world();
        for lease in self.store.leases(true).await? {
            let name = &lease.database;
            let (before, after) = (world.estate.database(name), next.estate.database(name));
            if before.is_some_and(|before| after.is_none_or(|after| after.url != before.url)) {
                return Err(GovernError::Conflict(format!(
                    "database `{name}` has live leases: end them before it is removed or moved, or their roles stay"
                )));
            }
        }
        Ok(())
    }

    fn apply_act(&self, next: &World, plan: &Plan, actor: Actor) -> Result<Act, GovernError> {
        let files = serde_json::to_string(&next.files)
            .map_err(|_| StoreError::Corrupt("estate files".to_owned()))?;
        let row = EstateRow {
            version: next.version(),
            hash: next.hash(),
            files,
            change: plan.change.clone(),
            by: actor.to_string(),
        };
        let summary: Vec<String> = plan.changes.iter().map(ToString::to_string).collect();
        Ok(Act::new(ActKind::EstateApply, actor)
            .field("policy", next.version().0)
            .field("estate", next.hash().0.to_string())
            .field("change", plan.change.clone())
            .field("changes", summary)
            .effect(Effect::Estate(Box::new(row)))
            .guard(Guard::Policy(plan.base)))
    }

    /// Ends the live leases that the estate in force would not grant to the same node and image.
    pub(crate) async fn end_unpermitted(&self, world: &World) -> Result<Vec<String>, GovernError> {
        let mut ended = Vec::new();
        for lease in self.store.leases(true).await? {
            if self.still_permitted(world, &lease).await? {
                continue;
            }
            let act = Act::new(ActKind::LeaseEnd, Actor::Authority)
                .field("lease", lease.id.to_string())
                .field("reason", "the estate no longer permits it")
                .effect(Effect::LeaseMoved(lease.id.clone(), LeaseOutcome::Ending))
                .guard(Guard::LeaseLive(lease.id.clone()));
            match self.ledger.record(act).await {
                Ok(_) => ended.push(lease.id.to_string()),
                Err(NotRecorded::Refused(_)) => {}
                Err(error) => return Err(error.into()),
            }
        }
        self.sweep.notify_one();
        Ok(ended)
    }

    async fn still_permitted(&self, world: &World, lease: &LeaseRow) -> Result<bool, StoreError> {
        let credential = world.estate.credential(&lease.credential);
        if credential.is_none_or(|credential| credential.dataset != lease.dataset) {
            return Ok(false);
        }
        let (Some(node), Some(image)) = (self.attested(&lease.node).await?, lease.image) else {
            return Ok(false);
        };
        let now = self.now();
        // Freshness decides new releases; what the workload was at its grant, it is taken to be still.
        let quoted_at = node.facts.quoted_at.map(|_| now);
        let set = world
            .estate
            .image_set_of(&image)
            .map(|set| set.name.clone());
        let facts = Facts {
            node: NodeFacts {
                quoted_at,
                ..node.facts
            },
            workload: Some(Measured::ideal(image, set)),
        };
        let target = Target::Credential(lease.credential.clone(), lease.dataset.clone());
        Ok(!node.banned
            && world
                .policies
                .evaluate(&facts, Action::Lease, &target, now)
                .is_allowed())
    }

    /// Versions of the estate, newest first.
    ///
    /// # Errors
    /// [`StoreError`]
    pub async fn changes(&self) -> Result<Vec<EstateVersion>, StoreError> {
        self.store.estate_history().await
    }

    /// How the server is.
    ///
    /// # Errors
    /// [`StoreError`]
    pub async fn status(&self) -> Result<Status, StoreError> {
        let world = self.world();
        let mut warnings = Vec::new();
        if self.lab {
            warnings.push(
                "this is a lab: its identities and secrets are not for production".to_owned(),
            );
        }
        if self.kek.provider() == "passphrase-file" {
            warnings
                .push("custody: a passphrase file on the server's disk wraps all keys".to_owned());
        }
        if let Some(checked) = self.store.rollback_warning().await? {
            warnings.push(checked);
        }
        let root = custody::RootPin::of(self.keyring.root.public_jwk()).map_err(KeyringError::from);
        Ok(Status {
            trust_domain: self.trust_domain.to_string(),
            tenant: self.tenant.to_string(),
            lab: self.lab,
            custody: self.kek.provider().to_owned(),
            policy: world.version().0,
            estate: world.hash().0.to_string(),
            root: root.map(|pin| pin.to_string()).unwrap_or_default(),
            ledger_key: self.ledger_key.clone(),
            checkpoint: self.store.checkpoint().await?.unwrap_or_default(),
            nodes: self
                .store
                .nodes()
                .await?
                .iter()
                .filter(|node| !node.banned)
                .count(),
            leases: self.store.leases(true).await?.len(),
            warnings,
        })
    }

    /// The signed key document of an image set.
    ///
    /// # Errors
    /// [`GovernError`]
    pub async fn image_key_document(&self, set: &ImageSetName) -> Result<String, GovernError> {
        let world = self.world();
        let found = world.estate.image_set(set).map(|set| set.dataset.clone());
        self.key_document(keyring::IMAGE, set.as_str(), found, "image set")
            .await
    }

    /// The signed key document of a data set.
    ///
    /// # Errors
    /// [`GovernError`]
    pub async fn dataset_key_document(&self, dataset: &DataSetName) -> Result<String, GovernError> {
        let world = self.world();
        let found = world
            .estate
            .dataset(dataset)
            .map(|dataset| dataset.name.clone());
        self.key_document(keyring::DATASET, dataset.as_str(), found, "data set")
            .await
    }

    async fn key_document(
        &self,
        purpose: &'static str,
        name: &str,
        dataset: Option<DataSetName>,
        kind: &'static str,
    ) -> Result<String, GovernError> {
        let missing = || GovernError::NotFound {
            kind,
            name: name.to_owned(),
        };
        let dataset = dataset.ok_or_else(missing)?;
        let row = self.store.key(purpose, name).await?.ok_or_else(missing)?;
        Ok(keyring::document(
            &self.keyring,
            &self.custody(),
            &row,
            &dataset,
            self.now(),
        )?)
    }

    /// Stores a secret that the client sealed.
    ///
    /// # Errors
    /// [`GovernError`]
    pub async fn put_secret(
        &self,
        name: &SecretName,
        sealed: SealedSecret,
        actor: Actor,
    ) -> Result<Commitment, GovernError> {
        let row = secret_row(name, sealed, &actor)?;
        if self.world().estate.dataset(&row.dataset).is_none() {
            return Err(GovernError::NotFound {
                kind: "data set",
                name: row.dataset.to_string(),
            });
        }
        let previous = self.store.secret(name).await?;
        let newest = previous.as_ref().map_or(0, |row| row.version);
        if previous.is_some_and(|previous| previous.dataset != row.dataset) {
            return Err(GovernError::Secret(
                "a secret can't move to another data set",
            ));
        }
        if row.version != newest + 1 {
            return Err(GovernError::Conflict(format!(
                "the newest version is {newest}"
            )));
        }
        if !self.custody().holds_key_of(&row) {
            return Err(GovernError::Secret(
                "it is not sealed to the data set's key",
            ));
        }
        let act = Act::new(ActKind::SecretPut, actor)
            .field("target", format!("secret `{name}`"))
            .field("dataset", row.dataset.to_string())
            .field("version", row.version)
            .guard(Guard::SecretVersion(name.clone(), newest))
            .effect(Effect::Secret(Box::new(row)));
        Ok(self.ledger.record(act).await?.commitment().clone())
    }

    /// All secrets, without their values.
    ///
    /// # Errors
    /// [`StoreError`]
    pub async fn secrets(&self) -> Result<Vec<SecretSummary>, StoreError> {
        Ok(self
            .store
            .secrets()
            .await?
            .into_iter()
            .map(summary)
            .collect())
    }

    /// One secret, without its value.
    ///
    /// # Errors
    /// [`GovernError`]
    pub async fn show_secret(&self, name: &SecretName) -> Result<SecretSummary, GovernError> {
        let found = self.store.secret(name).await?.map(summary);
        found.ok_or_else(|| GovernError::NotFound {
            kind: "secret",
            name: name.to_string(),
        })
    }

    /// A person's client certificate, for a key made by the caller.
    ///
    /// # Errors
    /// [`GovernError`]
    pub async fn person_certificate(
        &self,
        person: &PersonId,
        spki: &[u8],
        actor: Actor,
    ) -> Result<(Vec<Vec<u8>>, Commitment), GovernError> {
        if self.teams_of(person).is_empty() {
            return Err(GovernError::NotFound {
                kind: "person in any team",
                name: person.to_string(),
            });
        }
        let act = Act::new(ActKind::PersonCertificate, actor).field("person", person.to_string());
        let logged = self.ledger.record(act).await?;
        let chain = self
            .keyring
            .authority
            .person_certificate(person.as_str(), spki, self.serial(), self.now())
            .map_err(|error| GovernError::Keys(error.into()))?;
        Ok((chain, logged.commitment().clone()))
    }

    /// Teams of a person, by name.
    pub fn teams_of(&self, person: &PersonId) -> Vec<String> {
        let world = self.world();
        let teams = &world.estate.people().teams;
        teams
            .iter()
            .filter(|(_, members)| members.contains(person))
            .map(|(team, _)| team.to_string())
            .collect()
    }
}

fn failures(report: &TestReport) -> String {
    let lines = report
        .results
        .iter()
        .filter_map(|result| match &result.verdict {
            TestVerdict::Failed { why } => {
                Some(format!("{}: `{}`: {why}", result.file, result.name))
            }
            TestVerdict::Passed { .. } => None,
        });
    lines.collect::<Vec<_>>().join("\n")
}

fn removals(plan: &Plan) -> Vec<String> {
    plan.changes
        .iter()
        .filter(|change| change.verb == Verb::Removed)
        .map(ToString::to_string)
        .collect()
}

fn summary(row: SecretRow) -> SecretSummary {
    SecretSummary {
        name: row.name,
        value: "sealed".to_owned(),
        version: row.version,
        dataset: row.dataset,
        suite: row.suite,
        by: row.by,
    }
}

fn secret_row(
    name: &SecretName,
    sealed: SealedSecret,
    actor: &Actor,
) -> Result<SecretRow, GovernError> {
    use base64::{Engine, engine::general_purpose::STANDARD};
    let SealedSecret {
        version,
        dataset,
        suite,
        key_id,
        enc,
        ct,
    } = sealed;
    let key_id = key_id
        .parse()
        .map_err(|_| GovernError::Secret("its key id is not a digest"))?;
    let decode = |text: &str| {
        STANDARD
            .decode(text)
            .map_err(|_| GovernError::Secret("it is not base64"))
    };
    let (enc, ct) = (decode(&enc)?, decode(&ct)?);
    if ct.len() > MAX_CIPHERTEXT {
        return Err(GovernError::Secret("it is too large"));
    }
    Ok(SecretRow {
        name: name.clone(),
        version,
        dataset,
        suite,
        key_id,
        enc,
        ct,
        by: actor.to_string(),
    })
}

const MAX_CIPHERTEXT: usize = 65 * 1024;
