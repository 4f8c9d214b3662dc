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

/// Each with words of the reason that a person reads.
const BAD: [(&str, &str, &str); 7] = [
    (
        "a rule for a person",
        r#"@id("r") permit (principal == Person::"chen@hospital.example", action == Action::"read", resource in DataSet::"records");"#,
        "person",
    ),
    (
        "a rule that the engine only warns of: it can never apply",
        r#"@id("r") forbid (principal is Workload, action == Action::"lease", resource in DataSet::"records") when { false };"#,
        "false",
    ),
    (
        "a rule for an action on something else",
        r#"@id("r") permit (principal in ImageSet::"medrec", action == Action::"lease", resource == Secret::"db/pg/admin");"#,
        "applicable action",
    ),
    (
        "a condition that errs",
        r#"@id("r") permit (principal in ImageSet::"medrec", action == Action::"read", resource in DataSet::"records") when { principal.nosuch == 1 };"#,
        "nosuch",
    ),
    (
        "an ill-typed condition",
        r#"@id("r") permit (principal in ImageSet::"medrec", action == Action::"read", resource in DataSet::"records") when { principal.privileged > 3 };"#,
        "type",
    ),
    (
        "a broken text",
        r#"@id("r") permit (principal in ImageSet::"medrec" action"#,
        "unexpected",
    ),
    (
        "a rule without a name",
        r#"permit (principal in ImageSet::"medrec", action == Action::"read", resource in DataSet::"records");"#,
        "@id",
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
    let _ = server.run(&["apply", "-f", &shown(&honest)]).well();
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
