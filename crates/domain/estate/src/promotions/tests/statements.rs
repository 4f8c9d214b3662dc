//! Which statements are taken in.

use dsse::{Statement, Subject};
use serde_json::{Value, json};

use super::*;

fn sign(hospital: &Hospital, statement: &Value) -> String {
    let payload = statement.to_string();
    Envelope::sign(dsse::PAYLOAD_TYPE, payload.as_bytes(), &hospital.promoter)
        .unwrap()
        .to_string()
}

#[test]
fn a_statement_for_another_set_or_domain_is_refused() {
    let hospital = Hospital::new();
    let other_set =
        hospital.refused_statement(|statement| statement.predicate.image_set = name("other"));
    assert!(matches!(other_set, PromotionError::WrongSet { said, .. } if said == "other"));
    let other_domain = hospital
        .refused_statement(|statement| statement.predicate.trust_domain = "clinic.example".into());
    assert!(matches!(other_domain, PromotionError::WrongDomain { .. }));
}

#[test]
fn a_key_of_another_set_or_of_nobody_does_not_count() {
    let hospital = Hospital::new();
    for key in [&hospital.stranger, &SigningKey::generate_p256().unwrap()] {
        let refused = hospital.refused(&build(1).sign(key).unwrap().to_string());
        assert!(matches!(refused, PromotionError::NoPromoter { .. }));
    }
}

#[test]
fn one_known_signature_among_strangers_is_enough() {
    let hospital = Hospital::new();
    let stranger = SigningKey::generate_ed25519().unwrap();
    let mut envelope = build(1).sign(&stranger).unwrap();
    assert!(envelope.merge(build(1).sign(&hospital.second).unwrap()));
    let mut promotions = hospital.promoted(0);
    let promoted = promotions
        .add(&hospital.estate(), DOMAIN, &envelope.to_string(), at(1))
        .unwrap();
    assert_eq!(promoted.promoter, "keys/second.pub");
    assert!(hospital.holds(&promotions, 1, at(1)));
}

#[test]
fn a_changed_payload_is_refused() {
    let hospital = Hospital::new();
    let good: Value =
        serde_json::from_str(&build(1).sign(&hospital.promoter).unwrap().to_string()).unwrap();
    let other: Value =
        serde_json::from_str(&build(2).sign(&hospital.stranger).unwrap().to_string()).unwrap();
    let mut forged = good.clone();
    forged["payload"] = other["payload"].clone();
    assert!(matches!(
        hospital.refused(&forged.to_string()),
        PromotionError::NoPromoter { .. }
    ));
    let mut retyped = good;
    retyped["payloadType"] = "application/json".into();
    assert!(matches!(
        hospital.refused(&retyped.to_string()),
        PromotionError::NoPromoter { .. }
    ));
}

