//! Whether a named key signed an image: by an image statement, or by a cosign signature of the manifest that lies there.
//!
//! One valid signature is enough. Whatever else lies beside the image changes nothing, and is told with the reason why
//! it did not count.

mod cosign;
mod refusal;

pub use refusal::{Document, Refusal, Refused};

use std::collections::{BTreeMap, BTreeSet};

use dsse::{Envelope, VerifyingKey};
use estate::{Digest, Timestamp};
use serde::Serialize;

use crate::config::Config;
use crate::error::{ImageError, Kind};
use crate::manifest::{Descriptor, Manifest, RawManifest, Root, fetch_raw};
use crate::ports::ImageSource;
use crate::referrers::{About, Artifact, DOCUMENT_LIMIT, Referrer, Unusable};
use crate::statement::{self, ImageStatement};
use crate::verify::Verification;

/// A key that counts, and what the caller calls it.
#[derive(Debug, Clone)]
pub struct NamedKey {
    /// What the caller calls it.
    pub name: String,
    /// The key.
    pub key: VerifyingKey,
}

/// What is wanted of an image.
#[derive(Debug)]
pub struct SignedBy {
    /// The keys that count; any of them will do.
    pub keys: Vec<NamedKey>,
    /// The lowest version that a statement may have. With a floor, signatures that say no version don't count: whoever
    /// replays an old image would choose those.
    pub floor: Option<u64>,
    /// The time.
    pub now: Timestamp,
}

/// An image that a named key signed.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct SignedImage {
    /// Digest of the manifest.
    pub manifest: Digest,
    /// Digest of the configuration.
    pub config: Digest,
    /// What the caller calls the key.
    pub key: String,
    /// What it signed.
    pub signed: Signature,
}

/// What was signed.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase", tag = "kind")]
pub enum Signature {
    /// An image statement over the configuration.
    #[serde(rename_all = "camelCase")]
    Statement {
        /// Its version.
        version: u64,
        /// When it began to count.
        not_before: Timestamp,
        /// When it ends.
        #[serde(skip_serializing_if = "Option::is_none")]
        expires: Option<Timestamp>,
    },
    /// A signature by cosign.
    Cosign {
        /// The manifest that was signed, or the index above it.
        over: Digest,
    },
}

/// Why an image does not count as signed.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum SignedError {
    /// Fault: see there.
    #[error(transparent)]
    Image(#[from] ImageError),
    /// Fault: whoever published it, or put it in the place of another.
    #[error("nothing valid by a named key covers the image {config} (manifest {manifest})")]
    NotSigned {
        /// Digest of the manifest.
        manifest: Digest,
        /// Digest of the configuration.
        config: Digest,
        /// What was found instead.
        refused: Vec<Refused>,
    },
}

impl SignedError {
    /// What this failure means to whoever called.
    #[must_use]
    pub fn kind(&self) -> Kind {
        match self {
            Self::Image(error) => error.kind(),
            Self::NotSigned { refused, .. } => {
                // What could not be read for now may be the very signature that is looked for.
                let passing = |refused: &Refused| matches!(&refused.why, Refusal::Unusable(why) if why.is_passing());
                match refused.iter().any(passing) {
                    true => Kind::Unavailable,
                    false => Kind::VerificationFailed,
                }
            }
        }
    }
}

/// Checks that a named key signed every image that `verification` found in `source`.
///
/// # Errors
/// For the first image that none of the keys covers; see [`SignedError`].
pub fn verify_signed(
    source: &dyn ImageSource,
    verification: &Verification,
    wanted: &SignedBy,
) -> Result<Vec<SignedImage>, SignedError> {
    let images = verification.images.iter();
    let mut search = Search {
        source,
        wanted,
        keys: wanted.keys.iter().map(|named| named.key.clone()).collect(),
        images: images.map(|image| image.manifest).collect(),
        left: WALK_LIMIT,
        cosign: BTreeMap::new(),
        covered: BTreeMap::new(),
    };
    let root = source.root().map_err(ImageError::Source)?;
    if root.id().digest != verification.digest {
        return Err(ImageError::ChangedMeanwhile.into());
    }
    search.document(&root, &[])?;
    let Search {
        images, covered, ..
    } = search;
    // INVARIANT: what was verified is what was searched for; a list that named it to one of the two only is no yes.
    match images.iter().all(|image| covered.contains_key(image)) && !images.is_empty() {
        true => Ok(covered.into_values().collect()),
        false => Err(ImageError::ChangedMeanwhile.into()),
    }
}

