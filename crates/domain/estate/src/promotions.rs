//! `promotions/<image set>.json`: builds that a promoter's signed statement made members of a set. The server keeps it.
//!
//! People never write these files. The server adds a statement to the one in force, carries the files from version to
//! version, and everybody who reads an estate verifies every statement again: nobody has to believe the server.

mod error;
mod file;
mod promotion;
mod statement;

use std::collections::BTreeSet;

use dsse::Envelope;

pub use error::PromotionError;
pub(crate) use file::parse;
pub use promotion::Promoted;
pub use statement::{PromotionPredicate, PromotionStatement};

use crate::images::ImageSet;
use crate::{Digest, Estate, ImageSetName, Timestamp};

/// The promotions into one image set, oldest first, and what was retired from it.
///
/// Whoever changes it composes the next version of the estate: [`Promotions::to_text`] is a file of it. A build that is
/// forgotten, because newer ones took its place or it was retired, does not come back by any change of the set's rules.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Promotions {
    set: ImageSetName,
    /// INVARIANT: no revision in `entries` is above it, and it never falls. A statement up to it has been here.
    floor: u64,
    entries: Vec<Entry>,
    retired: BTreeSet<Digest>,
}

#[derive(Debug, Clone, PartialEq, Eq)]
struct Entry {
    promoted: Promoted,
    envelope: Envelope,
}

impl Promotions {
    /// Most promotions that a file holds.
    pub const MOST: usize = 128;
    /// Most images that can be retired from a set.
    pub const MOST_RETIRED: usize = 4096;
    /// Longest statement that is taken in, as the JSON of its envelope.
    pub const LONGEST: usize = 24 * 1024;

    fn none(set: ImageSetName) -> Self {
        Self {
            set,
            floor: 0,
            entries: Vec::new(),
            retired: BTreeSet::new(),
        }
    }

    /// The image set.
    #[must_use]
    pub fn set(&self) -> &ImageSetName {
        &self.set
    }

    /// The highest revision that was ever taken in: the next one must be greater.
    #[must_use]
    pub fn floor(&self) -> u64 {
        self.floor
    }

    /// What was retired.
    #[must_use]
    pub fn retired(&self) -> &BTreeSet<Digest> {
        &self.retired
    }

    /// All promotions that are kept, oldest first.
    pub fn iter(&self) -> impl DoubleEndedIterator<Item = &Promoted> {
        self.entries.iter().map(|entry| &entry.promoted)
    }

