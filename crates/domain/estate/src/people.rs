//! `people.toml`: who there is, in which teams, and how many of whom must agree.

use std::collections::{BTreeMap, BTreeSet};

use serde::Serialize;

use crate::read::{Table, Value, document};
use crate::source::{Conflict, EstateError, Problem, Source};
use crate::{PersonId, SshKey, TeamName};

/// People, teams and who must agree to what.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize)]
pub struct People {
    /// Members of each team.
    pub teams: BTreeMap<TeamName, BTreeSet<PersonId>>,
    /// Sign-in and keys of people; who only stands in a team needs none until they sign.
    pub persons: BTreeMap<PersonId, Person>,
    /// How many of which team must sign a change.
    pub approve: Approvals,
    /// Groups of teams in two of which nobody may stand; `owner` is every team that owns something.
    pub exclusive: Vec<BTreeSet<String>>,
}

/// One person.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize)]
pub struct Person {
    /// How they sign in.
    pub oidc: Option<OidcSubject>,
    /// Their SSH public keys, with which they sign changes.
    pub keys: BTreeSet<SshKey>,
    /// Not a human: may submit changes, and never counts as somebody who agrees.
    pub robot: bool,
}

/// A person at a sign-in service.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct OidcSubject {
    /// The service.
    pub issuer: String,
    /// The person's stable name there.
    pub subject: String,
}

/// How many signatures of whom a change needs.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize)]
pub struct Approvals {
    /// Locations, clusters, nodes, boot profiles.
    pub inventory: BTreeMap<String, usize>,
    /// People, teams and these rules.
    pub people: BTreeMap<String, usize>,
    /// Policy, image, credential, secret of a data set; `owner` is the data set's own team.
    pub dataset: BTreeMap<String, usize>,
}

/// The word that stands for the owning team.
pub(crate) const OWNER: &str = "owner";

pub(crate) fn parse(source: Source<'_>) -> Result<People, EstateError> {
    document(source, &["team", "person", "approve", "duties"], |top| {
        let mut people = People::default();
        for (team, members) in top.named_under::<TeamName>("team")? {
            if team.as_str() == OWNER {
                return Err(members.malformed("`owner` stands for the team that owns a data set"));
            }
            people.teams.insert(team, members.set_of()?);
        }
        for (id, value) in top.named_under::<PersonId>("person")? {
            let person = person(&value)?;
            if let Some(conflict) = taken(&people, &id, &person) {
                return Err(value.error(Problem::Conflict(conflict)));
            }
            people.persons.insert(id, person);
        }
        if let Some(value) = top.find("approve") {
            people.approve = approvals(&value, &people)?;
        }
        if let Some(value) = top.find("duties") {
            people.exclusive = exclusive(&value.table_of(&["exclusive"])?, &people)?;
        }
        Ok(people)
    })
}

/// Checks what only the whole estate can tell: duties, robots, and numbers where `owner` stands for `owners`.
pub(crate) fn check_duties(
    source: Source<'_>,
    people: &People,
    owners: &BTreeSet<TeamName>,
) -> Result<(), EstateError> {
    let at = |needle: &str, conflict| {
        source.error(
            source.text.find(needle).unwrap_or(0),
            Problem::Conflict(conflict),
        )
    };
    for group in &people.exclusive {
        if let Some(conflict) = double_duty(people, owners, group) {
            return Err(at("exclusive", conflict));
        }
    }
    if let Some(conflict) = robot_on_duty(people, owners) {
        return Err(at("robot", conflict));
    }
    let wanted = people.approve.dataset.get(OWNER).copied().unwrap_or(0);
    for team in owners {
        let members = people.teams.get(team).map_or(0, BTreeSet::len);
        if members < wanted {
            let rule = "`approve.dataset`".to_owned();
            return Err(at(
                "dataset",
                Conflict::Unsatisfiable {
                    rule,
                    team: team.to_string(),
                    wanted,
                    members,
                },
            ));
        }
    }
    Ok(())
}

/// A robot would be a signature that nobody gave.
fn robot_on_duty(people: &People, owners: &BTreeSet<TeamName>) -> Option<Conflict> {
    let approve = &people.approve;
    let named = [&approve.inventory, &approve.people, &approve.dataset];
    let approves = |team: &TeamName| {
        owners.contains(team) || named.iter().any(|rule| rule.contains_key(team.as_str()))
    };
    let teams = people.teams.iter().filter(|(team, _)| approves(team));
    let mut stands = teams.flat_map(|(team, members)| members.iter().map(move |one| (team, one)));
    let robot = |one: &PersonId| people.persons.get(one).is_some_and(|one| one.robot);
    let (team, person) = stands.find(|(_, one)| robot(one))?;
    Some(Conflict::Robot {
        person: person.to_string(),
        team: team.to_string(),
    })
}

