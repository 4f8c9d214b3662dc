//! What a change would do, and whether it has all it needs: computed anew from the two estates each time, because what lies in
//! the database is nobody's word.

use std::time::Duration;

use estate::{
    ApprovedChange, ChangeId, ChangeRecord, Estate, Missing, NotApproved, PersonId, Submission,
    Verb,
};
use ledger::StoredChange;
use tlog::VerifierKey;

use super::{
    GovernError, Plan,
    access::{AccessChange, access_changes, digest_of},
    versions::failures,
};
use crate::{
    logged::VerifiedLeaf,
    ports::{DatabaseAccounts, Store, StoreError},
    server::Server,
    world::{Candidate, World, WorldError, record_of},
};

/// An estate and the change that would bring it, judged.
pub(super) struct Draft {
    pub(super) next: Candidate,
    pub(super) record: ChangeRecord,
    pub(super) access: Vec<AccessChange>,
    pub(super) verdict: Result<ApprovedChange, Vec<Missing>>,
}

impl<S: Store, A: DatabaseAccounts> Server<S, A> {
    /// What people submit, with the promotions in force: these are the server's to keep.
    pub(super) fn candidate(
        &self,
        world: &World,
        mut files: Vec<(String, String)>,
    ) -> Result<Candidate, GovernError> {
        let kept = files
            .iter()
            .find(|(path, _)| Estate::is_kept_by_server(path));
        if let Some((path, _)) = kept {
            return Err(GovernError::KeptByServer(path.clone()));
        }
        // Which promotions stand depends on the promoters of the new estate.
        let bare = Estate::parse(&files).map_err(WorldError::from)?;
        files.extend(world.estate.carried_promotions(&bare));
        self.checked(world, files)
    }

    /// A candidate whose own tests pass.
    pub(super) fn checked(
        &self,
        world: &World,
        files: Vec<(String, String)>,
    ) -> Result<Candidate, GovernError> {
        let next = Candidate::load(files, world.version().next(), &self.tenant)?;
        let failed = failures(&next.policies.test(self.now()));
        if failed.is_empty() {
            Ok(next)
        } else {
            Err(GovernError::Tests(failed))
        }
    }

    /// The record of going from the version in force to `next`, judged as it stands.
    pub(super) fn draft(
        &self,
        world: &World,
        next: Candidate,
        number: ChangeId,
        submitter: Option<PersonId>,
    ) -> Result<Draft, GovernError> {
        let now = self.now();
        let changes = policy::changes_between(&world.policies, &next.policies);
        let access = access_changes(&world.policies, &next.policies, now);
        let submission = Submission {
            ledger: self.ledger_name()?,
            number,
            base_version: world.version(),
            access: digest_of(&access),
            submitter,
            submitted: now,
            expires: now.plus(PENDING_LIFE),
        };
        let record = ChangeRecord::new(&world.estate, &next.estate, changes, submission);
        self.judged(world, next, record, access)
    }

    /// A change as it waits, with what differs computed anew: what lies in the database is nobody's word.
    pub(super) async fn stored_draft(
        &self,
        world: &World,
        stored: &StoredChange,
    ) -> Result<Draft, GovernError> {
        let number = stored.row.number;
        let damaged = || damaged(number);
        let record = record_of(&stored.row.record).ok_or_else(damaged)?;
        if record.number != number || record.hash() != stored.row.hash {
            return Err(damaged().into());
        }
        self.check_announced(stored, &record).await?;
        let files = serde_json::from_str(&stored.row.files).map_err(|_| damaged())?;
        let next = Candidate::load(files, world.version().next(), &self.tenant)?;
        let access = access_changes(&world.policies, &next.policies, record.submitted);
        if record.base_version == world.version() && digest_of(&access) != record.access {
            return Err(damaged().into());
        }
        self.judged(world, next, record, access)
    }

