//! The short names of OpenPGP keys.

use std::fmt;
use std::str::FromStr;

/// How an OpenPGP packet names a key: eight bytes of its fingerprint. Short enough to be forged, so it is good to show and to
/// find, and proves nothing.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct PgpKeyId([u8; 8]);

/// A text is neither a key id nor a fingerprint. Fault: the caller.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("not a key id of 16 hexadecimal digits, nor a fingerprint")]
pub struct PgpKeyIdError;

impl PgpKeyId {
    /// The id of these bytes.
    pub const fn new(bytes: [u8; 8]) -> Self {
        Self(bytes)
    }

    /// The id of a key with this fingerprint: its end up to version 4, its beginning later.
    pub(super) fn of_fingerprint(version: u8, fingerprint: &[u8]) -> Option<Self> {
        match (version, fingerprint.len()) {
            (..=4, 20) => fingerprint.last_chunk().copied().map(Self),
            (5.., 32) => fingerprint.first_chunk().copied().map(Self),
            _ => None,
        }
    }
}

/// In capitals, as GnuPG shows it.
impl fmt::Display for PgpKeyId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&hex::encode_upper(self.0))
    }
}

/// Key ids and fingerprints, with or without `0x`.
impl FromStr for PgpKeyId {
    type Err = PgpKeyIdError;

    fn from_str(text: &str) -> Result<Self, PgpKeyIdError> {
        let digits = text.strip_prefix("0x").unwrap_or(text);
        let bytes = hex::decode(digits).map_err(|_| PgpKeyIdError)?;
        match bytes.len() {
            8 => bytes.first_chunk().copied().map(Self),
            20 => Self::of_fingerprint(4, &bytes),
            32 => Self::of_fingerprint(6, &bytes),
            _ => None,
        }
        .ok_or(PgpKeyIdError)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ids_and_fingerprints_name_the_same_key() {
        let id: PgpKeyId = "0x0123456789abcdef".parse().unwrap();
        assert_eq!(id.to_string(), "0123456789ABCDEF");
        let fingerprint = format!("{}0123456789ABCDEF", "AA".repeat(12));
        assert_eq!(fingerprint.parse(), Ok(id));
        let newer = format!("0123456789ABCDEF{}", "AA".repeat(24));
        assert_eq!(newer.parse(), Ok(id));
        for wrong in ["", "0x", "0123", "0123456789abcdeg", "89ABCDEF", "é"] {
            assert_eq!(wrong.parse::<PgpKeyId>(), Err(PgpKeyIdError), "{wrong}");
        }
    }
}
