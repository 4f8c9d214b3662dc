//! Who could grant themselves access to a data set, and how many must agree.

use std::fmt;

use serde::Serialize;

use super::Requirement;
use super::rules::{Rule, Sides};
use crate::images::Promoter;
use crate::{DataSetName, Estate, Founders, ImageSetName};

/// One way to more access.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase", rename_all_fields = "camelCase")]
pub enum Grantor {
    /// By a change: all of these must be met.
    Change {
        /// What would be changed.
        way: String,
        /// Who must agree.
        requirements: Vec<Requirement>,
    },
    /// By promoting an image: whoever has this key, alone.
    Promoter {
        /// The set that the image would be a member of.
        image_set: ImageSetName,
        /// The file of the estate with the public key.
        key: String,
    },
}

/// Every way, those by a change first. Where a rule is missing, the founders stand in the requirement.
#[must_use]
pub fn grantors(estate: &Estate, dataset: &DataSetName, founders: &Founders) -> Vec<Grantor> {
    let sides = Sides {
        old: estate,
        new: estate,
        founders,
    };
    let by = |way: &str, rules: &[Rule]| Grantor::Change {
        way: way.to_owned(),
        requirements: rules
            .iter()
            .flat_map(|rule| sides.demanded_by(rule))
            .collect(),
    };
    let owned: Vec<Rule> = sides.of_dataset(dataset.as_str()).into_iter().collect();
    if owned.is_empty() {
        return Vec::new();
    }
    let mut ways = vec![
        by("rules, images and credentials of the data set", &owned),
        by("places, nodes and boot states", &[Rule::Inventory]),
        by("people, teams and rules of approval", &[Rule::People]),
    ];
    for set in estate.image_sets().filter(|set| set.dataset == *dataset) {
        for promoter in &set.promoters {
            // A pipeline's word is not accepted as a promotion: only keys promote.
            if let Promoter::Key(key) = promoter {
                let (image_set, key) = (set.name.clone(), key.clone());
                ways.push(Grantor::Promoter { image_set, key });
            }
        }
    }
    ways
}

impl fmt::Display for Grantor {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Change { way, requirements } => {
                write!(f, "by a change of {way}")?;
                let texts: Vec<String> = requirements.iter().map(ToString::to_string).collect();
                write!(f, ": {}", texts.join("; "))
            }
            Self::Promoter { image_set, key } => write!(
                f,
                "by promoting an image into `{image_set}`: whoever has the private key of `{key}`, alone"
            ),
        }
    }
}
