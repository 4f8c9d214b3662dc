//! Encrypts, decrypts and inspects container images; the order of steps, between ports that read and write them.
//!
//! [`encrypt`], [`decrypt`] and [`inspect`] are the three doors. What lies behind [`ImageSource`] is trusted with
//! nothing; [`ImageTarget`] shows nothing under its final name before all of it was checked.

mod config;
mod copy;
mod decrypt;
mod diff_id;
mod encrypt;
mod error;
mod hash;
mod identify;
mod inspect;
mod json;
mod manifest;
pub mod media;
mod parallel;
mod pipeline;
mod ports;
mod progress;
mod recipients;
mod walk;

pub use custody::{KeyDocument, KeyDocumentError, KeyUse, RootPin};
pub use decrypt::{DecryptOptions, Decrypted, Unbound, UnknownPacking, decrypt};
pub use encrypt::{Encrypted, encrypt};
pub use error::{ImageError, Kind};
pub use identify::{Identified, identify};
pub use inspect::{
    Binding, ImageReport, LayerReport, PublicReport, RecipientReport, Report, inspect,
};
pub use json::RawObject;
pub use manifest::RawManifest;
pub use ports::{
    BlobId, BlobReader, BlobWriter, ImageSource, ImageTarget, MANIFEST_LIMIT, PortError,
};
pub use progress::{Progress, Silent};
pub use recipients::{RecipientError, Recipients, opener_of_key_files};
