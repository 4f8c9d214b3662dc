//! Targets that write nothing: for what is only shown, and for manifests that wait until all of them are known to be right.

use std::sync::{Mutex, PoisonError};

use estate::Digest;

use crate::error::ImageError;
use crate::manifest::RawManifest;
use crate::ports::{BlobId, BlobWriter, ImageTarget, PortError};

/// Takes everything and keeps nothing.
pub(crate) struct Nowhere;

impl ImageTarget for Nowhere {
    fn holds(&self, _id: &BlobId) -> Result<bool, PortError> {
        Ok(true)
    }

    fn write_blob(&self) -> Result<Box<dyn BlobWriter + '_>, PortError> {
        Ok(Box::new(Self))
    }

    fn write_manifest(&self, _manifest: &RawManifest) -> Result<(), PortError> {
        Ok(())
    }

    fn publish(&self, _root: &RawManifest) -> Result<(), PortError> {
        Ok(())
    }
}

impl BlobWriter for Nowhere {
    fn write(&mut self, _bytes: &[u8]) -> Result<(), PortError> {
        Ok(())
    }

    fn finish(self: Box<Self>, _digest: &Digest) -> Result<(), PortError> {
        Ok(())
    }
}

/// Takes manifests, and has everything else already.
#[derive(Default)]
pub(crate) struct Held(Mutex<Vec<RawManifest>>);

impl Held {
    /// Writes what was held, in its order.
    pub(crate) fn write(self, target: &dyn ImageTarget) -> Result<(), ImageError> {
        let held = self.0.into_inner().unwrap_or_else(PoisonError::into_inner);
        let mut held = held.iter();
        held.try_for_each(|manifest| target.write_manifest(manifest))
            .map_err(ImageError::Target)
    }
}

impl ImageTarget for Held {
    fn holds(&self, _id: &BlobId) -> Result<bool, PortError> {
        Ok(true)
    }

    fn write_blob(&self) -> Result<Box<dyn BlobWriter + '_>, PortError> {
        Ok(Box::new(Nowhere))
    }

    fn write_manifest(&self, manifest: &RawManifest) -> Result<(), PortError> {
        let mut held = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        held.push(manifest.clone());
        Ok(())
    }

    fn publish(&self, _root: &RawManifest) -> Result<(), PortError> {
        Ok(())
    }
}
