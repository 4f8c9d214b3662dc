//! Each mistake is refused, with file, line and what was probably meant.

use crate::{appended, edited, example_files};
use estate::{Conflict, Estate, Problem};

#[track_caller]
fn refused(path: &str, from: &str, to: &str) -> String {
    edited(path, from, to).unwrap_err().to_string()
}

#[test]
fn an_unknown_key_names_the_nearest_one_with_file_and_line() {
    assert_eq!(
        refused("inventory.toml", "serial = ", "seriel = "),
        "inventory.toml:19: unknown key `seriel` in `node.dal05-r12-n07`; did you mean `serial`?"
    );
    assert_eq!(
        refused("images.toml", "[image.medrec.run]", "[image.medrec.runs]"),
        "images.toml:14: unknown key `runs` in `image.medrec`; did you mean `run`?"
    );
    assert_eq!(
        refused("people.toml", "[team]", "[taem]"),
        "people.toml:2: unknown key `taem` in the file; did you mean `team`?"
    );
    assert!(
        refused("tests/medical-records.toml", "interactive", "interactiv")
            .contains("did you mean `interactive`?")
    );
}

#[test]
fn an_unknown_name_names_the_nearest_one() {
    for (path, from, to, wanted) in [
        (
            "inventory.toml",
            "location = \"DAL05\" ",
            "location = \"DAL5\" ",
            "location `DAL5`, which does not exist; did you mean `DAL05`?",
        ),
        (
            "inventory.toml",
            "in = \"US\"",
            "in = \"USA\"",
            "did you mean `US`?",
        ),
        (
            "inventory.toml",
            "cluster = \"hipaaCluster\"",
            "cluster = \"hippaCluster\"",
            "did you mean `hipaaCluster`?",
        ),
        (
            "inventory.toml",
            "boot = \"debian12-2026-11\"",
            "boot = \"debian12-2026-12\"",
            "did you mean `debian12-2026-11`?",
        ),
        (
            "inventory.toml",
            "events/debian12-6.1.115.toml",
            "events/debian12-6.1.11.toml",
            "boot state file",
        ),
        (
            "inventory.toml",
            "keys/k8s-hipaa.pem",
            "keys/k8s.pem",
            "did you mean `keys/k8s-hipaa.pem`?",
        ),
        (
            "images.toml",
            "dataset = \"medical-records\"",
            "dataset = \"medical-record\"",
            "did you mean `medical-records`?",
        ),
        (
            "images.toml",
            "owner = \"medrec-owners\"",
            "owner = \"medrec-owner\"",
            "did you mean `medrec-owners`?",
        ),
        (
            "credentials.toml",
            "database = \"medrec-pg\"",
            "database = \"medrec-pq\"",
            "did you mean `medrec-pg`?",
        ),
        (
            "credentials.toml",
            "dataset = \"medical-records\"",
            "dataset = \"x\"",
            "data set `x`, which does not exist",
        ),
        (
            "datasets.toml",
            "owner = \"medrec-owners\"",
            "owner = \"nobody\"",
            "team `nobody`",
        ),
        (
            "people.toml",
            "[\"security\", \"audit\"]",
            "[\"security\", \"audits\"]",
            "did you mean `audit`?",
        ),
    ] {
        let error = refused(path, from, to);
        assert!(error.contains(wanted), "{error}");
    }
}

#[test]
fn what_contradicts_itself_is_refused() {
    let conflict =
        |path: &str, from: &str, to: &str| match edited(path, from, to).unwrap_err().problem() {
            Problem::Conflict(conflict) => conflict.clone(),
            other => panic!("{other}"),
        };
    let elsewhere = conflict(
        "inventory.toml",
        "location = \"DAL05-R12\"",
        "location = \"FRA02\"",
    );
    assert!(matches!(elsewhere, Conflict::OutsideCluster { .. }));
    assert!(
        elsewhere
            .to_string()
            .contains("outside `DAL05`, the location of its cluster `hipaaCluster`")
    );
    let cycle = conflict(
        "inventory.toml",
        "US = { kind = \"country\" }",
        "US = { kind = \"country\", in = \"EU\" }\nXX = { kind = \"country\", in = \"XX\" }",
    );
    assert!(matches!(cycle, Conflict::Cycle(_)));
    let rank = conflict(
        "inventory.toml",
        "US = { kind = \"country\" }",
        "US = { kind = \"country\", in = \"FRA02\" }",
    );
    assert!(matches!(rank, Conflict::Rank { .. }));
    let duties = conflict(
        "people.toml",
        "audit = [\"olu@auditor.example\"]",
        "audit = [\"eva@hospital.example\"]",
    );
    assert_eq!(
        duties.to_string(),
        "`eva@hospital.example` is in `audit` and in `owner`, which are exclusive duties"
    );
    let locked_out = conflict(
        "people.toml",
        "security = 2, audit = 1",
        "security = 3, audit = 1",
    );
    assert!(matches!(
        locked_out,
        Conflict::Unsatisfiable {
            wanted: 3,
            members: 2,
            ..
        }
    ));
    let locked_out = conflict("people.toml", "owner = 2", "owner = 3");
    assert!(matches!(
        locked_out,
        Conflict::Unsatisfiable {
            wanted: 3,
            members: 2,
            ..
        }
    ));
}

