//! Both versions open for their key and for no other.

use std::collections::BTreeSet;

use proptest::prelude::*;
use serde_json::json;

use super::*;

const OPTIONS: &[u8] = include_bytes!("../../../tests/vectors/pkcs7/options.json");
const KID: &str = "kbs:///default/key/key_id1";

fn vectors() -> Value {
    serde_json::from_str(include_str!("../../../tests/vectors/coco.json")).unwrap()
}

fn key(kid: &str) -> CocoKey {
    let bytes = base64::decode(vectors()["key"].as_str().unwrap()).unwrap();
    CocoKey::new(kid, &bytes).unwrap()
}

fn packet(scheme: &str, json: &Value) -> KeyPacket {
    KeyPacket::parse(&scheme.parse().unwrap(), json.to_string().into_bytes()).unwrap()
}

fn outcome(packet: &KeyPacket, key: CocoKey) -> Result<Vec<u8>, String> {
    match CocoOpener::new(vec![key]).open(packet) {
        Opening::Opened(options) => Ok(options.expose_bytes().to_vec()),
        Opening::NotOurs => Err("not ours".into()),
        Opening::Failed(error) => Err(error.to_string()),
    }
}

#[test]
fn both_versions_open_under_any_providers_name() {
    for version in ["v1", "v2"] {
        for scheme in [Scheme::ATTESTATION_AGENT, "provider.somebody-else"] {
            let packet = packet(scheme, &vectors()[version]);
            assert_eq!(
                outcome(&packet, key(KID)).unwrap(),
                OPTIONS,
                "{version} {scheme}"
            );
        }
    }
}

#[test]
fn both_versions_are_written_as_they_are_read() {
    let options = PrivateOptions::parse(OPTIONS).unwrap();
    for (version, name) in [(CocoVersion::V1, "v1"), (CocoVersion::V2, "v2")] {
        let mut wrapper = CocoWrapper::new(key(KID));
        wrapper.version = version;
        let (first, second) = (
            wrapper.wrap(&options).unwrap(),
            wrapper.wrap(&options).unwrap(),
        );
        assert_ne!(first, second, "a nonce came twice");
        assert_eq!(first.scheme().as_str(), Scheme::ATTESTATION_AGENT);
        assert_eq!(outcome(&first, key(KID)).unwrap(), OPTIONS);
        let written: Value = serde_json::from_slice(&first.to_bytes()).unwrap();
        let members = |value: &Value| -> BTreeSet<String> {
            value.as_object().unwrap().keys().cloned().collect()
        };
        assert_eq!(members(&written), members(&vectors()[name]));
    }
}

#[test]
fn packets_for_other_keys_and_keepers_are_left_alone() {
    let v1 = vectors()["v1"].clone();
    let ours = packet(Scheme::ATTESTATION_AGENT, &v1);
    assert_eq!(
        outcome(&ours, key("kbs:///default/key/other")).unwrap_err(),
        "not ours"
    );
    let kms = packet(Scheme::ATTESTATION_AGENT, &vectors()["kms"]);
    assert_eq!(outcome(&kms, key(KID)).unwrap_err(), "not ours");
    let KeyPacket::Foreign(kms) = kms else {
        panic!("a scheme of a provider was taken for another");
    };
    assert_eq!(CocoPacket::of(&kms).unwrap().provider(), "aliyun");
    let elsewhere = packet("pkcs11", &v1);
    assert_eq!(outcome(&elsewhere, key(KID)).unwrap_err(), "not ours");
}

