//! The estate: all files read together, checked against each other, and hashed as one.

use std::collections::{BTreeMap, BTreeSet};

use serde::Serialize;

use crate::boot::{self, BootProfile, BootState};
use crate::cases::{self, TestFile};
use crate::credentials::{self, Credential, Credentials, Database};
use crate::datasets::{self, DataSet};
use crate::files::{Files, Room};
use crate::identities::{self, Identity, IdentityFacts, Variable};
use crate::images::{self, ImageSet};
use crate::inventory::{self, Cluster, Inventory, Node};
use crate::people::{self, People};
use crate::places::{self, Location, LocationKind};
use crate::promotions::{self, Promotions};
use crate::source::{EstateError, Problem, most_similar};
use crate::{
    BootProfileName, ClusterName, CredentialName, DataSetName, DatabaseName, Digest, EstateHash,
    ImageSetName, LocationName, NodeName, TeamName, Timestamp,
};

/// Everything that people wrote down, valid as a whole.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize)]
pub struct Estate {
    pub(crate) people: People,
    pub(crate) datasets: BTreeMap<DataSetName, DataSet>,
    pub(crate) inventory: Inventory,
    pub(crate) images: BTreeMap<ImageSetName, ImageSet>,
    pub(crate) identities: Vec<Identity>,
    pub(crate) credentials: Credentials,
    pub(crate) policies: BTreeMap<String, PolicyText>,
    pub(crate) tests: BTreeMap<String, TestFile>,
    pub(crate) keys: BTreeMap<String, String>,
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    pub(crate) promotions: BTreeMap<ImageSetName, Promotions>,
}

/// The rules of one file, as text: what they mean is told by the crate that evaluates them.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct PolicyText {
    /// The file.
    pub path: String,
    /// What its rules may speak of.
    pub scope: PolicyScope,
    /// The rules.
    pub text: String,
}

/// What the rules of a file may speak of; told by the file's name.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum PolicyScope {
    /// `policies/NAME.cedar`: what belongs to this data set.
    DataSet(DataSetName),
    /// `policies/guardrails.cedar`: everything, but its rules can only forbid.
    Guardrails,
}

impl Estate {
    /// Reads an estate from its files, each a path relative to the estate's directory and a text.
    ///
    /// # Errors
    /// The first mistake found, with file and line.
    pub fn parse<P: AsRef<str>, T: AsRef<str>>(files: &[(P, T)]) -> Result<Self, EstateError> {
        let files = Files::sort(files)?;
        let mut estate = Self {
            keys: files.texts(Room::Keys),
            ..Self::default()
        };
        estate.people = files.read(Room::People, people::parse)?;
        estate.datasets = files.read(Room::DataSets, |source| {
            datasets::parse(source, &estate.people)
        })?;
        let states = boot_states(&files)?;
        let named = inventory::Named {
            states: &states,
            keys: &estate.keys,
        };
        estate.inventory =
            files.read(Room::Inventory, |source| inventory::parse(source, &named))?;
        let known = images::Known {
            people: &estate.people,
            datasets: estate.datasets.keys().collect(),
            keys: &estate.keys,
        };
        estate.images = files.read(Room::Images, |source| images::parse(source, &known))?;
        let kept = files.of(Room::Promotions);
        estate.promotions = promotions::parse(kept, &mut estate.images, &estate.keys)?;
        estate.identities = files.read(Room::Identities, identities::parse)?;
        estate.credentials = files.read(Room::Credentials, |source| {
            credentials::parse(source, &estate.datasets, &estate.keys)
        })?;
        for source in files.of(Room::Tests) {
            estate
                .tests
                .insert(source.path.to_owned(), cases::parse(*source)?);
        }
        estate.policies = policies(&files, &estate.datasets)?;
        files.read(Room::People, |source| {
            people::check_duties(source, &estate.people, &estate.owners())
        })?;
        Ok(estate)
    }

