//! Keys as `SubjectPublicKeyInfo`: the few DER shapes that RSA, P-256 and P-384 need.

use super::{Curve, Key};

pub(super) fn encode(key: &Key) -> Vec<u8> {
    let algorithm: &[u8] = match key {
        Key::Rsa { .. } => &RSA_ENCRYPTION,
        Key::Ecc {
            curve: Curve::P256, ..
        } => &EC_P256,
        Key::Ecc {
            curve: Curve::P384, ..
        } => &EC_P384,
    };
    let mut bits = vec![0];
    bits.extend(subject_public_key(key));
    tlv(SEQUENCE, &[algorithm, &tlv(BIT_STRING, &[&bits])])
}

/// What stands in the `subjectPublicKey` bit string: `RSAPublicKey`, or an uncompressed point.
pub(super) fn subject_public_key(key: &Key) -> Vec<u8> {
    match key {
        Key::Rsa {
            modulus, exponent, ..
        } => tlv(
            SEQUENCE,
            &[&integer(modulus), &integer(&exponent.to_be_bytes())],
        ),
        Key::Ecc { x, y, .. } => [&[4], x.as_slice(), y].concat(),
    }
}

fn integer(number: &[u8]) -> Vec<u8> {
    let zeros = number.iter().take_while(|byte| **byte == 0).count();
    let digits = number.get(zeros..).unwrap_or_default();
    let sign: &[u8] = match digits.first() {
        Some(first) if *first < 0x80 => &[],
        _ => &[0],
    };
    tlv(INTEGER, &[sign, digits])
}

fn tlv(tag: u8, parts: &[&[u8]]) -> Vec<u8> {
    let content = parts.concat();
    let mut out = vec![tag];
    let length = content.len().to_be_bytes();
    let digits: Vec<u8> = length.into_iter().skip_while(|byte| *byte == 0).collect();
    match (content.len(), u8::try_from(digits.len())) {
        (len @ 0..=0x7f, _) => out.extend(u8::try_from(len)),
        (_, count) => {
            out.extend(count.map(|count| 0x80 | count));
            out.extend(digits);
        }
    }
    out.extend(content);
    out
}

const INTEGER: u8 = 0x02;
const BIT_STRING: u8 = 0x03;
const SEQUENCE: u8 = 0x30;
/// `{ rsaEncryption, NULL }`.
const RSA_ENCRYPTION: [u8; 15] = [
    0x30, 0x0d, 0x06, 0x09, 0x2a, 0x86, 0x48, 0x86, 0xf7, 0x0d, 0x01, 0x01, 0x01, 0x05, 0x00,
];
/// `{ id-ecPublicKey, prime256v1 }`.
const EC_P256: [u8; 21] = [
    0x30, 0x13, 0x06, 0x07, 0x2a, 0x86, 0x48, 0xce, 0x3d, 0x02, 0x01, 0x06, 0x08, 0x2a, 0x86, 0x48,
    0xce, 0x3d, 0x03, 0x01, 0x07,
];
/// `{ id-ecPublicKey, secp384r1 }`.
const EC_P384: [u8; 18] = [
    0x30, 0x10, 0x06, 0x07, 0x2a, 0x86, 0x48, 0xce, 0x3d, 0x02, 0x01, 0x06, 0x05, 0x2b, 0x81, 0x04,
    0x00, 0x22,
];
