//! Requests in their canonical form: the bytes whose hash the statement names.

use estate::{CredentialName, Digest, ImageSetName, LeaseId, SecretName};
use serde::{Deserialize, Serialize, de::DeserializeOwned};

/// The five things that can be asked of the release path.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Action {
    /// A node opens an image key.
    Open,
    /// A workload starts from a fenced image.
    Start,
    /// A workload reads a secret.
    Read,
    /// A workload leases a credential.
    Lease,
    /// A workload gets an identity.
    Issue,
}

impl Action {
    /// The name used in policies, requests and leaves.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Open => "open",
            Self::Start => "start",
            Self::Read => "read",
            Self::Lease => "lease",
            Self::Issue => "issue",
        }
    }
}

/// A layer as the decoder was given it, and where the node's content store lists it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct OpenRequest {
    /// Format version, 1.
    pub v: u8,
    /// The image set that the packet names.
    pub image: ImageSetName,
    /// SHA-256 of the packet's bytes.
    pub packet: Digest,
    /// The layer's descriptor.
    pub layer: LayerDescriptor,
    /// Every manifest of the node's content store that lists the layer; empty when the caller can't tell.
    pub uses: Vec<LayerUse>,
    /// The program that asks, such as the runtime's decoder.
    pub caller: Digest,
    /// Whether the node's runtime asks the start gate before it makes a container.
    pub start_gate: StartGate,
}

/// Whether every way in which a node's runtime makes containers leads through the start gate.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum StartGate {
    /// Each runtime handler is wrapped, and the gate answers.
    Everywhere,
    /// At least one handler is not wrapped, or it could not be told.
    Missing,
}

/// Descriptor of one encrypted layer.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct LayerDescriptor {
    /// Digest of the ciphertext.
    pub digest: Digest,
    /// Length of the ciphertext in bytes.
    pub size: u64,
    /// Media type with its `+encrypted` suffix.
    pub media_type: String,
}

/// One manifest that lists a layer.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct LayerUse {
    /// Digest of the manifest.
    pub manifest: Digest,
    /// Digest of its configuration.
    pub config: Digest,
    /// Position of the layer, 0 = bottom.
    pub index: u32,
    /// Number of layers.
    pub of: u32,
    /// The configuration's diff id for that position; absent without a root file system.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub diff_id: Option<Digest>,
}

/// A workload asks to start from a fenced image.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct StartRequest {
    /// Format version, 1.
    pub v: u8,
    /// The image set.
    pub image: ImageSetName,
}

/// Somebody is about to put a hand inside a container, or has: asked by the node's agent in the name of the container.
/// Nothing is released by it, so it is an act and no release.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct ExecRequest {
    /// Format version, 1.
    pub v: u8,
    /// How.
    pub hand: Hand,
    /// The command, for an exec; empty otherwise.
    pub argv: Vec<String>,
    /// Image sets whose encrypted layers the container is made of.
    pub images: Vec<ImageSetName>,
    /// What was delivered into the container.
    pub held: Held,
}

/// How somebody gets a hand inside a container.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Hand {
    /// Another process in it.
    Exec,
    /// Another container in its process space.
    Join,
    /// Its memory is written to a file.
    Checkpoint,
    /// It has happened already, and nobody asked before: it can only be recorded.
    Seen,
}

/// What was delivered into one container and is still there.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Held {
    /// Secrets.
    pub secrets: Vec<SecretName>,
    /// Leases.
    pub leases: Vec<LeaseId>,
}

/// A workload asks for a secret.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct ReadRequest {
    /// Format version, 1.
    pub v: u8,
    /// The secret's name.
    pub secret: SecretName,
}

/// A workload asks for a credential made for it alone.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct LeaseRequest {
    /// Format version, 1.
    pub v: u8,
    /// The credential's name.
    pub credential: CredentialName,
    /// SCRAM-SHA-256 verifier (RFC 5803) of a password that only the workload knows.
    pub verifier: String,
}

/// A workload asks for an identity.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct IssueRequest {
    /// Format version, 1.
    pub v: u8,
    /// Which document.
    pub svid: SvidRequest,
}

/// Which identity document is asked for.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(
    rename_all = "camelCase",
    rename_all_fields = "camelCase",
    tag = "type",
    deny_unknown_fields
)]
pub enum SvidRequest {
    /// An X.509-SVID for this public key.
    X509 {
        /// SubjectPublicKeyInfo, DER in standard base64.
        spki: String,
    },
    /// A JWT-SVID for these audiences.
    Jwt {
        /// At least one.
        audience: Vec<String>,
    },
}

/// A request in canonical form could not be read or written.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum RequestError {
    /// Fault: the caller. Not JSON of this kind, an unknown or doubled member, or another version.
    #[error("request is malformed")]
    Malformed(#[source] jose::strict_json::JsonError),
    /// Fault: the caller. The same content in another form would have another hash.
    #[error("request is not in canonical form")]
    NotCanonical,
    /// Fault: the caller.
    #[error("request has version {version}, known is 1")]
    Version {
        /// The version found.
        version: u8,
    },
    /// Fault: the caller.
    #[error("request is larger than {limit} bytes")]
    TooLarge {
        /// The limit.
        limit: usize,
    },
}

/// A kind of request with a canonical form.
pub trait Canonical: Serialize + DeserializeOwned {
    /// Its format version.
    fn version(&self) -> u8;

    /// JCS (RFC 8785) bytes.
    ///
    /// # Errors
    /// [`RequestError::NotCanonical`] if the value has no canonical form.
    fn to_canonical(&self) -> Result<Vec<u8>, RequestError> {
        serde_json_canonicalizer::to_vec(self).map_err(|_| RequestError::NotCanonical)
    }

    /// Reads canonical bytes, and nothing else.
    ///
    /// # Errors
    /// See [`RequestError`].
    fn from_canonical(bytes: &[u8]) -> Result<Self, RequestError> {
        if bytes.len() > MAX_REQUEST {
            return Err(RequestError::TooLarge { limit: MAX_REQUEST });
        }
        let value: Self = jose::strict_json::from_slice(bytes).map_err(RequestError::Malformed)?;
        if value.version() != 1 {
            return Err(RequestError::Version {
                version: value.version(),
            });
        }
        if value.to_canonical()? != bytes {
            return Err(RequestError::NotCanonical);
        }
        Ok(value)
    }
}

macro_rules! canonical {
    ($($name:ty),*) => { $(impl Canonical for $name { fn version(&self) -> u8 { self.v } })* };
}
canonical!(
    OpenRequest,
    StartRequest,
    ExecRequest,
    ReadRequest,
    LeaseRequest,
    IssueRequest
);

const MAX_REQUEST: usize = 256 * 1024;