#[test]
fn base64_that_is_not_canonical_and_doubled_members_are_refused() {
    let hospital = Hospital::new();
    let good = build(1).sign(&hospital.promoter).unwrap().to_string();
    let doubled = good.replace(r#""payload":"#, r#""payload":"","payload":"#);
    let padded = good.replace("\",\"signatures\"", "=\",\"signatures\"");
    assert!(doubled != good && padded != good);
    for envelope in [doubled, padded] {
        assert!(matches!(
            hospital.refused(&envelope),
            PromotionError::Envelope { .. }
        ));
    }
    let statement = serde_json::to_string(&build(1).to_statement()).unwrap();
    let doubled = statement.replace(r#""revision":1"#, r#""revision":9,"revision":1"#);
    assert_ne!(doubled, statement);
    let envelope = Envelope::sign(dsse::PAYLOAD_TYPE, doubled.as_bytes(), &hospital.promoter);
    assert!(matches!(
        hospital.refused(&envelope.unwrap().to_string()),
        PromotionError::Statement { .. }
    ));
}

#[test]
fn unknown_members_of_the_predicate_are_refused() {
    let hospital = Hospital::new();
    let good = serde_json::to_value(build(1).to_statement()).unwrap();
    let members = [
        "trustDomain",
        "imageSet",
        "revision",
        "manifests",
        "encrypted",
        "created",
    ];
    for member in members {
        let mut lacking = good.clone();
        lacking["predicate"]
            .as_object_mut()
            .unwrap()
            .remove(member)
            .unwrap();
        assert!(
            matches!(
                hospital.refused(&sign(&hospital, &lacking)),
                PromotionError::Statement { .. }
            ),
            "{member}"
        );
    }
    for (member, value) in [
        ("more", json!(1)),
        ("keep", json!(99)),
        ("revision", json!(1.5)),
    ] {
        let mut odd = good.clone();
        odd["predicate"][member] = value;
        assert!(matches!(
            hospital.refused(&sign(&hospital, &odd)),
            PromotionError::Statement { .. }
        ));
    }
}

#[test]
fn subjects_are_config_digests_and_few() {
    let hospital = Hospital::new();
    let with = |subjects: Vec<Subject>| {
        let mut statement: Statement<PromotionPredicate> = build(1).to_statement();
        statement.subject = subjects;
        hospital.refused(&sign(&hospital, &serde_json::to_value(statement).unwrap()))
    };
    let one = |digits: String| Subject::of_sha256(None, digits);
    let good = one(config(1).to_hex());
    let mut two = good.clone();
    two.digest.insert("sha512".to_owned(), "00".to_owned());
    for odd in [
        one("00".to_owned()),
        one(config(1).to_hex().to_uppercase()),
        two,
    ] {
        assert!(matches!(
            with(vec![odd]),
            PromotionError::Subject { number: 1 }
        ));
    }
    assert!(matches!(
        with(vec![good.clone(), good.clone()]),
        PromotionError::DoubledSubject { .. }
    ));
    let many = (0..=64)
        .map(|number| one(config(number).to_hex()))
        .collect();
    assert!(matches!(with(many), PromotionError::Statement { .. }));
    assert!(matches!(with(Vec::new()), PromotionError::Statement { .. }));
    let manifests = hospital.refused_statement(|statement| {
        statement.predicate.manifests = vec![config(1); 129];
    });
    assert!(matches!(manifests, PromotionError::TooManyManifests { .. }));
}

#[test]
fn revisions_rise_and_never_run_ahead() {
    let hospital = Hospital::new();
    let most = u64::try_from(at(1).as_millis()).unwrap();
    for revision in [0, most + 1, u64::MAX] {
        let refused =
            hospital.refused_statement(|statement| statement.predicate.revision = revision);
        assert!(
            matches!(refused, PromotionError::Revision { .. }),
            "{revision}"
        );
    }
    let mut promotions = hospital.promoted(2);
    let mut latest = build(3);
    latest.predicate.revision = most;
    hospital.add(&mut promotions, &latest, at(0));
    assert_eq!(promotions.floor(), most);
}

#[test]
fn what_a_pipeline_signs_is_refused_with_the_reason() {
    let pipeline = "issuer = \"https://ci.example\"\nidentity = \"a/b\"\n";
    let both = Hospital::new().with("key = \"keys/second.pub\"\n", pipeline);
    let refused = both.refused(&build(1).sign(&both.stranger).unwrap().to_string());
    assert!(
        refused.to_string().contains("can't be verified yet"),
        "{refused}"
    );
    // The key beside it counts.
    let mut promotions = both.promoted(0);
    both.add(&mut promotions, &build(1), at(1));
    assert!(both.holds(&promotions, 1, at(1)));
}

#[test]
fn a_promoters_key_that_is_none_is_an_error_and_not_skipped() {
    let hospital = Hospital::new();
    let mut files = hospital.files();
    files.retain(|(path, _)| path != "keys/second.pub");
    files.push(("keys/second.pub".to_owned(), "no key".to_owned()));
    let estate = Estate::parse(&files).unwrap();
    let envelope = build(1).sign(&hospital.promoter).unwrap().to_string();
    let refused = estate
        .promotions(&name("medrec"))
        .add(&estate, DOMAIN, &envelope, at(1))
        .unwrap_err();
    assert!(matches!(refused, PromotionError::KeyFile { path, .. } if path == "keys/second.pub"));
}

#[test]
fn an_image_statement_is_no_promotion() {
    let hospital = Hospital::new();
    let statement = json!({
        "_type": "https://in-toto.io/Statement/v1",
        "subject": [{"digest": {"sha256": Digest::of("config").to_hex()}}],
        "predicateType": "urn:bailiwick:image:v1",
        "predicate": {
            "version": 7, "notBefore": "2026-01-01T00:00:00.000Z", "diffIds": [Digest::of("layer")],
        },
    });
    assert!(matches!(
        hospital.refused(&sign(&hospital, &statement)),
        PromotionError::Statement { .. }
    ));
}
