//! What both sides bind into the TPM's answers: the one format of qualifying data (DESIGN 5.2 step 3).

use base64::{Engine, engine::general_purpose::URL_SAFE_NO_PAD as B64};
use estate::{Digest, NodeName};
use jose::Jwk;
use serde::Serialize;
use spiffe_id::TrustDomain;

use crate::Confirmation;

/// What both sides bind into the TPM's answers.
#[derive(Debug, Clone)]
pub struct AttestBinding {
    /// Trust domain.
    pub trust_domain: TrustDomain,
    /// The node.
    pub node: NodeName,
    /// `enrol`, `renew` or `quote`.
    pub purpose: Purpose,
    /// Name of the attestation key; empty without a TPM.
    pub ak_name: Vec<u8>,
    /// Name of the node key; without a TPM the SHA-256 of its SubjectPublicKeyInfo.
    pub node_key_name: Vec<u8>,
    /// Statement key.
    pub statement_key: Jwk,
    /// Node HPKE key.
    pub hpke_key: Confirmation,
    /// TLS exporter of the connection.
    pub exporter: [u8; 32],
}

/// Why a TPM is asked.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Purpose {
    /// First attestation of a session.
    Enrol,
    /// Attestation with new keys before the certificate ends.
    Renew,
    /// A fresh quote within a session.
    Quote,
}

impl Purpose {
    /// The name in the bound bytes.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Enrol => "enrol",
            Self::Renew => "renew",
            Self::Quote => "quote",
        }
    }
}

impl AttestBinding {
    /// SHA-256(`"bailiwick/attest/v1\0"` ‖ nonce ‖ SHA-256(JCS{td, node, purpose, akName, nodeKeyName, statementKey,
    /// hpkeKey, tlsExporter})), DESIGN 5.2 step 3.
    pub fn qualifying_data(&self, nonce: &[u8; 32]) -> [u8; 32] {
        #[derive(Serialize)]
        #[serde(rename_all = "camelCase")]
        struct Bound<'a> {
            td: String,
            node: &'a NodeName,
            purpose: &'static str,
            ak_name: String,
            node_key_name: String,
            statement_key: String,
            hpke_key: &'a Confirmation,
            tls_exporter: String,
        }
        let bound = Bound {
            td: self.trust_domain.to_string(),
            node: &self.node,
            purpose: self.purpose.as_str(),
            ak_name: hex::encode(&self.ak_name),
            node_key_name: hex::encode(&self.node_key_name),
            statement_key: B64.encode(self.statement_key.thumbprint().as_bytes()),
            hpke_key: &self.hpke_key,
            tls_exporter: B64.encode(self.exporter),
        };
        // A struct of strings always has a canonical form; were it not so, the empty one matches nothing that a TPM signed.
        let inner = serde_json_canonicalizer::to_vec(&bound).unwrap_or_default();
        let whole = [
            b"bailiwick/attest/v1\0".as_slice(),
            nonce,
            Digest::of(inner).as_bytes(),
        ]
        .concat();
        *Digest::of(whole).as_bytes()
    }
}
