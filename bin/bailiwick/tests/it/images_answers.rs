//! What programs read: the answers of `bailiwick image … --output json`, and that the document names every member.

use std::collections::BTreeSet;
use std::fs;
use std::path::Path;

use serde_json::Value;

use crate::images::{Desk, json};
use crate::promotions::{LAYER, layout};
use crate::runner::run;

/// The members that the document promises for a command, and the answer has to have unless they don't apply.
fn documented(command: &str) -> BTreeSet<String> {
    let file = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../docs/how/encrypt-images.md");
    let text = fs::read_to_string(file).unwrap();
    let (_, table) = text.split_once("| command | members |").unwrap();
    let quoted = |cell: &str| -> BTreeSet<String> {
        let words = cell.split('`').skip(1).step_by(2);
        words.map(str::to_owned).collect()
    };
    let rows = table.lines().filter_map(|line| {
        let mut cells = line.split('|').skip(1);
        Some((quoted(cells.next()?), quoted(cells.next()?)))
    });
    let mut found = rows.filter(|(commands, _)| commands.contains(command));
    let row = found.next();
    assert!(row.is_some(), "no row for `{command}`");
    row.unwrap().1
}

fn members(answer: &Value) -> BTreeSet<String> {
    answer.as_object().unwrap().keys().cloned().collect()
}

/// Runs a command with `--output json`. Its answer is the only thing on stdout, and has all documented members but those
/// that don't apply, and no other.
fn answer(desk: &Desk, row: &str, command: &str, absent: &[&str]) -> Value {
    let ran = desk.image(&format!("{command} --output json"));
    assert_eq!(ran.status, 0, "{command}: {ran:?}");
    let answer = json(&ran);
    let mut wanted = documented(row);
    for member in absent {
        assert!(
            wanted.remove(*member),
            "{row}: `{member}` is not documented"
        );
    }
    assert_eq!(members(&answer), wanted, "{command}: {ran:?}");
    answer
}

/// The same with `--dry-run`: no digest of what is not there.
fn shown(desk: &Desk, row: &str, command: &str, absent: &[&str]) {
    let command = format!("{command} --dry-run");
    let shown = answer(desk, row, &command, &[absent, &["digest"]].concat());
    assert_eq!(shown["dryRun"], true);
}

#[test]
fn writing_commands_answer_with_what_is_documented() {
    let desk = Desk::new();
    let encrypt = "encrypt @plain:1 @new:1 --to jwe:$ann.pub";
    shown(&desk, "encrypt", encrypt, &["readableDocuments"]);
    let done = answer(&desk, "encrypt", encrypt, &[]);
    assert_eq!((&done["layers"], &done["kept"]), (&1.into(), &0.into()));
    assert_eq!(done["readableLayers"], 0);
    let decrypt = "decrypt @new:1 @back:1 --key $ann.key";
    let unread = ["former", "unbound", "contentLeft"];
    shown(&desk, "decrypt", decrypt, &unread);
    let back = answer(&desk, "decrypt", decrypt, &[]);
    assert_eq!(back["former"], done["digest"]);
    assert_eq!(
        (&back["provenance"], &back["unbound"], &back["contentLeft"]),
        (&false.into(), &0.into(), &0.into())
    );
    let rekey = "rekey @new:1 @rekeyed:1 --to jwe:$bob.pub --key $ann.key";
    shown(&desk, "rekey", rekey, &["moved"]);
    let done = answer(&desk, "rekey", rekey, &["moved"]);
    assert_eq!(done["layers"], 1);
    let rebind = "rebind @new:1 @rebound:1 --to jwe:$bob.pub --key $ann.key";
    shown(&desk, "rebind", rebind, &["moved"]);
    answer(&desk, "rebind", rebind, &["moved"]);
    let add = "recipients add @new:1 --to jwe:$bob.pub --key $ann.key";
    shown(&desk, "recipients add", add, &[]);
    let added = answer(&desk, "recipients add", add, &[]);
    assert_eq!((&added["added"], &added["removed"]), (&1.into(), &0.into()));
    let remove = "recipients remove @new:1 jwe#0";
    shown(&desk, "remove", remove, &[]);
    let removed = answer(&desk, "remove", remove, &[]);
    assert_eq!(removed["former"], added["digest"]);
    assert_eq!(
        (&removed["added"], &removed["removed"]),
        (&0.into(), &1.into())
    );
    assert_eq!(
        (desk.opens("@new:1", "ann"), desk.opens("@new:1", "bob")),
        (3, 0)
    );
}

