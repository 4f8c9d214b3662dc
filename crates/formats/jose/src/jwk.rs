//! Public keys as JSON (RFC 7517), their thumbprints (RFC 7638) and sets.

use std::fmt;

use aws_lc_rs::agreement::{ECDH_P256, ECDH_P384, ECDH_P521, ParsedPublicKey, UnparsedPublicKey};
use aws_lc_rs::encoding::{AsDer as _, PublicKeyX509Der};
use aws_lc_rs::rsa::{PublicEncryptingKey, PublicKeyComponents};
use aws_lc_rs::{agreement, digest};
use serde::{Deserialize, Serialize};

use crate::algorithm::Algorithm;
use crate::base64url;

mod json;
mod x509;

pub(crate) use json::JwkJson;
pub(crate) use x509::unusual_kind;

/// Why a key was not accepted.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum JwkError {
    /// Fault: whoever made the key; a member is missing, not canonical base64url, or of the wrong length.
    #[error("member `{member}` of the key is missing or malformed")]
    Member {
        /// The member's name.
        member: &'static str,
    },
    /// Fault: none; a newer kind of key than is known here.
    #[error("`{value}` is not a `{member}` that is known here")]
    Unknown {
        /// The member's name.
        member: &'static str,
        /// What it holds, cut to 64 characters.
        value: String,
    },
    /// Fault: whoever made the key; the point is not on its curve, or the RSA numbers are out of range.
    #[error("key is not a valid {kind} key")]
    Invalid {
        /// `EC` or `RSA`.
        kind: &'static str,
    },
    /// Fault: whoever handed over the key; a private key where a public one belongs.
    #[error("a private key was given where a public key belongs")]
    Private,
    /// Fault: the caller, or whoever made the key; the key and the algorithm do not belong together.
    #[error("algorithm `{algorithm}` does not fit the key")]
    WrongAlgorithm {
        /// The algorithm that was wanted.
        algorithm: Algorithm,
    },
    /// Fault: whoever made the key; an RSA key serves many algorithms and this one names none.
    #[error("RSA key does not say its `alg`")]
    NoAlgorithm,
}

impl JwkError {
    pub(crate) fn unknown(member: &'static str, value: &str) -> Self {
        Self::Unknown {
            member,
            value: value.chars().take(64).collect(),
        }
    }
}

/// An elliptic curve of RFC 7518 section 6.2.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[expect(missing_docs, reason = "each name is the specification's own")]
pub enum Curve {
    P256,
    P384,
    P521,
}

impl Curve {
    /// All of them.
    pub const ALL: [Self; 3] = [Self::P256, Self::P384, Self::P521];

    /// The name in a key's `crv`.
    pub fn name(self) -> &'static str {
        match self {
            Self::P256 => "P-256",
            Self::P384 => "P-384",
            Self::P521 => "P-521",
        }
    }

    /// Length of one coordinate in bytes.
    pub fn coordinate_len(self) -> usize {
        match self {
            Self::P256 => 32,
            Self::P384 => 48,
            Self::P521 => 66,
        }
    }

    pub(crate) fn from_name(name: &str) -> Result<Self, JwkError> {
        Self::ALL
            .into_iter()
            .find(|curve| curve.name() == name)
            .ok_or_else(|| JwkError::unknown("crv", name))
    }

    pub(crate) fn agreement(self) -> &'static agreement::Algorithm {
        match self {
            Self::P256 => &ECDH_P256,
            Self::P384 => &ECDH_P384,
            Self::P521 => &ECDH_P521,
        }
    }
}

/// What a public key is made of. Only checked values get here.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Material {
    /// `point` is uncompressed (SEC 1) and on the curve.
    Ec { curve: Curve, point: Vec<u8> },
    /// `n` and `e` are big-endian without leading zeros; 2048 to 8192 bits.
    Rsa { n: Vec<u8>, e: Vec<u8> },
}

/// A public key: EC on three curves, or RSA of 2048 to 8192 bits. Checked when it is made.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "json::JwkJson", into = "json::JwkJson")]
pub struct Jwk {
    material: Material,
    kid: Option<String>,
    alg: Option<String>,
    usage: Option<String>,
    x5c: Vec<Vec<u8>>,
}

impl Jwk {
    /// A key from an uncompressed point (SEC 1: `04 ‖ x ‖ y`).
    pub fn from_ec_point(curve: Curve, point: &[u8]) -> Result<Self, JwkError> {
        let invalid = JwkError::Invalid { kind: "EC" };
        if point.first() != Some(&4) || point.len() != 1 + 2 * curve.coordinate_len() {
            return Err(invalid);
        }
        match ParsedPublicKey::try_from(UnparsedPublicKey::new(curve.agreement(), point)) {
            Ok(_) => Ok(Self::plain(Material::Ec {
                curve,
                point: point.to_vec(),
            })),
            Err(_) => Err(invalid),
        }
    }

    /// A key from modulus and exponent, big-endian without leading zeros.
    pub fn from_rsa(n: &[u8], e: &[u8]) -> Result<Self, JwkError> {
        let invalid = || JwkError::Invalid { kind: "RSA" };
        // The library lets an exponent of 1 pass, under which every signature is the message and nothing is hidden.
        let is_odd = |number: &[u8]| number.last().is_some_and(|byte| byte % 2 == 1);
        if !is_odd(n) || !is_odd(e) || e == [1] || e.len() > 5 {
            return Err(invalid());
        }
        let key: PublicEncryptingKey = PublicKeyComponents { n, e }
            .try_into()
            .map_err(|_| invalid())?;
        if !(2048..=8192).contains(&key.key_size_bits()) {
            return Err(invalid());
        }
        Ok(Self::plain(Material::Rsa {
            n: n.to_vec(),
            e: e.to_vec(),
        }))
    }

