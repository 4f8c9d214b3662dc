//! What a promoter states and signs: these images, identified by config digest, are builds of that set.

use std::collections::BTreeSet;

use dsse::{Envelope, NotSigned, SigningKey, Statement, Subject};
use serde::{Deserialize, Serialize};

use crate::{Digest, ImageSetName, Timestamp};

/// The kind of predicate.
pub(super) const PREDICATE_TYPE: &str = "urn:bailiwick:promotion:v1";
/// Most manifests that a statement may name.
pub(super) const MOST_MANIFESTS: usize = 128;

/// What is said of the images. Members that are not known here are refused.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct PromotionPredicate {
    /// The trust domain that the statement is for.
    pub trust_domain: String,
    /// The image set that the statement is for.
    pub image_set: ImageSetName,
    /// Rises with each statement for the set; milliseconds since 1970 will do.
    pub revision: u64,
    /// Digests of the manifests and indexes through which the images were found.
    pub manifests: Vec<Digest>,
    /// Whether every layer of every image is encrypted.
    pub encrypted: bool,
    /// When the statement was made, by the promoter's clock.
    pub created: Timestamp,
}

/// A statement before it is signed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PromotionStatement {
    /// Where the images were found, for people.
    pub name: Option<String>,
    /// Their config digests.
    pub configs: BTreeSet<Digest>,
    /// What is said of them.
    pub predicate: PromotionPredicate,
}

impl PromotionStatement {
    /// The statement as in-toto writes it.
    #[must_use]
    pub fn to_statement(&self) -> Statement<PromotionPredicate> {
        let subject = |config: &Digest| Subject::of_sha256(self.name.clone(), config.to_hex());
        Statement::new(
            PREDICATE_TYPE,
            self.configs.iter().map(subject).collect(),
            self.predicate.clone(),
        )
    }

    /// Signs it.
    ///
    /// # Errors
    /// When the cryptographic library does not sign.
    pub fn sign(&self, key: &SigningKey) -> Result<Envelope, NotSigned> {
        let payload = self.to_statement().to_payload().map_err(|_| NotSigned)?;
        Envelope::sign(dsse::PAYLOAD_TYPE, &payload, key)
    }
}
