//! What makes a build a member of a set, and what does not: each rule, and each way around it that is known.

mod files;
mod statements;

use std::time::Duration;

use dsse::SigningKey;

use super::*;
use crate::source::EstateError;
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

    fn estate_with(&self, promotions: &Promotions) -> Estate {
        self.read(&promotions.to_text()).unwrap()
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
fn a_set_that_must_be_signed_has_promoted_members_only_and_forgets() {
    let signed =
        |hospital: Hospital| hospital.with("[\"encrypted\"]", "[\"encrypted\", \"signed\"]");
    let hospital = signed(Hospital::new());
    let promotions = hospital.promoted(3);
    assert!(hospital.holds(&promotions, 3, at(3)));
    assert!(
        !hospital.holds(&promotions, 1, at(3)),
        "`keep` is its floor"
    );
    let listed = signed(Hospital::new()).with(
        "keep = 2\n",
        "keep = 2\ndigests = [\"sha256:0202020202020202020202020202020202020202020202020202020202020202\"]\n",
    );
    let reason = Estate::parse(&listed.files()).unwrap_err().to_string();
    assert!(reason.contains("nobody signed its `digests`"), "{reason}");
    let aged = signed(Hospital::new()).with("keep = 2\n", "");
    assert!(
        Estate::parse(&aged.files()).is_ok(),
        "`max_age` is a floor, too"
    );
    let endless = aged.with("max_age = \"90d\"\n", "");
    let reason = Estate::parse(&endless.files()).unwrap_err().to_string();
    assert!(reason.contains("`keep` or `max_age`"), "{reason}");
}