struct Search<'a> {
    source: &'a dyn ImageSource,
    wanted: &'a SignedBy,
    keys: Vec<VerifyingKey>,
    /// Manifests of the images that must be covered.
    images: BTreeSet<Digest>,
    /// How many documents may still be read: a list of lists could name any number.
    left: usize,
    /// Keys that signed a manifest or index by cosign.
    cosign: BTreeMap<Digest, Option<usize>>,
    covered: BTreeMap<Digest, SignedImage>,
}

impl Search<'_> {
    /// `above` are the indexes above, outermost first.
    fn document(&mut self, raw: &RawManifest, above: &[Digest]) -> Result<(), SignedError> {
        let index = match Root::parse(raw)? {
            Root::Manifest(manifest) => return self.manifest(&manifest, above),
            Root::Index(_) if above.len() == DEPTH_LIMIT => return Err(ImageError::TooDeep.into()),
            Root::Index(index) => index,
        };
        let above = [above, &[raw.id().digest]].concat();
        for entry in &index.entries {
            self.entry(entry, &above)?;
        }
        Ok(())
    }

    fn entry(&mut self, entry: &Descriptor, above: &[Digest]) -> Result<(), SignedError> {
        let left = self.left.checked_sub(1);
        self.left = left.ok_or(ImageError::TooManyPlatforms)?;
        let raw = fetch_raw(self.source, entry)?;
        self.document(&raw, above)
    }

    fn manifest(&mut self, manifest: &Manifest, above: &[Digest]) -> Result<(), SignedError> {
        let digest = manifest.id.digest;
        if !self.images.contains(&digest) || self.covered.contains_key(&digest) {
            return Ok(());
        }
        let mut refused = Vec::new();
        let (key, signed) = match self.statements(manifest, &mut refused)? {
            Some(found) => found,
            None => {
                let found = self.cosign_over(digest, above, &mut refused)?;
                found.ok_or(SignedError::NotSigned {
                    manifest: digest,
                    config: manifest.config.id.digest,
                    refused,
                })?
            }
        };
        let image = SignedImage {
            manifest: digest,
            config: manifest.config.id.digest,
            key: self.name(key),
            signed,
        };
        self.covered.insert(digest, image);
        Ok(())
    }

    fn name(&self, key: usize) -> String {
        let key = self.wanted.keys.get(key);
        key.map(|key| key.name.clone()).unwrap_or_default()
    }

    /// The valid statement with the highest version.
    fn statements(
        &self,
        manifest: &Manifest,
        refused: &mut Vec<Refused>,
    ) -> Result<Option<(usize, Signature)>, SignedError> {
        let envelopes = find_envelopes(self.source, manifest, refused)?;
        if envelopes.is_empty() {
            return Ok(None);
        }
        let diff_ids = Config::fetch(self.source, manifest)?.diff_ids;
        let mut statements = Vec::new();
        for (document, envelope) in envelopes {
            match self.statement(&envelope, manifest, diff_ids.as_deref()) {
                Ok(found) => statements.extend(found.into_iter().map(|found| (document, found))),
                Err(why) => refused.push(document.because(why)),
            }
        }
        let said: Vec<_> = statements.iter().map(|(_, found)| found.clone()).collect();
        let contradicting = statement::contradicting(&said);
        let mut best: Option<(usize, ImageStatement)> = None;
        for (document, (key, statement)) in statements {
            let version = statement.version;
            let held = match contradicting.contains(&(key, version)) {
                true => Err(Refusal::Contradicts { version }),
                false => self.holds(&statement),
            };
            match held {
                Err(why) => refused.push(document.because(why)),
                Ok(())
                    if best
                        .as_ref()
                        .is_some_and(|(_, best)| best.version >= version) => {}
                Ok(()) => best = Some((key, statement)),
            }
        }
        Ok(best.map(|(key, statement)| {
            let ImageStatement {
                version,
                not_before,
                expires,
                ..
            } = statement;
            (
                key,
                Signature::Statement {
                    version,
                    not_before,
                    expires,
                },
            )
        }))
    }

    /// What the envelope says of this image, once for each key that signed it.
    fn statement(
        &self,
        envelope: &str,
        manifest: &Manifest,
        diff_ids: Option<&[Digest]>,
    ) -> Result<Vec<(usize, ImageStatement)>, Refusal> {
        let envelope = Envelope::parse(envelope).map_err(Refusal::Envelope)?;
        let verified = envelope.verify(&self.keys).map_err(Refusal::OtherKey)?;
        let statement = ImageStatement::of(&verified).map_err(Refusal::Statement)?;
        if statement.config != manifest.config.id.digest {
            return Err(Refusal::OtherImage {
                config: statement.config,
            });
        }
        // The configuration of what is no image is often the empty object: one statement would cover all of them.
        let diff_ids = diff_ids.ok_or(Refusal::NoFileSystem)?;
        if statement.diff_ids != diff_ids {
            return Err(Refusal::OtherLayers);
        }
        let signers = verified.signers().iter();
        Ok(signers.map(|key| (*key, statement.clone())).collect())
    }

    fn holds(&self, statement: &ImageStatement) -> Result<(), Refusal> {
        let SignedBy { floor, now, .. } = self.wanted;
        let version = statement.version;
        if *now < statement.not_before {
            let not_before = statement.not_before;
            return Err(Refusal::NotYet { not_before });
        }
        match statement.expires {
            Some(expires) if *now >= expires => return Err(Refusal::Expired { expires }),
            Some(_) | None => {}
        }
        match *floor {
            Some(floor) if version < floor => Err(Refusal::BelowFloor { version, floor }),
            Some(_) | None => Ok(()),
        }
    }

    /// A cosign signature of the manifest or of an index above it, the nearest first.
    fn cosign_over(
        &mut self,
        manifest: Digest,
        above: &[Digest],
        refused: &mut Vec<Refused>,
    ) -> Result<Option<(usize, Signature)>, SignedError> {
        for over in [manifest].into_iter().chain(above.iter().rev().copied()) {
            let found = match self.cosign.get(&over) {
                Some(known) => *known,
                None => {
                    let found = cosign::find(self.source, over, &self.keys, refused)?;
                    self.cosign.insert(over, found);
                    found
                }
            };
            match (found, self.wanted.floor) {
                (Some(key), None) => return Ok(Some((key, Signature::Cosign { over }))),
                (Some(_), Some(_)) => {
                    refused.push(Document::Cosign(over).because(Refusal::NoVersion));
                }
                (None, _) => {}
            }
        }
        Ok(None)
    }
}

