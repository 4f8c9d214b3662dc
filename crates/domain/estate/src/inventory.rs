//! `inventory.toml`: places, clusters, boot profiles and nodes.

use std::collections::{BTreeMap, BTreeSet};

use serde::Serialize;

use crate::boot::{BootProfile, BootState};
use crate::places::{self, Location};
use crate::read::{Table, Value, document};
use crate::source::{Conflict, EstateError, Problem, Source, most_similar};
use crate::{BootProfileName, ClusterName, Digest, LocationName, NodeName};

/// Places and machines.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize)]
pub(crate) struct Inventory {
    pub(crate) locations: BTreeMap<LocationName, Location>,
    pub(crate) clusters: BTreeMap<ClusterName, Cluster>,
    pub(crate) boots: BTreeMap<BootProfileName, BootProfile>,
    pub(crate) nodes: BTreeMap<NodeName, Node>,
}

/// A cluster of nodes.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Cluster {
    /// Its name.
    pub name: ClusterName,
    /// The place that all its nodes lie in.
    pub location: LocationName,
    /// Its Kubernetes, if it is one.
    pub kubernetes: Option<Kubernetes>,
}

/// A Kubernetes cluster's issuer of service account tokens.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Kubernetes {
    /// The issuer's address.
    pub issuer: String,
    /// The file of the estate that holds its certificate authority.
    pub ca: String,
}

/// How a node must prove what it is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Attest {
    /// With its TPM: needs `ek` and `boot`.
    Tpm,
    /// With a one-time token: for a lab, proves no boot state and no place.
    JoinToken,
}

/// A machine.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Node {
    /// Its name.
    pub name: NodeName,
    /// Its cluster.
    pub cluster: ClusterName,
    /// Its place.
    pub location: LocationName,
    /// How it proves itself.
    pub attest: Attest,
    /// SHA-256 of the SubjectPublicKeyInfo of its TPM's endorsement key.
    pub ek: Option<Digest>,
    /// Endorsement keys of TPMs it once had, banned for ever.
    pub replaced: BTreeSet<Digest>,
    /// Its number in the register of assets.
    pub serial: Option<String>,
    /// The boot states that it may be in.
    pub boot: Option<BootProfileName>,
}

/// Files that other files of the estate name.
pub(crate) struct Named<'a> {
    pub(crate) states: &'a BTreeMap<String, BootState>,
    pub(crate) keys: &'a BTreeMap<String, String>,
}

pub(crate) fn parse(source: Source<'_>, files: &Named<'_>) -> Result<Inventory, EstateError> {
    document(source, &["location", "cluster", "boot", "node"], |top| {
        let mut inventory = Inventory {
            locations: places::parse(top)?,
            ..Inventory::default()
        };
        for (name, value) in top.named_under::<ClusterName>("cluster")? {
            inventory
                .clusters
                .insert(name.clone(), cluster(name, &value, &inventory, files)?);
        }
        for (name, value) in top.named_under::<BootProfileName>("boot")? {
            inventory
                .boots
                .insert(name.clone(), boot(name, &value, files)?);
        }
        for (name, value) in top.named_under::<NodeName>("node")? {
            let node = node(name, &value, &inventory)?;
            refuse_shared_key(&node, &value, &inventory)?;
            inventory.nodes.insert(node.name.clone(), node);
        }
        Ok(inventory)
    })
}

/// The value of `key`: the name of a file of the estate under `keys/` that is there.
pub(crate) fn key_file(
    value: &Value<'_>,
    keys: &BTreeMap<String, String>,
) -> Result<String, EstateError> {
    file(value, "key file", keys.keys())
}

fn file<'k>(
    value: &Value<'_>,
    kind: &'static str,
    known: impl Iterator<Item = &'k String> + Clone,
) -> Result<String, EstateError> {
    let name = value.line()?;
    if known.clone().any(|path| *path == name) {
        return Ok(name);
    }
    let nearest_name = most_similar(&name, known.map(String::as_str));
    Err(value.error(Problem::UnknownName {
        key: value.name().to_owned(),
        kind,
        name,
        nearest_name,
    }))
}

