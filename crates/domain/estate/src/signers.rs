//! Who can sign: the SSH keys of people, and the founders who sign before there are rules.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Deserializer, Serialize, Serializer};
use sshsig::{PublicKey, PublicKeyError};

use crate::PersonId;
use crate::names::parse_visited;

/// An SSH public key of a person: equal to another by its material, written without its comment.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct SshKey(PublicKey);

/// A text is no SSH public key that may sign a change. Fault: whoever wrote it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("an SSH public key as in `authorized_keys` is wanted: {0}")]
pub struct SshKeyError(PublicKeyError);

impl SshKey {
    /// The key itself.
    #[must_use]
    pub fn public_key(&self) -> &PublicKey {
        &self.0
    }

    /// Its fingerprint, as `ssh-keygen -l` prints it.
    #[must_use]
    pub fn fingerprint(&self) -> String {
        self.0.fingerprint()
    }
}

impl From<PublicKey> for SshKey {
    fn from(key: PublicKey) -> Self {
        Self(key)
    }
}

impl FromStr for SshKey {
    type Err = SshKeyError;

    fn from_str(text: &str) -> Result<Self, SshKeyError> {
        text.parse().map(Self).map_err(SshKeyError)
    }
}

impl fmt::Display for SshKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0.key_text())
    }
}

impl Serialize for SshKey {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for SshKey {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        parse_visited(deserializer)
    }
}

/// Those who sign the first version, and later whatever has no rule of approval. Fixed when a server is made.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Founders {
    /// Their keys. Only these count for a founder; what `people.toml` says of the person does not.
    pub people: BTreeMap<PersonId, BTreeSet<SshKey>>,
    /// How many of them must sign.
    pub quorum: usize,
}

/// One founder, as written in the first leaf.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Founder {
    /// Who.
    pub person: PersonId,
    /// With which keys.
    pub keys: Vec<SshKey>,
}

/// Founders can't be these. Fault: whoever makes the server, or whoever changed its first leaf.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum FoundersError {
    /// Fault: the caller.
    #[error("a quorum of {quorum} is not possible with {people} founders")]
    Quorum {
        /// How many should sign.
        quorum: usize,
        /// How many there are.
        people: usize,
    },
    /// Fault: the caller. Who has no key can't sign.
    #[error("founder `{0}` has no key")]
    NoKey(PersonId),
    /// Fault: the caller. Two names with one key would be one person who counts twice.
    #[error("founders `{first}` and `{second}` have the same key")]
    SharedKey {
        /// One founder.
        first: PersonId,
        /// The other one.
        second: PersonId,
    },
    /// Fault: the caller.
    #[error("founder `{0}` is listed twice")]
    Doubled(PersonId),
}

impl Founders {
    /// Founders of whom `quorum` must sign.
    ///
    /// # Errors
    /// [`FoundersError`]
    pub fn new(
        people: BTreeMap<PersonId, BTreeSet<SshKey>>,
        quorum: usize,
    ) -> Result<Self, FoundersError> {
        if quorum == 0 || quorum > people.len() {
            let people = people.len();
            return Err(FoundersError::Quorum { quorum, people });
        }
        let mut holders: BTreeMap<&SshKey, &PersonId> = BTreeMap::new();
        for (person, keys) in &people {
            if keys.is_empty() {
                return Err(FoundersError::NoKey(person.clone()));
            }
            for key in keys {
                if let Some(first) = holders.insert(key, person) {
                    let (first, second) = (first.clone(), person.clone());
                    return Err(FoundersError::SharedKey { first, second });
                }
            }
        }
        Ok(Self { people, quorum })
    }

    /// As the first leaf lists them.
    #[must_use]
    pub fn listed(&self) -> Vec<Founder> {
        let founder = |(person, keys): (&PersonId, &BTreeSet<SshKey>)| Founder {
            person: person.clone(),
            keys: keys.iter().cloned().collect(),
        };
        self.people.iter().map(founder).collect()
    }

    /// Reads what the first leaf lists.
    ///
    /// # Errors
    /// [`FoundersError`]
    pub fn from_listed(listed: Vec<Founder>, quorum: usize) -> Result<Self, FoundersError> {
        let mut people = BTreeMap::new();
        for Founder { person, keys } in listed {
            if people
                .insert(person.clone(), keys.into_iter().collect())
                .is_some()
            {
                return Err(FoundersError::Doubled(person));
            }
        }
        Self::new(people, quorum)
    }

    /// The founder with this key.
    #[must_use]
    pub fn with_key(&self, key: &PublicKey) -> Option<&PersonId> {
        self.people
            .iter()
            .find(|(_, keys)| keys.iter().any(|own| own.public_key() == key))
            .map(|(person, _)| person)
    }
}
