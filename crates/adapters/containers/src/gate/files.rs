//! Files that decide something: root's alone, never reached through a link, bounded, replaced as a whole.

use std::fs::File;
use std::io::{self, Read as _, Write as _};
use std::os::fd::AsFd;
use std::path::Path;

use rustix::fs::{AtFlags, CWD, FileType, Mode, OFlags, Stat};
use rustix::io::Errno;

/// Opens a folder that must be the caller's own (root's) and closed to others.
pub(super) fn own_folder(at: impl AsFd, path: &Path) -> io::Result<File> {
    let flags = OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::RDONLY | OFlags::CLOEXEC;
    let folder = File::from(rustix::fs::openat(at, path, flags, Mode::empty())?);
    let found = rustix::fs::fstat(&folder)?;
    if is_own(&found) && found.st_mode & 0o077 == 0 {
        Ok(folder)
    } else {
        Err(io::Error::new(
            io::ErrorKind::PermissionDenied,
            "the folder is not root's alone",
        ))
    }
}

/// The same, made if it is missing.
pub(super) fn own_folder_made(at: impl AsFd, path: &Path) -> io::Result<File> {
    match rustix::fs::mkdirat(&at, path, Mode::RWXU) {
        Ok(()) | Err(Errno::EXIST) => own_folder(at, path),
        Err(error) => Err(error.into()),
    }
}

/// Reads a file that only its owner, the caller (root), can write; `None` if there is none.
pub(super) fn read(at: impl AsFd, path: &Path, limit: u64) -> io::Result<Option<Vec<u8>>> {
    // Not blocking: whatever lies there instead of a file must not hold up the runtime.
    let flags = OFlags::RDONLY | OFlags::NOFOLLOW | OFlags::NONBLOCK | OFlags::CLOEXEC;
    let file = match rustix::fs::openat(at, path, flags, Mode::empty()) {
        Ok(file) => File::from(file),
        Err(Errno::NOENT) => return Ok(None),
        Err(error) => return Err(error.into()),
    };
    let found = rustix::fs::fstat(&file)?;
    if !is_file(&found) || !is_own(&found) || found.st_mode & 0o022 != 0 {
        return Err(io::Error::new(
            io::ErrorKind::PermissionDenied,
            "it is no file that only root can write",
        ));
    }
    let mut bytes = Vec::new();
    file.take(limit.saturating_add(1)).read_to_end(&mut bytes)?;
    if u64::try_from(bytes.len()).is_ok_and(|length| length <= limit) {
        Ok(Some(bytes))
    } else {
        Err(io::Error::new(
            io::ErrorKind::FileTooLarge,
            "it is too large",
        ))
    }
}

/// Whether a write is still there after the power went.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Durable {
    /// It is.
    Yes,
    /// Who reads it lives no longer than the kernel does.
    No,
}

/// Replaces a file as a whole: whoever reads sees the old one or the new one.
pub(super) fn replace(folder: &File, name: &str, bytes: &[u8], durable: Durable) -> io::Result<()> {
    let fresh = format!(".{name}.{}", std::process::id());
    let _ = rustix::fs::unlinkat(folder, &fresh, AtFlags::empty());
    let written = write_new(folder, &fresh, bytes, durable)
        .and_then(|()| Ok(rustix::fs::renameat(folder, &fresh, folder, name)?));
    if written.is_err() {
        let _ = rustix::fs::unlinkat(folder, &fresh, AtFlags::empty());
        return written;
    }
    match durable {
        Durable::Yes => folder.sync_all(),
        Durable::No => Ok(()),
    }
}

fn write_new(folder: &File, name: &str, bytes: &[u8], durable: Durable) -> io::Result<()> {
    let flags = OFlags::WRONLY | OFlags::CREATE | OFlags::EXCL | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    let mut file = File::from(rustix::fs::openat(
        folder,
        name,
        flags,
        Mode::RUSR | Mode::WUSR,
    )?);
    file.write_all(bytes)?;
    match durable {
        Durable::Yes => file.sync_all(),
        Durable::No => Ok(()),
    }
}

/// The folder that a path names, for relative work in it.
pub(super) fn folder_of(path: &Path) -> io::Result<File> {
    let parent = match path.parent() {
        Some(parent) if !parent.as_os_str().is_empty() => parent,
        _ => Path::new("."),
    };
    let flags = OFlags::DIRECTORY | OFlags::RDONLY | OFlags::CLOEXEC;
    Ok(File::from(rustix::fs::openat(
        CWD,
        parent,
        flags,
        Mode::empty(),
    )?))
}

pub(super) fn is_file(found: &Stat) -> bool {
    FileType::from_raw_mode(found.st_mode) == FileType::RegularFile
}

/// The gate and the agent are root; so is whoever may write what they believe.
fn is_own(found: &Stat) -> bool {
    found.st_uid == rustix::process::geteuid().as_raw()
}
