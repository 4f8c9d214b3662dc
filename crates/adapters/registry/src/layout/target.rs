//! Writing an image into a layout: everything waits in a staging directory, and `index.json` changes last.

use std::fs::{self, File};
use std::io::Write;
use std::path::{Path, PathBuf};
use std::sync::{Mutex, PoisonError};

use estate::Digest;
use images::{About, BlobId, BlobWriter, ImageTarget, PortError, RawManifest};

use super::index::{Attached, LayoutIndex};
use super::referrers::attached;
use super::staging::{Staging, lock_directory};
use super::{BLOBS, INDEX, MARKER, blob_path, check_layout, marker_bytes, open_blobs, open_plain};
use crate::error::RegistryError;
use crate::reference::{LayoutReference, LayoutTag};

/// A layout that an image is written to.
#[derive(Debug)]
pub struct LayoutTarget {
    // Declared first: the staging directory goes before the directory around it is tried.
    staging: Option<Staging>,
    directory: PathBuf,
    tag: Option<LayoutTag>,
    made: bool,
    staged: Mutex<Vec<Staged>>,
    attached: Mutex<Vec<Attached>>,
}

#[derive(Debug)]
struct Staged {
    path: PathBuf,
    digest: Digest,
}

impl LayoutTarget {
    /// Prepares to write; makes the directory if it is not there.
    ///
    /// # Errors
    /// When the directory holds something else, or can't be written.
    pub fn open(reference: &LayoutReference) -> Result<Self, RegistryError> {
        let directory = reference.directory().to_owned();
        let made = !directory.exists();
        fs::create_dir_all(&directory).map_err(RegistryError::disk(&directory, "created"))?;
        let mut target = Self {
            staging: None,
            directory,
            tag: reference.tag().cloned(),
            made,
            staged: Mutex::default(),
            attached: Mutex::default(),
        };
        if !is_empty(&target.directory)? {
            check_layout(&target.directory)?;
        }
        target.staging = Some(Staging::begin(&target.directory)?);
        Ok(target)
    }

    fn fresh(&self) -> Result<PathBuf, RegistryError> {
        match &self.staging {
            Some(staging) => Ok(staging.fresh()),
            None => Err(RegistryError::NotALayout(self.directory.clone())),
        }
    }

    fn stage(&self, staged: Staged) {
        self.staged
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .push(staged);
    }

    fn stage_bytes(&self, bytes: &[u8]) -> Result<(), RegistryError> {
        let path = self.fresh()?;
        write_durably(&path, bytes)?;
        self.stage(Staged {
            path,
            digest: Digest::of(bytes),
        });
        Ok(())
    }

    /// Blobs first, then the marker, then the list: whoever reads in between sees the old list, or a whole new image.
    fn commit(&self, root: &RawManifest) -> Result<(), RegistryError> {
        self.stage_bytes(&root.bytes)?;
        let guard = lock_directory(&self.directory)?;
        let blobs = self.directory.join(BLOBS);
        fs::create_dir_all(&blobs).map_err(RegistryError::disk(&blobs, "created"))?;
        // A link in an existing layout would lead our blobs out of it.
        open_blobs(&self.directory)?;
        for Staged { path, digest } in self
            .staged
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .drain(..)
        {
            let name = blob_path(&self.directory, &digest);
            fs::rename(&path, &name).map_err(RegistryError::disk(&name, "written"))?;
        }
        sync_directory(&blobs)?;
        sync_directory(&self.directory.join("blobs"))?;
        self.write_marker()?;
        self.write_index(root)?;
        sync_directory(&self.directory)?;
        drop(guard);
        Ok(())
    }

    fn write_marker(&self) -> Result<(), RegistryError> {
        let path = self.directory.join(MARKER);
        if open_plain(&path)?.is_some() {
            return check_layout(&self.directory);
        }
        let bytes = marker_bytes().map_err(malformed(&path))?;
        self.replace(&path, &bytes)
    }

    fn write_index(&self, root: &RawManifest) -> Result<(), RegistryError> {
        let path = self.directory.join(INDEX);
        let mut index = if open_plain(&path)?.is_some() {
            LayoutIndex::read(&self.directory)?
        } else {
            LayoutIndex::empty().map_err(malformed(&path))?
        };
        let tag = self.tag.as_ref().map(LayoutTag::as_str);
        index.replace(tag, root).map_err(malformed(&path))?;
        let attached = self.attached.lock().unwrap_or_else(PoisonError::into_inner);
        for document in attached.iter() {
            index.attach(tag, document).map_err(malformed(&path))?;
        }
        let bytes = index.to_bytes().map_err(malformed(&path))?;
        self.replace(&path, &bytes)
    }

    fn replace(&self, path: &Path, bytes: &[u8]) -> Result<(), RegistryError> {
        let fresh = self.fresh()?;
        write_durably(&fresh, bytes)?;
        fs::rename(&fresh, path).map_err(RegistryError::disk(path, "written"))
    }
}

impl ImageTarget for LayoutTarget {
    fn holds(&self, id: &BlobId) -> Result<bool, PortError> {
        // A file of the right name and size can still hold other bytes; only what was checked here is relied on.
        let staged = self.staged.lock().unwrap_or_else(PoisonError::into_inner);
        Ok(staged.iter().any(|staged| staged.digest == id.digest))
    }

    fn write_blob(&self) -> Result<Box<dyn BlobWriter + '_>, PortError> {
        let path = self.fresh()?;
        let file = File::create_new(&path).map_err(RegistryError::disk(&path, "created"))?;
        Ok(Box::new(FileWriter {
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

impl Drop for LayoutTarget {
    fn drop(&mut self) {
        self.staging = None;
        if self.made {
            // Succeeds only when nothing was published into the directory that we made.
            let _ = fs::remove_dir(&self.directory);
        }
    }
}

struct FileWriter<'a> {
    target: &'a LayoutTarget,
    path: PathBuf,
    file: File,
}

impl BlobWriter for FileWriter<'_> {
    fn write(&mut self, bytes: &[u8]) -> Result<(), PortError> {
        Ok(self
            .file
            .write_all(bytes)
            .map_err(RegistryError::disk(&self.path, "written"))?)
    }

    fn finish(self: Box<Self>, digest: &Digest) -> Result<(), PortError> {
        let Self { target, path, file } = *self;
        file.sync_all()
            .map_err(RegistryError::disk(&path, "written"))?;
        target.stage(Staged {
            path,
            digest: *digest,
        });
        Ok(())
    }
}

pub(crate) fn write_durably(path: &Path, bytes: &[u8]) -> Result<(), RegistryError> {
    let write = || {
        let mut file = File::create_new(path)?;
        file.write_all(bytes)?;
        file.sync_all()
    };
    write().map_err(RegistryError::disk(path, "written"))
}

pub(crate) fn sync_directory(path: &Path) -> Result<(), RegistryError> {
    File::open(path)
        .and_then(|directory| directory.sync_all())
        .map_err(RegistryError::disk(path, "written"))
}

fn is_empty(directory: &Path) -> Result<bool, RegistryError> {
    let mut entries = fs::read_dir(directory).map_err(RegistryError::disk(directory, "read"))?;
    // What a killed process left behind is no content.
    Ok(entries.all(|entry| {
        entry.is_ok_and(|entry| {
            entry
                .file_name()
                .to_str()
                .is_some_and(super::staging::is_ours)
        })
    }))
}

fn malformed(path: &Path) -> impl FnOnce(serde_json::Error) -> RegistryError {
    let path = path.to_owned();
    move |source| RegistryError::MalformedFile { path, source }
}
