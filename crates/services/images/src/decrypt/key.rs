//! The keys of a manifest's layers, opened and compared with the place where each layer lies.

use std::collections::BTreeMap;

use estate::Digest;
use oci_crypt::{
    Binding, Bound, LayerAnnotations, LayerOpener, PacketOpener, PrivateOptions, PublicOptions,
    SeenDescriptor, SeenPlace, media_type, open_layer_key,
};

use super::Unbound;
use super::ring::LastFirst;
use crate::config::Config;
use crate::error::ImageError;
use crate::manifest::{Descriptor, Manifest};
use crate::sealed::{Place, binding, to_format};
use crate::services::not_opened;

/// A layer whose key was opened and whose binding, if there is one, holds.
pub(crate) struct OpenedLayer {
    private: PrivateOptions,
    public: PublicOptions,
    /// The media type of the plain layer.
    pub(crate) plain_type: String,
}

/// Opens the key of each encrypted layer and checks its binding; `None` for a layer that is not encrypted.
pub(crate) fn open_all(
    manifest: &Manifest,
    config: &Config,
    openers: &[&dyn PacketOpener],
    unbound: Unbound,
) -> Result<Vec<Option<OpenedLayer>>, ImageError> {
    announce(manifest, openers)?;
    let openers = LastFirst::new(openers);
    let layers = manifest.layers.iter().enumerate();
    let opened: Vec<Option<OpenedLayer>> = layers
        .map(|(index, layer)| {
            if !media_type::is_encrypted(&layer.media_type) {
                return Ok(None);
            }
            let noting = openers.noting();
            let openers: Vec<_> = noting
                .iter()
                .map(|opener| opener as &dyn PacketOpener)
                .collect();
            let opened = OpenedLayer::open(index, layer, &openers)?;
            opened.check_place(index, layer, manifest, config)?;
            opened.spelled_out(index, layer, manifest, config).map(Some)
        })
        .collect::<Result<_, ImageError>>()?;
    let bound = |opened: &Option<OpenedLayer>| opened.as_ref().is_some_and(OpenedLayer::is_bound);
    let loose =
        |opened: &Option<OpenedLayer>| opened.as_ref().is_some_and(|opened| !opened.is_bound());
    // Whoever bound one layer bound all: the others came from elsewhere.
    match opened.iter().position(loose) {
        Some(index) if unbound == Unbound::Refuse || opened.iter().any(bound) => {
            Err(ImageError::Unbound { index })
        }
        Some(_) | None => Ok(opened),
    }
}

/// Tells the openers of all packets of the image. What is wrong with a layer's annotations is said when it is opened.
pub(crate) fn announce(
    manifest: &Manifest,
    openers: &[&dyn PacketOpener],
) -> Result<(), ImageError> {
    let mut packets = Vec::new();
    for layer in &manifest.layers {
        let annotations: BTreeMap<String, String> = layer.annotations()?.into_iter().collect();
        if media_type::is_encrypted(&layer.media_type)
            && let Ok(annotations) = LayerAnnotations::parse(&annotations)
        {
            packets.extend_from_slice(annotations.packets());
        }
    }
    openers.iter().for_each(|opener| opener.expect(&packets));
    Ok(())
}

impl OpenedLayer {
    /// Opens the key, and compares nothing yet.
    pub(crate) fn open(
        index: usize,
        layer: &Descriptor,
        openers: &[&dyn PacketOpener],
    ) -> Result<Self, ImageError> {
        let annotations: BTreeMap<String, String> = layer.annotations()?.into_iter().collect();
        let (private, public) = open_layer_key(&index.to_string(), &annotations, openers)
            .map_err(|error| not_opened(index, error))?;
        let plain_type = media_type::plain(&layer.media_type)
            .map_err(|source| ImageError::EncryptedType { index, source })?;
        Ok(Self {
            private,
            public,
            plain_type,
        })
    }

