//! SHA-256 of what comes in pieces.

use std::io;

use estate::Digest;
use oci_crypt::Sha256;

use crate::ports::BlobId;

/// Digest and size of all pieces so far.
pub(crate) struct Hasher {
    hash: Sha256,
    size: u64,
}

impl Hasher {
    pub(crate) fn new() -> Self {
        Self {
            hash: Sha256::new(),
            size: 0,
        }
    }

    pub(crate) fn update(&mut self, bytes: &[u8]) {
        self.hash.update(bytes);
        self.size = self.size.saturating_add(bytes.len() as u64);
    }

    /// Takes `bytes` by way of whoever digests them together with something else.
    pub(crate) fn update_by<T>(&mut self, bytes: usize, take: impl FnOnce(&mut Sha256) -> T) -> T {
        self.size = self.size.saturating_add(bytes as u64);
        take(&mut self.hash)
    }

    pub(crate) fn finish(self) -> BlobId {
        BlobId {
            digest: Digest::from_bytes(self.hash.finish()),
            size: self.size,
        }
    }
}

impl io::Write for Hasher {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.update(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}
