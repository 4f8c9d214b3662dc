//! OCI image layouts in a directory.

mod index;
mod staging;
mod target;

pub use target::LayoutTarget;

use std::fs::File;
use std::io::Read;
use std::path::{Path, PathBuf};

use estate::Digest;
use images::{BlobId, BlobReader, ImageSource, MANIFEST_LIMIT, PortError, RawManifest};
use rustix::fs::{Mode, OFlags};

use crate::error::RegistryError;
use crate::reference::{LayoutReference, LayoutTag};
use index::LayoutIndex;

/// A layout that an image is read from.
#[derive(Debug)]
pub struct LayoutSource {
    directory: PathBuf,
    root: images::RawManifest,
}

impl LayoutSource {
    /// Opens the directory and finds the image.
    ///
    /// # Errors
    /// When it is no layout, or holds no such image.
    pub fn open(reference: &LayoutReference) -> Result<Self, RegistryError> {
        let directory = reference.directory().to_owned();
        check_layout(&directory)?;
        let index = LayoutIndex::read(&directory)?;
        let entry = index.find(reference.tag().map(LayoutTag::as_str))?;
        let root = read_manifest(&directory, entry.id, &entry.media_type)?;
        Ok(Self { directory, root })
    }
}

impl ImageSource for LayoutSource {
    fn root(&self) -> Result<RawManifest, PortError> {
        Ok(self.root.clone())
    }

    fn manifest(&self, id: &BlobId) -> Result<RawManifest, PortError> {
        Ok(read_manifest(&self.directory, *id, "")?)
    }

    fn blob(&self, id: &BlobId) -> Result<Box<dyn BlobReader + '_>, PortError> {
        let (file, size) = open_blob(&self.directory, &id.digest)?;
        if size != id.size {
            return Err(RegistryError::WrongSize {
                digest: id.digest,
                expected: id.size,
            }
            .into());
        }
        Ok(Box::new(FileReader {
            file,
            path: blob_path(&self.directory, &id.digest),
            id: *id,
            left: size,
        }))
    }
}

/// Reads a blob's file; what grows or shrinks meanwhile is an error.
struct FileReader {
    file: File,
    path: PathBuf,
    id: BlobId,
    left: u64,
}

impl BlobReader for FileReader {
    fn read(&mut self, buffer: &mut [u8]) -> Result<usize, PortError> {
        let count = self
            .file
            .read(buffer)
            .map_err(RegistryError::disk(&self.path, "read"))?;
        let read = u64::try_from(count).unwrap_or(u64::MAX);
        if read > self.left || (count == 0 && self.left > 0 && !buffer.is_empty()) {
            return Err(RegistryError::WrongSize {
                digest: self.id.digest,
                expected: self.id.size,
            }
            .into());
        }
        self.left -= read;
        Ok(count)
    }
}

fn read_manifest(
    directory: &Path,
    id: BlobId,
    media_type: &str,
) -> Result<RawManifest, RegistryError> {
    let bytes = read_small(&blob_path(directory, &id.digest))?
        .ok_or(RegistryError::NoSuchBlob(id.digest))?;
    if BlobId::of(&bytes) != id {
        return Err(RegistryError::WrongDigest(id.digest));
    }
    Ok(RawManifest {
        media_type: media_type.to_owned(),
        bytes,
    })
}

/// A directory is a layout when it says so.
fn check_layout(directory: &Path) -> Result<(), RegistryError> {
    let path = directory.join(MARKER);
    let not_a_layout = || RegistryError::NotALayout(directory.to_owned());
    let bytes = read_small(&path)?.ok_or_else(not_a_layout)?;
    let marker: Marker = serde_json::from_slice(&bytes)
        .map_err(|source| RegistryError::MalformedFile { path, source })?;
    if marker.image_layout_version == LAYOUT_VERSION {
        Ok(())
    } else {
        Err(not_a_layout())
    }
}

#[derive(serde::Serialize, serde::Deserialize)]
struct Marker {
    #[serde(rename = "imageLayoutVersion")]
    image_layout_version: String,
}

fn open_blob(directory: &Path, digest: &Digest) -> Result<(File, u64), RegistryError> {
    let path = blob_path(directory, digest);
    open_plain(&path)?.ok_or(RegistryError::NoSuchBlob(*digest))
}

/// The content of a small file; `None` when there is none.
fn read_small(path: &Path) -> Result<Option<Vec<u8>>, RegistryError> {
    let Some((file, size)) = open_plain(path)? else {
        return Ok(None);
    };
    let mut bytes = Vec::new();
    file.take(MANIFEST_LIMIT + 1)
        .read_to_end(&mut bytes)
        .map_err(RegistryError::disk(path, "read"))?;
    if size > MANIFEST_LIMIT || bytes.len() as u64 > MANIFEST_LIMIT {
        return Err(RegistryError::OddFile(path.to_owned()));
    }
    Ok(Some(bytes))
}

/// Opens a plain file and nothing else: a layout made by somebody else may hold links out of it, pipes that never
/// answer, or devices that never end.
fn open_plain(path: &Path) -> Result<Option<(File, u64)>, RegistryError> {
    let flags = OFlags::RDONLY | OFlags::NOFOLLOW | OFlags::NONBLOCK | OFlags::CLOEXEC;
    let file = match rustix::fs::open(path, flags, Mode::empty()) {
        Ok(descriptor) => File::from(descriptor),
        Err(rustix::io::Errno::NOENT | rustix::io::Errno::NOTDIR) => return Ok(None),
        Err(rustix::io::Errno::LOOP) => return Err(RegistryError::OddFile(path.to_owned())),
        Err(errno) => return Err(RegistryError::disk(path, "read")(errno.into())),
    };
    let metadata = file.metadata().map_err(RegistryError::disk(path, "read"))?;
    if !metadata.is_file() {
        return Err(RegistryError::OddFile(path.to_owned()));
    }
    Ok(Some((file, metadata.len())))
}

fn blob_path(directory: &Path, digest: &Digest) -> PathBuf {
    directory.join(BLOBS).join(digest.to_hex())
}

const MARKER: &str = "oci-layout";
const LAYOUT_VERSION: &str = "1.0.0";
const INDEX: &str = "index.json";
const BLOBS: &str = "blobs/sha256";
