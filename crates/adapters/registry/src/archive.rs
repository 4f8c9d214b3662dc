//! Images in one file: the tar of an OCI layout, and what `docker save` writes.
//!
//! Blobs are read where they lie in the file. One that is compressed as a whole is unpacked once, and what is put aside
//! of it is encrypted.

mod docker;
mod led_to;
mod packed;
mod spool;
mod tar;
mod target;

pub use docker::DockerArchiveSource;
pub use tar::TarError;
pub use target::ArchiveTarget;

use std::fs::File;
use std::io::{Read, Seek, SeekFrom};
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};

use estate::Digest;
use images::{
    About, BlobId, BlobReader, ImageSource, MANIFEST_LIMIT, PortError, RawManifest, Referrer,
};
use rustix::fs::{Mode, OFlags};

use crate::error::RegistryError;
use crate::layout::{BLOBS, INDEX, LayoutIndex, MARKER, find_documents, is_marker};
use crate::reference::{ArchiveReference, LayoutTag};
use packed::{Packing, Unpacked};
use spool::Spool;
use tar::{Entry, Extent, TarIndex};

/// A file and what lies in it.
#[derive(Debug)]
struct Archive {
    path: PathBuf,
    file: File,
    content: Content,
    index: TarIndex,
}

/// How the content of the file is got at.
#[derive(Debug)]
enum Content {
    AsItIs,
    /// All that lies before a part is unpacked again for each part.
    Packed(Packing),
    Unpacked(Spool),
}

impl Content {
    fn of(file: &File, directory: &Path) -> std::io::Result<Self> {
        let Some(packing) = Packing::of(file)? else {
            return Ok(Self::AsItIs);
        };
        let limit = packed::spool_limit(file)?;
        let spool = Spool::fill(directory, &mut Unpacked::new(file, packing)?, limit)?;
        Ok(spool.map_or(Self::Packed(packing), Self::Unpacked))
    }

    fn index(&self, mut file: &File) -> Result<TarIndex, TarError> {
        match self {
            Self::AsItIs => TarIndex::read(&mut file),
            Self::Packed(packing) => {
                let mut unpacked = Unpacked::new(file, *packing).map_err(TarError::Read)?;
                TarIndex::read(&mut unpacked)
            }
            Self::Unpacked(spool) => TarIndex::read(&mut spool.reader()),
        }
    }

    /// The unpacked content from `offset` on; `None` where the file itself is that.
    fn from<'a>(
        &'a self,
        file: &'a File,
        offset: u64,
    ) -> std::io::Result<Option<Box<dyn Read + Send + 'a>>> {
        let start = SeekFrom::Start(offset);
        Ok(match self {
            Self::AsItIs => None,
            Self::Packed(packing) => {
                let mut unpacked = Unpacked::new(file, *packing)?;
                unpacked.seek(start)?;
                Some(Box::new(unpacked))
            }
            Self::Unpacked(spool) => {
                let mut reader = spool.reader();
                reader.seek(start)?;
                Some(Box::new(reader))
            }
        })
    }
}

impl Archive {
    /// `None` when there is no such file.
    fn open(path: &Path) -> Result<Option<Self>, RegistryError> {
        // A pipe would never answer; a link is followed, since it was the caller who named it.
        let flags = OFlags::RDONLY | OFlags::NONBLOCK | OFlags::CLOEXEC;
        let file = match rustix::fs::open(path, flags, Mode::empty()) {
            Ok(descriptor) => File::from(descriptor),
            Err(rustix::io::Errno::NOENT) => return Ok(None),
            Err(errno) => return Err(RegistryError::disk(path, "read")(errno.into())),
        };
        let metadata = file.metadata().map_err(RegistryError::disk(path, "read"))?;
        if !metadata.is_file() {
            return Err(RegistryError::OddFile(path.to_owned()));
        }
        let malformed = |source| RegistryError::Archive {
            path: path.to_owned(),
            source,
        };
        // The disk that has room for the archive; the one for temporary files may be memory.
        let directory = match path.parent() {
            Some(parent) if parent != Path::new("") => parent,
            _ => Path::new("."),
        };
        let content = Content::of(&file, directory).map_err(TarError::Read);
        let content = content.map_err(malformed)?;
        let index = content.index(&file).map_err(malformed)?;
        Ok(Some(Self {
            path: path.to_owned(),
            file,
            content,
            index,
        }))
    }

    /// An archive of a layout, which has no use for links.
    fn open_layout(path: &Path) -> Result<Option<Self>, RegistryError> {
        let Some(archive) = Self::open(path)? else {
            return Ok(None);
        };
        let links = |(_, entry): (_, &Entry)| matches!(entry, Entry::Link(_));
        if archive.index.entries().any(links) {
            return Err(RegistryError::LinkInArchive(path.to_owned()));
        }
        let marker = archive.index.file(MARKER);
        let marker = marker.map(|extent| archive.small(extent)).transpose()?;
        if marker.is_some_and(|bytes| is_marker(&bytes)) {
            Ok(Some(archive))
        } else {
            Err(RegistryError::NotALayout(path.to_owned()))
        }
    }

    fn layout_index(&self) -> Result<LayoutIndex, RegistryError> {
        let missing = || RegistryError::NotALayout(self.path.clone());
        let bytes = self.small(self.index.file(INDEX).ok_or_else(missing)?)?;
        LayoutIndex::parse(&bytes).map_err(|source| self.malformed(source))
    }

