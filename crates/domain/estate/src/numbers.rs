//! Numbers with a meaning: epochs, versions and the assurance of a place.

use std::fmt;

use serde::{Deserialize, Serialize};

/// How often a node was attested anew or banned; a release for an older epoch is refused.
#[derive(
    Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default, Serialize, Deserialize,
)]
#[serde(transparent)]
pub struct Epoch(pub u64);

impl Epoch {
    /// The epoch after this one.
    #[must_use]
    pub const fn next(self) -> Self {
        Self(self.0.saturating_add(1))
    }
}

impl fmt::Display for Epoch {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

/// The number of the applied estate; policies, inventory, images and people are one version.
#[derive(
    Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default, Serialize, Deserialize,
)]
#[serde(transparent)]
pub struct PolicyVersion(pub u64);

impl PolicyVersion {
    /// The version after this one.
    #[must_use]
    pub const fn next(self) -> Self {
        Self(self.0.saturating_add(1))
    }
}

impl fmt::Display for PolicyVersion {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

/// A number is no level of assurance.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("`{0}` is not a level of assurance: 0 to 4")]
pub struct AssuranceError(u8);

/// How well the place of a node is known, 0 to 4.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(try_from = "u8", into = "u8")]
pub struct Assurance(u8);

impl Assurance {
    /// The node's own word, or a join token.
    pub const OWN_WORD: Self = Self(0);
    /// A cloud's signed document, or a virtual TPM.
    pub const CLOUD: Self = Self(1);
    /// An inventory entry of an enrolled endorsement key.
    pub const ENROLLED: Self = Self(2);
    /// A tag signed by the site authority in the TPM.
    pub const SITE_SIGNED: Self = Self(3);
    /// As before, and plausible by round-trip time to signed landmarks.
    pub const LANDMARKS: Self = Self(4);

    /// The level as a number.
    #[must_use]
    pub const fn level(self) -> u8 {
        self.0
    }
}

impl TryFrom<u8> for Assurance {
    type Error = AssuranceError;

    fn try_from(level: u8) -> Result<Self, AssuranceError> {
        if level > Self::LANDMARKS.0 {
            Err(AssuranceError(level))
        } else {
            Ok(Self(level))
        }
    }
}

impl From<Assurance> for u8 {
    fn from(assurance: Assurance) -> Self {
        assurance.0
    }
}

impl fmt::Display for Assurance {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn assurance_has_five_levels() {
        assert_eq!(Assurance::try_from(2), Ok(Assurance::ENROLLED));
        assert!(Assurance::try_from(5).is_err());
        assert!(serde_json::from_str::<Assurance>("5").is_err());
    }
}
