//! Keys that sign and keys that verify: P-256 with SHA-256, and Ed25519; RSA with SHA-256 (PKCS #1 v1.5) only verifies.

use std::fmt;

use aws_lc_rs::digest::{SHA256, digest};
use aws_lc_rs::rand::SystemRandom;
use aws_lc_rs::rsa::PublicEncryptingKey;
use aws_lc_rs::signature::{
    ECDSA_P256_SHA256_ASN1, ECDSA_P256_SHA256_ASN1_SIGNING, ED25519, EcdsaKeyPair, Ed25519KeyPair,
    KeyPair as _, ParsedPublicKey, RSA_PKCS1_2048_8192_SHA256,
};
use zeroize::Zeroizing;

use crate::key_file::{self, KeyFileError};

/// Nothing was signed, or no key was made. Fault: this machine.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("the cryptographic library did not do its work")]
pub struct NotSigned;

/// A public key.
#[derive(Clone)]
pub struct VerifyingKey {
    spki: Vec<u8>,
    key: ParsedPublicKey,
}

impl VerifyingKey {
    /// Reads a PEM file with one public key, such as `cosign.pub`.
    ///
    /// # Errors
    /// When it is anything else.
    pub fn from_pem(text: &str) -> Result<Self, KeyFileError> {
        Self::from_spki(&key_file::public_der(text)?)
    }

    /// Reads a `SubjectPublicKeyInfo`.
    ///
    /// # Errors
    /// When it is not of a P-256, Ed25519 or RSA key, or the RSA key has less than 2048 bits.
    pub fn from_spki(spki: &[u8]) -> Result<Self, KeyFileError> {
        let key = match (
            spki.strip_prefix(&P256_PREFIX),
            spki.strip_prefix(&EDWARDS_PREFIX),
        ) {
            (Some(point), _) if point.len() == 65 => {
                ParsedPublicKey::new(&ECDSA_P256_SHA256_ASN1, point)
            }
            (_, Some(point)) if point.len() == 32 => ParsedPublicKey::new(&ED25519, point),
            _ if is_rsa(spki) => {
                // The parser below lets short keys through, and only then no signature verifies.
                let long = PublicEncryptingKey::from_der(spki)
                    .is_ok_and(|key| key.key_size_bits() >= MIN_RSA_BITS);
                if !long {
                    return Err(KeyFileError::Rejected);
                }
                ParsedPublicKey::new(&RSA_PKCS1_2048_8192_SHA256, spki)
            }
            _ => return Err(KeyFileError::UnknownKey),
        };
        let key = key.map_err(|_| KeyFileError::Rejected)?;
        Ok(Self {
            spki: spki.to_vec(),
            key,
        })
    }

    /// The key as a PEM file.
    #[must_use]
    pub fn to_pem(&self) -> String {
        let config = pem::EncodeConfig::new().set_line_ending(pem::LineEnding::LF);
        pem::encode_config(&pem::Pem::new("PUBLIC KEY", self.spki.clone()), config)
    }

    /// SHA-256 of the `SubjectPublicKeyInfo` in hexadecimal, as Sigstore names keys.
    #[must_use]
    pub fn key_id(&self) -> String {
        hex::encode(digest(&SHA256, &self.spki))
    }

    /// Whether the signature is this key's over the message. For ECDSA: ASN.1 DER.
    #[must_use]
    pub fn verifies(&self, message: &[u8], signature: &[u8]) -> bool {
        self.key.verify_sig(message, signature).is_ok()
    }
}

impl PartialEq for VerifyingKey {
    fn eq(&self, other: &Self) -> bool {
        self.spki == other.spki
    }
}

impl Eq for VerifyingKey {}

impl fmt::Debug for VerifyingKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "VerifyingKey({})", self.key_id())
    }
}

/// A private key.
pub struct SigningKey {
    pair: Pair,
    public: VerifyingKey,
}

enum Pair {
    P256(EcdsaKeyPair),
    Edwards(Ed25519KeyPair),
}

impl SigningKey {
    /// Reads a PEM file with one unencrypted private key: PKCS#8, or for P-256 also RFC 5915.
    ///
    /// # Errors
    /// When it is anything else; an encrypted key has an error of its own.
    pub fn from_pem(text: &str) -> Result<Self, KeyFileError> {
        Self::from_der(&key_file::private_der(text)?)
    }

