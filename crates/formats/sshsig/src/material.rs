//! What a public key is made of, read from and written to SSH's binary form.

use aws_lc_rs::rsa::PublicKeyComponents;
use aws_lc_rs::signature::{
    ECDSA_P256_SHA256_FIXED, ECDSA_P384_SHA384_FIXED, ECDSA_P521_SHA512_FIXED, ED25519,
    EcdsaVerificationAlgorithm, ParsedPublicKey, RSA_PKCS1_2048_8192_SHA256, RsaParameters,
};

use crate::key::{KeyKind, PublicKeyError};
use crate::wire::{Reader, put_positive, put_string};

#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(crate) enum Curve {
    P256,
    P384,
    P521,
}

impl Curve {
    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::P256 => "nistp256",
            Self::P384 => "nistp384",
            Self::P521 => "nistp521",
        }
    }

    /// Bytes of a coordinate, and of `r` and `s`.
    pub(crate) fn width(self) -> usize {
        match self {
            Self::P256 => 32,
            Self::P384 => 48,
            Self::P521 => 66,
        }
    }

    /// RFC 5656 section 6.2.1: the curve fixes the digest.
    fn verification(self) -> &'static EcdsaVerificationAlgorithm {
        match self {
            Self::P256 => &ECDSA_P256_SHA256_FIXED,
            Self::P384 => &ECDSA_P384_SHA384_FIXED,
            Self::P521 => &ECDSA_P521_SHA512_FIXED,
        }
    }
}

/// INVARIANT: made by `read` only, or from a private key that was checked; the library accepted the numbers as a key.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(crate) enum Material {
    Ed25519([u8; 32]),
    Ecdsa { curve: Curve, point: Vec<u8> },
    Rsa { e: Vec<u8>, n: Vec<u8> },
    SkEd25519 { key: [u8; 32], application: String },
    SkEcdsa { point: Vec<u8>, application: String },
}

impl Material {
    pub(crate) fn read(blob: &[u8]) -> Result<Self, PublicKeyError> {
        let mut reader = Reader::new(blob);
        let name = reader.text().ok_or(PublicKeyError::Malformed)?;
        let kind = KeyKind::from_name(name).ok_or(PublicKeyError::Kind)?;
        let material = Self::read_kind(kind, &mut reader).ok_or(PublicKeyError::Malformed)?;
        reader.end().ok_or(PublicKeyError::Malformed)?;
        material.checked()
    }

    fn read_kind(kind: KeyKind, reader: &mut Reader<'_>) -> Option<Self> {
        Some(match kind {
            KeyKind::Ed25519 => Self::Ed25519(reader.string()?.try_into().ok()?),
            KeyKind::EcdsaP256 => Self::read_ecdsa(Curve::P256, reader)?,
            KeyKind::EcdsaP384 => Self::read_ecdsa(Curve::P384, reader)?,
            KeyKind::EcdsaP521 => Self::read_ecdsa(Curve::P521, reader)?,
            KeyKind::Rsa => Self::Rsa {
                e: reader.positive()?.to_vec(),
                n: reader.positive()?.to_vec(),
            },
            KeyKind::SkEd25519 => Self::SkEd25519 {
                key: reader.string()?.try_into().ok()?,
                application: read_application(reader)?,
            },
            KeyKind::SkEcdsaP256 => Self::SkEcdsa {
                point: read_point(Curve::P256, reader)?,
                application: read_application(reader)?,
            },
        })
    }

    fn read_ecdsa(curve: Curve, reader: &mut Reader<'_>) -> Option<Self> {
        let point = read_point(curve, reader)?;
        Some(Self::Ecdsa { curve, point })
    }

    fn checked(self) -> Result<Self, PublicKeyError> {
        match &self {
            Self::Rsa { n, .. } if bits(n) < SMALLEST_RSA => return Err(PublicKeyError::Short),
            Self::Rsa { e, n } if bits(n) > LARGEST_RSA || bits(e) > LARGEST_EXPONENT => {
                return Err(PublicKeyError::TooLarge);
            }
            Self::Rsa { e, .. } if bits(e) < 2 || !is_odd(e) => return Err(PublicKeyError::Weak),
            Self::Ed25519(key) | Self::SkEd25519 { key, .. } if !is_strong(key) => {
                return Err(PublicKeyError::Weak);
            }
            _ => {}
        }
        self.parsed(&RSA_PKCS1_2048_8192_SHA256)
            .ok_or(PublicKeyError::Malformed)?;
        Ok(self)
    }

    /// The key for the library; `rsa` is the algorithm if this is an RSA key.
    pub(crate) fn parsed(&self, rsa: &'static RsaParameters) -> Option<ParsedPublicKey> {
        match self {
            Self::Ed25519(key) | Self::SkEd25519 { key, .. } => ParsedPublicKey::new(&ED25519, key),
            Self::Ecdsa { curve, point } => ParsedPublicKey::new(curve.verification(), point),
            Self::SkEcdsa { point, .. } => ParsedPublicKey::new(Curve::P256.verification(), point),
            Self::Rsa { e, n } => PublicKeyComponents { n, e }.to_parsed_public_key(rsa),
        }
        .ok()
    }

