//! Changes: submitted, signed, rejected. A change that nobody who counts has signed is a row, and nothing of it is in force.

use std::{collections::BTreeSet, sync::Arc, time::Duration};

use estate::{
    ApprovedChange, Change, ChangeId, ChangeRecord, ChangeSignature, Digest, Effect as Reach,
    Estate, EstateHash, Missing, NotApproved, PersonId, PolicyVersion, Submission, Timestamp, Verb,
};
use ledger::{
    Act, ActKind, Actor, ChangeRow, ChangeState, Commitment, Effect, Guard, NotRecorded,
    StoredChange,
};

use super::{
    GovernError,
    access::{AccessChange, access_changes, digest_of},
    versions::failures,
};
use crate::{
    logged::VerifiedLeaf,
    ports::{DatabaseAccounts, Search, Store, StoreError},
    server::Server,
    world::{Candidate, World, record_of},
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

/// An estate and the change that would bring it, judged.
pub(super) struct Draft {
    pub(super) next: Candidate,
    pub(super) record: ChangeRecord,
    pub(super) access: Vec<AccessChange>,
    pub(super) verdict: Result<ApprovedChange, Vec<Missing>>,
}

/// How a change came: with which leaf it is announced.
pub(super) struct Origin {
    pub(super) kind: ActKind,
    pub(super) actor: Actor,
    pub(super) submitter: Option<PersonId>,
    /// Whether objects may be removed.
    pub(super) prune: bool,
}

impl<S: Store, A: DatabaseAccounts> Server<S, A> {
    /// What these files would change, if this person submitted them.
    ///
    /// # Errors
    /// [`GovernError`]
    pub fn plan(
        &self,
        files: Vec<(String, String)>,
        submitter: Option<PersonId>,
    ) -> Result<Plan, GovernError> {
        let world = self.world();
        let next = self.candidate(&world, files)?;
        self.draft(&world, next, ChangeId(0), submitter)
            .map(|draft| draft.plan(&world))
    }

    /// Submits an estate as a change. What narrows acts at once if the submitter stands for it; all else waits for
    /// signatures. Nothing is removed unless `prune` says so.
    ///
    /// # Errors
    /// [`GovernError`]
    pub async fn submit(
        &self,
        files: Vec<(String, String)>,
        prune: bool,
        actor: Actor,
        submitter: Option<PersonId>,
    ) -> Result<(Submitted, Commitment), GovernError> {
        let _one_at_a_time = self.applying.lock().await;
        let world = self.world();
        let next = self.candidate(&world, files)?;
        let origin = Origin {
            kind: ActKind::ChangeSubmit,
            actor,
            submitter,
            prune,
        };
        self.propose(&world, next, origin).await
    }

    /// Counts a signature for a change, and applies it when there are enough. The signature counts, whoever brings it.
    ///
    /// # Errors
    /// [`GovernError`]
    pub async fn approve_change(
        &self,
        number: ChangeId,
        armored: &str,
        actor: Actor,
    ) -> Result<(Submitted, Commitment), GovernError> {
        let _one_at_a_time = self.applying.lock().await;
        let world = self.world();
        let stored = self.waiting(number).await?;
        let draft = self.stored_draft(&world, &stored).await?;
        let signature =
            match estate::check_signature(&draft.record, armored, &world.estate, &self.founders) {
                Ok(signature) if draft.wants(&signature.person, &world, self) => signature,
                Ok(signature) => {
                    let why = GovernError::NoSay(signature.person);
                    return Err(self.refuse_signature(number, actor, why).await?);
                }
                Err(why) => return Err(self.refuse_signature(number, actor, why.into()).await?),
            };
        let (stored, commitment) = self.count(stored, &draft, signature, &actor).await?;
        let draft = self.stored_draft(&world, &stored).await?;
        let outcome = self.settle(&world, draft, &actor).await?;
        Ok((outcome, commitment))
    }

    /// Rejects a waiting change, or withdraws it: whoever submitted it or has a say in it, or the host's root.
    ///
    /// # Errors
    /// [`GovernError`]
    pub async fn reject_change(
        &self,
        number: ChangeId,
        reason: &str,
        actor: Actor,
        person: Option<PersonId>,
    ) -> Result<(super::Listed, Commitment), GovernError> {
        let _one_at_a_time = self.applying.lock().await;
        let stored = self.waiting(number).await?;
        if let Some(person) = person
            && !self.is_party(number, &person).await?
        {
            return Err(GovernError::NoSay(person));
        }
        let reason: String = reason.chars().take(MAX_REASON).collect();
        let act = act_on(ActKind::ChangeReject, actor, &stored)
            .field("reason", reason)
            .effect(Effect::ChangeRejected(number));
        let logged = self.ledger.record(act).await.map_err(conflict)?;
        let listed = self.listed(self.stored_change(number).await?).await?;
        Ok((listed, logged.commitment().clone()))
    }

    /// Whether somebody submitted the change or has a say in it.
    ///
    /// # Errors
    /// [`StoreError`]
    pub async fn is_party(&self, number: ChangeId, person: &PersonId) -> Result<bool, StoreError> {
        let Some(stored) = self.store.change(number).await? else {
            return Ok(false);
        };
        let world = self.world();
        let Ok(draft) = self.stored_draft(&world, &stored).await else {
            return Ok(false);
        };
        let submitted = draft.record.submitter.as_ref() == Some(person);
        Ok(submitted || !self.is_robot(person) && draft.concerns(person, &world, self))
    }

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
        let bare = Estate::parse(&files).map_err(crate::world::WorldError::from)?;
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

    /// Announces a change in a leaf of its own, and applies it where nobody has to sign.
    pub(super) async fn propose(
        &self,
        world: &Arc<World>,
        next: Candidate,
        origin: Origin,
    ) -> Result<(Submitted, Commitment), GovernError> {
        let Origin {
            kind,
            actor,
            submitter,
            prune,
        } = origin;
        if next.hash() == world.hash() {
            return Err(GovernError::Conflict(super::NOTHING_CHANGES.to_owned()));
        }
        let newest = self.newest_number(&actor).await?;
        let draft = self.draft(world, next, ChangeId(newest.0 + 1), submitter)?;
        let removed = draft.removals();
        if !prune && !removed.is_empty() {
            return Err(GovernError::WouldRemove(removed.join(", ")));
        }
        self.keep_ways_to_leases(&draft.next.estate).await?;
        let act = submit_act(kind, actor.clone(), &draft)?.guard(Guard::ChangeNewest(newest));
        let logged = self.ledger.record(act).await.map_err(conflict)?;
        let outcome = self.settle(world, draft, &actor).await?;
        Ok((outcome, logged.commitment().clone()))
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

    fn judged(
        &self,
        world: &World,
        next: Candidate,
        record: ChangeRecord,
        access: Vec<AccessChange>,
    ) -> Result<Draft, GovernError> {
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

    /// Applies a change that has all it needs; otherwise it waits.
    async fn settle(
        &self,
        world: &Arc<World>,
        draft: Draft,
        actor: &Actor,
    ) -> Result<Submitted, GovernError> {
        let plan = draft.plan(world);
        let Draft {
            next,
            record,
            access: _,
            verdict,
        } = draft;
        match verdict {
            Ok(approved) => {
                let applied = self.bring_into_force(next, approved, plan, actor).await?;
                Ok(Submitted::Applied(Box::new(applied)))
            }
            Err(_) => Ok(Submitted::Waiting(Box::new(Pending {
                hash: record.hash(),
                record,
                plan,
            }))),
        }
    }

    /// Writes the signature down, in a leaf and in the record; the second one of a person changes nothing.
    async fn count(
        &self,
        mut stored: StoredChange,
        draft: &Draft,
        signature: ChangeSignature,
        actor: &Actor,
    ) -> Result<(StoredChange, Commitment), GovernError> {
        let person = signature.person.clone();
        let mut record = draft.record.clone();
        let again = record.signatures.iter().any(|one| one.person == person);
        let mut act = act_on(ActKind::ChangeApprove, actor.clone(), &stored)
            .field("person", person.to_string())
            .guard(Guard::Policy(record.base_version));
        if again {
            act = act.field("again", true);
        } else {
            record.signatures.push(signature);
            stored.row.record = text_of(&record)?;
            act = act.effect(Effect::ChangeSigned(
                record.number,
                stored.row.record.clone(),
            ));
        }
        let logged = self.ledger.record(act).await.map_err(conflict)?;
        Ok((stored, logged.commitment().clone()))
    }

    /// A signature that does not count is on record before its bringer is told.
    async fn refuse_signature(
        &self,
        number: ChangeId,
        actor: Actor,
        why: GovernError,
    ) -> Result<GovernError, GovernError> {
        let act = Act::new(ActKind::AdminRefused, actor)
            .field("what", format!("approve change {number}"))
            .field("reason", why.to_string());
        let _logged = self.ledger.record(act).await?;
        Ok(why)
    }

    pub(super) async fn stored_change(
        &self,
        number: ChangeId,
    ) -> Result<StoredChange, GovernError> {
        let stored = self.store.change(number).await?;
        stored.ok_or_else(|| GovernError::NotFound {
            kind: "change",
            name: number.to_string(),
        })
    }

    async fn waiting(&self, number: ChangeId) -> Result<StoredChange, GovernError> {
        let stored = self.stored_change(number).await?;
        let state = self.state_of(&stored).await?;
        match state {
            ChangeState::Waiting => Ok(stored),
            state => Err(GovernError::Conflict(format!(
                "change {number} {}",
                match state {
                    ChangeState::Applied => "is in force already",
                    ChangeState::Rejected => "was rejected",
                    ChangeState::Expired => "has expired",
                    ChangeState::Waiting | ChangeState::Void =>
                        "is void: another version came into force first",
                }
            ))),
        }
    }

    /// Where a change stands: a rejection on record stands, whatever the row says.
    pub(super) async fn state_of(&self, stored: &StoredChange) -> Result<ChangeState, StoreError> {
        let state = standing(stored, self.now());
        if state != ChangeState::Waiting {
            return Ok(state);
        }
        let fields = [
            ("number", stored.row.number.to_string()),
            ("kind", ActKind::ChangeReject.as_str().to_owned()),
            ("done", true.to_string()),
        ];
        let filter = Search {
            fields: fields.map(|(name, value)| (name.to_owned(), value)).into(),
            limit: 1,
            ..Search::default()
        };
        match self.store.search(filter).await?.is_empty() {
            true => Ok(ChangeState::Waiting),
            false => Ok(ChangeState::Rejected),
        }
    }

    /// The newest number, if this actor may add one: nobody fills the store with what nobody signs.
    async fn newest_number(&self, actor: &Actor) -> Result<ChangeId, GovernError> {
        let (changes, now, by) = (self.store.changes().await?, self.now(), actor.to_string());
        let own = changes
            .iter()
            .filter(|change| change.row.by == by && standing(change, now) == ChangeState::Waiting);
        if own.count() >= MOST_WAITING {
            return Err(GovernError::Conflict(format!(
                "{MOST_WAITING} changes of yours wait already: reject some first"
            )));
        }
        Ok(changes
            .first()
            .map_or(ChangeId(0), |change| change.row.number))
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
    fn wants<S: Store, A: DatabaseAccounts>(
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
    fn concerns<S: Store, A: DatabaseAccounts>(
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

    fn removals(&self) -> Vec<String> {
        let changes = self.record.changes.iter();
        changes
            .filter(|change| change.verb == Verb::Removed)
            .map(ToString::to_string)
            .collect()
    }
}

/// Where a change stands at `now`.
pub(super) fn standing(stored: &StoredChange, now: Timestamp) -> ChangeState {
    match stored.state {
        ChangeState::Waiting if now >= stored.row.expires => ChangeState::Expired,
        state => state,
    }
}

/// A record as the store keeps it.
pub(super) fn text_of(record: &ChangeRecord) -> Result<String, StoreError> {
    serde_json::to_string(record).map_err(|_| damaged(record.number))
}

/// A failed guard is the caller's to hear: somebody was faster.
pub(super) fn conflict(error: NotRecorded) -> GovernError {
    match error {
        NotRecorded::Refused(refusal) => GovernError::Conflict(refusal.guard.failure().to_owned()),
        error @ NotRecorded::Unavailable(_) => GovernError::NotRecorded(error),
    }
}

fn damaged(number: ChangeId) -> StoreError {
    StoreError::Corrupt(format!(
        "change {number} is not the one that the log says was submitted"
    ))
}

fn submit_act(kind: ActKind, actor: Actor, draft: &Draft) -> Result<Act, GovernError> {
    let (record, hash) = (&draft.record, draft.record.hash());
    let files = serde_json::to_string(&draft.next.files).map_err(|_| damaged(record.number))?;
    let row = ChangeRow {
        number: record.number,
        hash,
        record: text_of(record)?,
        files,
        by: actor.to_string(),
        expires: record.expires,
    };
    let summary: Vec<String> = record.changes.iter().map(ToString::to_string).collect();
    Ok(Act::new(kind, actor)
        .field("number", record.number.0)
        .field("changeHash", hash.to_string())
        .field("result", record.result.0.to_string())
        .field("changes", summary)
        .effect(Effect::ChangeSubmitted(Box::new(row)))
        .guard(Guard::Policy(record.base_version)))
}

fn act_on(kind: ActKind, actor: Actor, stored: &StoredChange) -> Act {
    let row = &stored.row;
    Act::new(kind, actor)
        .field("number", row.number.0)
        .field("changeHash", row.hash.to_string())
        .guard(Guard::ChangeWaiting(row.number, Digest::of(&row.record)))
}

/// How long a change waits.
const PENDING_LIFE: Duration = Duration::from_secs(7 * 24 * 3600);
/// How many changes of one submitter wait at once.
const MOST_WAITING: usize = 20;
const MAX_REASON: usize = 500;
