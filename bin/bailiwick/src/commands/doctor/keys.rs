//! Folders of keys and configurations of key providers, wherever a decoder takes them from.

use std::{fs, os::unix::fs::PermissionsExt, path::Path};

use images::{Configured, Keys};
use keyprovider::Providers;

use super::{Check, checks::told, decoder::is_program};
use crate::commands::plugin::containerd_decoder::folder::{
    KeyFile, Meaning, NO_PASSWORD, add_folder,
};

/// What the decoder would make of a folder, and who else can read it.
pub(super) fn folder(folder: &Path) -> Vec<Check> {
    let what = format!("folder of keys {}", folder.display());
    let files = match add_folder(&mut Keys::default(), folder) {
        Ok(files) => files,
        Err(error) => {
            let change = "make the folder, or leave out `--decryption-keys-path`";
            return vec![Check::wrong(what, told(&error), change)];
        }
    };
    let count = |meaning: &Meaning| {
        let same = files.iter().filter(|file| file.meaning == *meaning);
        same.count()
    };
    let (keys, brokers) = (count(&Meaning::PrivateKeys), count(&Meaning::BrokerKey));
    let certificates = count(&Meaning::Certificate);
    let mut checks = vec![match keys + brokers {
        0 => Check::wrong(
            what,
            "holds nothing that opens a layer",
            "put a private key there, or leave out `--decryption-keys-path`",
        ),
        _ => Check::ok(
            what,
            format!(
                "{keys} files of private keys, {certificates} certificates, {brokers} keys of brokers"
            ),
        ),
    }];
    let unused = files.iter().filter_map(|file| not_used(folder, file));
    checks.extend(unused.take(MOST_TOLD));
    // Who can't enter the folder reads nothing in it.
    let is_open = fs::metadata(folder).is_ok_and(|found| found.permissions().mode() & 0o001 != 0);
    let seen = files
        .iter()
        .filter_map(|file| exposed(folder, file, is_open));
    checks.extend(seen.take(MOST_TOLD));
    checks
}

fn not_used(folder: &Path, file: &KeyFile) -> Option<Check> {
    let Meaning::Unused { why } = &file.meaning else {
        return None;
    };
    let name = file.name.display();
    let change = if why == NO_PASSWORD {
        format!("write its password into `{name}.password` beside it")
    } else if why.contains("out of the folder") {
        "put the file itself there: such links are not followed".to_owned()
    } else {
        "take it out, or set it right: layers for it do not open".to_owned()
    };
    Some(Check::wrong(key_name(folder, file), why, change))
}

fn exposed(folder: &Path, file: &KeyFile, is_open: bool) -> Option<Check> {
    let is_secret = match file.meaning {
        Meaning::PrivateKeys | Meaning::BrokerKey | Meaning::BesideAKey => true,
        Meaning::Certificate | Meaning::PublicKeys | Meaning::Unused { .. } => false,
    };
    let found = match file.mode {
        mode if mode & 0o002 != 0 && is_open => "can be changed by everybody on this machine",
        mode if mode & 0o004 != 0 && is_open => "can be read by everybody on this machine",
        _ => return None,
    };
    is_secret.then(|| {
        let path = folder.join(&file.name);
        Check::wrong(
            key_name(folder, file),
            found,
            format!(
                "chmod 600 {}; of a Secret, `defaultMode: 0400`",
                path.display()
            ),
        )
    })
}

fn key_name(folder: &Path, file: &KeyFile) -> String {
    format!("key {}", folder.join(&file.name).display())
}

