//! The labelled key derivation of RFC 9180 and the key schedule of base mode.

use aws_lc_rs::aead::{AES_256_GCM, LessSafeKey, Nonce, UnboundKey};
use aws_lc_rs::hmac;
use zeroize::Zeroizing;

use crate::kem::Secret;
use crate::suite::Suite;

/// Key and nonce of the only message of this exchange.
#[expect(
    clippy::expect_used,
    reason = "the library refuses key or salt of a wrong length only, and theirs are fixed"
)]
pub(crate) fn key_and_nonce(suite: Suite, shared: &Secret, info: &[u8]) -> (LessSafeKey, Nonce) {
    let Schedule { key, nonce } = Schedule::base(suite.kem_id(), AEAD_AES_256_GCM, shared, info);
    let key = UnboundKey::new(&AES_256_GCM, key.as_slice()).expect("32 bytes are an AES-256 key");
    (LessSafeKey::new(key), Nonce::assume_unique_for_key(nonce))
}

/// LabeledExtract and LabeledExpand with HKDF-SHA256 (RFC 9180, 4).
pub(crate) struct Labelled {
    suite_id: Vec<u8>,
}

impl Labelled {
    /// Inside the KEM.
    pub(crate) fn kem(suite: Suite) -> Self {
        Self {
            suite_id: [b"KEM", suite.kem_id().to_be_bytes().as_slice()].concat(),
        }
    }

    fn hpke(kem: u16, aead: u16) -> Self {
        let ids = [kem, KDF_HKDF_SHA256, aead].map(u16::to_be_bytes);
        Self {
            suite_id: [b"HPKE", ids.as_flattened()].concat(),
        }
    }

    pub(crate) fn extract(&self, salt: &[u8], label: &str, material: &[u8]) -> Secret {
        // An absent salt is a string of zeros (RFC 5869, 2.2).
        let salt = if salt.is_empty() { &[0; 32] } else { salt };
        mac(salt, &[VERSION, &self.suite_id, label.as_bytes(), material])
    }

    /// Fills at most one block of HKDF, which is all that base mode with SHA-256 asks for.
    pub(crate) fn expand(&self, secret: &Secret, label: &str, info: &[u8], output: &mut [u8]) {
        let length = (output.len() as u16).to_be_bytes();
        let block = mac(
            secret.as_slice(),
            &[
                &length,
                VERSION,
                &self.suite_id,
                label.as_bytes(),
                info,
                &[1],
            ],
        );
        for (to, from) in output.iter_mut().zip(block.as_slice()) {
            *to = *from;
        }
    }
}

struct Schedule {
    key: Secret,
    nonce: [u8; 12],
}

impl Schedule {
    /// RFC 9180, 5.1: mode 0, no PSK.
    fn base(kem: u16, aead: u16, shared: &Secret, info: &[u8]) -> Self {
        let labelled = Labelled::hpke(kem, aead);
        let psk_id_hash = labelled.extract(&[], "psk_id_hash", &[]);
        let info_hash = labelled.extract(&[], "info_hash", info);
        let context = [&[0], psk_id_hash.as_slice(), info_hash.as_slice()].concat();
        let secret = labelled.extract(shared.as_slice(), "secret", &[]);
        let (mut key, mut nonce) = (Secret::default(), [0; 12]);
        labelled.expand(&secret, "key", &context, key.as_mut_slice());
        labelled.expand(&secret, "base_nonce", &context, &mut nonce);
        Self { key, nonce }
    }
}

const VERSION: &[u8] = b"HPKE-v1";
const KDF_HKDF_SHA256: u16 = 1;
const AEAD_AES_256_GCM: u16 = 2;

fn mac(key: &[u8], parts: &[&[u8]]) -> Secret {
    let message = Zeroizing::new(parts.concat());
    let mut output = Secret::default();
    output.copy_from_slice(hmac::sign(&hmac::Key::new(hmac::HMAC_SHA256, key), &message).as_ref());
    output
}

#[cfg(test)]
pub(crate) mod tests {
    use std::collections::HashMap;

    use super::*;

    /// Reads `name hex` lines.
    pub(crate) fn vector(text: &str) -> HashMap<&str, Vec<u8>> {
        text.lines()
            .filter(|line| !line.starts_with('#'))
            .filter_map(|line| line.split_once(' '))
            .map(|(name, value)| (name, hex::decode(value).unwrap()))
            .collect()
    }

    //= draft-ietf-hpke-pq, test vectors: KEM 0x647a, KDF 1, AEAD 3
    #[test]
    fn the_schedule_of_the_draft_vector_is_met() {
        let vector = vector(include_str!("../tests/vectors/xwing-chacha20poly1305.txt"));
        let shared = Secret::new(vector["shared_secret"].as_slice().try_into().unwrap());
        let schedule = Schedule::base(0x647a, 3, &shared, &vector["info"]);
        assert_eq!(schedule.key.as_slice(), vector["key"]);
        assert_eq!(schedule.nonce.as_slice(), vector["base_nonce"]);
    }
}