    /// A key from an X.509 `SubjectPublicKeyInfo` (RFC 5280).
    pub fn from_spki_der(der: &[u8]) -> Result<Self, JwkError> {
        x509::parse(der)
    }

    /// A key from PKCS#1's `RSAPublicKey` (RFC 8017).
    pub fn from_pkcs1_der(der: &[u8]) -> Result<Self, JwkError> {
        let (n, e) = x509::rsa_numbers(der).map_err(|_| JwkError::Member {
            member: "RSAPublicKey",
        })?;
        Self::from_rsa(n, e)
    }

    /// The key as an X.509 `SubjectPublicKeyInfo`.
    pub fn to_spki_der(&self) -> Result<Vec<u8>, JwkError> {
        let der: Result<PublicKeyX509Der<'static>, _> = match &self.material {
            Material::Rsa { n, e } => PublicKeyComponents { n, e }.as_der(),
            Material::Ec { curve, point } => return x509::encode_ec(*curve, point),
        };
        der.map(|der| der.as_ref().to_vec())
            .map_err(|_| JwkError::Invalid { kind: "RSA" })
    }

    /// The same key under a key id.
    pub fn with_kid(self, kid: impl Into<String>) -> Self {
        Self {
            kid: Some(kid.into()),
            ..self
        }
    }

    /// The same key, said to be for one algorithm.
    pub fn with_alg(self, alg: impl Into<String>) -> Self {
        Self {
            alg: Some(alg.into()),
            ..self
        }
    }

    /// The same key, said to be for one use.
    pub fn with_use(self, usage: impl Into<String>) -> Self {
        Self {
            usage: Some(usage.into()),
            ..self
        }
    }

    /// The same key with a certificate chain (DER). Nothing checks that the chain is this key's.
    pub fn with_x5c(self, x5c: Vec<Vec<u8>>) -> Self {
        Self { x5c, ..self }
    }

    /// The member `kid`.
    pub fn kid(&self) -> Option<&str> {
        self.kid.as_deref()
    }

    /// The member `alg`.
    pub fn alg(&self) -> Option<&str> {
        self.alg.as_deref()
    }

    /// The member `use`.
    pub fn usage(&self) -> Option<&str> {
        self.usage.as_deref()
    }

    /// The member `x5c`, as DER. Nothing checked that it belongs to the key.
    pub fn x5c(&self) -> &[Vec<u8>] {
        &self.x5c
    }

    /// The uncompressed point of an EC key, with its curve.
    pub fn ec_point(&self) -> Option<(Curve, &[u8])> {
        match &self.material {
            Material::Ec { curve, point } => Some((*curve, point)),
            Material::Rsa { .. } => None,
        }
    }

    /// SHA-256 thumbprint (RFC 7638): the same for every JSON text of the same key.
    pub fn thumbprint(&self) -> Thumbprint {
        let text = match &self.material {
            Material::Ec { curve, .. } => {
                let (x, y) = self.coordinates();
                format!(
                    r#"{{"crv":"{}","kty":"EC","x":"{x}","y":"{y}"}}"#,
                    curve.name()
                )
            }
            Material::Rsa { n, e } => {
                format!(
                    r#"{{"e":"{}","kty":"RSA","n":"{}"}}"#,
                    base64url::encode(e),
                    base64url::encode(n)
                )
            }
        };
        let mut hash = [0; 32];
        hash.copy_from_slice(digest::digest(&digest::SHA256, text.as_bytes()).as_ref());
        Thumbprint(hash)
    }

    pub(crate) fn material(&self) -> &Material {
        &self.material
    }

    fn plain(material: Material) -> Self {
        Self {
            material,
            kid: None,
            alg: None,
            usage: None,
            x5c: Vec::new(),
        }
    }

    /// Both coordinates in base64url; empty for RSA.
    fn coordinates(&self) -> (String, String) {
        let (curve, point) = match &self.material {
            Material::Ec { curve, point } => (*curve, point.as_slice()),
            Material::Rsa { .. } => return Default::default(),
        };
        let (x, y) = point
            .get(1..)
            .unwrap_or_default()
            .split_at_checked(curve.coordinate_len())
            .unwrap_or_default();
        (base64url::encode(x), base64url::encode(y))
    }
}

/// SHA-256 over the canonical text of a key (RFC 7638).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Thumbprint([u8; 32]);

impl Thumbprint {
    /// The hash itself.
    pub fn as_bytes(&self) -> &[u8; 32] {
        &self.0
    }
}

/// base64url, as in `jkt`.
impl fmt::Display for Thumbprint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&base64url::encode(self.0))
    }
}

/// A set of keys (RFC 7517 section 5). Keys of unknown kind are left out when it is read, malformed ones are errors.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "json::JwkSetJson")]
pub struct JwkSet {
    /// The keys.
    pub keys: Vec<Jwk>,
}

impl JwkSet {
    /// The only key with this id; none if two share it.
    pub fn find(&self, kid: &str) -> Option<&Jwk> {
        let mut found = self.keys.iter().filter(|key| key.kid() == Some(kid));
        match (found.next(), found.next()) {
            (Some(key), None) => Some(key),
            _ => None,
        }
    }
}

#[cfg(test)]
mod tests;
