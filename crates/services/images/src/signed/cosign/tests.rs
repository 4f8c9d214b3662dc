//! Attacks on cosign's two forms, at the functions that read them.

use dsse::SigningKey;
use serde_json::{Value, json};

use super::*;

fn over() -> Digest {
    Digest::of("manifest")
}

/// A signature in the form of "simple signing", over the payload as it is written.
fn simple(payload: &str, key: &SigningKey) -> Result<usize, Refusal> {
    let signature = STANDARD.encode(key.sign(payload.as_bytes()).unwrap());
    let keys = [
        SigningKey::generate_p256().unwrap().verifying_key(),
        key.verifying_key(),
    ];
    simple_signing(payload.as_bytes(), Some(&signature), over(), &keys)
}

fn payload(edit: impl FnOnce(&mut Value)) -> String {
    let mut value = json!({
        "critical": {
            "identity": {"docker-reference": "registry.example/app"},
            "image": {"docker-manifest-digest": over()},
            "type": SIMPLE_TYPE,
        },
        "optional": null,
    });
    edit(&mut value);
    value.to_string()
}

#[test]
fn a_signature_of_this_manifest_by_a_named_key_counts() {
    for key in [
        SigningKey::generate_p256().unwrap(),
        SigningKey::generate_ed25519().unwrap(),
    ] {
        assert_eq!(simple(&payload(|_| {}), &key).unwrap(), 1);
        let with_claims = payload(|value| value["optional"] = json!({"creator": "x", "n": 1}));
        assert_eq!(simple(&with_claims, &key).unwrap(), 1);
    }
}

