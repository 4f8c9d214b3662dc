//! What differs between two estates, and what that does to access.

use estate::{
    ChangeId, ChangeRecord, ChangeSignature, Digest, Effect, Estate, ObjectKind, PolicyVersion,
    Submission, Timestamp, Verb, diff,
};

use crate::{appended, edited, example, example_files};

#[track_caller]
fn effect(changed: Result<Estate, estate::EstateError>) -> Effect {
    let changes = diff(&example(), &changed.unwrap());
    assert_eq!(changes.len(), 1, "{changes:?}");
    changes.first().unwrap().effect
}

#[test]
fn the_same_estate_does_not_differ() {
    assert_eq!(diff(&example(), &example()), []);
}

#[test]
fn what_takes_away_narrows() {
    for (path, from, to) in [
        ("datasets.toml", "min_assurance = 2", "min_assurance = 3"),
        ("datasets.toml", "max_lease = \"12h\"", "max_lease = \"2h\""),
        (
            "images.toml",
            "env = [\"LOG_LEVEL\", \"TZ\"]",
            "env = [\"TZ\"]",
        ),
        ("images.toml", "keep = 3", "keep = 2"),
        (
            "credentials.toml",
            ", \"SELECT ON ALL TABLES IN SCHEMA records\"",
            "",
        ),
        ("inventory.toml", ", \"events/debian12-6.1.119.toml\"", ""),
        ("people.toml", "platform = 2, ", "platform = 2, audit = 1, "),
    ] {
        assert_eq!(
            effect(edited(path, from, to)),
            Effect::Narrowing,
            "{path}: {to}"
        );
    }
}

#[test]
fn what_gives_or_may_give_widens() {
    for (path, from, to) in [
        ("datasets.toml", "min_assurance = 2", "min_assurance = 1"),
        (
            "datasets.toml",
            "tenant = \"hospital\"",
            "tenant = \"other\"",
        ),
        ("images.toml", "\"TZ\"]", "\"TZ\", \"MODE\"]"),
        ("images.toml", "must_be = [\"encrypted\"]", "must_be = []"),
        ("images.toml", "keep = 3 ", "keep = 4 "),
        (
            "images.toml",
            "digests = [",
            "digests = [\"sha256:1111111111111111111111111111111111111111111111111111111111111111\", ",
        ),
        (
            "credentials.toml",
            "pg.dal05.hospital.example",
            "proxy.example",
        ),
        (
            "credentials.toml",
            "\"SELECT ON ALL",
            "\"SELECT, DELETE ON ALL",
        ),
        ("inventory.toml", "ek = \"sha256:3b1f", "ek = \"sha256:3b10"),
        ("inventory.toml", "in = \"US\"", "in = \"EU\""),
        ("people.toml", "platform = 2, security = 1", "platform = 2"),
        (
            "people.toml",
            "eva@hospital.example",
            "mallory@hospital.example",
        ),
        ("policies/medical-records.cedar", "DAL05", "FRA02"),
        ("keys/pg-ca.pem", "bm90", "Bm90"),
        ("identities.toml", "/ns/", "/namespace/"),
        ("tests/medical-records.toml", "no lease", "a lease"),
    ] {
        assert_eq!(
            effect(edited(path, from, to)),
            Effect::Widening,
            "{path}: {to}"
        );
    }
    let guardrail = "@id(\"g\") forbid (principal, action, resource);";
    let with = appended("policies/guardrails.cedar", guardrail).unwrap();
    assert_eq!(
        diff(&with, &example()).first().unwrap().effect,
        Effect::Widening
    );
}

#[test]
fn a_remark_in_the_asset_register_is_neutral() {
    assert_eq!(
        effect(edited("inventory.toml", "CZJ3120XYZ", "CZJ3120XYY")),
        Effect::Neutral
    );
    assert_eq!(
        effect(edited("datasets.toml", "DPIA-2026-014", "DPIA-2027-001")),
        Effect::Neutral
    );
}

#[test]
fn a_removed_node_narrows_and_a_new_one_widens() {
    let mut files = example_files();
    let inventory = files
        .iter_mut()
        .find(|(path, _)| path == "inventory.toml")
        .map(|(_, text)| text)
        .unwrap();
    inventory.truncate(inventory.find("[node.").unwrap());
    let without = Estate::parse(&files).unwrap();
    let removed = diff(&example(), &without);
    let first = removed.first().unwrap();
    assert_eq!(
        (first.kind, first.verb, first.effect),
        (ObjectKind::Node, Verb::Removed, Effect::Narrowing)
    );
    assert_eq!(
        first.to_string(),
        "removes node `dal05-r12-n07`: narrows access"
    );
    assert_eq!(
        diff(&without, &example()).first().unwrap().effect,
        Effect::Widening
    );
}

#[test]
fn the_hash_of_a_change_covers_all_but_its_signatures() {
    let record = |to: &str| {
        let result = edited("datasets.toml", "min_assurance = 2", to).unwrap();
        let submission = Submission {
            ledger: "hospital.example/ledger".into(),
            number: ChangeId(7),
            base_version: PolicyVersion(3),
            access: Digest::of("[]"),
            submitter: Some("ana@hospital.example".parse().unwrap()),
            submitted: Timestamp::UNIX_EPOCH,
            expires: Timestamp::from_seconds(60),
        };
        ChangeRecord::new(&example(), &result, diff(&example(), &result), submission)
    };
    let one = record("min_assurance = 1");
    assert_eq!((one.effect(), one.changes.len()), (Effect::Widening, 1));
    assert_ne!(one.hash(), record("min_assurance = 0").hash());
    let mut signed = one.clone();
    let person = "eva@hospital.example".parse().unwrap();
    signed.signatures.push(ChangeSignature {
        person,
        signature: "…".into(),
    });
    assert_eq!(signed.hash(), one.hash());
    let others: [fn(&mut ChangeRecord); 7] = [
        |record| record.ledger = "staging.example/ledger".into(),
        |record| record.submitter = None,
        |record| record.number = ChangeId(8),
        |record| record.base_version = PolicyVersion(4),
        |record| record.access = Digest::of("[1]"),
        |record| record.expires = Timestamp::from_seconds(61),
        |record| record.changes.clear(),
    ];
    for edit in others {
        let mut other = one.clone();
        edit(&mut other);
        assert_ne!(other.hash(), one.hash());
    }
    let text = serde_json::to_string(&one).unwrap();
    assert_eq!(serde_json::from_str::<ChangeRecord>(&text).unwrap(), one);
}
