//! The documents under one name: manifests, and indexes of manifests and of further indexes.

use std::cell::Cell;
use std::collections::HashMap;

use estate::Digest;

use crate::config::Config;
use crate::error::ImageError;
use crate::manifest::{Descriptor, Index, Manifest, RawManifest, Root, fetch_raw, with_subject};
use crate::ports::{BlobId, ImageSource, ImageTarget};
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
    /// How many documents may still be read, and how many bytes of them: indexes of indexes could name any number.
    left: Cell<usize>,
    bytes_left: Cell<u64>,
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
            left: Cell::default(),
            bytes_left: Cell::default(),
        };
        tree.check_platforms()?;
        Ok(tree)
    }

    /// Lets all documents be read once; where platforms are looked for inside of indexes, once for each depth.
    fn begin(&self) {
        let often = match self.platforms.is_empty() {
            true => 1,
            false => DEPTH_LIMIT,
        };
        self.left.set(DOCUMENT_LIMIT.saturating_mul(often));
        self.bytes_left
            .set(BYTES_LIMIT.saturating_mul(often as u64));
    }

    /// Shows each manifest, with the platform that its index tells.
    pub(crate) fn visit(&self, each: &mut Visit<'_>) -> Result<(), ImageError> {
        self.begin();
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
        for entry in self.chosen(index, depth)? {
            match self.document(entry, depth)?.1 {
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
        self.begin();
        let mut rebuild = Rebuild {
            target,
            convert,
            names: HashMap::new(),
        };
        match Root::parse(&self.root)? {
            Root::Manifest(manifest) => {
                let new = (rebuild.convert)(manifest, Role::Image)?;
                Ok(new.unwrap_or_else(|| self.root.clone()))
            }
            Root::Index(index) => self.rebuild_index(index, 0, &mut rebuild),
        }
    }

    /// Images first: the documents beside them name manifests that must be known by then.
    fn rebuild_index(
        &self,
        mut index: Index,
        depth: usize,
        rebuild: &mut Rebuild<'_, '_>,
    ) -> Result<RawManifest, ImageError> {
        index.entries = self.chosen(&index, depth)?.into_iter().cloned().collect();
        let mut beside = Vec::new();
        for (position, entry) in index.entries.iter_mut().enumerate() {
            let (_, root) = self.document(entry, depth)?;
            let new = match root {
                Root::Manifest(manifest) if role(&manifest, entry)? == Role::Beside => {
                    beside.push(position);
                    continue;
                }
                Root::Manifest(manifest) => rebuild.image(manifest)?,
                Root::Index(inner) => Some(self.rebuild_index(inner, depth + 1, rebuild)?),
            };
            let new = match new {
                Some(new) => new,
                None => fetch_raw(self.source, entry)?,
            };
            rebuild.put(entry, &new)?;
        }
        for position in beside {
            let entry = index.entries.get_mut(position);
            let entry = entry.ok_or(ImageError::Interrupted)?;
            let raw = fetch_raw(self.source, entry)?;
            rebuild.beside(entry, raw)?;
        }
        for entry in &mut index.entries {
            follow(entry, &rebuild.names)?;
        }
        index.to_raw()
    }

    fn document(
        &self,
        entry: &Descriptor,
        depth: usize,
    ) -> Result<(RawManifest, Root), ImageError> {
        let left = self.left.get().checked_sub(1);
        self.left.set(left.ok_or(ImageError::TooManyPlatforms)?);
        let left = self.bytes_left.get().checked_sub(entry.id.size);
        self.bytes_left.set(left.ok_or(ImageError::TooMuchText)?);
        let raw = fetch_raw(self.source, entry)?;
        match Root::parse(&raw)? {
            Root::Index(_) if depth == DEPTH_LIMIT => Err(ImageError::TooDeep),
            root => Ok((raw, root)),
        }
    }

    /// The entries of the chosen platforms, and the documents beside them.
    fn chosen<'i>(
        &self,
        index: &'i Index,
        depth: usize,
    ) -> Result<Vec<&'i Descriptor>, ImageError> {
        if self.platforms.is_empty() {
            return Ok(index.entries.iter().collect());
        }
        let mut chosen = Vec::new();
        let mut others = Vec::new();
        for entry in &index.entries {
            let within = self.platforms_in(entry, depth)?;
            let mut wanted = self.platforms.iter();
            match wanted.any(|wanted| within.iter().any(|listed| wanted.means(listed))) {
                true => chosen.push(entry),
                false => others.push(entry),
            }
        }
        let kept: Vec<String> = chosen
            .iter()
            .map(|entry| entry.id.digest.to_string())
            .collect();
        for entry in others {
            let speaks_of = entry.annotation(REFERENCE)?;
            if speaks_of.is_some_and(|named| kept.contains(&named)) {
                chosen.push(entry);
            }
        }
        Ok(chosen)
    }

    /// What an entry is for: as its index says or, where it does not, as the documents below say.
    fn platforms_in(&self, entry: &Descriptor, depth: usize) -> Result<Vec<String>, ImageError> {
        if let Some(listed) = entry.platform() {
            return Ok(vec![listed]);
        }
        match self.document(entry, depth)?.1 {
            Root::Index(inner) => {
                let mut within = Vec::new();
                for entry in &inner.entries {
                    within.extend(self.platforms_in(entry, depth + 1)?);
                }
                Ok(within)
            }
            Root::Manifest(manifest) if role(&manifest, entry)? == Role::Beside => Ok(Vec::new()),
            Root::Manifest(manifest) => {
                let config = Config::fetch(self.source, &manifest)?;
                Ok(config.platform().into_iter().collect())
            }
        }
    }

    /// Each platform that was asked for is there: a slip of the pen must not leave one out in silence.
    fn check_platforms(&self) -> Result<(), ImageError> {
        if self.platforms.is_empty() {
            return Ok(());
        }
        self.begin();
        let mut listed = Vec::new();
        match Root::parse(&self.root)? {
            Root::Manifest(manifest) => {
                listed.extend(Config::fetch(self.source, &manifest)?.platform());
            }
            Root::Index(index) => {
                for entry in &index.entries {
                    listed.extend(self.platforms_in(entry, 0)?);
                }
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

/// Documents on their way into a target, and what became of each.
struct Rebuild<'r, 'c> {
    target: &'r dyn ImageTarget,
    convert: &'r mut Convert<'c>,
    names: HashMap<Digest, BlobId>,
}

impl Rebuild<'_, '_> {
    fn image(&mut self, manifest: Manifest) -> Result<Option<RawManifest>, ImageError> {
        (self.convert)(manifest, Role::Image)
    }

    /// A document beside images: as it is, but for the manifest that it says it belongs to.
    fn beside(&mut self, entry: &mut Descriptor, raw: RawManifest) -> Result<(), ImageError> {
        if let Root::Manifest(manifest) = Root::parse(&raw)? {
            (self.convert)(manifest, Role::Beside)?;
        }
        let new = with_subject(&raw, &self.names)?.unwrap_or(raw);
        self.put(entry, &new)
    }

    fn put(&mut self, entry: &mut Descriptor, new: &RawManifest) -> Result<(), ImageError> {
        self.target
            .write_manifest(new)
            .map_err(ImageError::Target)?;
        self.names.insert(entry.id.digest, new.id());
        entry.describe(&new.media_type, new.id())
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
fn follow(entry: &mut Descriptor, names: &HashMap<Digest, BlobId>) -> Result<(), ImageError> {
    let named = entry.annotation(REFERENCE)?;
    let named: Option<Digest> = named.and_then(|named| named.parse().ok());
    match named.and_then(|named| names.get(&named)) {
        Some(new) => entry.annotate(REFERENCE, &new.digest.to_string()),
        None => Ok(()),
    }
}

const REFERENCE: &str = "vnd.docker.reference.digest";
const DEPTH_LIMIT: usize = 8;
const DOCUMENT_LIMIT: usize = 256;
/// All manifests together; those that change are held until all of them are known to be right.
const BYTES_LIMIT: u64 = 64 * 1024 * 1024;
