//! A packet opens for its record and for nothing else.

use proptest::prelude::*;
use serde_json::Value;

use super::*;
use crate::binding::Bound;
use crate::cipher::{LayerSealer, SystemRandomness};
use crate::digest::Digest;

const AUTHORITY: &str = "spiffe://prod.example";
const RESOURCE: &str = "medrec";

fn options() -> PrivateOptions {
    let finished = LayerSealer::new(&mut SystemRandomness)
        .unwrap()
        .finish()
        .unwrap();
    finished.into_options(Digest::of(b""), Bound::Unbound).1
}

fn record(key: &PrivateKey) -> KeyRecord {
    KeyRecord {
        authority: AUTHORITY.to_owned(),
        key_id: KeyId::of(key.public_key()),
        suite: key.public_key().suite(),
        resource: RESOURCE.to_owned(),
    }
}

fn sealed(suite: Suite) -> (BailiwickPacket, PrivateKey) {
    let key = PrivateKey::generate(suite).unwrap();
    (
        BailiwickPacket::seal(&options(), AUTHORITY, RESOURCE, key.public_key()).unwrap(),
        key,
    )
}

fn changed(packet: &BailiwickPacket, change: impl FnOnce(&mut Value)) -> Vec<u8> {
    let mut value = serde_json::from_slice(&packet.to_bytes()).unwrap();
    change(&mut value);
    serde_json::to_vec(&value).unwrap()
}

#[test]
fn both_suites_survive() {
    for suite in Suite::ALL {
        let key = PrivateKey::generate(suite).unwrap();
        let options = options();
        let packet =
            BailiwickPacket::seal(&options, AUTHORITY, RESOURCE, key.public_key()).unwrap();
        let packet = BailiwickPacket::parse(&packet.to_bytes()).unwrap();
        let Opening::Opened(opened) = packet.open_with(&record(&key), &key) else {
            panic!("{suite}")
        };
        assert_eq!(opened.expose_bytes(), options.expose_bytes());
    }
}

#[test]
fn aad_and_info_are_those_of_the_design() {
    let (packet, key) = sealed(Suite::X25519);
    let key_id = hex::encode(Digest::of(key.public_key().to_bytes()).as_bytes());
    let aad = format!(
        r#"{{"authority":"spiffe://prod.example","key":"{key_id}","resource":"medrec","suite":"x25519-hkdfsha256-aes256gcm","v":1}}"#
    );
    assert_eq!(String::from_utf8(packet.aad()).unwrap(), aad);
    assert_eq!(
        packet.info(),
        b"bailiwick/image-key/v1\0spiffe://prod.example\0x25519-hkdfsha256-aes256gcm"
    );
    let opened = open(
        &key,
        packet.enc(),
        &packet.info(),
        &packet.aad(),
        packet.ct(),
    )
    .unwrap();
    assert!(PrivateOptions::parse(&opened).is_ok());
}

#[test]
fn packets_for_others_are_left_alone() {
    let (packet, key) = sealed(Suite::XWing);
    let ours = record(&key);
    let other_key = PrivateKey::generate(Suite::XWing).unwrap();
    for other in [
        KeyRecord {
            authority: "spiffe://other.example".to_owned(),
            ..ours.clone()
        },
        KeyRecord {
            suite: Suite::X25519,
            ..ours.clone()
        },
        KeyRecord {
            key_id: KeyId::of(other_key.public_key()),
            ..ours.clone()
        },
    ] {
        assert!(
            matches!(packet.open_with(&other, &key), Opening::NotOurs),
            "{other:?}"
        );
    }
    let unknown = changed(&packet, |value| value["suite"] = "rot13".into());
    let unknown = BailiwickPacket::parse(&unknown).unwrap();
    assert!(matches!(unknown.open_with(&ours, &key), Opening::NotOurs));
    assert!(matches!(
        BailiwickOpener::new(ours, key).open(&KeyPacket::Jwe(Vec::new())),
        Opening::NotOurs
    ));
}

#[test]
fn the_suite_in_the_packet_cannot_choose() {
    // Both suites' names are known; the packet claims the other one, the record stands.
    let (packet, key) = sealed(Suite::X25519);
    let claimed = changed(&packet, |value| value["suite"] = Suite::XWing.name().into());
    let claimed = BailiwickPacket::parse(&claimed).unwrap();
    assert!(matches!(
        claimed.open_with(&record(&key), &key),
        Opening::NotOurs
    ));
    let believing = KeyRecord {
        suite: Suite::XWing,
        ..record(&key)
    };
    assert!(matches!(
        claimed.open_with(&believing, &key),
        Opening::Failed(PacketError::Record)
    ));
}

