//! Makes messages that all peers open: session keys of version 3, AES-256 with MDC, literal data, no compression.

use ::rand::rngs::OsRng;
use aws_lc_rs::rand;
use pgp::crypto::sym::SymmetricKeyAlgorithm;
use pgp::packet::{PacketTrait as _, SymEncryptedProtectedData};
use zeroize::Zeroizing;

use super::framing::{LITERAL, header};
use super::key_file::fenced;
use super::public_ring::PgpRecipient;
use crate::options::PrivateOptions;
use crate::packet::{KeyPacket, PacketWrapper, WrapError};

/// Wraps for all its recipients in one packet.
#[derive(Clone)]
pub struct PgpWrapper {
    recipients: Vec<PgpRecipient>,
}

impl PgpWrapper {
    /// A wrapper for these recipients; one who is named twice counts once.
    pub fn new(recipients: Vec<PgpRecipient>) -> Self {
        let mut once: Vec<PgpRecipient> = Vec::new();
        for recipient in recipients {
            if once
                .iter()
                .all(|other| other.key_id() != recipient.key_id())
            {
                once.push(recipient);
            }
        }
        Self { recipients: once }
    }
}

impl PacketWrapper for PgpWrapper {
    fn wrap(&self, options: &PrivateOptions) -> Result<KeyPacket, WrapError> {
        if self.recipients.is_empty() {
            return Err(WrapError::Pgp);
        }
        let message = message(&self.recipients, options.expose_bytes());
        message.map(KeyPacket::Pgp).ok_or(WrapError::Pgp)
    }
}

fn message(recipients: &[PgpRecipient], text: &[u8]) -> Option<Vec<u8>> {
    let mut session_key = Zeroizing::new([0; 32]);
    rand::fill(session_key.as_mut()).ok()?;
    let mut message = Vec::new();
    for recipient in recipients {
        let packet = recipient.wrap(session_key.as_ref())?;
        packet.to_writer_with_header(&mut message).ok()?;
    }
    let literal = literal(text)?;
    let content = fenced(|| {
        let algorithm = SymmetricKeyAlgorithm::AES256;
        let key = session_key.as_ref();
        SymEncryptedProtectedData::encrypt_seipdv1(OsRng, algorithm, key, &literal).ok()
    })?;
    content.to_writer_with_header(&mut message).ok()?;
    Some(message)
}

/// Binary data without a name and without a date, which would tell when it was written.
fn literal(text: &[u8]) -> Option<Zeroizing<Vec<u8>>> {
    let before = [b'b', 0, 0, 0, 0, 0];
    let mut literal = Zeroizing::new(Vec::with_capacity(text.len() + 16));
    literal.extend_from_slice(&header(LITERAL, before.len() + text.len())?);
    literal.extend_from_slice(&before);
    literal.extend_from_slice(text);
    Some(literal)
}
