//! The root of a container, and files in the layers of its image: looked up as the kernel's overlay would, but never
//! through a link.

use std::ffi::OsStr;
use std::fs::File;
use std::io;
use std::os::fd::AsFd;
use std::path::{Path, PathBuf};

use proto::containerd::types::Mount;
use rustix::fs::{CWD, FileType, Mode, OFlags, ResolveFlags, Stat};
use rustix::io::Errno;

use crate::mountinfo::Seen;

/// What a container's root must be.
pub(crate) enum Root {
    /// The overlay over the image's layers.
    Overlay(Layers),
    /// A copy of the image's files, in one folder.
    Copy(String),
}

impl Root {
    /// From the mounts of a snapshot; `None` for anything else than these two.
    pub(crate) fn of_snapshot(mounts: &[Mount]) -> Option<Self> {
        match mounts {
            [mount] if mount.r#type == "bind" => Some(Self::Copy(mount.source.clone())),
            mounts => Layers::of_snapshot(mounts).map(Self::Overlay),
        }
    }

    /// Whether a mount that the kernel shows is this root.
    pub(crate) fn is(&self, seen: &Seen) -> bool {
        self.is_at("/", seen)
    }

    /// Whether a mount that the kernel shows is this root, at another place than its own process sees it.
    pub(crate) fn is_at(&self, point: &str, seen: &Seen) -> bool {
        seen.point == point
            && match self {
                Self::Overlay(layers) => layers.show_in(seen),
                // The kernel shows the folder as its own file system knows it.
                Self::Copy(folder) => seen.root != "/" && folder.ends_with(&seen.root),
            }
    }

    pub(crate) fn into_layers(self) -> Option<Layers> {
        match self {
            Self::Overlay(layers) => Some(layers),
            Self::Copy(_) => None,
        }
    }

    pub(crate) fn layers(&self) -> Option<&Layers> {
        match self {
            Self::Overlay(layers) => Some(layers),
            Self::Copy(_) => None,
        }
    }
}

/// The folders of one container's overlay.
pub(crate) struct Layers {
    /// What the container wrote.
    upper: PathBuf,
    /// The image, uppermost layer first.
    lowers: Vec<PathBuf>,
}

/// What one layer says of a path.
enum Entry {
    File(File),
    /// Nothing; look below.
    Absent,
    /// Something else, or the layers below are hidden.
    Hidden,
}

impl Layers {
    /// From the mount of a snapshot; `None` for another kind of mount.
    fn of_snapshot(mounts: &[Mount]) -> Option<Self> {
        let [mount] = mounts else { return None };
        let option = |name: &str| {
            mount
                .options
                .iter()
                .find_map(|option| option.strip_prefix(name))
        };
        let lowers = option("lowerdir=")?;
        (mount.r#type == "overlay" && !lowers.contains('\\')).then_some(())?;
        Some(Self {
            upper: option("upperdir=")?.into(),
            lowers: lowers.split(':').map(PathBuf::from).collect(),
        })
    }

    /// Whether a mount that the kernel shows is this container's root.
    pub(crate) fn are_under(&self, seen: &Seen) -> bool {
        seen.point == "/" && self.show_in(seen)
    }

    fn show_in(&self, seen: &Seen) -> bool {
        seen.root == "/"
            && seen.kind == "overlay"
            && seen.option("upperdir").map(Path::new) == Some(&self.upper)
    }

    /// The image's own file at an absolute path, unless the container has put something over it.
    pub(crate) fn untouched(&self, path: &Path) -> Option<File> {
        match entry(&self.upper, path) {
            Ok(Entry::Absent) => self.shipped(path),
            _ => None,
        }
    }

    /// The image's own file at an absolute path.
    pub(crate) fn shipped(&self, path: &Path) -> Option<File> {
        for lower in &self.lowers {
            match entry(lower, path) {
                Ok(Entry::File(file)) => return Some(file),
                Ok(Entry::Absent) => {}
                Ok(Entry::Hidden) | Err(_) => return None,
            }
        }
        None
    }
}

fn entry(layer: &Path, path: &Path) -> io::Result<Entry> {
    let relative = path.strip_prefix("/").unwrap_or(path);
    let top = rustix::fs::openat(
        CWD,
        layer,
        OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC,
        Mode::empty(),
    )?;
    let mut folder = PathBuf::new();
    for part in relative.parent().into_iter().flat_map(Path::iter) {
        folder.push(part);
        match open(&top, &folder, OFlags::RDONLY | OFlags::DIRECTORY) {
            Ok(opened) if is_opaque(&opened) => {
                // Nothing below shows through; the path may still be in this very layer.
                return Ok(match regular(&top, relative)? {
                    Entry::Absent => Entry::Hidden,
                    found => found,
                });
            }
            Ok(_) => {}
            Err(Errno::NOENT) => return Ok(Entry::Absent),
            Err(_) => return Ok(Entry::Hidden),
        }
    }
    regular(&top, relative)
}

fn regular(top: impl AsFd, path: &Path) -> io::Result<Entry> {
    // First without opening: a device or FIFO may do anything when it is opened.
    let found = match open(&top, path, OFlags::PATH | OFlags::NOFOLLOW) {
        Ok(found) => found,
        Err(Errno::NOENT) => return Ok(Entry::Absent),
        Err(_) => return Ok(Entry::Hidden),
    };
    let before = rustix::fs::fstat(&found)?;
    if FileType::from_raw_mode(before.st_mode) != FileType::RegularFile {
        return Ok(Entry::Hidden);
    }
    let file = open(
        &top,
        path,
        OFlags::RDONLY | OFlags::NOFOLLOW | OFlags::NONBLOCK,
    )?;
    let after = rustix::fs::fstat(&file)?;
    Ok(if same_file(&before, &after) {
        Entry::File(file)
    } else {
        Entry::Hidden
    })
}

fn same_file(a: &Stat, b: &Stat) -> bool {
    (a.st_dev, a.st_ino) == (b.st_dev, b.st_ino)
}

fn open(top: impl AsFd, path: &Path, flags: OFlags) -> Result<File, Errno> {
    let resolve = ResolveFlags::IN_ROOT | ResolveFlags::NO_SYMLINKS | ResolveFlags::NO_MAGICLINKS;
    rustix::fs::openat2(top, path, flags | OFlags::CLOEXEC, Mode::empty(), resolve).map(File::from)
}

fn is_opaque(folder: &File) -> bool {
    let mut value = [0; 1];
    let read = rustix::fs::fgetxattr(folder, OsStr::new("trusted.overlay.opaque"), &mut value);
    matches!(read, Ok(1)) && value == *b"y" || matches!(read, Err(Errno::RANGE))
}

#[cfg(test)]
mod tests {
    use std::fs;
    use std::io::Read as _;
    use std::os::unix::fs::symlink;

