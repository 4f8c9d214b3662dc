//! Seals and opens: secrets at rest, image keys, and what is released. The one door to a secret is
//! [`Custody::release`], [`Custody::open_image_key`] and [`Custody::open_connection`]; each takes a logged proof.

mod custody;
pub mod kek;
pub mod key_document;
pub mod sealed;

pub use custody::{Custody, CustodyError, KeyPurpose, OpenedPacket, Released, Undelivered};
pub use kek::{Kek, KekError};
pub use key_document::{Announcement, KeyDocument, KeyDocumentError, KeyUse, RootPin};
pub use sealed::{ReleaseInfo, SealError, open_release, seal_secret, secret_aad};
