//! Measured facts inside identities: who reads an SVID sees what was measured, and where the ledger says so.

use evidence::VerifiedEvidence;
use serde::{Deserialize, Serialize};

/// The X.509 extension, never critical: a UTF8String with the JSON of [`MeasuredFacts`].
/// An arc under `1.2.840.113556.1.8000.2554` made from a UUID; no component is over 31 bits, so Go's x509 reads it.
pub const FACTS_OID: &[u64] = &[
    1, 2, 840, 113_556, 1, 8000, 2554, 6869, 31803, 2867, 20254, 39194, 1179, 12_371_561,
];

/// What an SVID says about its holder.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct MeasuredFacts {
    /// Format version, 1.
    pub v: u8,
    /// Index of the leaf that records the issue.
    pub leaf: u64,
    /// The node.
    pub node: String,
    /// Its cluster.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub cluster: Option<String>,
    /// Its location.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub location: Option<String>,
    /// How well the location is known.
    pub assurance: u8,
    /// The boot profile.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub boot: Option<String>,
    /// Digest of the image configuration.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub image: Option<String>,
    /// Digest of the executable.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub exe: Option<String>,
}

impl MeasuredFacts {
    /// The facts of `evidence`, recorded by leaf `leaf`.
    pub fn of(evidence: &VerifiedEvidence, leaf: u64) -> Self {
        let node = evidence.node();
        let workload = evidence.workload();
        Self {
            v: 1,
            leaf,
            node: node.name.to_string(),
            cluster: node.cluster.as_ref().map(ToString::to_string),
            location: node.location.as_ref().map(ToString::to_string),
            assurance: node.assurance.level(),
            boot: node.boot.as_ref().map(ToString::to_string),
            image: workload
                .and_then(|w| w.image.as_ref())
                .map(|image| image.config.to_string()),
            exe: workload
                .and_then(|w| w.exe.as_ref())
                .map(|exe| exe.digest.to_string()),
        }
    }

    /// DER UTF8String of the JSON, for the extension.
    pub(crate) fn to_der(&self) -> Vec<u8> {
        let json = serde_json::to_vec(self).unwrap_or_default();
        let mut der = vec![0x0c];
        match json.len() {
            short @ 0..=0x7f => der.push(u8::try_from(short).unwrap_or_default()),
            long => {
                let bytes = long.to_be_bytes();
                let significant: Vec<u8> =
                    bytes.into_iter().skip_while(|byte| *byte == 0).collect();
                der.push(0x80 | u8::try_from(significant.len()).unwrap_or_default());
                der.extend(significant);
            }
        }
        der.extend(json);
        der
    }
}
