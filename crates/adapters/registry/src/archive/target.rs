//! Writing the tar of a layout: blobs wait in a staging directory beside the file, which appears whole.

use std::collections::{BTreeMap, HashSet};
use std::fs::{self, File};
use std::io::{self, BufReader, Read, Write};
use std::path::{Path, PathBuf};
use std::sync::{Mutex, PoisonError};

use estate::Digest;
use images::{About, BlobId, BlobWriter, ImageTarget, PortError, RawManifest};

use super::led_to::led_to;
use super::tar::{Entry, Extent, directory_header, end_of_archive, file_header, padding};
use super::{Archive, ExtentReader, blob_name};
use crate::error::RegistryError;
use crate::layout::{
    Attached, BLOBS, INDEX, LayoutIndex, MARKER, Staging, attached, lock_directory, marker_bytes,
    sync_directory, write_durably,
};
use crate::reference::{ArchiveReference, LayoutTag};

/// A file that an image is written to. Other images in it stay.
#[derive(Debug)]
pub struct ArchiveTarget {
    staging: Staging,
    path: PathBuf,
    directory: PathBuf,
    tag: Option<LayoutTag>,
    staged: Mutex<BTreeMap<String, PathBuf>>,
    attached: Mutex<Vec<Attached>>,
}

impl ArchiveTarget {
    /// Prepares to write; the file itself is not touched yet.
    ///
    /// # Errors
    /// When there is something else under this name, or nothing can be written beside it.
    pub fn open(reference: &ArchiveReference) -> Result<Self, RegistryError> {
        let path = reference.file().to_owned();
        Archive::open_layout(&path)?;
        let directory = match path.parent() {
            Some(parent) if parent != Path::new("") => parent.to_owned(),
            Some(_) | None => PathBuf::from("."),
        };
        Ok(Self {
            staging: Staging::begin(&directory)?,
            path,
            directory,
            tag: reference.tag().cloned(),
            staged: Mutex::default(),
            attached: Mutex::default(),
        })
    }

    fn stage(&self, digest: &Digest, path: PathBuf) {
        self.staged
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .insert(blob_name(digest), path);
    }

    fn stage_bytes(&self, bytes: &[u8]) -> Result<(), RegistryError> {
        let path = self.staging.fresh();
        write_durably(&path, bytes)?;
        self.stage(&Digest::of(bytes), path);
        Ok(())
    }

    /// The archive is put together beside its place, and takes the name when all of it is on the disk.
    fn commit(&self, root: &RawManifest) -> Result<(), RegistryError> {
        self.stage_bytes(&root.bytes)?;
        let guard = lock_directory(&self.directory)?;
        // Read again under the lock: somebody else may have added an image meanwhile.
        let former = Archive::open_layout(&self.path)?;
        let path = self.staging.fresh();
        let mut file = File::create_new(&path).map_err(RegistryError::disk(&path, "created"))?;
        self.write(&mut file, former.as_ref(), root)?;
        file.sync_all()
            .map_err(RegistryError::disk(&path, "written"))?;
        fs::rename(&path, &self.path).map_err(RegistryError::disk(&self.path, "written"))?;
        sync_directory(&self.directory)?;
        drop(guard);
        Ok(())
    }

    fn write(
        &self,
        file: &mut File,
        former: Option<&Archive>,
        root: &RawManifest,
    ) -> Result<(), RegistryError> {
        let malformed = |source| RegistryError::MalformedFile {
            path: self.path.clone(),
            source,
        };
        let mut index = match former {
            Some(former) => former.layout_index()?,
            None => LayoutIndex::empty().map_err(malformed)?,
        };
        let tag = self.tag.as_ref().map(LayoutTag::as_str);
        let stays = index.lists(&root.id().digest);
        index.replace(tag, root).map_err(malformed)?;
        let attached = self.attached.lock().unwrap_or_else(PoisonError::into_inner);
        for document in attached.iter() {
            index.attach(tag, document).map_err(malformed)?;
        }
        drop(attached);
        let list = index.to_bytes().map_err(malformed)?;
        let marker = marker_bytes().map_err(malformed)?;
        // With other images their blobs stay; and so they do where the image itself was there before and only got a
        // document beside it.
        let former = former.filter(|_| index.len() > 1 || stays);
        let former = former.map(|former| (former, led_to(former, &index)));
        self.write_all(file, former, &[(MARKER, &marker), (INDEX, &list)])
            .map_err(RegistryError::disk(&self.path, "written"))
    }

