//! Signatures that count, and those that are an error.

use estate::{ChangeRecord, Estate, NotApproved, check_signature, signer_of};

use super::attacks::{approved, pair};
use super::{
    files, founders, in_force, judge, key, person_of, set, signature, signed, submit, text,
};

#[test]
fn a_line_end_that_echo_writes_is_accepted_and_nothing_else() {
    let (old, new, record) = approved();
    let hash = record.hash().to_string();
    for (text, accepted) in [
        (format!("{hash}\n"), true),
        (format!("{hash}\r\n"), false),
        (format!("{hash}\n\n"), false),
        (hash.replace("sha256:", ""), false),
        (hash.to_uppercase(), false),
    ] {
        let armored = key("chen")
            .sign(ChangeRecord::NAMESPACE, text.as_bytes())
            .unwrap()
            .armored();
        assert_eq!(
            check_signature(&record, &armored, &old, &founders()).is_ok(),
            accepted,
            "{text:?}"
        );
        let mut other = record.clone();
        other.signatures.first_mut().unwrap().signature = armored;
        assert_eq!(judge(&other, &old, &new).is_ok(), accepted, "{text:?}");
    }
}

#[test]
fn a_robot_never_approves() {
    let (old, new) = pair();
    let mut record = signed(submit(&old, &new, Some("ana")), &["chen", "sam", "tia"]);
    let mut robot = signature(&record, "ci");
    robot.person = "ci".parse().unwrap();
    assert!(matches!(
        check_signature(&record, &robot.signature, &old, &founders()),
        Err(NotApproved::Robot(_))
    ));
    record.signatures.push(robot);
    assert!(matches!(
        judge(&record, &old, &new),
        Err(NotApproved::Robot(_))
    ));
}

#[test]
fn a_signature_that_is_none_is_never_skipped() {
    let (old, new, record) = approved();
    let with = |person: &str, signature: String| {
        let mut other = record.clone();
        let person = person_of(person).parse().unwrap();
        other
            .signatures
            .push(estate::ChangeSignature { person, signature });
        judge(&other, &old, &new).map(|_| ()).unwrap_err()
    };
    let hash = record.hash().to_string();
    let sign = |name: &str, namespace: &str, text: &str| {
        key(name)
            .sign(namespace, text.as_bytes())
            .unwrap()
            .armored()
    };
    assert!(matches!(
        with("eva", "x".into()),
        NotApproved::Signature { .. }
    ));
    assert!(matches!(
        with("eva", sign("eva", "git", &hash)),
        NotApproved::Signature { .. }
    ));
    assert!(matches!(
        with("eva", sign("eva", ChangeRecord::NAMESPACE, "sha256:00")),
        NotApproved::Signature { .. }
    ));
    assert!(matches!(
        with("eva", sign("mallory", ChangeRecord::NAMESPACE, &hash)),
        NotApproved::Stranger { .. }
    ));
    assert!(matches!(
        with("eva", sign("bob", ChangeRecord::NAMESPACE, &hash)),
        NotApproved::OtherSigner { .. }
    ));
    let many = vec![signature(&record, "chen"); 65];
    let many = ChangeRecord {
        signatures: many,
        ..record.clone()
    };
    assert!(matches!(
        judge(&many, &old, &new),
        Err(NotApproved::TooMany)
    ));
}

#[test]
fn a_signer_is_known_by_the_key() {
    let record = submit(&in_force(), &in_force(), None);
    let signer = |name: &str| {
        let signature = sshsig::SshSignature::parse(&signature(&record, name).signature).unwrap();
        signer_of(&signature, &in_force(), &founders()).map(|one| one.to_string())
    };
    assert_eq!(
        signer("eva/second").as_deref(),
        Some("eva@hospital.example")
    );
    assert_eq!(signer("fay").as_deref(), Some("fay@hospital.example"));
    assert_eq!(signer("mallory"), None);
}

#[test]
fn a_removed_owner_and_a_newcomer_are_nobody() {
    let mut removed = files();
    let people = text(&removed, "people.toml").replace(
        &super::public("chen").to_string(),
        &super::public("new").to_string(),
    );
    set(&mut removed, "people.toml", people);
    let (before, after) = (in_force(), Estate::parse(&removed).unwrap());
    // Chen's first key was taken away: it does not count any more.
    let record = submit(&after, &before, Some("ana"));
    let stranger =
        |answer: Result<_, NotApproved>| matches!(answer, Err(NotApproved::Stranger { .. }));
    assert!(stranger(judge(&signed(record, &["chen"]), &after, &before)));
    // Who enrols a key with the change can't sign with it.
    let mut record = submit(&before, &after, Some("ana"));
    let mut enrolled = signature(&record, "new");
    enrolled.person = person_of("chen").parse().unwrap();
    record.signatures.push(enrolled);
    assert!(stranger(judge(&record, &before, &after)));
}