    /// Reads one unencrypted private key: PKCS#8, or for P-256 also RFC 5915.
    ///
    /// # Errors
    /// When it is anything else.
    pub fn from_der(der: &[u8]) -> Result<Self, KeyFileError> {
        let p256 = EcdsaKeyPair::from_private_key_der(&ECDSA_P256_SHA256_ASN1_SIGNING, der);
        let pair = match p256 {
            Ok(pair) => Pair::P256(pair),
            Err(_) => Ed25519KeyPair::from_pkcs8_maybe_unchecked(der)
                .map(Pair::Edwards)
                .map_err(|_| KeyFileError::UnknownKey)?,
        };
        Self::from_pair(pair)
    }

    /// A new P-256 key from the system's randomness.
    ///
    /// # Errors
    /// When the cryptographic library makes none.
    pub fn generate_p256() -> Result<Self, NotSigned> {
        let pair =
            EcdsaKeyPair::generate(&ECDSA_P256_SHA256_ASN1_SIGNING).map_err(|_| NotSigned)?;
        Self::from_pair(Pair::P256(pair)).map_err(|_| NotSigned)
    }

    /// A new Ed25519 key from the system's randomness.
    ///
    /// # Errors
    /// When the cryptographic library makes none.
    pub fn generate_ed25519() -> Result<Self, NotSigned> {
        let pair = Ed25519KeyPair::generate().map_err(|_| NotSigned)?;
        Self::from_pair(Pair::Edwards(pair)).map_err(|_| NotSigned)
    }

    /// The key as an unencrypted PKCS#8 PEM file.
    ///
    /// # Errors
    /// When the cryptographic library does not write it.
    pub fn to_pem(&self) -> Result<Zeroizing<String>, NotSigned> {
        let der = match &self.pair {
            Pair::P256(pair) => pair.to_pkcs8v1(),
            Pair::Edwards(pair) => pair.to_pkcs8v1(),
        };
        let der = der.map_err(|_| NotSigned)?;
        Ok(key_file::private_pem(der.as_ref()))
    }

    /// The public half.
    #[must_use]
    pub fn verifying_key(&self) -> VerifyingKey {
        self.public.clone()
    }

    /// A signature over the message as it is. For ECDSA: ASN.1 DER.
    ///
    /// # Errors
    /// When the cryptographic library does not sign.
    pub fn sign(&self, message: &[u8]) -> Result<Vec<u8>, NotSigned> {
        match &self.pair {
            Pair::P256(pair) => pair
                .sign(&SystemRandom::new(), message)
                .map(|signature| signature.as_ref().to_vec())
                .map_err(|_| NotSigned),
            Pair::Edwards(pair) => Ok(pair.sign(message).as_ref().to_vec()),
        }
    }

    fn from_pair(pair: Pair) -> Result<Self, KeyFileError> {
        let spki = match &pair {
            Pair::P256(pair) => [&P256_PREFIX, pair.public_key().as_ref()].concat(),
            Pair::Edwards(pair) => [&EDWARDS_PREFIX, pair.public_key().as_ref()].concat(),
        };
        let public = VerifyingKey::from_spki(&spki)?;
        Ok(Self { pair, public })
    }
}

/// A `SubjectPublicKeyInfo` of a P-256 key up to its uncompressed point; RFC 5480 leaves no other DER for it.
pub(crate) const P256_PREFIX: [u8; 26] = [
    0x30, 0x59, 0x30, 0x13, 0x06, 0x07, 0x2a, 0x86, 0x48, 0xce, 0x3d, 0x02, 0x01, 0x06, 0x08, 0x2a,
    0x86, 0x48, 0xce, 0x3d, 0x03, 0x01, 0x07, 0x03, 0x42, 0x00,
];
/// The same of an Ed25519 key (RFC 8410).
pub(crate) const EDWARDS_PREFIX: [u8; 12] = [
    0x30, 0x2a, 0x30, 0x05, 0x06, 0x03, 0x2b, 0x65, 0x70, 0x03, 0x21, 0x00,
];
/// A key of 1024 bits has a header of three bytes, longer ones of four.
fn is_rsa(spki: &[u8]) -> bool {
    let mut headers = [3, 4].iter().filter_map(|header| spki.get(*header..));
    headers.any(|rest| rest.starts_with(&RSA_ALGORITHM))
}

const MIN_RSA_BITS: usize = 2048;
/// The algorithm in a `SubjectPublicKeyInfo` of an RSA key (RFC 8017). It follows the outer header.
const RSA_ALGORITHM: [u8; 15] = [
    0x30, 0x0d, 0x06, 0x09, 0x2a, 0x86, 0x48, 0x86, 0xf7, 0x0d, 0x01, 0x01, 0x01, 0x05, 0x00,
];
