//! The order in which a whole image is turned into another: look at everything first, then write, then publish.

use estate::Digest;

use crate::config::Config;
use crate::copy;
use crate::error::ImageError;
use crate::manifest::{Descriptor, Index, Manifest, RawManifest, Root, fetch_raw};
use crate::pipeline::Run;
use crate::ports::{ImageSource, ImageTarget};

/// What is done to each manifest.
pub(crate) trait Work {
    /// Refuses what would be refused later, before anything is written.
    fn check(&self, manifest: &Manifest, config: &Config) -> Result<Checked, ImageError>;

    /// Writes the layers of the other image, and gives its manifest.
    fn convert(
        &self,
        run: &Run<'_>,
        manifest: Manifest,
        config: &Config,
    ) -> Result<RawManifest, ImageError>;

    /// What is wrong when no manifest had a layer to work on.
    fn nothing(&self) -> ImageError;
}

/// What was found in one manifest, or in all of them.
#[derive(Debug, Default, Clone, Copy)]
pub(crate) struct Checked {
    /// Bytes to read.
    pub(crate) bytes: u64,
    /// Layers to work on.
    pub(crate) layers: usize,
}

/// What was written.
#[derive(Debug)]
pub(crate) struct Written {
    pub(crate) root: Digest,
    pub(crate) layers: usize,
    /// Documents beside the image, such as a builder's attestations, that were copied as they are.
    pub(crate) copied: usize,
}

/// One image on its way from `source` to `target`.
pub(crate) struct Walk<'a> {
    pub(crate) source: &'a dyn ImageSource,
    pub(crate) target: &'a dyn ImageTarget,
    pub(crate) run: Run<'a>,
}

impl Walk<'_> {
    /// Does all of it.
    pub(crate) fn through(&self, work: &dyn Work) -> Result<Written, ImageError> {
        match Root::fetch(self.source)? {
            Root::Manifest(manifest) => self.one(work, manifest),
            Root::Index(index) => self.all(work, index),
        }
    }

    fn one(&self, work: &dyn Work, manifest: Manifest) -> Result<Written, ImageError> {
        let config = Config::fetch(self.source, &manifest)?;
        let checked = work.check(&manifest, &config)?;
        self.begin(work, checked)?;
        let raw = self.convert(work, manifest, &config)?;
        self.publish(&raw, checked.layers, 0)
    }

    /// Manifests are fetched twice: holding all of them would break the bound on memory.
    fn all(&self, work: &dyn Work, mut index: Index) -> Result<Written, ImageError> {
        let mut total = Checked::default();
        for entry in &index.entries {
            let manifest = Manifest::fetch(self.source, entry)?;
            if manifest.is_attestation(entry)? {
                continue;
            }
            let config = Config::fetch(self.source, &manifest)?;
            let checked = work.check(&manifest, &config)?;
            total.bytes = total.bytes.saturating_add(checked.bytes);
            total.layers += checked.layers;
        }
        self.begin(work, total)?;
        let mut renamed = Vec::new();
        let mut copied = 0;
        for entry in &mut index.entries {
            let manifest = Manifest::fetch(self.source, entry)?;
            if manifest.is_attestation(entry)? {
                self.copy_attestation(entry, &manifest)?;
                copied += 1;
                continue;
            }
            let config = Config::fetch(self.source, &manifest)?;
            let raw = self.convert(work, manifest, &config)?;
            self.target
                .write_manifest(&raw)
                .map_err(ImageError::Target)?;
            renamed.push((entry.id.digest, raw.id().digest));
            entry.describe(&raw.media_type, raw.id())?;
        }
        for entry in &mut index.entries {
            follow(entry, &renamed)?;
        }
        self.publish(&index.to_raw()?, total.layers, copied)
    }

    fn begin(&self, work: &dyn Work, total: Checked) -> Result<(), ImageError> {
        if total.layers == 0 {
            return Err(work.nothing());
        }
        self.run.progress.started(total.bytes);
        Ok(())
    }

    fn convert(
        &self,
        work: &dyn Work,
        manifest: Manifest,
        config: &Config,
    ) -> Result<RawManifest, ImageError> {
        copy::bytes(self.target, &config.bytes)?;
        work.convert(&self.run, manifest, config)
    }

    fn copy_attestation(&self, entry: &Descriptor, manifest: &Manifest) -> Result<(), ImageError> {
        for blob in manifest.layers.iter().chain([&manifest.config]) {
            copy::blob(&self.run, self.source, self.target, blob.id)?;
        }
        let raw = fetch_raw(self.source, entry)?;
        self.target.write_manifest(&raw).map_err(ImageError::Target)
    }

    fn publish(
        &self,
        raw: &RawManifest,
        layers: usize,
        copied: usize,
    ) -> Result<Written, ImageError> {
        self.target.publish(raw).map_err(ImageError::Target)?;
        Ok(Written {
            root: raw.id().digest,
            layers,
            copied,
        })
    }
}

/// A builder's attestation names the manifest it speaks of by digest; the name follows the manifest.
fn follow(entry: &mut Descriptor, renamed: &[(Digest, Digest)]) -> Result<(), ImageError> {
    let Some(named) = entry.annotation(REFERENCE)? else {
        return Ok(());
    };
    match renamed.iter().find(|(old, _)| old.to_string() == named) {
        Some((_, new)) => entry.annotate(REFERENCE, &new.to_string()),
        None => Ok(()),
    }
}

const REFERENCE: &str = "vnd.docker.reference.digest";
