//! The bytes that go from stage to stage, in two buffers that are used again and again.

use std::ops::Deref;

use crate::error::ImageError;
use crate::ports::BlobReader;

/// Some bytes of a blob, and room for what becomes of them.
pub(crate) struct Piece {
    bytes: Box<[u8]>,
    room: Box<[u8]>,
    length: usize,
}

impl Piece {
    pub(super) fn new() -> Self {
        Self {
            bytes: vec![0; PIECE].into(),
            room: vec![0; PIECE].into(),
            length: 0,
        }
    }

    /// Puts other bytes, of the same number, into the place of these; gives `work` both.
    pub(crate) fn replace<E>(
        &mut self,
        work: impl FnOnce(&[u8], &mut [u8]) -> Result<(), E>,
    ) -> Result<(), E> {
        let (bytes, _) = self.bytes.split_at(self.length);
        let (room, _) = self.room.split_at_mut(self.length);
        work(bytes, room)?;
        std::mem::swap(&mut self.bytes, &mut self.room);
        Ok(())
    }

    /// The bytes, and those whose place they took: for the stage directly after the one that replaced them.
    pub(crate) fn with_former(&self) -> (&[u8], &[u8]) {
        (self, self.room.split_at(self.length).0)
    }

    /// Fills it as far as the stream goes; `true` at its end.
    pub(super) fn fill(&mut self, reader: &mut dyn BlobReader) -> Result<bool, ImageError> {
        self.length = 0;
        while let Some(rest) = self
            .bytes
            .get_mut(self.length..)
            .filter(|rest| !rest.is_empty())
        {
            match reader.read(rest).map_err(ImageError::Source)? {
                0 => return Ok(true),
                count => self.length += count,
            }
        }
        Ok(false)
    }
}

impl Deref for Piece {
    type Target = [u8];

    fn deref(&self) -> &[u8] {
        self.bytes.split_at(self.length).0
    }
}

/// With its room for the other form it fits a core's own cache. From 64 KiB to 1 MiB it makes no difference: docs/why/image-speed.md.
pub(super) const PIECE: usize = 256 * 1024;
