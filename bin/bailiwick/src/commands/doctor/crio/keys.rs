//! CRI-O's folder of keys. It is read at every pull, and whatever is not understood there fails all of them, also those of
//! images that are not encrypted.

use std::{
    fs,
    io::Read,
    os::unix::fs::PermissionsExt,
    path::{Path, PathBuf},
};

use images::Keys;
use zeroize::Zeroizing;

use super::super::{Check, keys::MOST_TOLD};
use crate::commands::plugin::containerd_decoder::folder::{Meaning, add};

/// What CRI-O would make of a folder.
pub(super) fn checks(folder: &Path) -> Vec<Check> {
    let what = format!("CRI-O's folder of keys {}", folder.display());
    if !folder.exists() {
        return vec![Check::note(
            what,
            "does not exist: no keys are at hand",
            "mkdir -m 700, if layers are for private keys",
        )];
    }
    let mut entries = Vec::new();
    if let Err(why) = walk(folder, 0, &mut entries) {
        return vec![Check::wrong(
            what,
            why,
            "no image can be pulled: set it right",
        )];
    }
    let judged: Vec<(PathBuf, Judged)> = entries
        .into_iter()
        .map(|path| {
            let judged = judge(&path);
            (path, judged)
        })
        .collect();
    let good = judged
        .iter()
        .filter(|(_, judged)| matches!(judged, Judged::Key { .. }));
    let mut checks = vec![Check::ok(what, format!("{} keys", good.count()))];
    let is_open = fs::metadata(folder).is_ok_and(|found| found.permissions().mode() & 0o001 != 0);
    let told = judged.into_iter().filter_map(|(path, judged)| {
        let name = format!("key {}", path.display());
        match judged {
            Judged::Key { mode } if is_open && mode & 0o006 != 0 => Some(Check::wrong(
                name,
                "everybody on this machine has access to it",
                format!("chmod 600 {}", path.display()),
            )),
            Judged::Key { .. } => None,
            Judged::OpenPgp => Some(Check::note(
                name,
                "looks like an OpenPGP key, and was not looked at",
                "nothing, if it has no password and is not armoured",
            )),
            Judged::FailsAll { why, change } => Some(Check::wrong(
                name,
                format!("{why}: every pull fails, of plain images, too"),
                change,
            )),
        }
    });
    checks.extend(told.take(MOST_TOLD));
    checks
}

enum Judged {
    Key { mode: u32 },
    OpenPgp,
    FailsAll { why: String, change: &'static str },
}

/// As `filepath.Walk` of Go walks: links are not followed.
fn walk(folder: &Path, depth: usize, found: &mut Vec<PathBuf>) -> Result<(), String> {
    if depth >= DEEPEST {
        return Err(format!("has more than {DEEPEST} folders in each other"));
    }
    let entries = fs::read_dir(folder).and_then(Iterator::collect::<Result<Vec<_>, _>>);
    let entries = entries.map_err(|error| format!("can't be read: {error}"))?;
    let mut paths: Vec<PathBuf> = entries.into_iter().map(|entry| entry.path()).collect();
    paths.sort();
    for path in paths {
        let is_folder = fs::symlink_metadata(&path).is_ok_and(|about| about.is_dir());
        if is_folder {
            walk(&path, depth + 1, found)?;
        } else if found.len() < MOST_FILES {
            found.push(path);
        } else {
            return Err(format!("has more than {MOST_FILES} files"));
        }
    }
    Ok(())
}

fn judge(path: &Path) -> Judged {
    let fails = |why: &str, change| Judged::FailsAll {
        why: why.to_owned(),
        change,
    };
    let about = match fs::symlink_metadata(path) {
        Ok(about) => about,
        Err(error) => return fails(&error.to_string(), "let CRI-O read it"),
    };
    if about.file_type().is_symlink() {
        return fails(
            "it is a link",
            "put the file itself there; a mounted Secret has links only",
        );
    }
    if !about.is_file() {
        return fails("it is no file", TAKE_OUT);
    }
    let content = match read(path) {
        Ok(content) => content,
        Err(error) => return fails(&error.to_string(), "let CRI-O read it"),
    };
    if content
        .first()
        .is_some_and(|byte| OPENPGP_SECRET_KEY.contains(byte))
    {
        return Judged::OpenPgp;
    }
    match add(&mut Keys::default(), &content, None) {
        Ok(Meaning::PrivateKeys) => not_for_go(&content).unwrap_or(Judged::Key {
            mode: about.permissions().mode() & 0o7777,
        }),
        Ok(Meaning::Certificate) => fails("it is a certificate", TAKE_OUT),
        Ok(Meaning::PublicKeys) => fails("it is a public key", TAKE_OUT),
        Ok(_) => fails("it is no private key", TAKE_OUT),
        Err(why) => fails(&why, TAKE_OUT),
    }
}

/// Keys that are read here, and not by ocicrypt.
fn not_for_go(content: &[u8]) -> Option<Judged> {
    let has = |text: &[u8]| content.windows(text.len()).any(|window| window == text);
    let fails = |why: &str, change| {
        let why = why.to_owned();
        Some(Judged::FailsAll { why, change })
    };
    if has(b"-----BEGIN EC PRIVATE KEY-----") {
        return fails(
            "ocicrypt does not read this kind of PEM",
            "`openssl pkcs8 -topk8 -nocrypt` makes one that it reads",
        );
    }
    let json: Option<serde_json::Value> = serde_json::from_slice(content).ok();
    match json.is_some_and(|json| json.get("keys").is_some()) {
        true => fails(
            "ocicrypt does not read sets of JWK",
            "write each key into a file",
        ),
        false => None,
    }
}

fn read(path: &Path) -> std::io::Result<Zeroizing<Vec<u8>>> {
    let mut content = Zeroizing::new(Vec::new());
    fs::File::open(path)?
        .take(LARGEST)
        .read_to_end(&mut content)?;
    Ok(content)
}

const TAKE_OUT: &str = "take it out of this folder";
/// How a binary packet with a secret key begins.
const OPENPGP_SECRET_KEY: [u8; 3] = [0x94, 0x95, 0xc5];
const DEEPEST: usize = 8;
const MOST_FILES: usize = 1024;
const LARGEST: u64 = 65 * 1024;
