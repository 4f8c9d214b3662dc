//! The ways in which an administrator tries to read: each asks those whose data it is.

use estate::{Estate, Grantor, diff, grantors, requirements};

use super::{edited, files, founders, in_force, judge, set, signed, submit, teams, text};

const OWNERS: &[(&str, usize)] = &[("medrec-owners", 1)];
const INVENTORY: &[(&str, usize)] = &[("platform", 2), ("security", 1)];
const PEOPLE: &[(&str, usize)] = &[("audit", 1), ("security", 2)];
const BOTH: &[(&str, usize)] = &[("billing-owners", 1), ("medrec-owners", 1)];

const DIGEST: &str =
    "digests = [\"sha256:1111111111111111111111111111111111111111111111111111111111111111\", ";
const PROMOTER: &str = "[[image.medrec.promoter]]\nkey = \"keys/evil.pub\"\n";
const TRAP: &str = "[credential.trap]\ndataset = \"billing\"\ndatabase = \"medrec-pg\"\n\
    grants = [\"SELECT ON ALL TABLES IN SCHEMA records\"]\nttl = \"1h\"\n";
const DOUBLE: &str = "[database.double]\nkind = \"postgresql\"\nurl = \"postgresql://proxy.example/medrec\"\n\
    login = \"secret:db/medrec-pg/admin\"\n";
const DOUBLED: &str = "[credential.trap]\ndataset = \"billing\"\ndatabase = \"double\"\n\
    grants = [\"SELECT ON ALL TABLES IN SCHEMA records\"]\nttl = \"1h\"\n";

type Way = (
    &'static str,
    &'static [(&'static str, &'static str, &'static str)],
    &'static [(&'static str, usize)],
);

const WAYS: &[Way] = &[
    (
        "own digest in the set",
        &[("images.toml", "digests = [", DIGEST)],
        OWNERS,
    ),
    (
        "self as promoter",
        &[("images.toml", "", PROMOTER), ("keys/evil.pub", "", "x")],
        OWNERS,
    ),
    (
        "another key under the promoter's name",
        &[("keys/medrec-cosign.pub", "", "\n# x")],
        OWNERS,
    ),
    (
        "node into DAL05",
        &[(
            "inventory.toml",
            "[node.",
            "[node.fra]\ncluster = \"hipaaCluster\"\nlocation = \"DAL05\"\nattest = \"join-token\"\n[node.",
        )],
        INVENTORY,
    ),
    (
        "place into another place",
        &[(
            "inventory.toml",
            "datacenter\", in = \"EU\"",
            "datacenter\", in = \"US\"",
        )],
        INVENTORY,
    ),
    (
        "boot profile that accepts less",
        &[("events/debian12-6.1.115.toml", "0 = \"", "10 = \"")],
        INVENTORY,
    ),
    (
        "another machine's key",
        &[("inventory.toml", "ek = \"sha256:3b1f", "ek = \"sha256:3b10")],
        INVENTORY,
    ),
    (
        "looser run",
        &[("images.toml", "\"TZ\"]", "\"TZ\", \"MODE\"]")],
        OWNERS,
    ),
    (
        "proxy as database",
        &[(
            "credentials.toml",
            "pg.dal05.hospital.example",
            "proxy.example",
        )],
        OWNERS,
    ),
    (
        "another authority of the database",
        &[("keys/pg-ca.pem", "", "\n# x")],
        OWNERS,
    ),
    (
        "wider grants",
        &[(
            "credentials.toml",
            "\"SELECT ON ALL",
            "\"SELECT, DELETE ON ALL",
        )],
        OWNERS,
    ),
    (
        "self as owner",
        &[(
            "people.toml",
            "\"chen@hospital.example\", ",
            "\"chen@hospital.example\", \"ana@hospital.example\", ",
        )],
        PEOPLE,
    ),
    (
        "own key for an owner",
        &[(
            "people.toml",
            "[person.\"chen@hospital.example\"]\nkeys = [",
            "[person.\"chen@hospital.example\"]\nkeys = [\"ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIB4etDAwiEQ4bFXbMlpWkfwMUC0bv7niiF8KtjkgLlhE\", ",
        )],
        PEOPLE,
    ),
    (
        "robot as person",
        &[("people.toml", "robot = true", "robot = false")],
        PEOPLE,
    ),
    (
        "fewer must sign",
        &[("people.toml", "platform = 2, ", "")],
        PEOPLE,
    ),
    (
        "owner of the data set",
        &[(
            "datasets.toml",
            "owner = \"medrec-owners\"",
            "owner = \"billing-owners\"",
        )],
        BOTH,
    ),
    (
        "set of another data set",
        &[(
            "images.toml",
            "dataset = \"medical-records\"",
            "dataset = \"billing\"",
        )],
        BOTH,
    ),
    (
        "opens without the start gate",
        &[(
            "datasets.toml",
            "min_assurance",
            "confidential = false\nmin_assurance",
        )],
        OWNERS,
    ),
    (
        "hands inside",
        &[(
            "datasets.toml",
            "min_assurance",
            "exec = \"expose\"\nmin_assurance",
        )],
        OWNERS,
    ),
    (
        "rule",
        &[("policies/medical-records.cedar", "DAL05", "FRA02")],
        OWNERS,
    ),
    (
        "test that goes",
        &[("tests/medical-records.toml", "the sentence", "a sentence")],
        OWNERS,
    ),
    (
        "credential of mine on their database",
        &[("credentials.toml", "", TRAP)],
        BOTH,
    ),
    (
        "their login in a database of mine",
        &[("credentials.toml", "", DOUBLE)],
        OWNERS,
    ),
    (
        "and a credential there",
        &[
            ("credentials.toml", "", DOUBLE),
            ("credentials.toml", "", DOUBLED),
        ],
        BOTH,
    ),
];

