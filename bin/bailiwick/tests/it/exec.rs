//! `exec` as a workload starts it.

use tlog::Signer;

use crate::workload::{command, log, said, workload};

#[test]
fn a_secret_reaches_the_command_in_a_memory_file_that_only_it_has() {
    let output = workload().exec(&[
        "--lab",
        "--secret",
        "db/token",
        "--",
        "sh",
        "-c",
        "cat $DB_TOKEN_FILE; env",
    ]);
    assert!(output.status.success(), "{}", said(&output));
    let shown = String::from_utf8(output.stdout.clone()).unwrap();
    assert!(shown.starts_with("the value"), "{shown}");
    assert_eq!(
        shown.matches("the value").count(),
        1,
        "not in the environment: {shown}"
    );
    assert!(said(&output).is_empty());
}

#[test]
fn the_environment_is_used_only_when_asked_and_with_a_warning() {
    let output = workload().exec(&[
        "--lab",
        "--secret",
        "db/token=TOKEN",
        "--",
        "sh",
        "-c",
        "printf %s \"$TOKEN\"",
    ]);
    assert_eq!(output.stdout, b"the value");
    assert!(said(&output).starts_with("warning: "), "{}", said(&output));
}

#[test]
fn a_lease_comes_with_a_password_whose_verifier_alone_travelled() {
    let workload = workload();
    let words = [
        "--lab",
        "--lease",
        "records=medrec/db:pgpass",
        "--",
        "sh",
        "-c",
        "cat $PGPASSFILE; echo $PGSSLMODE",
    ];
    let output = workload.exec(&words);
    assert!(output.status.success(), "{}", said(&output));
    let shown = String::from_utf8(output.stdout.clone()).unwrap();
    let (line, mode) = shown.trim_end().split_once('\n').unwrap();
    let password = line
        .strip_prefix("db.example:5432:records:bw_1_medrec:")
        .unwrap();
    assert_eq!((password.len(), mode), (43, "verify-full"));
    let verifier = workload.agent.verifier.lock().unwrap().clone();
    assert!(verifier.parse::<accounts::scram::Verifier>().is_ok() && !verifier.contains(password));
}

/// All containers of a pod have the same /dev/shm, and root in one of them reads what another one's root wrote.
#[test]
fn a_folder_with_a_login_avoids_shared_memory_or_says_so() {
    let script =
        "echo $RECORDS_DIR; stat -c %a $RECORDS_DIR $RECORDS_DIR/password; rm -r $RECORDS_DIR";
    let lease = ["--lab", "--lease", "records=medrec/db:dir", "--"];
    let output = workload().exec(&[&lease[..], &["sh", "-c", script]].concat());
    let shown = String::from_utf8(output.stdout.clone()).unwrap();
    let lines: Vec<_> = shown.lines().collect();
    assert_eq!(lines[1..], ["700", "400"], "{shown} {}", said(&output));
    let shared = lines[0].starts_with("/dev/shm/");
    assert!(shared || lines[0].starts_with("/run/"), "{shown}");
    assert_eq!(
        said(&output).contains("/dev/shm"),
        shared,
        "{}",
        said(&output)
    );
}

#[test]
fn the_commands_own_code_is_passed_and_125_to_127_are_ours() {
    let workload = workload();
    assert_eq!(
        workload.exec(&["--", "sh", "-c", "exit 7"]).status.code(),
        Some(7)
    );
    assert_eq!(
        workload.exec(&["--", "/does/not/exist"]).status.code(),
        Some(127)
    );
    assert_eq!(
        workload
            .exec(&["--", concat!(env!("CARGO_MANIFEST_DIR"), "/Cargo.toml")])
            .status
            .code(),
        Some(126)
    );
    *workload.agent.denies.lock().unwrap() = Some("not in DAL05".to_owned());
    let denied = workload.exec(&["--lab", "--secret", "db/token", "--", "true"]);
    assert_eq!(denied.status.code(), Some(125));
    assert!(
        said(&denied).contains("denied: not in DAL05\nhint: "),
        "{}",
        said(&denied)
    );
    let nobody = command(&[
        "exec", "--wait", "0s", "--socket", "/none", "--secret", "a", "--", "true",
    ])
    .output()
    .unwrap();
    assert_eq!(nobody.status.code(), Some(125));
}

#[test]
fn a_lab_and_another_ledger_are_refused() {
    let workload = workload();
    let secret = ["--secret", "db/token", "--", "true"];
    let lab = workload.exec(&secret);
    assert_eq!(lab.status.code(), Some(125));
    assert!(
        said(&lab).contains("lab") && said(&lab).contains("`--lab`"),
        "{}",
        said(&lab)
    );
    let own = log().verifier_key().to_string();
    assert!(
        workload
            .exec(&[&["--ledger-key", own.as_str()], &secret[..]].concat())
            .status
            .success()
    );
    let other = Signer::from_seed("td.lab/log", &[4; 32])
        .unwrap()
        .verifier_key()
        .to_string();
    let other = workload.exec(&[&["--ledger-key", other.as_str()], &secret[..]].concat());
    assert_eq!(other.status.code(), Some(125));
    assert!(said(&other).contains("pinned"), "{}", said(&other));
}
