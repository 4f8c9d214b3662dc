//! The layer cipher as two state machines over the caller's buffers: no I/O, no allocation per call.

use aws_lc_rs::cipher::{AES_256, EncryptionContext, StreamingEncryptingKey, UnboundCipherKey};
use aws_lc_rs::constant_time::verify_slices_are_equal;
use aws_lc_rs::rand;
use twin_sha256::{Sha256, Twin, TwinSha256};
use zeroize::Zeroizing;

use crate::binding::Bound;
use crate::digest::Digest;
use crate::options::{LayerKey, PrivateOptions, PublicOptions};

/// Why a layer was not sealed or opened.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum CipherError {
    /// Fault: the caller; ciphertext is as long as plaintext, so both buffers must be.
    #[error("input has {input} bytes and output has room for {output}")]
    Lengths {
        /// Length of the input.
        input: usize,
        /// Length of the output.
        output: usize,
    },
    /// Fault: the caller; each half of the work must see every piece.
    #[error("{cipher} bytes went through the cipher and {tags} were authenticated")]
    Halves {
        /// Bytes encrypted or decrypted.
        cipher: u64,
        /// Bytes authenticated.
        tags: u64,
    },
    /// Fault: whoever changed the layer, or its key is another layer's.
    #[error("layer was altered: its HMAC does not verify")]
    Altered,
    /// Fault: this machine; its cryptographic library refused.
    #[error("cipher failed")]
    Failed,
}

/// No random bytes came.
///
/// Fault: this machine.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("no random bytes could be had")]
pub struct NoRandomness;

/// Where keys and nonces come from.
pub trait Randomness {
    /// Fills the buffer with bytes that nobody can foresee and that never repeat.
    fn fill(&mut self, buffer: &mut [u8]) -> Result<(), NoRandomness>;
}

/// The operating system's randomness.
#[derive(Debug, Clone, Copy, Default)]
pub struct SystemRandomness;

impl Randomness for SystemRandomness {
    fn fill(&mut self, buffer: &mut [u8]) -> Result<(), NoRandomness> {
        rand::fill(buffer).map_err(|_| NoRandomness)
    }
}

/// Encrypts one layer.
///
/// CTR mode with a repeated key and nonce reveals the XOR of two layers. A sealer makes its own key, takes none from
/// outside and is consumed by [`Self::finish`], so one key can never meet a second layer.
pub struct LayerSealer {
    cipher: CounterMode,
    tags: Tags,
    key: LayerKey,
}

/// What sealing a layer leaves behind.
pub struct Finished {
    /// HMAC-SHA256 of the ciphertext.
    pub hmac: [u8; 32],
    /// SHA-256 of the ciphertext: the descriptor's digest.
    pub digest: Digest,
    /// Length of the ciphertext, which is the plaintext's.
    pub size: u64,
    /// The layer's key.
    pub key: LayerKey,
}

impl LayerSealer {
    /// Starts a layer under a fresh key and nonce.
    pub fn new(randomness: &mut dyn Randomness) -> Result<Self, NoRandomness> {
        let mut key = Zeroizing::new([0; 32]);
        let mut nonce = Zeroizing::new([0; 16]);
        randomness.fill(key.as_mut_slice())?;
        randomness.fill(nonce.as_mut_slice())?;
        let key = LayerKey::new(key, nonce);
        let cipher = CounterMode::new(&key).map_err(|_| NoRandomness)?;
        Ok(Self {
            cipher,
            tags: Tags::new(&key),
            key,
        })
    }

    /// Encrypts the next piece; `output` is as long as `input`.
    pub fn update(&mut self, input: &[u8], output: &mut [u8]) -> Result<(), CipherError> {
        pieces(input, output, |input, output| {
            self.cipher.apply(input, output)?;
            self.tags.update(output);
            Ok(())
        })
    }

    /// Both halves of the work, for two threads; the second one digests the plaintext as well.
    ///
    /// Dangerous: each piece of the ciphertext must be seen by both, in order. [`Self::finish`] compares how many bytes they saw,
    /// and not which: what only the cipher saw is authentic to nobody.
    pub fn danger_halves(&mut self) -> (CipherHalf<'_>, TagsHalf<'_>) {
        (CipherHalf(&mut self.cipher), TagsHalf(&mut self.tags))
    }

