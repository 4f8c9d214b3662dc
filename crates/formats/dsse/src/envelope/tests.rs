//! What envelopes must and must not be.

use serde_json::json;

use super::*;

fn keys() -> [SigningKey; 2] {
    [
        SigningKey::generate_p256().unwrap(),
        SigningKey::generate_ed25519().unwrap(),
    ]
}

#[test]
fn the_example_of_the_specification_is_encoded_as_printed() {
    //= dsse/protocol.md#test-vectors
    assert_eq!(
        pae("http://example.com/HelloWorld", b"hello world"),
        b"DSSEv1 29 http://example.com/HelloWorld 11 hello world"
    );
    assert_eq!(pae("é", b""), "DSSEv1 2 é 0 ".as_bytes());
}

#[test]
fn what_was_signed_comes_back() {
    for key in keys() {
        let envelope = Envelope::sign("a/b", b"payload", &key).unwrap();
        let read = Envelope::parse(&envelope.to_string()).unwrap();
        assert_eq!(read, envelope);
        let verified = read.verify(&[key.verifying_key()]).unwrap();
        assert_eq!(verified.payload("a/b").unwrap(), b"payload");
        assert_eq!(verified.signers(), [0]);
    }
}

#[test]
fn one_signature_of_a_known_key_is_enough() {
    let [known, stranger] = keys();
    let mut envelope = Envelope::sign("a/b", b"payload", &stranger).unwrap();
    assert!(envelope.verify(&[known.verifying_key()]).is_err());
    assert!(envelope.merge(Envelope::sign("a/b", b"payload", &known).unwrap()));
    let listed = [stranger.verifying_key(), known.verifying_key()];
    assert_eq!(envelope.verify(&listed[1..]).unwrap().signers(), [0]);
    assert_eq!(envelope.verify(&listed).unwrap().signers(), [0, 1]);
    assert!(!envelope.merge(Envelope::sign("a/c", b"payload", &known).unwrap()));
    assert!(!envelope.merge(Envelope::sign("a/b", b"payloads", &known).unwrap()));
}

#[test]
fn payload_and_type_can_not_be_changed() {
    for key in keys() {
        let good = Envelope::sign("a/b", b"payload", &key).unwrap();
        let changed = [
            Envelope {
                payload: b"Payload".to_vec(),
                ..good.clone()
            },
            Envelope {
                payload_type: "a/c".to_owned(),
                ..good.clone()
            },
            Envelope {
                payload_type: "a/b 7 payload".to_owned(),
                payload: Vec::new(),
                ..good.clone()
            },
        ];
        for envelope in changed {
            let refused = envelope.verify(&[key.verifying_key()]).unwrap_err();
            assert_eq!((refused.signatures, refused.keys), (1, 1));
        }
        assert!(good.verify(&[]).is_err());
    }
}

#[test]
fn a_hint_at_the_key_is_not_believed() {
    let [key, other] = keys();
    let mut envelope = Envelope::sign("a/b", b"payload", &key).unwrap();
    envelope.signatures[0].key_id = other.verifying_key().key_id();
    assert!(envelope.verify(&[key.verifying_key()]).is_ok());
    assert!(envelope.verify(&[other.verifying_key()]).is_err());
}

fn text(payload: &str, signatures: &str) -> String {
    format!(r#"{{"payloadType":"a/b","payload":"{payload}","signatures":{signatures}}}"#)
}

#[test]
fn both_alphabets_are_read_and_only_canonical_texts() {
    let read = |payload: &str| Envelope::parse(&text(payload, r#"[{"sig":"AAAA"}]"#));
    assert_eq!(read("+/8=").unwrap(), read("-_8=").unwrap());
    for payload in [
        "+/8", "+/9=", "-_9=", "+_8=", "+/8=\\n", " +/8=", "A", "====",
    ] {
        assert!(
            matches!(
                read(payload),
                Err(EnvelopeError::Base64 { member: "payload" })
            ),
            "{payload}"
        );
    }
    assert!(matches!(
        Envelope::parse(&text("", r#"[{"sig":"AB=="}]"#)),
        Err(EnvelopeError::Base64 { member: "sig" })
    ));
}

#[test]
fn doubled_members_are_refused_and_unsigned_strangers_ignored() {
    let good = text("AAAA", r#"[{"sig":"AAAA","keyid":"","cert":"x"}]"#);
    assert!(Envelope::parse(&good).is_ok());
    for doubled in [
        good.replace(r#""payload":"#, r#""payload":"","payload":"#),
        good.replace(r#""sig":"#, r#""sig":"","sig":"#),
        good.replace(r#""payload":"#, r#""p\u0061yload":"","payload":"#),
    ] {
        assert!(
            matches!(
                Envelope::parse(&doubled),
                Err(EnvelopeError::Json {
                    source: JsonError::Duplicate { .. }
                })
            ),
            "{doubled}"
        );
    }
}

#[test]
fn envelopes_have_bounds() {
    assert!(matches!(
        Envelope::parse(&text("", "[]")),
        Err(EnvelopeError::Unsigned)
    ));
    let many = |count: usize| json!(vec![json!({ "sig": "AAAA" }); count]).to_string();
    assert!(Envelope::parse(&text("", &many(16))).is_ok());
    assert!(matches!(
        Envelope::parse(&text("", &many(17))),
        Err(EnvelopeError::TooManySignatures)
    ));
    let long = text(&"A".repeat(Envelope::MAX_LEN), &many(1));
    assert!(matches!(
        Envelope::parse(&long),
        Err(EnvelopeError::TooLong)
    ));
}

#[test]
fn missing_members_are_refused() {
    for text in [
        "",
        "{}",
        "[]",
        "null",
        r#"{"payloadType":"a","payload":""}"#,
        r#"{"payloadType":"a","signatures":[{"sig":""}]}"#,
        r#"{"payload":"","signatures":[{"sig":""}]}"#,
        r#"{"payloadType":"a","payload":"","signatures":[{}]}"#,
        r#"{"payloadType":"a","payload":"","signatures":[{"sig":""}]} x"#,
    ] {
        assert!(
            matches!(Envelope::parse(text), Err(EnvelopeError::Json { .. })),
            "{text}"
        );
    }
}

proptest::proptest! {
    #[test]
    fn no_text_panics_or_verifies(text in "\\{?(\"(payload|payloadType|signatures)\":(\"[A-Za-z0-9+/=_-]{0,12}\"|1|null|\\[\\{\"sig\":\"[A-Za-z0-9+/=]{0,96}\"\\}\\]|\\{\\}),?){0,4}\\}?|.{0,60}") {
        if let Ok(envelope) = Envelope::parse(&text) {
            let key = SigningKey::generate_ed25519().unwrap();
            proptest::prop_assert!(envelope.verify(&[key.verifying_key()]).is_err());
            proptest::prop_assert_eq!(&Envelope::parse(&envelope.to_string()).unwrap(), &envelope);
        }
    }

    #[test]
    fn no_signature_of_any_bytes_verifies(bytes in proptest::collection::vec(proptest::num::u8::ANY, 0..100)) {
        for key in keys() {
            let mut envelope = Envelope::sign("a/b", b"payload", &key).unwrap();
            envelope.signatures[0].bytes = bytes.clone();
            proptest::prop_assert!(envelope.verify(&[key.verifying_key()]).is_err());
        }
    }
}
