//! Approvals that are none.

use estate::{ChangeRecord, Digest, Effect, Estate, NotApproved, PolicyVersion, approve, diff};

use super::{VERSION, at, edited, files, founders, in_force, judge, signed, submit};

/// A rule of two, so that one person is not enough.
pub(super) fn pair() -> (Estate, Estate) {
    let two = (
        "people.toml",
        "dataset = { owner = 1 }",
        "dataset = { owner = 1, security = 2 }",
    );
    let old = edited(&[two]);
    let new = edited(&[
        two,
        (
            "credentials.toml",
            "\"SELECT ON ALL",
            "\"SELECT, DELETE ON ALL",
        ),
    ]);
    (old, new)
}

pub(super) fn approved() -> (Estate, Estate, ChangeRecord) {
    let (old, new) = pair();
    let record = signed(submit(&old, &new, Some("ana")), &["chen", "sam", "tia"]);
    (old, new, record)
}

#[test]
fn owners_who_sign_approve() {
    let (old, new, record) = approved();
    let change = judge(&record, &old, &new).unwrap();
    let approvers: Vec<&str> = change.approvers().iter().map(|one| one.as_str()).collect();
    assert_eq!(
        approvers,
        [
            "chen@hospital.example",
            "sam@hospital.example",
            "tia@hospital.example"
        ]
    );
    assert_eq!(change.record(), &record);
}

#[test]
fn an_approval_is_not_good_for_a_later_version_with_the_same_estate() {
    let (old, new, record) = approved();
    let later = PolicyVersion(VERSION.0 + 2);
    let again = approve(
        &record,
        &diff(&old, &new),
        &old,
        later,
        &new,
        &founders(),
        at(10),
    );
    assert!(matches!(again, Err(NotApproved::OtherBase { .. })));
    let moved = ChangeRecord {
        base_version: later,
        ..record
    };
    let again = approve(
        &moved,
        &diff(&old, &new),
        &old,
        later,
        &new,
        &founders(),
        at(10),
    );
    assert!(matches!(again, Err(NotApproved::Signature { .. })));
}

#[test]
fn an_approval_is_good_for_its_own_estates_only() {
    let (old, new, record) = approved();
    let other = edited(&[(
        "credentials.toml",
        "\"SELECT ON ALL",
        "\"SELECT, UPDATE ON ALL",
    )]);
    for (from, to) in [(&old, &other), (&other, &new)] {
        let answer = approve(
            &record,
            &diff(from, to),
            from,
            VERSION,
            to,
            &founders(),
            at(10),
        );
        assert!(
            matches!(answer, Err(NotApproved::OtherEstate { .. })),
            "{answer:?}"
        );
    }
    let redirected = ChangeRecord {
        result: other.hash(),
        ..record
    };
    let redirected = ChangeRecord {
        changes: diff(&old, &other),
        ..redirected
    };
    assert!(matches!(
        judge(&redirected, &old, &other),
        Err(NotApproved::Signature { .. })
    ));
}

#[test]
fn each_value_of_a_record_is_under_the_signatures() {
    let (old, new, record) = approved();
    let edits: [fn(&mut ChangeRecord); 5] = [
        |record| record.number.0 += 1,
        |record| record.access = Digest::of("[\"gain\"]"),
        |record| record.submitter = None,
        |record| record.submitted = at(1),
        |record| record.expires = at(600),
    ];
    for edit in edits {
        let mut other = record.clone();
        edit(&mut other);
        assert!(matches!(
            judge(&other, &old, &new),
            Err(NotApproved::Signature { .. })
        ));
    }
    let other = ChangeRecord { v: 2, ..record };
    assert!(matches!(
        judge(&other, &old, &new),
        Err(NotApproved::Format(2))
    ));
}

