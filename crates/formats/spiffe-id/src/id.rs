//! SPIFFE ids (SPIFFE-ID section 2), read strictly and never normalised.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

use crate::{TrustDomain, TrustDomainError};

/// The longest id.
pub const MAX_ID_BYTES: usize = 2048;

/// An id: a trust domain and a path, which may be empty.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct SpiffeId {
    trust_domain: TrustDomain,
    // INVARIANT: empty, or segments that begin with `/`.
    path: String,
}

/// Why a text is no id. Fault: whoever wrote it.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum IdError {
    /// Fault: whoever wrote it.
    #[error("a SPIFFE id has at most {MAX_ID_BYTES} bytes")]
    TooLong,
    /// Fault: whoever wrote it.
    #[error("a SPIFFE id begins with `spiffe://`")]
    Scheme,
    /// Fault: whoever wrote it.
    #[error("the id's trust domain is malformed")]
    TrustDomain(#[source] TrustDomainError),
    /// Fault: whoever wrote it.
    #[error("`{found}` cannot stand in a path: use letters, digits, `.`, `-` and `_`")]
    Character {
        /// The first such character.
        found: char,
    },
    /// Fault: whoever wrote it.
    #[error("a path begins with `/` and has no segment that is empty, `.` or `..`")]
    Path,
}

impl SpiffeId {
    /// The trust domain that vouches for the id.
    #[must_use]
    pub const fn trust_domain(&self) -> &TrustDomain {
        &self.trust_domain
    }

    /// The path, with its first `/`; empty for the trust domain itself.
    #[must_use]
    pub fn path(&self) -> &str {
        &self.path
    }

    /// The path's segments.
    pub fn segments(&self) -> impl Iterator<Item = &str> {
        self.path.split('/').skip(1)
    }

    /// Whether the id is of this trust domain.
    #[must_use]
    pub fn is_member_of(&self, domain: &TrustDomain) -> bool {
        self.trust_domain == *domain
    }

    pub(crate) fn of_trust_domain(domain: &TrustDomain) -> Self {
        Self {
            trust_domain: domain.clone(),
            path: String::new(),
        }
    }
}

impl FromStr for SpiffeId {
    type Err = IdError;

    fn from_str(text: &str) -> Result<Self, IdError> {
        if text.len() > MAX_ID_BYTES {
            return Err(IdError::TooLong);
        }
        let rest = text.strip_prefix("spiffe://").ok_or(IdError::Scheme)?;
        let (name, path) = rest.split_at(rest.find('/').unwrap_or(rest.len()));
        let trust_domain = name.parse().map_err(IdError::TrustDomain)?;
        check_path(path)?;
        Ok(Self {
            trust_domain,
            path: path.to_owned(),
        })
    }
}

impl TryFrom<String> for SpiffeId {
    type Error = IdError;

    fn try_from(text: String) -> Result<Self, IdError> {
        text.parse()
    }
}

impl From<SpiffeId> for String {
    fn from(id: SpiffeId) -> Self {
        id.to_string()
    }
}

impl fmt::Display for SpiffeId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "spiffe://{}{}", self.trust_domain, self.path)
    }
}

fn check_path(path: &str) -> Result<(), IdError> {
    // Percent signs are refused with all else: two spellings of one id would be two ids.
    let plain = |c: &char| c.is_ascii_alphanumeric() || matches!(c, '/' | '.' | '-' | '_');
    if let Some(found) = path.chars().find(|c| !plain(c)) {
        return Err(IdError::Character { found });
    }
    let segments = path.split('/').skip(1);
    if segments
        .into_iter()
        .any(|segment| matches!(segment, "" | "." | ".."))
    {
        return Err(IdError::Path);
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_id_is_a_trust_domain_and_a_path() {
        let id: SpiffeId = "spiffe://prod.example/ns/Records/sa/reader_1"
            .parse()
            .unwrap();
        assert_eq!(id.trust_domain().as_str(), "prod.example");
        assert_eq!(
            id.segments().collect::<Vec<_>>(),
            ["ns", "Records", "sa", "reader_1"]
        );
        assert_eq!(id.to_string().parse(), Ok(id));
        assert_eq!(
            "spiffe://prod"
                .parse::<SpiffeId>()
                .unwrap()
                .segments()
                .count(),
            0
        );
    }

    #[test]
    fn other_uris_are_refused() {
        for bad in [
            "",
            "spiffe:",
            "spiffe:/",
            "spiffe://",
            "spiffe:///a",
            "SPIFFE://prod/a",
            "https://prod/a",
            "spiffe://prod/",
            "spiffe://prod/a/",
            "spiffe://prod//a",
            "spiffe://prod/./a",
            "spiffe://prod/..",
            "spiffe://prod/a?b",
            "spiffe://prod/a#b",
            "spiffe://prod?b",
            "spiffe://prod:8/a",
            "spiffe://u@prod/a",
            "spiffe://Prod/a",
            "spiffe://prod/a%2fb",
            "spiffe://prod/ü",
            "spiffe://prod/a b",
            " spiffe://prod/a",
            "spiffe://prod/a\n",
            "spiffe://prod/a\0",
        ] {
            assert!(bad.parse::<SpiffeId>().is_err(), "`{}`", bad.escape_debug());
        }
    }

    #[test]
    fn ids_of_2048_bytes_are_read_and_longer_ones_refused() {
        let id = |length: usize| format!("spiffe://prod/{:a<width$}", "", width = length - 14);
        assert!(id(2048).parse::<SpiffeId>().is_ok());
        assert_eq!(id(2049).parse::<SpiffeId>(), Err(IdError::TooLong));
    }
}
