//! The estate in force with its policies: one version, swapped whole.

use std::sync::Arc;

use estate::{Estate, EstateHash, PolicyVersion, TenantName};
use ledger::rows::EstateRow;
use policy::{Policies, PolicyError};

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
