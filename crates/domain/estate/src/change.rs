//! Changes: what differs between two estates, and whether it widens access.

use std::collections::BTreeMap;
use std::fmt;

use serde::{Deserialize, Serialize};
use serde_json::Value;

use crate::Estate;
use crate::effect::effect_of_change;

/// What a change does to access. In doubt it widens.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Effect {
    /// Access stays what it is.
    Neutral,
    /// Somebody may lose access: one person may do it, at once.
    Narrowing,
    /// Somebody may gain access: the owners must sign.
    Widening,
}

/// Kinds of objects in an estate.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum ObjectKind {
    /// A team.
    Team,
    /// A person.
    Person,
    /// The rules of approval.
    Approvals,
    /// The exclusive duties.
    Duties,
    /// A data set.
    DataSet,
    /// A location.
    Location,
    /// A cluster.
    Cluster,
    /// A boot profile.
    BootProfile,
    /// A node.
    Node,
    /// An image set.
    ImageSet,
    /// The list of identity templates.
    Identities,
    /// A database server.
    Database,
    /// A credential.
    Credential,
    /// A file of rules.
    Policy,
    /// A file of tests.
    Test,
    /// A file with a key or certificate.
    KeyFile,
    /// The promotions into an image set, by the set's name. The server writes them, people don't.
    Promotion,
}

/// What happened to an object.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Verb {
    /// It was not there before.
    Added,
    /// It is another now.
    Changed,
    /// It is there no more.
    Removed,
}

/// One object that differs between two estates.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Change {
    /// Its kind.
    pub kind: ObjectKind,
    /// Its name.
    pub name: String,
    /// What happened to it.
    pub verb: Verb,
    /// What that does to access.
    pub effect: Effect,
}

impl Change {
    /// The object in words.
    pub(crate) fn object(&self) -> String {
        format!("{} `{}`", self.kind, self.name)
    }
}

impl fmt::Display for Change {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let verb = match self.verb {
            Verb::Added => "adds",
            Verb::Changed => "changes",
            Verb::Removed => "removes",
        };
        let effect = match self.effect {
            Effect::Neutral => "no effect on access",
            Effect::Narrowing => "narrows access",
            Effect::Widening => "may widen access",
        };
        write!(f, "{verb} {}: {effect}", self.object())
    }
}

impl fmt::Display for ObjectKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Team => "team",
            Self::Person => "person",
            Self::Approvals => "the rule of approval",
            Self::Duties => "the exclusive duties",
            Self::DataSet => "data set",
            Self::Location => "location",
            Self::Cluster => "cluster",
            Self::BootProfile => "boot profile",
            Self::Node => "node",
            Self::ImageSet => "image set",
            Self::Identities => "the identity templates",
            Self::Database => "database",
            Self::Credential => "credential",
            Self::Policy => "policy",
            Self::Test => "tests",
            Self::KeyFile => "key file",
            Self::Promotion => "promotions into image set",
        })
    }
}

/// What differs between two estates, in the order of kinds and names.
#[must_use]
pub fn diff(old: &Estate, new: &Estate) -> Vec<Change> {
    let (before, after) = (objects(old), objects(new));
    let mut changes = Vec::new();
    for ((kind, name), value) in &before {
        let verb = match after.get(&(*kind, name.clone())) {
            Some(other) if other == value => continue,
            Some(_) => Verb::Changed,
            None => Verb::Removed,
        };
        let effect = effect_of_change(*kind, name, verb, old, new);
        changes.push(Change {
            kind: *kind,
            name: name.clone(),
            verb,
            effect,
        });
    }
    for (kind, name) in after.keys().filter(|key| !before.contains_key(key)) {
        let effect = effect_of_change(*kind, name, Verb::Added, old, new);
        changes.push(Change {
            kind: *kind,
            name: name.clone(),
            verb: Verb::Added,
            effect,
        });
    }
    changes.sort_by(|left, right| (left.kind, &left.name).cmp(&(right.kind, &right.name)));
    changes
}

/// Every object of an estate in its canonical form.
fn objects(estate: &Estate) -> BTreeMap<(ObjectKind, String), Value> {
    let Estate {
        people,
        datasets,
        inventory,
        images,
        identities,
        credentials,
        policies,
        tests,
        keys,
        promotions,
    } = estate;
    let mut all = BTreeMap::new();
    insert(&mut all, ObjectKind::Team, &people.teams);
    insert(&mut all, ObjectKind::Person, &people.persons);
    let approve = &people.approve;
    let approvals = [
        ("inventory", &approve.inventory),
        ("people", &approve.people),
        ("dataset", &approve.dataset),
    ];
    let approvals: BTreeMap<_, _> = approvals
        .into_iter()
        .filter(|(_, rule)| !rule.is_empty())
        .collect();
    insert(&mut all, ObjectKind::Approvals, &approvals);
    insert(&mut all, ObjectKind::DataSet, datasets);
    insert(&mut all, ObjectKind::Location, &inventory.locations);
    insert(&mut all, ObjectKind::Cluster, &inventory.clusters);
    insert(&mut all, ObjectKind::BootProfile, &inventory.boots);
    insert(&mut all, ObjectKind::Node, &inventory.nodes);
    insert(&mut all, ObjectKind::ImageSet, images);
    insert(&mut all, ObjectKind::Database, &credentials.databases);
    insert(&mut all, ObjectKind::Credential, &credentials.credentials);
    insert(&mut all, ObjectKind::Policy, policies);
    insert(&mut all, ObjectKind::Test, tests);
    insert(&mut all, ObjectKind::KeyFile, keys);
    insert(&mut all, ObjectKind::Promotion, promotions);
    if !identities.is_empty() {
        insert(
            &mut all,
            ObjectKind::Identities,
            &BTreeMap::from([("identities", identities)]),
        );
    }
    if !people.exclusive.is_empty() {
        insert(
            &mut all,
            ObjectKind::Duties,
            &BTreeMap::from([("exclusive", &people.exclusive)]),
        );
    }
    all
}

fn insert<K: fmt::Display, V: Serialize>(
    all: &mut BTreeMap<(ObjectKind, String), Value>,
    kind: ObjectKind,
    objects: &BTreeMap<K, V>,
) {
    // The same model that `Estate::canonical` writes: it can't fail to serialize.
    let values = objects
        .iter()
        .map(|(name, object)| (name, serde_json::to_value(object).unwrap_or_default()));
    all.extend(values.map(|(name, value)| ((kind, name.to_string()), value)));
}
