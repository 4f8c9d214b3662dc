//! Which rules an object falls under, and which signatures those demand.

use std::collections::{BTreeMap, BTreeSet};

use super::{FOUNDERS, Requirement};
use crate::effect::GUARDRAILS;
use crate::images::Promoter;
use crate::people::OWNER;
use crate::{
    Change, DataSetName, DatabaseName, Effect, Estate, Founders, ObjectKind, PersonId, TeamName,
    Verb,
};

/// What must be signed for what widens. Empty when nothing does.
#[must_use]
pub fn requirements(
    old: &Estate,
    new: &Estate,
    changes: &[Change],
    founders: &Founders,
) -> Vec<Requirement> {
    Sides { old, new, founders }.requirements(changes)
}

/// Who may bring the narrowing part of a change into force alone: those who stand for every object that it narrows.
#[must_use]
pub fn stand_for(
    old: &Estate,
    new: &Estate,
    changes: &[Change],
    founders: &Founders,
) -> BTreeSet<PersonId> {
    let sides = Sides { old, new, founders };
    let standing = changes
        .iter()
        .filter(|change| change.effect == Effect::Narrowing && change.kind != ObjectKind::Promotion)
        .map(|change| sides.standing(change).members());
    standing
        .reduce(|all, each| &all & &each)
        .unwrap_or_else(|| sides.known())
}

/// A rule of approval, as it applies to one object.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Rule {
    Inventory,
    People,
    /// The rule for data sets, with whom `owner` stands for and what for.
    Owned {
        what: String,
        owner: TeamName,
    },
}

/// Who stands for an object.
#[derive(Debug, Default)]
pub(super) struct Standing {
    teams: BTreeSet<String>,
    /// By the estate in force.
    pub(super) people: BTreeSet<PersonId>,
    /// Where it has no rule.
    pub(super) founders: BTreeSet<PersonId>,
}

impl Standing {
    fn members(&self) -> BTreeSet<PersonId> {
        &self.people | &self.founders
    }

    pub(super) fn in_words(&self, change: &Change) -> Requirement {
        let teams: Vec<&str> = self.teams.iter().map(String::as_str).collect();
        Requirement {
            rule: change.object(),
            team: teams.join(" or "),
            wanted: 1,
            members: self.members(),
        }
    }
}

/// The estate in force, the one that would be, and who signs where the first has no rule.
#[derive(Debug, Clone, Copy)]
pub(super) struct Sides<'a> {
    pub(super) old: &'a Estate,
    pub(super) new: &'a Estate,
    pub(super) founders: &'a Founders,
}

