//! An encrypted message: for whom it is, and what they open.

use super::PgpHolder;
use super::framing::{
    GNUPG_AEAD, MALFORMED, MARKER, PADDING, PASSWORD_SESSION_KEY, PROTECTED,
    PUBLIC_KEY_SESSION_KEY, Packet, Packets, UNPROTECTED,
};
use super::key_id::PgpKeyId;
use crate::packet::PacketError;

/// Most recipients of one packet.
const MAX_RECIPIENTS: usize = 256;

/// One way in.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Recipient<'a> {
    pub(super) holder: PgpHolder,
    pub(super) packet: Packet<'a>,
}

/// A message whose content nobody can alter unseen.
#[derive(Debug)]
pub(super) struct Message<'a> {
    pub(super) recipients: Vec<Recipient<'a>>,
    /// What they open: of tag 18 or 20.
    pub(super) container: Packet<'a>,
}

impl<'a> Message<'a> {
    /// Reads a whole message; nothing may follow it.
    pub(super) fn parse(bytes: &'a [u8]) -> Result<Self, PacketError> {
        let mut packets = Packets::new(bytes);
        let mut recipients = Vec::new();
        while let Some(packet) = packets.next()? {
            match packet.tag {
                MARKER | PADDING => {}
                PUBLIC_KEY_SESSION_KEY | PASSWORD_SESSION_KEY
                    if recipients.len() < MAX_RECIPIENTS =>
                {
                    let holder = holder(&packet)?;
                    recipients.push(Recipient { holder, packet });
                }
                PROTECTED | GNUPG_AEAD => {
                    return match packets.next()? {
                        None => Ok(Self {
                            recipients,
                            container: packet,
                        }),
                        Some(_) => Err(MALFORMED),
                    };
                }
                // The attack avoided is EFAIL: whoever alters such a message chooses what comes out of it.
                UNPROTECTED => {
                    return Err(PacketError::Unsupported {
                        what: "encryption without integrity",
                        found: "tag 9".to_owned(),
                    });
                }
                _ => return Err(MALFORMED),
            }
        }
        Err(MALFORMED)
    }
}

/// Whom a session key is for (RFC 9580 section 5.1).
fn holder(packet: &Packet<'_>) -> Result<PgpHolder, PacketError> {
    if packet.tag == PASSWORD_SESSION_KEY {
        return Ok(PgpHolder::Password);
    }
    let (&version, rest) = packet.body.split_first().ok_or(MALFORMED)?;
    match version {
        3 => {
            let id = rest.first_chunk::<8>().ok_or(MALFORMED)?;
            Ok(match id {
                [0, 0, 0, 0, 0, 0, 0, 0] => PgpHolder::Hidden,
                id => PgpHolder::Key(PgpKeyId::new(*id)),
            })
        }
        6 => {
            let (&length, rest) = rest.split_first().ok_or(MALFORMED)?;
            let (named, _) = rest
                .split_at_checked(usize::from(length))
                .ok_or(MALFORMED)?;
            match named.split_first() {
                None => Ok(PgpHolder::Hidden),
                Some((&version, fingerprint)) => {
                    let id = PgpKeyId::of_fingerprint(version, fingerprint);
                    id.map(PgpHolder::Key).ok_or(MALFORMED)
                }
            }
        }
        // Of another version nothing is known, not even whom it is for.
        _ => Ok(PgpHolder::Hidden),
    }
}
