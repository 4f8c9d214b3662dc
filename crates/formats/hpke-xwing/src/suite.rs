//! The two suites and their names.

use std::fmt;
use std::str::FromStr;

/// KEM, KDF and AEAD of a key; a key belongs to exactly one suite.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Suite {
    /// X-Wing (X25519 and ML-KEM-768), HKDF-SHA256, AES-256-GCM.
    XWing,
    /// DHKEM(X25519, HKDF-SHA256), HKDF-SHA256, AES-256-GCM.
    X25519,
}

/// The name is not that of a suite.
#[derive(Debug, thiserror::Error, PartialEq, Eq)]
#[error("unknown HPKE suite")]
pub struct UnknownSuite;

impl Suite {
    /// Every suite, best first.
    pub const ALL: [Self; 2] = [Self::XWing, Self::X25519];

    /// The name in packets and key documents.
    pub const fn name(self) -> &'static str {
        match self {
            Self::XWing => "xwing-hkdfsha256-aes256gcm",
            Self::X25519 => "x25519-hkdfsha256-aes256gcm",
        }
    }

    /// Length of a serialised public key.
    pub const fn public_key_len(self) -> usize {
        match self {
            Self::XWing => ML_KEM_PUBLIC_LEN + X25519_LEN,
            Self::X25519 => X25519_LEN,
        }
    }

    /// Length of an encapsulated key.
    pub const fn encapsulated_key_len(self) -> usize {
        match self {
            Self::XWing => ML_KEM_CIPHERTEXT_LEN + X25519_LEN,
            Self::X25519 => X25519_LEN,
        }
    }

    pub(crate) const fn kem_id(self) -> u16 {
        match self {
            Self::XWing => 0x647a,
            Self::X25519 => 0x0020,
        }
    }
}

impl fmt::Display for Suite {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

impl FromStr for Suite {
    type Err = UnknownSuite;

    fn from_str(name: &str) -> Result<Self, UnknownSuite> {
        Self::ALL
            .into_iter()
            .find(|suite| suite.name() == name)
            .ok_or(UnknownSuite)
    }
}

pub(crate) const X25519_LEN: usize = 32;
pub(crate) const ML_KEM_PUBLIC_LEN: usize = 1184;
pub(crate) const ML_KEM_CIPHERTEXT_LEN: usize = 1088;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_read_back() {
        for suite in Suite::ALL {
            assert_eq!(suite.to_string().parse(), Ok(suite));
        }
    }

    #[test]
    fn a_name_in_other_letters_is_unknown() {
        assert_eq!(
            "XWING-hkdfsha256-aes256gcm".parse::<Suite>(),
            Err(UnknownSuite)
        );
        assert_eq!("".parse::<Suite>(), Err(UnknownSuite));
    }
}
