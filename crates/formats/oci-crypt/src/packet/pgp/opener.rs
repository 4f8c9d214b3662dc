//! Opens messages with secret keys that are at hand.

use pgp::packet::{PacketHeader, PublicKeyEncryptedSessionKey};
use pgp::types::{EskType, Tag};

use super::PgpHolder;
use super::content;
use super::framing::PUBLIC_KEY_SESSION_KEY;
use super::key_file::fenced;
use super::message::{Message, Recipient};
use super::secret_ring::OpenedKey;
use crate::packet::{KeyPacket, Opening, PacketError, PacketOpener};

/// Most private operations for one packet. Where recipients are hidden, every key tries every session key.
const MAX_TRIES: usize = 512;

/// Opens packets that are for one of its keys, or do not tell whom they are for.
pub struct PgpOpener {
    keys: Vec<OpenedKey>,
}

impl PgpOpener {
    pub(super) const fn new(keys: Vec<OpenedKey>) -> Self {
        Self { keys }
    }
}

impl PacketOpener for PgpOpener {
    fn open(&self, packet: &KeyPacket) -> Opening {
        let KeyPacket::Pgp(bytes) = packet else {
            return Opening::NotOurs;
        };
        let message = match Message::parse(bytes) {
            Ok(message) => message,
            Err(error) => return Opening::Failed(error),
        };
        let mut outcome = Opening::NotOurs;
        let pairs = message.recipients.iter().flat_map(|recipient| {
            let keys = self.keys.iter();
            keys.filter_map(move |key| Some((recipient, key, is_for(recipient, key)?)))
        });
        for (recipient, key, is_named) in pairs.take(MAX_TRIES) {
            match open_with(&message, recipient, key) {
                Some(plaintext) => return Opening::of_plaintext(&plaintext),
                // There is one error for all that can be wrong behind the private operation. A hidden recipient is
                // probably somebody else.
                None if is_named => outcome = Opening::Failed(PacketError::Pgp),
                None => {}
            }
        }
        outcome
    }
}

/// Whether the key may be meant, and is named.
fn is_for(recipient: &Recipient<'_>, key: &OpenedKey) -> Option<bool> {
    match recipient.holder {
        PgpHolder::Key(id) => (id == key.id).then_some(true),
        PgpHolder::Hidden => Some(false),
        PgpHolder::Password => None,
    }
}

fn open_with(
    message: &Message<'_>,
    recipient: &Recipient<'_>,
    key: &OpenedKey,
) -> Option<zeroize::Zeroizing<Vec<u8>>> {
    let session_key = fenced(|| {
        let body = &recipient.packet.body;
        let length = u32::try_from(body.len()).ok()?;
        debug_assert_eq!(recipient.packet.tag, PUBLIC_KEY_SESSION_KEY);
        let header = PacketHeader::new_fixed(Tag::PublicKeyEncryptedSessionKey, length);
        PublicKeyEncryptedSessionKey::try_from_reader(header, &mut &**body).ok()
    })?;
    let kind = match &session_key {
        PublicKeyEncryptedSessionKey::V3 { .. } => EskType::V3_4,
        PublicKeyEncryptedSessionKey::V6 { .. } => EskType::V6,
        PublicKeyEncryptedSessionKey::Other { .. } => return None,
    };
    let session_key = key.session_key(session_key.values().ok()?, kind)?;
    content::open(&message.container, &session_key)
}
