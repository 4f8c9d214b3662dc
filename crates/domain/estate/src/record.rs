//! The record of a change: from one version to the next, by whom, until when, and who signed.

use std::fmt;

use serde::{Deserialize, Serialize};

use crate::{Change, Digest, Effect, Estate, EstateHash, PersonId, PolicyVersion, Timestamp};

/// The number under which a change was submitted.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(transparent)]
pub struct ChangeId(pub u64);

impl fmt::Display for ChangeId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

/// A change as it is submitted: from one estate to another, by whom, and who agreed.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct ChangeRecord {
    /// Format version, 1.
    pub v: u8,
    /// The name of the ledger that it was submitted to: whoever owns data in two places signs for one of them.
    pub ledger: String,
    /// Its number, so that no two changes of a server have one hash.
    pub number: ChangeId,
    /// The estate that it starts from.
    pub base: EstateHash,
    /// The version that it starts from. An estate may come back, its version never does: an approval counts once.
    pub base_version: PolicyVersion,
    /// The estate that it leads to.
    pub result: EstateHash,
    /// What differs.
    pub changes: Vec<Change>,
    /// SHA-256 of the predicted gains and losses that the signers were shown.
    pub access: Digest,
    /// Who submitted it; absent when the server's own administrator did over the local socket.
    pub submitter: Option<PersonId>,
    /// When it was submitted.
    pub submitted: Timestamp,
    /// From when on it can't take effect any more.
    pub expires: Timestamp,
    /// Approvals.
    pub signatures: Vec<ChangeSignature>,
}

/// An approval: an SSH signature in the namespace `bailiwick-change` over the record's hash.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ChangeSignature {
    /// Who signed.
    pub person: PersonId,
    /// The armoured signature.
    pub signature: String,
}

/// What a submission adds to two estates and their difference.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Submission {
    /// The name of the ledger, such as `hospital.example/ledger/hospital`.
    pub ledger: String,
    /// The number of the change.
    pub number: ChangeId,
    /// The version in force.
    pub base_version: PolicyVersion,
    /// SHA-256 of the predicted gains and losses.
    pub access: Digest,
    /// Who submits; absent over the local socket.
    pub submitter: Option<PersonId>,
    /// Now.
    pub submitted: Timestamp,
    /// From when on it can't take effect any more.
    pub expires: Timestamp,
}

impl ChangeRecord {
    /// The record, without signatures, of going from `base` to `result`, which differ by `changes`.
    #[must_use]
    pub fn new(
        base: &Estate,
        result: &Estate,
        changes: Vec<Change>,
        submission: Submission,
    ) -> Self {
        let Submission {
            ledger,
            number,
            base_version,
            access,
            submitter,
            submitted,
            expires,
        } = submission;
        Self {
            v: Self::FORMAT,
            ledger,
            number,
            base: base.hash(),
            base_version,
            result: result.hash(),
            changes,
            access,
            submitter,
            submitted,
            expires,
            signatures: Vec::new(),
        }
    }

    /// The canonical hash: SHA-256 of the JCS form without the signatures, which are made over it.
    #[must_use]
    pub fn hash(&self) -> Digest {
        let unsigned = Self {
            signatures: Vec::new(),
            ..self.clone()
        };
        // Texts, whole numbers and lists only: JCS can't fail.
        Digest::of(serde_json_canonicalizer::to_vec(&unsigned).unwrap_or_default())
    }

    /// The widest effect of all that differs.
    #[must_use]
    pub fn effect(&self) -> Effect {
        self.changes
            .iter()
            .map(|change| change.effect)
            .max()
            .unwrap_or(Effect::Neutral)
    }

    /// The format that is written and understood.
    pub const FORMAT: u8 = 1;
    /// The namespace of approvals, as in `ssh-keygen -Y sign -n`.
    pub const NAMESPACE: &'static str = "bailiwick-change";
}
