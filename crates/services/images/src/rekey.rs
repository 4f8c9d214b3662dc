//! New keys for an image that is encrypted: whoever had a former key, or kept one, has nothing that opens the new image.

use std::sync::atomic::{AtomicUsize, Ordering};

use estate::Digest;
use oci_crypt::{LayerSealer, PacketOpener, PacketWrapper, media_type};

use crate::checks::{ContentCheck, LayerCheck, content_check};
use crate::ciphering::{sealer, sealing_again};
use crate::config::Config;
use crate::decrypt::{DecryptOptions, KeyRing, OpenedLayer};
use crate::encrypt::Preview;
use crate::error::ImageError;
use crate::manifest::{Manifest, RawManifest};
use crate::nowhere::Nowhere;
use crate::parallel;
use crate::pipeline::{Run, writing};
use crate::ports::{ImageSource, ImageTarget};
use crate::progress::{Progress, Silent};
use crate::recipients::Recipients;
use crate::sealed::{Place, Sealed};
use crate::select::Platform;
use crate::walk::{Checked, Walk, Work};
use crate::wrapping::wrap_all;

/// How an image gets new keys.
#[derive(Default)]
pub struct RekeyOptions<'a> {
    /// The present keys.
    pub openers: Vec<&'a dyn PacketOpener>,
    /// Which platforms. The others are left out.
    pub platforms: Vec<Platform>,
    /// What is done where something can't be checked. A layer without a binding gets one.
    pub checks: DecryptOptions,
}

/// What was written.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Rekeyed {
    /// Digest of the manifest or index that the target's name now stands for.
    pub digest: Digest,
    /// Layers with new keys, over all platforms.
    pub layers: usize,
    /// Layers that were readable before, and still are.
    pub readable_layers: usize,
    /// Layers that were bound to nothing. Now they are bound to where they lay, which nobody but the caller vouches for:
    /// whoever takes the packets with a binding away may have put them there.
    pub unbound: usize,
}

/// Encrypts every encrypted layer in `source` again, with a new key and for `recipients` alone. All that is verified at
/// decryption is verified here; no plain byte leaves memory.
///
/// # Errors
/// See [`ImageError`]. Nothing is published then.
pub fn rekey(
    source: &dyn ImageSource,
    target: &dyn ImageTarget,
    recipients: &Recipients,
    options: &RekeyOptions<'_>,
    progress: &dyn Progress,
) -> Result<Rekeyed, ImageError> {
    let work = Rekeying {
        source,
        target,
        wrappers: &recipients.wrappers()?,
        keys: KeyRing::new(&options.openers, options.checks.unbound),
        options,
        unbound: AtomicUsize::new(0),
    };
    let written = work.walk(progress).through(&work)?;
    Ok(Rekeyed {
        digest: written.root,
        layers: written.done.layers,
        readable_layers: written.done.readable,
        unbound: work.unbound.into_inner(),
    })
}

/// What [`rekey`] would do, as far as it can be told without reading layers. Nothing is written.
///
/// # Errors
/// See [`ImageError`].
pub fn preview_rekey(
    source: &dyn ImageSource,
    recipients: &Recipients,
    options: &RekeyOptions<'_>,
) -> Result<Preview, ImageError> {
    let work = Rekeying {
        source,
        target: &Nowhere,
        wrappers: &recipients.wrappers()?,
        keys: KeyRing::new(&options.openers, options.checks.unbound),
        options,
        unbound: AtomicUsize::new(0),
    };
    work.walk(&Silent).preview(&work).map(Preview::of)
}

struct Rekeying<'a> {
    source: &'a dyn ImageSource,
    target: &'a dyn ImageTarget,
    wrappers: &'a [Box<dyn PacketWrapper>],
    keys: KeyRing<'a>,
    options: &'a RekeyOptions<'a>,
    unbound: AtomicUsize,
}

