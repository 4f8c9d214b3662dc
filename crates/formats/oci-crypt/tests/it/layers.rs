//! What must work.

use hpke_xwing::Suite;
use jose::jwe::EncryptionKey;
use oci_crypt::*;

use crate::support::{Keys, RESOURCE};

#[test]
fn each_recipient_opens_the_layer() {
    for suite in Suite::ALL {
        let keys = Keys::new(suite);
        let layer = keys.seal(b"a layer", 1, Digest::of(b"config"));
        assert_eq!(layer.open(&keys.opener()).unwrap(), b"a layer");
        assert_eq!(
            layer.open(&JweOpener::new(vec![keys.developer])).unwrap(),
            b"a layer"
        );
    }
}

#[test]
fn annotations_survive_and_others_are_kept() {
    let layer = Keys::new(Suite::X25519).seal(b"a layer", 0, Digest::of(b"config"));
    let read = LayerAnnotations::parse(&layer.annotations).unwrap();
    assert_eq!(read.to_map().unwrap(), layer.annotations);
    assert_eq!(read.schemes(), "jwe, provider.bailiwick");

    let mut mixed = layer.annotations.clone();
    mixed.insert("org.example.note".to_owned(), "kept".to_owned());
    mixed.insert(format!("{PREFIX}future"), "goes".to_owned());
    let plain = without_encryption(&mixed);
    assert_eq!(
        plain.into_iter().collect::<Vec<_>>(),
        [("org.example.note".to_owned(), "kept".to_owned())]
    );
}

#[test]
fn a_recipient_is_added_without_touching_what_peers_wrote() {
    let keys = Keys::new(Suite::X25519);
    let mut layer = keys.seal(b"a layer", 0, Digest::of(b"config"));
    layer
        .annotations
        .insert(format!("{KEYS_PREFIX}pgp"), "AAAA,BBBB".to_owned());
    let (private, public) = open_layer_key("0", &layer.annotations, &[&keys.opener()]).unwrap();

    let newcomer = Keys::new(Suite::XWing);
    let read = LayerAnnotations::parse(&layer.annotations).unwrap();
    let mut packets = read.packets().to_vec();
    packets.push(newcomer.wrapper().wrap(&private).unwrap());
    let wrapper = JweWrapper::new(vec![
        EncryptionKey::from_jwk(newcomer.developer.public_jwk()).unwrap(),
    ]);
    packets.push(wrapper.wrap(&private).unwrap());
    layer.annotations = annotations_of(&public, packets).unwrap();

    assert_eq!(layer.annotations[&format!("{KEYS_PREFIX}pgp")], "AAAA,BBBB");
    for keys in [&keys, &newcomer] {
        assert_eq!(layer.open(&keys.opener()).unwrap(), b"a layer");
    }
    assert_eq!(
        layer
            .open(&JweOpener::new(vec![newcomer.developer]))
            .unwrap(),
        b"a layer"
    );
}

#[test]
fn a_rebound_layer_opens_in_its_new_place_only() {
    let keys = Keys::new(Suite::X25519);
    let mut layer = keys.seal(b"a layer", 0, Digest::of(b"config"));
    let (private, public) = open_layer_key("0", &layer.annotations, &[&keys.opener()]).unwrap();
    let Bound::Full(binding) = private.bound().clone() else {
        panic!("sealed with a binding")
    };
    let moved = Binding {
        index: 2,
        config: Digest::of(b"new config"),
        ..*binding
    };
    layer.annotations =
        seal_annotations(&public, &private.rebound(moved), &[&keys.wrapper()]).unwrap();
    assert!(
        layer
            .open(&keys.opener())
            .unwrap_err()
            .starts_with("binding: layer is bound to config")
    );
    (layer.index, layer.config) = (2, Digest::of(b"new config"));
    assert_eq!(layer.open(&keys.opener()).unwrap(), b"a layer");
}

#[test]
fn a_server_opens_with_its_own_stored_key_and_seals_again() {
    let keys = Keys::new(Suite::XWing);
    let layer = keys.seal(b"a layer", 0, Digest::of(b"config"));
    let read = LayerAnnotations::parse(&layer.annotations).unwrap();
    let packet = read.packets().iter().find_map(|packet| match packet {
        KeyPacket::Bailiwick(packet) => Some(packet.to_bytes()),
        _ => None,
    });
    let packet = BailiwickPacket::parse(&packet.unwrap()).unwrap();
    assert_eq!(packet.resource(), RESOURCE);
    let record = KeyRecord {
        authority: packet.authority().to_owned(),
        key_id: KeyId::of(keys.private().public_key()),
        suite: Suite::XWing,
        resource: RESOURCE.to_owned(),
    };
    let Opening::Opened(options) = packet.open_with(&record, &keys.private()) else {
        panic!("ours")
    };
    let again = PrivateOptions::parse(&options.to_bytes()).unwrap();
    assert_eq!(again.bound(), options.bound());
}
