//! Governance: the estate and its changes, secrets as people handle them, and questions about policy.

pub mod access;
mod changes;
mod drafts;
mod promotions;
mod secrets;
mod shown;
mod versions;

use std::{collections::BTreeSet, sync::Arc};

use custody::Announcement;
use estate::{
    ApprovedChange, ChangeRecord, DataSetName, Digest, Estate, ImageSetName, NotApproved, PersonId,
    PromotionError, SecretName,
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
    ports::{DatabaseAccounts, Store, StoreError},
    server::Server,
    world::{Candidate, World, WorldError},
};

pub use access::{Access, AccessChange, access_changes};
pub use estate::Missing as Need;
pub use shown::{Applied, Listed, Pending, Plan, Shown, Submitted};

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
    /// Fault: the caller.
    #[error("`{0}` is kept by the server: use `image promote` and `image retire`")]
    KeptByServer(String),
    /// Fault: see the source.
    #[error("{0}")]
    NotApproved(#[from] NotApproved),
    /// Fault: the caller.
    #[error("`{0}` has no say in this change")]
    NoSay(PersonId),
    /// Fault: see the source.
    #[error("{0}")]
    Promotion(#[from] PromotionError),
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

/// What [`Server::submit`] says to an estate that is in force already.
pub const NOTHING_CHANGES: &str = "nothing changes";

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
    /// Somebody had a hand inside a container that holds this version: it is to be replaced.
    #[serde(default)]
    pub exposed: bool,
    /// Since when, RFC 3339.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub since: Option<String>,
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
        warnings.extend(self.rollback_lines().await?);
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
    pub async fn image_key_document(
        &self,
        set: &ImageSetName,
        actor: Actor,
    ) -> Result<(String, Commitment), GovernError> {
        let world = self.world();
        let found = world.estate.image_set(set).map(|set| set.dataset.clone());
        self.key_document(keyring::IMAGE, set.as_str(), found, "image set", actor)
            .await
    }

    /// The signed key document of a data set.
    ///
    /// # Errors
    /// [`GovernError`]
    pub async fn dataset_key_document(
        &self,
        dataset: &DataSetName,
        actor: Actor,
    ) -> Result<(String, Commitment), GovernError> {
        let world = self.world();
        let found = world
            .estate
            .dataset(dataset)
            .map(|dataset| dataset.name.clone());
        self.key_document(keyring::DATASET, dataset.as_str(), found, "data set", actor)
            .await
    }

    /// Announces the key in the ledger, and signs what then says so itself.
    async fn key_document(
        &self,
        purpose: &'static str,
        name: &str,
        dataset: Option<DataSetName>,
        kind: &'static str,
        actor: Actor,
    ) -> Result<(String, Commitment), GovernError> {
        let missing = || GovernError::NotFound {
            kind,
            name: name.to_owned(),
        };
        let dataset = dataset.ok_or_else(missing)?;
        let row = self.store.key(purpose, name).await?.ok_or_else(missing)?;
        let (keyring, custody) = (&self.keyring, self.custody());
        let (usage, mut document) =
            keyring::document(keyring, &custody, &row, &dataset, self.now())?;
        let act = Act::new(ActKind::KeyDocument, actor)
            .field("resource", name)
            .field("dataset", dataset.to_string())
            .field("keyId", document.key_id.clone());
        let commitment = self.ledger.record(act).await?.commitment().clone();
        let entry = self.store.entry(commitment.index).await?;
        document.receipt = entry.map(|entry| Announcement {
            leaf: entry.leaf,
            disclosures: entry.disclosures,
            proof: commitment.receipt.clone(),
        });
        let root = &keyring.root;
        let signed = document.sign(usage, root.public_jwk(), root);
        Ok((signed.map_err(KeyringError::from)?, commitment))
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
        if self.teams_of(person).is_empty() && !self.is_robot(person) {
            return Err(GovernError::NotFound {
                kind: "robot, or person in any team,",
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
