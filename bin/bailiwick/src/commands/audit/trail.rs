//! Entries as people read them: only what their leaf commits to.

use estate::Timestamp;
use ledger::{Disclosure, Leaf};
use serde::Serialize;
use serde_json::{Map, Value};
use server::ports::LogEntry;
use web::wire::Trail;

use crate::{
    connection::Context,
    output::{CommandError, Exit, table},
};

/// An entry, opened.
#[derive(Debug, Serialize)]
pub(super) struct Opened {
    pub(super) index: u64,
    pub(super) time: Timestamp,
    /// What the leaf discloses, by name.
    pub(super) values: Map<String, Value>,
}

/// Opens an entry: each disclosure must be one that the leaf commits to.
pub(super) fn open(index: u64, leaf: &str, disclosures: &[String]) -> Result<Opened, CommandError> {
    let wrong = |error: &dyn std::error::Error| {
        CommandError::unverified(format!("entry {index} is not what was logged")).caused_by(error)
    };
    let leaf = Leaf::parse(leaf.as_bytes()).map_err(|error| wrong(&error))?;
    let disclosed = leaf.disclose(disclosures).map_err(|error| wrong(&error))?;
    let values = disclosed
        .into_iter()
        .map(|Disclosure { name, value, .. }| (name, value))
        .collect();
    Ok(Opened {
        index,
        time: Timestamp::from_seconds(leaf.time),
        values,
    })
}

/// Prints entries, newest first, with `more` values in the last column.
pub(super) fn print(context: &Context, trail: &Trail, more: &[&str]) -> Result<Exit, CommandError> {
    let opened: Vec<Opened> = trail
        .entries
        .iter()
        .map(
            |LogEntry {
                 index,
                 leaf,
                 disclosures,
             }| open(*index, leaf, disclosures),
        )
        .collect::<Result<_, _>>()?;
    context.output.print(&opened, |opened| {
        let rows: Vec<_> = opened.iter().map(|entry| row(entry, more)).collect();
        table(
            &["LEAF", "TIME", "KIND", "OUTCOME", "WHO", "TARGET", "WHY"],
            &rows,
        )
    })?;
    if opened.is_empty() {
        eprintln!("no entry fits");
    }
    Ok(Exit::Done)
}

fn row(entry: &Opened, more: &[&str]) -> Vec<String> {
    let value = |name: &str| entry.values.get(name).map(text).unwrap_or_default();
    let first = |names: &[&str]| {
        names
            .iter()
            .map(|name| value(name))
            .find(|text| !text.is_empty())
    };
    let places = ["node", "location", "cluster"].map(value);
    let who = match places.iter().all(String::is_empty) {
        true => value("actor"),
        false => places
            .into_iter()
            .filter(|place| !place.is_empty())
            .collect::<Vec<_>>()
            .join(", "),
    };
    let why: Vec<String> = [&["rules", "reason"], more]
        .concat()
        .into_iter()
        .map(value)
        .filter(|text| !text.is_empty())
        .collect();
    let why = why.join(" ");
    let target = match value("kind").as_str() {
        "estate-apply" => Some(format!("version {}", value("policy"))),
        _ => first(&["target", "lease", "person"]),
    };
    vec![
        entry.index.to_string(),
        entry.time.to_string(),
        value("kind"),
        first(&["outcome"]).unwrap_or_else(|| "-".to_owned()),
        who,
        target.unwrap_or_else(|| "-".to_owned()),
        if why.is_empty() { "-".to_owned() } else { why },
    ]
}

fn text(value: &Value) -> String {
    match value {
        Value::String(text) => text.clone(),
        Value::Array(items) => items.iter().map(text).collect::<Vec<_>>().join(", "),
        other => other.to_string(),
    }
}
