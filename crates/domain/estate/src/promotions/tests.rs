//! What makes a build a member of a set, and what does not: each rule, and each way around it that is known.

use std::time::Duration;

use dsse::{SigningKey, Statement, Subject};
use proptest::prelude::*;
use serde_json::{Value, json};

use super::*;
use crate::{Effect, ObjectKind, diff};

const DOMAIN: &str = "hospital.example";
const IMAGES: &str = r#"version = 1
[image.medrec]
owner = "owners"
dataset = "records"
must_be = ["encrypted"]
keep = 2
max_age = "90d"
[[image.medrec.promoter]]
key = "keys/medrec.pub"
[[image.medrec.promoter]]
key = "keys/second.pub"
[image.other]
owner = "owners"
dataset = "records"
digests = ["sha256:0101010101010101010101010101010101010101010101010101010101010101"]
[[image.other.promoter]]
key = "keys/other.pub"
"#;

/// A hospital: two promoters of `medrec`, one of `other`.
struct Hospital {
    promoter: SigningKey,
    second: SigningKey,
    stranger: SigningKey,
    images: String,
}

impl Hospital {
    fn new() -> Self {
        Self {
            promoter: SigningKey::generate_p256().unwrap(),
            second: SigningKey::generate_ed25519().unwrap(),
            stranger: SigningKey::generate_p256().unwrap(),
            images: IMAGES.to_owned(),
        }
    }

    fn with(mut self, from: &str, to: &str) -> Self {
        assert!(self.images.contains(from), "{from}");
        self.images = self.images.replace(from, to);
        self
    }

    fn files(&self) -> Vec<(String, String)> {
        [
            (
                "people.toml",
                "version = 1\n[team]\nowners = [\"ann\"]\n".to_owned(),
            ),
            (
                "datasets.toml",
                "version = 1\n[dataset.records]\nowner = \"owners\"\ntenant = \"hospital\"\n"
                    .to_owned(),
            ),
            ("images.toml", self.images.clone()),
            ("keys/medrec.pub", self.promoter.verifying_key().to_pem()),
            ("keys/second.pub", self.second.verifying_key().to_pem()),
            ("keys/other.pub", self.stranger.verifying_key().to_pem()),
        ]
        .map(|(path, text)| (path.to_owned(), text))
        .to_vec()
    }

    fn estate(&self) -> Estate {
        Estate::parse(&self.files()).unwrap()
    }

    fn read(&self, file: &str) -> Result<Estate, EstateError> {
        let mut files = self.files();
        files.push(("promotions/medrec.json".to_owned(), file.to_owned()));
        Estate::parse(&files)
    }

    fn reason(&self, file: &str) -> String {
        self.read(file).unwrap_err().to_string()
    }

    /// Adds what `promoter` signs to what is there.
    fn add(&self, promotions: &mut Promotions, statement: &PromotionStatement, at: Timestamp) {
        let envelope = statement.sign(&self.promoter).unwrap().to_string();
        promotions
            .add(&self.estate(), DOMAIN, &envelope, at)
            .unwrap();
    }

    fn refused(&self, envelope: &str) -> PromotionError {
        let mut promotions = self.estate().promotions(&name("medrec"));
        let before = promotions.clone();
        let refused = promotions
            .add(&self.estate(), DOMAIN, envelope, at(0))
            .unwrap_err();
        assert_eq!(promotions, before, "nothing is changed by what is refused");
        refused
    }

    fn refused_statement(&self, edit: impl FnOnce(&mut PromotionStatement)) -> PromotionError {
        let mut statement = build(1);
        edit(&mut statement);
        self.refused(&statement.sign(&self.promoter).unwrap().to_string())
    }

    /// Builds 1, 2, … up to `count`, promoted a day apart.
    fn promoted(&self, count: u8) -> Promotions {
        let mut promotions = self.estate().promotions(&name("medrec"));
        for number in 1..=count {
            self.add(&mut promotions, &build(number), at(u64::from(number)));
        }
        promotions
    }

    fn holds(&self, promotions: &Promotions, number: u8, now: Timestamp) -> bool {
        let estate = self.read(&promotions.to_text()).unwrap();
        estate
            .image_set_of(&config(number), now)
            .is_some_and(|set| set.name == name("medrec"))
    }
}

fn name(text: &str) -> ImageSetName {
    text.parse().unwrap()
}

fn at(day: u64) -> Timestamp {
    Timestamp::from_seconds(1_700_000_000).plus(Duration::from_secs(day * 86_400))
}

