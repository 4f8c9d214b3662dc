//! Whether a change would lock everybody out: a rule that could be met must stay one that can be met.

use std::collections::BTreeMap;

use crate::people::OWNER;
use crate::{Estate, People};

/// After the change, too few of a team would have keys to meet a rule that can be met now. Fault: the writer.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error(
    "{rule} would want {wanted} of `{team}`, of whom {able} would have keys: nobody could approve anything there"
)]
pub struct OutOfReach {
    /// The rule.
    pub rule: &'static str,
    /// The team.
    pub team: String,
    /// How many must sign.
    pub wanted: usize,
    /// How many could.
    pub able: usize,
}

pub(super) fn check(old: &Estate, new: &Estate) -> Result<(), OutOfReach> {
    let before = demands(old);
    for ((rule, team), wanted) in demands(new) {
        let could = match before.get(&(rule, team.clone())) {
            Some(wanted) => able(&old.people, &team) >= *wanted,
            None => joins(old, new, rule, &team),
        };
        let able = able(&new.people, &team);
        if could && able < wanted {
            return Err(OutOfReach {
                rule,
                team,
                wanted,
                able,
            });
        }
    }
    Ok(())
}

/// Whether the team is named beside others by a rule that could be met without it. A new owner shuts out nobody but itself.
fn joins(old: &Estate, new: &Estate, label: &str, team: &str) -> bool {
    let find = |estate| rules(estate).into_iter().find(|(rule, _)| *rule == label);
    let (Some((_, before)), Some((_, after))) = (find(old), find(new)) else {
        return false;
    };
    let mut named = before.iter().filter(|(team, _)| *team != OWNER);
    after.contains_key(team)
        && !before.is_empty()
        && named.all(|(team, wanted)| able(&old.people, team) >= *wanted)
}

fn rules(estate: &Estate) -> [(&'static str, &BTreeMap<String, usize>); 3] {
    let approve = &estate.people.approve;
    [
        ("`approve.inventory`", &approve.inventory),
        ("`approve.people`", &approve.people),
        ("`approve.dataset`", &approve.dataset),
    ]
}

/// How many of which team each rule wants.
fn demands(estate: &Estate) -> BTreeMap<(&'static str, String), usize> {
    let mut demands = BTreeMap::new();
    let mut demand = |rule, team: String, wanted: usize| {
        let most: &mut usize = demands.entry((rule, team)).or_default();
        *most = (*most).max(wanted);
    };
    for (rule, teams) in rules(estate) {
        for (team, wanted) in teams {
            if team == OWNER {
                for owner in estate.owners() {
                    demand(rule, owner.to_string(), *wanted);
                }
            } else {
                demand(rule, team.clone(), *wanted);
            }
        }
    }
    demands
}

fn able(people: &People, team: &str) -> usize {
    let members = people.teams.get(team).into_iter().flatten();
    let signs = |person: &&crate::PersonId| {
        let person = people.persons.get(*person);
        person.is_some_and(|person| !person.robot && !person.keys.is_empty())
    };
    members.filter(signs).count()
}