#[test]
fn content_is_left_to_the_runtime_on_demand_and_counted() {
    let desk = Desk::new();
    let text = "this unpacks to nothing";
    layout(&desk.path("broken"), text, &format!("{LAYER}+gzip"));
    let encrypted = desk.image("encrypt @broken:1 @sealed:1 --to jwe:$ann.pub");
    assert_eq!(encrypted.status, 0, "{encrypted:?}");
    let decrypt = "decrypt @sealed:1 @back:1 --key $ann.key";
    let refused = desk.image(decrypt);
    assert_eq!(refused.status, 4, "{refused:?}");
    let left = answer(&desk, "decrypt", &format!("{decrypt} --leave-content"), &[]);
    assert_eq!(left["contentLeft"], 1);
}

#[test]
fn reading_commands_answer_with_what_is_documented() {
    let desk = Desk::new();
    // Members of images and layers stand in the same row.
    let inspect = answer(&desk, "inspect", "inspect @app:1", &["layers", "public"]);
    let image = &inspect["images"][0];
    assert!(image["layers"].is_array() && image["public"].is_object());
    assert_eq!(image["layers"][0]["encrypted"], true);
    assert_eq!(inspect["readableDocuments"], 0);
    let within = ["layers", "verified", "signed"];
    let verify = answer(&desk, "verify", "verify @app:1 --key $ann.key", &within);
    assert_eq!(verify["images"][0]["layers"][0]["verified"], "bound");
    let listed = json(&desk.image("recipients list @app:1 --output json"));
    let mut wanted = documented("recipients list");
    assert!(wanted.remove("recipients") && wanted.remove("selector") && wanted.remove("platform"));
    assert_eq!(members(&listed[0]), wanted);
    let recipient = &listed[0]["layers"][0]["recipients"][0];
    assert_eq!(recipient["selector"], "jwe#0");
}

#[test]
fn a_command_that_fails_says_nothing_to_programs() {
    let desk = Desk::new();
    for command in [
        "encrypt @missing:1 @x:1 --to jwe:$ann.pub",
        "decrypt @app:1 @x:1 --key $bob.key",
        "inspect @missing:1",
        "verify @app:1 --key $bob.key",
        "rekey @app:1 @x:1 --to jwe:$bob.pub --key $bob.key",
        "rebind @plain:1 @x:1 --to jwe:$bob.pub --key $bob.key",
        "recipients list @missing:1",
        "recipients add @app:1 --to jwe:$bob.pub --key $bob.key",
        "recipients remove @app:1 pgp",
    ] {
        let ran = desk.image(&format!("{command} --output json"));
        assert!(
            ran.status != 0 && ran.stdout.is_empty(),
            "{command}: {ran:?}"
        );
        assert!(ran.stderr.starts_with("error: "), "{command}: {ran:?}");
        assert!(!Path::new(&desk.path("x")).exists(), "{command}");
    }
}

#[test]
fn help_names_every_kind_of_recipient_and_key() {
    let help = |words: &str| {
        let words: Vec<&str> = words.split(' ').collect();
        let ran = run(&words, "");
        assert_eq!(ran.status, 0, "{ran:?}");
        ran.stdout.split_whitespace().collect::<Vec<_>>().join(" ")
    };
    let kinds = [
        "jwe:",
        "pkcs7:",
        "pkcs11:",
        "pgp:",
        "coco:",
        "provider:",
        "bailiwick:",
    ];
    for command in ["", "encrypt ", "rekey ", "rebind ", "recipients add "] {
        let said = help(&format!("image {command}--help"));
        for kind in kinds {
            assert!(said.contains(kind), "`image {command}--help` lacks {kind}");
        }
    }
    for command in ["encrypt", "decrypt", "inspect", "verify", "rekey", "rebind"] {
        let said = help(&format!("image {command} --help"));
        for key in [
            "private key file",
            "OpenPGP",
            "hardware module",
            "certificate",
            "coco:",
            "gpg:",
            "provider:",
        ] {
            assert!(said.contains(key), "`image {command} --help` lacks {key}");
        }
        assert!(said.contains("--output") && said.contains("Example: bailiwick image"));
    }
}
