//! Commands that need no server: each file in `cases/` is one, with its arguments, its exit code and what it writes.

use std::{fs, path::Path};

use crate::runner::run;

/// Folders that cases name.
struct Folders(tempfile::TempDir);

impl Folders {
    fn new() -> Self {
        let folders = Self(tempfile::tempdir().unwrap());
        let files = || test_server::ESTATE.map(|(path, text)| (path, text.to_owned()));
        folders.write("ESTATE", &files());
        let edited = |path: &str, from: &str, to: &str| {
            let mut files = files();
            let (_, text) = files.iter_mut().find(|(name, _)| *name == path).unwrap();
            assert!(text.contains(from));
            *text = text.replace(from, to);
            files
        };
        folders.write("BROKEN", &edited("people.toml", "[team]", "[teams]"));
        folders.write(
            "FAILING",
            &edited(
                "tests/records.toml",
                "location = \"DAL05\", cluster",
                "location = \"FRA02\", cluster",
            ),
        );
        folders.write("WIDE", &edited("policies/records.cedar", "when { principal in Location::\"DAL05\" && principal in Cluster::\"hipaaCluster\" }", ""));
        folders
    }

    fn path(&self, name: &str) -> String {
        self.0.path().join(name).to_str().unwrap().to_owned()
    }

    fn write(&self, name: &str, files: &[(&str, String)]) {
        for (path, text) in files {
            let file = Path::new(&self.path(name)).join(path);
            fs::create_dir_all(file.parent().unwrap()).unwrap();
            fs::write(file, text).unwrap();
        }
        // What is no part of an estate lies beside it.
        fs::write(Path::new(&self.path(name)).join("README.md"), "notes").unwrap();
        fs::create_dir(Path::new(&self.path(name)).join(".git")).unwrap();
        fs::write(Path::new(&self.path(name)).join(".git/config"), "[core]").unwrap();
    }

    /// `$NAME` becomes a folder.
    fn fill(&self, text: &str) -> String {
        NAMES.iter().fold(text.to_owned(), |text, name| {
            text.replace(&format!("${name}"), &self.path(name))
        })
    }

    /// Folders become `$NAME` again, and hashes are no part of a case.
    fn generic(&self, text: &str) -> String {
        let text = NAMES.iter().fold(text.to_owned(), |text, name| {
            text.replace(&self.path(name), &format!("${name}"))
        });
        let mut parts = text.split("sha256:");
        let first = parts.next().unwrap_or_default().to_owned();
        parts.fold(first, |text, part| {
            let digest = part.chars().take_while(char::is_ascii_hexdigit).count();
            format!(
                "{text}sha256:{}",
                if digest == 64 {
                    format!("…{}", &part[64..])
                } else {
                    part.to_owned()
                }
            )
        })
    }
}

const NAMES: [&str; 5] = ["ESTATE", "BROKEN", "FAILING", "WIDE", "NOWHERE"];

#[test]
fn every_case_is_as_its_file_says() {
    let folders = Folders::new();
    let mut files: Vec<_> = fs::read_dir(concat!(env!("CARGO_MANIFEST_DIR"), "/tests/it/cases"))
        .unwrap()
        .map(|entry| entry.unwrap().path())
        .collect();
    files.sort();
    assert!(files.len() > 10, "the cases are missing");
    let wrong: Vec<String> = files
        .iter()
        .filter_map(|file| check(&folders, file))
        .collect();
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

fn check(folders: &Folders, file: &Path) -> Option<String> {
    let text = fs::read_to_string(file).unwrap();
    let section = |name: &str| {
        let (_, rest) = text.split_once(&format!("--- {name}\n"))?;
        Some(rest.split("--- ").next().unwrap_or_default())
    };
    let args: Vec<String> = section("args")
        .unwrap()
        .lines()
        .map(|line| folders.fill(line))
        .collect();
    let ran = run(&args, section("stdin").unwrap_or_default());
    let name = file.file_name().unwrap().display();
    let (stdout, stderr) = (folders.generic(&ran.stdout), folders.generic(&ran.stderr));
    let as_wanted = section("status").unwrap().trim() == ran.status.to_string()
        && section("stdout").is_none_or(|wanted| wanted == stdout)
        && section("stderr").is_none_or(|wanted| wanted == stderr)
        && section("stderr begins").is_none_or(|wanted| stderr.starts_with(wanted.trim_end()));
    (!as_wanted).then(|| {
        format!(
            "{name}:\n--- status\n{}\n--- stdout\n{stdout}--- stderr\n{stderr}",
            ran.status
        )
    })
}

#[test]
fn every_command_shows_an_example() {
    let commands = [
        "apply",
        "diff",
        "status",
        "change list",
        "change show",
        "change approve",
        "change reject",
        "server init",
        "lab up",
        "node list",
        "node show",
        "node ban",
        "node token",
        "secret put",
        "secret list",
        "secret show",
        "lease list",
        "lease revoke",
        "policy check",
        "policy test",
        "policy schema",
        "policy who-can",
        "policy explain",
        "audit who",
        "audit search",
        "audit receipt",
        "audit verify",
        "image key",
        "image promote",
        "image retire",
        "person certificate",
    ];
    for command in commands {
        let args: Vec<&str> = command.split(' ').chain(["--help"]).collect();
        let ran = run(&args, "");
        assert_eq!(ran.status, 0, "{command}");
        assert!(
            ran.stdout.contains("Example"),
            "`{command} --help` has no example"
        );
        assert!(
            ran.stdout.contains(&format!("bailiwick {command}")),
            "{command}: {}",
            ran.stdout
        );
    }
}
