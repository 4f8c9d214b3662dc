//! Ciphertext put aside until all of it was verified; for layers whose key is bound to nothing. Plaintext never touches a disk.

use std::{
    fs::File,
    io::{Cursor, Read, Seek, SeekFrom, Write},
    path::PathBuf,
};

use evidence::request::LayerDescriptor;
use oci_crypt::LayerVerifier;

use super::{decode::check_end, refusal::Refusal};

/// How much is put aside, and where.
#[derive(Debug, Clone)]
pub(super) struct Spool {
    /// Up to this many bytes stay in memory.
    pub(super) memory: u64,
    /// Up to this many bytes go to a file without a name.
    pub(super) disk: u64,
    /// The folder of that file.
    pub(super) folder: PathBuf,
}

impl Spool {
    /// 8 MiB in memory, 4 GiB on disk.
    pub(super) fn in_folder(folder: PathBuf) -> Self {
        Self {
            memory: 8 * 1024 * 1024,
            disk: 4 * 1024 * 1024 * 1024,
            folder,
        }
    }

    /// Reads all ciphertext, verifies it, and gives it again.
    pub(super) fn verified(
        &self,
        mut verifier: LayerVerifier,
        layer: &LayerDescriptor,
        ciphertext: &mut dyn Read,
    ) -> Result<Box<dyn Read>, Refusal> {
        if layer.size > self.disk.max(self.memory) {
            return Err(Refusal::TooLargeToVerify { size: layer.size });
        }
        let mut aside = self.place(layer.size)?;
        let mut buffer = vec![0; BUFFER];
        let mut total = 0u64;
        loop {
            let count = match ciphertext.read(&mut buffer) {
                Ok(0) => break,
                Ok(count) => count,
                Err(error) if error.kind() == std::io::ErrorKind::Interrupted => continue,
                Err(error) => return Err(Refusal::Read(error)),
            };
            total += count as u64;
            if total > layer.size {
                return Err(Refusal::TooLong {
                    expected: layer.size,
                });
            }
            let piece = buffer.get(..count).unwrap_or_default();
            verifier.update(piece);
            aside.write(piece).map_err(|source| Refusal::Spool {
                path: self.folder.clone(),
                source,
            })?;
        }
        check_end(total, layer, verifier.finish())?;
        aside.rewind().map_err(|source| Refusal::Spool {
            path: self.folder.clone(),
            source,
        })
    }

    fn place(&self, size: u64) -> Result<Aside, Refusal> {
        if size <= self.memory {
            return Ok(Aside::Memory(Vec::new()));
        }
        let file = tempfile::tempfile_in(&self.folder);
        file.map(Aside::Disk).map_err(|source| Refusal::Spool {
            path: self.folder.clone(),
            source,
        })
    }
}

enum Aside {
    Memory(Vec<u8>),
    Disk(File),
}

impl Aside {
    fn write(&mut self, piece: &[u8]) -> std::io::Result<()> {
        match self {
            Self::Memory(bytes) => bytes.extend_from_slice(piece),
            Self::Disk(file) => file.write_all(piece)?,
        }
        Ok(())
    }

    fn rewind(self) -> std::io::Result<Box<dyn Read>> {
        match self {
            Self::Memory(bytes) => Ok(Box::new(Cursor::new(bytes))),
            Self::Disk(mut file) => {
                file.seek(SeekFrom::Start(0))?;
                Ok(Box::new(file))
            }
        }
    }
}

const BUFFER: usize = 256 * 1024;
