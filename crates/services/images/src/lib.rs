//! Encrypts, decrypts and inspects container images; the order of steps, between ports that read and write them.

mod error;
mod json;
mod manifest;
pub mod media;
mod ports;
mod progress;

pub use error::{ImageError, Kind};
pub use json::RawObject;
pub use manifest::RawManifest;
pub use ports::{
    BlobId, BlobReader, BlobWriter, ImageSource, ImageTarget, MANIFEST_LIMIT, PortError,
};
pub use progress::{Progress, Silent};
