//! PKCS#7 packets as Go's ocicrypt writes and reads them: the options in an EnvelopedData for the holders of RSA keys,
//! whom it names by the issuer and serial number of their certificates.
//!
//! Peers put AES-GCM where its tag has no place of its own, and write its parameters as no library would read them, so
//! reading and writing are by hand, strictly: DER only, nothing behind the end.

use aws_lc_rs::rsa::PrivateDecryptingKey;
use jose::jwe::DecryptionKey;

use super::{KeyPacket, Opening, PacketError, PacketOpener, PacketWrapper, WrapError};
use crate::options::PrivateOptions;

mod certificate;
mod content;
pub(super) mod der;
mod envelope;
mod key;

pub use certificate::{Certificate, CertificateError, IssuerAndSerial, MAX_CERTIFICATE_LEN};
use content::{Cipher, Sealed};
use envelope::Envelope;
use key::KeyTransport;

/// Whom a packet names, in its order. Recipients that are named otherwise are left out.
pub fn pkcs7_recipients(packet: &[u8]) -> Result<Vec<IssuerAndSerial>, PacketError> {
    let Envelope { recipients, .. } = Envelope::parse(packet)?;
    Ok(recipients.iter().map(|info| info.name()).collect())
}

/// Opens packets that name a certificate whose private key is at hand.
#[derive(Default)]
pub struct Pkcs7Opener {
    certificates: Vec<Certificate>,
    keys: Vec<PrivateDecryptingKey>,
}

impl Pkcs7Opener {
    /// An opener without anything.
    pub fn new() -> Self {
        Self::default()
    }

    /// Adds a certificate. It opens nothing without its private key.
    pub fn add_certificate(&mut self, certificate: Certificate) {
        self.certificates.push(certificate);
    }

    /// Adds a private key for the certificates, before or after them. Keys that are not RSA open nothing here.
    pub fn add_key(&mut self, key: &DecryptionKey) {
        self.keys.extend(key.expose_rsa().cloned());
    }

    /// The first certificate that came without its private key.
    pub fn lonely_certificate(&self) -> Option<&Certificate> {
        let mut certificates = self.certificates.iter();
        certificates.find(|certificate| self.key_of(certificate).is_none())
    }

    fn key_of(&self, certificate: &Certificate) -> Option<&PrivateDecryptingKey> {
        self.keys.iter().find(|key| certificate.is_for(key))
    }
}

impl PacketOpener for Pkcs7Opener {
    fn open(&self, packet: &KeyPacket) -> Opening {
        let KeyPacket::Pkcs7(bytes) = packet else {
            return Opening::NotOurs;
        };
        let envelope = match Envelope::parse(bytes) {
            Ok(envelope) => envelope,
            Err(error) => return Opening::Failed(error),
        };
        let mut outcome = Opening::NotOurs;
        for certificate in &self.certificates {
            // The first that names the certificate, as peers do: a packet that names it a thousand times costs one
            // private operation.
            let named = |info: &&envelope::RecipientInfo<'_>| info.is_for(certificate.name());
            let Some(recipient) = envelope.recipients.iter().find(named) else {
                continue;
            };
            let Some(key) = self.key_of(certificate) else {
                continue;
            };
            outcome = open_with(&envelope, recipient, key);
            if matches!(outcome, Opening::Opened(_)) {
                break;
            }
        }
        outcome
    }
}

fn open_with(
    envelope: &Envelope<'_>,
    recipient: &envelope::RecipientInfo<'_>,
    key: &PrivateDecryptingKey,
) -> Opening {
    // Everything public is judged first; after the private operation there is one error only.
    let parsed = Cipher::parse(&envelope.algorithm)
        .and_then(|cipher| Ok((cipher, KeyTransport::parse(&recipient.algorithm)?)));
    let (cipher, transport) = match parsed {
        Ok(parsed) => parsed,
        Err(error) => return Opening::Failed(error),
    };
    match transport.decrypt(key, recipient.encrypted_key, cipher.key_len()) {
        Some(content_key) => cipher.open(&content_key, envelope.content.clone()),
        None => Opening::Failed(PacketError::Pkcs7),
    }
}

/// Wraps for all its recipients in one packet.
#[derive(Clone)]
pub struct Pkcs7Wrapper {
    recipients: Vec<Certificate>,
}

impl Pkcs7Wrapper {
    /// A wrapper for these recipients.
    pub fn new(recipients: Vec<Certificate>) -> Self {
        Self { recipients }
    }
}

impl PacketWrapper for Pkcs7Wrapper {
    fn wrap(&self, options: &PrivateOptions) -> Result<KeyPacket, WrapError> {
        if self.recipients.is_empty() {
            return Err(WrapError::Pkcs7);
        }
        let Sealed {
            key,
            algorithm,
            content,
        } = Sealed::new(options.expose_bytes()).ok_or(WrapError::Pkcs7)?;
        let encrypted = |certificate: &Certificate| certificate.encrypt(key.as_slice());
        let recipients = self
            .recipients
            .iter()
            .map(|certificate| Some((certificate.name(), encrypted(certificate)?)))
            .collect::<Option<Vec<_>>>()
            .ok_or(WrapError::Pkcs7)?;
        Ok(KeyPacket::Pkcs7(envelope::write(
            &recipients,
            &algorithm,
            &content,
        )))
    }
}

#[cfg(test)]
mod tests;