impl Work for Rekeying<'_> {
    fn check(&self, manifest: &Manifest, config: &Config) -> Result<Checked, ImageError> {
        self.keys.check(manifest, config, |opened| {
            self.look(manifest, config, opened)
        })
    }

    fn convert(
        &self,
        run: &Run<'_>,
        mut manifest: Manifest,
        config: &Config,
    ) -> Result<RawManifest, ImageError> {
        let opened = self.keys.take(&manifest, config)?;
        let sealed = parallel::for_each(run, manifest.layers.len(), |index| {
            let opened = opened.get(index).and_then(Option::as_ref);
            let place = Place {
                manifest: &manifest,
                config,
                index,
            };
            self.layer(run, &place, opened)
        })?;
        let keys = sealed.iter().enumerate();
        let keys: Vec<_> = keys
            .filter_map(|(index, sealed)| Some((index, &sealed.as_ref()?.private)))
            .collect();
        let mut packets = wrap_all(run, &keys, self.wrappers)?.into_iter();
        for (index, (layer, sealed)) in manifest.layers.iter_mut().zip(&sealed).enumerate() {
            if let Some(sealed) = sealed {
                let packets = packets.next().ok_or(ImageError::Interrupted)?;
                sealed.describe(index, layer, packets)?;
            }
        }
        manifest.to_raw()
    }

    fn nothing(&self) -> ImageError {
        ImageError::NotEncrypted
    }
}

impl Rekeying<'_> {
    fn walk<'w>(&'w self, progress: &'w dyn Progress) -> Walk<'w> {
        Walk {
            source: self.source,
            target: self.target,
            run: Run::new(progress),
            platforms: &self.options.platforms,
        }
    }

    fn look(
        &self,
        manifest: &Manifest,
        config: &Config,
        opened: &[Option<OpenedLayer>],
    ) -> Result<Checked, ImageError> {
        let mut checked = Checked::default();
        for (index, opened) in opened.iter().enumerate() {
            self.content_check(manifest, config, index, opened.as_ref())?;
            match opened {
                Some(_) => checked.layers += 1,
                None => checked.readable += 1,
            }
        }
        let sizes = manifest.layers.iter().map(|layer| layer.id.size);
        checked.bytes = sizes.fold(0, u64::saturating_add);
        // As at decryption: somebody may have put a readable image in the place of the encrypted.
        if checked.layers == 0 {
            return Err(ImageError::NotEncrypted);
        }
        Ok(checked)
    }

    fn content_check(
        &self,
        manifest: &Manifest,
        config: &Config,
        index: usize,
        opened: Option<&OpenedLayer>,
    ) -> Result<Option<ContentCheck>, ImageError> {
        let layer = manifest.layers.get(index).ok_or(ImageError::Interrupted)?;
        let checks = self.options.checks;
        content_check(index, layer, opened, config, checks)
    }

    /// Checks one layer, decrypts and encrypts it if it is encrypted, and writes it; it gets its name when all of it was verified.
    fn layer(
        &self,
        run: &Run<'_>,
        place: &Place<'_>,
        opened: Option<&OpenedLayer>,
    ) -> Result<Option<Sealed>, ImageError> {
        let (manifest, config, index) = (place.manifest, place.config, place.index);
        let layer = manifest.layers.get(index).ok_or(ImageError::Interrupted)?;
        let content = self.content_check(manifest, config, index, opened)?;
        let mut check = LayerCheck::new(index, opened, content)?;
        let mut fresh = opened.map(|_| sealer()).transpose()?;
        let reader = self.source.blob(&layer.id).map_err(ImageError::Source)?;
        let mut writer = self.target.write_blob().map_err(ImageError::Target)?;
        let mut stages = check.stages();
        stages.extend(fresh.as_mut().map(|fresh| sealing_again(index, fresh)));
        stages.push(writing(&mut writer));
        run.carry(reader, stages)?;
        let plain = check.verify(layer)?.digest;
        let sealed = match (fresh, opened) {
            (Some(fresh), Some(opened)) => Some(self.sealed(fresh, opened, plain, place)?),
            _ => None,
        };
        let digest = sealed.as_ref().map_or(plain, |sealed| sealed.id.digest);
        writer.finish(&digest).map_err(ImageError::Target)?;
        Ok(sealed)
    }

    fn sealed(
        &self,
        fresh: LayerSealer,
        opened: &OpenedLayer,
        plain: Digest,
        place: &Place<'_>,
    ) -> Result<Sealed, ImageError> {
        // OCI's name for the type; one that is not known here keeps its own.
        let media_type = media_type::encrypted(&opened.plain_type)
            .unwrap_or_else(|_| format!("{}+encrypted", opened.plain_type));
        let sealed = Sealed::of(fresh, plain, &media_type, place)?;
        self.unbound
            .fetch_add(usize::from(!opened.is_bound()), Ordering::Relaxed);
        Ok(sealed)
    }
}
