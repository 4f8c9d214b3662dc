//! Public areas (`TPMT_PUBLIC`): what a TPM says about a key, and the name that binds every word of it.

use std::fmt;

use crate::hash::{HashAlgorithm, sha256};
use crate::wire::{ParseError, Reader, put_sized};

pub use attributes::Attributes;
pub use require::{KeyRole, UnfitKey};

mod attributes;
mod parse;
mod require;
mod spki;
pub mod template;

/// A public area of an RSA or ECC key, kept with the exact bytes that its name is made of.
#[derive(Clone, PartialEq, Eq)]
pub struct PublicArea {
    bytes: Vec<u8>,
    name_algorithm: HashAlgorithm,
    attributes: Attributes,
    policy: Vec<u8>,
    pub(crate) key: Key,
}

impl PublicArea {
    /// Reads a `TPMT_PUBLIC`.
    ///
    /// # Errors
    /// When the bytes are not exactly one public area of an RSA or ECC key with trusted algorithms.
    pub fn parse(bytes: &[u8]) -> Result<Self, ParseError> {
        parse::public_area(bytes)
    }

    /// Reads a `TPM2B_PUBLIC`: the same behind a 16-bit size.
    ///
    /// # Errors
    /// As [`PublicArea::parse`], and when the size does not fit the bytes.
    pub fn parse_sized(bytes: &[u8]) -> Result<Self, ParseError> {
        let mut reader = Reader::new(bytes);
        let inner = reader.sized(MAX_PUBLIC, "public area")?;
        reader.finish("public area")?;
        Self::parse(inner)
    }

    /// The `TPMT_PUBLIC` as it was read.
    #[must_use]
    pub fn as_bytes(&self) -> &[u8] {
        &self.bytes
    }

    /// The `TPM2B_PUBLIC`.
    #[must_use]
    pub fn to_sized(&self) -> Vec<u8> {
        let mut out = Vec::with_capacity(self.bytes.len() + 2);
        put_sized(&mut out, &self.bytes);
        out
    }

    /// The name, computed from the bytes: hash algorithm and digest of the public area.
    #[must_use]
    pub fn name(&self) -> Name {
        Name::of(self.name_algorithm, &[&self.bytes])
    }

    /// The hash function that makes the name.
    #[must_use]
    pub const fn name_algorithm(&self) -> HashAlgorithm {
        self.name_algorithm
    }

    /// What the TPM enforces for this key.
    #[must_use]
    pub const fn attributes(&self) -> Attributes {
        self.attributes
    }

    /// The digest of the policy that authorises use, or nothing.
    #[must_use]
    pub fn policy(&self) -> &[u8] {
        &self.policy
    }

    /// The key as a DER `SubjectPublicKeyInfo`.
    #[must_use]
    pub fn spki_der(&self) -> Vec<u8> {
        spki::encode(&self.key)
    }

    /// SHA-256 of [`PublicArea::spki_der`]: for an endorsement key, the EK hash of an inventory.
    #[must_use]
    pub fn spki_sha256(&self) -> [u8; 32] {
        sha256(&self.spki_der())
    }

    /// The key as it stands in a certificate's `subjectPublicKey`.
    pub(crate) fn subject_public_key(&self) -> Vec<u8> {
        spki::subject_public_key(&self.key)
    }
}

impl fmt::Debug for PublicArea {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(out, "PublicArea({}, {})", self.key.kind(), self.name())
    }
}

/// The name of a TPM object: two bytes of hash algorithm, then the digest of its public area.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Name(Vec<u8>);

impl Name {
    /// Reads a name as TPMs write it, without a size.
    ///
    /// # Errors
    /// When the algorithm is not trusted or the digest has another length.
    pub fn parse(bytes: &[u8]) -> Result<Self, ParseError> {
        let mut reader = Reader::new(bytes);
        let algorithm = HashAlgorithm::from_id(reader.u16("name")?, "name algorithm")?;
        reader.take(algorithm.size(), "name")?;
        reader.finish("name")?;
        Ok(Self(bytes.to_vec()))
    }

    /// The bytes, without a size.
    #[must_use]
    pub fn as_bytes(&self) -> &[u8] {
        &self.0
    }

    /// The qualified name that an object with this name has when it is a primary object of the endorsement hierarchy.
    #[must_use]
    pub fn qualified_in_endorsement(&self) -> Self {
        // A name starts with one of the two algorithms by construction.
        let algorithm = match self.0.get(1) {
            Some(0x0c) => HashAlgorithm::Sha384,
            _ => HashAlgorithm::Sha256,
        };
        Self::of(algorithm, &[&ENDORSEMENT_HIERARCHY.to_be_bytes(), &self.0])
    }

    fn of(algorithm: HashAlgorithm, parts: &[&[u8]]) -> Self {
        let mut name = algorithm.id().to_be_bytes().to_vec();
        name.extend(algorithm.digest(parts));
        Self(name)
    }
}

impl fmt::Display for Name {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.write_str(&hex::encode(&self.0))
    }
}

impl fmt::Debug for Name {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(out, "Name({self})")
    }
}

/// A curve of the TCG registry that is accepted.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Curve {
    P256,
    P384,
}

impl Curve {
    pub(crate) const fn id(self) -> u16 {
        match self {
            Self::P256 => 3,
            Self::P384 => 4,
        }
    }

    pub(crate) const fn width(self) -> usize {
        match self {
            Self::P256 => 32,
            Self::P384 => 48,
        }
    }
}

/// The block cipher of a storage or endorsement key; always in CFB mode.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Symmetric {
    None,
    Aes { bits: u16 },
}

/// How the key is used, as far as the public area fixes it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Scheme {
    Unspecified,
    RsaSsa(HashAlgorithm),
    Ecdsa(HashAlgorithm),
    /// Known, but no scheme of a signing key that is accepted here.
    Other,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Key {
    Rsa {
        symmetric: Symmetric,
        scheme: Scheme,
        bits: u16,
        exponent: u32,
        modulus: Vec<u8>,
    },
    Ecc {
        symmetric: Symmetric,
        scheme: Scheme,
        curve: Curve,
        x: Vec<u8>,
        y: Vec<u8>,
    },
}

impl Key {
    pub(crate) const fn symmetric(&self) -> Symmetric {
        match self {
            Self::Rsa { symmetric, .. } | Self::Ecc { symmetric, .. } => *symmetric,
        }
    }

    const fn kind(&self) -> &'static str {
        match self {
            Self::Rsa { .. } => "RSA",
            Self::Ecc {
                curve: Curve::P256, ..
            } => "P-256",
            Self::Ecc {
                curve: Curve::P384, ..
            } => "P-384",
        }
    }
}

/// `TPM_RH_ENDORSEMENT`.
const ENDORSEMENT_HIERARCHY: u32 = 0x4000_000b;
/// Larger than any public area of the accepted kinds.
const MAX_PUBLIC: usize = 1024;
