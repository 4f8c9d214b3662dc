//! Encrypted texts (RFC 7516) for one or more recipients.
//!
//! Written: A256GCM with RSA-OAEP or ECDH-ES+A256KW, or as the recipient's JWK says in its `alg` (RSA-OAEP-256,
//! ECDH-ES+A128KW or +A192KW); flattened JSON for one recipient, general JSON for more.
//! Read: also the compact form, the other GCM sizes and CBC with HMAC, and a general text that repeats the first
//! recipient's `encrypted_key` at the top, which section 7.2 forbids and Go writes.

use aws_lc_rs::rand;
use zeroize::Zeroizing;

use self::content::ContentEncryption;
use self::message::Message;
use crate::jwk::JwkError;
use crate::strict_json::JsonError;

mod aes_kw;
mod concat_kdf;
mod content;
mod encode;
mod key;
mod message;
mod recipient;

pub(crate) use key::REJECTED as REJECTED_KEY;
pub use key::{DecryptionKey, EncryptionKey, KeyManagement};

/// Longest text that is read.
pub const MAX_LEN: usize = 1024 * 1024;
/// Most recipients that are read or written.
pub const MAX_RECIPIENTS: usize = 64;

/// Why nothing was encrypted.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum EncryptError {
    /// Fault: the caller; a text needs one to [`MAX_RECIPIENTS`] recipients.
    #[error("{count} recipients are not possible")]
    Recipients {
        /// How many were given.
        count: usize,
    },
    /// Fault: whoever made the key.
    #[error("recipient's key cannot be used")]
    Key {
        /// What is wrong with it.
        #[source]
        source: JwkError,
    },
    /// Fault: this machine; its cryptographic library refused.
    #[error("encryption failed")]
    Failed,
}

/// Why a text was not decrypted.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum DecryptError {
    /// Fault: whoever made the text; it is longer than [`MAX_LEN`] or has more than [`MAX_RECIPIENTS`] recipients.
    #[error("encrypted text is too large")]
    TooLarge,
    /// Fault: whoever made the text; it is not JSON of the right shape, or has a member twice.
    #[error("encrypted text is not acceptable JSON")]
    Json {
        /// What is wrong with it. Nothing in it is secret.
        #[source]
        source: JsonError,
    },
    /// Fault: whoever made the text; a part is missing, not canonical base64url, or of the wrong length.
    #[error("{part} of the encrypted text is missing or malformed")]
    Malformed {
        /// Which part.
        part: &'static str,
    },
    /// Fault: whoever made the text; it demands something that is not done here.
    #[error("encrypted text demands `{member}`, which is not supported")]
    Unsupported {
        /// The header member: `crit`, `zip` or `enc`.
        member: &'static str,
    },
    /// Fault: none; the text is for other keys.
    #[error("encrypted text is not for this key")]
    NotForThisKey,
    /// Fault: whoever changed the text; this key opens the key inside, and that does not open the content.
    #[error("encrypted text was altered")]
    Altered,
}

/// Encrypts for all recipients at once, with fresh keys from the system's randomness.
pub fn encrypt(plaintext: &[u8], recipients: &[EncryptionKey]) -> Result<String, EncryptError> {
    if recipients.is_empty() || recipients.len() > MAX_RECIPIENTS {
        return Err(EncryptError::Recipients {
            count: recipients.len(),
        });
    }
    let mut cek = Zeroizing::new([0; 32]);
    let mut iv = [0; 12];
    rand::fill(cek.as_mut())
        .and_then(|()| rand::fill(&mut iv))
        .map_err(|_| EncryptError::Failed)?;
    let sealed = recipients
        .iter()
        .map(|key| recipient::seal(key, cek.as_ref()))
        .collect::<Result<Vec<_>, _>>()?;
    let headers = encode::Headers::of(&sealed);
    let aad = headers.protected();
    let (ciphertext, tag) =
        content::seal_a256gcm(&cek, &iv, aad.as_bytes(), plaintext).ok_or(EncryptError::Failed)?;
    Ok(headers.into_text(sealed, &iv, &ciphertext, &tag))
}

/// Decrypts with one key, trying it on each recipient that it could be.
pub fn decrypt(text: &[u8], key: &DecryptionKey) -> Result<Zeroizing<Vec<u8>>, DecryptError> {
    let message = Message::parse(text)?;
    let mut outcome = DecryptError::NotForThisKey;
    for recipient in message.recipients() {
        let Some(cek) = recipient.open(key, message.content_encryption().key_len()) else {
            continue;
        };
        match message.open(&cek) {
            Some(plaintext) => return Ok(plaintext),
            None => outcome = DecryptError::Altered,
        }
    }
    Err(outcome)
}

#[cfg(test)]
mod tests;
