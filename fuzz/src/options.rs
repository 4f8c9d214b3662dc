//! Options of layers, public and private, their bindings, and the annotations that carry them.

use std::collections::BTreeMap;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use oci_crypt::{
    Bound, KEYS_PREFIX, LayerAnnotations, MAX_ANNOTATION_LEN, MAX_PACKETS, PUBOPTS, PrivateOptions,
    PublicOptions,
};

use crate::chosen;
use crate::go::Object;

/// Tries one text; says whether it was accepted.
pub fn check(input: &[u8]) -> bool {
    let Some((choice, text)) = chosen(input) else {
        return false;
    };
    match choice % 3 {
        0 => public(text),
        1 => private(text),
        _ => annotations(text),
    }
}

fn public(text: &[u8]) -> bool {
    let Ok(options) = PublicOptions::parse(text) else {
        return false;
    };
    means_the_same_in_go(text, options.hmac());
    let written = options.to_json();
    assert_eq!(PublicOptions::parse(written.as_bytes()), Ok(options));
    true
}

fn means_the_same_in_go(text: &[u8], hmac: &[u8]) {
    let read = Object::of(std::str::from_utf8(text).expect("JSON is UTF-8"));
    assert_eq!(read.text("cipher"), oci_crypt::CIPHER);
    assert_eq!(bytes(&read.text("hmac")), hmac);
    // A public option would win over the secret one.
    assert!(read.object("cipheroptions").texts().is_empty());
}

fn private(text: &[u8]) -> bool {
    let Ok(options) = PrivateOptions::parse(text) else {
        return false;
    };
    assert_eq!(options.expose_bytes(), text, "unknown members are kept");
    let read = Object::of(std::str::from_utf8(text).expect("JSON is UTF-8"));
    assert_eq!(bytes(&read.text("symkey")), options.key().expose_key());
    let nonces: Vec<_> = read
        .object("cipheroptions")
        .texts()
        .into_iter()
        .filter(|(name, _)| name == "nonce")
        .collect();
    assert_eq!(nonces.len(), 1);
    assert_eq!(bytes(&nonces[0].1), options.key().expose_nonce());
    assert_eq!(read.text("digest"), options.digest().unwrap_or_default());
    if let Bound::Full(binding) = options.bound() {
        assert!(binding.index < binding.of);
        let (binding, key) = ((**binding).clone(), *options.key().expose_key());
        let moved = options.rebound(binding.clone());
        let again = PrivateOptions::parse(moved.expose_bytes()).expect("what was written is read");
        assert!(*again.bound() == Bound::Full(Box::new(binding)));
        assert_eq!(*again.key().expose_key(), key);
    }
    true
}

fn annotations(text: &[u8]) -> bool {
    let Ok(map) = serde_json::from_slice::<BTreeMap<String, String>>(text) else {
        return false;
    };
    let Ok(read) = LayerAnnotations::parse(&map) else {
        return false;
    };
    assert!((1..=MAX_PACKETS).contains(&read.packets().len()));
    means_the_same_in_go(&bytes(&map[PUBOPTS]), read.public_options().hmac());
    // Go splits each list, and decodes each element.
    let lists = map.iter().filter(|(name, _)| name.starts_with(KEYS_PREFIX));
    let elements: Vec<_> = lists
        .flat_map(|(name, list)| list.split(',').map(move |one| (name, bytes(one))))
        .collect();
    assert_eq!(elements.len(), read.packets().len());
    for ((name, bytes), packet) in elements.iter().zip(read.packets()) {
        assert_eq!(**name, format!("{KEYS_PREFIX}{}", packet.scheme()));
        assert!(!bytes.is_empty());
    }
    // Written by us, an element can be longer than it was.
    let Ok(written) = read.to_map() else {
        return true;
    };
    assert!(
        written
            .values()
            .all(|value| value.len() <= MAX_ANNOTATION_LEN)
    );
    let again = LayerAnnotations::parse(&written).expect("what was written is read");
    assert_eq!(again, read);
    true
}

fn bytes(text: &str) -> Vec<u8> {
    STANDARD.decode(text).expect("base64 was accepted")
}
