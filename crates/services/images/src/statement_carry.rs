//! Statements on their way: signed for an image that is published, and carried along to the manifest that takes the
//! place of another.

use std::collections::BTreeSet;

use dsse::{Envelope, SigningKey};
use estate::{Digest, Timestamp};

use crate::config::Config;
use crate::copy;
use crate::error::ImageError;
use crate::manifest::{Manifest, RawManifest};
use crate::ports::{BlobId, ImageSource, ImageTarget};
use crate::referrers::{About, Artifact, DOCUMENT_LIMIT, EMPTY, Referrer, Unusable, artifact};
use crate::statement::{ARTIFACT_TYPE, ENVELOPE_TYPE, ImageStatement};
use crate::tree::{Role, Tree};

/// What is said of the images that are published, and by whom.
pub struct Signing<'a> {
    /// The key.
    pub key: &'a SigningKey,
    /// Where they are published, for people.
    pub name: Option<String>,
    /// See [`ImageStatement::version`].
    pub version: u64,
    /// See [`ImageStatement::not_before`].
    pub not_before: Timestamp,
    /// See [`ImageStatement::expires`].
    pub expires: Option<Timestamp>,
}

/// What was signed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Signed {
    /// Digest of what the name stands for.
    pub digest: Digest,
    /// The images: digests of their configurations.
    pub configs: BTreeSet<Digest>,
}

/// Signs the images in `source`, which must lie in `target` already: both are one place.
///
/// # Errors
/// See [`ImageError`].
pub fn sign(
    source: &dyn ImageSource,
    target: &dyn ImageTarget,
    signing: &Signing<'_>,
) -> Result<Signed, ImageError> {
    let tree = Tree::of(source, &[])?;
    let mut configs = BTreeSet::new();
    tree.visit(&mut |manifest, role, _| {
        if role == Role::Beside {
            return Ok(());
        }
        let config = Config::fetch(source, manifest)?;
        let statable = Statable::of(manifest, &config)?;
        configs.insert(statable.config);
        signing.put(target, &statable, &Published::as_it_is(manifest))
    })?;
    if configs.is_empty() {
        return Err(ImageError::NoImage);
    }
    if source.root().map_err(ImageError::Source)? != tree.root {
        return Err(ImageError::ChangedMeanwhile);
    }
    target.publish(&tree.root).map_err(ImageError::Target)?;
    Ok(Signed {
        digest: tree.root.id().digest,
        configs,
    })
}

/// The statements of the images of a name, from those that are read to those that take their place.
#[derive(Default)]
pub(crate) struct Following {
    replaced: Vec<(Digest, Published, Option<Statable>)>,
}

/// An image under its new manifest.
pub(crate) struct Published {
    media_type: String,
    id: BlobId,
    config: Digest,
}

/// What can be said of an image.
pub(crate) struct Statable {
    config: Digest,
    diff_ids: Vec<Digest>,
}

impl Statable {
    /// Refuses what is no image: where the configuration does not say what the layers hold, speaking of it would be
    /// speaking of any layers.
    pub(crate) fn of(manifest: &Manifest, config: &Config) -> Result<Self, ImageError> {
        Ok(Self {
            config: manifest.config.id.digest,
            diff_ids: config.diff_ids.clone().ok_or(ImageError::NotStatable)?,
        })
    }
}

impl Published {
    pub(crate) fn as_it_is(manifest: &Manifest) -> Self {
        Self {
            media_type: manifest.media_type().to_owned(),
            id: manifest.id,
            config: manifest.config.id.digest,
        }
    }

    /// The same image under another manifest, if there is one.
    pub(crate) fn or(self, other: Option<&RawManifest>) -> Self {
        match other {
            Some(raw) => Self::new(raw, self.config),
            None => self,
        }
    }

    pub(crate) fn new(raw: &RawManifest, config: Digest) -> Self {
        Self {
            media_type: raw.media_type.clone(),
            id: raw.id(),
            config,
        }
    }
}

impl Following {
    /// Remembers that a manifest is replaced; with `statable` it is signed as well.
    pub(crate) fn add(&mut self, from: Digest, to: Published, statable: Option<Statable>) {
        self.replaced.push((from, to, statable));
    }