#[test]
fn a_circle_of_places_is_refused() {
    let circle = "\n[location.A]\nkind = \"region\"\nin = \"B\"\n[location.B]\nkind = \"region\"\nin = \"C\"\n[location.C]\nkind = \"region\"\nin = \"B\"\n";
    let text = format!("version = 1\n{circle}");
    let error = Estate::parse(&[("inventory.toml", text.as_str())]).unwrap_err();
    assert!(
        matches!(error.problem(), Problem::Conflict(Conflict::Cycle(_))),
        "{error}"
    );
}

#[test]
fn one_tpm_is_one_machine_and_one_image_one_application() {
    let ek = "3b1f0c52d0a84c27b3a6c1f44b5d9e0aa1f27c8d55e1b0f6e6d7a0c9b8f71234";
    let node = format!(
        "\n[node.twin]\ncluster = \"hipaaCluster\"\nlocation = \"DAL05\"\nboot = \"debian12-2026-11\"\nek = \"sha256:{ek}\"\n"
    );
    let error = appended("inventory.toml", &node).unwrap_err();
    assert!(
        matches!(
            error.problem(),
            Problem::Conflict(Conflict::SharedKey { .. })
        ),
        "{error}"
    );
    let banned = node
        .replace(
            "ek = ",
            &format!("ek = \"sha256:{}\"\nreplaced = [", "1".repeat(64)),
        )
        .replace(&format!("{ek}\""), &format!("{ek}\"]"));
    let error = appended("inventory.toml", &banned).unwrap_err();
    assert!(
        matches!(
            error.problem(),
            Problem::Conflict(Conflict::SharedKey { .. })
        ),
        "{error}"
    );

    let digests = example_files()
        .into_iter()
        .find(|(path, _)| path == "images.toml")
        .unwrap()
        .1;
    let line = digests
        .lines()
        .find(|line| line.starts_with("digests"))
        .unwrap()
        .to_owned();
    let set = format!(
        "\n[image.copy]\nowner = \"medrec-owners\"\ndataset = \"medical-records\"\n{line}\n"
    );
    let error = appended("images.toml", &set).unwrap_err();
    assert!(
        matches!(
            error.problem(),
            Problem::Conflict(Conflict::SharedImage { .. })
        ),
        "{error}"
    );
}

#[test]
fn loader_variables_and_mounts_over_programs_can_not_be_listed() {
    for name in [
        "LD_PRELOAD",
        "ld_preload",
        "PATH",
        "PYTHONPATH",
        "JAVA_TOOL_OPTIONS",
        "https_proxy",
        "PGHOST",
        "NODE_OPTIONS",
        "BASH_ENV",
        "A*",
        "A B",
        "1A",
        "",
    ] {
        let error = refused("images.toml", "\"LOG_LEVEL\"", &format!("\"{name}\""));
        assert!(
            error.starts_with("images.toml:15: `image.medrec.run.env`"),
            "{error}"
        );
    }
    for path in [
        "/",
        "/usr/lib/x",
        "/lib64",
        "/etc",
        "/etc/ld.so.preload",
        "/proc/self",
        "relative",
        "/a/../b",
        "/a//b",
        "/a/",
        "kubernets",
    ] {
        let error = refused("images.toml", "/var/cache/medrec", path);
        assert!(
            error.starts_with("images.toml:16: `image.medrec.run.mounts`"),
            "{error}"
        );
    }
}

