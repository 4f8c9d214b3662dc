//! CRI-O, which opens layers itself by ocicrypt: its configuration with drop-ins, its folder of keys, its environment.

mod keys;

use std::{
    fs,
    path::{Path, PathBuf},
};

use toml::{Table, Value};

use super::{Check, decoder::is_ours, keys as any_keys};

/// Where CRI-O is told what to do.
#[derive(Debug)]
pub(super) struct Crio<'a> {
    /// Its configuration.
    pub(super) config: &'a Path,
    /// The folder of drop-ins.
    pub(super) drop_ins: &'a Path,
    /// Files and folders of files with its environment.
    pub(super) units: &'a [PathBuf],
    /// Where processes are listed.
    pub(super) processes: &'a Path,
}

impl Crio<'_> {
    /// All checks, in the order in which they are worth reading.
    pub(super) fn checks(&self) -> Vec<Check> {
        let mut checks = Vec::new();
        let mut tables = Vec::new();
        let files = self.files();
        for file in &files {
            match read(file) {
                Ok(table) => tables.push((file.clone(), table)),
                Err(why) => checks.push(Check::wrong(
                    format!("CRI-O's configuration {}", file.display()),
                    why,
                    "CRI-O does not start with it: correct it",
                )),
            }
        }
        if files.is_empty() {
            checks.push(Check::note(
                "CRI-O's configuration",
                format!(
                    "neither `{}` nor a file in `{}`",
                    self.config.display(),
                    self.drop_ins.display()
                ),
                "give the right files with --config and --config-dir",
            ));
        }
        checks.extend(key_folder(&tables));
        checks.push(self.providers());
        if let Some((file, _)) = self.provider_config() {
            checks.extend(any_keys::providers(Path::new(&file)));
        }
        checks.extend(runtimes(&tables));
        checks
    }

    /// The configuration, then the drop-ins by their names: the last one counts.
    fn files(&self) -> Vec<PathBuf> {
        let mut files: Vec<PathBuf> = Vec::new();
        files.extend(self.config.is_file().then(|| self.config.to_owned()));
        files.extend(files_in(self.drop_ins));
        files
    }

    fn providers(&self) -> Check {
        let what = "CRI-O's key providers";
        match self.provider_config() {
            Some((file, from)) => Check::ok(
                what,
                format!("those in `{file}`, says `{}`", from.display()),
            ),
            None => Check::note(
                what,
                format!("`{VARIABLE}` is not set, as far as can be seen"),
                "`systemctl edit crio`, if layers are for key providers",
            )
            .advising(format!(
                "[Service]\nEnvironment={VARIABLE}=/etc/ocicrypt.json\n"
            )),
        }
    }

    /// The file with key providers, and who names it: a running CRI-O knows best.
    fn provider_config(&self) -> Option<(String, PathBuf)> {
        if let Some(found) = self.of_process() {
            return Some(found);
        }
        let units = self.units.iter().flat_map(|unit| match unit.is_dir() {
            true => files_in(unit),
            false => vec![unit.clone()],
        });
        // Later files of this list are read before by systemd.
        units.into_iter().find_map(|unit| {
            let text = fs::read_to_string(&unit).ok()?;
            Some((in_environment(&text)?, unit))
        })
    }

    fn of_process(&self) -> Option<(String, PathBuf)> {
        let entries = fs::read_dir(self.processes).ok()?;
        entries.flatten().find_map(|entry| {
            let process = entry.path();
            let name = fs::read_to_string(process.join("comm")).ok()?;
            if name.trim_end() != "crio" {
                return None;
            }
            let environment = process.join("environ");
            let text = fs::read(&environment).ok()?;
            let text = String::from_utf8_lossy(&text).replace('\0', "\n");
            Some((in_environment(&text)?, environment))
        })
    }
}

fn read(file: &Path) -> Result<Table, String> {
    let text = fs::read_to_string(file).map_err(|error| error.to_string())?;
    text.parse()
        .map_err(|error: toml::de::Error| error.message().to_owned())
}

/// The files of a folder by their names; none where there is no folder.
fn files_in(folder: &Path) -> Vec<PathBuf> {
    let entries = fs::read_dir(folder).into_iter().flatten().flatten();
    let mut files: Vec<PathBuf> = entries.map(|entry| entry.path()).collect();
    files.retain(|file| file.is_file());
    files.sort();
    files
}

/// The last of these assignments, in a unit, a file with an environment, or a process's.
fn in_environment(text: &str) -> Option<String> {
    let lines = text.lines().map(str::trim_start);
    let lines = lines.filter(|line| !line.starts_with(['#', ';']));
    let mut set = lines.filter_map(|line| line.split_once(VARIABLE)?.1.strip_prefix('='));
    let quotes = ['"', '\''];
    let value = set.next_back()?.trim_start_matches(quotes);
    let value = value.split([' ', '\t', '"', '\'']).next()?;
    (!value.is_empty()).then(|| value.to_owned())
}

fn runtime(table: &Table) -> Option<&Table> {
    table.get("crio")?.get("runtime")?.as_table()
}

fn key_folder(tables: &[(PathBuf, Table)]) -> Vec<Check> {
    let mut named = tables.iter().rev().filter_map(|(file, table)| {
        let path = runtime(table)?.get("decryption_keys_path")?;
        Some((file, path))
    });
    let folder = match named.next() {
        None => Path::new(KEYS),
        Some((file, path)) => match path.as_str() {
            Some(path) => Path::new(path),
            None => {
                let found = format!("`decryption_keys_path` in `{}` is no text", file.display());
                return vec![
                    Check::wrong("CRI-O's folder of keys", found, "write a path").advising(
                        format!("[crio.runtime]\ndecryption_keys_path = \"{KEYS}\"\n"),
                    ),
                ];
            }
        },
    };
    keys::checks(folder)
}

fn runtimes(tables: &[(PathBuf, Table)]) -> Vec<Check> {
    let mut found: Vec<(&str, &Value)> = Vec::new();
    for (_, table) in tables.iter().rev() {
        let handlers = runtime(table).and_then(|table| table.get("runtimes")?.as_table());
        for (name, handler) in handlers.into_iter().flatten() {
            if found.iter().all(|(known, _)| known != name) {
                found.push((name, handler));
            }
        }
    }
    found.sort_by_key(|(name, _)| *name);
    if found.is_empty() {
        return vec![Check::note(
            "CRI-O's runtime handlers",
            "are the built-in ones",
            NOT_GATED,
        )];
    }
    let each = found.into_iter().map(|(name, handler)| {
        let what = format!("runtime handler {name}");
        let path = handler.get("runtime_path").and_then(Value::as_str);
        match path.unwrap_or_default() {
            "" => Check::note(what, "calls the program of its name", NOT_GATED),
            path if containers::gate::is_gate_name(Path::new(path)) && is_ours(Path::new(path)) => {
                Check::ok(what, format!("leads to the start gate `{path}`"))
            }
            path => Check::note(what, format!("calls `{path}`"), NOT_GATED),
        }
    });
    each.collect()
}

const VARIABLE: &str = "OCICRYPT_KEYPROVIDER_CONFIG";
/// Where CRI-O looks when nothing is said.
const KEYS: &str = "/etc/crio/keys/";
const NOT_GATED: &str =
    "no start gate: images of confidential data sets open on nodes with containerd only";

#[cfg(test)]
mod tests;
