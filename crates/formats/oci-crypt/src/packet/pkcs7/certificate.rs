//! A recipient's certificate: the name that packets call it by, and its RSA key.
//!
//! Nothing else of it is looked at, as in peers: neither who signed it nor until when it is valid. Whoever encrypts
//! trusts the file.

use std::fmt::{self, Write as _};

use aws_lc_rs::encoding::{AsDer as _, PublicKeyX509Der};
use aws_lc_rs::rsa::{Pkcs1PublicEncryptingKey, PrivateDecryptingKey, PublicEncryptingKey};
use x509_cert::der::Decode as _;
use x509_cert::name::Name;

use super::der::{INTEGER, Reader, SEQUENCE, constructed, only};

/// Longest certificate file that is read.
pub const MAX_CERTIFICATE_LEN: usize = 64 * 1024;

/// Why a certificate was not accepted.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum CertificateError {
    /// Fault: whoever named the file; it is longer than [`MAX_CERTIFICATE_LEN`].
    #[error("certificate file has more than {MAX_CERTIFICATE_LEN} bytes")]
    TooLong,
    /// Fault: whoever named the file; it is neither PEM nor DER of a certificate.
    #[error("file is neither PEM nor DER of an X.509 certificate")]
    NotUnderstood,
    /// Fault: whoever named the file; which of its certificates or keys is meant cannot be known.
    #[error("file holds {count} PEM blocks, not one certificate")]
    Several {
        /// How many.
        count: usize,
    },
    /// Fault: whoever made the certificate; PKCS#7 packets are for RSA.
    #[error("certificate has no RSA key of 2048 to 8192 bits")]
    Key,
}

/// How packets name a certificate: its issuer and its serial number.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct IssuerAndSerial {
    /// DER of the issuer's name.
    pub(super) issuer: Vec<u8>,
    /// Content of the INTEGER.
    pub(super) serial: Vec<u8>,
}

impl IssuerAndSerial {
    /// The issuer's name for people to read (RFC 4514), with everything escaped that could deceive a reader.
    pub fn issuer(&self) -> String {
        let Ok(name) = Name::from_der(&self.issuer) else {
            return "(unreadable name)".to_owned();
        };
        let mut text = String::new();
        // `to_string` would panic where a hostile name can't be written.
        match write!(text, "{name}") {
            Ok(()) => text.chars().map(shown).collect(),
            Err(fmt::Error) => "(unreadable name)".to_owned(),
        }
    }

    /// The serial number in hexadecimal digits.
    pub fn serial(&self) -> String {
        hex::encode(&self.serial)
    }
}

/// Control characters, and those that turn or hide what stands beside them, are written as their number.
fn shown(character: char) -> String {
    let deceives = character.is_control()
        || matches!(character, '\u{200b}'..='\u{200f}' | '\u{2028}'..='\u{202e}' | '\u{2060}'..='\u{206f}' | '\u{feff}');
    match deceives {
        true => character.escape_unicode().collect(),
        false => character.into(),
    }
}

/// A certificate that layer keys are encrypted to, or whose private key opens them.
#[derive(Clone)]
pub struct Certificate {
    name: IssuerAndSerial,
    key: PublicEncryptingKey,
}

impl Certificate {
    /// Whether a file seems to hold certificates rather than keys. [`Self::parse`] tells.
    pub fn is_in(file: &[u8]) -> bool {
        let label: &[u8] = b"-----BEGIN CERTIFICATE-----";
        let is_pem = file.windows(label.len()).any(|window| window == label);
        // The DER of no key has this shape: all begin with a number.
        is_pem || name_and_key(file).is_some()
    }

    /// Reads a file with one certificate, PEM or DER.
    pub fn parse(file: &[u8]) -> Result<Self, CertificateError> {
        if file.len() > MAX_CERTIFICATE_LEN {
            return Err(CertificateError::TooLong);
        }
        if file.first() == Some(&SEQUENCE) {
            return Self::from_der(file);
        }
        let mut blocks = pem::parse_many(file).map_err(|_| CertificateError::NotUnderstood)?;
        match (blocks.pop(), blocks.len()) {
            (Some(block), 0) if block.tag() == "CERTIFICATE" => Self::from_der(block.contents()),
            (_, 0) => Err(CertificateError::NotUnderstood),
            (_, others) => Err(CertificateError::Several { count: others + 1 }),
        }
    }

    /// Reads the DER of a certificate.
    pub fn from_der(der: &[u8]) -> Result<Self, CertificateError> {
        let (name, key) = name_and_key(der).ok_or(CertificateError::NotUnderstood)?;
        let key = PublicEncryptingKey::from_der(key).map_err(|_| CertificateError::Key)?;
        Ok(Self { name, key })
    }

    /// How packets name it.
    pub fn name(&self) -> &IssuerAndSerial {
        &self.name
    }

    /// Whether this private key is the certificate's.
    pub(super) fn is_for(&self, key: &PrivateDecryptingKey) -> bool {
        let der =
            |key: &PublicEncryptingKey| -> Option<PublicKeyX509Der<'static>> { key.as_der().ok() };
        match (der(&self.key), der(&key.public_key())) {
            (Some(ours), Some(theirs)) => ours.as_ref() == theirs.as_ref(),
            _ => false,
        }
    }

    /// RSAES-PKCS1-v1_5 of a content key.
    pub(super) fn encrypt(&self, content_key: &[u8]) -> Option<Vec<u8>> {
        let key = Pkcs1PublicEncryptingKey::new(self.key.clone()).ok()?;
        let mut encrypted = vec![0; key.ciphertext_size()];
        let length = key.encrypt(content_key, &mut encrypted).ok()?.len();
        encrypted.truncate(length);
        Some(encrypted)
    }
}

/// Walks to what is needed (RFC 5280 section 4.1), so that the issuer stays the bytes that peers compare.
fn name_and_key(der: &[u8]) -> Option<(IssuerAndSerial, &[u8])> {
    let mut to_be_signed = Reader::new(Reader::new(only(der, SEQUENCE)?).expect(SEQUENCE)?);
    to_be_signed.optional(constructed(0))?;
    let serial = to_be_signed.expect(INTEGER)?;
    to_be_signed.expect(SEQUENCE)?;
    let issuer = to_be_signed.any().filter(|name| name.tag == SEQUENCE)?;
    to_be_signed.expect(SEQUENCE)?;
    to_be_signed.expect(SEQUENCE)?;
    let key = to_be_signed.any().filter(|key| key.tag == SEQUENCE)?;
    let name = IssuerAndSerial {
        issuer: issuer.whole.to_vec(),
        serial: serial.to_vec(),
    };
    (!serial.is_empty()).then_some((name, key.whole))
}
