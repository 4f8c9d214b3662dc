//! Facts with their absence: what was not measured is `None`, never a default, and absent satisfies no rule.

use estate::{
    Assurance, BootProfileName, ClusterName, Digest, Epoch, LocationName, NodeName, Timestamp,
};
use serde::{Deserialize, Serialize};

/// How a node proved what it is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Attestor {
    /// A TPM with an enrolled endorsement key.
    Tpm,
    /// A one-time token; a lab's way, proves no boot state.
    JoinToken,
}

/// What the server knows of a node: place and cluster from the inventory, boot state from its TPM.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct NodeFacts {
    /// The node's name in the inventory.
    pub name: NodeName,
    /// From the inventory, never from the node.
    pub cluster: Option<ClusterName>,
    /// From the inventory, never from the node.
    pub location: Option<LocationName>,
    /// How well the location is known.
    pub assurance: Assurance,
    /// How the node proved itself.
    pub attestor: Attestor,
    /// The boot profile that accepted the quoted state; absent without a quote.
    pub boot: Option<BootProfileName>,
    /// When the newest quote was checked, by the server's clock.
    pub quoted_at: Option<Timestamp>,
    /// Rises with each attestation and each ban.
    pub epoch: Epoch,
}

/// A container as its runtime names it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ContainerRef {
    /// containerd's namespace, such as `k8s.io`.
    pub runtime_namespace: String,
    /// The runtime's container id.
    pub id: String,
}

/// The image by content.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct ImageFacts {
    /// Digest of the image configuration: equal for the encrypted and the plain image.
    pub config: Digest,
    /// Chain id of the root file system, recomputed from the configuration's diff ids.
    pub chain_id: Digest,
}

/// The program that runs.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct ExeFacts {
    /// SHA-256 of the executable's bytes.
    pub digest: Digest,
    /// Whether those bytes lie in the image's layers; absent when it could not be told.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub from_image: Option<bool>,
}

/// How strongly a fact is known.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Strength {
    /// From runtime events, which are asynchronous.
    Weak,
    /// From marks that the start gate writes before the process exists.
    Strong,
}

/// Whether somebody may have had a hand inside the container since it started. Sticky; unknown counts as yes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Interactive {
    /// An exec, attach, checkpoint or restore was seen, or can't be excluded.
    pub yes: bool,
    /// How it is known.
    pub strength: Strength,
}

/// One way in which the running container differs from its image, beyond what the platform always adds.
/// The node reports; the owner's `[run]` decides on the server which of them still count as "as shipped".
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(tag = "kind", rename_all = "kebab-case", deny_unknown_fields)]
pub enum Deviation {
    /// Another command than the image's.
    Args {
        /// The whole command that runs.
        value: Vec<String>,
    },
    /// A variable added or changed. Its value is not reported: it may be a secret.
    Env {
        /// The variable's name.
        name: String,
    },
    /// Another user.
    User {
        /// `uid:gid` as it runs.
        value: String,
    },
    /// Another working directory.
    Cwd {
        /// The directory as it runs.
        value: String,
    },
    /// A mount that the image does not have.
    Mount {
        /// Where it appears in the container.
        destination: String,
        /// Where it comes from.
        source: String,
    },
    /// A hook of the runtime.
    Hook {
        /// The hook's program.
        path: String,
    },
    /// A namespace shared with the host or another container.
    Namespace {
        /// Such as `pid` or `network`.
        name: String,
    },
    /// A capability beyond the runtime's default.
    Capability {
        /// Such as `CAP_SYS_ADMIN`.
        name: String,
    },
    /// Anything else that differs, named by its place in the runtime's configuration.
    Other {
        /// What differs.
        what: String,
    },
}

/// The pod as CRI names it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct PodFacts {
    /// Kubernetes namespace.
    pub namespace: String,
    /// Pod name.
    pub name: String,
    /// Service account; absent where the runtime does not know it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub service_account: Option<String>,
}

/// What a node measured of one process.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct WorkloadFacts {
    /// The container that the process lives in; absent for a host process.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub container: Option<ContainerRef>,
    /// The image by content.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub image: Option<ImageFacts>,
    /// The program that runs.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub exe: Option<ExeFacts>,
    /// Differences from the image; absent when they could not be compared.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub deviations: Option<Vec<Deviation>>,
    /// Whether somebody may have had a hand inside.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub interactive: Option<Interactive>,
    /// Whether the container has host-level power.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub privileged: Option<bool>,
    /// User id of the process.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub uid: Option<u32>,
    /// The pod.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub pod: Option<PodFacts>,
}

impl WorkloadFacts {
    /// Whether the names that a leaf will hold are no longer than names are: a node must not fill the ledger's disk with them.
    pub(crate) fn has_names_of_usual_length(&self) -> bool {
        let container = self.container.as_ref();
        let pod = self.pod.as_ref();
        [
            container.map(|container| container.runtime_namespace.as_str()),
            container.map(|container| container.id.as_str()),
            pod.map(|pod| pod.namespace.as_str()),
            pod.map(|pod| pod.name.as_str()),
            pod.and_then(|pod| pod.service_account.as_deref()),
        ]
        .into_iter()
        .flatten()
        .all(|name| name.len() <= MAX_NAME)
    }
}

/// Kubernetes' and containerd's own limits are 253 bytes and less.
const MAX_NAME: usize = 255;
