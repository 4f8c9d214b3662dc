//! Trust domains (SPIFFE-ID section 2.1).

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

use crate::{IdError, SpiffeId};

/// The longest name of a trust domain.
pub const MAX_TRUST_DOMAIN_BYTES: usize = 255;

/// The name of a trust domain: lower-case letters, digits, `.`, `-` and `_`.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct TrustDomain(String);

/// Why a text is no trust domain. Fault: whoever wrote it.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum TrustDomainError {
    /// Fault: whoever wrote it.
    #[error("a trust domain has 1 to {MAX_TRUST_DOMAIN_BYTES} characters")]
    Length,
    /// Fault: whoever wrote it.
    #[error(
        "`{found}` cannot stand in a trust domain: use lower-case letters, digits, `.`, `-` and `_`"
    )]
    Character {
        /// The first such character.
        found: char,
    },
}

impl TrustDomain {
    /// The name alone.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// The id of the trust domain itself, which has no path.
    #[must_use]
    pub fn id(&self) -> SpiffeId {
        SpiffeId::of_trust_domain(self)
    }

    /// The id with this path, which begins with `/`.
    ///
    /// # Errors
    /// When the path is none, or the id too long.
    pub fn join(&self, path: &str) -> Result<SpiffeId, IdError> {
        format!("spiffe://{self}{path}")
            .parse()
            .and_then(|id: SpiffeId| {
                // A path that does not begin with `/` would have lengthened the name.
                if id.trust_domain() == self {
                    Ok(id)
                } else {
                    Err(IdError::Path)
                }
            })
    }
}

impl FromStr for TrustDomain {
    type Err = TrustDomainError;

    fn from_str(name: &str) -> Result<Self, TrustDomainError> {
        if let Some(found) = name
            .chars()
            .find(|c| !matches!(c, 'a'..='z' | '0'..='9' | '.' | '-' | '_'))
        {
            return Err(TrustDomainError::Character { found });
        }
        if name.is_empty() || name.len() > MAX_TRUST_DOMAIN_BYTES {
            return Err(TrustDomainError::Length);
        }
        Ok(Self(name.to_owned()))
    }
}

impl TryFrom<String> for TrustDomain {
    type Error = TrustDomainError;

    fn try_from(name: String) -> Result<Self, TrustDomainError> {
        name.parse()
    }
}

impl From<TrustDomain> for String {
    fn from(domain: TrustDomain) -> Self {
        domain.0
    }
}

impl fmt::Display for TrustDomain {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_lower_case_and_not_empty() {
        assert!("prod.example-1_a".parse::<TrustDomain>().is_ok());
        for bad in [
            "", "Prod", "prod:1", "a@b", "a/b", "a b", "ü", "a%20b", "[::1]", "a\0",
        ] {
            assert!(bad.parse::<TrustDomain>().is_err(), "`{bad}`");
        }
        assert!("a".repeat(255).parse::<TrustDomain>().is_ok());
        assert_eq!(
            "a".repeat(256).parse::<TrustDomain>(),
            Err(TrustDomainError::Length)
        );
    }

    #[test]
    fn a_path_cannot_change_the_trust_domain() {
        let domain: TrustDomain = "prod".parse().unwrap();
        assert_eq!(domain.join("/a").unwrap().to_string(), "spiffe://prod/a");
        assert_eq!(domain.join(".evil/a"), Err(IdError::Path));
        assert!(domain.join("").unwrap().path().is_empty());
    }
}
