//! A place for images in memory, which hands out whatever it was given.

use std::sync::Mutex;

use estate::Digest;
use images::{BlobId, BlobReader, BlobWriter, ImageSource, ImageTarget, PortError, RawManifest};

/// Documents and blobs; the last document is the root.
#[derive(Default)]
pub struct Memory {
    /// Manifests and indexes, and any blobs.
    pub blobs: Vec<Vec<u8>>,
    /// What the name stands for.
    pub root: Option<RawManifest>,
    published: Mutex<Option<RawManifest>>,
}

impl Memory {
    /// A place that holds these.
    pub fn of(blobs: Vec<Vec<u8>>, root: RawManifest) -> Self {
        Self {
            blobs,
            root: Some(root),
            ..Self::default()
        }
    }

    /// What was published last.
    pub fn into_published(self) -> Option<RawManifest> {
        self.published.into_inner().ok().flatten()
    }

    fn find(&self, id: &BlobId) -> Result<&Vec<u8>, PortError> {
        let found = self.blobs.iter().find(|blob| Digest::of(blob) == id.digest);
        found.ok_or_else(nothing)
    }
}

fn nothing() -> PortError {
    PortError::new(
        images::Kind::Failed,
        std::io::Error::from(std::io::ErrorKind::NotFound),
    )
}

impl ImageSource for Memory {
    fn root(&self) -> Result<RawManifest, PortError> {
        self.root.clone().ok_or_else(nothing)
    }

    fn manifest(&self, id: &BlobId) -> Result<RawManifest, PortError> {
        let bytes = self.find(id)?.clone();
        Ok(RawManifest {
            media_type: String::new(),
            bytes,
        })
    }

    fn blob(&self, id: &BlobId) -> Result<Box<dyn BlobReader + '_>, PortError> {
        Ok(Box::new(Reader(self.find(id)?)))
    }
}

struct Reader<'a>(&'a [u8]);

impl BlobReader for Reader<'_> {
    fn read(&mut self, buffer: &mut [u8]) -> Result<usize, PortError> {
        let count = buffer.len().min(self.0.len());
        buffer[..count].copy_from_slice(&self.0[..count]);
        self.0 = &self.0[count..];
        Ok(count)
    }
}

impl ImageTarget for Memory {
    fn holds(&self, id: &BlobId) -> Result<bool, PortError> {
        Ok(self.find(id).is_ok())
    }

    fn write_blob(&self) -> Result<Box<dyn BlobWriter + '_>, PortError> {
        Err(nothing())
    }

    fn write_manifest(&self, _: &RawManifest) -> Result<(), PortError> {
        Ok(())
    }

    fn publish(&self, root: &RawManifest) -> Result<(), PortError> {
        if let Ok(mut published) = self.published.lock() {
            *published = Some(root.clone());
        }
        Ok(())
    }
}
