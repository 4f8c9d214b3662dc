#![doc = include_str!("../README.md")]

#[cfg(any(all(target_arch = "aarch64", target_endian = "little"), test))]
mod arm;
mod backend;
mod blocks;
mod constants;
mod hash;
mod key;
mod portable;
#[cfg(target_arch = "x86_64")]
#[expect(
    unsafe_code,
    reason = "SHA instructions load through pointers and exist on some processors only"
)]
mod x86;

use zeroize::Zeroize;

use crate::backend::Backend;
use crate::constants::INITIAL;
use crate::hash::{Running, outer_hash, to_bytes};
use crate::key::Pads;

/// SHA-256 and HMAC-SHA256 of the same bytes.
///
/// Whoever holds the inner or outer state can forge without the key, so both are erased like it, and there is neither
/// `Debug` nor `Clone`.
pub struct TwinSha256 {
    /// First the digest's state, then the HMAC's inner one.
    running: Running<2>,
    outer: [u32; 8],
}

/// What [`TwinSha256`] found. It can't be compared as a whole, on purpose: an expected `mac` is compared in constant time.
pub struct Twin {
    /// SHA-256.
    pub digest: [u8; 32],
    /// HMAC-SHA256 under the key that [`TwinSha256::new`] was given.
    pub mac: [u8; 32],
}

impl TwinSha256 {
    /// Starts under a key of any length.
    #[must_use]
    pub fn new(hmac_key: &[u8]) -> Self {
        Self::on(Backend::best(), hmac_key)
    }

    fn on(backend: Backend, hmac_key: &[u8]) -> Self {
        let Pads { inner, outer } = Pads::new(backend, hmac_key);
        Self {
            running: Running::new(backend, [INITIAL, inner]),
            outer,
        }
    }

    /// Takes the next piece.
    pub fn update(&mut self, bytes: &[u8]) {
        self.running.update(bytes);
    }

    /// Takes the next piece while `other`, the digest of another message, takes `others`. Where the processor has SHA
    /// instructions this takes little longer than one of them. The pieces may be of any lengths; what is left of the longer
    /// one is taken alone.
    pub fn update_beside(&mut self, bytes: &[u8], other: &mut Sha256, others: &[u8]) {
        self.running
            .update_beside(bytes, &mut other.running, others);
    }

    /// Ends both.
    #[must_use]
    pub fn finish(self) -> Twin {
        // The inner hash has one block, the padded key, before the data.
        let [digest, inner] = self.running.finish([0, BLOCK as u64]);
        let mac = outer_hash(self.running.backend(), self.outer, inner);
        Twin {
            digest: to_bytes(digest),
            mac: to_bytes(mac),
        }
    }
}

impl Drop for TwinSha256 {
    fn drop(&mut self) {
        self.outer.zeroize();
    }
}

/// SHA-256 alone, with the same instructions.
pub struct Sha256 {
    running: Running<1>,
}

impl Sha256 {
    /// Starts.
    #[must_use]
    pub fn new() -> Self {
        Self::on(Backend::best())
    }

    fn on(backend: Backend) -> Self {
        Self {
            running: Running::new(backend, [INITIAL]),
        }
    }

    /// Takes the next piece.
    pub fn update(&mut self, bytes: &[u8]) {
        self.running.update(bytes);
    }

    /// Ends it.
    #[must_use]
    pub fn finish(self) -> [u8; 32] {
        let [digest] = self.running.finish([0]);
        to_bytes(digest)
    }
}

impl Default for Sha256 {
    fn default() -> Self {
        Self::new()
    }
}

/// Bytes of one block.
const BLOCK: usize = 64;
/// The eight words between two blocks.
type State = [u32; 8];
/// What the compression function takes.
type Block = [u8; BLOCK];

#[cfg(test)]
mod tests;
