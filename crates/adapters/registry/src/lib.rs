//! Where images lie: OCI registries and layouts in a directory, as the ports that `images` declares.
//!
//! [`open_source`] and [`open_target`] turn a [`Reference`] into a port. What comes out of either is not trusted by
//! `images`; here is checked what only this side can see: sizes while they stream, digests that were asked for,
//! that no answer leads away from TLS, and that nothing has its final name before it is whole.

mod error;
mod layout;
mod reference;
mod remote;

pub use error::RegistryError;
pub use layout::{LayoutSource, LayoutTarget};
pub use reference::{
    Host, LayoutReference, LayoutTag, Reference, ReferenceError, RemoteReference, Repository, Tag,
    Version,
};
pub use remote::{Loopback, Options, RemoteSource, RemoteTarget, auth_file_candidates};

use images::{ImageSource, ImageTarget};

/// Opens what `reference` names, for reading.
///
/// # Errors
/// When there is no such layout or image in it, or the client for a registry can't be made.
pub fn open_source(
    reference: &Reference,
    options: &Options,
) -> Result<Box<dyn ImageSource>, RegistryError> {
    Ok(match reference {
        Reference::Layout(layout) => Box::new(LayoutSource::open(layout)?),
        Reference::Remote(remote) => Box::new(RemoteSource::open(remote, options)?),
    })
}

/// Opens what `reference` names, for writing.
///
/// # Errors
/// When the directory holds something else, the name is a digest, or the client for a registry can't be made.
pub fn open_target(
    reference: &Reference,
    options: &Options,
) -> Result<Box<dyn ImageTarget>, RegistryError> {
    Ok(match reference {
        Reference::Layout(layout) => Box::new(LayoutTarget::open(layout)?),
        Reference::Remote(remote) => Box::new(RemoteTarget::open(remote, options)?),
    })
}
