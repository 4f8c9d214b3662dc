//! Bytes come in any pieces and go on in whole blocks.

use std::slice;

use zeroize::Zeroize;

use crate::{BLOCK, Block};

/// What is left over from the pieces so far, and how long they were.
pub(crate) struct Pending {
    block: Block,
    /// INVARIANT: less than a block between two calls.
    filled: usize,
    /// Bytes so far. FIPS 180-4 ends at 2^61 bytes, which nobody reaches: decades at any speed known.
    total: u64,
}

impl Pending {
    pub(crate) fn new() -> Self {
        Self {
            block: [0; BLOCK],
            filled: 0,
            total: 0,
        }
    }

    /// Hands on every block that is whole now; those of `bytes` are not copied.
    pub(crate) fn feed(&mut self, bytes: &[u8], mut compress: impl FnMut(&[Block])) {
        let (blocks, rest) = self.begin(bytes, &mut compress);
        if !blocks.is_empty() {
            compress(blocks);
        }
        self.keep(rest);
    }

    /// Hands on the block that was begun, if it is whole now. What it gives is the caller's to finish: the whole blocks that
    /// follow, to compress, and then the rest, for [`keep`](Self::keep).
    pub(crate) fn begin<'b>(
        &mut self,
        bytes: &'b [u8],
        compress: impl FnOnce(&[Block]),
    ) -> (&'b [Block], &'b [u8]) {
        self.total = self.total.wrapping_add(bytes.len() as u64);
        if self.filled == 0 {
            return bytes.as_chunks();
        }
        let (head, rest) = bytes.split_at(bytes.len().min(BLOCK - self.filled));
        self.keep(head);
        if self.filled == BLOCK {
            compress(slice::from_ref(&self.block));
            self.filled = 0;
        }
        rest.as_chunks()
    }

    /// `bytes` fit into what is left of the block.
    pub(crate) fn keep(&mut self, bytes: &[u8]) {
        let free = self.block.iter_mut().skip(self.filled);
        for (to, from) in free.zip(bytes) {
            *to = *from;
        }
        self.filled += bytes.len();
    }

    /// The last one or two blocks (FIPS 180-4, 5.1.1), when `before` bytes came before the first piece.
    pub(crate) fn ending(&self, before: u64) -> Ending {
        let mut bytes = [0; 2 * BLOCK];
        let one = self.block.iter().take(self.filled).chain(&[0x80]);
        for (to, from) in bytes.iter_mut().zip(one) {
            *to = *from;
        }
        let count = if self.filled < BLOCK - LENGTH { 1 } else { 2 };
        let bits = self.total.wrapping_add(before).wrapping_mul(8);
        let end = bytes.iter_mut().take(count * BLOCK).rev();
        for (to, from) in end.zip(bits.to_le_bytes()) {
            *to = from;
        }
        Ending { bytes, count }
    }
}

/// What was kept may be of a key or of a plain layer.
impl Drop for Pending {
    fn drop(&mut self) {
        self.block.zeroize();
    }
}

/// Padded blocks, which hold the message's last bytes.
pub(crate) struct Ending {
    bytes: [u8; 2 * BLOCK],
    count: usize,
}

impl Ending {
    pub(crate) fn blocks(&self) -> &[Block] {
        let (blocks, _) = self.bytes.as_chunks();
        blocks.get(..self.count).unwrap_or(blocks)
    }
}

impl Drop for Ending {
    fn drop(&mut self) {
        self.bytes.zeroize();
    }
}

/// The message's length in bits, at the end of the last block.
const LENGTH: usize = 8;
