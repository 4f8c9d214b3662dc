//! Keys that sign and keys that verify.

use std::fmt;

use aws_lc_rs::rand::SystemRandom;
use aws_lc_rs::rsa::PublicKeyComponents;
use aws_lc_rs::signature::{self, EcdsaKeyPair, KeyPair as _, ParsedPublicKey};
use zeroize::Zeroizing;

use crate::algorithm::Algorithm;
use crate::jwk::{Curve, Jwk, JwkError, Material};

/// Why nothing was signed.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum SignError {
    /// Fault: the caller; header and signer disagree.
    #[error("header says algorithm `{said}`, the signer makes `{signer}`")]
    WrongAlgorithm {
        /// What the header says.
        said: Algorithm,
        /// What the signer makes.
        signer: Algorithm,
    },
    /// Fault: whatever holds the key (a module, a device).
    #[error("signer `{signer}` did not sign")]
    Failed {
        /// Which signer.
        signer: &'static str,
    },
}

/// Why a private key was not accepted or not made.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum PrivateKeyError {
    /// Fault: whoever made the key; it is not one of the wanted kind.
    #[error("private key is not a {kind} key that is understood")]
    Rejected {
        /// What was wanted.
        kind: &'static str,
    },
    /// Fault: this machine; its cryptographic library refused to make a key.
    #[error("no private key could be made")]
    NotMade,
}

/// Something that signs: a key in memory, a TPM, a token.
pub trait Signer: Send + Sync {
    /// The one algorithm that it makes.
    fn algorithm(&self) -> Algorithm;

    /// Signs the message in JWS form: for ECDSA `r ‖ s`, each of the coordinate's length.
    fn sign(&self, message: &[u8]) -> Result<Vec<u8>, SignError>;
}

/// A public key together with the one algorithm that it may verify.
#[derive(Clone)]
pub struct VerifyingKey {
    algorithm: Algorithm,
    key: ParsedPublicKey,
}

impl VerifyingKey {
    /// A key that itself says its algorithm: by its curve, or by `alg` for RSA.
    pub fn from_jwk(jwk: &Jwk) -> Result<Self, JwkError> {
        Self::with_algorithm(jwk, Algorithm::of(jwk)?)
    }

    /// A key for an algorithm that the caller chooses; the two must fit, and must not contradict the key's `alg`.
    pub fn with_algorithm(jwk: &Jwk, algorithm: Algorithm) -> Result<Self, JwkError> {
        let algorithm = algorithm.fits(jwk)?;
        if jwk.alg().is_some_and(|alg| alg != algorithm.name()) {
            return Err(JwkError::WrongAlgorithm { algorithm });
        }
        let key = match jwk.material() {
            Material::Ec { curve, point } => ParsedPublicKey::new(ecdsa(*curve), point),
            Material::Rsa { n, e } => {
                PublicKeyComponents { n, e }.to_parsed_public_key(rsa(algorithm))
            }
        };
        let kind = if jwk.ec_point().is_some() {
            "EC"
        } else {
            "RSA"
        };
        key.map(|key| Self { algorithm, key })
            .map_err(|_| JwkError::Invalid { kind })
    }

    /// The algorithm.
    pub fn algorithm(&self) -> Algorithm {
        self.algorithm
    }

    /// Whether the signature (JWS form) is this key's over the message.
    pub fn verifies(&self, message: &[u8], signature: &[u8]) -> bool {
        self.key.verify_sig(message, signature).is_ok()
    }
}

impl fmt::Debug for VerifyingKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("VerifyingKey")
            .field("algorithm", &self.algorithm)
            .finish_non_exhaustive()
    }
}

/// A P-256 key in memory that signs ES256.
pub struct EcdsaP256Key {
    pair: EcdsaKeyPair,
    public: Jwk,
}

impl EcdsaP256Key {
    /// A new key from the system's randomness.
    pub fn generate() -> Result<Self, PrivateKeyError> {
        let pair = EcdsaKeyPair::generate(&signature::ECDSA_P256_SHA256_FIXED_SIGNING)
            .map_err(|_| PrivateKeyError::NotMade)?;
        Self::from_pair(pair)
    }