#[test]
fn doubled_things_are_refused() {
    assert!(
        appended("inventory.toml", "\nserial = \"again\"\n")
            .unwrap_err()
            .to_string()
            .contains("not TOML")
    );
    assert!(
        refused(
            "people.toml",
            "\"ana@hospital.example\", ",
            "\"ben@hospital.example\", "
        )
        .contains("listed twice")
    );
    let mut files = example_files();
    files.push(("people.toml".into(), "version = 1".into()));
    assert_eq!(
        Estate::parse(&files).unwrap_err().problem(),
        &Problem::DoubledFile
    );
}

#[test]
fn files_that_nobody_reads_are_refused() {
    let error = appended("inventry.toml", "version = 1").unwrap_err();
    assert_eq!(
        error.to_string(),
        "inventry.toml:1: a file of this name does not belong to an estate; did you mean `inventory.toml`?"
    );
    for path in [
        "policies/../people.toml",
        "policies/.cedar",
        "keys/a/b",
        "/people.toml",
        "policies/a.toml",
        "",
        "keys/",
        "keys/..",
        "x/y",
    ] {
        assert!(appended(path, "").is_err(), "{path}");
    }
    assert!(
        appended("policies/medical-record.cedar", "")
            .unwrap_err()
            .to_string()
            .contains("did you mean `medical-records`?")
    );
    assert!(
        Estate::belongs("policies/x.cedar")
            && !Estate::belongs("README.md")
            && !Estate::belongs(".git/config")
    );
}

#[test]
fn each_file_has_its_version() {
    for path in [
        "people.toml",
        "datasets.toml",
        "inventory.toml",
        "images.toml",
        "identities.toml",
        "credentials.toml",
    ] {
        assert!(refused(path, "version = 1", "").ends_with("the file lacks `version`"));
        assert!(refused(path, "version = 1", "version = 2").contains("only version 1 is known"));
    }
}

#[test]
fn a_boot_state_of_nothing_is_refused() {
    let state = |text: &str| {
        appended("events/new.toml", text)
            .map(|_| ())
            .unwrap_err()
            .to_string()
    };
    let zeros = "0".repeat(64);
    assert!(state("version = 1\n[pcr]\n").contains("requires nothing"));
    assert!(
        state(&format!("version = 1\n[pcr]\n0 = \"{zeros}\"\n")).contains("never measured into")
    );
    assert!(
        state(&format!("version = 1\n[pcr]\n0 = \"{}\"\n", "f".repeat(64)))
            .contains("never measured into")
    );
    assert!(
        state(&format!(
            "version = 1\n[pcr]\n24 = \"{}\"\n",
            "1".repeat(64)
        ))
        .contains("0 to 23")
    );
    assert!(
        state(&format!(
            "version = 1\n[pcr]\n00 = \"{}\"\n",
            "1".repeat(64)
        ))
        .contains("0 to 23")
    );
    assert!(state("version = 1\n[pcr]\n0 = \"A1\"\n").contains("hexadecimal"));
    assert!(
        refused(
            "inventory.toml",
            "[\"events/debian12-6.1.115.toml\", \"events/debian12-6.1.119.toml\"]",
            "[]"
        )
        .contains("accepts no state")
    );
}

#[test]
fn a_tpm_node_needs_its_key_and_its_boot_profile() {
    assert!(refused("inventory.toml", "boot = \"debian12-2026-11\"", "").contains("lacks `boot`"));
    assert!(
        refused(
            "inventory.toml",
            "ek = \"sha256:3b",
            "replaced = [] # \"sha256:3b"
        )
        .contains("lacks `ek`")
    );
    assert!(refused("inventory.toml", "sha256:3b1f", "sha256:3B1F").contains("is not a digest"));
}

#[test]
fn credentials_stay_within_their_data_set() {
    assert!(refused("credentials.toml", "ttl = \"1h\"", "ttl = \"13h\"").contains("at most 12h"));
    assert!(refused("credentials.toml", "ttl = \"1h\"", "ttl = \"0\"").contains("more than 0"));
    assert!(
        refused(
            "credentials.toml",
            "\"SELECT ON ALL TABLES IN SCHEMA records\"",
            "\"ALL ON SCHEMA records\""
        )
        .contains("a grant is")
    );
    assert!(refused("credentials.toml", "[\"_reader\"]", "[\"_admin\"]").contains("_reader"));
    assert!(
        refused("credentials.toml", "secret:db/medrec-pg/admin", "hunter2").contains("secret:NAME")
    );
    assert!(
        !refused("credentials.toml", "secret:db/medrec-pg/admin", "hunter2").contains("hunter2")
    );
}