    pub(crate) fn is_bound(&self) -> bool {
        self.private.bound().is_bound()
    }

    /// Compares the binding with the manifest and the configuration; without a binding there is nothing to compare.
    pub(crate) fn check_place(
        &self,
        index: usize,
        layer: &Descriptor,
        manifest: &Manifest,
        config: &Config,
    ) -> Result<(), ImageError> {
        let number = |number: usize| u32::try_from(number).map_err(|_| ImageError::TooManyLayers);
        let seen = SeenDescriptor {
            digest: to_format(layer.id.digest),
            size: layer.id.size,
            media_type: &layer.media_type,
        };
        let place = SeenPlace {
            index: number(index)?,
            of: number(manifest.layers.len())?,
            config: to_format(manifest.config.id.digest),
            diff_id: config.diff_id(index).map(to_format),
        };
        self.private
            .bound()
            .check(&seen, Some(&place))
            .map_err(|source| ImageError::BoundElsewhere { index, source })
    }

    /// A binding of which there was only the hash, once it was compared: who gets the key next may have room for all of it.
    fn spelled_out(
        self,
        index: usize,
        layer: &Descriptor,
        manifest: &Manifest,
        config: &Config,
    ) -> Result<Self, ImageError> {
        let place = Place {
            manifest,
            config,
            index,
        };
        let private = match self.private.bound() {
            Bound::Hash(_) => {
                let whole = binding(&place, &layer.media_type, layer.id)?;
                self.private.rebound(whole)
            }
            Bound::Full(_) | Bound::Unbound => self.private,
        };
        Ok(Self { private, ..self })
    }

    /// Compares the binding with the descriptor alone. The short form can't be compared without its former place: the
    /// caller must check the content instead.
    pub(crate) fn check_descriptor(
        &self,
        index: usize,
        layer: &Descriptor,
    ) -> Result<(), ImageError> {
        let seen = SeenDescriptor {
            digest: to_format(layer.id.digest),
            size: layer.id.size,
            media_type: &layer.media_type,
        };
        match self.private.bound() {
            Bound::Hash(_) => Ok(()),
            bound => bound
                .check(&seen, None)
                .map_err(|source| ImageError::BoundElsewhere { index, source }),
        }
    }

    /// The same key, bound to another place.
    pub(crate) fn rebound(self, binding: Binding) -> (PublicOptions, PrivateOptions) {
        (self.public, self.private.rebound(binding))
    }

    /// What is wrapped for those who open the layer.
    pub(crate) fn private(&self) -> &PrivateOptions {
        &self.private
    }

    pub(crate) fn opener(&self, index: usize) -> Result<LayerOpener, ImageError> {
        LayerOpener::new(self.private.key(), &self.public)
            .map_err(|source| ImageError::Cipher { index, source })
    }

    /// What can be said only at the end: the ciphertext is the one of the descriptor, its HMAC is right, and what
    /// came out is what the author put in.
    pub(crate) fn verify(
        &self,
        index: usize,
        layer: &Descriptor,
        opener: LayerOpener,
        plain: Digest,
    ) -> Result<(), ImageError> {
        let verified = opener
            .finish()
            .map_err(|source| ImageError::Cipher { index, source })?;
        if verified.digest != to_format(layer.id.digest) || verified.size != layer.id.size {
            return Err(ImageError::WrongDigest {
                digest: layer.id.digest,
            });
        }
        match self.private.digest() {
            Some(author) if author != plain.to_string() && !self.may_be_packed_since() => {
                Err(ImageError::PlainDigest { index })
            }
            Some(_) | None => Ok(()),
        }
    }

    /// Peers that pack a layer on its way name the digest that it had before. Its content has a diff id to be what it was.
    fn may_be_packed_since(&self) -> bool {
        let packing = self.plain_type.rsplit(['+', '.']).next();
        !self.is_bound() && matches!(packing, Some("gzip" | "zstd"))
    }
}