fn config(number: u8) -> Digest {
    Digest::from_bytes([0xb0 ^ number; 32])
}

/// Build number so and so, as a promoter states it.
fn build(number: u8) -> PromotionStatement {
    PromotionStatement {
        name: Some("registry.example/medrec".to_owned()),
        configs: BTreeSet::from([config(number)]),
        predicate: PromotionPredicate {
            trust_domain: DOMAIN.to_owned(),
            image_set: name("medrec"),
            revision: u64::from(number),
            manifests: vec![Digest::of([number])],
            encrypted: true,
            created: at(0),
        },
    }
}

fn sign(hospital: &Hospital, statement: &Value) -> String {
    let payload = statement.to_string();
    Envelope::sign(dsse::PAYLOAD_TYPE, payload.as_bytes(), &hospital.promoter)
        .unwrap()
        .to_string()
}

#[test]
fn a_promoted_build_is_a_member_until_it_is_too_old() {
    let hospital = Hospital::new();
    let promotions = hospital.promoted(1);
    assert!(hospital.holds(&promotions, 1, at(1)));
    assert!(hospital.holds(&promotions, 1, at(91)));
    assert!(!hospital.holds(&promotions, 1, at(92)));
    assert!(
        !hospital.holds(&promotions, 1, at(0)),
        "not before it was promoted"
    );
    assert!(!hospital.holds(&promotions, 2, at(1)));
    let estate = hospital.read(&promotions.to_text()).unwrap();
    let set = estate.image_set(&name("medrec")).unwrap();
    assert_eq!(set.members(at(1)), BTreeSet::from([config(1)]));
    assert_eq!(set.members(at(100)), BTreeSet::new());
    let [promoted] = set.promoted.as_slice() else {
        panic!("one promotion")
    };
    assert_eq!(
        (promoted.promoter.as_str(), promoted.revision),
        ("keys/medrec.pub", 1)
    );
    assert_eq!(estate.promotions(&name("medrec")), promotions);
}

#[test]
fn without_rules_a_build_stays() {
    let hospital = Hospital::new()
        .with("keep = 2\n", "")
        .with("max_age = \"90d\"\n", "");
    let promotions = hospital.promoted(20);
    assert!((1..=20).all(|number| hospital.holds(&promotions, number, Timestamp::MAX)));
}

#[test]
fn keep_counts_promotions_and_what_falls_out_is_forgotten() {
    let hospital = Hospital::new();
    let mut promotions = hospital.promoted(2);
    let mut wide = build(3);
    wide.configs.extend([config(4), config(5), config(6)]);
    hospital.add(&mut promotions, &wide, at(3));
    let held: Vec<u8> = (1..=6)
        .filter(|number| hospital.holds(&promotions, *number, at(3)))
        .collect();
    assert_eq!(held, [2, 3, 4, 5, 6]);
    // Nothing that was forgotten comes back: not by a wider rule, not by retiring what displaced it.
    let wider = Hospital {
        images: hospital.images.replace("keep = 2", "keep = 9"),
        ..hospital
    };
    assert!(!wider.holds(&promotions, 1, at(3)));
    promotions
        .retire(&wider.estate_with(&promotions), config(2))
        .unwrap();
    assert!(!wider.holds(&promotions, 1, at(3)));
}

impl Hospital {
    fn estate_with(&self, promotions: &Promotions) -> Estate {
        self.read(&promotions.to_text()).unwrap()
    }
}

#[test]
fn what_is_retired_stays_out_and_takes_no_place() {
    let hospital = Hospital::new();
    let mut promotions = hospital.promoted(2);
    let estate = hospital.estate_with(&promotions);
    assert!(promotions.retire(&estate, config(2)).unwrap());
    assert!(
        !promotions.retire(&estate, config(2)).unwrap(),
        "done before"
    );
    assert!(!hospital.holds(&promotions, 2, at(2)));
    assert!(hospital.holds(&promotions, 1, at(2)));
    hospital.add(&mut promotions, &build(3), at(3));
    assert!(hospital.holds(&promotions, 1, at(3)) && hospital.holds(&promotions, 3, at(3)));
    // Neither the old statement nor a new one brings it back.
    let estate = hospital.estate_with(&promotions);
    let mut try_add = |statement: &PromotionStatement| {
        let envelope = statement.sign(&hospital.promoter).unwrap().to_string();
        promotions
            .add(&estate, DOMAIN, &envelope, at(4))
            .unwrap_err()
    };
    assert!(matches!(
        try_add(&build(2)),
        PromotionError::Replayed {
            revision: 2,
            floor: 3
        }
    ));
    let mut again = build(2);
    again.predicate.revision = 4;
    assert!(matches!(try_add(&again), PromotionError::Retired { .. }));
}

