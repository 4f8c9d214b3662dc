//! The rules of one version of the estate, and the one evaluation that requests, tests and questions share.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use cedar_policy::{Authorizer, Decision, Effect, PolicyId, PolicySet};
use estate::{
    ChangeId, DatabaseName, Estate, PersonId, PolicyVersion, RuleId, SecretName, Timestamp,
};
use evidence::Action;

use crate::PolicyError;
use crate::answer::{DeniedBy, Evaluation, Outcome};
use crate::facts::Facts;
use crate::permit::Basis;
use crate::question::Question;
use crate::rules::{self, Rule};
use crate::shortcomings::shortcomings;
use crate::slices::{Slices, meets};
use crate::target::{Resource, Target};
use crate::vocabulary::Vocabulary;

/// The rules of one version of the estate, loaded strictly.
#[derive(Debug)]
pub struct Policies {
    estate: Estate,
    basis: Basis,
    words: Vocabulary,
    rules: Vec<Rule>,
    slices: Slices,
    authorizer: Authorizer,
}

impl Policies {
    /// Loads the rules of an estate together with the guardrails.
    ///
    /// # Errors
    /// The first rule that is not valid *without warnings*, lacks a unique `@id`, leaves its data set, or speaks of
    /// something that the estate does not have.
    pub fn load(estate: &Estate, version: PolicyVersion) -> Result<Self, PolicyError> {
        let words = Vocabulary::load()?;
        let rules = rules::load(estate, &words)?;
        let datasets: BTreeSet<_> = estate
            .datasets()
            .map(|dataset| dataset.name.clone())
            .collect();
        let slices = Slices::sort(&rules, &datasets)?;
        let basis = Basis {
            policy: version,
            estate: estate.hash(),
            change: ChangeId(0),
            approvers: Arc::from([]),
        };
        Ok(Self {
            estate: estate.clone(),
            basis,
            words,
            rules,
            slices,
            authorizer: Authorizer::new(),
        })
    }

    /// The version of the estate that decisions rest on.
    #[must_use]
    pub fn basis(&self) -> Basis {
        self.basis.clone()
    }

    /// The same rules, as brought into force by a change and those who signed it.
    #[must_use]
    pub fn with_approval(
        mut self,
        change: ChangeId,
        approvers: impl IntoIterator<Item = PersonId>,
    ) -> Self {
        self.basis.change = change;
        self.basis.approvers = approvers.into_iter().collect();
        self
    }

    /// The estate that the rules belong to.
    #[must_use]
    pub fn estate(&self) -> &Estate {
        &self.estate
    }

    /// The secret with which accounts are made on a database.
    #[must_use]
    pub fn login_of(&self, database: &DatabaseName) -> Option<&SecretName> {
        self.estate
            .database(database)
            .map(|database| &database.login)
    }

    /// The ids of all rules and guardrails, in the order of loading.
    pub fn rule_ids(&self) -> impl Iterator<Item = &RuleId> {
        self.rules.iter().map(|rule| &rule.id)
    }

    /// What the rules say to one request. Pure: the same facts, request and time give the same answer.
    pub fn evaluate(
        &self,
        facts: &Facts,
        action: Action,
        target: &Target,
        now: Timestamp,
    ) -> Evaluation {
        let Some(resource) = Resource::of(target, &self.estate, &self.words) else {
            return Evaluation(Outcome::Denied(DeniedBy::Unknown {
                target: target.to_string(),
            }));
        };
        let dataset = resource.dataset;
        let Some(rules) =
            self.slices
                .of(dataset.map(|dataset| &dataset.name), action, &resource.uid)
        else {
            return Evaluation(Outcome::Denied(DeniedBy::Unknown {
                target: target.to_string(),
            }));
        };
        Evaluation(self.judge(rules, facts, action, resource, now))
    }

