//! The estate in force with its policies: one version, swapped whole. A version comes into force only through an approved
//! change, and a server that starts checks the whole chain of them again: what lies in the database is nobody's word.

use std::sync::Arc;

use estate::{
    ApprovedChange, Belongings, Change, ChangeRecord, Estate, EstateHash, Founders, NotApproved,
    ObjectKind, PolicyVersion, TenantName, Timestamp, Verb,
};
use ledger::{ActKind, rows::EstateRow};
use policy::{Policies, PolicyError};
use tlog::{Checkpoint, Note, VerifierKey};

use crate::{
    logged::VerifiedLeaf,
    ports::{EstateVersion, Store, StoreError},
};

/// An estate that could be a version: read, valid, approved by nobody yet.
pub struct Candidate {
    /// The estate.
    pub estate: Estate,
    /// Its policies.
    pub policies: Policies,
    /// The files it was read from.
    pub files: Vec<(String, String)>,
}

/// One version of the estate, in force.
pub struct World {
    /// The estate.
    pub estate: Estate,
    /// Its policies.
    pub policies: Policies,
    /// The files it was read from.
    pub files: Vec<(String, String)>,
    /// Absent for version 0 alone, in which nothing is permitted.
    approved: Option<ApprovedChange>,
    /// Of this version and all before it.
    belongings: Belongings,
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
    #[error("version {version} of the estate was not approved as it stands in the database: {why}")]
    NotApproved {
        /// The version.
        version: PolicyVersion,
        /// What does not hold.
        why: Unapproved,
    },
    /// Fault: whoever edited the database, or an older `server init` without founders.
    #[error("the log does not begin with founders who could approve a first version")]
    Founders,
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

/// What a stored version lacks.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Unapproved {
    /// Fault: whoever edited the database.
    #[error("versions are missing or doubled")]
    Order,
    /// Fault: whoever edited the database.
    #[error("its files or its record can't be read, or are not of one estate")]
    Content,
    /// Fault: whoever edited the database.
    #[error("the signed log does not say that it came into force")]
    Unlogged,
    /// Fault: whoever put an older state back.
    #[error("the signed log knows a newer version")]
    Older,
    /// Fault: whoever edited the database.
    #[error("its signatures are not enough: {0}")]
    Signatures(NotApproved),
}

impl Candidate {
    /// Loads files as version `version`.
    ///
    /// # Errors
    /// [`WorldError`]
    pub fn load(
        files: Vec<(String, String)>,
        version: PolicyVersion,
        tenant: &TenantName,
    ) -> Result<Self, WorldError> {
        let estate = Estate::parse(&files)?;
        if let Some(dataset) = estate.datasets().find(|dataset| &dataset.tenant != tenant) {
            return Err(WorldError::OtherTenant {
                dataset: dataset.name.to_string(),
                found: dataset.tenant.clone(),
                tenant: tenant.clone(),
            });
        }
        let policies = Policies::load(&estate, version)?;
        Ok(Self {
            estate,
            policies,
            files,
        })
    }

    /// The number that it would have.
    pub fn version(&self) -> PolicyVersion {
        self.policies.basis().policy
    }

    /// Its hash.
    pub fn hash(&self) -> EstateHash {
        self.policies.basis().estate
    }
}

impl World {
    /// Nothing applied yet: no node, no data set, nothing is permitted.
    ///
    /// # Errors
    /// [`WorldError`]
    pub fn empty(tenant: &TenantName) -> Result<Arc<Self>, WorldError> {
        let Candidate {
            estate,
            policies,
            files,
        } = Candidate::load(Vec::new(), PolicyVersion(0), tenant)?;
        Ok(Arc::new(Self {
            estate,
            policies,
            files,
            approved: None,
            belongings: Belongings::default(),
        }))
    }

