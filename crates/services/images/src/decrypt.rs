//! Decrypting an image: everything that its bindings promise is checked, and nothing is published before.

mod key;

use std::sync::atomic::{AtomicUsize, Ordering};

use estate::Digest;
use oci_crypt::{LayerOpener, PREFIX, PacketOpener};

use crate::config::Config;
use crate::diff_id::DiffIdHasher;
use crate::error::ImageError;
use crate::hash::Hasher;
use crate::manifest::{Descriptor, Manifest, RawManifest};
use crate::parallel;
use crate::pipeline::{Run, Stage};
use crate::ports::{BlobId, ImageSource, ImageTarget};
use crate::progress::Progress;
use crate::walk::{Checked, Walk, Work};
pub(crate) use key::{OpenedLayer, announce, open_all};

/// What is done where something can't be checked.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct DecryptOptions {
    /// Layers that another tool encrypted, without a binding.
    pub unbound: Unbound,
    /// Layers that are packed in a way nobody here knows.
    pub unknown_packing: UnknownPacking,
}

/// Layers without a binding. They pass all other checks, but whoever can write the registry may have put together an
/// image from layers and a configuration of several. An image of bound and unbound layers is refused in any case.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum Unbound {
    /// They are decrypted, and [`Decrypted::unbound`] says how many there were.
    #[default]
    Accept,
    /// They are refused.
    Refuse,
}

/// Layers whose content can't be compared with the configuration.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum UnknownPacking {
    /// They are refused.
    #[default]
    Refuse,
    /// Their content stays unchecked.
    Accept,
}

/// What was written.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Decrypted {
    /// Digest of the manifest or index that the target's name now stands for.
    pub digest: Digest,
    /// Decrypted layers, over all platforms.
    pub layers: usize,
    /// How many of them were bound to nothing: whoever calls should say so.
    pub unbound: usize,
}

/// Decrypts the image in `source` with the keys of `openers` and puts it into `target`.
///
/// All layers, encrypted or not, of all platforms are verified, or nothing is published.
///
/// # Errors
/// See [`ImageError`].
pub fn decrypt(
    source: &dyn ImageSource,
    target: &dyn ImageTarget,
    openers: &[&dyn PacketOpener],
    options: DecryptOptions,
    progress: &dyn Progress,
) -> Result<Decrypted, ImageError> {
    let walk = Walk {
        source,
        target,
        run: Run::new(progress),
        platforms: &[],
    };
    let unbound = AtomicUsize::new(0);
    let written = walk.through(&Decryption {
        source,
        target,
        openers,
        options,
        unbound: &unbound,
    })?;
    Ok(Decrypted {
        digest: written.root,
        layers: written.done.layers,
        unbound: unbound.into_inner(),
    })
}

struct Decryption<'a> {
    source: &'a dyn ImageSource,
    target: &'a dyn ImageTarget,
    openers: &'a [&'a dyn PacketOpener],
    options: DecryptOptions,
    unbound: &'a AtomicUsize,
}

impl Work for Decryption<'_> {
    fn check(&self, manifest: &Manifest, config: &Config) -> Result<Checked, ImageError> {
        let opened = open_all(manifest, config, self.openers, self.options.unbound)?;
        let mut checked = Checked::default();
        for (index, (layer, opened)) in manifest.layers.iter().zip(&opened).enumerate() {
            self.content_check(index, layer, opened.as_ref(), config)?;
            checked.bytes = checked.bytes.saturating_add(layer.id.size);
            if let Some(opened) = opened {
                checked.layers += 1;
                self.unbound
                    .fetch_add(usize::from(!opened.is_bound()), Ordering::Relaxed);
            }
        }
        // A readable image among encrypted ones is how somebody would slip in his own for one platform.
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
        let opened = open_all(&manifest, config, self.openers, self.options.unbound)?;
        let layers: Vec<_> = manifest.layers.iter().zip(&opened).collect();
        let ids = parallel::for_each(run, layers.len(), |index| {
            let (layer, opened) = layers.get(index).ok_or(ImageError::Interrupted)?;
            self.layer(run, index, layer, opened.as_ref(), config)
        })?;
        for ((layer, id), opened) in manifest.layers.iter_mut().zip(ids).zip(&opened) {
            if let Some(opened) = opened {
                layer.describe(&opened.plain_type, id)?;
                layer.strip_annotations(PREFIX)?;
            }
        }
        manifest.to_raw()
    }

    fn nothing(&self) -> ImageError {
        ImageError::NotEncrypted
    }
}

