//! Rules about single files: how they open, how long they are, who may write `unsafe`, and that lints are inherited.

use std::fs;
use std::path::{Path, PathBuf};

use crate::metadata::Workspace;

/// One sentence per broken rule; a file that cannot be read is one, too.
pub(crate) fn complaints(workspace: &Workspace) -> Vec<String> {
    let mut found = Vec::new();
    for package in &workspace.packages {
        let folder = workspace.root.join(&package.folder);
        match fs::read_to_string(folder.join("Cargo.toml")) {
            Ok(manifest) if inherits_lints(&manifest) => {}
            _ => found.push(format!(
                "`{}/Cargo.toml` does not inherit the workspace's lints",
                package.folder.display()
            )),
        }
        for path in rust_files(&folder, &mut found) {
            let shown = path
                .strip_prefix(&workspace.root)
                .unwrap_or(&path)
                .display()
                .to_string();
            match fs::read_to_string(&path) {
                Ok(text) => found.extend(complaints_about(
                    &shown,
                    &text,
                    may_be_unsafe(&package.folder),
                )),
                Err(error) => found.push(format!("`{shown}` cannot be read: {error}")),
            }
        }
    }
    found
}

/// A file's length beyond which it holds more than one thought.
const MOST_LINES: usize = 800;

/// The rooms where `unsafe` has a reason: raw system calls, and SHA-256 instructions.
fn may_be_unsafe(folder: &Path) -> bool {
    folder == Path::new("crates/adapters/peer") || folder == Path::new("crates/formats/twin-sha256")
}

fn complaints_about(path: &str, text: &str, unsafe_here: bool) -> Vec<String> {
    let mut found = Vec::new();
    // A crate whose README is its documentation opens with that.
    if !text.starts_with("//!") && !text.starts_with("#![doc = include_str!(") {
        found.push(format!(
            "`{path}` does not open with `//!` saying what it is for"
        ));
    }
    let lines = text.lines().count();
    if lines > MOST_LINES {
        found.push(format!(
            "`{path}` has {lines} lines; {MOST_LINES} is the limit"
        ));
    }
    if !unsafe_here && relaxes_unsafe(text) {
        found.push(format!(
            "`{path}` relaxes `unsafe_code`; only `peer` and `twin-sha256` may"
        ));
    }
    found
}

/// Whether an attribute names the lint; spaces and line breaks inside it do not hide it.
fn relaxes_unsafe(text: &str) -> bool {
    let code: String = text
        .lines()
        .map(|line| line.split("//").next().unwrap_or(line))
        .collect();
    let dense: String = code.split_whitespace().collect();
    dense
        .split("#[")
        .chain(dense.split("#!["))
        .skip(1)
        .any(|piece| {
            let attribute = piece.split(']').next().unwrap_or(piece);
            ["expect(", "allow(", "warn("]
                .iter()
                .any(|level| attribute.contains(level))
                && attribute.contains(LINT)
        })
}

/// Written in two halves, so that this file does not accuse itself.
const LINT: &str = concat!("unsafe", "_code");

fn inherits_lints(manifest: &str) -> bool {
    let mut lines = manifest
        .lines()
        .map(str::trim)
        .skip_while(|line| *line != "[lints]")
        .skip(1);
    lines
        .next()
        .is_some_and(|line| line.replace(' ', "") == "workspace=true")
}

fn rust_files(folder: &Path, complaints: &mut Vec<String>) -> Vec<PathBuf> {
    let mut files = Vec::new();
    let mut folders = vec![folder.to_path_buf()];
    while let Some(folder) = folders.pop() {
        let entries = match fs::read_dir(&folder) {
            Ok(entries) => entries,
            Err(error) => {
                complaints.push(format!("`{}` cannot be listed: {error}", folder.display()));
                continue;
            }
        };
        for path in entries.flatten().map(|entry| entry.path()) {
            if path.is_dir() {
                folders.push(path);
            } else if path.extension().is_some_and(|extension| extension == "rs") {
                files.push(path);
            }
        }
    }
    files.sort();
    files
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_file_must_say_what_it_is_for() {
        assert!(complaints_about("a.rs", "//! Purpose.\n", false).is_empty());
        assert_eq!(
            complaints_about("a.rs", "use std::fs;\n//! Late.\n", false).len(),
            1
        );
        assert!(
            complaints_about("a.rs", "#![doc = include_str!(\"../README.md\")]\n", false)
                .is_empty()
        );
        assert_eq!(complaints_about("a.rs", "", false).len(), 1);
    }

    #[test]
    fn a_file_of_801_lines_is_too_long() {
        let lines = |count: usize| format!("//! Purpose.\n{}", "\n".repeat(count - 1));
        assert!(complaints_about("a.rs", &lines(800), false).is_empty());
        assert_eq!(complaints_about("a.rs", &lines(801), false).len(), 1);
    }

    #[test]
    fn unsafe_is_relaxed_in_its_two_rooms_only() {
        let text = format!(
            "//! Purpose.\n#[expect(\n    {LINT},\n    reason = \"fast\"\n)]\nfn f() {{}}\n"
        );
        assert_eq!(complaints_about("a.rs", &text, false).len(), 1);
        assert!(complaints_about("a.rs", &text, true).is_empty());
        let inner = format!("//! Purpose.\n#![allow({LINT})]\n");
        assert_eq!(complaints_about("a.rs", &inner, false).len(), 1);
        let comment = format!("//! Purpose.\n// #[expect({LINT})] is not for us\n");
        assert!(complaints_about("a.rs", &comment, false).is_empty());
        assert!(may_be_unsafe(Path::new("crates/adapters/peer")));
        assert!(!may_be_unsafe(Path::new("crates/adapters/peerless")));
    }

    #[test]
    fn a_manifest_without_the_lints_is_seen() {
        assert!(inherits_lints(
            "[package]\nname = \"a\"\n\n[lints]\nworkspace = true\n"
        ));
        assert!(!inherits_lints("[package]\nname = \"a\"\n"));
        assert!(!inherits_lints("[lints]\nworkspace = false\n"));
    }
}
