//! A configuration of containerd and the files that it imports, in the order in which they count.

use std::collections::BTreeSet;
use std::fs::{self, File};
use std::io::{self, Read as _};
use std::path::{Path, PathBuf};

use super::{HandlersError, member, other_type, parse};

/// One file.
pub(super) struct ConfigFile {
    pub(super) path: PathBuf,
    pub(super) text: String,
}

/// The file, and what it imports, and what those import.
pub(super) fn with_imports(config: &Path) -> Result<Vec<ConfigFile>, HandlersError> {
    let mut files = Vec::new();
    let mut seen = BTreeSet::new();
    let mut open = vec![config.to_owned()];
    while !open.is_empty() {
        let mut next = Vec::new();
        for path in open {
            if !seen.insert(path.clone()) {
                continue;
            }
            if seen.len() > MOST {
                return Err(HandlersError::Import {
                    pattern: path.display().to_string(),
                });
            }
            let text = read(&path).map_err(|source| HandlersError::Unreadable {
                path: path.clone(),
                source,
            })?;
            next.extend(imported(&path, &text)?);
            files.push(ConfigFile { path, text });
        }
        open = next;
    }
    Ok(files)
}

fn read(path: &Path) -> io::Result<String> {
    let mut text = String::new();
    File::open(path)?
        .take(LARGEST + 1)
        .read_to_string(&mut text)?;
    if u64::try_from(text.len()).is_ok_and(|length| length <= LARGEST) {
        Ok(text)
    } else {
        Err(io::ErrorKind::FileTooLarge.into())
    }
}

fn imported(of: &Path, text: &str) -> Result<Vec<PathBuf>, HandlersError> {
    let document = parse(text)?;
    let Some(imports) = member(document.as_table(), "imports")? else {
        return Ok(Vec::new());
    };
    let imports = imports.as_array().ok_or_else(|| other_type("imports"))?;
    let folder = of.parent().unwrap_or(Path::new("/"));
    let mut paths = Vec::new();
    for pattern in imports {
        let pattern = pattern.as_str().ok_or_else(|| other_type("imports"))?;
        paths.extend(matches(&folder.join(pattern), pattern)?);
    }
    Ok(paths)
}

/// Files that a pattern stands for: `*` and `?` in its last part.
fn matches(path: &Path, pattern: &str) -> Result<Vec<PathBuf>, HandlersError> {
    let not_understood = || HandlersError::Import {
        pattern: pattern.to_owned(),
    };
    if !pattern.contains(['*', '?', '[', '\\']) {
        return Ok(vec![path.to_owned()]);
    }
    let folder = path.parent().ok_or_else(not_understood)?;
    let name = path.file_name().and_then(|name| name.to_str());
    let name = name.ok_or_else(not_understood)?;
    let in_folder = folder
        .to_str()
        .is_none_or(|folder| folder.contains(['*', '?', '[', '\\']));
    if in_folder || name.contains(['[', '\\']) {
        return Err(not_understood());
    }
    let entries = match fs::read_dir(folder) {
        Ok(entries) => entries,
        // Nothing matches.
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
        Err(source) => {
            return Err(HandlersError::Unreadable {
                path: folder.to_owned(),
                source,
            });
        }
    };
    let mut found = Vec::new();
    for entry in entries {
        let entry = entry.map_err(|source| HandlersError::Unreadable {
            path: folder.to_owned(),
            source,
        })?;
        let file_name = entry.file_name();
        let file = file_name.to_str().ok_or_else(not_understood)?;
        if fits(name.as_bytes(), file.as_bytes()) {
            found.push(entry.path());
        }
    }
    found.sort();
    Ok(found)
}

/// Whether a name fits a pattern of `*` and `?`.
fn fits(pattern: &[u8], name: &[u8]) -> bool {
    // The rest of the pattern after the last star, and the rest of the name which that star has not eaten yet.
    let (mut pattern, mut name, mut again) = (pattern, name, None);
    loop {
        match (pattern.split_first(), name.split_first()) {
            (Some((b'*', rest)), _) => {
                again = Some((rest, name));
                pattern = rest;
            }
            (Some((wanted, rest)), Some((found, left))) if *wanted == b'?' || wanted == found => {
                (pattern, name) = (rest, left);
            }
            (None, None) => return true,
            _ => match again {
                Some((rest, [_, left @ ..])) => {
                    again = Some((rest, left));
                    (pattern, name) = (rest, left);
                }
                _ => return false,
            },
        }
    }
}

const LARGEST: u64 = 4 << 20;
const MOST: usize = 64;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn stars_and_question_marks_fit_as_a_shell_has_it() {
        for (pattern, name, expected) in [
            ("*.toml", "a.toml", true),
            ("*.toml", ".toml", true),
            ("*.toml", "a.toml.bak", false),
            ("?0-*.toml", "10-x.toml", true),
            ("?0-*.toml", "0-x.toml", false),
            ("*a*b", "xaxxb", true),
            ("*a*b", "xaxxbc", false),
            ("", "", true),
            ("*", "", true),
        ] {
            assert_eq!(
                fits(pattern.as_bytes(), name.as_bytes()),
                expected,
                "{pattern} {name}"
            );
        }
    }
}
