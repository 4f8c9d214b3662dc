//! For whom an image is encrypted, and with which keys it is opened.

use std::sync::Arc;

use custody::{KeyDocument, KeyDocumentError, KeyUse, RootPin};
use estate::Timestamp;
use jose::jwe::{DecryptionKey, EncryptionKey};
use jose::key_file::{self, KeyFileError};
use jose::{Jwk, JwkError};
use oci_crypt::{
    BailiwickWrapper, Certificate, CertificateError, CocoKey, CocoKeyError, CocoOpener,
    CocoWrapper, JweOpener, JweWrapper, OaepHash, PacketOpener, PacketWrapper, Pkcs7Opener,
    Pkcs7Wrapper, Pkcs11Key, Pkcs11KeyError, Pkcs11Opener, Pkcs11Recipient, Pkcs11Wrapper,
    TokenKey,
};
#[cfg(feature = "pgp")]
use oci_crypt::{PgpOpener, PgpRecipient, PgpWrapper};

use crate::error::{ImageError, Kind};
use crate::ports::KeyService;
use crate::services::ServiceWrapper;

/// The recipients of an image: public keys of people, and authorities that release keys to attested nodes.
#[derive(Default)]
pub struct Recipients {
    jwe: Vec<EncryptionKey>,
    pkcs7: Vec<Certificate>,
    #[cfg(feature = "pgp")]
    pgp: Vec<PgpRecipient>,
    pkcs11: Vec<Pkcs11Key>,
    brokers: Vec<CocoWrapper>,
    authorities: Vec<BailiwickWrapper>,
    services: Vec<ServiceWrapper>,
}

