//! The newest checkpoint in a file that is replaced as a whole.

use std::{
    fs::{self, File},
    io::{self, Read, Write},
    os::unix::fs::OpenOptionsExt,
    path::{Path, PathBuf},
};

use agent::ports::{CheckpointStore, CheckpointStoreError};

/// A file in the agent's state directory.
#[derive(Debug, Clone)]
pub struct FileCheckpoints {
    path: PathBuf,
}

impl FileCheckpoints {
    /// Keeps the checkpoint at `path`; its directory exists.
    pub fn at(path: impl Into<PathBuf>) -> Self {
        Self { path: path.into() }
    }

    fn read(&self) -> io::Result<Option<String>> {
        let file = match File::open(&self.path) {
            Ok(file) => file,
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
            Err(error) => return Err(error),
        };
        let mut text = String::new();
        file.take(MAX_LEN).read_to_string(&mut text)?;
        Ok(Some(text))
    }
}

impl CheckpointStore for FileCheckpoints {
    fn load(&self) -> Result<Option<String>, CheckpointStoreError> {
        self.read().map_err(|error| failed(&self.path, &error))
    }

    fn save(&self, state: &str) -> Result<(), CheckpointStoreError> {
        replace(&self.path, state.as_bytes()).map_err(|error| failed(&self.path, &error))
    }
}

/// Writes beside and renames, so that a crash leaves the old content or the new; readable by this user alone.
pub(super) fn replace(path: &Path, content: &[u8]) -> io::Result<()> {
    let beside = path.with_extension("new");
    let mut file = fs::OpenOptions::new()
        .write(true)
        .create(true)
        .truncate(true)
        .mode(0o600)
        .open(&beside)?;
    file.write_all(content)?;
    file.sync_all()?;
    fs::rename(&beside, path)?;
    match path.parent() {
        Some(parent) => File::open(parent)?.sync_all(),
        None => Ok(()),
    }
}

fn failed(path: &Path, error: &io::Error) -> CheckpointStoreError {
    CheckpointStoreError(format!("`{}`: {error}", path.display()))
}

const MAX_LEN: u64 = 16 * 1024 * 1024;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nothing_was_saved_at_first_and_the_newest_is_found_later() {
        let home = tempfile::tempdir().unwrap();
        let store = FileCheckpoints::at(home.path().join("checkpoint.json"));
        assert_eq!(store.load().unwrap(), None);
        store.save("one").unwrap();
        store.save("two").unwrap();
        assert_eq!(store.load().unwrap().as_deref(), Some("two"));
    }

    #[test]
    fn an_unreadable_file_is_an_error_and_not_nothing() {
        let home = tempfile::tempdir().unwrap();
        assert!(FileCheckpoints::at(home.path()).load().is_err());
    }
}