    /// A candidate in force, by the change that was approved for it and for nothing else; `belongings` are those after it.
    ///
    /// # Errors
    /// [`WorldError::NotApproved`] when the change leads to another estate or starts from another version.
    pub fn approved(
        next: Candidate,
        approved: ApprovedChange,
        belongings: Belongings,
    ) -> Result<Arc<Self>, WorldError> {
        let (version, hash) = (next.version(), next.hash());
        let record = approved.record();
        if record.result != hash || record.base_version.next() != version {
            return Err(unapproved(version, Unapproved::Content));
        }
        let Candidate {
            estate,
            policies,
            files,
        } = next;
        let approvers = approved.approvers().iter().cloned();
        let policies = policies.with_approval(record.number, approvers);
        Ok(Arc::new(Self {
            estate,
            policies,
            files,
            approved: Some(approved),
            belongings,
        }))
    }

    /// The version in force: the newest of the store, if every version up to it was approved by those who could, and the
    /// signed log says so of each and knows no newer one.
    ///
    /// # Errors
    /// [`WorldError`]
    pub async fn in_force<S: Store>(
        store: &S,
        tenant: &TenantName,
        ledger_key: &str,
        founders: &Founders,
    ) -> Result<Arc<Self>, WorldError> {
        let chain = Chain {
            store,
            key: ledger_key.parse().map_err(|_| WorldError::Founders)?,
            founders,
        };
        let (mut estate, mut version, mut newest) = (Estate::default(), PolicyVersion(0), None);
        let mut belongings = Belongings::default();
        for stored in store.estate_history().await?.iter().rev() {
            let step = chain.next(&estate, version, stored).await?;
            let after = belongings.followed_by(&estate, &step.estate);
            belongings =
                after.map_err(|why| unapproved(stored.version, Unapproved::Signatures(why)))?;
            (estate, version) = (step.estate, stored.version);
            newest = Some((step.files, step.approved));
        }
        chain.no_newer_than(version).await?;
        match newest {
            None => Self::empty(tenant),
            Some((files, approved)) => {
                let newest = Candidate::load(files, version, tenant)?;
                Self::approved(newest, approved, belongings)
            }
        }
    }

    /// To whom names belong once `next` follows.
    ///
    /// # Errors
    /// [`NotApproved::Reused`]
    pub fn belongings_with(&self, next: &Estate) -> Result<Belongings, NotApproved> {
        self.belongings.clone().followed_by(&self.estate, next)
    }

    /// Its number.
    pub fn version(&self) -> PolicyVersion {
        self.policies.basis().policy
    }

    /// Its hash.
    pub fn hash(&self) -> EstateHash {
        self.policies.basis().estate
    }

    /// The change that brought it.
    pub fn change(&self) -> Option<&ChangeRecord> {
        self.approved.as_ref().map(ApprovedChange::record)
    }
}

/// The versions of a store, followed from the founders on.
struct Chain<'a, S> {
    store: &'a S,
    key: VerifierKey,
    founders: &'a Founders,
}

/// One version that was approved.
struct Step {
    estate: Estate,
    files: Vec<(String, String)>,
    approved: ApprovedChange,
}

