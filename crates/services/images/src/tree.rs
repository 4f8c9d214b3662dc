//! The documents under one name: manifests, and indexes of manifests and of further indexes.

use std::cell::Cell;

use estate::Digest;

use crate::config::Config;
use crate::error::ImageError;
use crate::manifest::{Descriptor, Index, Manifest, RawManifest, Root, fetch_raw};
use crate::ports::{ImageSource, ImageTarget};
use crate::select::Platform;

/// What a manifest is under the name.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Role {
    /// An image that would be run.
    Image,
    /// A document beside one, such as a builder's attestation.
    Beside,
}

/// What looks at each manifest, with the platform that its index tells.
pub(crate) type Visit<'v> =
    dyn FnMut(&Manifest, Role, Option<String>) -> Result<(), ImageError> + 'v;

/// What is done with each manifest: the document that takes its place, or `None` when it stays.
pub(crate) type Convert<'c> =
    dyn FnMut(Manifest, Role) -> Result<Option<RawManifest>, ImageError> + 'c;

/// All documents under the name of a source. The name is asked once: what it stands for can change meanwhile.
pub(crate) struct Tree<'a> {
    source: &'a dyn ImageSource,
    platforms: &'a [Platform],
    pub(crate) root: RawManifest,
    /// How many documents may still be read: indexes of indexes could name any number.
    left: Cell<usize>,
}

impl<'a> Tree<'a> {
    /// Asks what the name stands for. Of several platforms only `platforms` are seen; all when it is empty.
    pub(crate) fn of(
        source: &'a dyn ImageSource,
        platforms: &'a [Platform],
    ) -> Result<Self, ImageError> {
        let tree = Self {
            source,
            platforms,
            root: source.root().map_err(ImageError::Source)?,
            left: Cell::new(DOCUMENT_LIMIT),
        };
        tree.check_platforms()?;
        Ok(tree)
    }

    /// Shows each manifest, with the platform that its index tells.
    pub(crate) fn visit(&self, each: &mut Visit<'_>) -> Result<(), ImageError> {
        self.left.set(DOCUMENT_LIMIT);
        match Root::parse(&self.root)? {
            Root::Manifest(manifest) => each(&manifest, Role::Image, None),
            Root::Index(index) => self.visit_index(&index, 0, each),
        }
    }

    fn visit_index(
        &self,
        index: &Index,
        depth: usize,
        each: &mut Visit<'_>,
    ) -> Result<(), ImageError> {
        for entry in self.chosen(index)? {
            match self.document(entry, depth)? {
                Root::Manifest(manifest) => {
                    let role = role(&manifest, entry)?;
                    each(&manifest, role, entry.platform())?;
                }
                Root::Index(inner) => self.visit_index(&inner, depth + 1, each)?,
            }
        }
        Ok(())
    }

    /// Converts each manifest, and writes all documents but the outermost. Manifests are fetched once more for this:
    /// holding all of them would break the bound on memory.
    pub(crate) fn rebuild(
        &self,
        target: &dyn ImageTarget,
        convert: &mut Convert<'_>,
    ) -> Result<RawManifest, ImageError> {
        self.left.set(DOCUMENT_LIMIT);
        match Root::parse(&self.root)? {
            Root::Manifest(manifest) => {
                let new = convert(manifest, Role::Image)?;
                Ok(new.unwrap_or_else(|| self.root.clone()))
            }
            Root::Index(index) => self.rebuild_index(index, 0, target, convert),
        }
    }

    fn rebuild_index(
        &self,
        mut index: Index,
        depth: usize,
        target: &dyn ImageTarget,
        convert: &mut Convert<'_>,
    ) -> Result<RawManifest, ImageError> {
        let chosen: Vec<Descriptor> = self.chosen(&index)?.into_iter().cloned().collect();
        index.entries = chosen;
        let mut names = Vec::new();
        for entry in &mut index.entries {
            let raw = fetch_raw(self.source, entry)?;
            let new = match self.document(entry, depth)? {
                Root::Manifest(manifest) => {
                    let role = role(&manifest, entry)?;
                    convert(manifest, role)?.unwrap_or(raw)
                }
                Root::Index(inner) => self.rebuild_index(inner, depth + 1, target, convert)?,
            };
            target.write_manifest(&new).map_err(ImageError::Target)?;
            names.push((entry.id.digest, new.id().digest));
            entry.describe(&new.media_type, new.id())?;
        }
        for entry in &mut index.entries {
            follow(entry, &names)?;
        }
        index.to_raw()
    }

    fn document(&self, entry: &Descriptor, depth: usize) -> Result<Root, ImageError> {
        let left = self.left.get().checked_sub(1);
        self.left.set(left.ok_or(ImageError::TooManyPlatforms)?);
        match Root::parse(&fetch_raw(self.source, entry)?)? {
            Root::Index(_) if depth == DEPTH_LIMIT => Err(ImageError::TooDeep),
            root => Ok(root),
        }
    }

    /// The entries of the chosen platforms, and the documents beside them.
    fn chosen<'i>(&self, index: &'i Index) -> Result<Vec<&'i Descriptor>, ImageError> {
        let entries = index.entries.iter();
        if self.platforms.is_empty() {
            return Ok(entries.collect());
        }
        let means = |entry: &&Descriptor| match entry.platform() {
            Some(listed) => self.platforms.iter().any(|wanted| wanted.means(&listed)),
            None => false,
        };
        let mut chosen: Vec<&Descriptor> = entries.filter(means).collect();
        let kept: Vec<String> = chosen
            .iter()
            .map(|entry| entry.id.digest.to_string())
            .collect();
        for entry in &index.entries {
            let speaks_of = entry.annotation(REFERENCE)?;
            if speaks_of.is_some_and(|named| kept.contains(&named)) && !means(&entry) {
                chosen.push(entry);
            }
        }
        Ok(chosen)
    }

    /// Each platform that was asked for is there: a slip of the pen must not leave one out in silence.
    fn check_platforms(&self) -> Result<(), ImageError> {
        if self.platforms.is_empty() {
            return Ok(());
        }
        let mut listed = Vec::new();
        match Root::parse(&self.root)? {
            Root::Manifest(manifest) => {
                listed.extend(Config::fetch(self.source, &manifest)?.platform());
            }
            Root::Index(index) => {
                listed.extend(index.entries.iter().filter_map(Descriptor::platform));
            }
        }
        let missing = |wanted: &&Platform| !listed.iter().any(|listed| wanted.means(listed));
        match self.platforms.iter().find(missing) {
            Some(platform) => Err(ImageError::NoSuchPlatform {
                platform: platform.to_string(),
            }),
            None => Ok(()),
        }
    }
}

fn role(manifest: &Manifest, entry: &Descriptor) -> Result<Role, ImageError> {
    Ok(if manifest.is_attestation(entry)? {
        Role::Beside
    } else {
        Role::Image
    })
}

/// A builder's attestation names the manifest it speaks of by digest; the name follows the manifest.
fn follow(entry: &mut Descriptor, names: &[(Digest, Digest)]) -> Result<(), ImageError> {
    let Some(named) = entry.annotation(REFERENCE)? else {
        return Ok(());
    };
    match names.iter().find(|(old, _)| old.to_string() == named) {
        Some((_, new)) => entry.annotate(REFERENCE, &new.to_string()),
        None => Ok(()),
    }
}

const REFERENCE: &str = "vnd.docker.reference.digest";
const DEPTH_LIMIT: usize = 8;
const DOCUMENT_LIMIT: usize = 256;
