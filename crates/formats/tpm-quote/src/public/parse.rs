//! Reading of a public area, field by field; what is unknown is refused.

use super::{Attributes, Curve, Key, MAX_PUBLIC, PublicArea, Scheme, Symmetric};
use crate::hash::HashAlgorithm;
use crate::wire::{ParseError, Reader, left_pad};

pub(super) fn public_area(bytes: &[u8]) -> Result<PublicArea, ParseError> {
    if bytes.len() > MAX_PUBLIC {
        return Err(ParseError::Oversized {
            what: "public area",
            limit: MAX_PUBLIC,
        });
    }
    let mut reader = Reader::new(bytes);
    let kind = reader.u16("key type")?;
    let name_algorithm = HashAlgorithm::from_id(reader.u16("name algorithm")?, "name algorithm")?;
    let attributes = Attributes::from_bits(reader.u32("object attributes")?)?;
    let policy = reader.sized(64, "policy digest")?.to_vec();
    if !policy.is_empty() && policy.len() != name_algorithm.size() {
        return Err(ParseError::Malformed {
            what: "policy digest",
        });
    }
    let key = match kind {
        ALG_RSA => rsa(&mut reader)?,
        ALG_ECC => ecc(&mut reader)?,
        other => {
            return Err(ParseError::Unsupported {
                what: "key type",
                value: other.into(),
            });
        }
    };
    reader.finish("public area")?;
    Ok(PublicArea {
        bytes: bytes.to_vec(),
        name_algorithm,
        attributes,
        policy,
        key,
    })
}

fn rsa(reader: &mut Reader<'_>) -> Result<Key, ParseError> {
    let symmetric = symmetric(reader)?;
    let scheme = scheme(reader)?;
    let bits = reader.u16("RSA key size")?;
    // 0 stands for the default exponent.
    let exponent = match reader.u32("RSA exponent")? {
        0 => 65537,
        other => other,
    };
    let modulus = reader.sized(512, "RSA modulus")?.to_vec();
    if ![2048, 3072, 4096].contains(&bits) {
        return Err(ParseError::Unsupported {
            what: "RSA key size",
            value: bits.into(),
        });
    }
    if modulus.len() != usize::from(bits / 8) {
        return Err(ParseError::Malformed {
            what: "RSA modulus",
        });
    }
    Ok(Key::Rsa {
        symmetric,
        scheme,
        bits,
        exponent,
        modulus,
    })
}

fn ecc(reader: &mut Reader<'_>) -> Result<Key, ParseError> {
    let symmetric = symmetric(reader)?;
    let scheme = scheme(reader)?;
    let curve = match reader.u16("curve")? {
        3 => Curve::P256,
        4 => Curve::P384,
        other => {
            return Err(ParseError::Unsupported {
                what: "curve",
                value: other.into(),
            });
        }
    };
    match reader.u16("key derivation scheme")? {
        ALG_NULL => {}
        other => {
            return Err(ParseError::Unsupported {
                what: "key derivation scheme",
                value: other.into(),
            });
        }
    }
    let x = coordinate(reader, curve)?;
    let y = coordinate(reader, curve)?;
    Ok(Key::Ecc {
        symmetric,
        scheme,
        curve,
        x,
        y,
    })
}

fn coordinate(reader: &mut Reader<'_>, curve: Curve) -> Result<Vec<u8>, ParseError> {
    let bytes = reader.sized(curve.width(), "curve point")?;
    left_pad(bytes, curve.width()).ok_or(ParseError::Malformed {
        what: "curve point",
    })
}

fn symmetric(reader: &mut Reader<'_>) -> Result<Symmetric, ParseError> {
    match reader.u16("symmetric cipher")? {
        ALG_NULL => Ok(Symmetric::None),
        ALG_AES => {
            let bits = reader.u16("AES key size")?;
            let mode = reader.u16("cipher mode")?;
            if mode != ALG_CFB {
                return Err(ParseError::Unsupported {
                    what: "cipher mode",
                    value: mode.into(),
                });
            }
            match bits {
                128 | 256 => Ok(Symmetric::Aes { bits }),
                other => Err(ParseError::Unsupported {
                    what: "AES key size",
                    value: other.into(),
                }),
            }
        }
        other => Err(ParseError::Unsupported {
            what: "symmetric cipher",
            value: other.into(),
        }),
    }
}

fn scheme(reader: &mut Reader<'_>) -> Result<Scheme, ParseError> {
    let id = reader.u16("scheme")?;
    match id {
        ALG_NULL => Ok(Scheme::Unspecified),
        ALG_RSAES => Ok(Scheme::Other),
        ALG_RSASSA | ALG_RSAPSS | ALG_OAEP | ALG_ECDSA | ALG_ECDH => {
            let hash = HashAlgorithm::from_id(reader.u16("scheme hash")?, "scheme hash")?;
            Ok(match id {
                ALG_RSASSA => Scheme::RsaSsa(hash),
                ALG_ECDSA => Scheme::Ecdsa(hash),
                _ => Scheme::Other,
            })
        }
        other => Err(ParseError::Unsupported {
            what: "scheme",
            value: other.into(),
        }),
    }
}

pub(super) const ALG_RSA: u16 = 0x0001;
pub(super) const ALG_AES: u16 = 0x0006;
pub(super) const ALG_NULL: u16 = 0x0010;
pub(super) const ALG_RSASSA: u16 = 0x0014;
const ALG_RSAES: u16 = 0x0015;
const ALG_RSAPSS: u16 = 0x0016;
const ALG_OAEP: u16 = 0x0017;
pub(super) const ALG_ECDSA: u16 = 0x0018;
const ALG_ECDH: u16 = 0x0019;
pub(super) const ALG_ECC: u16 = 0x0023;
pub(super) const ALG_CFB: u16 = 0x0043;
