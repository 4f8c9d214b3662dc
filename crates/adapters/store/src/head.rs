//! The head file: the newest checkpoint outside the database. An old database that is put back is then noticed.

use std::{
    fs, io,
    io::Write,
    os::unix::fs::OpenOptionsExt,
    path::{Path, PathBuf},
    time::Duration,
};

use tlog::{Checkpoint, CheckpointError, Note, VerifiedCheckpoint, VerifierKey};
use tokio::time::Instant;

use crate::OpenError;

/// Keeps the file up to date.
pub(crate) struct HeadFile {
    path: PathBuf,
    synced: Option<Instant>,
}

impl HeadFile {
    pub(crate) fn new(path: PathBuf) -> Self {
        Self { path, synced: None }
    }

    /// Replaces the file's content. Every commit is written, so a killed process loses nothing; it is synced once a
    /// second, so a power cut loses a second of the comparison and never a leaf.
    pub(crate) fn write(&mut self, checkpoint: &str) -> io::Result<()> {
        let fresh = self.path.with_extension("new");
        let mut file = fs::OpenOptions::new()
            .write(true)
            .create(true)
            .truncate(true)
            .mode(0o600)
            .open(&fresh)?;
        file.write_all(checkpoint.as_bytes())?;
        if self.synced.is_none_or(|at| at.elapsed() >= SYNC_EVERY) {
            file.sync_data()?;
            self.synced = Some(Instant::now());
        }
        fs::rename(&fresh, &self.path)
    }
}

/// The checkpoint in the file. A file that is absent or empty, as a power cut may leave it, says nothing.
pub(crate) fn read(
    path: &Path,
    log: &VerifierKey,
) -> Result<Option<VerifiedCheckpoint>, OpenError> {
    let text = match fs::read_to_string(path) {
        Ok(text) => text,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
        Err(source) => {
            return Err(OpenError::File {
                path: path.to_owned(),
                source,
            });
        }
    };
    if text.is_empty() {
        return Ok(None);
    }
    let refused = |source| OpenError::HeadFile {
        path: path.to_owned(),
        source,
    };
    let note = Note::parse(&text).map_err(|error| refused(CheckpointError::Note(error)))?;
    Checkpoint::open(&note, log).map(Some).map_err(refused)
}

const SYNC_EVERY: Duration = Duration::from_secs(1);
