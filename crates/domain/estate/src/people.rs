//! `people.toml`: who there is, in which teams, and how many of whom must agree.

use std::collections::{BTreeMap, BTreeSet};

use serde::Serialize;

use crate::read::{Table, Value, document};
use crate::source::{Conflict, EstateError, Problem, Source};
use crate::{PersonId, TeamName};

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
    /// Their SSH public keys in the form of `authorized_keys`; the key itself is parsed where signatures are checked.
    pub keys: BTreeSet<String>,
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
            people.persons.insert(id, person(&value)?);
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

/// Checks what only the whole estate can tell: duties and numbers where `owner` stands for `owners`.
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
    let table = value.table_of(&["oidc", "keys"])?;
    let mut person = Person::default();
    if let Some(oidc) = table.find("oidc") {
        let oidc = oidc.table_of(&["issuer", "subject"])?;
        person.oidc = Some(OidcSubject {
            issuer: issuer(&oidc.need("issuer")?)?,
            subject: oidc.need("subject")?.line()?,
        });
    }
    if let Some(keys) = table.find("keys") {
        person.keys = keys.set(ssh_key)?;
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

fn ssh_key(value: &Value<'_>) -> Result<String, EstateError> {
    let text = value.line()?;
    let mut words = text.split(' ');
    let known = words.next().is_some_and(|kind| KEY_KINDS.contains(&kind));
    if !known || words.next().is_none_or(str::is_empty) {
        return Err(value.malformed(
            "an SSH public key is wanted: Ed25519 or NIST P-256, also on a security key",
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

const KEY_KINDS: [&str; 4] = [
    "ssh-ed25519",
    "sk-ssh-ed25519@openssh.com",
    "ecdsa-sha2-nistp256",
    "sk-ecdsa-sha2-nistp256@openssh.com",
];
