//! One promotion: a statement, verified with the keys of the set's promoters.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use dsse::{Envelope, Statement, StatementError, VerifyingKey};
use serde::Serialize;

use super::error::PromotionError;
use super::statement::{MOST_MANIFESTS, PREDICATE_TYPE, PromotionPredicate};
use crate::images::{ImageSet, Promoter, Quality};
use crate::{Digest, Span, Timestamp};

/// Builds that a promoter's statement made members of a set.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Promoted {
    /// Config digests of the images: one build, one for each platform.
    pub configs: BTreeSet<Digest>,
    /// Digests of the manifests and indexes through which they were found.
    pub manifests: Vec<Digest>,
    /// Rises with each statement for the set.
    pub revision: u64,
    /// When the server took the statement in; `max_age` counts from here.
    pub at: Timestamp,
    /// Whether the promoter says that every layer is encrypted.
    pub encrypted: bool,
    /// When the statement was made, by the promoter's clock.
    pub created: Timestamp,
    /// The trust domain that the statement is for.
    pub trust_domain: String,
    /// The key file of the promoter who signed, in the estate.
    pub promoter: String,
}

impl Promoted {
    /// Whether it is no older than `max_age` at the time `now`. What lies ahead never counts as fresh.
    pub(crate) fn is_fresh(&self, max_age: Option<Span>, now: Timestamp) -> bool {
        max_age.is_none_or(|most| now.since(self.at).is_some_and(|age| age <= most.duration()))
    }
}

/// Verifies a statement for this set with the keys of its promoters and checks it against the set's rules.
pub(super) fn verify(
    envelope: &Envelope,
    set: &ImageSet,
    keys: &BTreeMap<String, String>,
    at: Timestamp,
) -> Result<Promoted, PromotionError> {
    let (promoter, statement) = signed(envelope, set, keys)?;
    let configs = subjects(&statement)?;
    let PromotionPredicate {
        trust_domain,
        image_set,
        revision,
        manifests,
        encrypted,
        created,
    } = statement.predicate;
    if image_set != set.name {
        return Err(PromotionError::WrongSet {
            said: image_set.to_string(),
            set: set.name.to_string(),
        });
    }
    let latest = u64::try_from(at.plus(AHEAD).as_millis()).unwrap_or_default();
    if !(1..=latest).contains(&revision) {
        return Err(PromotionError::Revision { revision });
    }
    if manifests.len() > MOST_MANIFESTS {
        let limit = MOST_MANIFESTS;
        return Err(PromotionError::TooManyManifests { limit });
    }
    if set.must_be.contains(&Quality::Encrypted) && !encrypted {
        let set = set.name.to_string();
        return Err(PromotionError::NotEncrypted { set });
    }
    Ok(Promoted {
        configs,
        manifests,
        revision,
        at,
        encrypted,
        created,
        trust_domain,
        promoter,
    })
}

/// The statement, and the key file of the first promoter in the set's order who signed it.
fn signed(
    envelope: &Envelope,
    set: &ImageSet,
    keys: &BTreeMap<String, String>,
) -> Result<(String, Statement<PromotionPredicate>), PromotionError> {
    let mut promoters = Vec::new();
    for promoter in &set.promoters {
        if let Promoter::Key(path) = promoter {
            promoters.push((path, key(path, keys)?));
        }
    }
    let known: Vec<VerifyingKey> = promoters.iter().map(|(_, key)| key.clone()).collect();
    let verified = envelope.verify(&known).map_err(|source| {
        let name = set.name.to_string();
        if known.len() < set.promoters.len() {
            PromotionError::Pipeline { set: name }
        } else {
            PromotionError::NoPromoter { set: name, source }
        }
    })?;
    let signer = verified.signers().first();
    let signer = signer.and_then(|index| promoters.get(*index));
    let path = signer.map(|(path, _)| (*path).clone()).unwrap_or_default();
    let statement = Statement::of(&verified, PREDICATE_TYPE)
        .map_err(|source: StatementError| PromotionError::Statement { source })?;
    Ok((path, statement))
}

fn key(path: &str, keys: &BTreeMap<String, String>) -> Result<VerifyingKey, PromotionError> {
    // That the file exists was checked when the set was read.
    let text = keys.get(path).map_or("", String::as_str);
    VerifyingKey::from_pem(text).map_err(|source| PromotionError::KeyFile {
        path: path.to_owned(),
        source,
    })
}

fn subjects(statement: &Statement<PromotionPredicate>) -> Result<BTreeSet<Digest>, PromotionError> {
    let mut configs = BTreeSet::new();
    for (index, subject) in statement.subject.iter().enumerate() {
        let config = subject
            .sha256()
            .and_then(|digits| Digest::from_hex(digits).ok())
            .ok_or(PromotionError::Subject { number: index + 1 })?;
        if !configs.insert(config) {
            return Err(PromotionError::DoubledSubject { config });
        }
    }
    Ok(configs)
}

/// How far a revision may be ahead of the time of its promotion. A counter never comes near; who counts milliseconds
/// may have a clock that is wrong. Without a bound, a stolen promoter key could lock out every later promotion.
const AHEAD: Duration = Duration::from_secs(24 * 60 * 60);
