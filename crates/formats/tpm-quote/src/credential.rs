//! `TPM2_MakeCredential` without a TPM: a secret that only the TPM with this endorsement key opens, and only while the
//! key with that name is loaded in it (Library part 1, 24).

use aws_lc_rs::agreement::{ECDH_P256, ECDH_P384, PrivateKey, UnparsedPublicKey, agree};
use aws_lc_rs::cipher::{AES_128, AES_256, EncryptingKey, EncryptionContext, UnboundCipherKey};
use aws_lc_rs::iv::FixedLength;
use aws_lc_rs::rand;
use aws_lc_rs::rsa::{
    OAEP_SHA256_MGF1SHA256, OAEP_SHA384_MGF1SHA384, OaepPublicEncryptingKey, PublicEncryptingKey,
};
use zeroize::Zeroizing;

use crate::hash::HashAlgorithm;
use crate::kdf::{kdf_a, kdf_e};
use crate::public::{Curve, Key, Name, PublicArea, Symmetric, UnfitKey};
use crate::wire::put_sized;

/// What goes to the TPM. Neither part is secret.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Credential {
    /// The `TPM2B_ID_OBJECT`: the encrypted secret and its integrity value.
    pub id_object: Vec<u8>,
    /// The `TPM2B_ENCRYPTED_SECRET`: the seed, for the endorsement key.
    pub encrypted_secret: Vec<u8>,
}

/// Why no credential was made.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum CredentialError {
    /// Fault: whoever offered the endorsement key.
    #[error("the key can't receive a credential")]
    UnfitKey {
        /// What it lacks.
        #[source]
        source: UnfitKey,
    },
    /// Fault: the caller; a credential carries between 1 byte and one digest of the endorsement key's name algorithm.
    #[error("a credential can't carry {size} bytes")]
    SecretSize {
        /// How many bytes were given.
        size: usize,
    },
    /// Fault: whoever offered the endorsement key: it is no point of its curve, or no RSA modulus.
    #[error("the endorsement key is not a valid key")]
    InvalidKey,
}

/// Makes a credential for the TPM of `ek` that opens only beside the key named `ak_name`.
///
/// The seed, and for curves the ephemeral key, come from the cryptographic library's generator.
///
/// # Errors
/// When `ek` is not made from an endorsement key template, is no valid key, or the secret's size does not fit.
pub fn make_credential(
    ek: &PublicArea,
    ak_name: &Name,
    secret: &[u8],
) -> Result<Credential, CredentialError> {
    ek.require_ek()
        .map_err(|source| CredentialError::UnfitKey { source })?;
    let hash = ek.name_algorithm();
    if secret.is_empty() || secret.len() > hash.size() {
        return Err(CredentialError::SecretSize { size: secret.len() });
    }
    let (seed, encrypted_seed) = match &ek.key {
        Key::Rsa { .. } => rsa_seed(ek, hash),
        Key::Ecc { curve, x, y, .. } => ecc_seed(*curve, x, y, hash),
    }
    .ok_or(CredentialError::InvalidKey)?;
    let id_object = wrap(ek.key.symmetric(), hash, &seed, ak_name, secret)
        .ok_or(CredentialError::InvalidKey)?;
    let mut encrypted_secret = Vec::with_capacity(encrypted_seed.len() + 2);
    put_sized(&mut encrypted_secret, &encrypted_seed);
    Ok(Credential {
        id_object,
        encrypted_secret,
    })
}

type Seed = Zeroizing<Vec<u8>>;

/// A random seed, encrypted with OAEP under the label "IDENTITY\0" (part 1, B.10.4).
fn rsa_seed(ek: &PublicArea, hash: HashAlgorithm) -> Option<(Seed, Vec<u8>)> {
    let mut seed = Zeroizing::new(vec![0; hash.size()]);
    rand::fill(&mut seed).ok()?;
    let key = PublicEncryptingKey::from_der(&ek.spki_der()).ok()?;
    let key = OaepPublicEncryptingKey::new(key).ok()?;
    let algorithm = match hash {
        HashAlgorithm::Sha256 => &OAEP_SHA256_MGF1SHA256,
        HashAlgorithm::Sha384 => &OAEP_SHA384_MGF1SHA384,
    };
    let mut ciphertext = vec![0; key.ciphertext_size()];
    let written = key
        .encrypt(algorithm, &seed, &mut ciphertext, Some(b"IDENTITY\0"))
        .ok()?
        .len();
    ciphertext.truncate(written);
    Some((seed, ciphertext))
}

/// A seed agreed with an ephemeral key, whose public point is what is sent (part 1, C.6.4).
fn ecc_seed(curve: Curve, x: &[u8], y: &[u8], hash: HashAlgorithm) -> Option<(Seed, Vec<u8>)> {
    let algorithm = match curve {
        Curve::P256 => &ECDH_P256,
        Curve::P384 => &ECDH_P384,
    };
    let ephemeral = PrivateKey::generate(algorithm).ok()?;
    let public = ephemeral.compute_public_key().ok()?;
    let (ephemeral_x, ephemeral_y) = public.as_ref().get(1..)?.split_at_checked(curve.width())?;
    let peer = UnparsedPublicKey::new(algorithm, [&[4], x, y].concat());
    let bits = u16::try_from(hash.size() * 8).ok()?;
    let seed = agree(&ephemeral, peer, (), |shared| {
        Ok(kdf_e(hash, shared, "IDENTITY", [ephemeral_x, x], bits))
    })
    .ok()?;
    let mut point = Vec::with_capacity(2 * curve.width() + 4);
    put_sized(&mut point, ephemeral_x);
    put_sized(&mut point, ephemeral_y);
    Some((seed, point))
}

/// Encrypts the secret and binds it to the name (part 1, 24.4 and 24.5).
fn wrap(
    symmetric: Symmetric,
    hash: HashAlgorithm,
    seed: &[u8],
    name: &Name,
    secret: &[u8],
) -> Option<Vec<u8>> {
    let (cipher, bits) = match symmetric {
        Symmetric::Aes { bits: bits @ 128 } => (&AES_128, bits),
        Symmetric::Aes { bits: bits @ 256 } => (&AES_256, bits),
        _ => return None,
    };
    let storage_key = kdf_a(hash, seed, "STORAGE", [name.as_bytes(), &[]], bits);
    let mut identity = Zeroizing::new(Vec::with_capacity(secret.len() + 2));
    put_sized(&mut identity, secret);
    // The initialisation vector is zero by specification: each credential has its own seed, so its own key.
    let context = EncryptionContext::Iv128(FixedLength::from([0; 16]));
    let key = EncryptingKey::cfb128(UnboundCipherKey::new(cipher, &storage_key).ok()?).ok()?;
    key.less_safe_encrypt(&mut identity, context).ok()?;
    let integrity_bits = u16::try_from(hash.size() * 8).ok()?;
    let integrity_key = kdf_a(hash, seed, "INTEGRITY", [&[], &[]], integrity_bits);
    let integrity = hash.hmac(&integrity_key, &[&identity, name.as_bytes()]);
    let mut object = Vec::with_capacity(integrity.len() + identity.len() + 2);
    put_sized(&mut object, &integrity);
    object.extend_from_slice(&identity);
    let mut out = Vec::with_capacity(object.len() + 2);
    put_sized(&mut out, &object);
    Some(out)
}
