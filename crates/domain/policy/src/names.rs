//! Rules may only speak of what the estate has: a misspelt place would never match, and nobody would notice.

use std::collections::BTreeSet;

use cedar_policy::EntityUid;
use estate::{Digest, Estate, PolicyText, SecretName};

use crate::PolicyError;
use crate::rules::Rule;

/// All that rules may name.
pub(crate) struct Known {
    names: BTreeSet<(&'static str, String)>,
}

impl Known {
    pub(crate) fn of(estate: &Estate) -> Self {
        let mut names = BTreeSet::new();
        let mut add = |kind, name: &dyn ToString| {
            names.insert((kind, name.to_string()));
        };
        estate.datasets().for_each(|dataset| {
            add("DataSet", &dataset.name);
            add("Tenant", &dataset.tenant);
        });
        estate
            .locations()
            .for_each(|location| add("Location", &location.name));
        estate
            .clusters()
            .for_each(|cluster| add("Cluster", &cluster.name));
        estate.nodes().for_each(|node| add("Node", &node.name));
        estate.image_sets().for_each(|set| {
            add("ImageSet", &set.name);
            add("ImageKey", &set.name);
        });
        estate
            .credentials()
            .for_each(|credential| add("Credential", &credential.name));
        Self { names }
    }

    fn has(&self, entity: &EntityUid) -> bool {
        let (kind, id) = (entity.type_name().to_string(), entity.id().unescaped());
        match kind.as_str() {
            "Action" => true,
            "Image" => id.parse::<Digest>().is_ok(),
            "Secret" => id.parse::<SecretName>().is_ok(),
            _ => self
                .names
                .iter()
                .any(|(known, name)| *known == kind && name == id),
        }
    }

    fn nearest(&self, entity: &EntityUid) -> Option<String> {
        let (kind, id) = (
            entity.type_name().to_string(),
            entity.id().unescaped().to_lowercase(),
        );
        let same_kind = self.names.iter().filter(|(known, _)| *known == kind);
        same_kind
            .map(|(kind, name)| (strsim::jaro_winkler(&id, &name.to_lowercase()), kind, name))
            .filter(|(score, ..)| *score > 0.7)
            .max_by(|(left, ..), (right, ..)| left.total_cmp(right))
            .map(|(_, kind, name)| format!("{kind}::\"{name}\""))
    }
}

pub(crate) fn refuse_unknown(
    file: &PolicyText,
    rule: &Rule,
    known: &Known,
) -> Result<(), PolicyError> {
    match rule
        .policy
        .entity_literals()
        .iter()
        .find(|entity| !known.has(entity))
    {
        Some(entity) if is_of_people(entity) => Err(PolicyError::People {
            path: file.path.clone(),
            id: rule.id.clone(),
            entity: entity.to_string().chars().take(200).collect(),
        }),
        Some(entity) => Err(PolicyError::UnknownEntity {
            path: file.path.clone(),
            id: rule.id.clone(),
            entity: entity.to_string().chars().take(200).collect(),
            nearest: known.nearest(entity),
        }),
        None => Ok(()),
    }
}

fn is_of_people(entity: &EntityUid) -> bool {
    matches!(entity.type_name().to_string().as_str(), "Person" | "Team")
}