    /// Ends the layer.
    pub fn finish(self) -> Result<Finished, CipherError> {
        let Self { cipher, tags, key } = self;
        let (hmac, Verified { digest, size }) = tags.finish(&cipher)?;
        Ok(Finished {
            hmac,
            digest,
            size,
            key,
        })
    }
}

impl Finished {
    /// Options for the annotation and for the packets; `plain` is the digest of the plain layer.
    pub fn into_options(self, plain: Digest, bound: Bound) -> (PublicOptions, PrivateOptions) {
        let Self {
            hmac,
            digest: _,
            size: _,
            key,
        } = self;
        (
            PublicOptions::new(hmac),
            PrivateOptions::new(key, plain, bound),
        )
    }
}

/// Decrypts one layer. Nothing that [`Self::update`] gives is authentic before [`Self::finish`] has said so: whoever
/// releases plaintext earlier must at least hold back the last piece.
pub struct LayerOpener {
    cipher: CounterMode,
    tags: Tags,
    hmac: [u8; 32],
}

/// What was verified about a ciphertext.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Verified {
    /// SHA-256 of the ciphertext, to be compared with the descriptor.
    pub digest: Digest,
    /// Length of the ciphertext.
    pub size: u64,
}

impl LayerOpener {
    /// Starts a layer under its key; the HMAC comes from the public options.
    pub fn new(key: &LayerKey, public: &PublicOptions) -> Result<Self, CipherError> {
        Ok(Self {
            cipher: CounterMode::new(key)?,
            tags: Tags::new(key),
            hmac: *public.hmac(),
        })
    }

    /// Decrypts the next piece; `output` is as long as `input`.
    pub fn update(&mut self, input: &[u8], output: &mut [u8]) -> Result<(), CipherError> {
        pieces(input, output, |input, output| {
            self.tags.update(input);
            self.cipher.apply(input, output)
        })
    }

    /// Both halves of the work, for two threads; the second one digests the plaintext as well.
    ///
    /// Dangerous: each piece of the ciphertext must be seen by both, in order. [`Self::finish`] compares how many bytes they saw,
    /// and not which: what only the cipher saw is authentic to nobody.
    pub fn danger_halves(&mut self) -> (CipherHalf<'_>, TagsHalf<'_>) {
        (CipherHalf(&mut self.cipher), TagsHalf(&mut self.tags))
    }

    /// Verifies the HMAC, in constant time.
    pub fn finish(self) -> Result<Verified, CipherError> {
        let Self { cipher, tags, hmac } = self;
        let (found, verified) = tags.finish(&cipher)?;
        verify(&found, &hmac)?;
        Ok(verified)
    }
}

/// Encrypts or decrypts.
pub struct CipherHalf<'l>(&'l mut CounterMode);

impl CipherHalf<'_> {
    /// The next piece; `output` is as long as `input`.
    pub fn apply(&mut self, input: &[u8], output: &mut [u8]) -> Result<(), CipherError> {
        pieces(input, output, |input, output| self.0.apply(input, output))
    }
}

/// Authenticates and digests.
pub struct TagsHalf<'l>(&'l mut Tags);

impl TagsHalf<'_> {
    /// The next piece of ciphertext; `plain` takes its plaintext, which is as long, in the same pass and little more time.
    pub fn update(
        &mut self,
        ciphertext: &[u8],
        plain: &mut Sha256,
        plaintext: &[u8],
    ) -> Result<(), CipherError> {
        same_length(ciphertext, plaintext)?;
        self.0.update_beside(ciphertext, plain, plaintext);
        Ok(())
    }
}

/// Verifies a ciphertext without decrypting it, for those who look before they release anything.
pub struct LayerVerifier {
    tags: Tags,
    hmac: [u8; 32],
}

impl LayerVerifier {
    /// Starts a layer under its key; the HMAC comes from the public options.
    pub fn new(key: &LayerKey, public: &PublicOptions) -> Self {
        Self {
            tags: Tags::new(key),
            hmac: *public.hmac(),
        }
    }

    /// Takes the next piece of ciphertext.
    pub fn update(&mut self, ciphertext: &[u8]) {
        self.tags.update(ciphertext);
    }

    /// Verifies the HMAC, in constant time.
    pub fn finish(self) -> Result<Verified, CipherError> {
        let Self { tags, hmac } = self;
        let (found, verified) = tags.end();
        verify(&found, &hmac)?;
        Ok(verified)
    }
}

/// HMAC and SHA-256 over the same ciphertext.
struct Tags {
    twin: TwinSha256,
    size: u64,
}

