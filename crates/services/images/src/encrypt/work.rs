//! What is done to each manifest of an image that is encrypted.

use oci_crypt::{PacketWrapper, PrivateOptions, media_type};

use super::EncryptOptions;
use crate::ciphering::{sealer, sealing};
use crate::config::Config;
use crate::copy;
use crate::decrypt::{KeyRing, OpenedLayer};
use crate::error::ImageError;
use crate::hash::Hasher;
use crate::manifest::{Descriptor, Manifest, RawManifest};
use crate::media;
use crate::packets;
use crate::parallel;
use crate::pipeline::{Run, writing};
use crate::ports::{ImageSource, ImageTarget};
use crate::sealed::{Place, Sealed};
use crate::statement_carry::Signing;
use crate::walk::{Checked, Work};
use crate::wrapping::wrap_all;

pub(super) struct Encryption<'a> {
    pub(super) source: &'a dyn ImageSource,
    pub(super) target: &'a dyn ImageTarget,
    pub(super) wrappers: &'a [Box<dyn PacketWrapper>],
    /// The keys of the layers that are encrypted already. Their bindings hold and go on holding: place, number of
    /// layers and configuration stay. Layers without a binding beside bound ones would be refused by whoever decrypts.
    pub(super) kept: KeyRing<'a>,
    pub(super) options: &'a EncryptOptions<'a>,
}

impl Work for Encryption<'_> {
    fn check(&self, manifest: &Manifest, config: &Config) -> Result<Checked, ImageError> {
        if manifest.layers.is_empty() {
            return Err(ImageError::NothingToEncrypt);
        }
        let chosen = self.options.layers.of(manifest.layers.len())?;
        if self.keeps() {
            self.kept.check(manifest, config, |_| Ok(()))?;
        }
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
        let kept = match self.keeps() {
            true => self.kept.take(&manifest, config)?,
            false => manifest.layers.iter().map(|_| None).collect(),
        };
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
        self.describe(run, &mut manifest.layers, &sealed, &kept)?;
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
    /// Wraps all keys, the new ones and those of layers that are kept, and writes down what each layer is now.
    fn describe(
        &self,
        run: &Run<'_>,
        layers: &mut [Descriptor],
        sealed: &[Option<Sealed>],
        kept: &[Option<OpenedLayer>],
    ) -> Result<(), ImageError> {
        let fates: Vec<_> = sealed.iter().zip(kept).enumerate().collect();
        let keys: Vec<_> = fates
            .iter()
            .filter_map(|(index, fate)| Some((*index, key(*fate)?)))
            .collect();
        let mut packets = wrap_all(run, &keys, self.wrappers)?.into_iter();
        let mut next = || packets.next().ok_or(ImageError::Interrupted);
        for (layer, (index, fate)) in layers.iter_mut().zip(fates) {
            match fate {
                (Some(sealed), _) => sealed.describe(index, layer, next()?)?,
                (None, Some(_)) => {
                    packets::add(layer, &next()?)?;
                    packets::check(index, layer)?;
                }
                (None, None) => {
                    let plain = media_type::oci(&layer.media_type).unwrap_or(&layer.media_type);
                    let plain = plain.to_owned();
                    layer.describe(&plain, layer.id)?;
                }
            }
        }
        Ok(())
    }

    fn fate(&self, layer: &Descriptor, chosen: bool) -> Fate {
        match (media_type::is_encrypted(&layer.media_type), chosen) {
            // Without a key it is a layer that can't be encrypted, and refused as such.
            (true, _) if self.keeps() => Fate::Kept,
            (false, false) => Fate::Stays,
            (_, _) => Fate::Encrypted,
        }
    }

    /// Whether layers that are encrypted already may stay so.
    fn keeps(&self) -> bool {
        !self.options.openers.is_empty()
    }
}

/// The key of a layer that others are to open.
fn key<'l>(fate: (&'l Option<Sealed>, &'l Option<OpenedLayer>)) -> Option<&'l PrivateOptions> {
    match fate {
        (Some(sealed), _) => Some(&sealed.private),
        (None, kept) => kept.as_ref().map(OpenedLayer::private),
    }
}

impl Encryption<'_> {
    /// Digests the plain layer, encrypts it and writes it.
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
        let mut sealer = sealer()?;
        let mut plain = Hasher::new();
        let mut stages = Vec::from(sealing(index, &mut sealer, &mut plain));
        stages.push(writing(&mut writer));
        run.carry(reader, stages)?;
        if plain.finish() != layer.id {
            return Err(ImageError::WrongDigest {
                digest: layer.id.digest,
            });
        }
        let place = Place {
            manifest,
            config,
            index,
        };
        let sealed = Sealed::of(sealer, layer.id.digest, &media_type, &place)?;
        writer
            .finish(&sealed.id.digest)
            .map_err(ImageError::Target)?;
        Ok(sealed)
    }
}

/// The layer's type once it is encrypted.
fn encrypted_type(index: usize, layer: &Descriptor) -> Result<String, ImageError> {
    media_type::encrypted(&layer.media_type)
        .map_err(|source| ImageError::MediaType { index, source })
}
