#![doc = include_str!("../README.md")]

mod kem;
mod key;
mod schedule;
mod suite;

use aws_lc_rs::aead::Aad;
use zeroize::Zeroizing;

pub use crate::key::{KeyError, PrivateKey, PublicKey};
pub use crate::suite::{Suite, UnknownSuite};

/// One sealed message.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Sealed {
    /// The encapsulated key.
    pub enc: Vec<u8>,
    /// The ciphertext with its tag.
    pub ct: Vec<u8>,
}

/// Why a message was not sealed.
#[derive(Debug, thiserror::Error, PartialEq, Eq)]
#[non_exhaustive]
pub enum SealError {
    /// Fault: whoever published the key; a point of small order gives away every shared secret.
    #[error("nothing can be sealed to this public key")]
    UnusableKey,
    /// Fault: the caller; AES-GCM seals less than 64 GiB.
    #[error("the message is too long")]
    TooLong,
}

/// Why a message was not opened.
#[derive(Debug, thiserror::Error, PartialEq, Eq)]
#[non_exhaustive]
pub enum OpenError {
    /// Fault: whoever wrote the message.
    #[error("the encapsulated key has {found} bytes, `{suite}` has {expected}")]
    EncapsulatedKeyLength {
        /// Suite of the private key.
        suite: Suite,
        /// Length of this suite.
        expected: usize,
        /// Length that came.
        found: usize,
    },
    /// Fault: whoever wrote the message.
    #[error("the ciphertext is shorter than its tag")]
    Truncated,
    /// Fault: whoever wrote or changed the message, or it was sealed to another key or for another purpose. Which of these
    /// is not told, on purpose.
    #[error("the message does not open with this key, purpose and context")]
    Refused,
}

/// Seals `plaintext` to `recipient`. The same `info` (purpose) and `aad` (context) are needed to open it.
pub fn seal(
    recipient: &PublicKey,
    info: &[u8],
    aad: &[u8],
    plaintext: &[u8],
) -> Result<Sealed, SealError> {
    let (shared, enc) = kem::encapsulate(recipient).ok_or(SealError::UnusableKey)?;
    let (key, nonce) = schedule::key_and_nonce(recipient.suite(), &shared, info);
    let mut ct = plaintext.to_vec();
    key.seal_in_place_append_tag(nonce, Aad::from(aad), &mut ct)
        .map_err(|_| SealError::TooLong)?;
    Ok(Sealed { enc, ct })
}

/// Opens what was sealed to `recipient` with the same `info` and `aad`.
pub fn open(
    recipient: &PrivateKey,
    enc: &[u8],
    info: &[u8],
    aad: &[u8],
    ct: &[u8],
) -> Result<Zeroizing<Vec<u8>>, OpenError> {
    let suite = recipient.public_key().suite();
    if enc.len() != suite.encapsulated_key_len() {
        return Err(OpenError::EncapsulatedKeyLength {
            suite,
            expected: suite.encapsulated_key_len(),
            found: enc.len(),
        });
    }
    if ct.len() < TAG_LEN {
        return Err(OpenError::Truncated);
    }
    let shared = kem::decapsulate(recipient, enc).ok_or(OpenError::Refused)?;
    let (key, nonce) = schedule::key_and_nonce(suite, &shared, info);
    let mut buffer = Zeroizing::new(ct.to_vec());
    let length = key
        .open_in_place(nonce, Aad::from(aad), &mut buffer)
        .map_err(|_| OpenError::Refused)?
        .len();
    buffer.truncate(length);
    Ok(buffer)
}

const TAG_LEN: usize = 16;