impl Tags {
    fn new(key: &LayerKey) -> Self {
        Self {
            twin: TwinSha256::new(key.expose_key()),
            size: 0,
        }
    }

    fn update(&mut self, ciphertext: &[u8]) {
        self.twin.update(ciphertext);
        self.size += ciphertext.len() as u64;
    }

    fn update_beside(&mut self, ciphertext: &[u8], plain: &mut Sha256, plaintext: &[u8]) {
        self.twin.update_beside(ciphertext, plain, plaintext);
        self.size += ciphertext.len() as u64;
    }

    /// Of a layer that went through a cipher as well, all of it.
    fn finish(self, cipher: &CounterMode) -> Result<([u8; 32], Verified), CipherError> {
        match cipher.done == self.size {
            true => Ok(self.end()),
            false => Err(CipherError::Halves {
                cipher: cipher.done,
                tags: self.size,
            }),
        }
    }

    fn end(self) -> ([u8; 32], Verified) {
        let Twin { digest, mac } = self.twin.finish();
        let verified = Verified {
            digest: Digest::from_sha256(digest),
            size: self.size,
        };
        (mac, verified)
    }
}

fn verify(found: &[u8; 32], expected: &[u8; 32]) -> Result<(), CipherError> {
    verify_slices_are_equal(found, expected).map_err(|_| CipherError::Altered)
}

/// AES-256-CTR with a 128-bit big-endian counter that starts at the nonce; encrypting and decrypting are the same.
struct CounterMode {
    key: StreamingEncryptingKey,
    /// Bytes so far.
    done: u64,
}

impl CounterMode {
    fn new(key: &LayerKey) -> Result<Self, CipherError> {
        let context = EncryptionContext::Iv128(key.expose_nonce().into());
        UnboundCipherKey::new(&AES_256, key.expose_key())
            .and_then(|key| StreamingEncryptingKey::less_safe_ctr(key, context))
            .map(|key| Self { key, done: 0 })
            .map_err(|_| CipherError::Failed)
    }

    /// The library wants room up to the next block's end. What ends on a block goes straight to the output, the rest
    /// through a small buffer.
    fn apply(&mut self, input: &[u8], output: &mut [u8]) -> Result<(), CipherError> {
        let beyond = (self.offset() + input.len()) % BLOCK;
        let aligned = input.len().saturating_sub(beyond);
        let (head, tail) = input.split_at(aligned);
        let (head_out, tail_out) = output.split_at_mut(aligned);
        self.step(head, head_out)?;
        if tail.is_empty() {
            return Ok(());
        }
        let mut room = Zeroizing::new([0; 2 * BLOCK]);
        self.step(tail, room.as_mut_slice())?;
        tail_out.copy_from_slice(room.get(..tail.len()).ok_or(CipherError::Failed)?);
        Ok(())
    }

    fn step(&mut self, input: &[u8], output: &mut [u8]) -> Result<(), CipherError> {
        if input.is_empty() {
            return Ok(());
        }
        let written = self
            .key
            .less_safe_update(input, output)
            .map_err(|_| CipherError::Failed)?;
        if written.written().len() != input.len() {
            return Err(CipherError::Failed);
        }
        self.done += input.len() as u64;
        Ok(())
    }

    /// Into the block that is begun.
    fn offset(&self) -> usize {
        (self.done % BLOCK as u64) as usize
    }
}

const BLOCK: usize = 16;
/// Of `update`. A multiple of all blocks, and small: whichever of cipher and hash comes second finds the piece in the first cache, and what
/// the cipher wrote into memory that is not cached goes there while the next piece is hashed. Measured from 1 to 256 KiB: 4 and
/// 8 are the fastest, and opening into fresh memory loses 3 % at 16 and 5 % at 64.
const PIECE: usize = 8 * 1024;

fn same_length(input: &[u8], output: &[u8]) -> Result<(), CipherError> {
    match input.len() == output.len() {
        true => Ok(()),
        false => Err(CipherError::Lengths {
            input: input.len(),
            output: output.len(),
        }),
    }
}

fn pieces(
    input: &[u8],
    output: &mut [u8],
    mut each: impl FnMut(&[u8], &mut [u8]) -> Result<(), CipherError>,
) -> Result<(), CipherError> {
    same_length(input, output)?;
    input
        .chunks(PIECE)
        .zip(output.chunks_mut(PIECE))
        .try_for_each(|(input, output)| each(input, output))
}

#[cfg(test)]
mod tests;