    /// Whether nothing was ever promoted or retired.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.floor == 0 && self.retired.is_empty()
    }

    /// The path of the file in an estate.
    #[must_use]
    pub fn path(&self) -> String {
        format!("{DIRECTORY}{}.json", self.set)
    }

    /// The text of the file.
    #[must_use]
    pub fn to_text(&self) -> String {
        // Texts, whole numbers and lists only: it can't fail to serialize.
        let mut text = serde_json::to_string_pretty(self).unwrap_or_default();
        text.push('\n');
        text
    }

    /// Takes in a promoter's statement at the time `at`, judged by the estate in force; forgets builds that it displaces.
    ///
    /// # Errors
    /// When the statement is not one of this set's promoters for this set and trust domain, newer than all before it,
    /// and permitted by the set's rules. Nothing is changed then.
    pub fn add(
        &mut self,
        estate: &Estate,
        trust_domain: &str,
        envelope: &str,
        at: Timestamp,
    ) -> Result<&Promoted, PromotionError> {
        if envelope.len() > Self::LONGEST {
            return Err(PromotionError::TooLong);
        }
        let set = self.set_in(estate)?;
        let envelope =
            Envelope::parse(envelope).map_err(|source| PromotionError::Envelope { source })?;
        let promoted = promotion::verify(&envelope, set, &estate.keys, at)?;
        if promoted.trust_domain != trust_domain {
            return Err(PromotionError::WrongDomain {
                said: promoted.trust_domain,
                wanted: trust_domain.to_owned(),
            });
        }
        self.admit(estate, &promoted)?;
        let mut next = self.clone();
        next.floor = promoted.revision;
        next.entries.push(Entry { promoted, envelope });
        next.forget(set, Some(at));
        let name = self.set.to_string();
        match next.entries.len() {
            // `keep = 0` holds nothing, not even what came last.
            0 => return Err(PromotionError::NothingKept { set: name }),
            count if count > Self::MOST => return Err(PromotionError::TooMany { set: name }),
            _ => *self = next,
        }
        let newest = self.iter().next_back();
        newest.ok_or(PromotionError::NothingKept { set: name })
    }

    /// Takes an image out of the set for good; `false` when that has been done before.
    ///
    /// # Errors
    /// When the image is no member, and never was since it would have been forgotten.
    pub fn retire(&mut self, estate: &Estate, config: Digest) -> Result<bool, PromotionError> {
        if self.retired.contains(&config) {
            return Ok(false);
        }
        if !self.set_in(estate)?.may_hold(&config) {
            return Err(PromotionError::NotAMember {
                config,
                set: self.set.to_string(),
            });
        }
        if self.retired.len() >= Self::MOST_RETIRED {
            return Err(PromotionError::TooManyRetired);
        }
        self.retired.insert(config);
        Ok(true)
    }

    /// Drops what the next estate would refuse, such as statements by keys that are promoters no more, and what its rules
    /// no longer keep. Gives what was dropped.
    pub fn prune(&mut self, next: &Estate) -> Vec<Promoted> {
        let before: Vec<Promoted> = self.iter().cloned().collect();
        match next.images.get(&self.set) {
            None => self.entries.clear(),
            Some(set) => {
                self.entries.retain_mut(|entry| {
                    let at = entry.promoted.at;
                    let again = promotion::verify(&entry.envelope, set, &next.keys, at);
                    // The same statement may be another promoter's now: keys can be renamed.
                    again.is_ok_and(|again| {
                        entry.promoted = again;
                        true
                    })
                });
                self.forget(set, None);
            }
        }
        let kept: BTreeSet<u64> = self.iter().map(|promoted| promoted.revision).collect();
        before
            .into_iter()
            .filter(|promoted| !kept.contains(&promoted.revision))
            .collect()
    }

    fn set_in<'e>(&self, estate: &'e Estate) -> Result<&'e ImageSet, PromotionError> {
        estate
            .images
            .get(&self.set)
            .ok_or_else(|| PromotionError::NoSet {
                set: self.set.to_string(),
            })
    }

    fn admit(&self, estate: &Estate, promoted: &Promoted) -> Result<(), PromotionError> {
        if promoted.revision <= self.floor {
            return Err(PromotionError::Replayed {
                revision: promoted.revision,
                floor: self.floor,
            });
        }
        for config in &promoted.configs {
            if self.retired.contains(config) {
                return Err(PromotionError::Retired { config: *config });
            }
            let others = estate.images.values().filter(|set| set.name != self.set);
            if let Some(other) = others.into_iter().find(|set| set.may_hold(config)) {
                return Err(PromotionError::OtherSet {
                    config: *config,
                    other: other.name.to_string(),
                });
            }
        }
        Ok(())
    }

    /// Keeps what stands, and what is not too old at the time `at`.
    fn forget(&mut self, set: &ImageSet, at: Option<Timestamp>) {
        let standing: BTreeSet<u64> = self.standing(set).map(|entry| entry.revision).collect();
        self.entries.retain(|entry| {
            standing.contains(&entry.promoted.revision)
                && at.is_none_or(|at| entry.promoted.is_fresh(set.max_age, at))
        });
    }

    /// The newest that `keep` allows, newest first; what was retired whole takes no place.
    fn standing(&self, set: &ImageSet) -> impl Iterator<Item = &Promoted> {
        let keep = set.keep.map_or(usize::MAX, |keep| {
            usize::try_from(keep).unwrap_or(usize::MAX)
        });
        self.iter()
            .rev()
            .filter(|promoted| !promoted.configs.is_subset(&self.retired))
            .take(keep)
    }

    /// Whether this allows nothing that `old` did not.
    pub(crate) fn is_within(&self, old: &Self) -> bool {
        self.forgets_nothing_of(old) && self.entries.iter().all(|entry| old.has(entry))
    }

    /// Whether this can have come from `old`: by statements newer than its floor, by retiring, by dropping.
    fn follows(&self, old: &Self) -> bool {
        let may_be = |entry: &Entry| old.has(entry) || entry.promoted.revision > old.floor;
        self.forgets_nothing_of(old) && self.entries.iter().all(may_be)
    }

    fn forgets_nothing_of(&self, old: &Self) -> bool {
        self.floor >= old.floor && self.retired.is_superset(&old.retired)
    }

    fn has(&self, entry: &Entry) -> bool {
        let same = |other: &Entry| {
            (&other.envelope, other.promoted.at) == (&entry.envelope, entry.promoted.at)
        };
        self.entries.iter().any(same)
    }
}

impl Estate {
    /// Whether the server writes this file of the estate: nobody may submit it.
    #[must_use]
    pub fn is_kept_by_server(path: &str) -> bool {
        path.starts_with(DIRECTORY)
    }

    /// The promotions into an image set as they are in force; empty for a set that has none.
    #[must_use]
    pub fn promotions(&self, set: &ImageSetName) -> Promotions {
        self.promotions
            .get(set)
            .cloned()
            .unwrap_or_else(|| Promotions::none(set.clone()))
    }

    /// Checks that the promotions can have come from those of `old`, the version before: no file that was edited between
    /// versions brings back what was retired, or a statement that was here and went.
    ///
    /// # Errors
    /// [`PromotionError::DoesNotFollow`]
    pub fn check_promotions_follow(&self, old: &Self) -> Result<(), PromotionError> {
        let sets = old.promotions.keys().chain(self.promotions.keys());
        for set in sets {
            if !self.promotions(set).follows(&old.promotions(set)) {
                let set = set.to_string();
                return Err(PromotionError::DoesNotFollow { set });
            }
        }
        Ok(())
    }

    /// The files with promotions that go with `next`, an estate read without any, when it follows this one.
    ///
    /// Of a set that goes, its floor and what was retired stay: no old statement comes back with the set.
    #[must_use]
    pub fn carried_promotions(&self, next: &Self) -> Vec<(String, String)> {
        self.promotions
            .values()
            .cloned()
            .map(|mut promotions| {
                promotions.prune(next);
                (promotions.path(), promotions.to_text())
            })
            .collect()
    }
}

/// Where the files lie.
const DIRECTORY: &str = "promotions/";

#[cfg(test)]
mod tests;
