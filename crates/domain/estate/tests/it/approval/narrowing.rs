//! What narrows takes effect at once, if somebody stands for it, and locks nobody out.

use estate::{Effect, Estate, diff, stand_for};

use super::{edited, files, founders, in_force, judge, person_of, set, signed, submit, text};

#[test]
fn a_key_file_that_nothing_names_is_neutral() {
    let (old, new) = (in_force(), edited(&[("keys/new.pem", "", "x")]));
    assert_eq!(diff(&old, &new).first().unwrap().effect, Effect::Neutral);
    assert!(judge(&submit(&old, &new, Some("bob")), &old, &new).is_ok());
}

#[test]
fn who_stands_for_an_object_narrows_it_at_once() {
    let old = in_force();
    let shorter = edited(&[("datasets.toml", "max_lease = \"12h\"", "max_lease = \"2h\"")]);
    for (submitter, at_once) in [
        ("ana", true),
        ("tia", true),
        ("eva", true),
        ("bob", false),
        ("olu", false),
    ] {
        let record = submit(&old, &shorter, Some(submitter));
        assert_eq!(
            judge(&record, &old, &shorter).is_ok(),
            at_once,
            "{submitter}"
        );
        assert_eq!(
            stand_for(&old, &shorter, &record.changes, &founders())
                .contains(person_of(submitter).as_str()),
            at_once
        );
    }
    // Neither a robot nor nobody brings it into force, until somebody signs who stands for it.
    let robot = estate::ChangeRecord {
        submitter: Some("ci".parse().unwrap()),
        ..submit(&old, &shorter, None)
    };
    for record in [robot, submit(&old, &shorter, None)] {
        let error = judge(&record, &old, &shorter).unwrap_err();
        assert_eq!(
            error.to_string(),
            "data set `medical-records`: 1 of medrec-owners or platform or security (ana@hospital.example, \
             ben@hospital.example, chen@hospital.example, eva@hospital.example, sam@hospital.example, \
             tia@hospital.example) must sign, nobody has"
        );
        assert!(judge(&signed(record.clone(), &["bob"]), &old, &shorter).is_err());
        assert!(judge(&signed(record, &["eva"]), &old, &shorter).is_ok());
    }
}

#[test]
fn what_is_removed_and_who_people_are_is_for_the_teams_of_the_rule() {
    let old = in_force();
    let person = edited(&[
        ("people.toml", "robot = true\n", ""),
        (
            "people.toml",
            "",
            "robot = true\noidc = { issuer = \"https://a\", subject = \"b\" }\n",
        ),
    ]);
    let fewer = edited(&[(
        "people.toml",
        &format!(", \"{}\"", super::public("chen/second")),
        "",
    )]);
    assert_eq!(
        diff(&old, &person).first().unwrap().effect,
        Effect::Widening
    );
    for (submitter, at_once) in [
        ("ana", false),
        ("chen", false),
        ("sam", true),
        ("olu", true),
    ] {
        assert_eq!(
            judge(&submit(&old, &fewer, Some(submitter)), &old, &fewer).is_ok(),
            at_once,
            "{submitter}"
        );
    }
    let without: Vec<_> = files()
        .into_iter()
        .filter(|(path, _)| path != "policies/medical-records.cedar")
        .collect();
    let new = Estate::parse(&without).unwrap();
    for (submitter, at_once) in [
        ("ana", false),
        ("sam", false),
        ("chen", true),
        ("bob", false),
    ] {
        assert_eq!(
            judge(&submit(&old, &new, Some(submitter)), &old, &new).is_ok(),
            at_once,
            "{submitter}"
        );
    }
}

#[test]
fn a_change_after_which_nobody_could_sign_is_refused() {
    let old = in_force();
    let keys = format!(
        "\"{}\", \"{}\"",
        super::public("bob"),
        super::public("bob/second")
    );
    let new = edited(&[("people.toml", &keys, "")]);
    let error = judge(&submit(&old, &new, Some("sam")), &old, &new).unwrap_err();
    assert_eq!(
        error.to_string(),
        "`approve.dataset` would want 1 of `billing-owners`, of whom 0 would have keys: nobody could approve anything there"
    );
}

#[test]
fn a_robot_that_is_no_longer_listed_may_have_become_anybody() {
    let mut files = files();
    let people = text(&files, "people.toml");
    let end = people.find("[person.ci]").unwrap();
    let people = people.get(..end).unwrap().to_owned();
    set(&mut files, "people.toml", people);
    let changes = diff(&in_force(), &Estate::parse(&files).unwrap());
    assert_eq!(changes.first().unwrap().effect, Effect::Widening);
    let back = diff(
        &edited(&[("people.toml", "robot = true", "robot = false")]),
        &in_force(),
    );
    assert_eq!(back.first().unwrap().effect, Effect::Narrowing);
}