    use super::*;

    struct Image {
        folder: tempfile::TempDir,
        layers: Layers,
    }

    fn image() -> Image {
        let folder = tempfile::tempdir().unwrap();
        let paths: Vec<PathBuf> = ["upper", "top", "base"]
            .iter()
            .map(|name| folder.path().join(name))
            .collect();
        for path in &paths {
            fs::create_dir_all(path.join("bin")).unwrap();
        }
        fs::write(paths[2].join("bin/app"), "base").unwrap();
        fs::write(paths[2].join("bin/old"), "base").unwrap();
        fs::write(paths[1].join("bin/app"), "top").unwrap();
        let layers = Layers {
            upper: paths[0].clone(),
            lowers: paths[1..].to_vec(),
        };
        Image { folder, layers }
    }

    fn text(file: Option<File>) -> Option<String> {
        let mut text = String::new();
        file?.read_to_string(&mut text).unwrap();
        Some(text)
    }

    #[test]
    fn the_uppermost_layer_wins() {
        let image = image();
        assert_eq!(
            text(image.layers.untouched(Path::new("/bin/app"))).unwrap(),
            "top"
        );
        assert_eq!(
            text(image.layers.untouched(Path::new("/bin/old"))).unwrap(),
            "base"
        );
        assert!(image.layers.untouched(Path::new("/bin/none")).is_none());
    }

    #[test]
    fn what_the_container_wrote_is_not_the_images() {
        let image = image();
        fs::write(image.folder.path().join("upper/bin/app"), "evil").unwrap();
        assert!(image.layers.untouched(Path::new("/bin/app")).is_none());
        assert_eq!(
            text(image.layers.shipped(Path::new("/bin/app"))).unwrap(),
            "top"
        );
    }

    /// A process that moved into a folder of its own making shows the very overlay, and nothing of the mounts beside it.
    #[test]
    fn a_folder_of_the_overlay_is_not_the_containers_root() {
        let image = image();
        let upper = image.layers.upper.display().to_string();
        let line =
            |root: &str| format!("9 8 0:4 {root} / rw - overlay overlay rw,upperdir={upper}\n");
        let is_root = |root: &str| {
            let seen = crate::mountinfo::parse(&line(root)).unwrap();
            image.layers.are_under(&seen[0])
        };
        assert!(is_root("/") && !is_root("/tmp/new-root"));
    }

    #[test]
    fn links_and_folders_are_not_followed() {
        let image = image();
        let top = image.folder.path().join("top");
        symlink("/etc/passwd", top.join("bin/link")).unwrap();
        symlink("/etc", top.join("dir")).unwrap();
        fs::create_dir(top.join("bin/old")).unwrap();
        for path in ["/bin/link", "/dir/passwd", "/bin/old", "/../../etc/passwd"] {
            assert!(image.layers.untouched(Path::new(path)).is_none(), "{path}");
        }
    }

    #[test]
    #[ignore = "needs root; run by make test"]
    fn what_a_layer_removed_is_not_found_below_it() {
        let image = image();
        let top = image.folder.path().join("top/bin");
        let whiteout = rustix::fs::mknodat(
            CWD,
            top.join("old"),
            FileType::CharacterDevice,
            Mode::empty(),
            0,
        );
        whiteout.unwrap();
        assert!(image.layers.shipped(Path::new("/bin/old")).is_none());

        fs::remove_file(top.join("old")).unwrap();
        assert!(image.layers.shipped(Path::new("/bin/old")).is_some());
        let opaque = rustix::fs::XattrFlags::empty();
        rustix::fs::setxattr(&top, "trusted.overlay.opaque", b"y", opaque).unwrap();
        assert!(image.layers.shipped(Path::new("/bin/old")).is_none());
        assert!(image.layers.shipped(Path::new("/bin/app")).is_some());
    }

    #[test]
    fn only_a_single_overlay_mount_has_layers() {
        let overlay = |options: &[&str]| Mount {
            r#type: "overlay".into(),
            options: options.iter().map(|option| (*option).to_owned()).collect(),
            ..Mount::default()
        };
        let whole = overlay(&["index=off", "workdir=/w", "upperdir=/u", "lowerdir=/a:/b"]);
        let layers = Layers::of_snapshot(std::slice::from_ref(&whole)).unwrap();
        assert_eq!((layers.upper, layers.lowers.len()), ("/u".into(), 2));
        assert!(Layers::of_snapshot(&[overlay(&["lowerdir=/a:/b"])]).is_none());
        assert!(Layers::of_snapshot(&[overlay(&["upperdir=/u", "lowerdir=/a\\:b"])]).is_none());
        assert!(Layers::of_snapshot(&[whole.clone(), whole]).is_none());
    }
}
