//! Two versions of the rules side by side: which rules differ, who gains and who loses.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;

use cedar_policy::Effect as RuleEffect;
use estate::{
    Ask, AskObject, ClusterName, Effect, ImageSetName, LocationName, NodeName, RuleId, Timestamp,
    Verb,
};
use serde::Serialize;

use crate::fleet::{Row, declared};
use crate::rules::Rule;
use crate::vocabulary::ACTIONS;
use crate::{Policies, Target};

/// One rule that differs.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct RuleChange {
    /// The rule.
    pub id: RuleId,
    /// What happened to it.
    pub verb: Verb,
    /// What that does to access: a permit that goes and a forbid that comes narrow it; all else may widen it.
    pub effect: Effect,
}

/// Who gains and who loses, over the declared machines of both versions.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize)]
pub struct Shift {
    /// What the new version permits and the old one did not.
    pub gains: Vec<Row>,
    /// What the old version permitted and the new one does not.
    pub loses: Vec<Row>,
}

impl Policies {
    /// The rules that differ in `new`.
    #[must_use]
    pub fn rule_changes(&self, new: &Self) -> Vec<RuleChange> {
        let by_id = |policies: &Self| -> BTreeMap<RuleId, (RuleEffect, String)> {
            policies
                .rules()
                .iter()
                .map(|rule| (rule.id.clone(), (rule.effect, text(rule))))
                .collect()
        };
        let (before, after) = (by_id(self), by_id(new));
        let ids: BTreeSet<&RuleId> = before.keys().chain(after.keys()).collect();
        ids.into_iter()
            .filter_map(|id| {
                let (verb, effect) = match (before.get(id), after.get(id)) {
                    (None, Some((RuleEffect::Forbid, _))) => (Verb::Added, Effect::Narrowing),
                    (None, Some(_)) => (Verb::Added, Effect::Widening),
                    (Some((RuleEffect::Permit, _)), None) => (Verb::Removed, Effect::Narrowing),
                    (Some(_), None) => (Verb::Removed, Effect::Widening),
                    (Some(old), Some(new)) if old == new => return None,
                    _ => (Verb::Changed, Effect::Widening),
                };
                Some(RuleChange {
                    id: id.clone(),
                    verb,
                    effect,
                })
            })
            .collect()
    }

    /// Who gains and who loses by `new`, with facts as good as they can be measured.
    #[must_use]
    pub fn shift(&self, new: &Self, now: Timestamp) -> Shift {
        let (before, after) = (self.all_that_can(now), new.all_that_can(now));
        let only = |one: &BTreeMap<Who, Row>, other: &BTreeMap<Who, Row>| {
            one.iter()
                .filter(|(who, _)| !other.contains_key(*who))
                .map(|(_, row)| row.clone())
                .collect()
        };
        Shift {
            gains: only(&after, &before),
            loses: only(&before, &after),
        }
    }

    fn all_that_can(&self, now: Timestamp) -> BTreeMap<Who, Row> {
        let objects: Vec<AskObject> = self
            .estate()
            .datasets()
            .map(|dataset| AskObject::DataSet(dataset.name.clone()))
            .collect();
        let seats = declared(self.estate());
        let mut all = BTreeMap::new();
        for action in ACTIONS {
            for object in objects.iter().chain([&AskObject::Identity]) {
                let ask = Ask {
                    verb: action.as_str().to_owned(),
                    object: object.clone(),
                };
                let rows = self
                    .ask_fleet(&seats, &ask, now)
                    .into_iter()
                    .map(|(_, row)| row);
                all.extend(
                    rows.filter(|row| row.evaluation.is_allowed())
                        .map(|row| (who(&row), row)),
                );
            }
        }
        all
    }
}

/// A machine with an image in its place, and what it asks for.
type Who = (
    NodeName,
    ClusterName,
    LocationName,
    Option<ImageSetName>,
    &'static str,
    Target,
);

fn who(row: &Row) -> Who {
    let Row {
        node,
        cluster,
        location,
        image,
        action,
        target,
        evaluation: _,
    } = row;
    (
        node.clone(),
        cluster.clone(),
        location.clone(),
        image.clone(),
        action.as_str(),
        target.clone(),
    )
}

/// The rule and what it is for: the same text in another file is another rule.
fn text(rule: &Rule) -> String {
    format!("{:?} {}", rule.dataset, rule.policy)
}

impl fmt::Display for Shift {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (word, rows) in [("gains", &self.gains), ("loses", &self.loses)] {
            writeln!(
                f,
                "{word}:{}",
                if rows.is_empty() { " nothing" } else { "" }
            )?;
            for row in rows {
                writeln!(f, "  {row}")?;
            }
        }
        Ok(())
    }
}