#[test]
fn an_edited_list_of_changes_or_effect_is_refused_even_when_signed() {
    let (old, new) = pair();
    let edits: [fn(&mut ChangeRecord); 4] = [
        |record| record.changes.clear(),
        |record| {
            record
                .changes
                .iter_mut()
                .for_each(|one| one.effect = Effect::Neutral)
        },
        |record| {
            record
                .changes
                .iter_mut()
                .for_each(|one| one.name = "other".into())
        },
        |record| record.changes.extend(record.changes.clone()),
    ];
    for edit in edits {
        let mut record = submit(&old, &new, Some("ana"));
        edit(&mut record);
        let record = signed(record, &["chen", "sam", "tia"]);
        assert!(matches!(
            judge(&record, &old, &new),
            Err(NotApproved::OtherChanges { .. })
        ));
        // Nor when whoever calls believes the record.
        let believed = approve(
            &record,
            &record.changes,
            &old,
            VERSION,
            &new,
            &founders(),
            at(10),
        );
        assert!(matches!(believed, Err(NotApproved::OtherChanges { .. })));
    }
}

#[test]
fn an_expired_change_stays_what_it_is() {
    let (old, new, record) = approved();
    let judged = |seconds| {
        approve(
            &record,
            &diff(&old, &new),
            &old,
            VERSION,
            &new,
            &founders(),
            at(seconds),
        )
    };
    assert!(judged(59).is_ok());
    assert!(matches!(judged(60), Err(NotApproved::Expired { .. })));
}

#[test]
fn one_person_with_two_keys_is_one() {
    let (old, new) = pair();
    let record = signed(
        submit(&old, &new, Some("ana")),
        &["chen", "sam", "sam/second"],
    );
    let error = judge(&record, &old, &new).unwrap_err();
    assert_eq!(
        error.to_string(),
        "data set `medical-records`: 2 of security (sam@hospital.example, tia@hospital.example) must sign, 1 has"
    );
    assert!(judge(&signed(record, &["tia/second"]), &old, &new).is_ok());
}

#[test]
fn somebody_of_another_team_does_not_count() {
    let (old, new) = pair();
    let record = signed(
        submit(&old, &new, Some("ana")),
        &["bob", "ben", "olu", "sam", "tia"],
    );
    assert!(
        matches!(judge(&record, &old, &new), Err(NotApproved::Missing(missing)) if missing.len() == 1)
    );
}

#[test]
fn a_founder_does_not_sign_where_there_is_a_rule() {
    let (old, new) = pair();
    let record = signed(
        submit(&old, &new, Some("ana")),
        &["fay", "fred", "sam", "tia"],
    );
    assert!(matches!(
        judge(&record, &old, &new),
        Err(NotApproved::Missing(_))
    ));
}

#[test]
fn nobody_approves_alone_what_they_submit() {
    let old = in_force();
    let new = edited(&[(
        "credentials.toml",
        "\"SELECT ON ALL",
        "\"SELECT, DELETE ON ALL",
    )]);
    let alone = signed(submit(&old, &new, Some("chen")), &["chen", "chen/second"]);
    let error = judge(&alone, &old, &new).unwrap_err();
    assert!(
        error
            .to_string()
            .starts_with("nobody alone: 1 of all but chen@hospital.example ("),
        "{error}"
    );
    assert!(judge(&signed(alone, &["eva"]), &old, &new).is_ok());
    assert!(
        judge(
            &signed(submit(&old, &new, Some("ana")), &["chen"]),
            &old,
            &new
        )
        .is_ok()
    );
    assert!(judge(&signed(submit(&old, &new, None), &["chen"]), &old, &new).is_ok());
}

