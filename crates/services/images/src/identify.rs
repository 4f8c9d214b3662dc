//! What an image is, for those who speak of it: the digests of its configurations, over lists of any depth.

use std::collections::BTreeSet;

use estate::Digest;
use oci_crypt::media_type;

use crate::config::Config;
use crate::error::ImageError;
use crate::manifest::{Descriptor, Manifest, RawManifest, Root, fetch_raw};
use crate::media;
use crate::ports::ImageSource;

/// The images under one name.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Identified {
    /// Digests of their configurations, never none: what an image is, plain or encrypted.
    pub configs: BTreeSet<Digest>,
    /// Digests of their manifests, and of the indexes on the way.
    pub manifests: BTreeSet<Digest>,
    /// Whether every one has layers and every layer is encrypted.
    pub encrypted: bool,
    /// Documents beside the images, such as a builder's attestations; they are nobody's image.
    pub documents: usize,
}

/// Finds all images under the name of `source`.
///
/// # Errors
/// When one of them can't be read, or there is none.
pub fn identify(source: &dyn ImageSource) -> Result<Identified, ImageError> {
    let mut walk = Walk {
        source,
        left: DOCUMENT_LIMIT,
        found: Identified {
            configs: BTreeSet::new(),
            manifests: BTreeSet::new(),
            encrypted: true,
            documents: 0,
        },
    };
    let root = source.root().map_err(ImageError::Source)?;
    walk.document(&root, None, 0)?;
    if walk.found.configs.is_empty() {
        return Err(ImageError::NoImage);
    }
    Ok(walk.found)
}

struct Walk<'a> {
    source: &'a dyn ImageSource,
    /// How many documents may still be read: a list of lists could name any number.
    left: usize,
    found: Identified,
}

impl Walk<'_> {
    fn document(
        &mut self,
        raw: &RawManifest,
        entry: Option<&Descriptor>,
        depth: usize,
    ) -> Result<(), ImageError> {
        let digest = raw.id().digest;
        match Root::parse(raw)? {
            Root::Manifest(manifest) => self.manifest(&manifest, entry),
            Root::Index(_) if depth == DEPTH_LIMIT => Err(ImageError::TooDeep),
            Root::Index(index) => {
                self.found.manifests.insert(digest);
                for entry in &index.entries {
                    self.left = self
                        .left
                        .checked_sub(1)
                        .ok_or(ImageError::TooManyPlatforms)?;
                    let raw = fetch_raw(self.source, entry)?;
                    self.document(&raw, Some(entry), depth + 1)?;
                }
                Ok(())
            }
        }
    }

    fn manifest(
        &mut self,
        manifest: &Manifest,
        entry: Option<&Descriptor>,
    ) -> Result<(), ImageError> {
        let attests = match entry {
            Some(entry) => manifest.is_attestation(entry)?,
            None => false,
        };
        // The configuration of a document that is no image is often the empty object: the same for all of them.
        if attests || !media::describes_rootfs(&manifest.config.media_type) {
            self.found.documents += 1;
            return Ok(());
        }
        // Reading it checks that the image is whole, and that the digest is the one of what lies there.
        Config::fetch(self.source, manifest)?;
        self.found.configs.insert(manifest.config.id.digest);
        self.found.manifests.insert(manifest.id.digest);
        let mut layers = manifest.layers.iter();
        self.found.encrypted &= !manifest.layers.is_empty()
            && layers.all(|layer| media_type::is_encrypted(&layer.media_type));
        Ok(())
    }
}

const DEPTH_LIMIT: usize = 8;
const DOCUMENT_LIMIT: usize = 256;