    /// Whether a file of this name belongs to an estate, or is only kept beside it (notes, hidden files).
    #[must_use]
    pub fn belongs(path: &str) -> bool {
        !path.ends_with(".md") && !path.split('/').any(|part| part.starts_with('.'))
    }

    /// The hash of the canonical form: JCS (RFC 8785) of all that was parsed, with the texts of policies and keys.
    #[must_use]
    pub fn hash(&self) -> EstateHash {
        EstateHash(Digest::of(self.canonical()))
    }

    /// The canonical form itself.
    #[must_use]
    pub fn canonical(&self) -> Vec<u8> {
        // The model holds texts, whole numbers and maps with textual keys only, for which JCS can't fail.
        serde_json_canonicalizer::to_vec(self).unwrap_or_default()
    }

    /// People, teams, approvals.
    #[must_use]
    pub fn people(&self) -> &People {
        &self.people
    }

    /// All data sets, by name.
    pub fn datasets(&self) -> impl Iterator<Item = &DataSet> {
        self.datasets.values()
    }

    /// A data set.
    #[must_use]
    pub fn dataset(&self, name: &DataSetName) -> Option<&DataSet> {
        self.datasets.get(name)
    }

    /// All locations, by name.
    pub fn locations(&self) -> impl Iterator<Item = &Location> {
        self.inventory.locations.values()
    }

    /// A location.
    #[must_use]
    pub fn location(&self, name: &LocationName) -> Option<&Location> {
        self.inventory.locations.get(name)
    }

    /// A location and all that it lies in, from the inside out.
    pub fn ancestors(&self, name: &LocationName) -> impl Iterator<Item = &Location> {
        places::ancestors(&self.inventory.locations, name)
    }

    /// All clusters, by name.
    pub fn clusters(&self) -> impl Iterator<Item = &Cluster> {
        self.inventory.clusters.values()
    }

    /// A cluster.
    #[must_use]
    pub fn cluster(&self, name: &ClusterName) -> Option<&Cluster> {
        self.inventory.clusters.get(name)
    }

    /// All nodes, by name.
    pub fn nodes(&self) -> impl Iterator<Item = &Node> {
        self.inventory.nodes.values()
    }

    /// A node.
    #[must_use]
    pub fn node(&self, name: &NodeName) -> Option<&Node> {
        self.inventory.nodes.get(name)
    }

    /// The node whose TPM has this endorsement key now.
    #[must_use]
    pub fn node_with_ek(&self, ek: &Digest) -> Option<&Node> {
        self.nodes().find(|node| node.ek.as_ref() == Some(ek))
    }

    /// All boot profiles, by name.
    pub fn boot_profiles(&self) -> impl Iterator<Item = &BootProfile> {
        self.inventory.boots.values()
    }

    /// A boot profile.
    #[must_use]
    pub fn boot_profile(&self, name: &BootProfileName) -> Option<&BootProfile> {
        self.inventory.boots.get(name)
    }

    /// All image sets, by name.
    pub fn image_sets(&self) -> impl Iterator<Item = &ImageSet> {
        self.images.values()
    }

    /// An image set.
    #[must_use]
    pub fn image_set(&self, name: &ImageSetName) -> Option<&ImageSet> {
        self.images.get(name)
    }

    /// The set that the image with this config digest is in at the time `now`: promoted builds age out.
    #[must_use]
    pub fn image_set_of(&self, config: &Digest, now: Timestamp) -> Option<&ImageSet> {
        self.image_sets().find(|set| set.holds(config, now))
    }

    /// All identity templates, in the order in which they are tried.
    pub fn identities(&self) -> impl Iterator<Item = &Identity> {
        self.identities.iter()
    }

    /// The first identity template that applies, and the path it gives; under `/unmeasured` for an image in no set.
    #[must_use]
    pub fn identity_for(&self, facts: &IdentityFacts) -> Option<(&Identity, String)> {
        let (identity, path) = self.identities.iter().find_map(|identity| {
            Some((
                identity,
                identity
                    .path
                    .render(|variable| self.value_of(variable, facts))?,
            ))
        })?;
        Some((
            identity,
            if facts.image.is_some() {
                path
            } else {
                format!("/unmeasured{path}")
            },
        ))
    }