impl Sides<'_> {
    pub(super) fn requirements(&self, changes: &[Change]) -> Vec<Requirement> {
        // Where nothing is in force, nobody but the founders is known: they sign whatever it is.
        if *self.old == Estate::default() {
            return vec![self.founders_quorum()];
        }
        let mut all = BTreeSet::new();
        for change in changes {
            if change.effect == Effect::Widening && change.kind != ObjectKind::Promotion {
                let rules = self.rules_of(change);
                // Fail closed: what falls under no rule is the founders'.
                if rules.is_empty() {
                    all.insert(self.founders_quorum());
                }
                all.extend(rules.iter().flat_map(|rule| self.demanded_by(rule)));
            }
        }
        all.into_iter().collect()
    }

    /// Who may bring a narrowing object into force: with one signature, or by submitting it.
    pub(super) fn standing(&self, change: &Change) -> Standing {
        let rules = self.rules_of(change);
        let mut demanded: Vec<Requirement> = rules
            .iter()
            .flat_map(|rule| self.demanded_by(rule))
            .collect();
        if demanded.is_empty() {
            demanded.push(self.founders_quorum());
        }
        let mut standing = Standing::default();
        for requirement in demanded {
            let by_founders = requirement.is_of_founders();
            standing.teams.insert(requirement.team);
            if by_founders {
                standing.founders.extend(requirement.members);
            } else {
                standing.people.extend(requirement.members);
            }
        }
        // What is gone can't be brought back by one, and who people are is not for everybody to touch.
        let own_teams_only = change.verb == Verb::Removed
            || matches!(
                change.kind,
                ObjectKind::Team | ObjectKind::Person | ObjectKind::Approvals | ObjectKind::Duties
            );
        for team in GUARDIANS.into_iter().filter(|_| !own_teams_only) {
            if let Some(people) = self.old.people.teams.get(team) {
                let people = people.iter().filter(|one| !self.is_robot(one));
                standing.teams.insert(team.to_owned());
                standing.people.extend(people.cloned());
            }
        }
        standing
    }

    pub(super) fn founders_quorum(&self) -> Requirement {
        let people = self.founders.people.keys();
        Requirement {
            rule: FOUNDERS.to_owned(),
            team: FOUNDERS.to_owned(),
            // A quorum of none would be a rule that asks nobody.
            wanted: self.founders.quorum.max(1),
            members: people.filter(|one| !self.is_robot(one)).cloned().collect(),
        }
    }

    /// Everybody who is somebody: in the estate in force or among the founders, no robots.
    pub(super) fn known(&self) -> BTreeSet<PersonId> {
        let people = &self.old.people;
        let all = people.teams.values().flatten();
        all.chain(people.persons.keys())
            .chain(self.founders.people.keys())
            .filter(|one| !self.is_robot(one))
            .cloned()
            .collect()
    }

    pub(super) fn is_robot(&self, person: &PersonId) -> bool {
        let in_force = self.old.people.persons.get(person);
        let person = in_force.or_else(|| self.new.people.persons.get(person));
        person.is_some_and(|person| person.robot)
    }

    pub(super) fn demanded_by(&self, rule: &Rule) -> Vec<Requirement> {
        let approve = &self.old.people.approve;
        let (label, wanted) = match rule {
            Rule::Inventory => ("inventory".to_owned(), &approve.inventory),
            Rule::People => ("people".to_owned(), &approve.people),
            Rule::Owned { what, .. } => (what.clone(), &approve.dataset),
        };
        if wanted.is_empty() {
            return vec![self.founders_quorum()];
        }
        let mut teams: BTreeMap<&str, usize> = BTreeMap::new();
        for (team, wanted) in wanted {
            let team = match rule {
                Rule::Owned { owner, .. } if team == OWNER => owner.as_str(),
                _ => team.as_str(),
            };
            let most = teams.entry(team).or_default();
            *most = (*most).max(*wanted);
        }
        teams
            .into_iter()
            .map(|(team, wanted)| Requirement {
                rule: label.clone(),
                team: team.to_owned(),
                wanted: wanted.max(1),
                members: self.members(team),
            })
            .collect()
    }

    /// Members by the estate in force; only a team that it does not have is looked up in the other one.
    fn members(&self, team: &str) -> BTreeSet<PersonId> {
        let in_force = self.old.people.teams.get(team);
        let members = in_force.or_else(|| self.new.people.teams.get(team));
        let people = members.into_iter().flatten();
        people.filter(|one| !self.is_robot(one)).cloned().collect()
    }

    pub(super) fn rules_of(&self, change: &Change) -> BTreeSet<Rule> {
        let name = change.name.as_str();
        match change.kind {
            ObjectKind::Team | ObjectKind::Person | ObjectKind::Approvals | ObjectKind::Duties => {
                [Rule::People].into()
            }
            ObjectKind::Location
            | ObjectKind::Cluster
            | ObjectKind::BootProfile
            | ObjectKind::Node
            | ObjectKind::Identities => [Rule::Inventory].into(),
            ObjectKind::DataSet => self.of_dataset(name),
            ObjectKind::ImageSet => self.of_image_set(name),
            ObjectKind::Credential => self.of_credential(name),
            ObjectKind::Database => self.of_database(name),
            ObjectKind::Policy if name == GUARDRAILS => self.of_every_dataset(),
            ObjectKind::Policy => self.of_dataset(name),
            ObjectKind::Test => self.of_test(name),
            ObjectKind::KeyFile => self.of_key_file(name),
            ObjectKind::Promotion => BTreeSet::new(),
        }
    }

    fn both(&self) -> [&Estate; 2] {
        [self.old, self.new]
    }

    pub(super) fn of_dataset(&self, name: &str) -> BTreeSet<Rule> {
        let found = self.both().map(|estate| estate.datasets.get(name));
        let rule = |dataset: &crate::DataSet| Rule::Owned {
            what: format!("data set `{}`", dataset.name),
            owner: dataset.owner.clone(),
        };
        found.into_iter().flatten().map(rule).collect()
    }

    fn of_every_dataset(&self) -> BTreeSet<Rule> {
        let names = self.both().map(|estate| estate.datasets.keys());
        let names = names.into_iter().flatten();
        names
            .flat_map(|name| self.of_dataset(name.as_str()))
            .collect()
    }

    fn of_image_set(&self, name: &str) -> BTreeSet<Rule> {
        let sets = || {
            self.both()
                .into_iter()
                .filter_map(|one| one.images.get(name))
        };
        let datasets = sets().map(|set| set.dataset.clone()).collect();
        let mut rules = self.of_datasets(&datasets);
        for set in sets() {
            let asked =
                |rule: &Rule| matches!(rule, Rule::Owned { owner, .. } if *owner == set.owner);
            if !rules.iter().any(asked) {
                let (what, owner) = (format!("image set `{name}`"), set.owner.clone());
                rules.insert(Rule::Owned { what, owner });
            }
        }
        rules
    }

    fn of_credential(&self, name: &str) -> BTreeSet<Rule> {
        let mut datasets = BTreeSet::new();
        for estate in self.both() {
            if let Some(credential) = estate.credentials.credentials.get(name) {
                datasets.insert(credential.dataset.clone());
                datasets.extend(self.sharing(&credential.database));
            }
        }
        self.of_datasets(&datasets)
    }

    fn of_database(&self, name: &str) -> BTreeSet<Rule> {
        let name: Option<DatabaseName> = name.parse().ok();
        let rules = name.map(|name| self.of_datasets(&self.sharing(&name)));
        rules
            .filter(|rules| !rules.is_empty())
            .unwrap_or_else(|| [Rule::Inventory].into())
    }

    fn of_datasets(&self, names: &BTreeSet<DataSetName>) -> BTreeSet<Rule> {
        let names = names.iter();
        names
            .flat_map(|name| self.of_dataset(name.as_str()))
            .collect()
    }

    /// The data sets with a credential on this database, or on another entry with the same login: whoever could write
    /// a second entry with our login and an address of their own would be sent our login.
    fn sharing(&self, name: &DatabaseName) -> BTreeSet<DataSetName> {
        let both = self.both();
        let databases = || both.iter().flat_map(|estate| estate.databases());
        let logins: BTreeSet<_> = databases()
            .filter(|database| database.name == *name)
            .map(|database| &database.login)
            .collect();
        let names: BTreeSet<_> = databases()
            .filter(|database| logins.contains(&database.login))
            .map(|database| &database.name)
            .collect();
        let credentials = both.iter().flat_map(|estate| estate.credentials());
        credentials
            .filter(|credential| names.contains(&credential.database))
            .map(|credential| credential.dataset.clone())
            .collect()
    }

    fn of_test(&self, path: &str) -> BTreeSet<Rule> {
        let stem = path.trim_start_matches("tests/").trim_end_matches(".toml");
        let rules = self.of_dataset(stem);
        if rules.is_empty() {
            self.of_every_dataset()
        } else {
            rules
        }
    }

    fn of_key_file(&self, path: &str) -> BTreeSet<Rule> {
        let mut rules = BTreeSet::new();
        for estate in self.both() {
            let promoters = Promoter::Key(path.to_owned());
            for set in estate
                .image_sets()
                .filter(|set| set.promoters.contains(&promoters))
            {
                rules.extend(self.of_image_set(set.name.as_str()));
            }
            for database in estate
                .databases()
                .filter(|one| one.ca.as_deref() == Some(path))
            {
                rules.extend(self.of_database(database.name.as_str()));
            }
            let kubernetes = estate
                .clusters()
                .filter_map(|cluster| cluster.kubernetes.as_ref());
            if kubernetes.into_iter().any(|one| one.ca == path) {
                rules.insert(Rule::Inventory);
            }
        }
        rules
    }
}

/// Whoever stands in these teams may narrow anything.
const GUARDIANS: [&str; 2] = ["platform", "security"];
