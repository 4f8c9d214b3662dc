//! SHA-256 of what comes in pieces.

use std::io;

use aws_lc_rs::digest::{Context, SHA256};
use estate::Digest;

use crate::ports::BlobId;

/// Digest and size of all pieces so far. aws-lc is as fast as `twin-sha256`'s single hash where the processor has SHA instructions, and
/// faster where it has none.
pub(crate) struct Hasher {
    context: Context,
    size: u64,
}

impl Hasher {
    pub(crate) fn new() -> Self {
        Self {
            context: Context::new(&SHA256),
            size: 0,
        }
    }

    pub(crate) fn update(&mut self, bytes: &[u8]) {
        self.context.update(bytes);
        self.size = self.size.saturating_add(bytes.len() as u64);
    }

    pub(crate) fn finish(self) -> BlobId {
        let mut digest = [0; 32];
        digest.copy_from_slice(self.context.finish().as_ref());
        BlobId {
            digest: Digest::from_bytes(digest),
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
