//! `datasets.toml`: data that rules speak of, and what their owners demand everywhere.

use std::collections::{BTreeMap, BTreeSet};
use std::str::FromStr;

use serde::Serialize;

use crate::read::{Value, document};
use crate::source::{EstateError, Source};
use crate::{Assurance, DataSetName, People, Span, TeamName, TenantName};

/// Data that somebody owns.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct DataSet {
    /// Its name.
    pub name: DataSetName,
    /// The team that decides who gets it.
    pub owner: TeamName,
    /// Whose it is.
    pub tenant: TenantName,
    /// What the register of processing says.
    pub register: Option<Register>,
    /// How well a node's place must be known, 2 unless said otherwise.
    pub min_assurance: Assurance,
    /// No lease lives longer, 1 h unless said otherwise.
    pub max_lease: Span,
    /// How long leases live on when no server can be reached; not at all unless said otherwise.
    pub outage_grace: Span,
    /// How long the trail is kept.
    pub keep_trail: Option<Span>,
    /// Whether its images open only where the start gate is; so unless said otherwise.
    pub confidential: bool,
    /// What happens to a hand that enters a container with its secrets.
    pub exec: ExecRule,
}

/// What happens when somebody starts a process inside a container that holds secrets of the data set.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum ExecRule {
    /// The process is not started.
    #[default]
    Refuse,
    /// It is started; the container counts as interactive, its leases end, and the secrets are on record as exposed.
    Expose,
}

/// A text is no rule for hands inside containers.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("`refuse` or `expose` is wanted")]
pub struct ExecRuleError;

impl FromStr for ExecRule {
    type Err = ExecRuleError;

    fn from_str(text: &str) -> Result<Self, ExecRuleError> {
        match text {
            "refuse" => Ok(Self::Refuse),
            "expose" => Ok(Self::Expose),
            _ => Err(ExecRuleError),
        }
    }
}

/// An entry of the register of processing activities.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Register {
    /// What the data are processed for.
    pub purpose: String,
    /// Which kinds of data.
    pub categories: BTreeSet<String>,
    /// The document that says more.
    pub reference: Option<String>,
}

pub(crate) fn parse(
    source: Source<'_>,
    people: &People,
) -> Result<BTreeMap<DataSetName, DataSet>, EstateError> {
    document(source, &["dataset"], |top| {
        let mut datasets = BTreeMap::new();
        for (name, value) in top.named_under::<DataSetName>("dataset")? {
            if RESERVED.contains(&name.as_str()) {
                return Err(
                    value.malformed("this name is kept for rules that hold for all data sets")
                );
            }
            datasets.insert(name.clone(), dataset(name, &value, people)?);
        }
        Ok(datasets)
    })
}

fn dataset(name: DataSetName, value: &Value<'_>, people: &People) -> Result<DataSet, EstateError> {
    let table = value.table_of(&[
        "owner",
        "tenant",
        "register",
        "min_assurance",
        "max_lease",
        "outage_grace",
        "keep_trail",
        "confidential",
        "exec",
    ])?;
    let span = |key: &str| {
        table
            .find(key)
            .map(|value| value.parse::<Span>())
            .transpose()
    };
    let min_assurance = match table.find("min_assurance") {
        Some(value) => Assurance::try_from(value.integer::<u8>()?)
            .map_err(|error| value.malformed(&error.to_string()))?,
        None => Assurance::ENROLLED,
    };
    Ok(DataSet {
        name,
        owner: table.need("owner")?.name_of("team", people.teams.keys())?,
        tenant: table.need("tenant")?.parse()?,
        register: table
            .find("register")
            .map(|value| register(&value))
            .transpose()?,
        min_assurance,
        max_lease: span("max_lease")?.unwrap_or(Span::hours(1)),
        outage_grace: span("outage_grace")?.unwrap_or_default(),
        keep_trail: span("keep_trail")?,
        confidential: table
            .find("confidential")
            .map_or(Ok(true), |value| value.boolean())?,
        exec: table
            .find("exec")
            .map(|value| value.parse())
            .transpose()?
            .unwrap_or_default(),
    })
}

fn register(value: &Value<'_>) -> Result<Register, EstateError> {
    let table = value.table_of(&["purpose", "categories", "reference"])?;
    Ok(Register {
        purpose: table.need("purpose")?.line()?,
        categories: table
            .find("categories")
            .map(|value| value.set(Value::line))
            .transpose()?
            .unwrap_or_default(),
        reference: table
            .find("reference")
            .map(|value| value.line())
            .transpose()?,
    })
}

/// Names of policy files that belong to no data set.
const RESERVED: [&str; 2] = ["guardrails", "identities"];