/// Two names with one key or one sign-in would be one person who counts twice.
fn taken(people: &People, id: &PersonId, person: &Person) -> Option<Conflict> {
    let shares = |other: &Person| {
        if !other.keys.is_disjoint(&person.keys) {
            Some("SSH key")
        } else if other.oidc.is_some() && other.oidc == person.oidc {
            Some("sign-in")
        } else {
            None
        }
    };
    let mut others = people.persons.iter();
    others.find_map(|(other, theirs)| {
        Some(Conflict::SharedPerson {
            first: other.to_string(),
            second: id.to_string(),
            what: shares(theirs)?,
        })
    })
}

fn double_duty(
    people: &People,
    owners: &BTreeSet<TeamName>,
    group: &BTreeSet<String>,
) -> Option<Conflict> {
    let mut stands_in: BTreeMap<&PersonId, &str> = BTreeMap::new();
    for duty in group {
        let teams: Vec<&TeamName> = people
            .teams
            .keys()
            .filter(|team| {
                if duty == OWNER {
                    owners.contains(*team)
                } else {
                    team.as_str() == duty
                }
            })
            .collect();
        let members: BTreeSet<&PersonId> = teams
            .iter()
            .filter_map(|team| people.teams.get(*team))
            .flatten()
            .collect();
        for person in members {
            if let Some(first) = stands_in.insert(person, duty) {
                let (person, first, second) = (person.to_string(), first.to_owned(), duty.clone());
                return Some(Conflict::Duties {
                    person,
                    first,
                    second,
                });
            }
        }
    }
    None
}

fn person(value: &Value<'_>) -> Result<Person, EstateError> {
    let table = value.table_of(&["oidc", "keys", "robot"])?;
    let mut person = Person::default();
    if let Some(oidc) = table.find("oidc") {
        let oidc = oidc.table_of(&["issuer", "subject"])?;
        person.oidc = Some(OidcSubject {
            issuer: issuer(&oidc.need("issuer")?)?,
            subject: oidc.need("subject")?.line()?,
        });
    }
    if let Some(keys) = table.find("keys") {
        person.keys = keys.set_of()?;
    }
    if let Some(robot) = table.find("robot") {
        person.robot = robot.boolean()?;
    }
    Ok(person)
}

/// The address of a sign-in service: TLS, nothing but host and path.
pub(crate) fn issuer(value: &Value<'_>) -> Result<String, EstateError> {
    let text = value.line()?;
    let rest = text.strip_prefix("https://").unwrap_or("");
    if rest.is_empty() || rest.starts_with('/') || rest.contains(['@', '?', '#', ' ', '\\']) {
        return Err(value.malformed(
            "an address that begins with `https://` and has no user, query or fragment is wanted",
        ));
    }
    Ok(text)
}

fn approvals(value: &Value<'_>, people: &People) -> Result<Approvals, EstateError> {
    let table = value.table_of(&["inventory", "people", "dataset"])?;
    let rule = |key: &str| {
        table
            .find(key)
            .map_or_else(|| Ok(BTreeMap::new()), |value| numbers(&value, people))
    };
    let approvals = Approvals {
        inventory: rule("inventory")?,
        people: rule("people")?,
        dataset: rule("dataset")?,
    };
    for (name, rule) in [
        ("inventory", &approvals.inventory),
        ("people", &approvals.people),
    ] {
        if rule.contains_key(OWNER) {
            return Err(
                value.malformed(&format!("`{name}` has no owner, so `owner` can't sign it"))
            );
        }
    }
    Ok(approvals)
}

fn numbers(value: &Value<'_>, people: &People) -> Result<BTreeMap<String, usize>, EstateError> {
    let mut rule = BTreeMap::new();
    for (team, number) in value.table()?.named::<TeamName>()? {
        let wanted: usize = number.integer()?;
        if wanted == 0 {
            return Err(number.malformed("at least 1 must sign; leave the team out if nobody must"));
        }
        if team.as_str() != OWNER {
            let members = people.teams.get(&team).map_or(0, BTreeSet::len);
            if members < wanted {
                let (rule, team) = (value.name().to_owned(), team.to_string());
                return Err(number.error(Problem::Conflict(Conflict::Unsatisfiable {
                    rule,
                    team,
                    wanted,
                    members,
                })));
            }
        }
        rule.insert(team.to_string(), wanted);
    }
    Ok(rule)
}

fn exclusive(table: &Table<'_>, people: &People) -> Result<Vec<BTreeSet<String>>, EstateError> {
    let owner: TeamName = OWNER.parse().map_err(|_| {
        table.error(Problem::Missing {
            table: "the list of teams".into(),
            key: OWNER,
        })
    })?;
    let known: Vec<&TeamName> = people.teams.keys().chain([&owner]).collect();
    let group = |value: &Value<'_>| {
        value.set(|item| {
            Ok(item
                .name_of::<TeamName>("team", known.iter().copied())?
                .to_string())
        })
    };
    table.need("exclusive")?.list()?.iter().map(group).collect()
}