#[test]
fn a_packet_moved_to_another_name_does_not_open() {
    let (packet, key) = sealed(Suite::X25519);
    let ours = record(&key);
    let moved = BailiwickPacket::parse(&changed(&packet, |value| {
        value["resource"] = "other".into()
    }))
    .unwrap();
    assert!(matches!(
        moved.open_with(&ours, &key),
        Opening::Failed(PacketError::Resource { .. })
    ));
    let other = KeyRecord {
        resource: "other".to_owned(),
        ..ours.clone()
    };
    assert!(matches!(
        moved.open_with(&other, &key),
        Opening::Failed(PacketError::Hpke { .. })
    ));
    let authority = BailiwickPacket::parse(&changed(&packet, |value| {
        value["authority"] = "spiffe://x".into()
    }))
    .unwrap();
    let other = KeyRecord {
        authority: "spiffe://x".to_owned(),
        ..ours
    };
    assert!(matches!(
        authority.open_with(&other, &key),
        Opening::Failed(PacketError::Hpke { .. })
    ));
}

#[test]
fn every_flipped_bit_is_found() {
    let (packet, key) = sealed(Suite::X25519);
    let parts: [fn(&mut BailiwickPacket) -> &mut Vec<u8>; 2] =
        [|packet| &mut packet.enc, |packet| &mut packet.ct];
    for part in parts {
        for bit in 0..part(&mut packet.clone()).len() * 8 {
            let mut flipped = packet.clone();
            part(&mut flipped)[bit / 8] ^= 1 << (bit % 8);
            // X25519 ignores the top bit of a point; HPKE's key schedule does not.
            assert!(
                matches!(
                    flipped.open_with(&record(&key), &key),
                    Opening::Failed(PacketError::Hpke { .. })
                ),
                "{bit}"
            );
        }
    }
}

#[test]
fn a_packet_is_whole_and_has_nothing_more() {
    let (packet, _) = sealed(Suite::X25519);
    let refused =
        |change: &dyn Fn(&mut Value)| BailiwickPacket::parse(&changed(&packet, change)).is_err();
    assert!(!refused(&|_| {}));
    for member in ["v", "authority", "key", "resource", "suite", "enc", "ct"] {
        assert!(
            refused(&|value| drop(value.as_object_mut().unwrap().remove(member))),
            "{member}"
        );
        assert!(refused(&|value| value[member] = Value::Null), "{member}");
        assert!(
            refused(&|value| value[member] = "".into()) || member == "enc" || member == "ct",
            "{member}"
        );
    }
    assert!(refused(&|value| value["more"] = 1.into()));
    assert!(refused(&|value| value["v"] = 2.into()));
    assert!(refused(&|value| value["authority"] = "a\0b".into()));
    assert!(refused(&|value| value["resource"] = "a".repeat(513).into()));
    assert!(refused(
        &|value| value["key"] = value["key"].as_str().unwrap().to_uppercase().into()
    ));
    assert!(
        refused(&|value| value["ct"] = value["ct"]
            .as_str()
            .unwrap()
            .trim_end_matches('=')
            .to_owned()
            .into())
            || packet.ct.len().is_multiple_of(3)
    );
    let text = String::from_utf8(packet.to_bytes()).unwrap();
    assert!(BailiwickPacket::parse(text.replacen('{', r#"{"v":1,"#, 1).as_bytes()).is_err());
}

#[test]
fn names_that_cannot_be_authenticated_are_not_sealed() {
    let key = PrivateKey::generate(Suite::X25519).unwrap();
    for (authority, resource) in [
        ("", RESOURCE),
        (AUTHORITY, ""),
        ("a\0b", RESOURCE),
        (AUTHORITY, "a\nb"),
    ] {
        let refused = BailiwickPacket::seal(&options(), authority, resource, key.public_key());
        assert!(
            matches!(refused, Err(WrapError::Name { .. })),
            "{authority:?} {resource:?}"
        );
    }
}

proptest! {
    #[test]
    fn hostile_packets_are_an_error_and_no_crash(text in prop::collection::vec(any::<u8>(), 0..300)) {
        prop_assert!(BailiwickPacket::parse(&text).is_err());
    }

    #[test]
    fn mangled_packets_never_open(at in any::<prop::sample::Index>(), byte in any::<u8>()) {
        let (packet, key) = sealed(Suite::X25519);
        let mut text = packet.to_bytes();
        let at = at.index(text.len());
        prop_assume!(text[at] != byte);
        text[at] = byte;
        if let Ok(mangled) = BailiwickPacket::parse(&text) {
            let is_same = mangled == packet;
            prop_assert!(is_same || !matches!(mangled.open_with(&record(&key), &key), Opening::Opened(_)));
        }
    }
}
