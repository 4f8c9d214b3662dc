//! What travels: bodies and answers as both ends know them. Unknown members are refused on the way in.

use std::collections::BTreeMap;

use base64::{Engine, engine::general_purpose::STANDARD as B64};
use estate::{
    Change, ChangeRecord, ClusterName, DataSetName, Digest, Effect, EstateHash, ImageSetName,
    LocationName, NodeName, PersonId, Timestamp,
};
use ledger::Commitment;
use serde::{Deserialize, Serialize};
use server::ports::{Discrepancy, LogEntry};

pub use ledger::ChangeState;
pub use server::govern::{Access, AccessChange, Need};

/// Data, and the proof that the call stands in the log.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Answer<T> {
    /// What was asked for.
    pub data: T,
    /// Of the leaf that the call wrote.
    pub receipt: Option<Receipt>,
}

/// A leaf and its proof: with the log's key it verifies offline.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Receipt {
    /// The leaf's index.
    pub index: u64,
    /// The leaf's bytes, base64.
    pub leaf: String,
    /// tlog-proof text.
    pub proof: String,
}

impl From<&Commitment> for Receipt {
    fn from(commitment: &Commitment) -> Self {
        let Commitment {
            index,
            leaf,
            receipt,
        } = commitment;
        Self {
            index: *index,
            leaf: B64.encode(leaf),
            proof: receipt.clone(),
        }
    }
}

/// A failure as a caller sees it.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Refusal {
    /// Stable code.
    pub code: String,
    /// Short text.
    pub message: String,
    /// Where the refusal is on record.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub receipt: Option<Receipt>,
}

/// Files of an estate.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Estate {
    /// Path and text of each.
    pub files: Vec<(String, String)>,
    /// Whether what is missing is to be removed; only `apply` heeds it.
    #[serde(default)]
    pub prune: bool,
}

/// What an estate would change.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Diff {
    /// Version in force.
    pub base: u64,
    /// Its hash.
    pub base_hash: EstateHash,
    /// Hash of the estate that would be in force.
    pub result_hash: EstateHash,
    /// What the whole of it does to access.
    pub effect: Effect,
    /// Objects that differ.
    pub changes: Vec<Change>,
    /// Who would gain or lose what, over the nodes and image sets of both estates.
    pub access: Vec<AccessChange>,
    /// Who would have to sign, a line for each.
    pub needs: Vec<String>,
}

/// What became of a change that was submitted or signed.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Submitted {
    /// `applied` or `waiting`.
    pub state: ChangeState,
    /// The version that it brought.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub applied: Option<Applied>,
    /// What it waits for.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub waiting: Option<PendingChange>,
}

/// An estate that was applied.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Applied {
    /// Its number.
    pub version: u64,
    /// The change that brought it.
    pub number: u64,
    /// Hash of that change.
    pub hash: Digest,
    /// Who signed.
    pub approvers: Vec<PersonId>,
    /// What changed.
    pub diff: Diff,
    /// Leases that are ending because of it.
    pub ended_leases: Vec<String>,
    /// Index of the version's leaf.
    pub leaf: u64,
}

/// A change that waits. Nothing of it is in force.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct PendingChange {
    /// Its number.
    pub number: u64,
    /// What is to be signed, in the namespace `bailiwick-change`.
    pub hash: Digest,
    /// From when on it can't come into force any more.
    pub expires: Timestamp,
    /// Who signed so far.
    pub signed: Vec<PersonId>,
    /// What it waits for, a line for each.
    pub missing: Vec<String>,
    /// What it would change.
    pub diff: Diff,
}

/// A change in a list.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct ChangeListed {
    /// Its number.
    pub number: u64,
    /// Where it stands.
    pub state: ChangeState,
    /// The version that it brought.
    pub version: Option<u64>,
    /// Who submitted it.
    pub submitter: String,
    /// Its hash.
    pub hash: Digest,
    /// What the whole of it does to access.
    pub effect: Effect,
    /// When it was submitted.
    pub submitted: Timestamp,
    /// From when on it can't come into force any more.
    pub expires: Timestamp,
    /// What changes, as a person reads it.
    pub summary: Vec<String>,
    /// What it waits for, a line for each.
    pub missing: Vec<String>,
}

/// A change with all that its signers should see.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct ChangeShown {
    /// As in a list.
    #[serde(flatten)]
    pub listed: ChangeListed,
    /// What its hash is of, with the signatures.
    pub record: ChangeRecord,
    /// Who gains or loses what.
    pub access: Vec<AccessChange>,
    /// Who must sign, and who did.
    pub needs: Vec<Need>,
    /// Files of the estate that it leads to which nobody submits: with them its hash can be computed from a folder.
    #[serde(default)]
    pub promotions: Vec<(String, String)>,
    /// The leaf that announced it.
    pub leaf: u64,
}

/// A signature for a change.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Approval {
    /// The armoured SSH signature, as `ssh-keygen -Y sign` prints it.
    pub signature: String,
}

