//! What this room asks of the world: somewhere to read an image from, and somewhere to write one.

use std::error::Error;
use std::fmt;
use std::sync::Arc;

use estate::Digest;
use zeroize::Zeroizing;

use crate::error::Kind;
use crate::manifest::RawManifest;
use crate::referrers::{About, Referrer};

/// Where an image is read from.
///
/// Nothing that comes out is trusted: this room checks the digest and the size of every manifest and of every blob.
pub trait ImageSource: Sync {
    /// The manifest or index that the name of this source stands for.
    ///
    /// # Errors
    /// When there is none, or it can't be read, or it is larger than [`MANIFEST_LIMIT`].
    fn root(&self) -> Result<RawManifest, PortError>;

    /// The manifest or index with this digest.
    ///
    /// # Errors
    /// As [`ImageSource::root`].
    fn manifest(&self, id: &BlobId) -> Result<RawManifest, PortError>;

    /// The bytes of a blob, as a stream that ends with an error when it holds another number of bytes than `id.size`.
    ///
    /// # Errors
    /// When there is no such blob, or it can't be opened.
    fn blob(&self, id: &BlobId) -> Result<Box<dyn BlobReader + '_>, PortError>;

    /// The documents beside the image that speak of it, as a list says that they do; places without such lists have none.
    ///
    /// # Errors
    /// When there may be some and the list can't be read.
    fn referrers(&self, about: About) -> Result<Vec<Referrer>, PortError> {
        let _ = about;
        Ok(Vec::new())
    }

    /// The manifest that a tag in the same place stands for; `None` when there is no such tag.
    ///
    /// # Errors
    /// When there may be one and it can't be read.
    fn tagged(&self, tag: &str) -> Result<Option<RawManifest>, PortError> {
        let _ = tag;
        Ok(None)
    }
}

/// Where an image is written to. Nothing is visible under its final name before [`ImageTarget::publish`] returns.
pub trait ImageTarget: Sync {
    /// Whether a blob with these bytes lies there already.
    ///
    /// # Errors
    /// When the target can't tell.
    fn holds(&self, id: &BlobId) -> Result<bool, PortError>;

    /// Begins a blob whose digest is told when it is finished; dropping the writer forgets the blob.
    ///
    /// # Errors
    /// When nothing can be written there.
    fn write_blob(&self) -> Result<Box<dyn BlobWriter + '_>, PortError>;

    /// Adds a manifest or index that a later one names by digest.
    ///
    /// # Errors
    /// When the target refuses it.
    fn write_manifest(&self, manifest: &RawManifest) -> Result<(), PortError>;

    /// Puts everything written so far under the final name, all at once or not at all.
    ///
    /// # Errors
    /// When the target refuses; the name then stands for what it stood for before.
    fn publish(&self, root: &RawManifest) -> Result<(), PortError>;

    /// Adds a document that speaks of something, so that [`ImageSource::referrers`] finds it; what it speaks of and the
    /// blobs of the document were written before, and [`ImageTarget::publish`] follows. Doing so twice does it once.
    ///
    /// # Errors
    /// When the place keeps no such documents, or does not take this one.
    fn attach(
        &self,
        about: About,
        document: &RawManifest,
        artifact_type: &str,
    ) -> Result<(), PortError> {
        let _ = (about, document, artifact_type);
        Err(PortError::new(Kind::Failed, NoDocuments))
    }
}

/// The place keeps no documents beside images. Fault: whoever chose the place.
#[derive(Debug, thiserror::Error)]
#[error("no statements can be put there")]
struct NoDocuments;

/// A blob on its way in.
pub trait BlobReader: Send {
    /// Fills the front of `buffer` and says how many bytes that were; 0 is the end.
    ///
    /// # Errors
    /// When the stream broke, or had more or fewer bytes than announced.
    fn read(&mut self, buffer: &mut [u8]) -> Result<usize, PortError>;
}

/// A blob on its way out.
pub trait BlobWriter: Send {
    /// Appends `bytes`.
    ///
    /// # Errors
    /// When they could not be written.
    fn write(&mut self, bytes: &[u8]) -> Result<(), PortError>;

    /// Ends the blob and stores it under its digest, which the caller computed over all that it wrote.
    ///
    /// # Errors
    /// When it could not be stored, or the target computed another digest.
    fn finish(self: Box<Self>, digest: &Digest) -> Result<(), PortError>;
}

/// A service elsewhere that wraps and opens the keys of layers, such as a key provider of ocicrypt.
///
/// Calls block; this room makes those for the layers of an image at the same time. A service that nobody configured is
/// [`Configured::No`] where services are looked up, and its packets are left to others.
pub trait KeyService: Send + Sync {
    /// Its name: the packets it makes stand in `keys.provider.NAME`.
    fn name(&self) -> &str;

    /// Wraps the private options of a layer. `arguments` are what the caller wrote behind the service's name.
    ///
    /// # Errors
    /// When the service refuses or does not answer, or its answer is no packet.
    fn wrap(&self, arguments: &[String], options: &[u8]) -> Result<Vec<u8>, PortError>;

    /// Opens a packet; `arguments` are what the caller wrote for this service, often nothing. What comes out is not trusted:
    /// it is parsed as layer options, or refused.
    ///
    /// # Errors
    /// When the service refuses or does not answer, or its answer holds no options.
    fn unwrap(&self, arguments: &[String], packet: &[u8]) -> Result<Zeroizing<Vec<u8>>, PortError>;
}

/// Whether there is a key service of some name.
pub enum Configured {
    /// Nobody configured one: it can't be a recipient, and its packets are for others.
    No,
    /// It is this one.
    Yes(Arc<dyn KeyService>),
}

/// Digest and size of some bytes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct BlobId {
    /// SHA-256 of the bytes.
    pub digest: Digest,
    /// Their number.
    pub size: u64,
}

impl BlobId {
    /// The id of `bytes`.
    #[must_use]
    pub fn of(bytes: &[u8]) -> Self {
        Self {
            digest: Digest::of(bytes),
            size: u64::try_from(bytes.len()).unwrap_or(u64::MAX),
        }
    }
}

/// Why a source or a target did not do what it was asked for.
///
/// Ports are implemented above this layer, so the cause is a closed box; what this room needs to know is its [`Kind`].
#[derive(Debug)]
pub struct PortError {
    kind: Kind,
    cause: Box<dyn Error + Send + Sync>,
}

impl PortError {
    /// A failure of `kind`, explained by `cause`.
    pub fn new(kind: Kind, cause: impl Error + Send + Sync + 'static) -> Self {
        Self {
            kind,
            cause: Box::new(cause),
        }
    }

    /// Which exit code this failure deserves.
    #[must_use]
    pub const fn kind(&self) -> Kind {
        self.kind
    }
}

impl fmt::Display for PortError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.cause.fmt(f)
    }
}

impl Error for PortError {
    fn source(&self) -> Option<&(dyn Error + 'static)> {
        self.cause.source()
    }
}

/// The largest manifest, index or configuration that is read.
pub const MANIFEST_LIMIT: u64 = 4 * 1024 * 1024;