    /// Whether the log says that this record was submitted: else somebody could rewrite who submitted what waits, and then
    /// sign it alone.
    async fn check_announced(
        &self,
        stored: &StoredChange,
        record: &ChangeRecord,
    ) -> Result<(), GovernError> {
        let key = self
            .ledger_key
            .parse()
            .map_err(|_| damaged(record.number))?;
        let leaf = VerifiedLeaf::read(self.store.as_ref(), stored.leaf, &key).await?;
        let announced = leaf.is_some_and(|leaf| {
            leaf.says("done", true)
                && leaf.says("number", record.number.0)
                && leaf.says("changeHash", record.hash().to_string())
        });
        if announced {
            Ok(())
        } else {
            Err(damaged(record.number).into())
        }
    }

    /// The name of this server's ledger: trust domain and tenant are in it.
    fn ledger_name(&self) -> Result<String, GovernError> {
        let key: VerifierKey = self
            .ledger_key
            .parse()
            .map_err(|_| StoreError::Corrupt("the ledger's key".to_owned()))?;
        Ok(key.name().to_owned())
    }

    fn judged(
        &self,
        world: &World,
        next: Candidate,
        record: ChangeRecord,
        access: Vec<AccessChange>,
    ) -> Result<Draft, GovernError> {
        let here = self.ledger_name()?;
        if record.ledger != here {
            let (number, found) = (record.number, record.ledger);
            return Err(NotApproved::OtherLedger {
                number,
                found,
                here,
            }
            .into());
        }
        world.belongings_with(&next.estate)?;
        let changes = policy::changes_between(&world.policies, &next.policies);
        let verdict = estate::approve(
            &record,
            &changes,
            &world.estate,
            world.version(),
            &next.estate,
            &self.founders,
            self.now(),
        );
        let verdict = match verdict {
            Ok(approved) => Ok(approved),
            Err(NotApproved::Missing(missing)) => Err(missing),
            Err(why) => return Err(why.into()),
        };
        Ok(Draft {
            next,
            record,
            access,
            verdict,
        })
    }
}

impl Draft {
    pub(super) fn plan(&self, world: &World) -> Plan {
        Plan {
            base: world.version(),
            base_hash: world.hash(),
            result_hash: self.next.hash(),
            effect: self.record.effect(),
            changes: self.record.changes.clone(),
            access: self.access.clone(),
            needs: self.verdict.as_ref().err().cloned().unwrap_or_default(),
        }
    }

    /// Whether a signature of this person can mean anything to the change. Where nothing is wanting but another person than
    /// the submitter, anybody is one.
    pub(super) fn wants<S: Store, A: DatabaseAccounts>(
        &self,
        person: &PersonId,
        world: &World,
        server: &Server<S, A>,
    ) -> bool {
        let Err(missing) = &self.verdict else {
            return true;
        };
        let anybody = missing
            .iter()
            .all(|missing| missing.requirement.is_for_another_person());
        self.concerns(person, world, server)
            || anybody
                && missing
                    .iter()
                    .any(|missing| missing.requirement.members.contains(person))
    }

    /// Whether a rule or a team behind an object that the change touches names this person.
    pub(super) fn concerns<S: Store, A: DatabaseAccounts>(
        &self,
        person: &PersonId,
        world: &World,
        server: &Server<S, A>,
    ) -> bool {
        let (old, new) = (&world.estate, &self.next.estate);
        let required = estate::requirements(old, new, &self.record.changes, &server.founders);
        let missing = self.verdict.as_ref().err().into_iter().flatten();
        let open = missing.map(|missing| &missing.requirement);
        required
            .iter()
            .chain(open.filter(|open| !open.is_for_another_person()))
            .any(|requirement| requirement.members.contains(person))
    }

    pub(super) fn removals(&self) -> Vec<String> {
        let changes = self.record.changes.iter();
        changes
            .filter(|change| change.verb == Verb::Removed)
            .map(ToString::to_string)
            .collect()
    }
}

pub(super) fn damaged(number: ChangeId) -> StoreError {
    StoreError::Corrupt(format!(
        "change {number} is not the one that the log says was submitted"
    ))
}

/// How long a change waits.
const PENDING_LIFE: Duration = Duration::from_secs(7 * 24 * 3600);