/// The envelopes that speak of a manifest or of its configuration, each once.
fn find_envelopes(
    source: &dyn ImageSource,
    manifest: &Manifest,
    refused: &mut Vec<Refused>,
) -> Result<Vec<(Document, String)>, SignedError> {
    let mut seen = BTreeSet::new();
    let mut found = Vec::new();
    let abouts = [
        About::Config(manifest.config.id.digest),
        About::Manifest(manifest.id.digest),
    ];
    for about in abouts {
        for referrer in listed(source, about, &[statement::ARTIFACT_TYPE], refused)? {
            let document = Document::Statement(referrer.id.digest);
            match envelope(source, &referrer, about) {
                Ok((layer, text)) if seen.insert(layer) => found.push((document, text)),
                Ok(_) => {}
                Err(why) => refused.push(document.because(why)),
            }
        }
    }
    Ok(found)
}

/// The listed documents of these types, up to the limit.
fn listed(
    source: &dyn ImageSource,
    about: About,
    types: &[&str],
    refused: &mut Vec<Refused>,
) -> Result<Vec<Referrer>, ImageError> {
    let mut all = source.referrers(about).map_err(ImageError::Source)?;
    all.retain(|referrer| {
        let kind = referrer.artifact_type.as_deref();
        kind.is_some_and(|kind| types.contains(&kind))
    });
    if all.len() > DOCUMENT_LIMIT {
        let more = all.len() - DOCUMENT_LIMIT;
        refused.push(Document::List(about).because(Refusal::TooMany { more }));
        all.truncate(DOCUMENT_LIMIT);
    }
    Ok(all)
}

/// The text of the envelope in a document, and its digest.
fn envelope(
    source: &dyn ImageSource,
    referrer: &Referrer,
    about: About,
) -> Result<(Digest, String), Refusal> {
    let artifact = Artifact::fetch(source, referrer, about)?;
    if artifact.artifact_type.as_deref() != Some(statement::ARTIFACT_TYPE) {
        return Err(Refusal::OtherType);
    }
    let part = artifact.only()?;
    if part.media_type != statement::ENVELOPE_TYPE {
        return Err(Refusal::OtherType);
    }
    let text = String::from_utf8(part.fetch(source)?).map_err(|_| Refusal::OtherType)?;
    Ok((part.id.digest, text))
}

impl From<Unusable> for Refusal {
    fn from(why: Unusable) -> Self {
        Self::Unusable(why)
    }
}

const DEPTH_LIMIT: usize = 9;
const WALK_LIMIT: usize = 256;
