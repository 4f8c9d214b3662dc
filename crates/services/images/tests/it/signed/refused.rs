//! Statements that somebody made for another image, time, kind or reader.

use super::*;

#[test]
fn a_statement_of_another_image_is_refused() {
    let signer = Signer::new();
    let (memory, other) = (image("a"), image("b"));
    put(&memory, &signer.envelope(&other, |_| {}).to_string());
    assert!(matches!(
        only(&memory, &signer.wanted()),
        Refusal::OtherImage { .. }
    ));
    let memory = image("a");
    let (_, layers) = identity(&other);
    put(
        &memory,
        &signer
            .envelope(&memory, |statement| statement.diff_ids = layers)
            .to_string(),
    );
    assert!(matches!(
        only(&memory, &signer.wanted()),
        Refusal::OtherLayers
    ));
    let memory = image("a");
    put(
        &memory,
        &signer
            .envelope(&memory, |statement| statement.diff_ids.clear())
            .to_string(),
    );
    assert!(matches!(
        only(&memory, &signer.wanted()),
        Refusal::OtherLayers
    ));
}

#[test]
fn time_and_floor_decide() {
    let signer = Signer::new();
    let memory = image("a");
    let later = at("2026-06-01T00:00:00.001Z");
    put(
        &memory,
        &signer
            .envelope(&memory, |statement| statement.not_before = later)
            .to_string(),
    );
    assert!(matches!(
        only(&memory, &signer.wanted()),
        Refusal::NotYet { .. }
    ));
    let mut wanted = signer.wanted();
    wanted.now = later;
    assert_eq!(version(&check(&memory, &wanted).unwrap()), 5);
    let memory = image("a");
    put(
        &memory,
        &signer
            .envelope(&memory, |statement| statement.expires = Some(now()))
            .to_string(),
    );
    assert!(matches!(
        only(&memory, &signer.wanted()),
        Refusal::Expired { .. }
    ));
    let memory = image("a");
    put(&memory, &signer.envelope(&memory, |_| {}).to_string());
    let mut wanted = signer.wanted();
    wanted.floor = Some(6);
    let refused = only(&memory, &wanted);
    assert!(matches!(
        refused,
        Refusal::BelowFloor {
            version: 5,
            floor: 6
        }
    ));
    wanted.floor = Some(5);
    assert_eq!(version(&check(&memory, &wanted).unwrap()), 5);
}

#[test]
fn contradicting_statements_cancel_each_other() {
    let signer = Signer::new();
    let memory = image("a");
    put(&memory, &signer.envelope(&memory, |_| {}).to_string());
    let until = Some(at("2027-01-01T00:00:00Z"));
    put(
        &memory,
        &signer
            .envelope(&memory, |statement| statement.expires = until)
            .to_string(),
    );
    let refused = refusals(&memory, &signer.wanted());
    assert_eq!(refused.len(), 2);
    assert!(
        refused
            .iter()
            .all(|refused| matches!(refused.why, Refusal::Contradicts { version: 5 }))
    );
    // A later word settles it; and somebody else's has no part in it.
    put(
        &memory,
        &signer
            .envelope(&memory, |statement| statement.version = 6)
            .to_string(),
    );
    assert_eq!(version(&check(&memory, &signer.wanted()).unwrap()), 6);
    let memory = image("a");
    put(&memory, &signer.envelope(&memory, |_| {}).to_string());
    let stranger = Signer::new();
    put(
        &memory,
        &stranger
            .envelope(&memory, |statement| statement.expires = until)
            .to_string(),
    );
    assert_eq!(version(&check(&memory, &signer.wanted()).unwrap()), 5);
}

#[test]
fn a_promotion_is_no_image_statement() {
    let signer = Signer::new();
    let memory = image("a");
    let promotion = PromotionStatement {
        name: None,
        configs: [identity(&memory).0].into(),
        predicate: PromotionPredicate {
            trust_domain: "hospital.example".to_owned(),
            image_set: "medrec".parse().unwrap(),
            revision: 7,
            manifests: Vec::new(),
            encrypted: true,
            created: now(),
        },
    };
    put(&memory, &promotion.sign(&signer.0).unwrap().to_string());
    assert!(matches!(
        only(&memory, &signer.wanted()),
        Refusal::Statement(_)
    ));
}

#[test]
fn an_envelope_of_another_type_or_with_doubled_members_is_refused() {
    let signer = Signer::new();
    let memory = image("a");
    let good = signer.envelope(&memory, |_| {});
    let verified = good.verify(&[signer.0.verifying_key()]).unwrap();
    let payload = verified.payload(dsse::PAYLOAD_TYPE).unwrap();
    let confused = Envelope::sign("application/json", payload, &signer.0).unwrap();
    put(&memory, &confused.to_string());
    assert!(matches!(
        only(&memory, &signer.wanted()),
        Refusal::Statement(_)
    ));
    let memory = image("a");
    let doubled = good.to_string().replacen(
        "{\"payloadType\"",
        "{\"payloadType\":\"x\",\"payloadType\"",
        1,
    );
    put(&memory, &doubled);
    assert!(matches!(
        only(&memory, &signer.wanted()),
        Refusal::Envelope(_)
    ));
    let memory = image("a");
    let text = String::from_utf8(payload.to_vec()).unwrap();
    let doubled = text.replacen("\"version\":5", "\"version\":9,\"version\":5", 1);
    assert_ne!(doubled, text);
    let doubled = Envelope::sign(dsse::PAYLOAD_TYPE, doubled.as_bytes(), &signer.0).unwrap();
    put(&memory, &doubled.to_string());
    assert!(matches!(
        only(&memory, &signer.wanted()),
        Refusal::Statement(_)
    ));
}