/// Why a change is rejected.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Rejection {
    /// In words, for the trail.
    pub reason: String,
}

/// A promoter's statement.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Promotion {
    /// The DSSE envelope, JSON text.
    pub envelope: String,
}

/// An image that is to leave its set.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Retirement {
    /// Its config digest.
    pub config: Digest,
}

/// A node as people see it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Node {
    /// Its name.
    pub name: NodeName,
    /// How it stands.
    pub state: NodeState,
    /// Its cluster by the inventory; absent when the inventory does not have it.
    pub cluster: Option<ClusterName>,
    /// Its location by the inventory.
    pub location: Option<LocationName>,
    /// How it proves itself: `tpm` or `join-token`.
    pub attestor: Option<String>,
    /// The boot profile that accepted its state.
    pub boot: Option<String>,
    /// Rises with each attestation and ban.
    pub epoch: Option<u64>,
    /// Last full attestation.
    pub attested_at: Option<Timestamp>,
    /// Last quote.
    pub quoted_at: Option<Timestamp>,
    /// End of its certificate.
    pub not_after: Option<Timestamp>,
}

/// How a node stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum NodeState {
    /// In the inventory, never attested.
    Pending,
    /// Attested.
    Attested,
    /// Attested once; the certificate is over.
    Lapsed,
    /// Banned.
    Banned,
    /// Attested once, no longer in the inventory.
    Removed,
}

/// Why a node is banned.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Ban {
    /// In words, for the trail.
    pub reason: String,
}

/// A one-time token, shown once and kept nowhere.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Token {
    /// The token.
    pub token: String,
}

/// A signed key document.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct KeyDocument {
    /// As it was signed; to be checked against the pinned root.
    pub document: String,
}

/// A lease as people see it.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Lease {
    /// Its id.
    pub id: String,
    /// `pending`, `granted`, `ending` or `ended`.
    pub state: String,
    /// What is leased.
    pub credential: String,
    /// Whose data.
    pub dataset: DataSetName,
    /// The database.
    pub database: String,
    /// The database role.
    pub role: String,
    /// The node that asked.
    pub node: NodeName,
    /// The workload's image.
    pub image: Option<Digest>,
    /// When it ends at the latest.
    pub expires: Timestamp,
    /// The leaf that announced it.
    pub leaf: u64,
}

/// A question.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Question {
    /// Such as `lease Credential::"postgresql/medical-records"`.
    pub ask: String,
}

/// Who can.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct WhoCan {
    /// The question.
    pub ask: String,
    /// Those who can.
    pub permitted: Vec<Access>,
    /// How many can't.
    pub refused: usize,
    /// Who could grant it to themselves, one for each way there is.
    pub could_grant: Vec<Grantor>,
}

/// A way in which people could grant themselves access.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Grantor {
    /// The rule, promoter's key or founders.
    pub way: String,
    /// How many of which team must agree, a text for each; empty where a key alone is enough.
    pub teams: Vec<String>,
    /// How many people at least.
    pub must_agree: usize,
    /// Who they are.
    pub people: Vec<PersonId>,
}

/// A question about one workload or node.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ExplainQuestion {
    /// Such as `lease Credential::"postgresql/medical-records"`.
    pub ask: String,
    /// The node it runs on.
    pub node: NodeName,
    /// The workload's image set; absent for the node itself or an image in no set.
    #[serde(default)]
    pub image: Option<ImageSetName>,
}

/// Why.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Explanation {
    /// What was asked.
    pub question: String,
    /// Whether it is permitted.
    pub permitted: bool,
    /// The answer in words.
    pub answer: String,
    /// The facts, a line each.
    pub facts: Vec<String>,
    /// For each permit the conditions that do not hold.
    pub lacks: BTreeMap<String, Vec<String>>,
}

/// Entries of the trail.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Trail {
    /// Newest first.
    pub entries: Vec<LogEntry>,
}

/// A leaf, its disclosures and its proof: what `audit verify` reads.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct ReceiptFile {
    /// Format version, 1.
    pub v: u8,
    /// The log's key, for comparison with the one that the reader trusts.
    pub ledger_key: String,
    /// The leaf's index.
    pub index: u64,
    /// The leaf.
    pub leaf: String,
    /// Encoded disclosures.
    pub disclosures: Vec<String>,
    /// tlog-proof text.
    pub proof: String,
}

/// What recomputing the log found.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Verified {
    /// Whether everything fits.
    pub intact: bool,
    /// What does not.
    pub discrepancies: Vec<Discrepancy>,
}

/// A key to be certified.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct KeyToCertify {
    /// SubjectPublicKeyInfo, DER, base64.
    pub spki: String,
}

/// A certificate and what it chains to.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Chain {
    /// DER, base64, the person's first.
    pub chain: Vec<String>,
}

/// As much of a sealed secret as tells whose it is.
#[derive(Debug, Deserialize)]
pub(crate) struct SealedFor {
    pub(crate) dataset: DataSetName,
}
