//! What lies beneath a folder that becomes a container's root, or is mounted into it: the folders of its overlays, and of
//! the overlays under those, as the mount table of the very process that asks shows them.

use std::cell::RefCell;
use std::collections::{BTreeMap, BTreeSet};
use std::fs::{self, File};
use std::io::{self, Read as _};
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

use crate::locate;
use crate::mountinfo::{self, Seen};

/// The mounts that a process sees.
#[derive(Debug)]
pub struct MountTable {
    mounts: Vec<Mounted>,
    /// Folders of places, resolved: there are many places in few folders.
    resolved: RefCell<BTreeMap<PathBuf, PathBuf>>,
}

#[derive(Debug)]
struct Mounted {
    seen: Seen,
    /// No character of the options had to be escaped: they can be cut at commas and colons.
    is_plain: bool,
}

/// The folders whose files show in a container.
#[derive(Debug)]
pub struct Beneath<'a> {
    table: &'a MountTable,
    folders: BTreeSet<PathBuf>,
    /// The same, by file system and path in it.
    inner: BTreeSet<Inner>,
    /// As the kernel shows them when the runtime stood in another folder while it mounted.
    relative: Vec<PathBuf>,
    unclear: bool,
    /// Something that is mounted into the container, beside its root, is made of layers.
    mounts_layers: bool,
}

/// A file system's device, and a path from its root.
type Inner = ((u32, u32), PathBuf);

impl MountTable {
    /// That of this process.
    ///
    /// # Errors
    /// When the kernel shows none that can be read.
    pub fn own() -> io::Result<Self> {
        let mut text = String::new();
        File::open("/proc/self/mountinfo")?
            .take(LARGEST)
            .read_to_string(&mut text)?;
        let cut = u64::try_from(text.len()).is_ok_and(|length| length >= LARGEST);
        let table = Self::parse(&text).filter(|_| !cut);
        table.ok_or_else(|| io::ErrorKind::InvalidData.into())
    }

    /// From the text of a `mountinfo`; `None` if a line is malformed.
    pub fn parse(text: &str) -> Option<Self> {
        let is_plain = |line: &str| {
            line.split_once(" - ")
                .is_some_and(|(_, back)| !back.contains('\\'))
        };
        let mounts = mountinfo::parse(text)?
            .into_iter()
            .zip(text.lines())
            .map(|(seen, line)| Mounted {
                seen,
                is_plain: is_plain(line),
            });
        Some(Self {
            mounts: mounts.collect(),
            resolved: RefCell::default(),
        })
    }

    /// What lies beneath a container with this root and these sources of mounts. Links in the paths are followed.
    pub fn beneath<'a>(
        &'a self,
        root: &Path,
        sources: impl IntoIterator<Item = &'a Path>,
    ) -> Beneath<'a> {
        let mut beneath = Beneath {
            table: self,
            folders: BTreeSet::new(),
            inner: BTreeSet::new(),
            relative: Vec::new(),
            unclear: false,
            mounts_layers: false,
        };
        let root = resolve(root);
        // Another kind of root may be a copy of opened layers, in a place that no list has.
        if self
            .containing(&root)
            .is_none_or(|mount| !is_overlay(mount))
        {
            beneath.unclear = true;
        }
        beneath.add(root, 0);
        for source in sources {
            beneath.unclear |= is_another_to_the_kernel(source);
            let source = resolve(source);
            // Here a snapshotter that is not the overlay's keeps its copies.
            beneath.unclear |= self.is_copy(&source);
            beneath.mounts_layers |= self.shows_layers(&source);
            beneath.add_below(&source);
            beneath.add(source, 0);
        }
        beneath
    }

    /// Whether a source of a mount may be a snapshotter's copy of layers, also one that is bound to another place.
    fn is_copy(&self, source: &Path) -> bool {
        let is_other = |path: &Path| {
            has_part(path, |part| {
                part.starts_with(SNAPSHOTTERS) && part != OVERLAY_SNAPSHOTTER
            })
        };
        is_other(source) || self.inner(source).is_none_or(|(_, path)| is_other(&path))
    }

    /// Whether a source of a mount lies on an overlay, or in a snapshotter's folder.
    fn shows_layers(&self, source: &Path) -> bool {
        let in_snapshotter = |path: &Path| has_part(path, |part| part.starts_with(SNAPSHOTTERS));
        in_snapshotter(source)
            || self.containing(source).is_none_or(is_overlay)
            || self
                .inner(source)
                .is_none_or(|(_, path)| in_snapshotter(&path))
    }

    /// The mount that a path lies in.
    fn containing(&self, path: &Path) -> Option<&Mounted> {
        let holds = |mount: &&Mounted| path.starts_with(&mount.seen.point);
        // Of several at one point, the last lies on top.
        self.mounts
            .iter()
            .filter(holds)
            .max_by_key(|mount| mount.seen.point.len())
    }

    fn inner(&self, path: &Path) -> Option<Inner> {
        let Seen {
            device,
            root,
            point,
            ..
        } = &self.containing(path)?.seen;
        let rest = path.strip_prefix(point).ok()?;
        Some((*device, Path::new(root).join(rest)))
    }

    /// A snapshot's folder, `…/snapshots/12/fs`, with the links above its last two parts followed.
    fn resolved_place(&self, place: &Path) -> Option<PathBuf> {
        let folder = place.parent()?.parent()?;
        let rest = place.strip_prefix(folder).ok()?;
        let mut resolved = self.resolved.borrow_mut();
        let folder = resolved
            .entry(folder.to_owned())
            .or_insert_with(|| resolve(folder));
        Some(folder.join(rest))
    }
}

