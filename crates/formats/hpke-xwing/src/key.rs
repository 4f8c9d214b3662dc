//! Key pairs of both suites.

use aws_lc_rs::{agreement, digest, kem, rand};
use ml_kem::array::Array;
use shake::{ExtendableOutput, Shake256, Update, XofReader};
use zeroize::Zeroizing;

use crate::suite::{ML_KEM_PUBLIC_LEN, Suite};

/// Why bytes are not a key.
#[derive(Debug, thiserror::Error, PartialEq, Eq)]
#[non_exhaustive]
pub enum KeyError {
    /// Fault: whoever made the key.
    #[error("the key has {found} bytes, a key of `{suite}` has {expected}")]
    Length {
        /// Suite that was asked for.
        suite: Suite,
        /// Length of this suite.
        expected: usize,
        /// Length that came.
        found: usize,
    },
    /// Fault: whoever made the key.
    #[error("the bytes are not a key of `{suite}`")]
    Malformed {
        /// Suite that was asked for.
        suite: Suite,
    },
    /// Fault: this machine; its source of randomness failed.
    #[error("no random bytes could be had")]
    NoRandomness,
}

/// A public key: anybody may have it, and whoever has it can seal.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PublicKey {
    suite: Suite,
    bytes: Vec<u8>,
    id: [u8; 32],
}

impl PublicKey {
    /// Reads a serialised public key; for X-Wing the ML-KEM part must be in range (FIPS 203, 7.2).
    pub fn from_bytes(suite: Suite, bytes: &[u8]) -> Result<Self, KeyError> {
        check_length(suite, suite.public_key_len(), bytes)?;
        if let (Suite::XWing, Some(ml_kem)) = (suite, bytes.get(..ML_KEM_PUBLIC_LEN)) {
            Array::try_from(ml_kem)
                .ok()
                .and_then(|key| ml_kem::EncapsulationKey768::new(&key).ok())
                .ok_or(KeyError::Malformed { suite })?;
        }
        Ok(Self::trusted(suite, bytes.to_vec()))
    }

    /// The serialised key.
    pub fn to_bytes(&self) -> &[u8] {
        &self.bytes
    }

    /// The suite of this key.
    pub fn suite(&self) -> Suite {
        self.suite
    }

    /// SHA-256 of the serialised key.
    pub fn id(&self) -> [u8; 32] {
        self.id
    }

    fn trusted(suite: Suite, bytes: Vec<u8>) -> Self {
        let mut id = [0; 32];
        id.copy_from_slice(digest::digest(&digest::SHA256, &bytes).as_ref());
        Self { suite, bytes, id }
    }
}

/// A private key; erased when dropped.
pub struct PrivateKey {
    seed: Zeroizing<[u8; 32]>,
    pub(crate) expanded: Expanded,
    public: PublicKey,
}

/// What the cryptographic library works with; it erases its memory itself.
pub(crate) enum Expanded {
    XWing {
        ml_kem: kem::DecapsulationKey,
        x25519: agreement::PrivateKey,
    },
    X25519(agreement::PrivateKey),
}

impl PrivateKey {
    /// Makes a new key pair.
    pub fn generate(suite: Suite) -> Result<Self, KeyError> {
        let mut seed = Zeroizing::new([0; 32]);
        rand::fill(seed.as_mut_slice()).map_err(|_| KeyError::NoRandomness)?;
        Self::from_bytes(suite, seed.as_slice())
    }

    /// Reads a private key: the seed for X-Wing, the scalar for X25519; 32 bytes in both suites.
    pub fn from_bytes(suite: Suite, bytes: &[u8]) -> Result<Self, KeyError> {
        check_length(suite, SEED_LEN, bytes)?;
        let mut seed = Zeroizing::new([0; SEED_LEN]);
        seed.copy_from_slice(bytes);
        let (expanded, public) = match suite {
            Suite::XWing => expand_xwing(&seed),
            Suite::X25519 => expand_x25519(&seed),
        }
        .ok_or(KeyError::Malformed { suite })?;
        Ok(Self {
            seed,
            expanded,
            public: PublicKey::trusted(suite, public),
        })
    }

    /// The 32 bytes from which this key can be read again.
    pub fn expose_bytes(&self) -> Zeroizing<Vec<u8>> {
        Zeroizing::new(self.seed.to_vec())
    }

    /// The public half.
    pub fn public_key(&self) -> &PublicKey {
        &self.public
    }
}

const SEED_LEN: usize = 32;

fn check_length(suite: Suite, expected: usize, bytes: &[u8]) -> Result<(), KeyError> {
    if bytes.len() == expected {
        return Ok(());
    }
    Err(KeyError::Length {
        suite,
        expected,
        found: bytes.len(),
    })
}

fn expand_x25519(scalar: &[u8; 32]) -> Option<(Expanded, Vec<u8>)> {
    let (private, public) = x25519_pair(scalar)?;
    Some((Expanded::X25519(private), public))
}

/// SHAKE256 over the seed gives 64 bytes for ML-KEM key generation and then 32 for X25519.
/// The library imports ML-KEM keys in expanded form only, so another one expands the seed, once per key.
fn expand_xwing(seed: &[u8; 32]) -> Option<(Expanded, Vec<u8>)> {
    let mut ml_kem_seed = Zeroizing::new([0; 64]);
    let mut x25519_seed = Zeroizing::new([0; 32]);
    let mut shake = Shake256::default();
    shake.update(seed);
    let mut output = shake.finalize_xof();
    output.read(ml_kem_seed.as_mut_slice());
    output.read(x25519_seed.as_mut_slice());

    let generated = ml_kem::DecapsulationKey768::from_seed((*ml_kem_seed).into());
    let ml_kem = import_ml_kem(&generated)?;
    let (x25519, x25519_public) = x25519_pair(&x25519_seed)?;
    let mut public = ml_kem::KeyExport::to_bytes(generated.encapsulation_key()).to_vec();
    public.extend_from_slice(&x25519_public);
    Some((Expanded::XWing { ml_kem, x25519 }, public))
}

#[expect(
    deprecated,
    reason = "aws-lc-rs reads nothing but the expanded form of FIPS 203"
)]
fn import_ml_kem(generated: &ml_kem::DecapsulationKey768) -> Option<kem::DecapsulationKey> {
    let expanded = Zeroizing::new(<[u8; 2400]>::from(
        ml_kem::ExpandedKeyEncoding::to_expanded_bytes(generated),
    ));
    kem::DecapsulationKey::new(&kem::ML_KEM_768, expanded.as_slice()).ok()
}

fn x25519_pair(scalar: &[u8; 32]) -> Option<(agreement::PrivateKey, Vec<u8>)> {
    let private = agreement::PrivateKey::from_private_key(&agreement::X25519, scalar).ok()?;
    let public = private.compute_public_key().ok()?.as_ref().to_vec();
    Some((private, public))
}
