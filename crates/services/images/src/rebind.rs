//! A layer that moved under another configuration is bound to its new place. Its bytes stay; its key must be at hand.

use std::sync::{Mutex, PoisonError};

use estate::Digest;
use oci_crypt::{BindingMismatch, PacketOpener, PacketWrapper, media_type};

use crate::checks::{LayerCheck, content_check};
use crate::config::Config;
use crate::decrypt::{DecryptOptions, OpenedLayer, announce};
use crate::diff_id::UnpackedLimit;
use crate::error::ImageError;
use crate::manifest::{Manifest, RawManifest};
use crate::nowhere::Nowhere;
use crate::parallel;
use crate::pipeline::{Run, Stage, writing};
use crate::ports::{BlobWriter, ImageSource, ImageTarget};
use crate::progress::{Progress, Silent};
use crate::recipients::Recipients;
use crate::sealed::{Place, annotate, binding};
use crate::walk::{Checked, Walk, Work};
use crate::wrapping::wrap_all;

/// What was written, or would be.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Rebound {
    /// Digest of the manifest or index that the target's name now stands for; `None` when it was only shown.
    pub digest: Option<Digest>,
    /// Encrypted layers, over all platforms.
    pub layers: usize,
    /// Where a layer lay elsewhere before, as its former binding says.
    pub moved: Vec<Moved>,
}

/// A layer that lay elsewhere.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Moved {
    /// Digest of the configuration under which it lies now.
    pub config: Digest,
    /// The layer, 0 at the bottom.
    pub index: usize,
    /// What differs; `None` when it was bound to nothing.
    pub mismatch: Option<BindingMismatch>,
}

/// Binds every encrypted layer in `source` to the place where it lies there, for `recipients` alone: packets of others
/// name the former place, and go.
///
/// Whoever has the key vouches for the new image. So that nobody is made to vouch for what he does not see, each layer
/// is read, and its HMAC, its digests and its diff id in the new configuration are verified; [`Rebound::moved`] says
/// what lay elsewhere.
///
/// # Errors
/// See [`ImageError`]. Nothing is published then.
pub fn rebind(
    source: &dyn ImageSource,
    target: &dyn ImageTarget,
    openers: &[&dyn PacketOpener],
    recipients: &Recipients,
    progress: &dyn Progress,
) -> Result<Rebound, ImageError> {
    let usual = UnpackedLimit::Usual;
    rebind_within(source, target, openers, recipients, usual, progress)
}

/// As [`rebind`], for layers that unpack to more than is usual.
///
/// # Errors
/// See [`ImageError`]. Nothing is published then.
pub fn rebind_within(
    source: &dyn ImageSource,
    target: &dyn ImageTarget,
    openers: &[&dyn PacketOpener],
    recipients: &Recipients,
    unpacked: UnpackedLimit,
    progress: &dyn Progress,
) -> Result<Rebound, ImageError> {
    let work = Rebinding {
        source,
        target,
        openers,
        checks: checks(unpacked),
        wrappers: &recipients.wrappers()?,
        moved: Mutex::default(),
    };
    let written = work.walk(progress).through(&work)?;
    Ok(Rebound {
        digest: Some(written.root),
        layers: written.done.layers,
        moved: work.into_moved(),
    })
}

/// What [`rebind`] would do, as far as it can be told without reading layers. Nothing is written.
///
/// # Errors
/// See [`ImageError`].
pub fn preview_rebind(
    source: &dyn ImageSource,
    openers: &[&dyn PacketOpener],
    recipients: &Recipients,
) -> Result<Rebound, ImageError> {
    let work = Rebinding {
        source,
        target: &Nowhere,
        openers,
        checks: checks(UnpackedLimit::Usual),
        wrappers: &recipients.wrappers()?,
        moved: Mutex::default(),
    };
    let checked = work.walk(&Silent).preview(&work)?;
    Ok(Rebound {
        digest: None,
        layers: checked.layers,
        moved: work.into_moved(),
    })
}

/// Whoever vouches for a place must have seen what lies there: nothing stays unchecked.
fn checks(unpacked: UnpackedLimit) -> DecryptOptions {
    DecryptOptions {
        unpacked,
        ..DecryptOptions::default()
    }
}

struct Rebinding<'a> {
    source: &'a dyn ImageSource,
    target: &'a dyn ImageTarget,
    openers: &'a [&'a dyn PacketOpener],
    checks: DecryptOptions,
    wrappers: &'a [Box<dyn PacketWrapper>],
    moved: Mutex<Vec<Moved>>,
}

