//! The estate in force with its policies: one version, swapped whole.

use std::sync::Arc;

use estate::{Estate, EstateHash, PolicyVersion, TenantName};
use ledger::{ActKind, Leaf, rows::EstateRow};
use policy::{Policies, PolicyError};
use tlog::{Receipt, VerifierKey, leaf_hash};

use crate::ports::{LogEntry, Store, StoreError};

/// One version of the estate, loaded.
pub struct World {
    /// The estate.
    pub estate: Estate,
    /// Its policies.
    pub policies: Policies,
    /// The files it was read from.
    pub files: Vec<(String, String)>,
}

/// A version of the estate can't be loaded.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum WorldError {
    /// Fault: whoever wrote the file.
    #[error("{0}")]
    Estate(#[from] estate::EstateError),
    /// Fault: whoever wrote the rule.
    #[error("{0}")]
    Policy(#[from] PolicyError),
    /// Fault: whoever edited the database.
    #[error("the stored estate can't be read")]
    Stored,
    /// Fault: whoever edited the database.
    #[error("the stored estate is not the one that the ledger says was applied")]
    NotApplied,
    /// Fault: see the source.
    #[error("the store can't be read")]
    Store(#[from] StoreError),
    /// Fault: whoever wrote the data set.
    #[error("data set `{dataset}` belongs to tenant `{found}`, this server serves `{tenant}`")]
    OtherTenant {
        /// The data set.
        dataset: String,
        /// Its tenant.
        found: TenantName,
        /// The server's.
        tenant: TenantName,
    },
}

impl World {
    /// Nothing applied yet: no node, no data set, nothing is permitted.
    ///
    /// # Errors
    /// [`WorldError`]
    pub fn empty(tenant: &TenantName) -> Result<Arc<Self>, WorldError> {
        Self::load(Vec::new(), PolicyVersion(0), tenant)
    }

    /// Loads files as version `version`.
    ///
    /// # Errors
    /// [`WorldError`]
    pub fn load(
        files: Vec<(String, String)>,
        version: PolicyVersion,
        tenant: &TenantName,
    ) -> Result<Arc<Self>, WorldError> {
        let estate = Estate::parse(&files)?;
        if let Some(dataset) = estate.datasets().find(|dataset| &dataset.tenant != tenant) {
            return Err(WorldError::OtherTenant {
                dataset: dataset.name.to_string(),
                found: dataset.tenant.clone(),
                tenant: tenant.clone(),
            });
        }
        let policies = Policies::load(&estate, version)?;
        Ok(Arc::new(Self {
            estate,
            policies,
            files,
        }))
    }

    /// The version in force: the newest of the store, if the signed ledger says that it was applied.
    ///
    /// # Errors
    /// [`WorldError`]
    pub async fn in_force<S: Store>(
        store: &S,
        tenant: &TenantName,
        ledger_key: &str,
    ) -> Result<Arc<Self>, WorldError> {
        let Some(row) = store.estate().await? else {
            return Self::empty(tenant);
        };
        let history = store.estate_history().await?;
        let applied = history
            .iter()
            .find(|version| version.version == row.version)
            .ok_or(WorldError::NotApplied)?;
        let entry = store.entry(applied.leaf).await?;
        let receipt = store.receipt(applied.leaf).await?;
        let (Some(entry), Some(receipt)) = (entry, receipt) else {
            return Err(WorldError::NotApplied);
        };
        match is_applied(&row, &entry, &receipt, ledger_key) {
            Some(true) => Self::stored(&row, tenant),
            _ => Err(WorldError::NotApplied),
        }
    }

    /// Loads the version that the store holds.
    ///
    /// # Errors
    /// [`WorldError`]
    pub fn stored(row: &EstateRow, tenant: &TenantName) -> Result<Arc<Self>, WorldError> {
        let files = serde_json::from_str(&row.files).map_err(|_| WorldError::Stored)?;
        let world = Self::load(files, row.version, tenant)?;
        // A server whose database was edited by hand must not serve what nobody applied.
        if world.hash() != row.hash {
            Err(WorldError::Stored)
        } else {
            Ok(world)
        }
    }

    /// Its number.
    pub fn version(&self) -> PolicyVersion {
        self.policies.basis().policy
    }

    /// Its hash.
    pub fn hash(&self) -> EstateHash {
        self.policies.basis().estate
    }
}

/// Whether this entry is in the signed log and discloses that the row's version was applied. `None` where one of them can't
/// be read.
fn is_applied(row: &EstateRow, entry: &LogEntry, receipt: &str, ledger_key: &str) -> Option<bool> {
    let key: VerifierKey = ledger_key.parse().ok()?;
    let receipt = Receipt::parse(receipt).ok()?;
    let leaf = entry.leaf.as_bytes();
    let verified = receipt.verify(leaf_hash(leaf), &key).ok()?;
    let disclosed = Leaf::parse(leaf).ok()?.disclose(&entry.disclosures).ok()?;
    let says = |name: &str, value: serde_json::Value| {
        disclosed
            .iter()
            .any(|disclosure| disclosure.name == name && disclosure.value == value)
    };
    Some(
        verified.index() == entry.index
            && says("kind", ActKind::EstateApply.as_str().into())
            && says("policy", row.version.0.into())
            && says("estate", row.hash.0.to_string().into()),
    )
}