impl Beneath<'_> {
    /// Whether something beneath could not be told.
    pub fn is_unclear(&self) -> bool {
        self.unclear
    }

    /// Whether something that is mounted into the container, beside its root, is made of layers.
    pub fn mounts_layers(&self) -> bool {
        self.mounts_layers
    }

    /// Whether this very folder shows.
    pub(super) fn has_folder(&self, folder: &Path) -> bool {
        self.folders.contains(folder)
    }

    /// Whether files of a place show.
    pub(super) fn holds(&self, place: &Path) -> bool {
        if self.folders.iter().any(|folder| shows(folder, place)) {
            return true;
        }
        // A relative name may be that of any place which ends in it.
        if self.relative.iter().any(|part| place.ends_with(part)) {
            return true;
        }
        let Some(resolved) = self.table.resolved_place(place) else {
            return false;
        };
        let inner = self.table.inner(&resolved);
        self.folders.iter().any(|folder| shows(folder, &resolved))
            || inner.is_some_and(|(device, path)| {
                self.inner
                    .iter()
                    .any(|(other, folder)| *other == device && shows(folder, &path))
            })
    }

    /// What is mounted below a source comes along with it.
    fn add_below(&mut self, source: &Path) {
        if !is_containerds(source) {
            return;
        }
        let table = self.table;
        let points = table
            .mounts
            .iter()
            .map(|mount| Path::new(&mount.seen.point));
        for point in points.filter(|point| *point != source && point.starts_with(source)) {
            self.mounts_layers |= table.shows_layers(point);
            self.add(point.to_owned(), 0);
        }
    }

    fn add(&mut self, path: PathBuf, depth: usize) {
        if self.folders.contains(&path) {
            return;
        }
        self.inner.extend(self.table.inner(&path));
        let overlay = match self.table.containing(&path) {
            None => return self.unclear = true,
            Some(mount) => is_overlay(mount).then_some(mount),
        };
        self.folders.insert(path);
        let Some(overlay) = overlay else { return };
        let layers = overlay.layers().filter(|_| depth < DEEPEST);
        let Some(layers) = layers else {
            return self.unclear = true;
        };
        for layer in layers {
            if layer.is_absolute() {
                self.add(resolve(&layer), depth + 1);
                // As the list may have it, too.
                self.folders.insert(layer);
            } else {
                self.unclear |= has_part(&layer, |part| part == "..");
                self.relative.push(layer);
            }
        }
    }
}

impl Mounted {
    /// The folders of an overlay; `None` if its options can't be told apart.
    fn layers(&self) -> Option<Vec<PathBuf>> {
        let mut layers = Vec::new();
        for option in self.seen.options.split(',') {
            let (name, value) = option.split_once('=').unwrap_or((option, ""));
            match name {
                "lowerdir" => layers.extend(
                    value
                        .split(':')
                        .filter(|layer| !layer.is_empty())
                        .map(PathBuf::from),
                ),
                "lowerdir+" | "datadir+" | "upperdir" => layers.push(PathBuf::from(value)),
                _ => {}
            }
        }
        (self.is_plain && !layers.is_empty()).then_some(layers)
    }
}

/// See [`super::containers_in_namespace`].
pub(super) fn containers_in_namespace(
    namespace: &Path,
    kind: &str,
) -> io::Result<BTreeSet<String>> {
    let identity = |path: &Path| fs::metadata(path).map(|found| (found.dev(), found.ino()));
    let wanted = identity(namespace)?;
    let mut found = BTreeSet::new();
    if identity(&Path::new("/proc/self/ns").join(kind))? == wanted {
        return Ok(found);
    }
    for entry in fs::read_dir("/proc")? {
        let entry = entry?;
        let name = entry.file_name();
        let Some(pid) = name.to_str().and_then(|name| name.parse().ok()) else {
            continue;
        };
        // What ends meanwhile has no namespace any more.
        if identity(&entry.path().join("ns").join(kind)).is_ok_and(|other| other == wanted) {
            found.extend(locate::id_by_cgroup(pid));
        }
    }
    Ok(found)
}

fn is_overlay(mount: &Mounted) -> bool {
    mount.seen.kind == "overlay"
}

fn has_part(path: &Path, is: impl Fn(&str) -> bool) -> bool {
    path.iter().any(|part| part.to_str().is_none_or(&is))
}

/// Whether files of a place show where this folder does. Of the folders above a place, those that containerd keeps for itself
/// count; whoever mounts what holds the whole machine is seen to have power over it, and monitors do.
fn shows(folder: &Path, place: &Path) -> bool {
    folder.starts_with(place) || place.starts_with(folder) && is_containerds(folder)
}

/// One of the folders that containerd's plug-ins keep, or below one.
fn is_containerds(path: &Path) -> bool {
    has_part(path, |part| part.starts_with(PLUGINS))
}

/// The links under `/proc/PID` read as a path and lead to what that process sees there: a root, a folder, an open file.
fn is_another_to_the_kernel(path: &Path) -> bool {
    let identity = |path: &Path| {
        let found = fs::metadata(path)?;
        io::Result::Ok((found.dev(), found.ino()))
    };
    let read = || identity(&fs::canonicalize(path)?);
    identity(path).is_ok_and(|followed| read().ok() != Some(followed))
}

/// What is not there stays as it is written.
fn resolve(path: &Path) -> PathBuf {
    fs::canonicalize(path).unwrap_or_else(|_| path.to_owned())
}

const LARGEST: u64 = 32 << 20;
/// The kernel stacks two.
const DEEPEST: usize = 4;
const PLUGINS: &str = "io.containerd.";
const SNAPSHOTTERS: &str = "io.containerd.snapshotter.";
const OVERLAY_SNAPSHOTTER: &str = "io.containerd.snapshotter.v1.overlayfs";

#[cfg(test)]
mod tests;
