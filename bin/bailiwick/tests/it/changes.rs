//! Changes of the estate: submitted, shown, signed with real keys over both doors, refused, rejected.

use std::fs;

use serde_json::Value;

use crate::{house::House, runner::Ran};

const ANA: &str = "ana@hospital.example";
pub(crate) const CHEN: &str = "chen@hospital.example";
const BEA: &str = "bea@hospital.example";
const SAM: &str = "sam@hospital.example";
const ROBOT: &str = "ci@hospital.example";

/// A server with an estate in force, people with certificates, and a folder in which somebody wants records for another place.
pub(crate) async fn house_with(people: &[(&str, &str)]) -> House {
    let house = House::open().await;
    house.furnish();
    for (name, id) in people {
        house.done(&["person", "certificate", id, "--out", &house.path(name)]);
    }
    house
}

/// Lets the leases of the records be had in the other data centre, too.
pub(crate) fn widen(house: &House) -> String {
    edit(house, "policies/records.cedar", |text| {
        let rule = text
            .split("@id(")
            .find(|rule| rule.contains("lease"))
            .unwrap();
        let wider = rule
            .replace("\"records-lease\"", "\"records-lease-elsewhere\"")
            .replace("DAL05", "FRA02")
            .replace("hipaaCluster", "euCluster");
        format!("{text}\n@id({wider}")
    });
    // The tests of the estate say that nobody may have them there.
    edit(house, "tests/records.toml", |_| "version = 1\n".to_owned());
    house.path("estate")
}

pub(crate) fn edit(house: &House, file: &str, change: impl Fn(&str) -> String) {
    let path = house.kit.folder().join("estate").join(file);
    let text = fs::read_to_string(&path).unwrap();
    let changed = change(&text);
    assert_ne!(text, changed, "{file}");
    fs::write(path, changed).unwrap();
}

pub(crate) fn change(house: &House, number: &str) -> Value {
    let shown = house.done_quietly(&["change", "show", number, "--output", "json"]);
    serde_json::from_str(&shown).unwrap()
}

/// The version in force, as the server says.
pub(crate) fn version(house: &House) -> u64 {
    let status: Value =
        serde_json::from_str(&house.root(&["status", "--output", "json"], "").stdout).unwrap();
    status.get("policy").and_then(Value::as_u64).unwrap()
}

const GAINS: &str = "GAINS image set medrec on fra02-n1 (FRA02, euCluster): lease Credential::\"postgresql/records\"";

