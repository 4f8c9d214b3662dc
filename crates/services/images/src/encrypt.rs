//! Encrypting an image: every layer of every platform under its own key, bound to the place where it belongs.

use std::collections::BTreeMap;

use estate::Digest;
use oci_crypt::{
    Binding, Bound, Finished, LayerSealer, PREFIX, PacketOpener, PacketWrapper, SystemRandomness,
    media_type, seal_annotations,
};

use crate::config::Config;
use crate::copy;
use crate::decrypt::{OpenedLayer, Unbound, open_all};
use crate::error::ImageError;
use crate::hash::Hasher;
use crate::manifest::{Descriptor, Manifest, RawManifest};
use crate::media;
use crate::packets;
use crate::parallel;
use crate::pipeline::{Run, Stage};
use crate::ports::{BlobId, ImageSource, ImageTarget};
use crate::progress::{Progress, Silent};
use crate::recipients::Recipients;
use crate::recipients_edit::Nowhere;
use crate::select::{LayerChoice, Platform};
use crate::services::not_sealed;
use crate::statement_carry::Signing;
use crate::walk::{Checked, Walk, Work};

/// What was written.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Encrypted {
    /// Digest of the manifest or index that the target's name now stands for.
    pub digest: Digest,
    /// Encrypted layers, over all platforms.
    pub layers: usize,
    /// Of these, layers that were encrypted before and only got the new recipients.
    pub kept: usize,
    /// Layers that were not chosen, and stay readable.
    pub readable_layers: usize,
    /// Documents beside the image, such as a builder's attestations, that went over as they are and stay readable.
    pub readable_documents: usize,
}

/// What is encrypted of an image; by default every layer of every platform.
#[derive(Default)]
pub struct EncryptOptions<'a> {
    /// Which layers. The others stay readable.
    pub layers: LayerChoice,
    /// Which platforms. The others are left out: nothing of them is published.
    pub platforms: Vec<Platform>,
    /// Keys of layers that are encrypted already: these are kept, and get the new recipients.
    pub openers: Vec<&'a dyn PacketOpener>,
    /// What is stated of the images under their new name; nothing is published when it can't be.
    pub signing: Option<&'a Signing<'a>>,
}

/// What would be written.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Preview {
    /// Layers to work on, over all platforms.
    pub layers: usize,
    /// Of these, layers that are encrypted already.
    pub kept: usize,
    /// Layers that stay readable.
    pub readable_layers: usize,
    /// Bytes to read.
    pub bytes: u64,
}

/// Encrypts the image in `source` for `recipients` and puts it into `target`.
///
/// Every layer is encrypted or nothing is published. An image with a layer that is encrypted already is refused.
///
/// # Errors
/// See [`ImageError`].
pub fn encrypt(
    source: &dyn ImageSource,
    target: &dyn ImageTarget,
    recipients: &Recipients,
    progress: &dyn Progress,
) -> Result<Encrypted, ImageError> {
    encrypt_with(
        source,
        target,
        recipients,
        &EncryptOptions::default(),
        progress,
    )
}

/// As [`encrypt`], for chosen layers and platforms, and for images with layers that are encrypted already.
///
/// # Errors
/// See [`ImageError`].
pub fn encrypt_with(
    source: &dyn ImageSource,
    target: &dyn ImageTarget,
    recipients: &Recipients,
    options: &EncryptOptions<'_>,
    progress: &dyn Progress,
) -> Result<Encrypted, ImageError> {
    let walk = Walk {
        source,
        target,
        run: Run::new(progress),
        platforms: &options.platforms,
    };
    let written = walk.through(&Encryption {
        source,
        target,
        wrappers: &recipients.wrappers()?,
        options,
    })?;
    Ok(Encrypted {
        digest: written.root,
        layers: written.done.layers,
        kept: written.done.kept,
        readable_layers: written.done.readable,
        readable_documents: written.copied,
    })
}

/// What [`encrypt_with`] would do, as far as it can be told without reading layers. Nothing is written.
///
/// # Errors
/// See [`ImageError`].
pub fn preview_encrypt(
    source: &dyn ImageSource,
    recipients: &Recipients,
    options: &EncryptOptions<'_>,
) -> Result<Preview, ImageError> {
    let walk = Walk {
        source,
        target: &Nowhere,
        run: Run::new(&Silent),
        platforms: &options.platforms,
    };
    let checked = walk.preview(&Encryption {
        source,
        target: &Nowhere,
        wrappers: &recipients.wrappers()?,
        options,
    })?;
    Ok(Preview::of(checked))
}