    /// Puts the statements beside the new manifests, before `root` gets its name.
    pub(crate) fn arrive(
        self,
        source: &dyn ImageSource,
        target: &dyn ImageTarget,
        root: &RawManifest,
        signing: Option<&Signing<'_>>,
    ) -> Result<(), ImageError> {
        // Indexes below it and manifests are written already; what speaks of a manifest comes after it.
        let mut written = false;
        for (from, to, statable) in self.replaced {
            let texts = found(source, from, to.config)?;
            if !written && (signing.is_some() || !texts.is_empty()) {
                target.write_manifest(root).map_err(ImageError::Target)?;
                written = true;
            }
            for text in texts {
                put(target, &text, &to)?;
            }
            if let (Some(signing), Some(statable)) = (signing, statable) {
                signing.put(target, &statable, &to)?;
            }
        }
        Ok(())
    }
}

/// Carries the statements that speak of an image in `source` (its manifest there is `from`) to its new manifest in
/// `target`, which has to be written already. Nothing is verified: a statement is worth what its signature is worth,
/// wherever it lies.
///
/// # Errors
/// When the source can't tell for now what lies there, or the target does not take it. What is malformed, or beyond the
/// bounds on number and size, stays behind.
pub fn carry_statements(
    source: &dyn ImageSource,
    target: &dyn ImageTarget,
    from: Digest,
    to: &RawManifest,
    config: Digest,
) -> Result<usize, ImageError> {
    let texts = found(source, from, config)?;
    let to = Published::new(to, config);
    for text in &texts {
        put(target, text, &to)?;
    }
    Ok(texts.len())
}

impl Signing<'_> {
    fn put(
        &self,
        target: &dyn ImageTarget,
        image: &Statable,
        to: &Published,
    ) -> Result<(), ImageError> {
        let statement = ImageStatement {
            name: self.name.clone(),
            config: image.config,
            diff_ids: image.diff_ids.clone(),
            version: self.version,
            not_before: self.not_before,
            expires: self.expires,
        };
        let envelope = statement.sign(self.key);
        let envelope = envelope.map_err(|source| ImageError::Statement { source })?;
        put(target, envelope.to_string().as_bytes(), to)
    }
}

/// The envelopes that speak of an image, each once.
fn found(
    source: &dyn ImageSource,
    manifest: Digest,
    config: Digest,
) -> Result<Vec<Vec<u8>>, ImageError> {
    let mut seen = BTreeSet::new();
    let mut texts = Vec::new();
    for about in [About::Config(config), About::Manifest(manifest)] {
        let listed = source.referrers(about).map_err(ImageError::Source)?;
        let ours = |referrer: &Referrer| referrer.artifact_type.as_deref() == Some(ARTIFACT_TYPE);
        for referrer in listed.into_iter().filter(ours).take(DOCUMENT_LIMIT) {
            match text(source, &referrer, about) {
                Ok(Some(text)) if seen.insert(Digest::of(&text)) => texts.push(text),
                Ok(_) => {}
                Err(Unusable::Unreadable(error)) if is_passing(&error) => {
                    return Err(ImageError::Source(error));
                }
                Err(_) => {}
            }
        }
    }
    texts.truncate(DOCUMENT_LIMIT);
    Ok(texts)
}

fn is_passing(error: &crate::ports::PortError) -> bool {
    error.kind() == crate::error::Kind::Unavailable
}

/// The bytes of an envelope; `None` when they are none.
fn text(
    source: &dyn ImageSource,
    referrer: &Referrer,
    about: About,
) -> Result<Option<Vec<u8>>, Unusable> {
    let artifact = Artifact::fetch(source, referrer, about)?;
    let part = artifact.only()?;
    if artifact.artifact_type.as_deref() != Some(ARTIFACT_TYPE) || part.media_type != ENVELOPE_TYPE
    {
        return Ok(None);
    }
    let bytes = part.fetch(source)?;
    let is_envelope = std::str::from_utf8(&bytes).is_ok_and(|text| Envelope::parse(text).is_ok());
    Ok(is_envelope.then_some(bytes))
}

/// Puts an envelope where it is found by the manifest, and where it is found by the configuration.
fn put(target: &dyn ImageTarget, envelope: &[u8], to: &Published) -> Result<(), ImageError> {
    copy::bytes(target, EMPTY)?;
    copy::bytes(target, envelope)?;
    let layer = BlobId::of(envelope);
    let subjects = [
        (
            About::Manifest(to.id.digest),
            Some((to.media_type.as_str(), to.id)),
        ),
        // Without a subject it is the same document whatever becomes of the manifest, and so is listed once.
        (About::Config(to.config), None),
    ];
    for (about, subject) in subjects {
        let document = artifact(ARTIFACT_TYPE, ENVELOPE_TYPE, layer, subject);
        let document = document.map_err(ImageError::Malformed)?;
        let attached = target.attach(about, &document, ARTIFACT_TYPE);
        attached.map_err(ImageError::Target)?;
    }
    Ok(())
}
