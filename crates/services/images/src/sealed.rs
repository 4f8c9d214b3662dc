//! A layer in its encrypted form, before and after its key is wrapped.

use estate::Digest;
use oci_crypt::{
    Binding, Bound, KeyPacket, LayerSealer, PREFIX, PrivateOptions, PublicOptions, SealError,
    annotations_of, media_type,
};

use crate::config::Config;
use crate::error::ImageError;
use crate::manifest::{Descriptor, Manifest};
use crate::ports::BlobId;

/// Where a layer lies.
pub(crate) struct Place<'a> {
    pub(crate) manifest: &'a Manifest,
    pub(crate) config: &'a Config,
    pub(crate) index: usize,
}

/// A layer that was encrypted. Its key is wrapped when all layers of the image have come as far: see [`crate::wrapping`].
pub(crate) struct Sealed {
    media_type: String,
    pub(crate) id: BlobId,
    public: PublicOptions,
    pub(crate) private: PrivateOptions,
}

impl Sealed {
    /// Ends a layer and binds its key to its place.
    pub(crate) fn of(
        sealer: LayerSealer,
        plain: Digest,
        media_type: &str,
        place: &Place<'_>,
    ) -> Result<Self, ImageError> {
        let index = place.index;
        let finished = sealer
            .finish()
            .map_err(|source| ImageError::Cipher { index, source })?;
        let id = BlobId {
            digest: Digest::from_bytes(*finished.digest.as_bytes()),
            size: finished.size,
        };
        let bound = Bound::Full(Box::new(binding(place, media_type, id)?));
        let (public, private) = finished.into_options(to_format(plain), bound);
        Ok(Self {
            media_type: media_type.to_owned(),
            id,
            public,
            private,
        })
    }

    /// Lets a descriptor speak of this layer and of those who open it.
    pub(crate) fn describe(
        &self,
        index: usize,
        layer: &mut Descriptor,
        packets: Vec<KeyPacket>,
    ) -> Result<(), ImageError> {
        layer.describe(&self.media_type, self.id)?;
        annotate(index, layer, &self.public, packets)
    }
}

/// Puts these packets, and no others, on a layer.
pub(crate) fn annotate(
    index: usize,
    layer: &mut Descriptor,
    public: &PublicOptions,
    packets: Vec<KeyPacket>,
) -> Result<(), ImageError> {
    let seal = |source: SealError| ImageError::Seal { index, source };
    let annotations = annotations_of(public, packets).map_err(seal)?;
    layer.strip_annotations(PREFIX)?;
    for (name, value) in &annotations {
        layer.annotate(name, value)?;
    }
    Ok(())
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

/// A digest as the format crate has it.
pub(crate) fn to_format(digest: Digest) -> oci_crypt::Digest {
    oci_crypt::Digest::from_sha256(*digest.as_bytes())
}
