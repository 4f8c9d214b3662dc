//! Note keys: a name and an Ed25519 key (c2sp.org/signed-note, signature type `0x01`).

use std::fmt;
use std::str::FromStr;

use aws_lc_rs::signature::{ED25519, Ed25519KeyPair, KeyPair as _, UnparsedPublicKey};

use crate::hash::sha256;
use crate::text::{from_base64, to_base64, to_hex};

/// Signs notes under a name.
pub struct Signer {
    pair: Ed25519KeyPair,
    key: VerifierKey,
}

/// Verifies the notes of one signer; shown and parsed as `name+hash+base64`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct VerifierKey {
    name: String,
    public: [u8; 32],
}

/// Why a text is no key. Fault: whoever wrote it.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum KeyError {
    /// Fault: whoever chose the name.
    #[error(
        "`{name}` is not a key name: it is empty or has a space, a plus sign or a control character"
    )]
    Name {
        /// The name given.
        name: String,
    },
    /// Fault: whoever wrote the key.
    #[error("a verifier key is written `name+hash+base64`")]
    Malformed,
    /// Fault: whoever wrote the key.
    #[error("the key's hash is not that of its name and public key")]
    WrongHash,
    /// Fault: whoever chose the algorithm; only Ed25519 is known.
    #[error("the key is not an Ed25519 key")]
    UnknownAlgorithm,
}

impl Signer {
    /// The signer of this name with the key that the seed determines. The caller keeps and clears the seed.
    ///
    /// # Errors
    /// When the name is none that a note can carry.
    pub fn from_seed(name: &str, seed: &[u8; 32]) -> Result<Self, KeyError> {
        let name = valid_name(name)?;
        let pair =
            Ed25519KeyPair::from_seed_unchecked(seed).map_err(|_| KeyError::UnknownAlgorithm)?;
        let public = pair
            .public_key()
            .as_ref()
            .try_into()
            .map_err(|_| KeyError::UnknownAlgorithm)?;
        Ok(Self {
            pair,
            key: VerifierKey { name, public },
        })
    }

    /// The key's name.
    #[must_use]
    pub fn name(&self) -> &str {
        &self.key.name
    }

    /// What verifies this signer's notes.
    #[must_use]
    pub fn verifier_key(&self) -> VerifierKey {
        self.key.clone()
    }

    pub(crate) fn key_id(&self) -> [u8; 4] {
        self.key.key_id()
    }

    pub(crate) fn sign(&self, text: &str) -> Vec<u8> {
        self.pair.sign(text.as_bytes()).as_ref().to_vec()
    }
}

impl VerifierKey {
    /// A key from its name and the 32 bytes of the Ed25519 public key.
    ///
    /// # Errors
    /// When the name is none that a note can carry.
    pub fn new(name: &str, public: [u8; 32]) -> Result<Self, KeyError> {
        Ok(Self {
            name: valid_name(name)?,
            public,
        })
    }

    /// The key's name.
    #[must_use]
    pub fn name(&self) -> &str {
        &self.name
    }

    /// The Ed25519 public key.
    #[must_use]
    pub const fn public_key(&self) -> &[u8; 32] {
        &self.public
    }

    /// The first four bytes of the hash over name, algorithm and key; it tells keys of one name apart.
    #[must_use]
    pub fn key_id(&self) -> [u8; 4] {
        let hash = sha256(&[self.name.as_bytes(), b"\n", &[ALGORITHM], &self.public]);
        let [a, b, c, d, ..] = *hash.as_bytes();
        [a, b, c, d]
    }

    pub(crate) fn verifies(&self, text: &str, signature: &[u8]) -> bool {
        UnparsedPublicKey::new(&ED25519, &self.public)
            .verify(text.as_bytes(), signature)
            .is_ok()
    }
}

impl fmt::Display for VerifierKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let encoded = to_base64(&[&[ALGORITHM], self.public.as_slice()].concat());
        write!(f, "{}+{}+{encoded}", self.name, to_hex(&self.key_id()))
    }
}

impl FromStr for VerifierKey {
    type Err = KeyError;

    fn from_str(text: &str) -> Result<Self, KeyError> {
        let (name, rest) = text.split_once('+').ok_or(KeyError::Malformed)?;
        let (hash, encoded) = rest.split_once('+').ok_or(KeyError::Malformed)?;
        let encoded = from_base64(encoded).ok_or(KeyError::Malformed)?;
        let public = match encoded.split_first() {
            Some((&ALGORITHM, public)) => public.try_into().map_err(|_| KeyError::Malformed)?,
            _ => return Err(KeyError::UnknownAlgorithm),
        };
        let key = Self::new(name, public)?;
        if to_hex(&key.key_id()) == hash {
            Ok(key)
        } else {
            Err(KeyError::WrongHash)
        }
    }
}

pub(crate) fn is_name(text: &str) -> bool {
    !text.is_empty() && !text.contains(|c: char| c.is_whitespace() || c.is_control() || c == '+')
}

fn valid_name(name: &str) -> Result<String, KeyError> {
    if is_name(name) {
        Ok(name.to_owned())
    } else {
        Err(KeyError::Name {
            name: name.to_owned(),
        })
    }
}

const ALGORITHM: u8 = 0x01;

#[cfg(test)]
mod tests {
    use super::*;

    // From the documentation of golang.org/x/mod/sumdb/note.
    const PETER: &str = "PeterNeumann+c74f20a3+ARpc2QcUPDhMQegwxbzhKqiBfsVkmqq/LDE4izWy10TW";

    #[test]
    fn a_known_key_survives_the_round_trip() {
        let key: VerifierKey = PETER.parse().unwrap();
        assert_eq!(key.name(), "PeterNeumann");
        assert_eq!(key.to_string(), PETER);
        assert_eq!(key.key_id(), [0xc7, 0x4f, 0x20, 0xa3]);
    }

    #[test]
    fn a_key_under_another_name_is_refused() {
        assert_eq!(
            PETER.replace("Peter", "Paul").parse::<VerifierKey>(),
            Err(KeyError::WrongHash)
        );
        assert_eq!(
            PETER.replace("c74f20a3", "C74F20A3").parse::<VerifierKey>(),
            Err(KeyError::WrongHash)
        );
    }

    #[test]
    fn other_algorithms_are_refused() {
        assert_eq!(
            PETER.replace("+ARpc", "+Ahpc").parse::<VerifierKey>(),
            Err(KeyError::UnknownAlgorithm)
        );
    }

    #[test]
    fn malformed_keys_are_refused() {
        for bad in [
            "",
            "a",
            "a+b",
            "a+b+",
            "a+b+c",
            "+c74f20a3+AQ==",
            "a+00000000+AQ==",
            "a b+00000000+AQ==",
        ] {
            assert!(bad.parse::<VerifierKey>().is_err(), "`{bad}`");
        }
    }

    #[test]
    fn names_that_a_note_cannot_carry_are_refused() {
        for bad in ["", "a b", "a+b", "a\nb", "a\u{2003}b", "a\u{7f}b", "a\0"] {
            assert!(Signer::from_seed(bad, &[1; 32]).is_err(), "`{bad}`");
        }
    }
}
