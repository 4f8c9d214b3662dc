//! The stages in which a layer is encrypted or decrypted.

use oci_crypt::{CipherError, LayerOpener, LayerSealer, SystemRandomness};

use crate::error::ImageError;
use crate::hash::Hasher;
use crate::pipeline::{Piece, Stage};

/// Decrypts the pieces of a layer; then authenticates what they were and digests what they are, which another thread may do.
pub(crate) fn opening<'s>(
    index: usize,
    opener: &'s mut LayerOpener,
    plain: &'s mut Hasher,
) -> [Stage<'s>; 2] {
    let (mut cipher, mut tags) = opener.danger_halves();
    [
        replacing(index, move |input, output| cipher.apply(input, output)),
        reading(index, move |piece| {
            let (plaintext, ciphertext) = piece.with_former();
            plain.update_by(plaintext.len(), |plain| {
                tags.update(ciphertext, plain, plaintext)
            })
        }),
    ]
}

/// Encrypts the pieces of a layer; then authenticates what they are and digests what they were, which another thread may do.
pub(crate) fn sealing<'s>(
    index: usize,
    sealer: &'s mut LayerSealer,
    plain: &'s mut Hasher,
) -> [Stage<'s>; 2] {
    let (mut cipher, mut tags) = sealer.danger_halves();
    [
        replacing(index, move |input, output| cipher.apply(input, output)),
        reading(index, move |piece| {
            let (ciphertext, plaintext) = piece.with_former();
            plain.update_by(plaintext.len(), |plain| {
                tags.update(ciphertext, plain, plaintext)
            })
        }),
    ]
}

/// A fresh key for a layer.
pub(crate) fn sealer() -> Result<LayerSealer, ImageError> {
    LayerSealer::new(&mut SystemRandomness).map_err(|_| ImageError::NoRandomness)
}

/// Encrypts pieces that were digested before.
pub(crate) fn sealing_again(index: usize, sealer: &mut LayerSealer) -> Stage<'_> {
    replacing(index, |input, output| sealer.update(input, output))
}

fn replacing<'s>(
    index: usize,
    mut work: impl FnMut(&[u8], &mut [u8]) -> Result<(), CipherError> + Send + 's,
) -> Stage<'s> {
    Box::new(move |piece| {
        piece
            .replace(&mut work)
            .map_err(|source| ImageError::Cipher { index, source })
    })
}

fn reading<'s>(
    index: usize,
    mut work: impl FnMut(&Piece) -> Result<(), CipherError> + Send + 's,
) -> Stage<'s> {
    Box::new(move |piece| work(piece).map_err(|source| ImageError::Cipher { index, source }))
}