fn cluster(
    name: ClusterName,
    value: &Value<'_>,
    inventory: &Inventory,
    files: &Named<'_>,
) -> Result<Cluster, EstateError> {
    let table = value.table_of(&["location", "kubernetes"])?;
    let location = table
        .need("location")?
        .name_of("location", inventory.locations.keys())?;
    let kubernetes = |value: Value<'_>| {
        let table = value.table_of(&["issuer", "ca"])?;
        let issuer = crate::people::issuer(&table.need("issuer")?)?;
        Ok(Kubernetes {
            issuer,
            ca: key_file(&table.need("ca")?, files.keys)?,
        })
    };
    Ok(Cluster {
        name,
        location,
        kubernetes: table.find("kubernetes").map(kubernetes).transpose()?,
    })
}

fn boot(
    name: BootProfileName,
    value: &Value<'_>,
    files: &Named<'_>,
) -> Result<BootProfile, EstateError> {
    let accept = value.table_of(&["accept"])?.need("accept")?;
    let mut states = BTreeMap::new();
    for path in accept.set(|item| file(item, "boot state file", files.states.keys()))? {
        if let Some(state) = files.states.get(&path) {
            states.insert(path, state.clone());
        }
    }
    if states.is_empty() {
        return Err(accept.malformed("a profile that accepts no state can't be met"));
    }
    Ok(BootProfile {
        name,
        accept: states,
    })
}

fn node(name: NodeName, value: &Value<'_>, inventory: &Inventory) -> Result<Node, EstateError> {
    let table = value.table_of(&[
        "cluster", "location", "attest", "ek", "replaced", "serial", "boot",
    ])?;
    let attest = match table.find("attest") {
        Some(value) => match value.text()? {
            "tpm" => Attest::Tpm,
            "join-token" => Attest::JoinToken,
            _ => return Err(value.malformed("`tpm` or `join-token` is wanted")),
        },
        None => Attest::Tpm,
    };
    let node = Node {
        name,
        cluster: table
            .need("cluster")?
            .name_of("cluster", inventory.clusters.keys())?,
        location: table
            .need("location")?
            .name_of("location", inventory.locations.keys())?,
        attest,
        ek: table.find("ek").map(|value| value.parse()).transpose()?,
        replaced: table
            .find("replaced")
            .map(|value| value.set_of())
            .transpose()?
            .unwrap_or_default(),
        serial: table.find("serial").map(|value| value.line()).transpose()?,
        boot: table
            .find("boot")
            .map(|value| value.name_of("boot profile", inventory.boots.keys()))
            .transpose()?,
    };
    demand_proof(&node, &table)?;
    refuse_elsewhere(&node, value, inventory)?;
    Ok(node)
}

fn demand_proof(node: &Node, table: &Table<'_>) -> Result<(), EstateError> {
    match node.attest {
        Attest::Tpm => table.need("ek").and(table.need("boot")).map(|_| ()),
        Attest::JoinToken => {
            match table.find("ek").or(table.find("boot")) {
                Some(value) => Err(value
                    .malformed("a node that joins with a token proves neither TPM nor boot state")),
                None => Ok(()),
            }
        }
    }
}

fn refuse_elsewhere(
    node: &Node,
    value: &Value<'_>,
    inventory: &Inventory,
) -> Result<(), EstateError> {
    let Some(cluster) = inventory.clusters.get(&node.cluster) else {
        return Ok(());
    };
    if places::ancestors(&inventory.locations, &node.location)
        .any(|place| place.name == cluster.location)
    {
        return Ok(());
    }
    Err(value.error(Problem::Conflict(Conflict::OutsideCluster {
        node: node.name.to_string(),
        location: node.location.to_string(),
        cluster: cluster.name.to_string(),
        place: cluster.location.to_string(),
    })))
}

/// A TPM stands for one machine, and a replaced one for none.
fn refuse_shared_key(
    node: &Node,
    value: &Value<'_>,
    inventory: &Inventory,
) -> Result<(), EstateError> {
    let own = |node: &Node| {
        node.ek
            .iter()
            .chain(&node.replaced)
            .copied()
            .collect::<Vec<_>>()
    };
    let taken: BTreeSet<Digest> = own(node).into_iter().collect();
    let other = inventory
        .nodes
        .values()
        .find(|other| own(other).iter().any(|key| taken.contains(key)));
    let doubled = taken.len() < own(node).len();
    match other
        .map(|other| other.name.to_string())
        .or(doubled.then(|| node.name.to_string()))
    {
        Some(first) => {
            let second = node.name.to_string();
            Err(value.error(Problem::Conflict(Conflict::SharedKey { first, second })))
        }
        None => Ok(()),
    }
}