    fn malformed(&self, source: serde_json::Error) -> RegistryError {
        RegistryError::MalformedFile {
            path: self.path.clone(),
            source,
        }
    }

    /// The content of a small file.
    fn small(&self, extent: Extent) -> Result<Vec<u8>, RegistryError> {
        if extent.size > MANIFEST_LIMIT {
            return Err(RegistryError::OddFile(self.path.clone()));
        }
        let mut bytes = vec![0; usize::try_from(extent.size).unwrap_or_default()];
        let mut reader = self.reader(extent)?;
        let mut rest = bytes.as_mut_slice();
        while !rest.is_empty() {
            let count = reader.fill(rest)?;
            rest = rest.split_at_mut(count).1;
        }
        Ok(bytes)
    }

    fn reader(&self, extent: Extent) -> Result<ExtentReader<'_>, RegistryError> {
        let unpacked = self.content.from(&self.file, extent.offset);
        Ok(ExtentReader {
            archive: self,
            unpacked: unpacked.map_err(RegistryError::disk(&self.path, "read"))?,
            extent,
        })
    }
}

/// Reads a file where it lies. Each reader has its own place, so several can read at once.
struct ExtentReader<'a> {
    archive: &'a Archive,
    unpacked: Option<Box<dyn Read + Send + 'a>>,
    extent: Extent,
}

impl ExtentReader<'_> {
    fn fill(&mut self, buffer: &mut [u8]) -> Result<usize, RegistryError> {
        let most = usize::try_from(self.extent.size).unwrap_or(usize::MAX);
        let (buffer, _) = buffer.split_at_mut(most.min(buffer.len()));
        let Self {
            archive,
            unpacked,
            extent,
        } = self;
        let count = match unpacked {
            None => archive.file.read_at(buffer, extent.offset),
            Some(unpacked) => unpacked.read(buffer),
        };
        let count = count.map_err(RegistryError::disk(&archive.path, "read"))?;
        if count == 0 && !buffer.is_empty() {
            // The file became shorter while it was read.
            return Err(RegistryError::OddFile(archive.path.clone()));
        }
        let read = u64::try_from(count).unwrap_or_default();
        extent.offset += read;
        extent.size -= read;
        Ok(count)
    }
}

impl BlobReader for ExtentReader<'_> {
    fn read(&mut self, buffer: &mut [u8]) -> Result<usize, PortError> {
        Ok(self.fill(buffer)?)
    }
}

/// The tar of a layout, from which an image is read.
#[derive(Debug)]
pub struct ArchiveSource {
    archive: Archive,
    root: RawManifest,
}

impl ArchiveSource {
    /// Opens the file and finds the image.
    ///
    /// # Errors
    /// When it is no archive of a layout, or holds no such image.
    pub fn open(reference: &ArchiveReference) -> Result<Self, RegistryError> {
        let path = reference.file();
        let archive = Archive::open_layout(path)?
            .ok_or_else(|| RegistryError::NoSuchImage(path.display().to_string()))?;
        let entry = archive
            .layout_index()?
            .find(reference.tag().map(LayoutTag::as_str))?;
        let root = manifest(&archive, entry.id, &entry.media_type)?;
        Ok(Self { archive, root })
    }
}

impl ImageSource for ArchiveSource {
    fn root(&self) -> Result<RawManifest, PortError> {
        Ok(self.root.clone())
    }

    fn manifest(&self, id: &BlobId) -> Result<RawManifest, PortError> {
        Ok(manifest(&self.archive, *id, "")?)
    }

    fn blob(&self, id: &BlobId) -> Result<Box<dyn BlobReader + '_>, PortError> {
        let extent = blob(&self.archive, id)?;
        Ok(Box::new(self.archive.reader(extent)?))
    }

    fn referrers(&self, about: About) -> Result<Vec<Referrer>, PortError> {
        let index = self.archive.layout_index()?;
        Ok(find_documents(&index, about, |id| {
            manifest(&self.archive, id, "")
        }))
    }

    fn tagged(&self, tag: &str) -> Result<Option<RawManifest>, PortError> {
        match self.archive.layout_index()?.find(Some(tag)) {
            Ok(entry) => Ok(Some(manifest(&self.archive, entry.id, &entry.media_type)?)),
            Err(RegistryError::NoSuchImage(_)) => Ok(None),
            Err(error) => Err(error.into()),
        }
    }
}

fn blob(archive: &Archive, id: &BlobId) -> Result<Extent, RegistryError> {
    let extent = archive
        .index
        .file(&blob_name(&id.digest))
        .ok_or(RegistryError::NoSuchBlob(id.digest))?;
    if extent.size != id.size {
        return Err(RegistryError::WrongSize {
            digest: id.digest,
            expected: id.size,
        });
    }
    Ok(extent)
}

fn manifest(archive: &Archive, id: BlobId, media_type: &str) -> Result<RawManifest, RegistryError> {
    let bytes = archive.small(blob(archive, &id)?)?;
    if BlobId::of(&bytes) != id {
        return Err(RegistryError::WrongDigest(id.digest));
    }
    Ok(RawManifest {
        media_type: media_type.to_owned(),
        bytes,
    })
}

fn blob_name(digest: &Digest) -> String {
    format!("{BLOBS}/{}", digest.to_hex())
}
