//! The files beneath a folder, read with bounds. Who can write into the folder may be another than who runs the decoder (a
//! pod that fills it, for one), so no link leads out of it: the kernel sees to that at each step, also when the link is
//! exchanged meanwhile.

use std::{
    collections::BTreeSet,
    ffi::OsStr,
    fs::File,
    io::{self, Read},
    os::{
        fd::{AsRawFd, OwnedFd},
        unix::ffi::OsStrExt,
    },
    path::{Path, PathBuf},
};

use rustix::{
    fs::{CWD, Dir, FileType, Mode, OFlags, ResolveFlags, Stat, fstat, openat, openat2},
    io::Errno,
};
use zeroize::Zeroizing;

/// A folder that can't be read as a whole.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub(crate) enum WalkError {
    /// Fault: whoever named the folder, or this machine.
    #[error("it can't be read")]
    Unreadable(#[source] io::Error),
    /// Fault: whoever filled it.
    #[error("it has more than {MOST_FILES} files")]
    TooManyFiles,
    /// Fault: whoever filled it.
    #[error("it has more than {MOST_ENTRIES} entries")]
    TooManyEntries,
    /// Fault: whoever filled it.
    #[error("its files have more than {MOST_BYTES} bytes")]
    TooLarge,
}

/// A file, or what stands in the place of one.
pub(crate) struct Walked {
    /// Its path below the folder.
    pub(crate) name: PathBuf,
    /// Its permissions; 0 where they are not known.
    pub(crate) mode: u32,
    /// What is in it, or why that is not known.
    pub(crate) content: Result<Zeroizing<Vec<u8>>, String>,
}

/// All of them, in the order of their names.
pub(crate) fn walk(folder: &Path) -> Result<Vec<Walked>, WalkError> {
    let flags = OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC;
    let root = openat(CWD, folder, flags, Mode::empty())
        .map_err(|error| WalkError::Unreadable(error.into()))?;
    let mut walk = Walk {
        root,
        walked: Vec::new(),
        seen: BTreeSet::new(),
        entries: 0,
        bytes: 0,
    };
    walk.folder(Path::new("."), 0)?;
    Ok(walk.walked)
}

struct Walk {
    root: OwnedFd,
    walked: Vec<Walked>,
    /// Device and inode of all folders: each is entered once, whatever links lead back to it.
    seen: BTreeSet<(u64, u64)>,
    entries: usize,
    bytes: usize,
}

impl Walk {
    fn folder(&mut self, path: &Path, depth: usize) -> Result<(), WalkError> {
        let names = match self.names(path) {
            Ok(names) => names,
            Err(error) if depth == 0 => return Err(WalkError::Unreadable(error)),
            Err(error) => return self.note(path, 0, Err(why(&error))),
        };
        self.entries += names.len();
        if self.entries > MOST_ENTRIES {
            return Err(WalkError::TooManyEntries);
        }
        for name in names {
            let path = match depth {
                0 => PathBuf::from(&name),
                _ => path.join(&name),
            };
            self.entry(&path, depth)?;
        }
        Ok(())
    }

    /// What begins with two dots is how the kubelet exchanges all files of a mounted Secret at once; the names in front lead
    /// there.
    fn names(&mut self, path: &Path) -> io::Result<BTreeSet<PathBuf>> {
        let folder = self.open(path, OFlags::RDONLY | OFlags::DIRECTORY)?;
        let about = fstat(&folder)?;
        self.seen.insert(identity(&about));
        let mut names = BTreeSet::new();
        for entry in Dir::new(folder)? {
            let entry = entry?;
            let name = entry.file_name().to_bytes();
            if name != b"." && !name.starts_with(b"..") {
                names.insert(PathBuf::from(OsStr::from_bytes(name)));
            }
            if names.len() > MOST_ENTRIES {
                break;
            }
        }
        Ok(names)
    }

    fn entry(&mut self, path: &Path, depth: usize) -> Result<(), WalkError> {
        // Only looked at: opening a pipe or a device could wait or do something.
        let looked = self.open(path, OFlags::PATH).and_then(|file| {
            let about = fstat(&file)?;
            Ok((file, about))
        });
        let (file, about) = match looked {
            Ok(looked) => looked,
            Err(error) => return self.note(path, 0, Err(why(&error))),
        };
        match FileType::from_raw_mode(about.st_mode) {
            FileType::Directory if self.seen.contains(&identity(&about)) => Ok(()),
            FileType::Directory if depth + 1 >= DEEPEST => {
                self.note(path, 0, Err(format!("it lies {DEEPEST} folders deep")))
            }
            FileType::Directory => self.folder(path, depth + 1),
            FileType::RegularFile => {
                let content = read(&file, &about);
                self.note(path, about.st_mode & 0o7777, content)
            }
            _ => self.note(path, 0, Err("it is no file".to_owned())),
        }
    }

    fn note(
        &mut self,
        path: &Path,
        mode: u32,
        content: Result<Zeroizing<Vec<u8>>, String>,
    ) -> Result<(), WalkError> {
        if self.walked.len() >= MOST_FILES {
            return Err(WalkError::TooManyFiles);
        }
        self.bytes += content.as_ref().map_or(0, |content| content.len());
        if self.bytes > MOST_BYTES {
            return Err(WalkError::TooLarge);
        }
        self.walked.push(Walked {
            name: path.to_owned(),
            mode,
            content,
        });
        Ok(())
    }

    fn open(&self, path: &Path, flags: OFlags) -> io::Result<OwnedFd> {
        let resolve = ResolveFlags::BENEATH | ResolveFlags::NO_MAGICLINKS;
        let mut tries = 0;
        loop {
            let flags = flags | OFlags::CLOEXEC;
            match openat2(&self.root, path, flags, Mode::empty(), resolve) {
                // The kubelet exchanged the files just now.
                Err(Errno::AGAIN) if tries < MOST_TRIES => tries += 1,
                opened => return Ok(opened?),
            }
        }
    }
}

/// The very file that was looked at, into a buffer that does not move.
fn read(file: &OwnedFd, about: &Stat) -> Result<Zeroizing<Vec<u8>>, String> {
    let size = usize::try_from(about.st_size).ok();
    let Some(size) = size.filter(|size| *size <= LARGEST_FILE) else {
        return Err(format!("it has more than {LARGEST_FILE} bytes"));
    };
    let opened = File::open(format!("/proc/self/fd/{}", file.as_raw_fd()));
    let opened = opened.map_err(|error| why(&error))?;
    let mut content = Zeroizing::new(Vec::with_capacity(size + 1));
    let read = opened.take(size as u64 + 1).read_to_end(&mut content);
    read.map_err(|error| why(&error))?;
    match content.len() > size {
        true => Err("it grew while it was read".to_owned()),
        false => Ok(content),
    }
}

fn identity(about: &Stat) -> (u64, u64) {
    (about.st_dev, about.st_ino)
}

fn why(error: &io::Error) -> String {
    match Errno::from_io_error(error) {
        Some(Errno::XDEV) => "the link leads out of the folder".to_owned(),
        Some(Errno::LOOP) => "the link leads back to itself".to_owned(),
        Some(Errno::NOENT) => "the link leads nowhere".to_owned(),
        _ => error.to_string(),
    }
}

/// Rings of OpenPGP are larger than other keys.
const LARGEST_FILE: usize = 1024 * 1024;
const MOST_BYTES: usize = 16 * LARGEST_FILE;
const MOST_FILES: usize = 256;
const MOST_ENTRIES: usize = 1024;
const DEEPEST: usize = 8;
const MOST_TRIES: usize = 16;
