//! Changes: submitted, signed, rejected. A change that nobody who counts has signed is a row, and nothing of it is in force.

use std::sync::Arc;

use estate::{ChangeId, ChangeRecord, ChangeSignature, Digest, PersonId, Timestamp};
use ledger::{
    Act, ActKind, Actor, ChangeRow, ChangeState, Commitment, Effect, Guard, NotRecorded,
    StoredChange,
};

use super::{
    GovernError, Listed, Pending, Plan, Submitted,
    drafts::{Draft, damaged},
};
use crate::{
    ports::{DatabaseAccounts, Search, Store, StoreError},
    server::Server,
    world::{Candidate, World},
};

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
    ) -> Result<(Listed, Commitment), GovernError> {
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
        // A change that waits may wait for leases to end, too; it is asked again when it comes into force.
        if draft.verdict.is_ok() {
            self.keep_ways_to_leases(&draft.next.estate).await?;
        }
        let act = submit_act(kind, actor.clone(), &draft)?.guard(Guard::ChangeNewest(newest));
        let logged = self.ledger.record(act).await.map_err(conflict)?;
        let outcome = self.settle(world, draft, &actor).await?;
        Ok((outcome, logged.commitment().clone()))
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

/// How many changes of one submitter wait at once.
const MOST_WAITING: usize = 20;
const MAX_REASON: usize = 500;