    fn write_all(
        &self,
        file: &mut File,
        former: Option<(&Archive, Option<HashSet<String>>)>,
        documents: &[(&str, &[u8])],
    ) -> io::Result<()> {
        for (name, bytes) in documents {
            put(file, name, bytes.len() as u64, *bytes)?;
        }
        for directory in ["blobs/", "blobs/sha256/"] {
            file.write_all(&directory_header(directory))?;
        }
        let staged = self.staged.lock().unwrap_or_else(PoisonError::into_inner);
        for (name, path) in &*staged {
            let blob = File::open(path)?;
            put(file, name, blob.metadata()?.len(), blob)?;
        }
        if let Some((former, wanted)) = former {
            let is_wanted = |name: &str| {
                let led_to = wanted.as_ref().is_none_or(|wanted| wanted.contains(name));
                led_to && !staged.contains_key(name)
            };
            let blobs = former_blobs(former).into_iter();
            for (name, extent) in blobs.filter(|(name, _)| is_wanted(name)) {
                let part = Part(former.reader(extent).map_err(io::Error::other)?);
                let part = BufReader::with_capacity(PIECE, part);
                put(file, name, extent.size, part)?;
            }
        }
        file.write_all(&end_of_archive())
    }
}

fn former_blobs(archive: &Archive) -> Vec<(&str, Extent)> {
    let prefix = format!("{BLOBS}/");
    let mut blobs: Vec<_> = archive
        .index
        .entries()
        .filter_map(|(name, entry)| match entry {
            Entry::File(extent) if name.starts_with(&prefix) => Some((name, *extent)),
            _ => None,
        })
        .collect();
    blobs.sort_unstable_by_key(|(name, _)| *name);
    blobs
}

/// Appends one file; one that became another size meanwhile would displace all that follows.
fn put(to: &mut File, name: &str, size: u64, mut from: impl Read) -> io::Result<()> {
    to.write_all(&file_header(name, size))?;
    if io::copy(&mut from, to)? != size {
        return Err(io::ErrorKind::UnexpectedEof.into());
    }
    io::copy(&mut io::repeat(0).take(padding(size)), to).map(drop)
}

/// A part of an archive, as a stream.
struct Part<'a>(ExtentReader<'a>);

impl Read for Part<'_> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        self.0.fill(buffer).map_err(io::Error::other)
    }
}

impl ImageTarget for ArchiveTarget {
    fn holds(&self, id: &BlobId) -> Result<bool, PortError> {
        let staged = self.staged.lock().unwrap_or_else(PoisonError::into_inner);
        Ok(staged.contains_key(&blob_name(&id.digest)))
    }

    fn write_blob(&self) -> Result<Box<dyn BlobWriter + '_>, PortError> {
        let path = self.staging.fresh();
        let file = File::create_new(&path).map_err(RegistryError::disk(&path, "created"))?;
        Ok(Box::new(StagedWriter {
            target: self,
            path,
            file,
        }))
    }

    fn write_manifest(&self, manifest: &RawManifest) -> Result<(), PortError> {
        Ok(self.stage_bytes(&manifest.bytes)?)
    }

    fn publish(&self, root: &RawManifest) -> Result<(), PortError> {
        Ok(self.commit(root)?)
    }

    fn attach(
        &self,
        about: About,
        document: &RawManifest,
        artifact_type: &str,
    ) -> Result<(), PortError> {
        if let Some(document_entry) = attached(about, document, artifact_type) {
            self.stage_bytes(&document.bytes)?;
            let mut attached = self.attached.lock().unwrap_or_else(PoisonError::into_inner);
            attached.push(document_entry);
        }
        Ok(())
    }
}

struct StagedWriter<'a> {
    target: &'a ArchiveTarget,
    path: PathBuf,
    file: File,
}

impl BlobWriter for StagedWriter<'_> {
    fn write(&mut self, bytes: &[u8]) -> Result<(), PortError> {
        Ok(self
            .file
            .write_all(bytes)
            .map_err(RegistryError::disk(&self.path, "written"))?)
    }

    fn finish(self: Box<Self>, digest: &Digest) -> Result<(), PortError> {
        let Self { target, path, file } = *self;
        drop(file);
        target.stage(digest, path);
        Ok(())
    }
}

const PIECE: usize = 256 * 1024;