    fn judge(
        &self,
        rules: &PolicySet,
        facts: &Facts,
        action: Action,
        resource: Resource<'_>,
        now: Timestamp,
    ) -> Outcome {
        let dataset = resource.dataset;
        let question =
            match Question::build(facts, action, resource, now, &self.estate, &self.words) {
                Ok(question) => question,
                Err(_) => return Outcome::Denied(DeniedBy::Errored { rule: None }),
            };
        let answer = self
            .authorizer
            .is_authorized(&question.request, rules, &question.entities);
        // The engine skips a rule that errs, so an erring `forbid` would be no `forbid` at all.
        if let Some(error) = answer.diagnostics().errors().next() {
            let cedar_policy::AuthorizationError::PolicyEvaluationError(error) = error;
            return Outcome::Denied(DeniedBy::Errored {
                rule: self.id_of(error.policy_id()),
            });
        }
        let reasons: BTreeSet<&str> = answer.diagnostics().reason().map(AsRef::as_ref).collect();
        let decided: Vec<&Rule> = self
            .rules
            .iter()
            .filter(|rule| reasons.contains(rule.id.as_str()))
            .collect();
        match (answer.decision(), decided.first()) {
            (Decision::Allow, Some(_)) => {
                Outcome::Allowed(decided.iter().map(|rule| rule.id.clone()).collect())
            }
            // INVARIANT: the engine names the rules it allows by; an answer without one is not understood, so not a yes.
            (Decision::Allow, None) => Outcome::Denied(DeniedBy::Errored { rule: None }),
            (Decision::Deny, Some(rule)) if rule.is_guardrail() => {
                Outcome::Denied(DeniedBy::Guardrail {
                    rule: rule.id.clone(),
                    lacks: shortcomings(&rule.id, facts, action, dataset, now),
                })
            }
            (Decision::Deny, Some(rule)) => Outcome::Denied(DeniedBy::Forbid {
                rule: rule.id.clone(),
            }),
            (Decision::Deny, None) => {
                let (nearest, lacks) = self
                    .nearest(&question, action, dataset)
                    .map_or_else(Default::default, |best| (Some(best.0), best.1));
                Outcome::Denied(DeniedBy::Default { nearest, lacks })
            }
        }
    }

    /// The permit that lacks the fewest conditions, and those.
    fn nearest(
        &self,
        question: &Question,
        action: Action,
        dataset: Option<&estate::DataSet>,
    ) -> Option<(RuleId, Vec<String>)> {
        self.lacks(question, action, dataset)
            .into_iter()
            .min_by_key(|(id, lacks)| (lacks.len(), id.clone()))
    }

    /// For each permit about the resource the conditions that do not hold.
    pub(crate) fn lacks(
        &self,
        question: &Question,
        action: Action,
        dataset: Option<&estate::DataSet>,
    ) -> BTreeMap<RuleId, Vec<String>> {
        let resource = question.request.resource();
        meets(&self.rules, dataset.map(|dataset| &dataset.name), action)
            .filter(|rule| {
                rule.effect == Effect::Permit
                    && (rule.exact.is_none() || rule.exact.as_ref() == resource)
            })
            .map(|rule| {
                let failing = rule
                    .probes
                    .iter()
                    .filter(|probe| !probe.holds(&self.authorizer, question));
                (
                    rule.id.clone(),
                    failing.map(|probe| probe.text.clone()).collect(),
                )
            })
            .collect()
    }

    pub(crate) fn question(
        &self,
        facts: &Facts,
        action: Action,
        target: &Target,
        now: Timestamp,
    ) -> Option<Question> {
        let resource = Resource::of(target, &self.estate, &self.words)?;
        Question::build(facts, action, resource, now, &self.estate, &self.words).ok()
    }

    pub(crate) fn rules(&self) -> &[Rule] {
        &self.rules
    }

    fn id_of(&self, id: &PolicyId) -> Option<RuleId> {
        let id: &str = id.as_ref();
        self.rules
            .iter()
            .find(|rule| rule.id.as_str() == id)
            .map(|rule| rule.id.clone())
    }
}

#[cfg(test)]
mod tests;