#[test]
fn every_way_of_an_administrator_waits_for_those_whose_data_it_is() {
    let old = in_force();
    for (way, edits, wanted) in WAYS {
        let new = edited(edits);
        let changes = diff(&old, &new);
        let required = requirements(&old, &new, &changes, &founders());
        let mut found = teams(&required);
        found.sort_unstable();
        assert_eq!(found, **wanted, "{way}: {changes:?}");
        // The platform alone gets nothing.
        let record = signed(submit(&old, &new, Some("ana")), &["ana", "ben"]);
        assert!(judge(&record, &old, &new).is_err(), "{way}");
    }
}

#[test]
fn a_new_data_set_with_a_credential_on_anothers_database_asks_the_other() {
    let old = in_force();
    let trap = TRAP.replace("\"billing\"", "\"mine\"");
    let dataset = "[dataset.mine]\nowner = \"billing-owners\"\ntenant = \"hospital\"\n";
    let new = edited(&[
        ("datasets.toml", "", dataset),
        ("credentials.toml", "", &trap),
    ]);
    let required = requirements(&old, &new, &diff(&old, &new), &founders());
    let rules: Vec<&str> = required.iter().map(|one| one.rule.as_str()).collect();
    assert_eq!(rules, ["data set `medical-records`", "data set `mine`"]);
    assert!(
        judge(
            &signed(submit(&old, &new, Some("ana")), &["bob"]),
            &old,
            &new
        )
        .is_err()
    );
    assert!(
        judge(
            &signed(submit(&old, &new, Some("ana")), &["bob", "eva"]),
            &old,
            &new
        )
        .is_ok()
    );
}

#[test]
fn a_rule_of_approval_where_there_was_none_is_not_the_first_comers() {
    let mut files = files();
    let without: String = text(&files, "people.toml")
        .lines()
        .filter(|line| !line.starts_with("people = ") && !line.starts_with("dataset = "))
        .map(|line| format!("{line}\n"))
        .collect();
    let more = without.replace("[approve]", "[approve]\ndataset = { platform = 1 }");
    set(&mut files, "people.toml", without);
    let old = Estate::parse(&files).unwrap();
    set(&mut files, "people.toml", more);
    let new = Estate::parse(&files).unwrap();
    let required = requirements(&old, &new, &diff(&old, &new), &founders());
    assert_eq!(teams(&required), [("founders", 2)]);
    assert!(
        judge(
            &signed(submit(&old, &new, Some("ana")), &["ben"]),
            &old,
            &new
        )
        .is_err()
    );
    assert!(
        judge(
            &signed(submit(&old, &new, Some("ana")), &["fay", "fred"]),
            &old,
            &new
        )
        .is_ok()
    );
}

#[test]
fn who_could_grant_themselves_access_is_told() {
    let told: Vec<String> = grantors(
        &in_force(),
        &"medical-records".parse().unwrap(),
        &founders(),
    )
    .iter()
    .map(Grantor::to_string)
    .collect();
    assert_eq!(
        told,
        [
            "by a change of rules, images and credentials of the data set: data set `medical-records`: 1 of \
             medrec-owners (chen@hospital.example, eva@hospital.example) must sign",
            "by a change of places, nodes and boot states: inventory: 2 of platform (ana@hospital.example, \
             ben@hospital.example) must sign; inventory: 1 of security (sam@hospital.example, tia@hospital.example) must sign",
            "by a change of people, teams and rules of approval: people: 1 of audit (olu@auditor.example) must sign; \
             people: 2 of security (sam@hospital.example, tia@hospital.example) must sign",
            "by promoting an image into `medrec`: whoever has the private key of `keys/medrec-cosign.pub`, alone",
        ]
    );
    assert_eq!(
        grantors(&in_force(), &"none".parse().unwrap(), &founders()),
        []
    );
}
