//! Who would gain or lose what by another estate: both are asked who can do each thing, and the answers compared. What
//! people are shown and what a change's record commits to is this one list.

use std::collections::BTreeMap;

use estate::{
    Ask, AskObject, ClusterName, DataSetName, Digest, ImageSetName, LocationName, NodeName,
    Timestamp,
};
use policy::{Policies, Row, WhoCan};
use serde::{Deserialize, Serialize};

/// Somebody gains or loses something.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct AccessChange {
    /// Whether they gain it; they lose it otherwise.
    pub gains: bool,
    /// Who and what.
    #[serde(flatten)]
    pub access: Access,
}

/// One machine with one image, and what it may do.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Access {
    /// The node.
    pub node: NodeName,
    /// Its cluster.
    pub cluster: ClusterName,
    /// Its location.
    pub location: LocationName,
    /// The workload's image set; absent where the node acts for itself.
    pub image: Option<ImageSetName>,
    /// `open`, `start`, `read`, `lease` or `issue`.
    pub action: String,
    /// What it is done to.
    pub target: String,
    /// The rules that permit it.
    pub rules: Vec<String>,
}

/// What differs between the answers of two estates. Gains come first: they are what somebody must agree to.
pub fn access_changes(old: &Policies, new: &Policies, now: Timestamp) -> Vec<AccessChange> {
    let (before, after) = (all_access(old, now), all_access(new, now));
    let missing =
        |all: &BTreeMap<Access, Access>, other: &BTreeMap<Access, Access>, gains: bool| {
            let lacking = all.iter().filter(|(key, _)| !other.contains_key(*key));
            lacking
                .map(|(_, access)| AccessChange {
                    gains,
                    access: access.clone(),
                })
                .collect::<Vec<_>>()
        };
    [
        missing(&after, &before, true),
        missing(&before, &after, false),
    ]
    .concat()
}

/// What a record commits to: SHA-256 of the list's JCS form.
pub(crate) fn digest_of(changes: &[AccessChange]) -> Digest {
    // Texts, lists and flags only: JCS can't fail.
    Digest::of(serde_json_canonicalizer::to_vec(&changes).unwrap_or_default())
}

impl From<&Row> for Access {
    fn from(row: &Row) -> Self {
        Self {
            node: row.node.clone(),
            cluster: row.cluster.clone(),
            location: row.location.clone(),
            image: row.image.clone(),
            action: row.action.as_str().to_owned(),
            target: row.target.to_string(),
            rules: row
                .evaluation
                .rules()
                .iter()
                .map(ToString::to_string)
                .collect(),
        }
    }
}

/// Everything that anybody can do, keyed by everything but the rules: another rule is no other access.
fn all_access(policies: &Policies, now: Timestamp) -> BTreeMap<Access, Access> {
    questions(policies)
        .iter()
        .flat_map(|ask| {
            let WhoCan { rows, .. } = policies.who_can(ask, now);
            rows
        })
        .map(|row| Access::from(&row))
        .map(|access| {
            (
                Access {
                    rules: Vec::new(),
                    ..access.clone()
                },
                access,
            )
        })
        .collect()
}

fn questions(policies: &Policies) -> Vec<Ask> {
    let ask = |verb: &str, object: AskObject| Ask {
        verb: verb.to_owned(),
        object,
    };
    let about = |dataset: DataSetName| {
        ["open", "start", "read", "lease"]
            .map(|verb| ask(verb, AskObject::DataSet(dataset.clone())))
    };
    let mut all: Vec<Ask> = policies
        .estate()
        .datasets()
        .flat_map(|dataset| about(dataset.name.clone()))
        .collect();
    all.push(ask("issue", AskObject::Identity));
    all
}
