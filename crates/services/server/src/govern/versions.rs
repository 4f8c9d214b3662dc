//! The estate: plan, apply, and what a new version ends.

use super::*;

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

    pub(super) fn prepare(
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
        let submission = Submission {
            number: ChangeId(now.version().0.saturating_add(1)),
            base_version: now.version(),
            access: Digest::of("[]"),
            submitter,
            submitted: self.now(),
            expires: self.now().plus(std::time::Duration::from_secs(60)),
        };
        let changes = estate::diff(&now.estate, &next.estate);
        let record = ChangeRecord::new(&now.estate, &next.estate, changes, submission);
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
            return Err(GovernError::Conflict(NOTHING_CHANGES.to_owned()));
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
        let newest = self.store.changes().await?;
        let number = ChangeId(newest.first().map_or(0, |change| change.row.number.0) + 1);
        let logged = self
            .ledger
            .record(self.apply_act(&next, &plan, number, actor)?)
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
    pub(super) async fn keep_ways_to_leases(&self, next: &World) -> Result<(), GovernError> {
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

    pub(super) fn apply_act(
        &self,
        next: &World,
        plan: &Plan,
        number: ChangeId,
        actor: Actor,
    ) -> Result<Act, GovernError> {
        let files = serde_json::to_string(&next.files)
            .map_err(|_| StoreError::Corrupt("estate files".to_owned()))?;
        let row = EstateRow {
            version: next.version(),
            hash: next.hash(),
            files: files.clone(),
            number,
            change: Digest::of(&plan.change),
            record: String::new(),
            by: actor.to_string(),
        };
        let change = ChangeRow {
            number,
            hash: row.change,
            record: String::new(),
            files,
            by: actor.to_string(),
            expires: self.now().plus(std::time::Duration::from_secs(60)),
        };
        let summary: Vec<String> = plan.changes.iter().map(ToString::to_string).collect();
        Ok(Act::new(ActKind::EstateApply, actor)
            .field("policy", next.version().0)
            .field("estate", next.hash().0.to_string())
            .field("change", plan.change.clone())
            .field("changes", summary)
            .effect(Effect::ChangeSubmitted(Box::new(change)))
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

    /// Versions of the estate, newest first.
    ///
    /// # Errors
    /// [`StoreError`]
    pub async fn changes(&self) -> Result<Vec<EstateVersion>, StoreError> {
        self.store.estate_history().await
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

pub(super) fn removals(plan: &Plan) -> Vec<String> {
    plan.changes
        .iter()
        .filter(|change| change.verb == Verb::Removed)
        .map(ToString::to_string)
        .collect()
}