    /// All database servers, by name.
    pub fn databases(&self) -> impl Iterator<Item = &Database> {
        self.credentials.databases.values()
    }

    /// A database server.
    #[must_use]
    pub fn database(&self, name: &DatabaseName) -> Option<&Database> {
        self.credentials.databases.get(name)
    }

    /// All credentials, by name.
    pub fn credentials(&self) -> impl Iterator<Item = &Credential> {
        self.credentials.credentials.values()
    }

    /// A credential.
    #[must_use]
    pub fn credential(&self, name: &CredentialName) -> Option<&Credential> {
        self.credentials.credentials.get(name)
    }

    /// The files of rules.
    pub fn policies(&self) -> impl Iterator<Item = &PolicyText> {
        self.policies.values()
    }

    /// The files of tests.
    pub fn tests(&self) -> impl Iterator<Item = &TestFile> {
        self.tests.values()
    }

    /// The text of a file under `keys/`.
    #[must_use]
    pub fn key_file(&self, path: &str) -> Option<&str> {
        self.keys.get(path).map(String::as_str)
    }

    pub(crate) fn owners(&self) -> BTreeSet<TeamName> {
        let datasets = self.datasets().map(|dataset| dataset.owner.clone());
        datasets
            .chain(self.image_sets().map(|set| set.owner.clone()))
            .collect()
    }

    fn value_of(&self, variable: Variable, facts: &IdentityFacts) -> Option<String> {
        let place = |kinds: &[LocationKind]| {
            let location = facts.location.as_ref()?;
            self.ancestors(location)
                .find(|place| kinds.contains(&place.kind))
                .map(|place| place.name.to_string())
        };
        match variable {
            Variable::Location => facts.location.as_ref().map(ToString::to_string),
            Variable::LocationCountry => place(&[LocationKind::Country]),
            Variable::LocationRegion => place(&[LocationKind::Region, LocationKind::Country]),
            Variable::LocationDatacenter => place(&[LocationKind::Datacenter]),
            Variable::LocationRack => place(&[LocationKind::Rack]),
            Variable::Cluster => facts.cluster.as_ref().map(ToString::to_string),
            Variable::Node => facts.node.as_ref().map(ToString::to_string),
            Variable::Image => facts.image.as_ref().map(ToString::to_string),
            Variable::PodNamespace => facts.namespace.clone(),
            Variable::PodServiceAccount => facts.service_account.clone(),
            Variable::PodName => facts.pod.clone(),
        }
    }
}

fn boot_states(files: &Files<'_>) -> Result<BTreeMap<String, BootState>, EstateError> {
    files
        .of(Room::Events)
        .map(|source| Ok((source.path.to_owned(), boot::parse(*source)?)))
        .collect()
}

fn policies(
    files: &Files<'_>,
    datasets: &BTreeMap<DataSetName, DataSet>,
) -> Result<BTreeMap<String, PolicyText>, EstateError> {
    let mut policies = BTreeMap::new();
    for source in files.of(Room::Policies) {
        let stem = source
            .path
            .trim_start_matches("policies/")
            .trim_end_matches(".cedar");
        let scope = if stem == "guardrails" {
            PolicyScope::Guardrails
        } else {
            let dataset = datasets.keys().find(|name| name.as_str() == stem);
            PolicyScope::DataSet(dataset.cloned().ok_or_else(|| {
                let nearest_name = most_similar(stem, datasets.keys().map(DataSetName::as_str));
                let (key, name) = ("the file".to_owned(), stem.to_owned());
                source.error(
                    0,
                    Problem::UnknownName {
                        key,
                        kind: "data set",
                        name,
                        nearest_name,
                    },
                )
            })?)
        };
        let policy = PolicyText {
            path: source.path.to_owned(),
            scope,
            text: source.text.to_owned(),
        };
        policies.insert(stem.to_owned(), policy);
    }
    Ok(policies)
}
