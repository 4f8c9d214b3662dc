//! The commands of people against a real server in this process, over both doors.

use std::{fs, path::Path};

use serde_json::Value;

use crate::{house::House, runner::run};

#[tokio::test(flavor = "multi_thread")]
async fn the_estate_is_compared_applied_and_asked() {
    let house = House::open().await;
    let estate = house.path("estate");
    let diff = house.root(&["diff", "-f", &estate], "");
    assert_eq!(diff.status, 3, "{diff:?}");
    assert!(
        diff.stdout
            .contains("adds node `dal05-n1`: may widen access"),
        "{}",
        diff.stdout
    );
    let gains = "GAINS image set medrec on dal05-n1 (DAL05, hipaaCluster): lease Credential::\"postgresql/records\"";
    assert!(diff.stdout.contains(gains), "{}", diff.stdout);
    assert!(
        diff.stdout.contains("effect:   widens\n"),
        "{}",
        diff.stdout
    );
    assert!(
        diff.stdout.contains("needs founders: 2 of "),
        "{}",
        diff.stdout
    );
    let applied = house.applied(&estate, &test_server::FOUNDERS);
    assert!(applied.contains("version:   1\n"), "{applied}");
    assert!(
        applied.contains("signed by: fay@hospital.example, gus@hospital.example\n"),
        "{applied}"
    );
    assert_eq!(house.done(&["diff", "-f", &estate]), "nothing changes\n");
    let again = house.root(&["apply", "-f", &estate], "");
    assert_eq!(
        (again.status, again.stderr.as_str()),
        (0, "nothing changes\n")
    );
    assert!(
        house
            .done(&["change", "show", "1"])
            .contains("adds image set `medrec`")
    );
    let pending = house.done(&["node", "list", "--pending", "--output", "json"]);
    let pending: Value = serde_json::from_str(&pending).unwrap();
    assert_eq!(
        (pending[0]["name"].as_str(), pending[0]["state"].as_str()),
        (Some("dal05-n1"), Some("pending"))
    );
    let who = house.done(&["policy", "who-can", "lease credential/postgresql/records"]);
    assert!(
        who.contains("records-lease") && who.contains("1 permitted"),
        "{who}"
    );
    let (_, grantors) = who.split_once("could grant themselves this:\n").unwrap();
    for (must_agree, team, who) in [
        ("1", "1 of records-owners", "chen@hospital.example"),
        (
            "2",
            "1 of platform, 1 of security",
            "ana@hospital.example, sam@hospital.example",
        ),
        (
            "2",
            "1 of audit, 1 of security",
            "olu@auditor.example, sam@hospital.example",
        ),
    ] {
        let found = grantors.lines().any(|line| {
            line.contains(&format!("  {must_agree}  "))
                && line.contains(team)
                && line.ends_with(who)
        });
        assert!(found, "{team}: {grantors}");
    }
    let question = [
        "policy",
        "explain",
        "lease credential/postgresql/records",
        "--node",
        "fra02-n1",
        "--image",
        "medrec",
    ];
    let why = house.root(&question, "");
    assert!(
        why.status == 3
            && why
                .stdout
                .contains("lacks principal in Location::\"DAL05\""),
        "{why:?}"
    );
    let status = house.root(&["status"], "");
    assert!(
        status.status == 0 && status.stdout.contains("version 1 (sha256:"),
        "{status:?}"
    );
    assert!(
        status.stderr.starts_with("warning: this is a lab"),
        "{status:?}"
    );
    fs::remove_file(Path::new(&estate).join("tests/records.toml")).unwrap();
    let kept = house.root(&["apply", "-f", &estate], "");
    assert!(
        kept.status == 1
            && kept.stderr.contains("would be removed: removes tests")
            && kept.stderr.contains("`--prune`"),
        "{kept:?}"
    );
    let key = house.key("chen@hospital.example");
    let pruned = house.root(&["apply", "-f", &estate, "--prune", "--sign", &key], "");
    assert!(
        pruned.status == 0 && pruned.stdout.contains("version:   2\n"),
        "{pruned:?}"
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn a_secret_is_sealed_before_it_leaves() {
    let house = House::open().await;
    house.furnish();
    let put = [
        "secret",
        "put",
        "db/pg/admin",
        "--dataset",
        "records",
        "--from-file",
        "-",
    ];
    let first = house.root(&put, "hunter2");
    assert!(
        first.status == 0 && first.stdout.starts_with("value: sealed\n"),
        "{first:?}"
    );
    assert!(house.root(&put, "hunter3").stdout.contains("version: 2"));
    assert!(
        house
            .done(&["secret", "show", "db/pg/admin"])
            .starts_with("value: sealed\n")
    );
    assert!(
        house
            .done(&["secret", "list"])
            .contains("db/pg/admin  sealed  2")
    );
    for file in fs::read_dir(house.kit.folder())
        .unwrap()
        .map(|entry| entry.unwrap().path())
        .filter(|path| path.is_file())
    {
        let bytes = fs::read(&file).unwrap();
        assert!(
            !bytes.windows(7).any(|window| window == b"hunter2"),
            "{} holds the secret",
            file.display()
        );
    }
    // Another root's pin: the server's key document is not believed, and nothing is sent.
    let server = format!("unix:{}", house.kit.socket().display());
    let other = format!("sha256:{}", "0".repeat(64));
    let options = ["--server", &server, "--root-pin", &other];
    let refused = tokio::task::block_in_place(|| run(&[&put[..], &options].concat(), "hunter4"));
    assert_eq!(refused.status, 4, "{refused:?}");
    assert!(
        house
            .done(&["secret", "show", "db/pg/admin"])
            .contains("version:  2")
    );
    let key = house.path("medrec.json");
    assert!(
        house
            .done(&["image", "key", "medrec", "-o", &key])
            .starts_with("image set:   medrec\n")
    );
    assert!(fs::read_to_string(key).unwrap().contains("\"document\""));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_receipt_verifies_offline_and_nothing_else_does() {
    let house = House::open().await;
    house.furnish();
    let file = house.path("receipt.json");
    house.done(&["audit", "receipt", "0", "-o", &file]);
    let verify = |file: &str, key: &str| {
        tokio::task::block_in_place(|| run(&["audit", "verify", file, "--ledger-key", key], ""))
    };
    let key = house.kit.server.ledger_key();
    let good = verify(&file, key);
    assert!(
        good.status == 0 && good.stdout.contains("\"genesis\""),
        "{good:?}"
    );
    let text = fs::read_to_string(&file).unwrap();
    let receipt: Value = serde_json::from_str(&text).unwrap();
    let with = |name: &str, value: Value| {
        let mut changed = receipt.clone();
        changed[name] = value;
        let path = house.path("changed.json");
        fs::write(&path, changed.to_string()).unwrap();
        verify(&path, key)
    };
    let leaf = receipt["leaf"]
        .as_str()
        .unwrap()
        .replace("\"v\":1", "\"v\": 1");
    let salted = receipt["disclosures"].as_array().unwrap()[0].clone();
    let changed = [
        with("leaf", leaf.into()),
        with("index", 1.into()),
        with("disclosures", Value::Array(vec![salted.clone(), salted])),
        with(
            "disclosures",
            serde_json::json!(["WyJhIiwia2luZCIsInJlYWQiXQ"]),
        ),
        with(
            "proof",
            receipt["proof"]
                .as_str()
                .unwrap()
                .replace("index 0", "index 1")
                .into(),
        ),
        with("v", 2.into()),
        with("more", true.into()),
        with(
            "ledgerKey",
            "test+0a020b28+AQABAgMEBQYHCAkKCwwNDg8QERITFBUWFxgZGhscHR4f".into(),
        ),
    ];
    for (number, ran) in changed.iter().enumerate() {
        assert_eq!(
            (ran.status, ran.stdout.as_str()),
            (4, ""),
            "change {number}: {ran:?}"
        );
    }
    let elsewhere = House::open().await;
    assert_eq!(verify(&file, elsewhere.kit.server.ledger_key()).status, 4);
}

#[tokio::test(flavor = "multi_thread")]
async fn one_byte_changed_in_the_database_is_found() {
    let house = House::open().await;
    house.furnish();
    // A search leaves a value that is an object: members keep one order, however they were put together.
    let nothing = house.root(&["audit", "search", "--field", "kind:enrol"], "");
    assert_eq!(
        (nothing.status, nothing.stderr.as_str()),
        (0, "no entry fits\n")
    );
    assert!(house.done(&["audit", "verify"]).starts_with("intact"));
    house
        .kit
        .edit("UPDATE disclosure SET value = 'nobody' WHERE name = 'actor' AND leaf = 0")
        .await;
    let found = house.root(&["audit", "verify"], "");
    assert_eq!(found.status, 4, "{found:?}");
    assert!(found.stdout.contains("leaf 0"), "{}", found.stdout);
}

#[tokio::test(flavor = "multi_thread")]
async fn people_ask_over_tls_with_what_their_teams_permit() {
    let house = House::open().await;
    house.furnish();
    house.kit.attested("dal05-n1").await;
    for (name, id) in [
        ("olu", "olu@auditor.example"),
        ("sam", "sam@hospital.example"),
    ] {
        house.done(&["person", "certificate", id, "--out", &house.path(name)]);
    }
    let again = house.root(
        &[
            "person",
            "certificate",
            "olu@auditor.example",
            "--out",
            &house.path("olu"),
        ],
        "",
    );
    assert_eq!(again.status, 1, "a key is not replaced: {again:?}");
    let banned = house.person("olu", &["node", "ban", "dal05-n1", "--reason", "stolen"]);
    assert!(
        banned.status == 3 && banned.stderr.contains("on record as leaf"),
        "{banned:?}"
    );
    let lease = house.kit.lease("dal05-n1").await;
    assert!(
        house
            .person("olu", &["lease", "list"])
            .stdout
            .contains(&format!("{lease}  pending"))
    );
    assert_eq!(house.person("sam", &["lease", "revoke", &lease]).status, 0);
    assert_eq!(
        house
            .person("sam", &["node", "ban", "dal05-n1", "--reason", "stolen"])
            .status,
        0
    );
    assert!(
        house
            .person("sam", &["node", "show", "dal05-n1"])
            .stdout
            .contains("banned")
    );
    let search = [
        "audit",
        "search",
        "--field",
        "kind:node-ban",
        "--output",
        "json",
    ];
    let trail: Value = serde_json::from_str(&house.person("olu", &search).stdout).unwrap();
    assert_eq!(trail[0]["values"]["actor"], "person:sam@hospital.example");
    assert_eq!(house.person("sam", &search).status, 3);
    assert!(
        house
            .person("olu", &["audit", "who", "records"])
            .stdout
            .contains("Credential::\"postgresql/records\"")
    );
}