#[test]
fn a_listed_image_can_be_retired_and_a_stranger_can_not() {
    let hospital = Hospital::new();
    let estate = hospital.estate();
    let listed = Digest::from_bytes([1; 32]);
    assert!(estate.image_set_of(&listed, at(0)).is_some());
    let mut promotions = estate.promotions(&name("other"));
    assert!(promotions.retire(&estate, listed).unwrap());
    let mut files = hospital.files();
    files.push((promotions.path(), promotions.to_text()));
    let next = Estate::parse(&files).unwrap();
    assert!(next.image_set_of(&listed, at(0)).is_none());
    assert!(matches!(
        promotions.retire(&estate, config(7)),
        Err(PromotionError::NotAMember { .. })
    ));
}

#[test]
fn an_old_statement_does_not_come_back_even_when_its_promotion_is_gone() {
    let hospital = Hospital::new();
    let mut promotions = hospital.promoted(1);
    let estate = hospital.estate_with(&promotions);
    promotions.retire(&estate, config(1)).unwrap();
    hospital.add(&mut promotions, &build(2), at(2));
    assert_eq!(
        promotions.iter().count(),
        1,
        "what was retired whole is forgotten"
    );
    // The promoter's key goes, and with it the last promotion; later the key comes again.
    let gone = Hospital {
        images: hospital.images.replace("keys/medrec.pub", "keys/other.pub"),
        promoter: SigningKey::from_pem(&hospital.promoter.to_pem().unwrap()).unwrap(),
        ..Hospital::new()
    };
    let dropped = promotions.prune(&gone.estate());
    assert_eq!(dropped.len(), 1);
    assert_eq!((promotions.iter().count(), promotions.floor()), (0, 2));
    let read = hospital.estate_with(&promotions);
    let mut promotions = read.promotions(&name("medrec"));
    for number in [1, 2] {
        let envelope = build(number).sign(&hospital.promoter).unwrap().to_string();
        assert!(matches!(
            promotions.add(&read, DOMAIN, &envelope, at(3)),
            Err(PromotionError::Replayed { floor: 2, .. })
        ));
    }
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
fn a_set_of_encrypted_images_wants_them_stated_so() {
    let hospital = Hospital::new();
    let plain = |statement: &mut PromotionStatement| statement.predicate.encrypted = false;
    assert!(matches!(
        hospital.refused_statement(plain),
        PromotionError::NotEncrypted { .. }
    ));
    // A rule that comes later drops what was promoted without.
    let lax = Hospital::new().with("must_be = [\"encrypted\"]\n", "");
    let mut statement = build(1);
    plain(&mut statement);
    let mut promotions = lax.promoted(0);
    lax.add(&mut promotions, &statement, at(1));
    assert!(lax.holds(&promotions, 1, at(1)));
    let strict = Hospital {
        images: IMAGES.to_owned(),
        ..lax
    };
    assert!(
        strict
            .reason(&promotions.to_text())
            .contains("wants encrypted images")
    );
    assert_eq!(promotions.prune(&strict.estate()).len(), 1);
    assert!(!strict.holds(&promotions, 1, at(1)));
}

#[test]
fn one_image_is_not_in_two_sets() {
    let hospital = Hospital::new();
    let listed = Digest::from_bytes([1; 32]);
    let refused = hospital.refused_statement(|statement| statement.configs = [listed].into());
    assert!(matches!(refused, PromotionError::OtherSet { other, .. } if other == "other"));
    // Nor is it written into another set later.
    let promotions = hospital.promoted(1);
    let shared = hospital.with(&listed.to_string(), &config(1).to_string());
    assert!(
        shared
            .reason(&promotions.to_text())
            .contains("the same image")
    );
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
fn a_key_that_is_no_promoter_any_more_ends_its_promotions() {
    let hospital = Hospital::new();
    let promotions = hospital.promoted(2);
    let text = promotions.to_text();
    let estate = hospital.estate_with(&promotions);
    let next = Hospital {
        images: hospital.images.replacen(
            "[[image.medrec.promoter]]\nkey = \"keys/medrec.pub\"\n",
            "",
            1,
        ),
        promoter: SigningKey::from_pem(&hospital.promoter.to_pem().unwrap()).unwrap(),
        ..Hospital::new()
    };
    assert!(
        next.reason(&text)
            .contains("promotion 1: no promoter of image set `medrec`")
    );
    let carried = estate.carried_promotions(&next.estate());
    let [(path, text)] = carried.as_slice() else {
        panic!("one file")
    };
    assert_eq!(path, "promotions/medrec.json");
    let read = next.read(text).unwrap();
    assert_eq!(read.image_set(&name("medrec")).unwrap().promoted, []);
    assert_eq!(read.promotions(&name("medrec")).floor(), 2);
}

#[test]
fn a_renamed_key_keeps_its_promotions() {
    let hospital = Hospital::new();
    let promotions = hospital.promoted(1);
    let estate = hospital.estate_with(&promotions);
    let renamed = hospital.with("keys/medrec.pub", "keys/new.pub");
    let mut files = renamed.files();
    files.push((
        "keys/new.pub".to_owned(),
        renamed.promoter.verifying_key().to_pem(),
    ));
    files.extend(estate.carried_promotions(&Estate::parse(&files).unwrap()));
    let next = Estate::parse(&files).unwrap();
    let [promoted] = next.image_set(&name("medrec")).unwrap().promoted.as_slice() else {
        panic!("one promotion")
    };
    assert_eq!(promoted.promoter, "keys/new.pub");
    let changes = diff(&estate, &next);
    assert!(
        changes
            .iter()
            .all(|change| change.kind != ObjectKind::Promotion)
    );
}

#[test]
fn a_set_that_comes_back_knows_its_old_statements() {
    let hospital = Hospital::new();
    let mut promotions = hospital.promoted(2);
    promotions
        .retire(&hospital.estate_with(&promotions), config(1))
        .unwrap();
    let estate = hospital.estate_with(&promotions);
    let without = hospital
        .files()
        .into_iter()
        .map(|(path, text)| match path.as_str() {
            "images.toml" => (path, "version = 1\n".to_owned()),
            _ => (path, text),
        });
    let mut without: Vec<_> = without.collect();
    without.extend(estate.carried_promotions(&Estate::parse(&without).unwrap()));
    let gone = Estate::parse(&without).unwrap();
    let carried = gone.carried_promotions(&hospital.estate());
    let back = hospital
        .read(&carried[0].1)
        .unwrap()
        .promotions(&name("medrec"));
    assert_eq!((back.floor(), back.iter().count()), (2, 0));
    assert!(back.retired().contains(&config(1)));
}

#[test]
fn a_promotion_widens_and_retiring_narrows() {
    let hospital = Hospital::new();
    let effects = |old: &Estate, new: &Estate| -> Vec<_> {
        let changes = diff(old, new).into_iter();
        changes
            .map(|change| (change.kind, change.name, change.effect))
            .collect()
    };
    let of = |effect| vec![(ObjectKind::Promotion, "medrec".to_owned(), effect)];
    let none = hospital.estate();
    let mut promotions = hospital.promoted(1);
    let one = hospital.estate_with(&promotions);
    assert_eq!(effects(&none, &one), of(Effect::Widening));
    assert_ne!(none.hash(), one.hash());
    promotions.retire(&one, config(1)).unwrap();
    let retired = hospital.estate_with(&promotions);
    assert_eq!(effects(&one, &retired), of(Effect::Narrowing));
    assert_eq!(effects(&retired, &one), of(Effect::Widening));
    assert_eq!(effects(&retired, &none), of(Effect::Widening));
    let mut pruned = one.promotions(&name("medrec"));
    pruned.entries.clear();
    assert_eq!(
        effects(&one, &hospital.estate_with(&pruned)),
        of(Effect::Narrowing)
    );
}

#[test]
fn files_that_the_server_would_not_write_are_refused() {
    type Edit = fn(&mut Value);
    let hospital = Hospital::new();
    let text = hospital.promoted(2).to_text();
    let good: Value = serde_json::from_str(&text).unwrap();
    let with = |edit: Edit| {
        let mut value = good.clone();
        edit(&mut value);
        hospital.reason(&value.to_string())
    };
    let edits: [(Edit, &str); 9] = [
        (|value| value["version"] = 2.into(), "`version` is not 1"),
        (|value| value["more"] = 2.into(), "JSON"),
        (|value| value["promotions"][0]["more"] = 2.into(), "JSON"),
        (|value| value["floor"] = 1.into(), "`floor` is below"),
        (|value| value["floor"] = Value::Null, "JSON"),
        (
            |value| value["promotions"].as_array_mut().unwrap().reverse(),
            "not above",
        ),
        (
            |value| value["promotions"] = vec![value["promotions"][0].clone(); 2].into(),
            "not above",
        ),
        (
            |value| value["retired"] = vec![config(9).to_string(); 2].into(),
            "retired twice",
        ),
        (
            |value| value["promotions"][0]["at"] = "1969-01-01T00:00:00Z".into(),
            "promotion 1: revision 1",
        ),
    ];
    for (edit, wanted) in edits {
        let reason = with(edit);
        assert!(reason.contains(wanted), "{reason}: {wanted}");
    }
    let doubled = text.replacen("\"floor\"", "\"floor\": 9, \"floor\"", 1);
    assert!(hospital.reason(&doubled).contains("twice"));
    for path in [
        "promotions/nobody.json",
        "promotions/medrec.txt",
        "promotions/a/b.json",
    ] {
        let mut files = hospital.files();
        files.push((path.to_owned(), text.clone()));
        assert!(Estate::parse(&files).is_err(), "{path}");
    }
}

#[test]
fn files_have_bounds() {
    let hospital = Hospital::new()
        .with("keep = 2\n", "")
        .with("max_age = \"90d\"\n", "");
    let mut promotions = hospital.promoted(128);
    let estate = hospital.estate();
    let last = build(129).sign(&hospital.promoter).unwrap().to_string();
    assert!(matches!(
        promotions.add(&estate, DOMAIN, &last, at(200)),
        Err(PromotionError::TooMany { .. })
    ));
    let long = format!("{last}{}", " ".repeat(Promotions::LONGEST));
    assert!(matches!(hospital.refused(&long), PromotionError::TooLong));
    // The largest statement that is taken in leaves a file that is read.
    let mut largest = build(1);
    largest.name = None;
    largest.configs = (0..64).map(config).collect();
    largest.predicate.manifests = (0..64).map(config).collect();
    let envelope = largest.sign(&hospital.promoter).unwrap().to_string();
    assert!(envelope.len() < Promotions::LONGEST, "{}", envelope.len());
    let nothing = Hospital::new().with("keep = 2", "keep = 0");
    let refused = nothing.refused(&build(1).sign(&nothing.promoter).unwrap().to_string());
    assert!(matches!(refused, PromotionError::NothingKept { .. }));
}

#[test]
fn the_server_keeps_the_files_of_promotions_alone() {
    for path in ["promotions/medrec.json", "promotions/x", "promotions/"] {
        assert!(Estate::is_kept_by_server(path), "{path}");
    }
    for path in [
        "images.toml",
        "promotions",
        "promotions.toml",
        "keys/promotions/x",
    ] {
        assert!(!Estate::is_kept_by_server(path), "{path}");
    }
}

proptest! {
    #[test]
    fn no_file_panics(text in "\\{?(\"(version|floor|promotions|retired)\": ?(1|0|null|\\[\\]|\\[\\{\"at\":\"1970-01-01T00:00:00Z\",\"envelope\":(\\{\\}|1)\\}\\]),?){0,4}\\}?|.{0,40}") {
        let _ = Hospital::new().read(&text);
    }

    #[test]
    fn no_changed_byte_of_a_file_makes_another_member(position in 0_usize..4096, byte in 0x20_u8..0x7f) {
        let hospital = Hospital::new();
        let text = hospital.promoted(2).to_text();
        let mut bytes = text.clone().into_bytes();
        let position = position % bytes.len();
        bytes[position] = byte;
        if let Ok(estate) = hospital.read(&String::from_utf8(bytes).unwrap()) {
            let set = estate.image_set(&name("medrec")).unwrap();
            let members: BTreeSet<_> = set.possible().copied().collect();
            prop_assert!(members.is_subset(&BTreeSet::from([config(1), config(2)])));
        }
    }

    #[test]
    fn what_is_written_is_read_back(steps in proptest::collection::vec((1_u8..40, any::<bool>()), 0..12)) {
        let hospital = Hospital::new();
        let mut promotions = hospital.promoted(0);
        for (number, retire) in steps {
            let estate = hospital.estate_with(&promotions);
            if retire {
                let _ = promotions.retire(&estate, config(number));
            } else {
                let envelope = build(number).sign(&hospital.promoter).unwrap().to_string();
                let _ = promotions.add(&estate, DOMAIN, &envelope, at(u64::from(number)));
            }
            let read = hospital.estate_with(&promotions);
            prop_assert_eq!(&read.promotions(&name("medrec")), &promotions);
            let kept = &read.image_set(&name("medrec")).unwrap().promoted;
            prop_assert!(kept.len() <= 2);
        }
    }
}
