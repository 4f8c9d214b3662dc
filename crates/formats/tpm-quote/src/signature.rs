//! Signatures by TPM keys (`TPMT_SIGNATURE`), verified with exactly the scheme that the key's public area fixes.

use aws_lc_rs::signature::{
    ECDSA_P256_SHA256_FIXED, ECDSA_P384_SHA384_FIXED, RSA_PKCS1_2048_8192_SHA256,
    RSA_PKCS1_2048_8192_SHA384, RsaPublicKeyComponents, UnparsedPublicKey,
};

use crate::hash::HashAlgorithm;
use crate::public::{Curve, Key, PublicArea, Scheme};
use crate::wire::{ParseError, Reader, left_pad};

/// A signature as it was read, not verified.
pub(crate) enum Signature {
    Ecdsa {
        hash: HashAlgorithm,
        r: Vec<u8>,
        s: Vec<u8>,
    },
    RsaSsa {
        hash: HashAlgorithm,
        bytes: Vec<u8>,
    },
}

impl Signature {
    pub(crate) fn parse(bytes: &[u8]) -> Result<Self, ParseError> {
        let mut reader = Reader::new(bytes);
        let scheme = reader.u16("signature scheme")?;
        let hash = HashAlgorithm::from_id(reader.u16("signature hash")?, "signature hash")?;
        let signature = match scheme {
            ALG_ECDSA => {
                let r = reader.sized(48, "signature")?.to_vec();
                let s = reader.sized(48, "signature")?.to_vec();
                Self::Ecdsa { hash, r, s }
            }
            ALG_RSASSA => Self::RsaSsa {
                hash,
                bytes: reader.sized(512, "signature")?.to_vec(),
            },
            other => {
                return Err(ParseError::Unsupported {
                    what: "signature scheme",
                    value: other.into(),
                });
            }
        };
        reader.finish("signature")?;
        Ok(signature)
    }

    /// The hash function with which `key` signed `message`; nothing when it did not.
    pub(crate) fn verify(&self, key: &PublicArea, message: &[u8]) -> Option<HashAlgorithm> {
        match (&key.key, self) {
            (
                Key::Ecc {
                    scheme: Scheme::Ecdsa(fixed),
                    curve,
                    x,
                    y,
                    ..
                },
                Self::Ecdsa { hash, r, s },
            ) if fixed == hash => {
                let algorithm = match (curve, hash) {
                    (Curve::P256, HashAlgorithm::Sha256) => &ECDSA_P256_SHA256_FIXED,
                    (Curve::P384, HashAlgorithm::Sha384) => &ECDSA_P384_SHA384_FIXED,
                    _ => return None,
                };
                let point = [&[4], x.as_slice(), y].concat();
                let pair = [left_pad(r, curve.width())?, left_pad(s, curve.width())?].concat();
                UnparsedPublicKey::new(algorithm, &point)
                    .verify(message, &pair)
                    .ok()?;
                Some(*hash)
            }
            (
                Key::Rsa {
                    scheme: Scheme::RsaSsa(fixed),
                    modulus,
                    exponent,
                    ..
                },
                Self::RsaSsa { hash, bytes },
            ) if fixed == hash => {
                let algorithm = match hash {
                    HashAlgorithm::Sha256 => &RSA_PKCS1_2048_8192_SHA256,
                    HashAlgorithm::Sha384 => &RSA_PKCS1_2048_8192_SHA384,
                };
                let exponent = exponent.to_be_bytes();
                let first = exponent.iter().position(|byte| *byte != 0)?;
                let key = RsaPublicKeyComponents {
                    n: modulus.as_slice(),
                    e: exponent.get(first..)?,
                };
                key.verify(algorithm, message, bytes).ok()?;
                Some(*hash)
            }
            _ => None,
        }
    }
}

const ALG_RSASSA: u16 = 0x0014;
const ALG_ECDSA: u16 = 0x0018;