/// Why somebody can't be a recipient, or a key can't open anything.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum RecipientError {
    /// Fault: the caller; the file holds no key that is read here.
    #[error("a key can't be read")]
    KeyFile(#[source] KeyFileError),
    /// Fault: the caller; nothing can be encrypted to a key of this kind.
    #[error("nothing can be encrypted to a key")]
    Key(#[source] JwkError),
    /// Fault: the caller; the file holds no certificate that is read here.
    #[error("a certificate can't be read")]
    Certificate(#[source] CertificateError),
    /// Fault: the caller; a certificate only says which packets its private key opens.
    #[error("the certificate {serial} of `{issuer}` comes without its private key")]
    CertificateWithoutKey {
        /// The name of whoever issued it.
        issuer: String,
        /// Its serial number.
        serial: String,
    },
    /// Fault: the caller; a key in a hardware module must be RSA, and large enough for what is wrapped.
    #[error("nothing can be encrypted to a key in a hardware module")]
    Pkcs11(#[source] Pkcs11KeyError),
    /// Fault: the caller; it is no key that a key broker could keep.
    #[error("the key of a key broker is refused")]
    BrokerKey(#[source] CocoKeyError),
    /// Fault: whoever published or sent the document.
    #[error("a key document is not to be used")]
    Document(#[source] KeyDocumentError),
    /// Fault: whoever sent the document; it is for another image.
    #[error("the key document is for the image `{}`, not for `{}`", found.escape_debug(), expected.escape_debug())]
    OtherImage {
        /// The image that was asked for.
        expected: String,
        /// The image in the document.
        found: String,
    },
}

impl RecipientError {
    /// What this failure means to whoever called.
    #[must_use]
    pub const fn kind(&self) -> Kind {
        match self {
            Self::KeyFile(_)
            | Self::Key(_)
            | Self::Certificate(_)
            | Self::CertificateWithoutKey { .. }
            | Self::Pkcs11(_)
            | Self::BrokerKey(_) => Kind::Usage,
            Self::Document(_) | Self::OtherImage { .. } => Kind::VerificationFailed,
        }
    }
}

impl Recipients {
    /// Nobody yet.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// Adds the holder of the private half of a public key, in any form that a key file has (`jwe:FILE`); of a JWK set,
    /// the holders of all its keys.
    ///
    /// # Errors
    /// When the file holds no key, or one that nothing can be encrypted to.
    pub fn add_public_key(&mut self, file: &[u8]) -> Result<(), RecipientError> {
        let keys = key_file::parse_public_keys(file).map_err(RecipientError::KeyFile)?;
        for key in &keys {
            self.jwe
                .push(EncryptionKey::from_jwk(key).map_err(RecipientError::Key)?);
        }
        Ok(())
    }

    /// Adds the holder of the private key of a certificate, PEM or DER (`pkcs7:FILE`).
    ///
    /// # Errors
    /// When the file holds no certificate, or one without an RSA key.
    pub fn add_certificate(&mut self, file: &[u8]) -> Result<(), RecipientError> {
        let certificate = Certificate::parse(file).map_err(RecipientError::Certificate)?;
        self.pkcs7.push(certificate);
        Ok(())
    }

    /// Adds the holder of an OpenPGP key (`pgp:FILE`, `pgp:NAME`).
    #[cfg(feature = "pgp")]
    pub fn add_pgp(&mut self, recipient: PgpRecipient) {
        self.pgp.push(recipient);
    }

    /// Adds the holder of a key in a hardware module (`pkcs11:FILE`): by its public key, in any form that a key file has.
    /// What comes back says whether the key has room for a binding.
    ///
    /// # Errors
    /// When the file holds no RSA key, or a key that has no room for what is wrapped.
    pub fn add_token_key(
        &mut self,
        file: &[u8],
        hash: OaepHash,
    ) -> Result<Pkcs11Recipient, RecipientError> {
        let key = key_file::parse_public(file).map_err(RecipientError::KeyFile)?;
        self.add_token_jwk(&key, hash)
    }

    /// As [`Recipients::add_token_key`], with what the module said of its key.
    ///
    /// # Errors
    /// When the key is not RSA, or has no room for what is wrapped.
    pub fn add_token_jwk(
        &mut self,
        key: &Jwk,
        hash: OaepHash,
    ) -> Result<Pkcs11Recipient, RecipientError> {
        let key = Pkcs11Key::new(key, hash).map_err(RecipientError::Pkcs11)?;
        let recipient = key.recipient();
        self.pkcs11.push(key);
        Ok(recipient)
    }

    /// Adds the guests of Confidential Containers whom a key broker gives this key under this name, such as
    /// `kbs:///default/key/1`.
    ///
    /// # Errors
    /// When it is no name that a guest could ask for, or no key of 32 bytes.
    pub fn add_broker_key(&mut self, name: &str, key: &[u8]) -> Result<(), RecipientError> {
        let key = CocoKey::new(name, key).map_err(RecipientError::BrokerKey)?;
        self.brokers.push(CocoWrapper::new(key));
        Ok(())
    }

    /// Adds the authority that signed a key document for the image `image` (`bailiwick:IMAGE`).
    ///
    /// # Errors
    /// When the document is not signed by the pinned root, is for another use or image, or not valid at `now`.
    pub fn add_authority(
        &mut self,
        document: &str,
        image: &str,
        pin: RootPin,
        now: Timestamp,
    ) -> Result<(), RecipientError> {
        let document = KeyDocument::verify(document, KeyUse::Image, pin, now)
            .map_err(RecipientError::Document)?;
        if document.resource != image {
            return Err(RecipientError::OtherImage {
                expected: image.to_owned(),
                found: document.resource,
            });
        }
        self.authorities.push(BailiwickWrapper {
            key: document.public_key().map_err(RecipientError::Document)?,
            authority: document.authority,
            resource: document.resource,
        });
        Ok(())
    }

    /// Adds a key service, with what the caller wrote behind its name (`provider:NAME:ARGUMENTS`). A service that is named
    /// twice is asked once, with both arguments, as other tools do.
    pub fn add_service(&mut self, service: Arc<dyn KeyService>, arguments: &str) {
        let known = self
            .services
            .iter_mut()
            .find(|known| known.service.name() == service.name());
        match known {
            Some(known) => known.arguments.push(arguments.to_owned()),
            None => self.services.push(ServiceWrapper {
                service,
                arguments: vec![arguments.to_owned()],
            }),
        }
    }

    /// All holders of public keys share one packet, as other tools write and expect it, and so do all holders of
    /// certificates, of OpenPGP keys and of hardware modules; each authority and each broker's key has its own.
    pub(crate) fn wrappers(&self) -> Result<Vec<Box<dyn PacketWrapper>>, ImageError> {
        let mut wrappers: Vec<Box<dyn PacketWrapper>> = Vec::new();
        if !self.jwe.is_empty() {
            wrappers.push(Box::new(JweWrapper::new(self.jwe.clone())));
        }
        if !self.pkcs7.is_empty() {
            wrappers.push(Box::new(Pkcs7Wrapper::new(self.pkcs7.clone())));
        }
        #[cfg(feature = "pgp")]
        if !self.pgp.is_empty() {
            wrappers.push(Box::new(PgpWrapper::new(self.pgp.clone())));
        }
        if !self.pkcs11.is_empty() {
            wrappers.push(Box::new(Pkcs11Wrapper::new(self.pkcs11.clone())));
        }
        for broker in &self.brokers {
            wrappers.push(Box::new(broker.clone()));
        }
        for authority in &self.authorities {
            wrappers.push(Box::new(authority.clone()));
        }
        for service in &self.services {
            wrappers.push(Box::new(service.clone()));
        }
        if wrappers.is_empty() {
            return Err(ImageError::NoRecipient);
        }
        Ok(wrappers)
    }
}

/// The keys that open an image, as `--key` gave them.
#[derive(Default)]
pub struct Keys {
    openers: Vec<Box<dyn PacketOpener>>,
    /// Where each opener came from.
    origins: Vec<String>,
    /// Where the next ones come from.
    origin: String,
    pkcs7: Pkcs7Opener,
}

impl Keys {
    /// Says where what is added from now on comes from, such as a file's name: see [`Keys::named_openers`].
    pub fn come_from(&mut self, origin: impl Into<String>) {
        self.origin = origin.into();
    }

    fn push(&mut self, opener: impl PacketOpener + 'static) {
        self.openers.push(Box::new(opener));
        self.origins.push(self.origin.clone());
    }

    /// Adds the private keys of a file, in any form that a key file has. The password counts when the file is encrypted.
    ///
    /// # Errors
    /// When the file holds no private key that is read here, or the password is missing or wrong.
    pub fn add_private_key(
        &mut self,
        file: &[u8],
        password: Option<&[u8]>,
    ) -> Result<(), RecipientError> {
        let keys = key_file::parse_private_keys(file, password).map_err(RecipientError::KeyFile)?;
        keys.iter().for_each(|key| self.pkcs7.add_key(key));
        self.push(JweOpener::new(keys));
        Ok(())
    }

    /// Adds the certificate of a private key, which opens PKCS#7 packets with it. The order does not count.
    ///
    /// # Errors
    /// As [`Recipients::add_certificate`].
    pub fn add_certificate(&mut self, file: &[u8]) -> Result<(), RecipientError> {
        let certificate = Certificate::parse(file).map_err(RecipientError::Certificate)?;
        self.pkcs7.add_certificate(certificate);
        Ok(())
    }

    /// Adds the key that a key broker keeps under this name.
    ///
    /// # Errors
    /// As [`Recipients::add_broker_key`].
    pub fn add_broker_key(&mut self, name: &str, key: &[u8]) -> Result<(), RecipientError> {
        let key = CocoKey::new(name, key).map_err(RecipientError::BrokerKey)?;
        self.push(CocoOpener::new(vec![key]));
        Ok(())
    }

    /// Adds the OpenPGP secret keys of a file.
    #[cfg(feature = "pgp")]
    pub fn add_pgp(&mut self, opener: PgpOpener) {
        self.push(opener);
    }

    /// Adds a key in a hardware module.
    pub fn add_token_key(&mut self, key: impl TokenKey + 'static) {
        self.push(Pkcs11Opener::new(vec![Box::new(key)]));
    }

    /// Whether everything that was added can open something.
    ///
    /// # Errors
    /// When a certificate came without its private key.
    pub fn check(&self) -> Result<(), RecipientError> {
        match self.pkcs7.lonely_certificate() {
            None => Ok(()),
            Some(lonely) => Err(RecipientError::CertificateWithoutKey {
                issuer: lonely.name().issuer(),
                serial: lonely.name().serial(),
            }),
        }
    }

    /// Those who try packets, in the order in which the keys were given.
    #[must_use]
    pub fn openers(&self) -> Vec<&dyn PacketOpener> {
        let pkcs7: &dyn PacketOpener = &self.pkcs7;
        let others = self.openers.iter().map(AsRef::as_ref);
        others.chain([pkcs7]).collect()
    }

    /// The same, with where each came from. Certificates and private keys open PKCS#7 packets together.
    #[must_use]
    pub fn named_openers(&self) -> Vec<(&str, &dyn PacketOpener)> {
        let mut origins: Vec<&str> = self.origins.iter().map(String::as_str).collect();
        origins.push("certificates and their private keys");
        origins.into_iter().zip(self.openers()).collect()
    }
}

/// An opener with the private keys of these files (`--key FILE`).
///
/// # Errors
/// When a file holds no private key that is read here; none is passed over in silence.
pub fn opener_of_key_files<'f>(
    files: impl IntoIterator<Item = &'f [u8]>,
) -> Result<JweOpener, RecipientError> {
    let keys: Vec<DecryptionKey> = files
        .into_iter()
        .map(key_file::parse_private)
        .collect::<Result<_, _>>()
        .map_err(RecipientError::KeyFile)?;
    Ok(JweOpener::new(keys))
}
