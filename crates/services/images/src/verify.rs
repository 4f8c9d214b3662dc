//! Verifying an image without writing anything: with a key all that decryption verifies, without one what can be seen.

use estate::Digest;
use oci_crypt::{PacketOpener, media_type};
use serde::Serialize;

use crate::checks::{ContentCheck, LayerCheck, content_check};
use crate::config::Config;
use crate::decrypt::{DecryptOptions, OpenedLayer, open_all};
use crate::error::ImageError;
use crate::manifest::{Descriptor, Manifest};
use crate::packets;
use crate::parallel;
use crate::pipeline::Run;
use crate::ports::ImageSource;
use crate::progress::Progress;
use crate::select::Platform;
use crate::tree::{Role, Tree};

/// How an image is verified.
#[derive(Default)]
pub struct VerifyOptions<'a> {
    /// The keys; without any, what is inside encrypted layers stays unchecked.
    pub openers: Vec<&'a dyn PacketOpener>,
    /// Which platforms; all when empty.
    pub platforms: Vec<Platform>,
    /// What is done where something can't be checked.
    pub checks: DecryptOptions,
}

/// An image in which nothing wrong was found.
#[derive(Debug, Clone, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Verification {
    /// Digest of what the name stands for.
    pub digest: Digest,
    /// One for each platform.
    pub images: Vec<VerifiedImage>,
    /// Documents beside the images; they were not looked at.
    pub readable_documents: usize,
}

/// One image.
#[derive(Debug, Clone, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct VerifiedImage {
    /// Operating system and architecture, where an index tells them.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub platform: Option<String>,
    /// Digest of the manifest.
    pub manifest: Digest,
    /// Digest of the configuration.
    pub config: Digest,
    /// From the bottom up.
    pub layers: Vec<VerifiedLayer>,
}

/// One layer.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct VerifiedLayer {
    /// Position, 0 at the bottom.
    pub index: usize,
    /// Digest of the bytes that were read.
    pub digest: Digest,
    /// Their number.
    pub size: u64,
    /// How far it was verified.
    pub verified: Extent,
}

/// How far a layer was verified.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub enum Extent {
    /// It is readable: digest, size and content are those of manifest and configuration.
    Plain,
    /// It is encrypted, and there was no key: only digest and size of its bytes, and the form of its annotations.
    CiphertextOnly,
    /// It is encrypted: digest, size, HMAC and content are right, and it lies where its author put it.
    Bound,
    /// As [`Extent::Bound`], but nobody said where it belongs: another tool encrypted it.
    Unbound,
    /// The digest and size of a readable blob that no configuration describes.
    Bytes,
}

/// Reads all of the image in `source` and looks for anything wrong.
///
/// With keys, every encrypted layer must open, and a platform without an encrypted layer is refused.
///
/// # Errors
/// The first thing that is wrong; see [`ImageError`].
pub fn verify(
    source: &dyn ImageSource,
    options: &VerifyOptions<'_>,
    progress: &dyn Progress,
) -> Result<Verification, ImageError> {
    let verifier = Verifier {
        source,
        options,
        run: Run::new(progress),
    };
    let tree = Tree::of(source, &options.platforms)?;
    let mut total = 0_u64;
    tree.visit(&mut |manifest, _, _| {
        let sizes = manifest.layers.iter().map(|layer| layer.id.size);
        total = sizes.fold(total, u64::saturating_add);
        Ok(())
    })?;
    progress.started(total);
    let mut verification = Verification {
        digest: tree.root.id().digest,
        images: Vec::new(),
        readable_documents: 0,
    };
    tree.visit(&mut |manifest, role, platform| {
        match role {
            Role::Beside => verification.readable_documents += 1,
            Role::Image => verification
                .images
                .push(verifier.image(manifest, platform)?),
        }
        Ok(())
    })?;
    if verification.images.is_empty() {
        return Err(ImageError::NoImage);
    }
    Ok(verification)
}

struct Verifier<'a> {
    source: &'a dyn ImageSource,
    options: &'a VerifyOptions<'a>,
    run: Run<'a>,
}

impl Verifier<'_> {
    fn image(
        &self,
        manifest: &Manifest,
        platform: Option<String>,
    ) -> Result<VerifiedImage, ImageError> {
        let config = Config::fetch(self.source, manifest)?;
        let opened = self.open(manifest, &config)?;
        let layers = parallel::for_each(&self.run, manifest.layers.len(), |index| {
            let layer = manifest.layers.get(index).ok_or(ImageError::Interrupted)?;
            let opened = opened.get(index).and_then(Option::as_ref);
            self.layer(index, layer, opened, &config)
        })?;
        Ok(VerifiedImage {
            platform,
            manifest: manifest.id.digest,
            config: manifest.config.id.digest,
            layers,
        })
    }

    fn open(
        &self,
        manifest: &Manifest,
        config: &Config,
    ) -> Result<Vec<Option<OpenedLayer>>, ImageError> {
        if self.options.openers.is_empty() {
            return Ok(manifest.layers.iter().map(|_| None).collect());
        }
        let unbound = self.options.checks.unbound;
        let opened = open_all(manifest, config, &self.options.openers, unbound)?;
        // Whoever has a key expects an encrypted image: a readable one was put in its place.
        if opened.iter().all(Option::is_none) {
            return Err(ImageError::NotEncrypted);
        }
        Ok(opened)
    }

    fn layer(
        &self,
        index: usize,
        layer: &Descriptor,
        opened: Option<&OpenedLayer>,
        config: &Config,
    ) -> Result<VerifiedLayer, ImageError> {
        let (content, verified) = self.extent(index, layer, opened, config)?;
        let mut check = LayerCheck::new(index, opened, content)?;
        let reader = self.source.blob(&layer.id).map_err(ImageError::Source)?;
        self.run.carry(reader, check.stages())?;
        check.verify(layer)?;
        Ok(VerifiedLayer {
            index,
            digest: layer.id.digest,
            size: layer.id.size,
            verified,
        })
    }

    fn extent(
        &self,
        index: usize,
        layer: &Descriptor,
        opened: Option<&OpenedLayer>,
        config: &Config,
    ) -> Result<(Option<ContentCheck>, Extent), ImageError> {
        let checks = self.options.checks;
        let keyless = self.options.openers.is_empty();
        match opened {
            Some(opened) => {
                let extent = match opened.is_bound() {
                    true => Extent::Bound,
                    false => Extent::Unbound,
                };
                let content = content_check(index, layer, Some(opened), config, checks)?;
                Ok((content, extent))
            }
            None if media_type::is_encrypted(&layer.media_type) => {
                packets::check(index, layer)?;
                Ok((None, Extent::CiphertextOnly))
            }
            None if keyless && config.diff_id(index).is_none() => Ok((None, Extent::Bytes)),
            None => {
                let content = content_check(index, layer, None, config, checks)?;
                Ok((content, Extent::Plain))
            }
        }
    }
}