/// What a file that `OCICRYPT_KEYPROVIDER_CONFIG` names is worth.
pub(super) fn providers(file: &Path) -> Vec<Check> {
    let what = format!("key providers in {}", file.display());
    if !file.exists() {
        let change = "write the file, or take the variable away: there are no key providers";
        return vec![Check::wrong(what, "the file does not exist", change)];
    }
    let providers = match Providers::read(file) {
        Ok(providers) => providers,
        Err(error) => {
            let change = "write it as docs/how/key-providers.md has it";
            return vec![Check::wrong(what, told(&error), change)];
        }
    };
    let names: Vec<String> = providers
        .all()
        .iter()
        .map(|service| service.name().to_owned())
        .collect();
    if names.is_empty() {
        return vec![Check::ok(what, "names nobody")];
    }
    let each = names.iter().map(|name| {
        let what = format!("key provider {name}");
        let change = "write its entry as docs/how/key-providers.md has it";
        match providers.find(name) {
            Ok(Configured::Yes(_)) => match program_of(file, name) {
                Some(program) if !is_program(Path::new(&program)) => Check::wrong(
                    what,
                    format!("`{program}` is no program"),
                    format!("correct `path` in `{}`", file.display()),
                ),
                _ => Check::ok(what, "is configured"),
            },
            Ok(Configured::No) => Check::wrong(what, "is not configured", change),
            Err(error) => Check::wrong(what, told(&error), change),
        }
    });
    each.collect()
}

/// The absolute path of a provider's program.
fn program_of(file: &Path, name: &str) -> Option<String> {
    let text = fs::read(file).ok()?;
    let json: serde_json::Value = serde_json::from_slice(&text).ok()?;
    let path = json
        .get("key-providers")?
        .get(name)?
        .get("cmd")?
        .get("path")?;
    let path = path.as_str()?.to_owned();
    path.starts_with('/').then_some(path)
}

/// The rest is like these.
pub(super) const MOST_TOLD: usize = 16;

#[cfg(test)]
mod tests {
    use std::os::unix::fs::symlink;

    use super::*;
    use crate::commands::doctor::State;

    fn set_mode(path: &Path, mode: u32) {
        fs::set_permissions(path, fs::Permissions::from_mode(mode)).unwrap();
    }

    #[test]
    fn a_folder_is_judged_by_its_files_and_by_who_can_read_them() {
        let folder = tempfile::tempdir().unwrap();
        let path = |name: &str| folder.path().join(name);
        set_mode(folder.path(), 0o700);
        assert_eq!(super::folder(folder.path())[0].state, State::Wrong);
        fs::write(
            path("a.pem"),
            rcgen::KeyPair::generate().unwrap().serialize_pem(),
        )
        .unwrap();
        set_mode(&path("a.pem"), 0o644);
        symlink("a.pem", path("b.pem")).unwrap();
        let checks = super::folder(folder.path());
        assert_eq!(checks.len(), 1, "{checks:?}");
        assert_eq!(checks[0].state, State::Ok, "{checks:?}");
        set_mode(folder.path(), 0o755);
        let checks = super::folder(folder.path());
        let found: Vec<&str> = checks.iter().map(|check| check.found.as_str()).collect();
        assert!(
            found.len() == 3 && found[1].contains("read by everybody"),
            "{found:?}"
        );
        set_mode(&path("a.pem"), 0o666);
        assert!(
            super::folder(folder.path())[1]
                .found
                .contains("changed by everybody")
        );
        set_mode(&path("a.pem"), 0o600);
        assert_eq!(super::folder(folder.path()).len(), 1);
        assert!(super::folder(&path("none"))[0].is_wrong());
    }

    #[test]
    fn providers_are_judged_each_by_itself() {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("providers.json");
        assert!(providers(&file)[0].is_wrong());
        fs::write(&file, "{}").unwrap();
        assert!(providers(&file)[0].is_wrong());
        let text = r#"{"key-providers":{"a":{"cmd":{"path":"/bin/sh"}},"b":{"cmd":{"path":"/nowhere"}},
            "c":{"native":"x"},"d":{"grpc":"localhost:1"}}}"#;
        fs::write(&file, text).unwrap();
        let wrong: Vec<bool> = providers(&file).iter().map(Check::is_wrong).collect();
        assert_eq!(wrong, [false, true, true, false]);
        fs::write(&file, r#"{"key-providers":{}}"#).unwrap();
        assert_eq!(providers(&file)[0].state, State::Ok);
    }
}
