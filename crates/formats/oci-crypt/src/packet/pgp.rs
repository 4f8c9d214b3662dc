//! OpenPGP packets as Go's ocicrypt and GnuPG write and read them: one encrypted message for all recipients, in binary form.
//!
//! Whom a message is for stands in it readably, so that everybody can list the recipients. Opening and making messages is
//! behind the Cargo feature `pgp`, whose library knows the many kinds of keys that people have.

use super::PacketError;

#[cfg(feature = "pgp")]
mod content;
mod framing;
#[cfg(feature = "pgp")]
mod key_file;
mod key_id;
mod message;
#[cfg(feature = "pgp")]
mod opener;
#[cfg(feature = "pgp")]
mod public_ring;
#[cfg(feature = "pgp")]
mod rsa;
#[cfg(feature = "pgp")]
mod secret_ring;
#[cfg(feature = "pgp")]
mod user_id;
#[cfg(feature = "pgp")]
mod wrapper;

#[cfg(feature = "pgp")]
pub use key_file::{MAX_PGP_RING_LEN, PgpKeyError, is_pgp_key_file};
pub use key_id::{PgpKeyId, PgpKeyIdError};
use message::Message;
#[cfg(feature = "pgp")]
pub use opener::PgpOpener;
#[cfg(feature = "pgp")]
pub use public_ring::{PgpPublicRing, PgpRecipient};
#[cfg(feature = "pgp")]
pub use secret_ring::PgpSecretRing;
#[cfg(feature = "pgp")]
pub use wrapper::PgpWrapper;

/// One who can open a message, as far as it tells.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum PgpHolder {
    /// Who has the private half of this key.
    Key(PgpKeyId),
    /// Who has a key that is not told.
    Hidden,
    /// Who knows a password.
    Password,
}

/// Whom a packet is for, in its order.
pub fn pgp_recipients(packet: &[u8]) -> Result<Vec<PgpHolder>, PacketError> {
    let Message { recipients, .. } = Message::parse(packet)?;
    Ok(recipients
        .iter()
        .map(|recipient| recipient.holder)
        .collect())
}

/// The packet without this recipient, which opens for the others as before: nothing that is authenticated names him.
pub fn pgp_without(packet: &[u8], holder: PgpHolder) -> Result<Vec<u8>, PacketError> {
    let message = Message::parse(packet)?;
    let others = message
        .recipients
        .iter()
        .filter(|recipient| recipient.holder != holder)
        .map(|recipient| recipient.packet.whole);
    let parts: Vec<&[u8]> = others.chain([message.container.whole]).collect();
    Ok(parts.concat())
}

#[cfg(test)]
mod tests;
