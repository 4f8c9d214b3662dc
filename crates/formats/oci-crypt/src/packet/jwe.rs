//! JWE packets as Go's ocicrypt writes and reads them.

use jose::jwe::{DecryptError, DecryptionKey, EncryptionKey, decrypt, encrypt};

use super::{KeyPacket, Opening, PacketError, PacketOpener, PacketWrapper, WrapError};
use crate::options::PrivateOptions;

/// Opens JWE packets by trying keys: most of these packets name none.
pub struct JweOpener {
    keys: Vec<DecryptionKey>,
}

impl JweOpener {
    /// An opener with these keys, tried in this order.
    pub fn new(keys: Vec<DecryptionKey>) -> Self {
        Self { keys }
    }
}

impl PacketOpener for JweOpener {
    fn open(&self, packet: &KeyPacket) -> Opening {
        let KeyPacket::Jwe(text) = packet else {
            return Opening::NotOurs;
        };
        let mut outcome = Opening::NotOurs;
        for key in &self.keys {
            match decrypt(text, key) {
                Ok(plaintext) => return Opening::of_plaintext(&plaintext),
                Err(DecryptError::NotForThisKey) => {}
                Err(source) => outcome = Opening::Failed(PacketError::Jwe { source }),
            }
        }
        outcome
    }
}

/// Wraps for all its recipients in one packet.
pub struct JweWrapper {
    recipients: Vec<EncryptionKey>,
}

impl JweWrapper {
    /// A wrapper for these recipients.
    pub fn new(recipients: Vec<EncryptionKey>) -> Self {
        Self { recipients }
    }
}

impl PacketWrapper for JweWrapper {
    fn wrap(&self, options: &PrivateOptions) -> Result<KeyPacket, WrapError> {
        let text = encrypt(options.expose_bytes(), &self.recipients)
            .map_err(|source| WrapError::Jwe { source })?;
        Ok(KeyPacket::Jwe(text.into_bytes()))
    }
}
