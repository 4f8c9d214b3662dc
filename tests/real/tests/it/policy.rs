//! Rules that warn, err or name a person are refused by the program, offline and by the server.

use std::fs;
use std::path::PathBuf;

use estate::Digest;
use fixture::Scratch;
use real::{ESTATE, LoneServer, Program};

/// The estate in a folder, its rules replaced.
fn folder(scratch: &Scratch, name: &str, rules: &str) -> PathBuf {
    let folder = scratch.join(name);
    fs::create_dir_all(folder.join("policies")).unwrap();
    for (path, text) in ESTATE {
        let text = if path.ends_with(".cedar") {
            rules
        } else {
            text
        };
        let text = text.replace("@medrec@", &Digest::of("medrec").to_string());
        fs::write(folder.join(path), text).unwrap();
    }
    folder
}

fn good() -> &'static str {
    ESTATE
        .iter()
        .find(|(path, _)| path.ends_with(".cedar"))
        .unwrap()
        .1
}

/// A rule about what the image `medrec` may read, under this condition.
macro_rules! read_when {
    ($condition:literal) => {
        concat!(
            r#"@id("r") permit (principal in ImageSet::"medrec", action == Action::"read", resource in DataSet::"records") when { "#,
            $condition,
            " };"
        )
    };
}

/// Each with words of the reason that a person reads.
const BAD: [(&str, &str, &str); 10] = [
    (
        "a rule for a person",
        r#"@id("r") permit (principal == Person::"chen@hospital.example", action == Action::"read", resource in DataSet::"records");"#,
        "`r` speaks of person::",
    ),
    (
        "a rule for all persons",
        r#"@id("r") permit (principal is Person, action == Action::"read", resource in DataSet::"records");"#,
        "unrecognized entity type `person`",
    ),
    (
        "a rule for a team",
        r#"@id("r") permit (principal in Team::"records-owners", action == Action::"read", resource in DataSet::"records");"#,
        "`r` speaks of team::",
    ),
    (
        "a rule that the engine only warns of: it can never apply",
        r#"@id("r") forbid (principal is Workload, action == Action::"lease", resource in DataSet::"records") when { false };"#,
        "impossible",
    ),
    (
        "a rule for an action on something else",
        r#"@id("r") permit (principal in ImageSet::"medrec", action == Action::"lease", resource == Secret::"db/pg/admin");"#,
        "applicable action",
    ),
    (
        "a condition on nothing",
        read_when!("principal.nosuch == 1"),
        "attribute `nosuch`",
    ),
    (
        "a condition that would err where a fact is absent",
        read_when!("principal.privileged"),
        "optional attribute",
    ),
    (
        "an ill-typed condition",
        read_when!("principal has privileged && principal.privileged > 3"),
        "unexpected type",
    ),
    (
        "a broken text",
        r#"@id("r") permit (principal in ImageSet::"medrec" action"#,
        "unexpected token",
    ),
    (
        "a rule without a name",
        r#"permit (principal in ImageSet::"medrec", action == Action::"read", resource in DataSet::"records");"#,
        "lacks `@id`",
    ),
];

#[tokio::test]
#[ignore = "needs root; run by make test"]
async fn bad_rules_are_refused_offline_and_by_the_server_and_change_nothing() {
    let (scratch, program) = (Scratch::new("policy").unwrap(), Program::find());
    let server = LoneServer::init(&scratch);
    server.start();
    let honest = folder(&scratch, "good", good());
    let shown = |path: &PathBuf| path.display().to_string();
    let checked = program
        .run(["policy", "check", "-f", &shown(&honest), "--output", "json"])
        .well();
    assert!(checked.stdout.contains("records-lease"), "{checked:?}");
    let (estate, key) = (shown(&honest), shown(&server.founder_key()));
    let applied = server.run(&["apply", "-f", &estate, "--sign", &key]).well();
    assert!(applied.stdout.contains("applied"), "{applied:?}");
    let changes = || {
        server
            .run(&["change", "list", "--output", "json"])
            .well()
            .json()
    };
    let before = changes();

    for (number, (attempt, rules, wanted)) in BAD.into_iter().enumerate() {
        let folder = shown(&folder(
            &scratch,
            &format!("bad-{number}"),
            &format!("{}{rules}\n", good()),
        ));
        let reason = program.run(["policy", "check", "-f", &folder]).refused(1);
        assert!(
            reason.to_lowercase().contains(wanted),
            "{attempt}: {reason}"
        );
        let applied = server.run(&["apply", "-f", &folder]);
        assert_ne!(applied.code, 0, "{attempt}: {applied:?}");
        assert!(
            applied.stderr.to_lowercase().contains(wanted),
            "{attempt}: {applied:?}"
        );
    }
    assert_eq!(changes(), before);
}
