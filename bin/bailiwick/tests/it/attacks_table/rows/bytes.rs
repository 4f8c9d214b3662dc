//! Changed bytes of layers, as whoever keeps them could change them.

use std::fs;

use fixture::Image;

use super::super::bench::{Attack, on_bound, on_unbound};

/// A change of a layer's ciphertext: what it is when nothing else changes, when the manifest is made to fit, and when in
/// addition the layer's key is bound to nothing.
type Change = ([&'static str; 3], fn(&mut Vec<u8>));

const CHANGES: [Change; 5] = [
    (
        [
            "a bit flipped at the start of a layer",
            "a bit flipped at the start, digest made to fit",
            "a bit flipped at the start of an unbound layer, digest made to fit",
        ],
        |bytes| flip(bytes, |_| 0),
    ),
    (
        [
            "a bit flipped in the middle",
            "a bit flipped in the middle, digest made to fit",
            "a bit flipped in the middle of an unbound layer, digest made to fit",
        ],
        |bytes| flip(bytes, |length| length / 2),
    ),
    (
        [
            "a bit flipped at the end",
            "a bit flipped at the end, digest made to fit",
            "a bit flipped at the end of an unbound layer, digest made to fit",
        ],
        |bytes| flip(bytes, |length| length - 1),
    ),
    (
        [
            "a layer cut short",
            "a layer cut short, digest and size made to fit",
            "an unbound layer cut short, digest and size made to fit",
        ],
        |bytes| bytes.truncate(bytes.len() - 1),
    ),
    (
        [
            "a byte behind the layer's end",
            "a byte behind the layer's end, digest and size made to fit",
            "a byte behind an unbound layer's end, digest and size made to fit",
        ],
        |bytes| bytes.push(0),
    ),
];

pub(crate) fn attacks() -> Vec<Attack> {
    let attacks = CHANGES
        .iter()
        .flat_map(|([rotten, fitted, unbound], change)| {
            [
                on_bound(
                    rotten,
                    (
                        &[
                            "other bytes came than were asked for",
                            "has another size",
                            "not those of its digest",
                            "did not decrypt",
                            "fails its cipher",
                            "the layer ends after",
                            "the layer is longer",
                        ],
                        "the HMAC; the descriptor's digest and size",
                    ),
                    Some(0),
                    move |_, image| rot(image, change),
                ),
                on_bound(
                    fitted,
                    (
                        &["bound to ciphertext"],
                        "the binding: ciphertext, before the first byte",
                    ),
                    Some(0),
                    move |_, image| image.replace_layer(0, change),
                ),
                on_unbound(
                    unbound,
                    (
                        &["fails its cipher", "did not decrypt"],
                        "the HMAC, before the first byte",
                    ),
                    Some(0),
                    move |_, image| image.replace_layer(0, change),
                ),
            ]
        });
    attacks.collect()
}

/// Under the old name.
fn rot(image: &Image, change: &fn(&mut Vec<u8>)) {
    let path = image.blob_path(&image.layers()[0]);
    let mut bytes = fs::read(&path).unwrap();
    change(&mut bytes);
    fs::write(path, bytes).unwrap();
}

fn flip(bytes: &mut [u8], offset: fn(usize) -> usize) {
    let offset = offset(bytes.len());
    bytes[offset] ^= 1;
}