#[test]
fn a_changed_packet_does_not_open() {
    let changed = |member: &str, value: Value| {
        let mut json = vectors()["v1"].clone();
        json[member] = value;
        outcome(&packet(Scheme::ATTESTATION_AGENT, &json), key(KID)).unwrap_err()
    };
    let refused = "packet of Confidential Containers did not open";
    assert_eq!(changed("iv", json!("AAAAAAAAAAAAAAAA")), refused);
    assert_eq!(changed("wrapped_data", json!("AAAA")), refused);
    assert_eq!(changed("wrapped_data", json!("")), refused);
    assert_eq!(changed("iv", json!("AAAA")), "packet is malformed at iv");
    assert_eq!(
        changed("wrap_type", json!("A256CTR")),
        "packet uses wrap type `A256CTR`, which is not read"
    );
    let whole = vectors()["v1"]["wrapped_data"].as_str().unwrap().to_owned();
    let bytes = base64::decode(&whole).unwrap();
    for place in [0, bytes.len() / 2, bytes.len() - 1] {
        let mut bytes = bytes.clone();
        bytes[place] ^= 1;
        assert_eq!(
            changed("wrapped_data", json!(base64::encode(&bytes))),
            refused
        );
    }
}

#[test]
fn what_is_no_packet_of_these_is_some_providers() {
    let v1 = vectors()["v1"].clone();
    for (member, value) in [
        ("kid", json!("")),
        ("kid", json!("a\u{1b}b")),
        ("kid", Value::Null),
        ("iv", Value::Null),
        ("wrap_type", Value::Null),
        ("wrapped_data", json!("not base64")),
        ("version", json!("2.0.0")),
        ("provider", json!("")),
    ] {
        let mut json = v1.clone();
        json[member] = value;
        let KeyPacket::Foreign(foreign) = packet(Scheme::ATTESTATION_AGENT, &json) else {
            panic!("{json}");
        };
        assert_eq!(CocoPacket::of(&foreign), None, "{json}");
    }
    let twice = Foreign {
        scheme: Scheme::ATTESTATION_AGENT.parse().unwrap(),
        bytes: v1
            .to_string()
            .replacen('{', r#"{"kid":"kbs:///a/b/c","#, 1)
            .into_bytes(),
    };
    assert_eq!(CocoPacket::of(&twice), None);
}

#[test]
fn keys_have_32_bytes_and_a_name_that_guests_can_ask_for() {
    for kid in [
        "kbs:///a/b/c",
        "kbs://broker:8080/a/b/c",
        "kbs+pkcs11:///a/b/c",
    ] {
        assert!(CocoKey::new(kid, &[0; 32]).is_ok(), "{kid}");
    }
    for kid in [
        "",
        "/a/b/c",
        "kbs:///a/b",
        "kbs:///a/b/c/d",
        "kbs:////b/c",
        "kbs+:///a/b/c",
        "http:///a/b/c",
        "kbs:///a/b/c\n",
    ] {
        assert_eq!(
            CocoKey::new(kid, &[0; 32]).err(),
            Some(CocoKeyError::Name),
            "{kid:?}"
        );
    }
    for length in [0, 16, 31, 33] {
        let refused = CocoKey::new(KID, &vec![0; length]).err();
        assert_eq!(refused, Some(CocoKeyError::Length { found: length }));
    }
}

proptest! {
    #[test]
    fn hostile_packets_are_an_answer_and_no_crash(
        kid in ".{0,20}", wrapped in "[A-Za-z0-9+/=]{0,40}", iv in "[A-Za-z0-9+/=]{0,20}", wrap in "A256GCM|.{0,8}", raw in prop::collection::vec(any::<u8>(), 0..100),
    ) {
        let json = json!({"kid": kid, "wrapped_data": wrapped, "iv": iv, "wrap_type": wrap});
        prop_assert!(outcome(&packet(Scheme::ATTESTATION_AGENT, &json), key(KID)).is_err());
        let ours = json!({"kid": KID, "wrapped_data": wrapped, "iv": iv, "wrap_type": wrap});
        prop_assert!(outcome(&packet(Scheme::ATTESTATION_AGENT, &ours), key(KID)).is_err());
        let raw = KeyPacket::parse(&Scheme::ATTESTATION_AGENT.parse().unwrap(), raw).unwrap();
        prop_assert!(outcome(&raw, key(KID)).is_err());
    }
}
