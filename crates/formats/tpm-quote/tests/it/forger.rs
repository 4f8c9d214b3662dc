//! A forger: signs whatever it likes with a key outside any TPM, whose public area claims to be an attestation key.
//! What it says is refused for what it says, since its signatures are good.

use aws_lc_rs::rand::SystemRandom;
use aws_lc_rs::signature::{ECDSA_P256_SHA256_FIXED_SIGNING, EcdsaKeyPair, KeyPair};
use tpm_quote::{PublicArea, template};

use crate::vectors::CHALLENGE;

pub(crate) struct Forger {
    key: EcdsaKeyPair,
    pub(crate) ak: PublicArea,
}

/// The fields of a `TPMS_ATTEST`.
#[derive(Clone)]
pub(crate) struct Statement {
    pub(crate) magic: [u8; 4],
    pub(crate) kind: u16,
    pub(crate) signer: Vec<u8>,
    pub(crate) extra: Vec<u8>,
    pub(crate) safe: u8,
    pub(crate) body: Vec<u8>,
    pub(crate) tail: Vec<u8>,
}

impl Forger {
    pub(crate) fn new() -> Self {
        let key = EcdsaKeyPair::generate(&ECDSA_P256_SHA256_FIXED_SIGNING).unwrap();
        let ak = PublicArea::parse(&with_point(template::attestation_key(&[0; 32]), &key)).unwrap();
        Self { key, ak }
    }

    /// The public area of the same key, made from another template.
    pub(crate) fn area(&self, template: Vec<u8>) -> Vec<u8> {
        with_point(template, &self.key)
    }

    pub(crate) fn quote(&self, selection: &[u8], digest: &[u8]) -> Statement {
        Statement {
            magic: *b"\xffTCG",
            kind: 0x8018,
            signer: self
                .ak
                .name()
                .qualified_in_endorsement()
                .as_bytes()
                .to_vec(),
            extra: CHALLENGE.to_vec(),
            safe: 1,
            body: [selection, &sized(digest)].concat(),
            tail: Vec::new(),
        }
    }

    pub(crate) fn sign(&self, attest: &[u8]) -> Vec<u8> {
        let signature = self.key.sign(&SystemRandom::new(), attest).unwrap();
        let (r, s) = signature.as_ref().split_at(32);
        [&[0, 0x18, 0, 0x0b], sized(r).as_slice(), &sized(s)].concat()
    }
}

impl Statement {
    pub(crate) fn to_bytes(&self) -> Vec<u8> {
        let mut out = self.magic.to_vec();
        out.extend(self.kind.to_be_bytes());
        out.extend(sized(&self.signer));
        out.extend(sized(&self.extra));
        out.extend([0; 16]);
        out.push(self.safe);
        out.extend([0; 8]);
        out.extend(&self.body);
        out.extend(&self.tail);
        out
    }
}

pub(crate) fn sized(bytes: &[u8]) -> Vec<u8> {
    [&u16::try_from(bytes.len()).unwrap().to_be_bytes(), bytes].concat()
}

/// A template of a P-256 key ends with the two numbers of its point.
fn with_point(mut template: Vec<u8>, key: &EcdsaKeyPair) -> Vec<u8> {
    let point = key.public_key().as_ref();
    template.truncate(template.len() - 68);
    template.extend(sized(&point[1..33]));
    template.extend(sized(&point[33..]));
    template
}
