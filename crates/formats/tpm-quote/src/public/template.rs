//! Templates (`TPMT_PUBLIC` bytes for `TPM2_CreatePrimary`) of the keys that attestation needs.

use super::parse::{ALG_AES, ALG_CFB, ALG_ECC, ALG_ECDSA, ALG_NULL, ALG_RSA};
use super::require::{POLICY_A_SHA256, POLICY_B_SHA384};
use super::{Attributes, Curve};
use crate::hash::HashAlgorithm;
use crate::wire::put_sized;

/// EK template L-1: RSA 2048, low range; its certificate lies in NV index `0x01c00002`.
#[must_use]
pub fn ek_rsa2048() -> Vec<u8> {
    let mut out = head(
        ALG_RSA,
        HashAlgorithm::Sha256,
        Attributes::LOW_RANGE_EK,
        &POLICY_A_SHA256,
    );
    put_all(&mut out, &[ALG_AES, 128, ALG_CFB, ALG_NULL, 2048]);
    out.extend_from_slice(&0_u32.to_be_bytes());
    put_sized(&mut out, &[0; 256]);
    out
}

/// EK template L-2: P-256, low range; its certificate lies in NV index `0x01c0000a`.
#[must_use]
pub fn ek_p256() -> Vec<u8> {
    let mut out = head(
        ALG_ECC,
        HashAlgorithm::Sha256,
        Attributes::LOW_RANGE_EK,
        &POLICY_A_SHA256,
    );
    put_all(
        &mut out,
        &[ALG_AES, 128, ALG_CFB, ALG_NULL, Curve::P256.id(), ALG_NULL],
    );
    put_sized(&mut out, &[0; 32]);
    put_sized(&mut out, &[0; 32]);
    out
}

/// EK template H-3: P-384, high range; its certificate lies in NV index `0x01c00016`.
#[must_use]
pub fn ek_p384() -> Vec<u8> {
    let attributes = Attributes::LOW_RANGE_EK | Attributes::USER_WITH_AUTH;
    let mut out = head(ALG_ECC, HashAlgorithm::Sha384, attributes, &POLICY_B_SHA384);
    put_all(
        &mut out,
        &[ALG_AES, 256, ALG_CFB, ALG_NULL, Curve::P384.id(), ALG_NULL],
    );
    put_sized(&mut out, &[]);
    put_sized(&mut out, &[]);
    out
}

/// An attestation key: P-256, ECDSA with SHA-256, restricted. The same `seed` gives the same key in the same TPM.
#[must_use]
pub fn attestation_key(seed: &[u8; 32]) -> Vec<u8> {
    signing_key(Some(Attributes::RESTRICTED), seed)
}

/// A node key: P-256, ECDSA with SHA-256, not restricted. The same `seed` gives the same key in the same TPM.
#[must_use]
pub fn node_key(seed: &[u8; 32]) -> Vec<u8> {
    signing_key(None, seed)
}

fn signing_key(restricted: Option<Attributes>, seed: &[u8; 32]) -> Vec<u8> {
    // No dictionary-attack protection: the authorisation value is empty, and a lock-out would stop attestation.
    let plain =
        Attributes::RESIDENT | Attributes::USER_WITH_AUTH | Attributes::NO_DA | Attributes::SIGN;
    let attributes = restricted.map_or(plain, |restricted| plain | restricted);
    let mut out = head(ALG_ECC, HashAlgorithm::Sha256, attributes, &[]);
    put_all(
        &mut out,
        &[
            ALG_NULL,
            ALG_ECDSA,
            HashAlgorithm::Sha256.id(),
            Curve::P256.id(),
            ALG_NULL,
        ],
    );
    put_sized(&mut out, seed);
    put_sized(&mut out, &[0; 32]);
    out
}

fn head(kind: u16, name: HashAlgorithm, attributes: Attributes, policy: &[u8]) -> Vec<u8> {
    let mut out = Vec::with_capacity(320);
    put_all(&mut out, &[kind, name.id()]);
    out.extend_from_slice(&attributes.bits().to_be_bytes());
    put_sized(&mut out, policy);
    out
}

fn put_all(out: &mut Vec<u8>, words: &[u16]) {
    for word in words {
        out.extend_from_slice(&word.to_be_bytes());
    }
}
