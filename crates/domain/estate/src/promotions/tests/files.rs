//! Files that are carried on, and files that the server would not write.

use proptest::prelude::*;
use serde_json::Value;

use super::*;

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
fn promotions_of_a_version_follow_those_before() {
    let hospital = Hospital::new();
    let none = hospital.estate();
    let mut promotions = hospital.promoted(1);
    let first = promotions.clone();
    let one = hospital.estate_with(&promotions);
    promotions.retire(&one, config(1)).unwrap();
    let retired = hospital.estate_with(&promotions);
    hospital.add(&mut promotions, &build(2), at(2));
    let two = hospital.estate_with(&promotions);
    for (old, new) in [
        (&none, &one),
        (&one, &retired),
        (&retired, &two),
        (&two, &two),
    ] {
        assert!(new.check_promotions_follow(old).is_ok());
    }
    // What was retired does not return, no file goes missing, and no floor falls.
    for (old, new) in [
        (&retired, &one),
        (&two, &none),
        (&two, &retired),
        (&retired, &none),
    ] {
        assert!(matches!(
            new.check_promotions_follow(old),
            Err(PromotionError::DoesNotFollow { .. })
        ));
    }
    // Nor does a statement that was dropped, whatever stands beside it.
    let mut edited = promotions.clone();
    edited.entries.insert(0, first.entries[0].clone());
    let edited = hospital.estate_with(&edited);
    assert!(edited.check_promotions_follow(&two).is_err());
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
