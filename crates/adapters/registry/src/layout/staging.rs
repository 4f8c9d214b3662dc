//! A directory for what has no final name yet. It goes away with its owner, and with the next one if the owner was killed.

use std::fs::{self, DirBuilder, File, TryLockError};
use std::io;
use std::os::unix::fs::{DirBuilderExt, MetadataExt};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};

use crate::error::RegistryError;

/// The directory. A lock on it, which ends with the process, says that it is in use.
#[derive(Debug)]
pub(crate) struct Staging {
    path: PathBuf,
    _lock: File,
    next: AtomicU64,
}

impl Staging {
    /// Makes the directory inside `parent` and removes what killed processes left there.
    pub(crate) fn begin(parent: &Path) -> Result<Self, RegistryError> {
        // Nobody may sweep between the making of the directory and the lock on it.
        let _guard = lock_directory(parent)?;
        sweep(parent).map_err(RegistryError::disk(parent, "read"))?;
        let path = fresh_directory(parent).map_err(RegistryError::disk(parent, "written"))?;
        let lock = File::open(&path).map_err(RegistryError::disk(&path, "read"))?;
        lock.lock().map_err(RegistryError::disk(&path, "locked"))?;
        Ok(Self {
            path,
            _lock: lock,
            next: AtomicU64::new(0),
        })
    }

    /// A name in the directory that nobody used before.
    pub(crate) fn fresh(&self) -> PathBuf {
        self.path
            .join(self.next.fetch_add(1, Ordering::Relaxed).to_string())
    }
}

impl Drop for Staging {
    fn drop(&mut self) {
        // What can't be removed now is removed by the next `begin`.
        let _ = fs::remove_dir_all(&self.path);
    }
}

/// Whether a directory of this name was made here.
pub(super) fn is_ours(name: &str) -> bool {
    name.starts_with(PREFIX)
}

/// Removes the directories whose owners are gone.
fn sweep(parent: &Path) -> io::Result<()> {
    for entry in fs::read_dir(parent)? {
        let entry = entry?;
        let ours = entry.file_name().to_str().is_some_and(is_ours);
        // In a directory that many write to, what is not of this user may not be removed, and is not waited for.
        if !ours || !entry.metadata().is_ok_and(|metadata| is_mine(&metadata)) {
            continue;
        }
        let Ok(directory) = File::open(entry.path()) else {
            continue;
        };
        match directory.try_lock() {
            Ok(()) => fs::remove_dir_all(entry.path())?,
            Err(TryLockError::WouldBlock | TryLockError::Error(_)) => {}
        }
    }
    Ok(())
}

fn is_mine(metadata: &fs::Metadata) -> bool {
    metadata.is_dir() && metadata.uid() == rustix::process::geteuid().as_raw()
}

/// Waits until nobody else changes the directory; the lock ends with the value.
pub(crate) fn lock_directory(path: &Path) -> Result<File, RegistryError> {
    let directory = File::open(path).map_err(RegistryError::disk(path, "read"))?;
    directory
        .lock()
        .map_err(RegistryError::disk(path, "locked"))?;
    Ok(directory)
}

fn fresh_directory(parent: &Path) -> io::Result<PathBuf> {
    for number in 0.. {
        let path = parent.join(format!("{PREFIX}{}-{number}", std::process::id()));
        match DirBuilder::new().mode(0o700).create(&path) {
            Ok(()) => return Ok(path),
            Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {}
            Err(error) => return Err(error),
        }
    }
    Err(io::ErrorKind::AlreadyExists.into())
}

const PREFIX: &str = ".bailiwick-staging-";
