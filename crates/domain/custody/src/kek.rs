//! The key that wraps the server's keys. Where it comes from is the binary's business (passphrase file, systemd
//! credential); here its bytes become an AES-256-GCM key that is bound to what it wraps.

use std::num::NonZeroU32;

use aws_lc_rs::{
    aead::{AES_256_GCM, Aad, Nonce, RandomizedNonceKey},
    hkdf, pbkdf2,
};
use zeroize::Zeroizing;

/// A key-encryption key in memory. Neither shown nor copied.
pub struct Kek {
    key: RandomizedNonceKey,
    provider: &'static str,
}

/// A key can't be wrapped or unwrapped.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum KekError {
    /// Fault: whoever configured the provider.
    #[error("the key-encryption key is too short: {found} bytes, at least 32 are needed")]
    TooShort {
        /// The length found.
        found: usize,
    },
    /// Fault: whoever configured the provider: another key, or wrapped bytes that were changed.
    #[error("the wrapped key does not open with this key-encryption key")]
    NotOurs,
    /// Fault: this machine.
    #[error("the cryptographic library failed")]
    Failed,
}

impl Kek {
    /// From a passphrase: PBKDF2-HMAC-SHA256 over `salt`, at least 16 bytes, which is kept beside the wrapped keys.
    ///
    /// # Errors
    /// [`KekError::Failed`]
    pub fn from_passphrase(passphrase: &[u8], salt: &[u8]) -> Result<Self, KekError> {
        let mut key = Zeroizing::new([0; 32]);
        let iterations = NonZeroU32::new(ITERATIONS).ok_or(KekError::Failed)?;
        pbkdf2::derive(
            pbkdf2::PBKDF2_HMAC_SHA256,
            iterations,
            salt,
            passphrase,
            key.as_mut_slice(),
        );
        Self::from_key(&key, "passphrase-file")
    }

    /// From at least 32 bytes of key material, such as a systemd credential.
    ///
    /// # Errors
    /// [`KekError`]
    pub fn from_material(material: &[u8]) -> Result<Self, KekError> {
        if material.len() < 32 {
            return Err(KekError::TooShort {
                found: material.len(),
            });
        }
        let mut key = Zeroizing::new([0; 32]);
        hkdf::Salt::new(hkdf::HKDF_SHA256, b"bailiwick/kek/v1")
            .extract(material)
            .expand(&[b"aes-256-gcm"], hkdf::HKDF_SHA256)
            .and_then(|okm| okm.fill(key.as_mut_slice()))
            .map_err(|_| KekError::Failed)?;
        Self::from_key(&key, "systemd-credential")
    }

    fn from_key(key: &[u8; 32], provider: &'static str) -> Result<Self, KekError> {
        let key = RandomizedNonceKey::new(&AES_256_GCM, key).map_err(|_| KekError::Failed)?;
        Ok(Self { key, provider })
    }

    /// The provider's name, for `status`.
    pub fn provider(&self) -> &'static str {
        self.provider
    }

    /// Wraps a key, bound to its purpose and name: nonce ‖ ciphertext ‖ tag.
    ///
    /// # Errors
    /// [`KekError::Failed`]
    pub fn wrap(&self, purpose: &str, name: &str, key: &[u8]) -> Result<Vec<u8>, KekError> {
        let mut buffer = key.to_vec();
        let nonce = self
            .key
            .seal_in_place_append_tag(Aad::from(context(purpose, name)), &mut buffer)
            .map_err(|_| KekError::Failed)?;
        Ok([nonce.as_ref().as_slice(), &buffer].concat())
    }

    /// Unwraps what [`Kek::wrap`] made for the same purpose and name.
    ///
    /// # Errors
    /// [`KekError::NotOurs`]
    pub fn unwrap(
        &self,
        purpose: &str,
        name: &str,
        wrapped: &[u8],
    ) -> Result<Zeroizing<Vec<u8>>, KekError> {
        let (nonce, rest) = wrapped.split_first_chunk::<12>().ok_or(KekError::NotOurs)?;
        let mut buffer = Zeroizing::new(rest.to_vec());
        let opened = self
            .key
            .open_in_place(
                Nonce::from(nonce),
                Aad::from(context(purpose, name)),
                &mut buffer,
            )
            .map_err(|_| KekError::NotOurs)?
            .len();
        buffer.truncate(opened);
        Ok(buffer)
    }
}

fn context(purpose: &str, name: &str) -> Vec<u8> {
    format!("bailiwick/wrapped-key/v1\0{purpose}\0{name}").into_bytes()
}

const ITERATIONS: u32 = 600_000;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_wrapped_key_opens_only_for_its_purpose_and_name() {
        let kek = Kek::from_material(&[7; 32]).unwrap();
        let wrapped = kek.wrap("image", "medrec", b"key").unwrap();
        assert_eq!(
            kek.unwrap("image", "medrec", &wrapped).unwrap().as_slice(),
            b"key"
        );
        assert_eq!(
            kek.unwrap("image", "other", &wrapped).err(),
            Some(KekError::NotOurs)
        );
        assert_eq!(
            kek.unwrap("dataset", "medrec", &wrapped).err(),
            Some(KekError::NotOurs)
        );
    }

    #[test]
    fn another_kek_and_changed_bytes_are_refused() {
        let kek = Kek::from_material(&[7; 32]).unwrap();
        let mut wrapped = kek.wrap("image", "medrec", b"key").unwrap();
        let other = Kek::from_material(&[8; 32]).unwrap();
        assert_eq!(
            other.unwrap("image", "medrec", &wrapped).err(),
            Some(KekError::NotOurs)
        );
        *wrapped.last_mut().unwrap() ^= 1;
        assert_eq!(
            kek.unwrap("image", "medrec", &wrapped).err(),
            Some(KekError::NotOurs)
        );
        assert_eq!(
            kek.unwrap("image", "medrec", &[]).err(),
            Some(KekError::NotOurs)
        );
    }

    #[test]
    fn short_material_is_refused() {
        assert_eq!(
            Kek::from_material(&[1; 31]).err(),
            Some(KekError::TooShort { found: 31 })
        );
    }
}
