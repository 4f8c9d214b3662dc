//! Versions of the estate: how one comes into force, and what it ends.

use super::{
    changes::{conflict, text_of},
    *,
};

impl<S: Store, A: DatabaseAccounts> Server<S, A> {
    /// Writes the version's leaf and swaps the world. Only an approved change comes here.
    pub(super) async fn bring_into_force(
        &self,
        next: Candidate,
        approved: ApprovedChange,
        plan: Plan,
        actor: &Actor,
    ) -> Result<Applied, GovernError> {
        self.keep_ways_to_leases(&next.estate).await?;
        // Keys first: an image set without its key would be in force but could not be encrypted to.
        let authority = evidence::statement::authority(&self.trust_domain);
        let (store, now) = (self.store.as_ref(), self.now());
        let custody = keyring::hold_all(store, &self.kek, authority, &next.estate, now).await?;
        let (record, approvers) = (approved.record().clone(), approved.approvers().clone());
        let belongings = self.world().belongings_with(&next.estate)?;
        let next = World::approved(next, approved, belongings)?;
        let act = apply_act(&next, &record, &approvers, actor)?;
        let logged = self.ledger.record(act).await.map_err(conflict)?;
        self.swap(Arc::clone(&next), custody);
        let ended_leases = self.end_unpermitted(&next).await?;
        self.announce();
        Ok(Applied {
            version: next.version(),
            number: record.number,
            hash: record.hash(),
            approvers,
            plan: Plan {
                needs: Vec::new(),
                ..plan
            },
            ended_leases,
            leaf: logged.commitment().index,
        })
    }

    /// A role can be ended only through its database's entry: that stays as long as a lease lives there. Of the rest of the
    /// entry nothing changes without the lease's data set, which is asked as long as it has a credential there.
    pub(super) async fn keep_ways_to_leases(&self, next: &Estate) -> Result<(), GovernError> {
        let world = self.world();
        for lease in self.store.leases(true).await? {
            let name = &lease.database;
            let (before, after) = (world.estate.database(name), next.database(name));
            if before.is_some_and(|before| after.is_none_or(|after| after.url != before.url)) {
                return Err(GovernError::Conflict(format!(
                    "database `{name}` has live leases: end them before it is removed or moved, or their roles stay"
                )));
            }
            let mut credentials = world.estate.credentials();
            let asked =
                credentials.any(|one| one.database == *name && one.dataset == lease.dataset);
            if before != after && !asked {
                return Err(GovernError::Conflict(format!(
                    "database `{name}` has live leases of data set `{}`, which has no credential there any more: wait until they have ended",
                    lease.dataset
                )));
            }
        }
        Ok(())
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

    pub(super) async fn still_permitted(
        &self,
        world: &World,
        lease: &LeaseRow,
    ) -> Result<bool, StoreError> {
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
            .image_set_of(&image, now)
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
}

pub(super) fn failures(report: &TestReport) -> String {
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

fn apply_act(
    next: &World,
    record: &ChangeRecord,
    approvers: &BTreeSet<PersonId>,
    actor: &Actor,
) -> Result<Act, GovernError> {
    let files = serde_json::to_string(&next.files)
        .map_err(|_| StoreError::Corrupt("estate files".to_owned()))?;
    let (text, hash) = (text_of(record)?, record.hash());
    let row = EstateRow {
        version: next.version(),
        hash: next.hash(),
        files,
        number: record.number,
        change: hash,
        record: text.clone(),
        by: actor.to_string(),
    };
    let summary: Vec<String> = record.changes.iter().map(ToString::to_string).collect();
    let approvers: Vec<String> = approvers.iter().map(ToString::to_string).collect();
    Ok(Act::new(ActKind::EstateApply, actor.clone())
        .field("policy", next.version().0)
        .field("estate", next.hash().0.to_string())
        .field("change", record.number.0)
        .field("changeHash", hash.to_string())
        .field("approvers", approvers)
        .field("changes", summary)
        .effect(Effect::Estate(Box::new(row)))
        .guard(Guard::Policy(record.base_version))
        .guard(Guard::ChangeWaiting(record.number, Digest::of(text))))
}