impl Decryption<'_> {
    fn content_check(
        &self,
        index: usize,
        layer: &Descriptor,
        opened: Option<&OpenedLayer>,
        config: &Config,
    ) -> Result<Option<ContentCheck>, ImageError> {
        content_check(index, layer, opened, config, self.options.unknown_packing)
    }

    /// Decrypts, digests, writes and unpacks one layer, each on a thread of its own; its blob gets its name when all
    /// of it has been verified.
    fn layer(
        &self,
        run: &Run<'_>,
        index: usize,
        layer: &Descriptor,
        opened: Option<&OpenedLayer>,
        config: &Config,
    ) -> Result<BlobId, ImageError> {
        let mut content = self.content_check(index, layer, opened, config)?;
        let mut opener = opened.map(|opened| opened.opener(index)).transpose()?;
        let reader = self.source.blob(&layer.id).map_err(ImageError::Source)?;
        let mut writer = self.target.write_blob().map_err(ImageError::Target)?;
        let mut plain = Hasher::new();
        let mut stages: Vec<Stage<'_>> = Vec::new();
        if let Some(opener) = &mut opener {
            stages.push(opening(index, opener));
        }
        stages.push(Box::new(|piece| {
            plain.update(piece);
            writer.write(piece).map_err(ImageError::Target)
        }));
        if let Some(content) = &mut content {
            stages.push(Box::new(|piece| content.update(piece)));
        }
        run.carry(reader, stages)?;
        let plain = plain.finish();
        match (opener, opened) {
            (Some(opener), Some(opened)) => opened.verify(index, layer, opener, plain.digest)?,
            _ if plain != layer.id => {
                return Err(ImageError::WrongDigest {
                    digest: layer.id.digest,
                });
            }
            _ => {}
        }
        if let Some(content) = content {
            content.verify()?;
        }
        writer.finish(&plain.digest).map_err(ImageError::Target)?;
        Ok(plain)
    }
}

/// How the content of a layer will be compared with the configuration; `None` when nothing can be compared and that is
/// acceptable.
pub(crate) fn content_check(
    index: usize,
    layer: &Descriptor,
    opened: Option<&OpenedLayer>,
    config: &Config,
    unknown_packing: UnknownPacking,
) -> Result<Option<ContentCheck>, ImageError> {
    let Some(expected) = config.diff_id(index) else {
        // A layer that neither a binding nor a configuration names could be anybody's.
        return if opened.is_some_and(OpenedLayer::is_bound) {
            Ok(None)
        } else {
            Err(ImageError::Unbound { index })
        };
    };
    let media_type = opened.map_or(&layer.media_type, |opened| &opened.plain_type);
    let hasher = DiffIdHasher::for_layer(media_type).map_err(|_| ImageError::DiffId { index })?;
    match (hasher, unknown_packing) {
        (Some(hasher), _) => Ok(Some(ContentCheck {
            hasher,
            expected,
            index,
        })),
        (None, UnknownPacking::Accept) => Ok(None),
        (None, UnknownPacking::Refuse) => Err(ImageError::UnknownPacking {
            index,
            media_type: media_type.clone(),
        }),
    }
}

/// Unpacks a layer as it passes by.
pub(crate) struct ContentCheck {
    hasher: DiffIdHasher,
    expected: Digest,
    index: usize,
}

impl ContentCheck {
    /// Takes the next piece of the plain layer.
    pub(crate) fn update(&mut self, piece: &[u8]) -> Result<(), ImageError> {
        let index = self.index;
        self.hasher
            .update(piece)
            .map_err(|_| ImageError::DiffId { index })
    }

    /// Whether it unpacked to what the configuration names.
    pub(crate) fn verify(self) -> Result<(), ImageError> {
        let index = self.index;
        match self.hasher.finish() {
            Ok(found) if found == self.expected => Ok(()),
            Ok(_) | Err(_) => Err(ImageError::DiffId { index }),
        }
    }
}

/// Decrypts the pieces of a layer.
pub(crate) fn opening(index: usize, opener: &mut LayerOpener) -> Stage<'_> {
    let mut spare = Vec::new();
    Box::new(move |piece| {
        spare.resize(piece.len(), 0);
        opener
            .update(piece, &mut spare)
            .map_err(|source| ImageError::Cipher { index, source })?;
        std::mem::swap(piece, &mut spare);
        Ok(())
    })
}
