//! Signed statements: envelopes, and what stands in one.

use std::sync::LazyLock;

use dsse::{Envelope, SigningKey, Statement, VerifyingKey};
use serde_json::Value;

use crate::chosen;

const PREDICATE: &str = "https://example/predicate";
static KEY: LazyLock<SigningKey> = LazyLock::new(|| SigningKey::generate_ed25519().expect("a key"));

/// Tries one text; says whether it was accepted.
pub fn check(input: &[u8]) -> bool {
    let Some((choice, rest)) = chosen(input) else {
        return false;
    };
    match (choice % 3, std::str::from_utf8(rest)) {
        (0, Ok(text)) => envelope(text),
        (1, Ok(text)) => key(text),
        (2, _) => statement(rest),
        _ => false,
    }
}

fn envelope(text: &str) -> bool {
    let Ok(envelope) = Envelope::parse(text) else {
        return false;
    };
    assert!(text.len() <= Envelope::MAX_LEN);
    assert!((1..=Envelope::MAX_SIGNATURES).contains(&envelope.signatures().len()));
    assert!(
        envelope.verify(&[KEY.verifying_key()]).is_err(),
        "nobody signed it"
    );
    let written = envelope.to_string();
    let again = Envelope::parse(&written);
    // Written in standard base64 it can be somewhat longer than it was.
    assert!(again.is_ok() || written.len() > Envelope::MAX_LEN);
    if let Ok(again) = again {
        assert_eq!(again.to_string(), written);
    }
    true
}

fn key(text: &str) -> bool {
    let Ok(key) = VerifyingKey::from_pem(text) else {
        return false;
    };
    let again = VerifyingKey::from_pem(&key.to_pem()).expect("what was written is read");
    assert_eq!(again.key_id(), key.key_id());
    true
}

/// Whatever is signed is read, or refused; what is read comes back the same.
fn statement(payload: &[u8]) -> bool {
    let signed = |payload: &[u8]| {
        let envelope = Envelope::sign(dsse::PAYLOAD_TYPE, payload, &KEY).expect("a signature");
        envelope
            .verify(&[KEY.verifying_key()])
            .expect("it was signed")
    };
    let Ok(read) = Statement::<Value>::of(&signed(payload), PREDICATE) else {
        return false;
    };
    assert!((1..=dsse::MAX_SUBJECTS).contains(&read.subject.len()));
    assert_eq!(read.predicate_type, PREDICATE);
    let written = read.to_payload().expect("it has a form");
    let again =
        Statement::<Value>::of(&signed(&written), PREDICATE).expect("what was written is read");
    assert_eq!(again.subject, read.subject);
    assert_eq!(again.predicate, read.predicate);
    true
}
