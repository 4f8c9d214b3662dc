//! What a transaction may create, as plain values: the vocabulary shared by services and stores.

use estate::{
    BootProfileName, ChangeId, CredentialName, DataSetName, DatabaseName, Digest, Epoch,
    EstateHash, LeaseId, NodeName, PolicyVersion, SecretName, TenantName, Timestamp,
};
use evidence::{Attestor, VerifiedAttestation};
use serde::{Deserialize, Serialize};

/// An attested node.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct NodeRow {
    /// Its name in the inventory.
    pub name: NodeName,
    /// Rises with each attestation and ban.
    pub epoch: Epoch,
    /// How it proved itself.
    pub attestor: Attestor,
    /// Hash of the endorsement key; absent without a TPM.
    pub ek: Option<Digest>,
    /// Public area of the attestation key; empty without a TPM.
    pub ak_public: Vec<u8>,
    /// Node key: SubjectPublicKeyInfo, DER.
    pub node_key_spki: Vec<u8>,
    /// Name of the node key in its TPM; empty without a TPM.
    pub node_key_name: Vec<u8>,
    /// Statement key: public JWK, JSON.
    pub statement_key: String,
    /// Node HPKE key's suite.
    pub hpke_suite: String,
    /// Node HPKE key, base64url as in a confirmation.
    pub hpke_key: Vec<u8>,
    /// The boot profile that accepted the quoted state.
    pub boot: Option<BootProfileName>,
    /// TPM reset count at the last quote.
    pub reset_count: u32,
    /// Last full attestation.
    pub attested_at: Timestamp,
    /// Last quote.
    pub quoted_at: Option<Timestamp>,
    /// End of the node certificate.
    pub not_after: Timestamp,
    /// Banned since.
    pub banned: bool,
}

impl NodeRow {
    /// The row of a node that attested: its keys and facts are the attestation's, nobody else's.
    pub fn admitted(
        attestation: &VerifiedAttestation,
        epoch: Epoch,
        not_after: Timestamp,
        now: Timestamp,
    ) -> Self {
        let (facts, keys) = (attestation.facts(), attestation.keys());
        Self {
            name: facts.name.clone(),
            epoch,
            attestor: facts.attestor,
            ek: keys.ek,
            ak_public: keys.ak_public.clone(),
            node_key_spki: keys.node_key_spki.clone(),
            node_key_name: keys.node_key_name.clone(),
            statement_key: serde_json::to_string(&keys.statement_key).unwrap_or_default(),
            hpke_suite: keys.hpke_key.suite.clone(),
            hpke_key: keys.hpke_key.key.clone().into_bytes(),
            boot: facts.boot.clone(),
            reset_count: keys.reset_count,
            attested_at: now,
            quoted_at: facts.quoted_at,
            not_after,
            banned: false,
        }
    }
}

/// A one-time token.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TokenRow {
    /// SHA-256 of the token; the token itself is shown once.
    pub hash: Digest,
    /// The node that it admits.
    pub node: NodeName,
    /// End of its validity.
    pub not_after: Timestamp,
}

/// A lease about to be made. Its role is named after its leaf, so the name is known only inside the transaction.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LeaseIntent {
    /// The tenant, part of the lease's id.
    pub tenant: TenantName,
    /// What is leased.
    pub credential: CredentialName,
    /// Whose data.
    pub dataset: DataSetName,
    /// The database.
    pub database: DatabaseName,
    /// The node that asked, and its epoch.
    pub node: NodeName,
    /// The node's epoch at that time.
    pub node_epoch: Epoch,
    /// The workload's image.
    pub image: Option<Digest>,
    /// When it ends at the latest.
    pub expires: Timestamp,
    /// SCRAM verifier; not a secret that opens anything, yet not shown.
    pub verifier: String,
}

