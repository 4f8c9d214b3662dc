//! Decrypting an image: everything that its bindings promise is checked, and nothing is published before.

mod key;
mod ring;

use std::sync::atomic::{AtomicUsize, Ordering};

use estate::Digest;
use oci_crypt::{PREFIX, PacketOpener};

use crate::checks::{ContentCheck, LayerCheck, content_check};
use crate::config::Config;
use crate::diff_id::UnpackedLimit;
use crate::encrypt::Preview;
use crate::error::ImageError;
use crate::manifest::{Descriptor, Manifest, RawManifest};
use crate::nowhere::Nowhere;
use crate::parallel;
use crate::pipeline::{Run, writing};
use crate::ports::{BlobId, ImageSource, ImageTarget};
use crate::progress::{Progress, Silent};
use crate::walk::{Checked, Walk, Work};
pub(crate) use key::{OpenedLayer, announce, open_all};
pub(crate) use ring::KeyRing;

/// What is done where something can't be checked.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct DecryptOptions {
    /// Layers that another tool encrypted, without a binding.
    pub unbound: Unbound,
    /// Layers that are packed in a way nobody here knows.
    pub unknown_packing: UnknownPacking,
    /// Layers that unpack to far more than they are.
    pub unpacked: UnpackedLimit,
    /// What packed layers with a binding unpack to. Decryption alone asks: `verify`, `rekey` and `rebind` always compare it.
    pub bound_content: BoundContent,
}

/// Whether bound layers are unpacked, to compare their content with the configuration. Their ciphertext and their place are
/// verified in any case, and layers without a binding, or not packed, or packed in an unknown way are treated as always.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum BoundContent {
    /// They are.
    #[default]
    Verify,
    /// That is left to whoever unpacks the image; runtimes such as containerd compare it again. Whoever may encrypt, and that
    /// is everybody with a public key, can have bound other content to the configuration, also some that unpacks to any
    /// size; [`Decrypted::left`] says how many layers there were.
    Leave,
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

/// Whether the plain image says which encrypted one it was.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub enum Provenance {
    /// It does not: encrypting and decrypting gives back the very manifest that was there before.
    #[default]
    Untold,
    /// Each manifest names the encrypted one, as [`DECRYPTED_FROM`]: what was pinned or signed by its digest has no other
    /// way to be told from something else.
    Told {
        /// Where the encrypted image lies, such as `registry.example/team/app`, if it has a name that others know.
        repository: Option<String>,
    },
}

/// The annotation of a plain manifest with the digest of the encrypted one, `[REPOSITORY@]sha256:…`.
pub const DECRYPTED_FROM: &str = "dev.bailiwick.decrypted-from";

impl Provenance {
    fn annotation(&self, encrypted: Digest) -> Option<String> {
        match self {
            Self::Untold => None,
            Self::Told { repository: None } => Some(encrypted.to_string()),
            Self::Told {
                repository: Some(repository),
            } => Some(format!("{repository}@{encrypted}")),
        }
    }
}

/// What was written.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Decrypted {
    /// Digest of what the source's name stood for.
    pub former: Digest,
    /// Digest of the manifest or index that the target's name now stands for.
    pub digest: Digest,
    /// Decrypted layers, over all platforms.
    pub layers: usize,
    /// How many of them were bound to nothing: whoever calls should say so.
    pub unbound: usize,
    /// How many of them [`BoundContent::Leave`] left unpacked: whoever calls should say so.
    pub left: usize,
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
    decrypt_from(
        source,
        target,
        openers,
        options,
        &Provenance::Untold,
        progress,
    )
}

/// As [`decrypt`], for an image whose origin is told.
///
/// # Errors
/// See [`ImageError`].
pub fn decrypt_from(
    source: &dyn ImageSource,
    target: &dyn ImageTarget,
    openers: &[&dyn PacketOpener],
    options: DecryptOptions,
    provenance: &Provenance,
    progress: &dyn Progress,
) -> Result<Decrypted, ImageError> {
    let work = Decryption {
        source,
        target,
        keys: KeyRing::new(openers, options.unbound),
        options,
        provenance,
        unbound: AtomicUsize::new(0),
        left: AtomicUsize::new(0),
    };
    let written = work.walk(progress).through(&work)?;
    Ok(Decrypted {
        former: written.former,
        digest: written.root,
        layers: written.done.layers,
        unbound: work.unbound.into_inner(),
        left: work.left.into_inner(),
    })
}