#[tokio::test(flavor = "multi_thread")]
async fn what_widens_waits_until_its_owner_signs() {
    let house = house_with(&[("ana", ANA), ("chen", CHEN)]).await;
    let estate = widen(&house);
    let submitted = house.person("ana", &["apply", "-f", &estate]);
    assert_eq!(submitted.status, 0, "{submitted:?}");
    let said = &submitted.stdout;
    assert!(
        said.starts_with("state:     waiting\nchange:    2\nhash:      sha256:"),
        "{said}"
    );
    assert!(said.contains(GAINS), "{said}");
    assert!(said.contains("waits for data set `records`: 1 of records-owners (chen@hospital.example) must sign, nobody has\n"), "{said}");
    let hash = change(&house, "2")["hash"].as_str().unwrap().to_owned();
    let by_hand =
        format!("echo {hash} | ssh-keygen -Y sign -n bailiwick-change -f KEY > change-2.sig");
    for hint in ["hint: bailiwick change approve 2 --sign KEY\n", &by_hand] {
        assert!(submitted.stderr.contains(hint), "{}", submitted.stderr);
    }
    assert_eq!(version(&house), 1);
    // Whoever submitted it, and whoever owns something else, has no say.
    for person in [ANA, BEA] {
        let key = house.key(person);
        let refused = house.root(&["change", "approve", "2", "--sign", &key, "--yes"], "");
        assert!(
            refused.status == 3 && refused.stderr.contains("has no say in this change"),
            "{refused:?}"
        );
    }
    assert_eq!(version(&house), 1);
    let key = house.key(CHEN);
    let signed = house.person("chen", &["change", "approve", "2", "--sign", &key, "--yes"]);
    assert_eq!(signed.status, 0, "{signed:?}");
    assert!(
        signed
            .stdout
            .starts_with("state:     applied\nversion:   2\nchange:    2\n"),
        "{signed:?}"
    );
    // What is signed was shown before, on stderr: stdout has what became of it.
    assert!(signed.stderr.contains(GAINS), "{signed:?}");
    let shown = house.done_quietly(&["change", "show", "2"]);
    let fingerprint = test_server::key_of(CHEN).public_key().fingerprint();
    assert!(
        shown.contains(&format!("signed: {CHEN} with {fingerprint}\n")),
        "{shown}"
    );
    let listed = house.done_quietly(&["change", "list"]);
    assert!(
        listed
            .lines()
            .nth(1)
            .unwrap()
            .starts_with("2       applied  2        widens"),
        "{listed}"
    );
    let again = house.person("chen", &["change", "approve", "2", "--sign", &key, "--yes"]);
    assert!(
        again.status == 1 && again.stderr.contains("it is applied"),
        "{again:?}"
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn a_signature_made_elsewhere_is_brought_by_anybody() {
    let house = house_with(&[]).await;
    let estate = widen(&house);
    assert_eq!(house.root(&["apply", "-f", &estate], "").status, 0);
    let hash = change(&house, "2")["hash"].as_str().unwrap().to_owned();
    let key = test_server::key_of(CHEN);
    let bring = |text: &str, namespace: &str| {
        let signature = key.sign(namespace, text.as_bytes()).unwrap();
        house.root(
            &["change", "approve", "2", "--signature", "-"],
            &signature.armored(),
        )
    };
    // Of something else, or for something else: told before anything is sent.
    for (text, namespace) in [
        (format!("{hash}\n\n"), "bailiwick-change"),
        (hash.replace("sha256:", ""), "bailiwick-change"),
        (hash.clone(), "git"),
    ] {
        let refused = bring(&text, namespace);
        assert!(
            refused.status == 4 && refused.stderr.contains("does not sign this change"),
            "{refused:?}"
        );
    }
    let garbage = house.root(&["change", "approve", "2", "--signature", "-"], "yes");
    assert_eq!(garbage.status, 4, "{garbage:?}");
    assert_eq!(version(&house), 1);
    // With the newline that `echo` adds.
    let brought = bring(&format!("{hash}\n"), "bailiwick-change");
    assert!(
        brought.status == 0 && brought.stdout.starts_with("state:     applied\n"),
        "{brought:?}"
    );
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "needs ssh-keygen; run by make test"]
async fn the_printed_command_signs_with_the_real_ssh_keygen() {
    let house = house_with(&[]).await;
    let estate = widen(&house);
    let submitted = house.root(&["apply", "-f", &estate], "");
    let key = house.key(CHEN);
    let printed = submitted
        .stderr
        .lines()
        .find_map(|line| line.strip_prefix("hint: or: "))
        .unwrap();
    let command = printed.replace("KEY", &key);
    let shell = std::process::Command::new("/bin/sh")
        .args(["-c", &command])
        .current_dir(house.kit.folder())
        .status();
    assert!(shell.unwrap().success(), "{command}");
    let file = house.path("change-2.sig");
    let brought = house.root(&["change", "approve", "2", "--signature", &file], "");
    assert!(
        brought.status == 0 && brought.stdout.starts_with("state:     applied\n"),
        "{brought:?}"
    );
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "needs ssh-keygen; run by make test"]
async fn a_key_that_only_ssh_keygen_can_use_signs_through_it() {
    let house = house_with(&[]).await;
    // The agent's business: with no agent, `ssh-keygen` falls back on the private half that lies beside it.
    let public = format!("{}.pub", house.key(CHEN));
    fs::write(
        &public,
        format!("{}\n", test_server::key_of(CHEN).public_key()),
    )
    .unwrap();
    let estate = widen(&house);
    house.root(&["apply", "-f", &estate], "");
    let signed = house.root(&["change", "approve", "2", "--sign", &public, "--yes"], "");
    assert!(
        signed.status == 0 && signed.stdout.starts_with("state:     applied\n"),
        "{signed:?}"
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn without_a_terminal_nothing_is_signed_unasked() {
    let house = house_with(&[]).await;
    let estate = widen(&house);
    house.root(&["apply", "-f", &estate], "");
    let key = house.key(CHEN);
    let refused = house.root(&["change", "approve", "2", "--sign", &key], "y\n");
    assert!(
        refused.status == 2 && refused.stderr.contains("`--yes`"),
        "{refused:?}"
    );
    assert_eq!(version(&house), 1);
}

/// What a server could do to have something signed that nobody was shown.
#[tokio::test(flavor = "multi_thread")]
async fn a_change_is_rejected_and_withdrawn_by_those_who_may() {
    let house = house_with(&[("ana", ANA), ("chen", CHEN), ("bea", BEA)]).await;
    let estate = widen(&house);
    let submit = || {
        let submitted = house.person("ana", &["apply", "-f", &estate, "--output", "json"]);
        let submitted: Value = serde_json::from_str(&submitted.stdout).unwrap();
        submitted["waiting"]["number"].to_string()
    };
    let reject = |person: &str, number: &str| -> Ran {
        house.person(
            person,
            &["change", "reject", number, "--reason", "not agreed"],
        )
    };
    let number = "2".to_owned();
    assert_eq!(house.root(&["apply", "-f", &estate], "").status, 0);
    let refused = reject("bea", &number);
    assert_eq!(refused.status, 3, "{refused:?}");
    let rejected = reject("chen", &number);
    assert_eq!(rejected.status, 0, "{rejected:?}");
    assert!(
        rejected.stdout.starts_with("state:  rejected\n"),
        "{rejected:?}"
    );
    let key = house.key(CHEN);
    let late = house.root(&["change", "approve", &number, "--sign", &key, "--yes"], "");
    assert!(
        late.status == 1 && late.stderr.contains("it is rejected"),
        "{late:?}"
    );
    assert!(
        house
            .done_quietly(&["change", "show", &number])
            .starts_with("state:     rejected\n")
    );
    let again = submit();
    assert_ne!(again, number);
    assert_eq!(
        reject("ana", &again).status,
        0,
        "whoever submitted it may withdraw it"
    );
    assert_eq!(version(&house), 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_robot_submits_and_never_signs() {
    let house = house_with(&[("ci", ROBOT), ("sam", SAM)]).await;
    // Even what narrows waits for a person when a robot submits it.
    edit(&house, "credentials.toml", |text| {
        text.replace("ttl = \"1h\"", "ttl = \"30m\"")
    });
    let estate = house.path("estate");
    let submitted = house.person("ci", &["apply", "-f", &estate]);
    assert!(
        submitted.status == 0 && submitted.stdout.starts_with("state:     waiting\n"),
        "{submitted:?}"
    );
    let key = house.key(ROBOT);
    let refused = house.root(&["change", "approve", "2", "--sign", &key, "--yes"], "");
    assert!(
        refused.status != 0 && refused.stderr.contains("is a robot"),
        "{refused:?}"
    );
    assert_eq!(version(&house), 1);
    let key = house.key(SAM);
    let signed = house.person("sam", &["change", "approve", "2", "--sign", &key, "--yes"]);
    assert!(
        signed.status == 0 && signed.stdout.starts_with("state:     applied\n"),
        "{signed:?}"
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn keys_beyond_what_is_needed_do_not_sign() {
    let house = house_with(&[]).await;
    let estate = widen(&house);
    let (chen, sam) = (house.key(CHEN), house.key(SAM));
    let applied = house.root(
        &["apply", "-f", &estate, "--sign", &chen, "--sign", &sam],
        "",
    );
    assert_eq!(applied.status, 0, "{applied:?}");
    assert!(
        applied
            .stdout
            .contains("signed by: chen@hospital.example\n"),
        "{applied:?}"
    );
    assert!(
        applied
            .stderr
            .contains("did not sign: the change is in force already"),
        "{applied:?}"
    );
}