    /// A key from an unencrypted PKCS#8 document.
    pub fn from_pkcs8(der: &[u8]) -> Result<Self, PrivateKeyError> {
        let pair = EcdsaKeyPair::from_pkcs8(&signature::ECDSA_P256_SHA256_FIXED_SIGNING, der)
            .map_err(|_| REJECTED)?;
        Self::from_pair(pair)
    }

    /// The key as a PKCS#8 document, unencrypted.
    pub fn to_pkcs8(&self) -> Result<Zeroizing<Vec<u8>>, PrivateKeyError> {
        let document = self
            .pair
            .to_pkcs8v1()
            .map_err(|_| PrivateKeyError::NotMade)?;
        Ok(Zeroizing::new(document.as_ref().to_vec()))
    }

    /// The public half, without `kid` or `alg`.
    pub fn public_jwk(&self) -> &Jwk {
        &self.public
    }

    /// The public half, ready to verify ES256.
    pub fn verifying_key(&self) -> Result<VerifyingKey, JwkError> {
        VerifyingKey::from_jwk(&self.public)
    }

    fn from_pair(pair: EcdsaKeyPair) -> Result<Self, PrivateKeyError> {
        let public =
            Jwk::from_ec_point(Curve::P256, pair.public_key().as_ref()).map_err(|_| REJECTED)?;
        Ok(Self { pair, public })
    }
}

impl Signer for EcdsaP256Key {
    fn algorithm(&self) -> Algorithm {
        Algorithm::Es256
    }

    fn sign(&self, message: &[u8]) -> Result<Vec<u8>, SignError> {
        let signature = self.pair.sign(&SystemRandom::new(), message);
        signature
            .map(|signature| signature.as_ref().to_vec())
            .map_err(|_| SignError::Failed { signer: "memory" })
    }
}

const REJECTED: PrivateKeyError = PrivateKeyError::Rejected { kind: "P-256" };

fn ecdsa(curve: Curve) -> &'static signature::EcdsaVerificationAlgorithm {
    match curve {
        Curve::P256 => &signature::ECDSA_P256_SHA256_FIXED,
        Curve::P384 => &signature::ECDSA_P384_SHA384_FIXED,
        Curve::P521 => &signature::ECDSA_P521_SHA512_FIXED,
    }
}

/// ECDSA algorithms never get here: `Algorithm::fits` came first.
fn rsa(algorithm: Algorithm) -> &'static signature::RsaParameters {
    match algorithm {
        Algorithm::Rs384 => &signature::RSA_PKCS1_2048_8192_SHA384,
        Algorithm::Rs512 => &signature::RSA_PKCS1_2048_8192_SHA512,
        Algorithm::Ps256 => &signature::RSA_PSS_2048_8192_SHA256,
        Algorithm::Ps384 => &signature::RSA_PSS_2048_8192_SHA384,
        Algorithm::Ps512 => &signature::RSA_PSS_2048_8192_SHA512,
        _ => &signature::RSA_PKCS1_2048_8192_SHA256,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_key_survives_pkcs8() {
        let key = EcdsaP256Key::generate().unwrap();
        let again = EcdsaP256Key::from_pkcs8(&key.to_pkcs8().unwrap()).unwrap();
        assert_eq!(key.public_jwk(), again.public_jwk());
        let signature = again.sign(b"message").unwrap();
        assert!(
            key.verifying_key()
                .unwrap()
                .verifies(b"message", &signature)
        );
        assert!(
            !key.verifying_key()
                .unwrap()
                .verifies(b"massage", &signature)
        );
    }

    #[test]
    fn an_ec_key_verifies_one_algorithm_only() {
        let key = EcdsaP256Key::generate().unwrap();
        for algorithm in Algorithm::ALL {
            let fits = VerifyingKey::with_algorithm(key.public_jwk(), algorithm).is_ok();
            assert_eq!(fits, algorithm == Algorithm::Es256, "{algorithm}");
        }
    }

    #[test]
    fn a_key_that_names_another_algorithm_is_refused() {
        let key = EcdsaP256Key::generate()
            .unwrap()
            .public_jwk()
            .clone()
            .with_alg("ES384");
        assert!(VerifyingKey::from_jwk(&key).is_err());
        assert!(VerifyingKey::with_algorithm(&key, Algorithm::Es256).is_err());
    }
}
