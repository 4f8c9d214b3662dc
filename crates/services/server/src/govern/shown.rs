//! Changes as people see them: what each does, who must agree, who did.

use std::collections::BTreeSet;

use estate::{
    Change, ChangeId, ChangeRecord, DataSetName, Digest, Effect as Reach, Estate, EstateHash,
    Grantor, Missing, PersonId, PolicyVersion, Timestamp,
};
use ledger::{ChangeState, StoredChange};

use super::{
    GovernError,
    access::{AccessChange, access_changes},
};
use crate::{
    ports::{DatabaseAccounts, Store, StoreError},
    server::Server,
    world::{Candidate, record_of},
};

/// What became of a change that was submitted or signed.
#[derive(Debug, Clone)]
pub enum Submitted {
    /// It is a version of the estate.
    Applied(Box<Applied>),
    /// It waits. Nothing of it is in force.
    Waiting(Box<Pending>),
}

/// An estate that was applied.
#[derive(Debug, Clone)]
pub struct Applied {
    /// Its number.
    pub version: PolicyVersion,
    /// The change that brought it.
    pub number: ChangeId,
    /// Hash of that change.
    pub hash: Digest,
    /// Who signed.
    pub approvers: BTreeSet<PersonId>,
    /// What changed.
    pub plan: Plan,
    /// Leases that the new estate no longer permits; they are ending.
    pub ended_leases: Vec<String>,
    /// Index of its leaf.
    pub leaf: u64,
}

/// A change that waits.
#[derive(Debug, Clone)]
pub struct Pending {
    /// Its record, with the signatures so far.
    pub record: ChangeRecord,
    /// What is to be signed.
    pub hash: Digest,
    /// What it would change, and what it waits for.
    pub plan: Plan,
}

/// What an estate would change.
#[derive(Debug, Clone)]
pub struct Plan {
    /// The version in force.
    pub base: PolicyVersion,
    /// Its hash.
    pub base_hash: EstateHash,
    /// Hash of the estate that would be in force.
    pub result_hash: EstateHash,
    /// What the whole of it does to access.
    pub effect: Reach,
    /// What changes.
    pub changes: Vec<Change>,
    /// Who gains or loses what.
    pub access: Vec<AccessChange>,
    /// Whose signatures are wanting.
    pub needs: Vec<Missing>,
}

/// A change in a list.
#[derive(Debug, Clone)]
pub struct Listed {
    /// Its number.
    pub number: ChangeId,
    /// Where it stands.
    pub state: ChangeState,
    /// The version that it brought.
    pub version: Option<PolicyVersion>,
    /// Who submitted it.
    pub by: String,
    /// Its hash.
    pub hash: Digest,
    /// What the whole of it does to access.
    pub effect: Reach,
    /// When it was submitted.
    pub submitted: Timestamp,
    /// From when on it can't come into force any more.
    pub expires: Timestamp,
    /// What changes.
    pub changes: Vec<Change>,
    /// What it waits for.
    pub missing: Vec<Missing>,
}

/// A change with all that its signers should see.
#[derive(Debug, Clone)]
pub struct Shown {
    /// As in a list.
    pub listed: Listed,
    /// What its hash is of, with the signatures.
    pub record: ChangeRecord,
    /// Who gains or loses what.
    pub access: Vec<AccessChange>,
    /// Who must sign, and who did.
    pub needs: Vec<Missing>,
    /// Files of the estate that it leads to which nobody submits: with them its hash can be computed from a folder.
    pub promotions: Vec<(String, String)>,
    /// The leaf that announced it.
    pub leaf: u64,
}

impl<S: Store, A: DatabaseAccounts> Server<S, A> {
    /// All changes, newest first.
    ///
    /// # Errors
    /// [`GovernError`]
    pub async fn changes(&self) -> Result<Vec<Listed>, GovernError> {
        let mut all = Vec::new();
        for stored in self.store.changes().await? {
            // Lists come without files, and only what waits is judged by them.
            let stored = match stored.state {
                ChangeState::Waiting => self.stored_change(stored.row.number).await?,
                _ => stored,
            };
            all.push(self.listed(stored).await?);
        }
        Ok(all)
    }