impl LeaseIntent {
    /// The database role of a lease whose leaf is `index`: `bw_1377_medical_records`, at most 63 bytes.
    pub fn role(&self, index: u64) -> String {
        let name = self.credential.to_string();
        let short = name.rsplit('/').next().unwrap_or_default();
        let safe: String = short
            .chars()
            .map(|c| {
                if c.is_ascii_alphanumeric() {
                    c.to_ascii_lowercase()
                } else {
                    '_'
                }
            })
            .collect();
        format!("bw_{index}_{safe}").chars().take(63).collect()
    }

    /// The lease's id.
    pub fn id(&self, index: u64) -> String {
        format!("{}-{index}", self.tenant)
    }
}

/// What became of a lease.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum LeaseOutcome {
    /// The role exists and the answer may leave.
    Granted,
    /// It is to be ended: no longer usable for new answers, the role may still exist.
    Ending,
    /// The role is gone.
    Ended,
}

/// A sealed secret.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SecretRow {
    /// Its name.
    pub name: SecretName,
    /// Its version, rising from 1.
    pub version: u64,
    /// Whose data.
    pub dataset: DataSetName,
    /// HPKE suite.
    pub suite: String,
    /// SHA-256 of the data set's public key that it is sealed to.
    pub key_id: Digest,
    /// Encapsulated key.
    pub enc: Vec<u8>,
    /// Ciphertext.
    pub ct: Vec<u8>,
    /// Who put it.
    pub by: String,
}

/// An issued certificate or token.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SerialRow {
    /// Certificate serial or token id, hex.
    pub serial: String,
    /// SPIFFE id.
    pub subject: String,
    /// The node that asked.
    pub node: NodeName,
    /// End of validity.
    pub not_after: Timestamp,
}

/// An applied version of the estate.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct EstateRow {
    /// Its number.
    pub version: PolicyVersion,
    /// Its hash.
    pub hash: EstateHash,
    /// The files, JSON array of [path, text].
    pub files: String,
    /// The change that brought it.
    pub number: ChangeId,
    /// Hash of that change.
    pub change: Digest,
    /// The change's record with its signatures, JSON: whoever loads the version checks it again.
    pub record: String,
    /// Who applied it.
    pub by: String,
}

/// A change as it was submitted.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ChangeRow {
    /// Its number, rising from 1.
    pub number: ChangeId,
    /// Its hash: what is signed.
    pub hash: Digest,
    /// Its record, JSON; signatures are added to it.
    pub record: String,
    /// The files of the estate that it leads to, JSON; empty once it is applied, as the version holds them.
    pub files: String,
    /// Who submitted it.
    pub by: String,
    /// When it stops waiting.
    pub expires: Timestamp,
}

/// A change as the store knows it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct StoredChange {
    /// What was submitted, with the signatures so far.
    pub row: ChangeRow,
    /// The leaf that announced it.
    pub leaf: u64,
    /// When.
    pub at: Timestamp,
    /// Where it stands.
    pub state: ChangeState,
    /// The version that it brought.
    pub version: Option<PolicyVersion>,
}

/// Where a change stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum ChangeState {
    /// It waits for signatures. Nothing of it is in force.
    Waiting,
    /// It is a version of the estate.
    Applied,
    /// Somebody who may said no, or it was withdrawn.
    Rejected,
    /// Another version came into force first: what was signed starts from an estate that is no more.
    Void,
    /// It waited too long. Told by the clock; the store says `waiting`.
    Expired,
}

/// A lease as the store knows it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct LeaseRow {
    /// Its id.
    pub id: LeaseId,
    /// The leaf that announced it.
    pub leaf: u64,
    /// What is leased.
    pub credential: CredentialName,
    /// Whose data.
    pub dataset: DataSetName,
    /// The database.
    pub database: DatabaseName,
    /// The database role.
    pub role: String,
    /// The node that asked.
    pub node: NodeName,
    /// The workload's image.
    pub image: Option<Digest>,
    /// When it ends at the latest.
    pub expires: Timestamp,
    /// Where it stands; absent while pending.
    pub outcome: Option<LeaseOutcome>,
}
