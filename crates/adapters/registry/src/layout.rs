//! OCI image layouts in a directory.

mod index;
mod referrers;
mod staging;
mod target;

pub(crate) use index::{Attached, LayoutIndex};
pub(crate) use referrers::{attached, find as find_documents};
pub(crate) use staging::{Staging, lock_directory};
pub use target::LayoutTarget;
pub(crate) use target::{sync_directory, write_durably};

use std::fs::File;
use std::io::Read;
use std::path::{Path, PathBuf};

use estate::Digest;
use images::{
    About, BlobId, BlobReader, ImageSource, MANIFEST_LIMIT, PortError, RawManifest, Referrer,
};
use rustix::fd::OwnedFd;
use rustix::fs::{CWD, Mode, OFlags};
use rustix::io::Errno;

use crate::error::RegistryError;
use crate::reference::{LayoutReference, LayoutTag};

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

    fn referrers(&self, about: About) -> Result<Vec<Referrer>, PortError> {
        let index = LayoutIndex::read(&self.directory)?;
        Ok(find_documents(&index, about, |id| {
            read_manifest(&self.directory, id, "")
        }))
    }

    fn tagged(&self, tag: &str) -> Result<Option<RawManifest>, PortError> {
        let index = LayoutIndex::read(&self.directory)?;
        match index.find(Some(tag)) {
            Ok(entry) => Ok(Some(read_manifest(
                &self.directory,
                entry.id,
                &entry.media_type,
            )?)),
            Err(RegistryError::NoSuchImage(_)) => Ok(None),
            Err(error) => Err(error.into()),
        }
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
    let (file, size) = open_blob(directory, &id.digest)?;
    let bytes = read_opened(file, size, &blob_path(directory, &id.digest))?;
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
    if is_marker(&bytes) {
        Ok(())
    } else {
        Err(not_a_layout())
    }
}

/// Whether a file says that a layout lies around it, of the version that is known.
pub(crate) fn is_marker(bytes: &[u8]) -> bool {
    serde_json::from_slice::<Marker>(bytes)
        .is_ok_and(|marker| marker.image_layout_version == LAYOUT_VERSION)
}

/// The content of such a file.
pub(crate) fn marker_bytes() -> Result<Vec<u8>, serde_json::Error> {
    serde_json::to_vec(&Marker {
        image_layout_version: LAYOUT_VERSION.to_owned(),
    })
}

#[derive(serde::Serialize, serde::Deserialize)]
struct Marker {
    #[serde(rename = "imageLayoutVersion")]
    image_layout_version: String,
}

fn open_blob(directory: &Path, digest: &Digest) -> Result<(File, u64), RegistryError> {
    open_in_blobs(directory, digest)?.ok_or(RegistryError::NoSuchBlob(*digest))
}

/// The content of a small file; `None` when there is none.
fn read_small(path: &Path) -> Result<Option<Vec<u8>>, RegistryError> {
    match open_plain(path)? {
        Some((file, size)) => read_opened(file, size, path).map(Some),
        None => Ok(None),
    }
}

fn read_opened(file: File, size: u64, path: &Path) -> Result<Vec<u8>, RegistryError> {
    let mut bytes = Vec::new();
    file.take(MANIFEST_LIMIT + 1)
        .read_to_end(&mut bytes)
        .map_err(RegistryError::disk(path, "read"))?;
    if size > MANIFEST_LIMIT || bytes.len() as u64 > MANIFEST_LIMIT {
        return Err(RegistryError::OddFile(path.to_owned()));
    }
    Ok(bytes)
}

/// Opens a plain file and nothing else: a layout made by somebody else may hold links out of it, pipes that never
/// answer, or devices that never end.
fn open_plain(path: &Path) -> Result<Option<(File, u64)>, RegistryError> {
    open_plain_at(CWD, path, path)
}

/// `path` is how the file is named in errors.
fn open_plain_at(
    directory: impl rustix::fd::AsFd,
    name: &Path,
    path: &Path,
) -> Result<Option<(File, u64)>, RegistryError> {
    let flags = OFlags::RDONLY | OFlags::NOFOLLOW | OFlags::NONBLOCK | OFlags::CLOEXEC;
    let file = match rustix::fs::openat(directory, name, flags, Mode::empty()) {
        Ok(descriptor) => File::from(descriptor),
        Err(Errno::NOENT | Errno::NOTDIR) => return Ok(None),
        Err(Errno::LOOP) => return Err(RegistryError::OddFile(path.to_owned())),
        Err(errno) => return Err(RegistryError::disk(path, "read")(errno.into())),
    };
    let metadata = file.metadata().map_err(RegistryError::disk(path, "read"))?;
    if !metadata.is_file() {
        return Err(RegistryError::OddFile(path.to_owned()));
    }
    Ok(Some((file, metadata.len())))
}

/// Opens a blob, step by step: none of the directories on the way may be a link out of the layout either.
fn open_in_blobs(directory: &Path, digest: &Digest) -> Result<Option<(File, u64)>, RegistryError> {
    let Some(blobs) = open_blobs(directory)? else {
        return Ok(None);
    };
    let path = blob_path(directory, digest);
    open_plain_at(&blobs, Path::new(&digest.to_hex()), &path)
}

/// The directory of blobs, if it is there.
fn open_blobs(directory: &Path) -> Result<Option<OwnedFd>, RegistryError> {
    let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC;
    let mut path = directory.to_owned();
    let failed = |path: &Path, errno: Errno| match errno {
        Errno::NOENT => Ok(None),
        Errno::LOOP | Errno::NOTDIR => Err(RegistryError::OddFile(path.to_owned())),
        errno => Err(RegistryError::disk(path, "read")(errno.into())),
    };
    // The layout's own name is the caller's, and may be a link.
    let mut inside = match rustix::fs::open(directory, flags, Mode::empty()) {
        Ok(inside) => inside,
        Err(errno) => return failed(&path, errno),
    };
    for part in BLOBS.split('/') {
        path.push(part);
        inside = match rustix::fs::openat(&inside, part, flags | OFlags::NOFOLLOW, Mode::empty()) {
            Ok(inside) => inside,
            Err(errno) => return failed(&path, errno),
        };
    }
    Ok(Some(inside))
}

fn blob_path(directory: &Path, digest: &Digest) -> PathBuf {
    directory.join(BLOBS).join(digest.to_hex())
}

pub(crate) const MARKER: &str = "oci-layout";
const LAYOUT_VERSION: &str = "1.0.0";
pub(crate) const INDEX: &str = "index.json";
pub(crate) const BLOBS: &str = "blobs/sha256";