    pub(crate) fn kind(&self) -> KeyKind {
        match self {
            Self::Ed25519(_) => KeyKind::Ed25519,
            Self::Ecdsa {
                curve: Curve::P256, ..
            } => KeyKind::EcdsaP256,
            Self::Ecdsa {
                curve: Curve::P384, ..
            } => KeyKind::EcdsaP384,
            Self::Ecdsa {
                curve: Curve::P521, ..
            } => KeyKind::EcdsaP521,
            Self::Rsa { .. } => KeyKind::Rsa,
            Self::SkEd25519 { .. } => KeyKind::SkEd25519,
            Self::SkEcdsa { .. } => KeyKind::SkEcdsaP256,
        }
    }

    pub(crate) fn to_wire(&self) -> Vec<u8> {
        let mut out = Vec::new();
        put_string(&mut out, self.kind().name().as_bytes());
        match self {
            Self::Ed25519(key) => put_string(&mut out, key),
            Self::Ecdsa { curve, point } => {
                put_string(&mut out, curve.name().as_bytes());
                put_string(&mut out, point);
            }
            Self::Rsa { e, n } => {
                put_positive(&mut out, e);
                put_positive(&mut out, n);
            }
            Self::SkEd25519 { key, application } => {
                put_string(&mut out, key);
                put_string(&mut out, application.as_bytes());
            }
            Self::SkEcdsa { point, application } => {
                put_string(&mut out, Curve::P256.name().as_bytes());
                put_string(&mut out, point);
                put_string(&mut out, application.as_bytes());
            }
        }
        out
    }
}

/// Uncompressed only: one encoding for one point.
fn read_point(curve: Curve, reader: &mut Reader<'_>) -> Option<Vec<u8>> {
    if reader.text()? != curve.name() {
        return None;
    }
    let point = reader.string()?;
    let fits = point.first() == Some(&4) && point.len() == 1 + 2 * curve.width();
    fits.then(|| point.to_vec())
}

/// `ssh-keygen` makes no key for another application: one beginning otherwise was made for a web site.
fn read_application(reader: &mut Reader<'_>) -> Option<String> {
    let text = reader.text()?;
    let fits = text.starts_with("ssh:") && text.len() <= 255 && !text.chars().any(char::is_control);
    fits.then(|| text.to_owned())
}

fn bits(number: &[u8]) -> usize {
    let top = number
        .first()
        .map_or(8, |first| first.leading_zeros() as usize);
    (number.len() * 8).saturating_sub(top)
}

fn is_odd(number: &[u8]) -> bool {
    number.last().is_some_and(|last| last & 1 == 1)
}

/// Canonical and not of small order. With a key of small order, whoever likes can make a signature that fits any text.
fn is_strong(key: &[u8; 32]) -> bool {
    let mut y = *key;
    y[31] &= 0x7f;
    // p = 2^255 - 19, little-endian: ed ff … ff 7f.
    let canonical = y[31] != 0x7f || y[1..31].iter().any(|byte| *byte != 0xff) || y[0] < 0xed;
    canonical && !SMALL_ORDER.contains(&y)
}

const SMALLEST_RSA: usize = 2048;
const LARGEST_RSA: usize = 8192;
/// What the library reads.
const LARGEST_EXPONENT: usize = 33;

/// The y coordinates of the eight points whose order divides eight.
const SMALL_ORDER: [[u8; 32]; 5] = [
    [0; 32],
    {
        let mut one = [0; 32];
        one[0] = 1;
        one
    },
    {
        let mut minus_one = [0xff; 32];
        minus_one[0] = 0xec;
        minus_one[31] = 0x7f;
        minus_one
    },
    [
        0x26, 0xe8, 0x95, 0x8f, 0xc2, 0xb2, 0x27, 0xb0, 0x45, 0xc3, 0xf4, 0x89, 0xf2, 0xef, 0x98,
        0xf0, 0xd5, 0xdf, 0xac, 0x05, 0xd3, 0xc6, 0x33, 0x39, 0xb1, 0x38, 0x02, 0x88, 0x6d, 0x53,
        0xfc, 0x05,
    ],
    [
        0xc7, 0x17, 0x6a, 0x70, 0x3d, 0x4d, 0xd8, 0x4f, 0xba, 0x3c, 0x0b, 0x76, 0x0d, 0x10, 0x67,
        0x0f, 0x2a, 0x20, 0x53, 0xfa, 0x2c, 0x39, 0xcc, 0xc6, 0x4e, 0xc7, 0xfd, 0x77, 0x92, 0xac,
        0x03, 0x7a,
    ],
];
