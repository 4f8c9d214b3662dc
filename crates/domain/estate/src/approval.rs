//! Who must agree to a change, and whether they did.
//!
//! The people, keys and rules that count are those of the estate in force, never those that the change would bring.

mod belongings;
mod grantors;
mod judge;
mod reach;
mod rules;
mod signatures;

use std::collections::BTreeSet;
use std::fmt;

use serde::{Deserialize, Serialize};

use crate::PersonId;

pub use belongings::Belongings;
pub use grantors::{Grantor, grantors};
pub use judge::{ApprovedChange, NotApproved, approve};
pub use reach::OutOfReach;
pub use rules::{requirements, stand_for};
pub use signatures::{check_signature, signer_of};

/// So many of these must sign.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Requirement {
    /// The rule that demands it: `inventory`, `people`, ``data set `x` ``, `founders`.
    pub rule: String,
    /// The team, or the teams in words where a member of any will do.
    pub team: String,
    /// How many of them.
    pub wanted: usize,
    /// Who they are; robots are left out.
    pub members: BTreeSet<PersonId>,
}

/// A requirement that is not met yet, and who of its members has signed.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Missing {
    /// What is required.
    pub requirement: Requirement,
    /// Who has signed.
    pub signed: BTreeSet<PersonId>,
}

impl Requirement {
    /// Whether it asks the founders. Labels of all other rules are different: no team of that name can pose as them.
    fn is_of_founders(&self) -> bool {
        self.rule == FOUNDERS
    }
}

impl Requirement {
    /// Whether anybody but the submitter will do: whoever signs for another requirement meets this one, too.
    #[must_use]
    pub fn is_for_another_person(&self) -> bool {
        self.rule == NOBODY_ALONE
    }
}

impl fmt::Display for Requirement {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self {
            rule,
            team,
            wanted,
            members,
        } = self;
        write!(
            f,
            "{rule}: {wanted} of {team} ({}) must sign",
            list(members)
        )
    }
}

impl fmt::Display for Missing {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let have = match self.signed.len() {
            0 => "nobody has".to_owned(),
            1 => "1 has".to_owned(),
            signed => format!("{signed} have"),
        };
        write!(f, "{}, {have}", self.requirement)
    }
}

const NOBODY_ALONE: &str = "nobody alone";

fn list(people: &BTreeSet<PersonId>) -> String {
    if people.is_empty() {
        return "nobody".to_owned();
    }
    let names: Vec<&str> = people.iter().map(PersonId::as_str).collect();
    names.join(", ")
}

const FOUNDERS: &str = "founders";