#[test]
fn founders_sign_the_first_version_whatever_it_is() {
    let (nothing, new) = (Estate::default(), in_force());
    let first = |submitter: Option<&str>, by: &[&str]| {
        let record = ChangeRecord {
            base_version: PolicyVersion(0),
            ..submit(&nothing, &new, submitter)
        };
        let record = signed(record, by);
        approve(
            &record,
            &diff(&nothing, &new),
            &nothing,
            PolicyVersion(0),
            &new,
            &founders(),
            at(10),
        )
        .map(|_| ())
    };
    assert!(matches!(first(None, &[]), Err(NotApproved::Missing(_))));
    assert!(matches!(
        first(None, &["fay"]),
        Err(NotApproved::Missing(_))
    ));
    assert!(matches!(
        first(Some("fay"), &["fay"]),
        Err(NotApproved::Missing(_))
    ));
    assert!(first(None, &["fay", "fred"]).is_ok());
    assert!(first(Some("fay"), &["fay", "fred"]).is_ok());
    // People of the estate that is to come are nobody yet.
    assert!(matches!(
        first(None, &["fay", "fred", "chen"]),
        Err(NotApproved::Stranger { .. })
    ));
    // An estate in force without a version was brought by nobody.
    let other = edited(&[(
        "credentials.toml",
        "\"SELECT ON ALL",
        "\"SELECT, DELETE ON ALL",
    )]);
    let record = ChangeRecord {
        base_version: PolicyVersion(0),
        ..submit(&new, &other, None)
    };
    let record = signed(record, &["chen"]);
    let answer = approve(
        &record,
        &diff(&new, &other),
        &new,
        PolicyVersion(0),
        &other,
        &founders(),
        at(10),
    );
    assert!(matches!(answer, Err(NotApproved::OtherEstate { .. })));
}

#[test]
fn an_edited_file_of_promotions_is_not_approved_by_any_signature() {
    let with = |file: Option<String>| {
        let mut all = files();
        all.extend(file.map(|text| ("promotions/medrec.json".to_owned(), text)));
        Estate::parse(&all).unwrap()
    };
    let file = |floor: u64, retired: &[Digest]| {
        let retired: Vec<String> = retired.iter().map(|it| format!("\"{it}\"")).collect();
        let retired = retired.join(",");
        format!(r#"{{"version":1,"floor":{floor},"promotions":[],"retired":[{retired}]}}"#)
    };
    let gone = Digest::of("gone");
    let old = with(Some(file(5, &[gone])));
    for new in [
        with(None),
        with(Some(file(4, &[gone]))),
        with(Some(file(5, &[]))),
    ] {
        let record = signed(
            submit(&old, &new, Some("ana")),
            &["chen", "eva", "sam", "tia"],
        );
        assert!(
            matches!(judge(&record, &old, &new), Err(NotApproved::Promotions(why)) if why.contains("medrec"))
        );
    }
    let risen = with(Some(file(6, &[gone])));
    let record = signed(submit(&old, &risen, Some("ana")), &["chen"]);
    assert!(!matches!(
        judge(&record, &old, &risen),
        Err(NotApproved::Promotions(_))
    ));
}

/// One person of the team that guards people could shut everybody out for ever: with a team more in a rule, whose members
/// have no key.
#[test]
fn a_rule_that_can_be_met_gets_no_team_that_can_not_sign() {
    let old = edited(&[(
        "people.toml",
        "[approve]",
        "board = [\"zoe@hospital.example\"]\n[approve]",
    )]);
    for (from, to) in [
        (
            "people = { security = 2",
            "people = { board = 1, security = 2",
        ),
        (
            "inventory = { platform = 2",
            "inventory = { board = 1, platform = 2",
        ),
        (
            "dataset = { owner = 1 }",
            "dataset = { owner = 1, board = 1 }",
        ),
    ] {
        let new = edited(&[
            (
                "people.toml",
                "[approve]",
                "board = [\"zoe@hospital.example\"]\n[approve]",
            ),
            ("people.toml", from, to),
        ]);
        let record = signed(submit(&old, &new, Some("sam")), &["tia", "olu"]);
        let judged = judge(&record, &old, &new);
        assert!(
            matches!(&judged, Err(NotApproved::OutOfReach(why)) if why.team == "board"),
            "{judged:?}"
        );
    }
}
