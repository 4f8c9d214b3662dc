//! Encrypting an image: every layer of every platform under its own key, bound to the place where it belongs.

use std::collections::BTreeMap;

use estate::Digest;
use oci_crypt::{
    Binding, Bound, LayerSealer, PREFIX, PacketWrapper, SystemRandomness, media_type,
    seal_annotations,
};

use crate::config::Config;
use crate::error::ImageError;
use crate::hash::Hasher;
use crate::manifest::{Descriptor, Manifest, RawManifest};
use crate::media;
use crate::parallel;
use crate::pipeline::Run;
use crate::ports::{BlobId, ImageSource, ImageTarget};
use crate::progress::Progress;
use crate::recipients::Recipients;
use crate::walk::{Checked, Walk, Work};

/// What was written.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Encrypted {
    /// Digest of the manifest or index that the target's name now stands for.
    pub digest: Digest,
    /// Encrypted layers, over all platforms.
    pub layers: usize,
    /// Documents beside the image, such as a builder's attestations, that went over as they are and stay readable.
    pub readable_documents: usize,
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
    let wrappers = recipients.wrappers()?;
    let walk = Walk {
        source,
        target,
        run: Run::new(progress),
    };
    let written = walk.through(&Encryption {
        source,
        target,
        wrappers: &wrappers,
    })?;
    Ok(Encrypted {
        digest: written.root,
        layers: written.layers,
        readable_documents: written.copied,
    })
}

struct Encryption<'a> {
    source: &'a dyn ImageSource,
    target: &'a dyn ImageTarget,
    wrappers: &'a [Box<dyn PacketWrapper>],
}

impl Work for Encryption<'_> {
    fn check(&self, manifest: &Manifest, _config: &Config) -> Result<Checked, ImageError> {
        if manifest.layers.is_empty() {
            return Err(ImageError::NothingToEncrypt);
        }
        let mut checked = Checked::default();
        for (index, layer) in manifest.layers.iter().enumerate() {
            encrypted_type(index, layer)?;
            checked.bytes = checked.bytes.saturating_add(layer.id.size);
            checked.layers += 1;
        }
        Ok(checked)
    }

    fn convert(
        &self,
        run: &Run<'_>,
        mut manifest: Manifest,
        config: &Config,
    ) -> Result<RawManifest, ImageError> {
        let sealed = parallel::for_each(run, manifest.layers.len(), |index| {
            self.layer(run, &manifest, config, index)
        })?;
        for (
            layer,
            Sealed {
                media_type,
                id,
                annotations,
            },
        ) in manifest.layers.iter_mut().zip(sealed)
        {
            layer.strip_annotations(PREFIX)?;
            layer.describe(&media_type, id)?;
            for (name, value) in &annotations {
                layer.annotate(name, value)?;
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
}

/// A layer in its encrypted form.
struct Sealed {
    media_type: String,
    id: BlobId,
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
        let mut spare = Vec::new();
        run.carry(
            reader,
            vec![
                Box::new(|piece| {
                    plain.update(piece);
                    Ok(())
                }),
                Box::new(|piece| {
                    spare.resize(piece.len(), 0);
                    sealer
                        .update(piece, &mut spare)
                        .map_err(|source| ImageError::Cipher { index, source })?;
                    std::mem::swap(piece, &mut spare);
                    Ok(())
                }),
                Box::new(|piece| writer.write(piece).map_err(ImageError::Target)),
            ],
        )?;
        if plain.finish() != layer.id {
            return Err(ImageError::WrongDigest {
                digest: layer.id.digest,
            });
        }
        let finished = sealer.finish();
        let id = BlobId {
            digest: Digest::from_bytes(*finished.digest.as_bytes()),
            size: finished.size,
        };
        let bound = binding(manifest, config, index, &media_type, id)?;
        let (public, private) = finished.into_options(to_format(layer.id.digest), bound);
        let wrappers: Vec<&dyn PacketWrapper> =
            self.wrappers.iter().map(|wrapper| &**wrapper).collect();
        let annotations = seal_annotations(&public, &private, &wrappers)
            .map_err(|source| ImageError::Seal { index, source })?;
        writer.finish(&id.digest).map_err(ImageError::Target)?;
        Ok(Sealed {
            media_type,
            id,
            annotations,
        })
    }
}

/// Where the layer belongs; travels inside the wrapped key.
fn binding(
    manifest: &Manifest,
    config: &Config,
    index: usize,
    media_type: &str,
    ciphertext: BlobId,
) -> Result<Bound, ImageError> {
    let number = |number: usize| u32::try_from(number).map_err(|_| ImageError::TooManyLayers);
    Ok(Bound::Full(Box::new(Binding {
        ciphertext: to_format(ciphertext.digest),
        size: ciphertext.size,
        media_type: media_type::plain(media_type)
            .map_err(|source| ImageError::MediaType { index, source })?,
        diff_id: config.diff_id(index).map(to_format),
        index: number(index)?,
        of: number(manifest.layers.len())?,
        config: to_format(manifest.config.id.digest),
    })))
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