impl<S: Store> Chain<'_, S> {
    async fn next(
        &self,
        before: &Estate,
        base: PolicyVersion,
        stored: &EstateVersion,
    ) -> Result<Step, WorldError> {
        let version = base.next();
        let fail = |why| unapproved(version, why);
        if stored.version != version {
            return Err(fail(Unapproved::Order));
        }
        let row = self.store.estate_at(version).await?;
        let row = row.ok_or_else(|| fail(Unapproved::Order))?;
        let (files, record) = read(&row).ok_or_else(|| fail(Unapproved::Content))?;
        let estate = Estate::parse(&files)?;
        if record.ledger != self.key.name() {
            return Err(fail(Unapproved::Content));
        }
        let applied = self.applied(&row, stored.leaf, &record).await?;
        let applied = applied.ok_or_else(|| fail(Unapproved::Unlogged))?;
        let approved = estate::approve(
            &record,
            &changes(before, &estate, version)?,
            before,
            base,
            &estate,
            self.founders,
            // Leaves tell seconds; the transaction compared the change's end with its own time.
            applied.max(record.submitted),
        );
        let approved = approved.map_err(|why| fail(Unapproved::Signatures(why)))?;
        Ok(Step {
            estate,
            files,
            approved,
        })
    }

    /// When the version came into force, if the log says that it did.
    async fn applied(
        &self,
        row: &EstateRow,
        index: u64,
        record: &ChangeRecord,
    ) -> Result<Option<Timestamp>, StoreError> {
        let leaf = VerifiedLeaf::read(self.store, index, &self.key).await?;
        let says = |leaf: &VerifiedLeaf| {
            leaf.says("kind", ActKind::EstateApply.as_str())
                && leaf.says("done", true)
                && leaf.says("policy", row.version.0)
                && leaf.says("estate", row.hash.0.to_string())
                && leaf.says("change", record.number.0)
                && leaf.says("changeHash", record.hash().to_string())
        };
        Ok(leaf.filter(says).map(|leaf| leaf.time()))
    }

    /// How many leaves the newest checkpoint is of.
    async fn size(&self) -> Result<Option<u64>, StoreError> {
        let text = self.store.checkpoint().await?;
        let note = text.and_then(|text| Note::parse(&text).ok());
        let checkpoint = note.and_then(|note| Checkpoint::open(&note, &self.key).ok());
        Ok(checkpoint.map(|checkpoint| checkpoint.size()))
    }

    /// Rows can be deleted, leaves can't: nearly every leaf tells the version it was written under, so the newest ones know
    /// whether there was a newer version. A leaf that does not even tell its kind any more was made silent.
    async fn no_newer_than(&self, version: PolicyVersion) -> Result<(), WorldError> {
        let older = || unapproved(version, Unapproved::Older);
        let size = self.size().await?.ok_or_else(older)?;
        for index in (0..size).rev() {
            let leaf = VerifiedLeaf::read(self.store, index, &self.key).await?;
            let leaf = leaf.filter(|leaf| leaf.value("kind").is_some());
            let leaf = leaf.ok_or_else(older)?;
            if leaf.says("refused", true) {
                continue;
            }
            match leaf.value("policy").and_then(serde_json::Value::as_u64) {
                Some(known) if known > version.0 => return Err(older()),
                Some(known) if known == version.0 => return Ok(()),
                // Decided under an older version, written after a newer one.
                Some(_) | None => {}
            }
        }
        Ok(())
    }
}

/// What differs. Policies are loaded only where a file of rules changed: most versions are promotions, and there are many.
fn changes(
    before: &Estate,
    after: &Estate,
    version: PolicyVersion,
) -> Result<Vec<Change>, PolicyError> {
    let plain = estate::diff(before, after);
    let rules = |change: &Change| change.kind == ObjectKind::Policy && change.verb == Verb::Changed;
    if !plain.iter().any(rules) {
        return Ok(plain);
    }
    let load = |estate| Policies::load(estate, version);
    Ok(policy::changes_between(&load(before)?, &load(after)?))
}

/// The files and the record that a row holds, if it can be read. Whether the files are the record's is asked with the
/// signatures.
fn read(row: &EstateRow) -> Option<(Vec<(String, String)>, ChangeRecord)> {
    let files = serde_json::from_str(&row.files).ok()?;
    let record = record_of(&row.record)?;
    let fits =
        record.result == row.hash && record.number == row.number && record.hash() == row.change;
    fits.then_some((files, record))
}

/// A record as the store keeps it.
pub(crate) fn record_of(text: &str) -> Option<ChangeRecord> {
    jose::strict_json::from_slice(text.as_bytes()).ok()
}

fn unapproved(version: PolicyVersion, why: Unapproved) -> WorldError {
    WorldError::NotApproved { version, why }
}