impl Preview {
    pub(crate) const fn of(checked: Checked) -> Self {
        Self {
            layers: checked.layers,
            kept: checked.kept,
            readable_layers: checked.readable,
            bytes: checked.bytes,
        }
    }
}

struct Encryption<'a> {
    source: &'a dyn ImageSource,
    target: &'a dyn ImageTarget,
    wrappers: &'a [Box<dyn PacketWrapper>],
    options: &'a EncryptOptions<'a>,
}

impl Work for Encryption<'_> {
    fn check(&self, manifest: &Manifest, config: &Config) -> Result<Checked, ImageError> {
        if manifest.layers.is_empty() {
            return Err(ImageError::NothingToEncrypt);
        }
        let chosen = self.options.layers.of(manifest.layers.len())?;
        self.open_kept(manifest, config)?;
        let mut checked = Checked::default();
        for (index, (layer, chosen)) in manifest.layers.iter().zip(chosen).enumerate() {
            checked.bytes = checked.bytes.saturating_add(layer.id.size);
            match self.fate(layer, chosen) {
                Fate::Stays => checked.readable += 1,
                Fate::Kept => {
                    checked.layers += 1;
                    checked.kept += 1;
                }
                Fate::Encrypted => {
                    encrypted_type(index, layer)?;
                    checked.layers += 1;
                }
            }
        }
        Ok(checked)
    }

    fn convert(
        &self,
        run: &Run<'_>,
        mut manifest: Manifest,
        config: &Config,
    ) -> Result<RawManifest, ImageError> {
        let chosen = self.options.layers.of(manifest.layers.len())?;
        let kept = self.open_kept(&manifest, config)?;
        let sealed = parallel::for_each(run, manifest.layers.len(), |index| {
            let layer = manifest.layers.get(index).ok_or(ImageError::Interrupted)?;
            let chosen = chosen.get(index).copied().unwrap_or(true);
            match self.fate(layer, chosen) {
                Fate::Encrypted => self.layer(run, &manifest, config, index).map(Some),
                Fate::Kept | Fate::Stays => {
                    copy::blob(run, self.source, self.target, layer.id).map(|()| None)
                }
            }
        })?;
        let layers = manifest.layers.iter_mut().zip(sealed).zip(kept);
        for (index, ((layer, sealed), kept)) in layers.enumerate() {
            match (sealed, kept) {
                (Some(sealed), _) => sealed.describe(layer)?,
                (None, Some(opened)) => {
                    packets::add(layer, &opened.wrap(index, self.wrappers)?)?;
                    packets::check(index, layer)?;
                }
                (None, None) => {
                    let plain = media_type::oci(&layer.media_type).unwrap_or(&layer.media_type);
                    let plain = plain.to_owned();
                    layer.describe(&plain, layer.id)?;
                }
            }
        }
        let config = &mut manifest.config;
        let media_type = media::to_oci(&config.media_type).to_owned();
        config.describe(&media_type, config.id)?;
        manifest.to_raw()
    }

    fn nothing(&self) -> ImageError {
        ImageError::NothingToEncrypt
    }

    fn signing(&self) -> Option<&Signing<'_>> {
        self.options.signing
    }
}

/// What becomes of a layer.
enum Fate {
    Encrypted,
    /// It is encrypted already.
    Kept,
    /// It was not chosen, and stays readable.
    Stays,
}

impl Encryption<'_> {
    fn fate(&self, layer: &Descriptor, chosen: bool) -> Fate {
        let has_keys = !self.options.openers.is_empty();
        match (media_type::is_encrypted(&layer.media_type), chosen) {
            // Without a key it is a layer that can't be encrypted, and refused as such.
            (true, _) if has_keys => Fate::Kept,
            (false, false) => Fate::Stays,
            (_, _) => Fate::Encrypted,
        }
    }

    /// The keys of the layers that are encrypted already. Their bindings hold and go on holding: place, number of
    /// layers and configuration stay. Layers without a binding beside bound ones would be refused by whoever decrypts.
    fn open_kept(
        &self,
        manifest: &Manifest,
        config: &Config,
    ) -> Result<Vec<Option<OpenedLayer>>, ImageError> {
        if self.options.openers.is_empty() {
            return Ok(manifest.layers.iter().map(|_| None).collect());
        }
        open_all(manifest, config, &self.options.openers, Unbound::Refuse)
    }
}

/// A layer in its encrypted form.
pub(crate) struct Sealed {
    media_type: String,
    pub(crate) id: BlobId,
    annotations: BTreeMap<String, String>,
}