    /// One change: what it does, who must agree, who did.
    ///
    /// # Errors
    /// [`GovernError`]
    pub async fn change(&self, number: ChangeId) -> Result<Shown, GovernError> {
        let stored = self.stored_change(number).await?;
        let record = read(&stored)?;
        let (old, new) = self.sides(&stored, &record).await?;
        let access = access_changes(&old.policies, &new.policies, record.submitted);
        let signers: BTreeSet<&PersonId> =
            record.signatures.iter().map(|one| &one.person).collect();
        let required =
            estate::requirements(&old.estate, &new.estate, &record.changes, &self.founders);
        let mut needs: Vec<Missing> = required
            .into_iter()
            .map(|requirement| {
                let members = requirement.members.iter();
                let signed = members.filter(|one| signers.contains(one)).cloned();
                let signed = signed.collect();
                Missing {
                    requirement,
                    signed,
                }
            })
            .collect();
        let mut promotions = new.files;
        promotions.retain(|(path, _)| Estate::is_kept_by_server(path));
        let leaf = stored.leaf;
        let listed = self.listed(stored).await?;
        let others = listed.missing.iter().filter(|missing| {
            needs
                .iter()
                .all(|need| need.requirement != missing.requirement)
        });
        let others: Vec<Missing> = others.cloned().collect();
        needs.extend(others);
        Ok(Shown {
            listed,
            record,
            access,
            needs,
            promotions,
            leaf,
        })
    }

    /// Who could grant themselves access to a data set, and how many must agree.
    pub fn grantors(&self, dataset: &DataSetName) -> Vec<Grantor> {
        estate::grantors(&self.world().estate, dataset, &self.founders)
    }

    /// A stored change, with its files if it waits.
    pub(super) async fn listed(&self, stored: StoredChange) -> Result<Listed, GovernError> {
        let record = read(&stored)?;
        let state = self.state_of(&stored).await?;
        let missing = match state {
            ChangeState::Waiting => {
                let draft = self.stored_draft(&self.world(), &stored).await?;
                draft.verdict.err().unwrap_or_default()
            }
            _ => Vec::new(),
        };
        Ok(Listed {
            number: record.number,
            state,
            version: stored.version,
            by: stored.row.by,
            hash: stored.row.hash,
            effect: record.effect(),
            submitted: record.submitted,
            expires: record.expires,
            changes: record.changes,
            missing,
        })
    }

    /// The estates before and after a change, as they are stored.
    async fn sides(
        &self,
        stored: &StoredChange,
        record: &ChangeRecord,
    ) -> Result<(Candidate, Candidate), GovernError> {
        let base = record.base_version;
        let before = match base {
            PolicyVersion(0) => "[]".to_owned(),
            base => self.files_of(base).await?,
        };
        let after = match stored.version {
            Some(version) => self.files_of(version).await?,
            None => stored.row.files.clone(),
        };
        let load = |files: &str, version| {
            let files = serde_json::from_str(files).map_err(|_| damaged(&stored.row.number))?;
            Candidate::load(files, version, &self.tenant).map_err(GovernError::from)
        };
        Ok((load(&before, base)?, load(&after, base.next())?))
    }

    async fn files_of(&self, version: PolicyVersion) -> Result<String, GovernError> {
        let row = self.store.estate_at(version).await?;
        row.map(|row| row.files)
            .ok_or_else(|| StoreError::Corrupt(format!("version {version} is missing")).into())
    }
}

fn read(stored: &StoredChange) -> Result<ChangeRecord, StoreError> {
    let record = record_of(&stored.row.record).filter(|record| record.number == stored.row.number);
    record.ok_or_else(|| damaged(&stored.row.number))
}

fn damaged(number: &ChangeId) -> StoreError {
    StoreError::Corrupt(format!("change {number} can't be read"))
}