/// What [`decrypt`] would do, as far as it can be told without reading layers: whether the keys open them, and whether
/// they lie where they belong. Nothing is written.
///
/// # Errors
/// See [`ImageError`].
pub fn preview_decrypt(
    source: &dyn ImageSource,
    openers: &[&dyn PacketOpener],
    options: DecryptOptions,
) -> Result<Preview, ImageError> {
    let work = Decryption {
        source,
        target: &Nowhere,
        keys: KeyRing::new(openers, options.unbound),
        options,
        provenance: &Provenance::Untold,
        unbound: AtomicUsize::new(0),
        left: AtomicUsize::new(0),
    };
    work.walk(&Silent).preview(&work).map(Preview::of)
}

struct Decryption<'a> {
    source: &'a dyn ImageSource,
    target: &'a dyn ImageTarget,
    keys: KeyRing<'a>,
    options: DecryptOptions,
    provenance: &'a Provenance,
    unbound: AtomicUsize,
    left: AtomicUsize,
}

impl Work for Decryption<'_> {
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
        if let Some(from) = self.provenance.annotation(manifest.id.digest) {
            manifest.annotate(DECRYPTED_FROM, &from)?;
        }
        manifest.to_raw()
    }

    fn nothing(&self) -> ImageError {
        ImageError::NotEncrypted
    }
}

impl Decryption<'_> {
    fn walk<'w>(&'w self, progress: &'w dyn Progress) -> Walk<'w> {
        Walk {
            source: self.source,
            target: self.target,
            run: Run::new(progress),
            platforms: &[],
        }
    }

    fn look(
        &self,
        manifest: &Manifest,
        config: &Config,
        opened: &[Option<OpenedLayer>],
    ) -> Result<Checked, ImageError> {
        let mut checked = Checked::default();
        for (index, (layer, opened)) in manifest.layers.iter().zip(opened).enumerate() {
            let opened = opened.as_ref();
            let content = content_check(index, layer, opened, config, self.options)?;
            let is_left = content.is_some_and(|content| self.is_left(opened, &content));
            checked.bytes = checked.bytes.saturating_add(layer.id.size);
            checked.readable += usize::from(opened.is_none());
            if let Some(opened) = opened {
                checked.layers += 1;
                let counted = [(&self.unbound, !opened.is_bound()), (&self.left, is_left)];
                for (count, is_one) in counted {
                    count.fetch_add(usize::from(is_one), Ordering::Relaxed);
                }
            }
        }
        // A readable image among encrypted ones is how somebody would slip in his own for one platform.
        if checked.layers == 0 {
            return Err(ImageError::NotEncrypted);
        }
        Ok(checked)
    }

    /// Whether whoever unpacks the image compares the content of this layer.
    fn is_left(&self, opened: Option<&OpenedLayer>, content: &ContentCheck) -> bool {
        self.options.bound_content == BoundContent::Leave
            && opened.is_some_and(OpenedLayer::is_bound)
            && content.unpacks()
    }

    /// Decrypts, digests, unpacks and writes one layer; its blob gets its name when all of it has been verified.
    fn layer(
        &self,
        run: &Run<'_>,
        index: usize,
        layer: &Descriptor,
        opened: Option<&OpenedLayer>,
        config: &Config,
    ) -> Result<BlobId, ImageError> {
        let content = content_check(index, layer, opened, config, self.options)?
            .filter(|content| !self.is_left(opened, content));
        let mut check = LayerCheck::new(index, opened, content)?;
        let reader = self.source.blob(&layer.id).map_err(ImageError::Source)?;
        let mut writer = self.target.write_blob().map_err(ImageError::Target)?;
        let mut stages = check.stages();
        stages.push(writing(&mut writer));
        run.carry(reader, stages)?;
        let plain = check.verify(layer)?;
        writer.finish(&plain.digest).map_err(ImageError::Target)?;
        Ok(plain)
    }
}
