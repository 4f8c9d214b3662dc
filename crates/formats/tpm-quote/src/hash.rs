//! The hash functions that are trusted. SHA-1 is not among them, so no code below can accept it by accident.

use aws_lc_rs::{digest, hmac};

use crate::wire::ParseError;

/// A hash function of the TPM's algorithm registry that this crate trusts.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum HashAlgorithm {
    /// SHA-256.
    Sha256,
    /// SHA-384.
    Sha384,
}

impl HashAlgorithm {
    /// The number in the TCG algorithm registry.
    #[must_use]
    pub const fn id(self) -> u16 {
        match self {
            Self::Sha256 => 0x000b,
            Self::Sha384 => 0x000c,
        }
    }

    /// Bytes in a digest.
    #[must_use]
    pub const fn size(self) -> usize {
        match self {
            Self::Sha256 => 32,
            Self::Sha384 => 48,
        }
    }

    /// The digest of `parts`, one after the other.
    #[must_use]
    pub fn digest(self, parts: &[&[u8]]) -> Vec<u8> {
        let mut context = digest::Context::new(match self {
            Self::Sha256 => &digest::SHA256,
            Self::Sha384 => &digest::SHA384,
        });
        for part in parts {
            context.update(part);
        }
        context.finish().as_ref().to_vec()
    }

    pub(crate) fn from_id(id: u16, what: &'static str) -> Result<Self, ParseError> {
        match id {
            0x000b => Ok(Self::Sha256),
            0x000c => Ok(Self::Sha384),
            other => Err(ParseError::Unsupported {
                what,
                value: other.into(),
            }),
        }
    }

    pub(crate) fn hmac(self, key: &[u8], parts: &[&[u8]]) -> Vec<u8> {
        let key = hmac::Key::new(
            match self {
                Self::Sha256 => hmac::HMAC_SHA256,
                Self::Sha384 => hmac::HMAC_SHA384,
            },
            key,
        );
        let mut context = hmac::Context::with_key(&key);
        for part in parts {
            context.update(part);
        }
        context.sign().as_ref().to_vec()
    }
}

/// SHA-256 of `bytes`.
pub(crate) fn sha256(bytes: &[u8]) -> [u8; 32] {
    let mut out = [0; 32];
    for (to, from) in out
        .iter_mut()
        .zip(digest::digest(&digest::SHA256, bytes).as_ref())
    {
        *to = *from;
    }
    out
}