impl Encryption<'_> {
    /// Digests the plain layer, encrypts it and writes it; three threads beside the reader's.
    fn layer(
        &self,
        run: &Run<'_>,
        manifest: &Manifest,
        config: &Config,
        index: usize,
    ) -> Result<Sealed, ImageError> {
        let layer = manifest.layers.get(index).ok_or(ImageError::Interrupted)?;
        let media_type = encrypted_type(index, layer)?;
        let reader = self.source.blob(&layer.id).map_err(ImageError::Source)?;
        let mut writer = self.target.write_blob().map_err(ImageError::Target)?;
        let mut sealer =
            LayerSealer::new(&mut SystemRandomness).map_err(|_| ImageError::NoRandomness)?;
        let mut plain = Hasher::new();
        run.carry(
            reader,
            vec![
                Box::new(|piece| {
                    plain.update(piece);
                    Ok(())
                }),
                sealing(index, &mut sealer),
                Box::new(|piece| writer.write(piece).map_err(ImageError::Target)),
            ],
        )?;
        if plain.finish() != layer.id {
            return Err(ImageError::WrongDigest {
                digest: layer.id.digest,
            });
        }
        let finished = sealer.finish();
        let place = Place {
            manifest,
            config,
            index,
        };
        let sealed = Sealed::of(
            finished,
            layer.id.digest,
            &media_type,
            &place,
            self.wrappers,
        )?;
        writer
            .finish(&sealed.id.digest)
            .map_err(ImageError::Target)?;
        Ok(sealed)
    }
}

/// Encrypts the pieces of a layer.
pub(crate) fn sealing(index: usize, sealer: &mut LayerSealer) -> Stage<'_> {
    let mut spare = Vec::new();
    Box::new(move |piece| {
        spare.resize(piece.len(), 0);
        sealer
            .update(piece, &mut spare)
            .map_err(|source| ImageError::Cipher { index, source })?;
        std::mem::swap(piece, &mut spare);
        Ok(())
    })
}

/// Where a layer lies.
pub(crate) struct Place<'a> {
    pub(crate) manifest: &'a Manifest,
    pub(crate) config: &'a Config,
    pub(crate) index: usize,
}

impl Sealed {
    /// Binds the key of a finished layer to its place and wraps it.
    pub(crate) fn of(
        finished: Finished,
        plain: Digest,
        media_type: &str,
        place: &Place<'_>,
        wrappers: &[Box<dyn PacketWrapper>],
    ) -> Result<Self, ImageError> {
        let index = place.index;
        let id = BlobId {
            digest: Digest::from_bytes(*finished.digest.as_bytes()),
            size: finished.size,
        };
        let bound = Bound::Full(Box::new(binding(place, media_type, id)?));
        let (public, private) = finished.into_options(to_format(plain), bound);
        let wrappers: Vec<&dyn PacketWrapper> = wrappers.iter().map(|wrapper| &**wrapper).collect();
        let annotations = seal_annotations(&public, &private, &wrappers)
            .map_err(|error| not_sealed(index, error))?;
        Ok(Self {
            media_type: media_type.to_owned(),
            id,
            annotations,
        })
    }

    /// Lets a descriptor speak of this layer.
    pub(crate) fn describe(&self, layer: &mut Descriptor) -> Result<(), ImageError> {
        layer.strip_annotations(PREFIX)?;
        layer.describe(&self.media_type, self.id)?;
        for (name, value) in &self.annotations {
            layer.annotate(name, value)?;
        }
        Ok(())
    }
}

/// Where the layer belongs; travels inside the wrapped key.
pub(crate) fn binding(
    place: &Place<'_>,
    media_type: &str,
    ciphertext: BlobId,
) -> Result<Binding, ImageError> {
    let Place {
        manifest,
        config,
        index,
    } = *place;
    let number = |number: usize| u32::try_from(number).map_err(|_| ImageError::TooManyLayers);
    Ok(Binding {
        ciphertext: to_format(ciphertext.digest),
        size: ciphertext.size,
        media_type: media_type::plain(media_type)
            .map_err(|source| ImageError::MediaType { index, source })?,
        diff_id: config.diff_id(index).map(to_format),
        index: number(index)?,
        of: number(manifest.layers.len())?,
        config: to_format(manifest.config.id.digest),
    })
}

/// The layer's type once it is encrypted.
fn encrypted_type(index: usize, layer: &Descriptor) -> Result<String, ImageError> {
    media_type::encrypted(&layer.media_type)
        .map_err(|source| ImageError::MediaType { index, source })
}

/// A digest as the format crate has it.
pub(crate) fn to_format(digest: Digest) -> oci_crypt::Digest {
    oci_crypt::Digest::from_sha256(*digest.as_bytes())
}