impl Work for Rebinding<'_> {
    fn check(&self, manifest: &Manifest, config: &Config) -> Result<Checked, ImageError> {
        let mut checked = Checked::default();
        for (index, opened) in self.open(manifest)?.iter().enumerate() {
            let layer = manifest.layers.get(index).ok_or(ImageError::Interrupted)?;
            checked.bytes = checked.bytes.saturating_add(layer.id.size);
            content_check(index, layer, opened.as_ref(), config, self.checks)?;
            let Some(opened) = opened else {
                checked.readable += 1;
                continue;
            };
            checked.layers += 1;
            let mismatch = match opened.check_place(index, layer, manifest, config) {
                Ok(()) if opened.is_bound() => continue,
                Ok(()) => None,
                Err(ImageError::BoundElsewhere { source, .. }) => Some(source),
                Err(error) => return Err(error),
            };
            self.note(manifest, index, mismatch);
        }
        if checked.layers == 0 {
            return Err(ImageError::NotEncrypted);
        }
        Ok(checked)
    }

    fn convert(
        &self,
        run: &Run<'_>,
        mut manifest: Manifest,
        config: &Config,
    ) -> Result<RawManifest, ImageError> {
        let opened = self.open(&manifest)?;
        parallel::for_each(run, manifest.layers.len(), |index| {
            let opened = opened.get(index).and_then(Option::as_ref);
            self.layer(run, &manifest, config, index, opened)
        })?;
        self.describe(run, &mut manifest, config, opened)?;
        manifest.to_raw()
    }

    fn nothing(&self) -> ImageError {
        ImageError::NotEncrypted
    }
}

impl Rebinding<'_> {
    fn walk<'w>(&'w self, progress: &'w dyn Progress) -> Walk<'w> {
        Walk {
            source: self.source,
            target: self.target,
            run: Run::new(progress),
            platforms: &[],
        }
    }

    fn into_moved(self) -> Vec<Moved> {
        self.moved
            .into_inner()
            .unwrap_or_else(PoisonError::into_inner)
    }

    fn note(&self, manifest: &Manifest, index: usize, mismatch: Option<BindingMismatch>) {
        let mut moved = self.moved.lock().unwrap_or_else(PoisonError::into_inner);
        moved.push(Moved {
            config: manifest.config.id.digest,
            index,
            mismatch,
        });
    }

    /// The keys. What the former binding says of the bytes themselves must be true wherever they lie.
    fn open(&self, manifest: &Manifest) -> Result<Vec<Option<OpenedLayer>>, ImageError> {
        announce(manifest, self.openers)?;
        let layers = manifest.layers.iter().enumerate();
        layers
            .map(|(index, layer)| {
                if !media_type::is_encrypted(&layer.media_type) {
                    return Ok(None);
                }
                let opened = OpenedLayer::open(index, layer, self.openers)?;
                opened.check_descriptor(index, layer)?;
                Ok(Some(opened))
            })
            .collect()
    }

    /// Binds each key to its new place, wraps all of them, and writes down who opens which layer.
    fn describe(
        &self,
        run: &Run<'_>,
        manifest: &mut Manifest,
        config: &Config,
        opened: Vec<Option<OpenedLayer>>,
    ) -> Result<(), ImageError> {
        let mut keys = Vec::new();
        for (index, opened) in opened.into_iter().enumerate() {
            let layer = manifest.layers.get(index).ok_or(ImageError::Interrupted)?;
            if let Some(opened) = opened {
                let place = Place {
                    manifest,
                    config,
                    index,
                };
                let binding = binding(&place, &layer.media_type, layer.id)?;
                let (public, private) = opened.rebound(binding);
                keys.push((index, public, private));
            }
        }
        let wanted: Vec<_> = keys.iter().map(|(index, _, key)| (*index, key)).collect();
        let packets = wrap_all(run, &wanted, self.wrappers)?;
        for ((index, public, _), packets) in keys.iter().zip(packets) {
            let layer = manifest.layers.get_mut(*index);
            let layer = layer.ok_or(ImageError::Interrupted)?;
            annotate(*index, layer, public, packets)?;
        }
        Ok(())
    }

    /// Carries the layer over as it is, and verifies what is inside.
    fn layer(
        &self,
        run: &Run<'_>,
        manifest: &Manifest,
        config: &Config,
        index: usize,
        opened: Option<&OpenedLayer>,
    ) -> Result<(), ImageError> {
        let layer = manifest.layers.get(index).ok_or(ImageError::Interrupted)?;
        let content = content_check(index, layer, opened, config, self.checks)?;
        let mut check = LayerCheck::new(index, opened, content)?;
        let held = self.target.holds(&layer.id).map_err(ImageError::Target)?;
        let mut writer: Option<Box<dyn BlobWriter + '_>> = match held {
            true => None,
            false => Some(self.target.write_blob().map_err(ImageError::Target)?),
        };
        let mut stages: Vec<Stage<'_>> = Vec::new();
        if let Some(writer) = &mut writer {
            stages.push(writing(writer));
        }
        stages.extend(check.stages());
        let reader = self.source.blob(&layer.id).map_err(ImageError::Source)?;
        run.carry(reader, stages)?;
        check.verify(layer)?;
        match writer {
            Some(writer) => writer.finish(&layer.id.digest).map_err(ImageError::Target),
            None => Ok(()),
        }
    }
}