#[test]
fn what_was_signed_has_one_reading() {
    let key = SigningKey::generate_p256().unwrap();
    let other = Digest::of("other").to_string();
    let elsewhere = payload(|value| {
        value["critical"]["image"]["docker-manifest-digest"] = other.clone().into()
    });
    assert!(matches!(
        simple(&elsewhere, &key),
        Err(Refusal::OtherManifest)
    ));
    let upper = over().to_string().to_uppercase();
    let upper =
        payload(|value| value["critical"]["image"]["docker-manifest-digest"] = upper.into());
    assert!(matches!(simple(&upper, &key), Err(Refusal::OtherManifest)));
    let kind = payload(|value| value["critical"]["type"] = "atomic container signature".into());
    assert!(matches!(
        simple(&kind, &key),
        Err(Refusal::OtherPurpose { .. })
    ));
    let edits: [fn(&mut Value); 6] = [
        |value| value["Critical"] = value["critical"].clone(),
        |value| value["critical"]["Image"] = json!({}),
        |value| value["critical"]["image"]["Docker-Manifest-Digest"] = json!("x"),
        |value| value["critical"]["image"] = json!([]),
        |value| value["critical"]["identity"]["docker-manifest-digest"] = json!("x"),
        |value| value["critical"] = json!(null),
    ];
    for (number, edit) in edits.into_iter().enumerate() {
        let refused = simple(&payload(edit), &key);
        assert!(
            matches!(refused, Err(Refusal::Payload(_))),
            "edit {number}: {refused:?}"
        );
    }
    let doubled = payload(|_| {}).replace(
        r#""docker-manifest-digest":"#,
        &format!(r#""docker-manifest-digest":"{other}","docker-manifest-digest":"#),
    );
    assert!(matches!(simple(&doubled, &key), Err(Refusal::Payload(_))));
}

#[test]
fn only_signatures_of_named_keys_count() {
    let (key, stranger) = (
        SigningKey::generate_p256().unwrap(),
        SigningKey::generate_p256().unwrap(),
    );
    let payload = payload(|_| {});
    let signature = STANDARD.encode(stranger.sign(payload.as_bytes()).unwrap());
    let keys = [key.verifying_key()];
    let check =
        |signature: Option<&str>| simple_signing(payload.as_bytes(), signature, over(), &keys);
    assert!(matches!(check(Some(&signature)), Err(Refusal::OtherSigner)));
    assert!(matches!(check(Some("")), Err(Refusal::OtherSigner)));
    assert!(matches!(check(Some("!")), Err(Refusal::NoSignature)));
    assert!(matches!(check(None), Err(Refusal::NoSignature)));
}

fn statement(edit: impl FnOnce(&mut Value)) -> String {
    let mut value = json!({
        "_type": STATEMENT_TYPE,
        "subject": [{"digest": {"sha256": over().to_hex()}, "annotations": {}}],
        "predicateType": SIGN_PREDICATE,
        "predicate": {},
    });
    edit(&mut value);
    value.to_string()
}

fn bundled(
    payload_type: &str,
    payload: &str,
    edit: impl FnOnce(&mut Value),
) -> Result<usize, Refusal> {
    let key = SigningKey::generate_p256().unwrap();
    let envelope = Envelope::sign(payload_type, payload.as_bytes(), &key).unwrap();
    let mut value = json!({
        "mediaType": BUNDLE,
        "verificationMaterial": {"publicKey": {"hint": "x"}, "tlogEntries": []},
        "dsseEnvelope": envelope,
    });
    edit(&mut value);
    bundle(value.to_string().as_bytes(), over(), &[key.verifying_key()])
}

#[test]
fn a_bundle_of_this_manifest_by_a_named_key_counts() {
    let good = bundled(dsse::PAYLOAD_TYPE, &statement(|_| {}), |_| {});
    assert_eq!(good.unwrap(), 0);
}

#[test]
fn keyless_signatures_are_refused_by_name() {
    for member in ["certificate", "x509CertificateChain"] {
        let refused = bundled(dsse::PAYLOAD_TYPE, &statement(|_| {}), |value| {
            value["verificationMaterial"][member] = json!({"rawBytes": "AA=="});
        });
        assert!(matches!(refused, Err(Refusal::Keyless)), "{member}");
    }
}

#[test]
fn a_bundle_about_something_else_is_no_signature() {
    let scanned = statement(|value| {
        value["predicateType"] = "https://cosign.sigstore.dev/attestation/vuln/v1".into()
    });
    let refused = bundled(dsse::PAYLOAD_TYPE, &scanned, |_| {});
    assert!(matches!(refused, Err(Refusal::OtherPurpose { .. })));
    let old = statement(|value| value["_type"] = "https://in-toto.io/Statement/v0.1".into());
    assert!(matches!(
        bundled(dsse::PAYLOAD_TYPE, &old, |_| {}),
        Err(Refusal::OtherPurpose { .. })
    ));
    let elsewhere = statement(|value| {
        value["subject"][0]["digest"]["sha256"] = Digest::of("x").to_hex().into()
    });
    assert!(matches!(
        bundled(dsse::PAYLOAD_TYPE, &elsewhere, |_| {}),
        Err(Refusal::OtherManifest)
    ));
    let confused = bundled("application/json", &statement(|_| {}), |_| {});
    assert!(matches!(confused, Err(Refusal::OtherPurpose { .. })));
    let unsigned = bundled(dsse::PAYLOAD_TYPE, &statement(|_| {}), |value| {
        value["messageSignature"] = value["dsseEnvelope"].take();
    });
    assert!(
        matches!(unsigned, Err(Refusal::NoSignature)),
        "{unsigned:?}"
    );
    let doubled =
        statement(|_| {}).replace(r#""predicate":{}"#, r#""predicate":{},"predicate":{}"#);
    assert!(matches!(
        bundled(dsse::PAYLOAD_TYPE, &doubled, |_| {}),
        Err(Refusal::Payload(_))
    ));
}

proptest::proptest! {
    #[test]
    fn no_text_panics(text in r#"\{("(critical|optional|mediaType|verificationMaterial|dsseEnvelope)":(\{\}|\[\]|null|"[a-z0-9./+]{0,60}"|\{"(type|image|identity|certificate|payload)":(null|\{\}|"x")\}),?){0,5}\}?"#) {
        let keys = [SigningKey::generate_ed25519().unwrap().verifying_key()];
        proptest::prop_assert!(bundle(text.as_bytes(), over(), &keys).is_err());
        proptest::prop_assert!(simple_signing(text.as_bytes(), Some("AA=="), over(), &keys).is_err());
    }

    #[test]
    fn no_signed_text_panics(text in r#"\{("(critical|optional|Critical)":(\{\}|null|\{"(type|image|identity)":(null|\{\}|"x"|\{"docker-manifest-digest":"[a-z0-9:]{0,80}"\}),?\}),?){0,4}\}?"#) {
        let key = SigningKey::generate_ed25519().unwrap();
        proptest::prop_assert!(simple(&text, &key).is_err());
    }
}
