//! SPIFFE bundles as JSON.

use std::time::Duration;

use jose::EcdsaP256Key;
use serde_json::{Value, json};
use spiffe_id::{Bundle, BundleError};

use crate::authority::{Authority, domain};

fn bundle() -> Bundle {
    let key = EcdsaP256Key::generate()
        .unwrap()
        .public_jwk()
        .clone()
        .with_kid("k1");
    Bundle::new(&domain())
        .with_x509_authority(&Authority::root().der)
        .and_then(|bundle| bundle.with_x509_authority(&Authority::root().der))
        .and_then(|bundle| bundle.with_jwt_authority(key))
        .unwrap()
        .with_sequence(u64::MAX)
        .with_refresh_hint(Duration::from_millis(300_900))
}

fn value(bundle: &Bundle) -> Value {
    serde_json::from_str(&bundle.to_json().unwrap()).unwrap()
}

fn parse(json: &Value) -> Result<Bundle, BundleError> {
    Bundle::parse(&domain(), &json.to_string())
}

#[test]
fn a_bundle_survives_the_round_trip() {
    let bundle = bundle();
    let read = Bundle::parse(&domain(), &bundle.to_json().unwrap()).unwrap();
    assert_eq!(read, bundle);
    assert_eq!(
        (read.sequence(), read.refresh_hint()),
        (Some(u64::MAX), Some(Duration::from_secs(300)))
    );
    assert_eq!(
        (
            read.x509().authorities().count(),
            read.jwt_authorities().len()
        ),
        (2, 1)
    );
}

#[test]
fn keys_are_written_as_the_documents_say() {
    let value = value(&bundle());
    for key in value["keys"].as_array().unwrap() {
        if key["use"] == "x509-svid" {
            assert_eq!(key["x5c"].as_array().unwrap().len(), 1);
            assert!(key.get("kid").is_none());
        } else {
            assert_eq!(
                (&key["use"], &key["kid"]),
                (&json!("jwt-svid"), &json!("k1"))
            );
            assert!(key.get("x5c").is_none());
        }
    }
    let jwt: Value = serde_json::from_str(&bundle().jwt_json().unwrap()).unwrap();
    assert_eq!(jwt["keys"].as_array().unwrap().len(), 1);
}

#[test]
fn unknown_kinds_uses_and_members_are_left_out() {
    let mut json = value(&bundle());
    let keys = json["keys"].as_array_mut().unwrap();
    keys.push(
        json!({ "kty": "OKP", "crv": "Ed25519", "x": "AA", "use": "jwt-svid", "kid": "new" }),
    );
    let mut other = keys[0].clone();
    other["use"] = json!("wit-svid");
    keys.push(other);
    let mut bare = keys[0].clone();
    bare.as_object_mut().unwrap().remove("x5c");
    keys.push(bare);
    json["note"] = json!("more");
    let read = parse(&json).unwrap();
    assert_eq!(
        (
            read.x509().authorities().count(),
            read.jwt_authorities().len()
        ),
        (2, 1)
    );
}

#[test]
fn of_several_certificates_the_first_counts() {
    let mut json = value(&bundle());
    json["keys"][0]["x5c"]
        .as_array_mut()
        .unwrap()
        .push(json!("AAAA"));
    assert_eq!(parse(&json).unwrap().x509().authorities().count(), 2);
}

#[test]
fn a_certificate_of_another_key_is_refused() {
    let mut json = value(&bundle());
    json["keys"][0]["x5c"] = json["keys"][1]["x5c"].clone();
    assert!(matches!(parse(&json), Err(BundleError::OtherKey)));
}

#[test]
fn keys_for_tokens_have_names_of_their_own() {
    let mut json = value(&bundle());
    json["keys"][2].as_object_mut().unwrap().remove("kid");
    assert!(matches!(parse(&json), Err(BundleError::NoKeyId)));
    let mut json = value(&bundle());
    let twin = json["keys"][2].clone();
    json["keys"].as_array_mut().unwrap().push(twin);
    assert!(matches!(
        parse(&json),
        Err(BundleError::RepeatedKeyId { .. })
    ));
}

#[test]
fn malformed_bundles_are_refused() {
    for bad in [
        "",
        "{}",
        "[]",
        r#"{"keys":{}}"#,
        r#"{"keys":[],"keys":[]}"#,
        r#"{"keys":[],"spiffe_sequence":-1}"#,
        r#"{"keys":[],"spiffe_sequence":1.5}"#,
        r#"{"keys":[],"spiffe_refresh_hint":"300"}"#,
        r#"{"keys":[{"kty":"EC"}]}"#,
        r#"{"keys":[]}x"#,
    ] {
        assert!(
            matches!(Bundle::parse(&domain(), bad), Err(BundleError::Json(_))),
            "`{bad}`"
        );
    }
    assert!(Bundle::parse(&domain(), r#"{"keys":[]}"#).is_ok());
    let long = format!("{{\"keys\":[]{}}}", " ".repeat(spiffe_id::MAX_BUNDLE_BYTES));
    assert!(matches!(
        Bundle::parse(&domain(), &long),
        Err(BundleError::TooLong)
    ));
}
