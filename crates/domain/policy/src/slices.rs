//! Rules sorted so that a request meets only those that can apply: the engine's cost grows with each rule it is given.

use std::collections::{BTreeSet, HashMap};

use cedar_policy::{EntityUid, PolicySet};
use estate::DataSetName;
use evidence::Action;

use crate::PolicyError;
use crate::rules::Rule;
use crate::vocabulary::{ACTIONS, shipped};

/// The rules that a request can meet, by data set, action and resource.
#[derive(Debug)]
pub(crate) struct Slices {
    by_scope: HashMap<(Option<DataSetName>, Action), Slice>,
}

#[derive(Debug)]
struct Slice {
    /// For a resource that no rule names.
    general: PolicySet,
    /// For each resource that a rule names: the general rules, and those about it.
    exact: HashMap<EntityUid, PolicySet>,
}

impl Slices {
    pub(crate) fn sort(
        rules: &[Rule],
        datasets: &BTreeSet<DataSetName>,
    ) -> Result<Self, PolicyError> {
        let mut by_scope = HashMap::new();
        for dataset in datasets.iter().map(Some).chain([None]) {
            for action in ACTIONS {
                let met: Vec<&Rule> = meets(rules, dataset, action).collect();
                by_scope.insert((dataset.cloned(), action), Slice::of(&met)?);
            }
        }
        Ok(Self { by_scope })
    }

    /// `None` for a data set that the estate does not have.
    pub(crate) fn of(
        &self,
        dataset: Option<&DataSetName>,
        action: Action,
        resource: &EntityUid,
    ) -> Option<&PolicySet> {
        let slice = self.by_scope.get(&(dataset.cloned(), action))?;
        Some(slice.exact.get(resource).unwrap_or(&slice.general))
    }
}

impl Slice {
    fn of(rules: &[&Rule]) -> Result<Self, PolicyError> {
        let named: BTreeSet<String> = rules
            .iter()
            .filter_map(|rule| rule.exact.as_ref())
            .map(ToString::to_string)
            .collect();
        let set = |about: Option<&EntityUid>| {
            let met = rules
                .iter()
                .filter(|rule| rule.exact.is_none() || rule.exact.as_ref() == about);
            PolicySet::from_policies(met.map(|rule| rule.policy.clone())).map_err(shipped)
        };
        let mut exact = HashMap::with_capacity(named.len());
        for resource in rules.iter().filter_map(|rule| rule.exact.as_ref()) {
            if !exact.contains_key(resource) {
                exact.insert(resource.clone(), set(Some(resource))?);
            }
        }
        Ok(Self {
            general: set(None)?,
            exact,
        })
    }
}

/// The rules of a data set for an action, and the guardrails.
pub(crate) fn meets<'r>(
    rules: &'r [Rule],
    dataset: Option<&'r DataSetName>,
    action: Action,
) -> impl Iterator<Item = &'r Rule> {
    let of_scope = move |rule: &&Rule| rule.dataset.is_none() || rule.dataset.as_ref() == dataset;
    rules
        .iter()
        .filter(of_scope)
        .filter(move |rule| rule.actions.contains(&action))
}
