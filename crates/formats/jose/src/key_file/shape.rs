//! What a DER file holds, told by its structure: people rename files, and DER has no label.

use spki::AlgorithmIdentifierRef;
use spki::der::asn1::AnyRef;
use spki::der::{self, Decode as _, Reader as _, SliceReader, Tag, Tagged as _};
use x509_cert::Certificate;
use x509_cert::der::Encode as _;

use super::pbes2::EncryptedKey;
use crate::jwk::{Jwk, JwkError, unusual_kind};

/// A structure that is told apart by its first members.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Shape {
    /// `SubjectPublicKeyInfo` (RFC 5280).
    PublicKey,
    /// `RSAPublicKey` (RFC 8017).
    RsaPublicKey,
    /// `Certificate` (RFC 5280).
    Certificate,
    /// PKCS#8, PKCS#1 or SEC 1.
    PrivateKey,
    /// Encrypted PKCS#8.
    EncryptedPrivateKey,
    /// A store of keys and certificates (RFC 7292), which is not read.
    Pkcs12,
    /// Something else.
    Unknown,
}

impl Shape {
    pub(super) fn of(der: &[u8]) -> Self {
        let tags = tags(der).unwrap_or_default();
        match tags.as_slice() {
            [Tag::Integer, Tag::Integer] => Self::RsaPublicKey,
            [Tag::Integer, Tag::Sequence, Tag::OctetString, ..]
            | [Tag::Integer, Tag::OctetString, ..]
            | [Tag::Integer, Tag::Integer, Tag::Integer, ..] => Self::PrivateKey,
            [Tag::Integer, Tag::Sequence] | [Tag::Integer, Tag::Sequence, Tag::Sequence] => {
                Self::Pkcs12
            }
            [Tag::Sequence, Tag::BitString] => Self::PublicKey,
            [Tag::Sequence, Tag::Sequence, Tag::BitString] => Self::Certificate,
            [Tag::Sequence, Tag::OctetString] if EncryptedKey::parse(der).is_some() => {
                Self::EncryptedPrivateKey
            }
            _ => Self::Unknown,
        }
    }

    /// As PEM would label it.
    pub(super) fn label(self) -> &'static str {
        match self {
            Self::PublicKey => "PUBLIC KEY",
            Self::RsaPublicKey => "RSA PUBLIC KEY",
            Self::Certificate => "CERTIFICATE",
            Self::PrivateKey => "PRIVATE KEY",
            Self::EncryptedPrivateKey => "ENCRYPTED PRIVATE KEY",
            Self::Pkcs12 => "PKCS#12",
            Self::Unknown => "unknown DER",
        }
    }
}

/// The key that a certificate names. Who signed it, for what and until when is for others to judge.
pub(super) fn key_of_certificate(der: &[u8]) -> Result<Jwk, JwkError> {
    let malformed = |_| JwkError::Member {
        member: "Certificate",
    };
    let certificate = Certificate::from_der(der).map_err(malformed)?;
    let key = certificate.tbs_certificate().subject_public_key_info();
    Jwk::from_spki_der(&key.to_der().map_err(malformed)?)
}

/// The kind of key in a PKCS#8 document, when it is none that is known here.
pub(super) fn unusual_kind_of_pkcs8(der: &[u8]) -> Option<String> {
    let outer = AnyRef::from_der(der).ok()?;
    let algorithm = outer.sequence(|reader| {
        AnyRef::decode(reader)?;
        let algorithm = AlgorithmIdentifierRef::decode(reader)?;
        while !reader.is_finished() {
            AnyRef::decode(reader)?;
        }
        Ok::<_, der::Error>(algorithm)
    });
    unusual_kind(&algorithm.ok()?)
}

fn tags(der: &[u8]) -> Option<Vec<Tag>> {
    let mut reader = SliceReader::new(der).ok()?;
    let tags = reader.sequence(|reader| {
        let mut tags = Vec::new();
        while !reader.is_finished() {
            tags.push(AnyRef::decode(reader)?.tag());
        }
        Ok::<_, der::Error>(tags)
    });
    reader.finish().ok()?;
    tags.ok()
}
