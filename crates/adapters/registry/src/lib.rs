//! Where images lie: OCI registries, layouts in a directory and archives, as the ports that `images` declares.
//!
//! [`open_source`] and [`open_target`] turn a [`Reference`] into a port. What comes out of either is not trusted by
//! `images`; here is checked what only this side can see: sizes while they stream, digests that were asked for,
//! that no answer leads away from TLS, and that nothing has its final name before it is whole.

mod archive;
mod error;
mod layout;
mod reference;
mod remote;

pub use archive::{ArchiveSource, ArchiveTarget, DockerArchiveSource, TarError};
pub use error::RegistryError;
pub use layout::{LayoutSource, LayoutTarget};
pub use reference::{
    ArchiveReference, Host, LayoutReference, LayoutTag, Reference, ReferenceError, RemoteReference,
    Repository, Tag, Version,
};
pub use remote::{
    Helpers, Loopback, Options, Patience, RemoteSource, RemoteTarget, auth_file_candidates,
};

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
        Reference::Archive(archive) => Box::new(ArchiveSource::open(archive)?),
        Reference::DockerArchive(archive) => Box::new(DockerArchiveSource::open(archive)?),
        Reference::Remote(remote) => Box::new(RemoteSource::open(remote, options)?),
    })
}

/// Opens what `reference` names, for writing.
///
/// # Errors
/// When something else lies there, nothing is written there, the name is a digest, or the client for a registry can't be made.
pub fn open_target(
    reference: &Reference,
    options: &Options,
) -> Result<Box<dyn ImageTarget>, RegistryError> {
    Ok(match reference {
        Reference::Layout(layout) => Box::new(LayoutTarget::open(layout)?),
        Reference::Archive(archive) => Box::new(ArchiveTarget::open(archive)?),
        Reference::DockerArchive(_) => return Err(RegistryError::ReadOnly),
        Reference::Remote(remote) => Box::new(RemoteTarget::open(remote, options)?),
    })
}

/// Opens what `target` names, for writing an image that comes from `source`: as [`open_target`], and where both are
/// repositories of one registry, what lies in the first already is taken over by the registry itself.
///
/// # Errors
/// Those of [`open_target`].
pub fn open_target_from(
    source: &Reference,
    target: &Reference,
    options: &Options,
) -> Result<Box<dyn ImageTarget>, RegistryError> {
    match (source, target) {
        (Reference::Remote(source), Reference::Remote(target)) => Ok(Box::new(
            RemoteTarget::open(target, options)?.mounting_from(source),
        )),
        _ => open_target(target, options),
    }
}
