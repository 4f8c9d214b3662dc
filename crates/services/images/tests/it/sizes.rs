//! Layers of every size class, on one thread and on several: the bytes are those of the plain way, and keys are opened once.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicUsize, Ordering};

use estate::Digest;
use images::{DecryptOptions, ImageError, RekeyOptions, Silent, decrypt, media, rekey};
use oci_crypt::{KeyPacket, LayerOpener, Opening, PacketOpener, open_layer_key};
use serde_json::Value;

use crate::build::{GZIP, Person, TAR, ZSTD, content, manifest, raw};
use crate::memory::Memory;

const PIECE: usize = 256 * 1024;

/// Around the lengths at which something changes: blocks, pieces, and the size from which threads help each other.
const SIZES: [usize; 10] = [
    100,
    10_000,
    PIECE - 1,
    PIECE,
    PIECE + 1,
    4 * PIECE - 1,
    4 * PIECE,
    4 * PIECE + 1,
    5 * PIECE + 17,
    21 * PIECE + 3,
];

fn image_of(layers: &[(&str, Vec<u8>)]) -> Memory {
    let memory = Memory::default();
    let json = manifest(&memory, "sizes", layers);
    memory.set_root(raw(media::OCI_MANIFEST, &json));
    memory
}

fn layers(image: &Memory) -> Vec<Value> {
    image.root_json()["layers"].as_array().unwrap().clone()
}

fn blob(image: &Memory, layer: &Value) -> Vec<u8> {
    image.get_blob(layer["digest"].as_str().unwrap())
}

/// The layer, decrypted in one step by the format's own state machine.
fn slowly_decrypted(image: &Memory, layer: &Value, opener: &dyn PacketOpener) -> Vec<u8> {
    let annotations: BTreeMap<String, String> =
        serde_json::from_value(layer["annotations"].clone()).unwrap();
    let (private, public) = open_layer_key("0", &annotations, &[opener]).unwrap();
    let ciphertext = blob(image, layer);
    let mut plain = vec![0; ciphertext.len()];
    let mut opener = LayerOpener::new(private.key(), &public).unwrap();
    opener.update(&ciphertext, &mut plain).unwrap();
    let verified = opener.finish().unwrap();
    let digest = Digest::from_bytes(*verified.digest.as_bytes());
    assert_eq!(layer["digest"], digest.to_string());
    assert_eq!(private.digest().unwrap(), Digest::of(&plain).to_string());
    plain
}

fn comes_back(plain: &Memory) {
    let person = Person::new();
    let encrypted = person.encrypts(plain);
    for (before, after) in layers(plain).iter().zip(layers(&encrypted)) {
        let opened = slowly_decrypted(&encrypted, &after, &person.opener());
        assert!(opened == blob(plain, before));
    }
    let (result, back) = person.decrypts(&encrypted);
    result.unwrap();
    assert_eq!(back.root_json(), plain.root_json());
    for layer in layers(plain) {
        assert!(blob(&back, &layer) == blob(plain, &layer));
    }
}

#[test]
fn a_layer_of_every_size_comes_back_and_is_what_the_plain_way_makes_of_it() {
    for media_type in [TAR, GZIP, ZSTD] {
        for size in SIZES {
            let mut bytes = content("sizes", size);
            bytes.truncate(size);
            comes_back(&image_of(&[(media_type, bytes)]));
        }
    }
}

#[test]
fn layers_of_all_sizes_side_by_side_come_back() {
    let layers: Vec<_> = SIZES
        .iter()
        .enumerate()
        .map(|(index, size)| {
            let media_type = [TAR, GZIP, ZSTD][index % 3];
            (media_type, content(&format!("layer {index}"), *size))
        })
        .collect();
    comes_back(&image_of(&layers));
}

#[test]
fn a_changed_bit_in_any_piece_of_a_large_layer_is_never_published() {
    let person = Person::new();
    let encrypted = person.encrypts(&image_of(&[(TAR, content("large", 6 * PIECE + 9))]));
    let layer = layers(&encrypted).remove(0);
    let ciphertext = blob(&encrypted, &layer);
    for at in (0..7)
        .map(|piece| piece * PIECE)
        .chain([ciphertext.len() - 1])
    {
        let mut changed = ciphertext.clone();
        changed[at] ^= 1;
        let attacked = encrypted.clone();
        attacked.replace_blob(layer["digest"].as_str().unwrap(), changed);
        let (result, target) = person.decrypts(&attacked);
        assert!(matches!(result, Err(ImageError::Cipher { index: 0, .. })));
        assert!(!target.is_published());
        assert_eq!(target.written().1, 1, "only the configuration has a name");
    }
}

/// Counts how often it is asked.
struct Counting<O> {
    opener: O,
    asked: AtomicUsize,
}

impl<O: PacketOpener> Counting<O> {
    fn new(opener: O) -> Self {
        Self {
            opener,
            asked: AtomicUsize::new(0),
        }
    }

    fn asked(&self) -> usize {
        self.asked.swap(0, Ordering::Relaxed)
    }
}

impl<O: PacketOpener> PacketOpener for Counting<O> {
    fn open(&self, packet: &KeyPacket) -> Opening {
        self.asked.fetch_add(1, Ordering::Relaxed);
        self.opener.open(packet)
    }
}

#[test]
fn the_key_of_a_layer_is_opened_once_and_by_whoever_opened_the_last() {
    let person = Person::new();
    let layers: Vec<_> = (0..12)
        .map(|number| (TAR, content(&number.to_string(), 100)))
        .collect();
    let encrypted = person.encrypts(&image_of(&layers));
    let strangers = [0; 3].map(|_| Counting::new(Person::new().opener()));
    let ours = Counting::new(person.opener());
    let openers = || -> Vec<&dyn PacketOpener> {
        let strangers = strangers.iter().map(|opener| opener as &dyn PacketOpener);
        strangers.chain([&ours as &dyn PacketOpener]).collect()
    };
    let once = || {
        assert_eq!(ours.asked(), 12);
        for stranger in &strangers {
            assert_eq!(stranger.asked(), 1, "only for the first layer");
        }
    };
    let options = DecryptOptions::default();
    decrypt(&encrypted, &Memory::default(), &openers(), options, &Silent).unwrap();
    once();
    let options = RekeyOptions {
        openers: openers(),
        ..RekeyOptions::default()
    };
    let target = Memory::default();
    rekey(&encrypted, &target, &person.recipients(), &options, &Silent).unwrap();
    once();
}
