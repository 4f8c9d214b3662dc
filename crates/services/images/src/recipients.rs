//! For whom an image is encrypted, and with which keys it is opened.

use std::sync::Arc;

use custody::{KeyDocument, KeyDocumentError, KeyUse, RootPin};
use estate::Timestamp;
use jose::JwkError;
use jose::jwe::{DecryptionKey, EncryptionKey};
use jose::key_file::{self, KeyFileError};
use oci_crypt::{BailiwickWrapper, JweOpener, JweWrapper, PacketWrapper};

use crate::error::{ImageError, Kind};
use crate::ports::KeyService;
use crate::services::ServiceWrapper;

/// The recipients of an image: public keys of people, and authorities that release keys to attested nodes.
#[derive(Default)]
pub struct Recipients {
    jwe: Vec<EncryptionKey>,
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
            Self::KeyFile(_) | Self::Key(_) => Kind::Usage,
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

    /// Adds the holder of the private half of a public key, in any form that a key file has (`jwe:FILE`).
    ///
    /// # Errors
    /// When the file holds no key, or one that nothing can be encrypted to.
    pub fn add_public_key(&mut self, file: &[u8]) -> Result<(), RecipientError> {
        let jwk = key_file::parse_public(file).map_err(RecipientError::KeyFile)?;
        self.jwe
            .push(EncryptionKey::from_jwk(&jwk).map_err(RecipientError::Key)?);
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

    /// All holders of public keys share one packet, as other tools write and expect it; each authority has its own.
    pub(crate) fn wrappers(&self) -> Result<Vec<Box<dyn PacketWrapper>>, ImageError> {
        let mut wrappers: Vec<Box<dyn PacketWrapper>> = Vec::new();
        if !self.jwe.is_empty() {
            wrappers.push(Box::new(JweWrapper::new(self.jwe.clone())));
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
