//! What is checked of a layer while its bytes pass by: what it is encrypted, what it is readable, and what it unpacks to.

use estate::Digest;
use oci_crypt::LayerOpener;

use crate::ciphering::opening;
use crate::config::Config;
use crate::decrypt::{DecryptOptions, OpenedLayer, UnknownPacking};
use crate::diff_id::DiffIdHasher;
use crate::error::ImageError;
use crate::hash::Hasher;
use crate::manifest::Descriptor;
use crate::pipeline::Stage;
use crate::ports::BlobId;

/// A layer on its way. Nothing of it is to be released before [`Self::verify`] has agreed.
pub(crate) struct LayerCheck<'o> {
    index: usize,
    opened: Option<(&'o OpenedLayer, LayerOpener)>,
    plain: Hasher,
    content: Option<ContentCheck>,
}

impl<'o> LayerCheck<'o> {
    /// `opened` has the key of an encrypted layer; a layer without it passes by as it is.
    pub(crate) fn new(
        index: usize,
        opened: Option<&'o OpenedLayer>,
        content: Option<ContentCheck>,
    ) -> Result<Self, ImageError> {
        let opener = |opened: &'o OpenedLayer| Ok((opened, opened.opener(index)?));
        Ok(Self {
            index,
            opened: opened.map(opener).transpose()?,
            plain: Hasher::new(),
            content,
        })
    }

    /// What is done to each piece, which is plain afterwards.
    pub(crate) fn stages(&mut self) -> Vec<Stage<'_>> {
        let Self {
            index,
            opened,
            plain,
            content,
        } = self;
        let mut stages = match opened {
            Some((_, opener)) => opening(*index, opener, plain).into(),
            None => vec![digesting(plain)],
        };
        if let Some(content) = content {
            stages.push(Box::new(|piece| content.update(piece)));
        }
        stages
    }

    /// Whether all of it was what the descriptor, the key and the configuration say; gives the id of the plain layer.
    pub(crate) fn verify(self, layer: &Descriptor) -> Result<BlobId, ImageError> {
        let Self {
            index,
            opened,
            plain,
            content,
        } = self;
        let plain = plain.finish();
        match opened {
            Some((opened, opener)) => opened.verify(index, layer, opener, plain.digest)?,
            None if plain != layer.id => {
                let digest = layer.id.digest;
                return Err(ImageError::WrongDigest { digest });
            }
            None => {}
        }
        if let Some(content) = content {
            content.verify(plain.digest)?;
        }
        Ok(plain)
    }
}

/// Digests the pieces.
fn digesting(hasher: &mut Hasher) -> Stage<'_> {
    Box::new(|piece| {
        hasher.update(piece);
        Ok(())
    })
}

/// How the content of a layer will be compared with the configuration; `None` when nothing can be compared and that is
/// acceptable.
pub(crate) fn content_check(
    index: usize,
    layer: &Descriptor,
    opened: Option<&OpenedLayer>,
    config: &Config,
    checks: DecryptOptions,
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
    let limit = checks.unpacked.of(layer.id.size);
    let hasher =
        DiffIdHasher::for_layer(media_type, limit).map_err(|_| ImageError::DiffId { index })?;
    match (hasher, checks.unknown_packing) {
        (Some(hasher), _) => Ok(Some(ContentCheck {
            hasher,
            expected,
            index,
            limit,
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
    limit: u64,
}

impl ContentCheck {
    /// Whether it takes time: a layer that is not packed is compared by a digest that is there anyway.
    pub(crate) fn unpacks(&self) -> bool {
        self.hasher.unpacks()
    }

    /// Takes the next piece of the plain layer.
    pub(crate) fn update(&mut self, piece: &[u8]) -> Result<(), ImageError> {
        let Self { index, limit, .. } = *self;
        match self.hasher.update(piece) {
            Ok(()) => Ok(()),
            Err(_) if self.hasher.exceeded() => Err(ImageError::UnpacksTooLarge { index, limit }),
            Err(_) => Err(ImageError::DiffId { index }),
        }
    }

    /// Whether it unpacked to what the configuration names; `plain` is the digest of the plain layer, packed or not.
    pub(crate) fn verify(mut self, plain: Digest) -> Result<(), ImageError> {
        let Self { index, limit, .. } = self;
        if self.hasher.end().is_err() && self.hasher.exceeded() {
            return Err(ImageError::UnpacksTooLarge { index, limit });
        }
        match self.hasher.finish(plain) {
            Ok(found) if found == self.expected => Ok(()),
            Ok(_) | Err(_) => Err(ImageError::DiffId { index }),
        }
    }
}
