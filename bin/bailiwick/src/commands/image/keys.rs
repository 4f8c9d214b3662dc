//! `--key FILE[:PASSWORD]`: private keys, and where their passwords come from.
//!
//! | what follows the file | where the password is |
//! |---|---|
//! | nothing, and it is a certificate | needed by nobody: it says which PKCS#7 packets its private key opens |
//! | nothing | asked for on the terminal, when the key is encrypted, or is in a token whose PIN its file does not give |
//! | `:file=PATH` | in a file; a line end after it does not count |
//! | `:fd=N` | in an inherited file descriptor; likewise |
//! | `:env=NAME` | in the environment |
//! | `:pass=PASSWORD` | on the command line, where every process of the machine can read it |

mod prompt;

#[cfg(feature = "pkcs11")]
pub(super) use self::prompt::ask;

use std::{
    ffi::{OsStr, OsString},
    fs::File,
    io::{self, Read},
    os::unix::ffi::{OsStrExt, OsStringExt},
    path::{Path, PathBuf},
};

use anyhow::Context;
use images::Keys;
use jose::key_file::{MAX_LEN, MAX_PASSWORD_LEN, is_encrypted};
use oci_crypt::Certificate;
use zeroize::Zeroizing;

#[cfg(feature = "pkcs11")]
use super::tokens;
use crate::advice::Advice;

/// Reads the private keys of all files; one that is not understood is an error, and none is passed over in silence.
pub(crate) fn read_keys(named: &[OsString]) -> anyhow::Result<Keys> {
    crate::harden::no_core();
    let mut keys = Keys::default();
    for argument in named {
        if let Some(key) = argument
            .to_str()
            .and_then(|text| text.strip_prefix("coco:"))
        {
            let (name, file) = read_broker_key(key)?;
            keys.add_broker_key(name, &file)
                .with_context(|| format!("`coco:{key}` is refused"))?;
            continue;
        }
        let KeyArgument { path, source } = KeyArgument::parse(argument, |path| path.exists())?;
        let shown = path.display();
        let file = File::open(&path).and_then(|file| read_bounded(file, MAX_RING_LEN));
        let file = file.with_context(|| format!("can't read `{shown}`"))?;
        #[cfg(feature = "pgp")]
        if oci_crypt::is_pgp_key_file(&file) {
            add_pgp(&mut keys, &path, &file, source)
                .with_context(|| format!("`{shown}` is refused"))?;
            continue;
        }
        #[cfg(feature = "pkcs11")]
        if pkcs11::KeyFile::is_in(&file) {
            tokens::add_key(&mut keys, &path, &file, source)
                .with_context(|| format!("`{shown}` is refused"))?;
            continue;
        }
        if Certificate::is_in(&file) {
            keys.add_certificate(&file)
                .with_context(|| format!("`{shown}` is refused"))?;
            continue;
        }
        let password = password(&path, is_encrypted(&file), source)?;
        keys.add_private_key(&file, password.as_ref().map(|password| password.as_slice()))
            .with_context(|| format!("`{shown}` is refused"))?;
    }
    let advice = "a certificate opens nothing alone: give its private key with another `--key`";
    keys.check()
        .map_err(|error| Advice::usage(error.to_string(), advice).error())?;
    Ok(keys)
}

/// The OpenPGP secret keys of a ring. Keys of another password stay closed, and the warning says so.
#[cfg(feature = "pgp")]
fn add_pgp(
    keys: &mut Keys,
    path: &Path,
    file: &[u8],
    source: Option<Source>,
) -> anyhow::Result<()> {
    let ring = oci_crypt::PgpSecretRing::parse(file)?;
    let password = password(path, ring.is_encrypted(), source)?;
    let password = password.as_ref().map(|password| password.as_slice());
    let (opener, closed) = ring.open(password)?;
    for key in closed {
        eprintln!(
            "warning: the password of `{}` does not open its key {key}",
            path.display()
        );
    }
    keys.add_pgp(opener);
    Ok(())
}

/// Name and bytes of a key that a key broker keeps, written as the key provider of Confidential Containers takes it.
pub(super) fn read_broker_key(text: &str) -> anyhow::Result<(&str, Secret)> {
    let (mut name, mut file) = (None, None);
    let understood = text.split("::").all(|part| match part.split_once('=') {
        Some(("keyid", value)) => name.replace(value).is_none(),
        Some(("keypath", value)) => file.replace(value).is_none(),
        _ => false,
    });
    match (name, file) {
        (Some(name), Some(file)) if understood => {
            let key = File::open(file).and_then(|key| read_bounded(key, MAX_LEN));
            Ok((name, key.with_context(|| format!("can't read `{file}`"))?))
        }
        _ => Err(Advice::usage(
            format!("`coco:{text}` names no key"),
            "write `coco:keyid=kbs:///REPOSITORY/TYPE/TAG::keypath=FILE`",
        )
        .error()),
    }
}

/// A private key file that may have a password: its path, its bytes and the password.
pub(super) fn read_protected(
    argument: &OsStr,
) -> anyhow::Result<(PathBuf, Secret, Option<Secret>)> {
    let KeyArgument { path, source } = KeyArgument::parse(argument, |path| path.exists())?;
    let file = File::open(&path).and_then(|file| read_bounded(file, MAX_LEN));
    let file = file.with_context(|| format!("can't read `{}`", path.display()))?;
    let password = password(&path, is_encrypted(&file), source)?;
    Ok((path, file, password))
}

/// The password of a file, where it needs one.
fn password(
    path: &Path,
    is_encrypted: bool,
    source: Option<Source>,
) -> anyhow::Result<Option<Secret>> {
    let shown = path.display();
    match (is_encrypted, source) {
        (false, None) => Ok(None),
        (false, Some(_)) => {
            eprintln!("warning: `{shown}` is not encrypted; its password was not used");
            Ok(None)
        }
        (true, Some(source)) => {
            let password = source.read();
            let password = password.with_context(|| format!("no password for `{shown}`"))?;
            Ok(Some(password))
        }
        (true, None) => {
            let asked = prompt::ask(&format!("password for `{shown}`: "));
            let asked = asked.with_context(|| format!("no password for `{shown}`"))?;
            asked.map(Some).ok_or_else(|| {
                Advice::usage(
                    format!(
                        "`{shown}` is encrypted, and there is no terminal to ask for its password"
                    ),
                    format!("write `--key {shown}:file=PATH`, `:fd=N` or `:env=NAME`"),
                )
                .error()
            })
        }
    }
}

/// What `--key` was given.
#[derive(Debug, PartialEq)]
struct KeyArgument {
    path: PathBuf,
    source: Option<Source>,
}

impl KeyArgument {
    /// Names of files may have colons: the longest that exists is the file, and what follows it says where the password is.
    fn parse(argument: &OsStr, exists: impl Fn(&Path) -> bool) -> anyhow::Result<Self> {
        let bytes = argument.as_bytes();
        let path = |end: usize| PathBuf::from(OsStr::from_bytes(bytes.get(..end).unwrap_or(bytes)));
        if exists(Path::new(argument)) {
            return Ok(Self {
                path: argument.into(),
                source: None,
            });
        }
        let colons = || (0..bytes.len()).filter(|at| bytes.get(*at) == Some(&b':'));
        let Some(colon) = colons().rev().find(|colon| exists(&path(*colon))) else {
            // A mistyped name must not carry the password behind it into a message.
            let path = path(colons().next().unwrap_or(bytes.len()));
            return Ok(Self { path, source: None });
        };
        let path = path(colon);
        let source = Source::parse(bytes.get(colon + 1..).unwrap_or_default());
        match source {
            Some(source) => Ok(Self {
                path,
                source: Some(source),
            }),
            None => Err(Advice::usage(
                format!(
                    "what follows `{}:` does not say where a password is",
                    path.display()
                ),
                "write `file=PATH`, `fd=N`, `env=NAME` or `pass=PASSWORD` there",
            )
            .error()),
        }
    }
}

pub(super) type Secret = Zeroizing<Vec<u8>>;

/// Where a password is.
#[derive(PartialEq)]
pub(super) enum Source {
    Argument(Secret),
    File(PathBuf),
    Descriptor(u32),
    Variable(OsString),
}

impl Source {
    fn parse(text: &[u8]) -> Option<Self> {
        let equals = text.iter().position(|byte| *byte == b'=')?;
        let (kind, value) = (text.get(..equals)?, text.get(equals + 1..)?);
        match kind {
            b"pass" => Some(Self::Argument(Zeroizing::new(value.to_vec()))),
            b"file" if !value.is_empty() => {
                Some(Self::File(OsString::from_vec(value.to_vec()).into()))
            }
            b"fd" => std::str::from_utf8(value)
                .ok()?
                .parse()
                .ok()
                .map(Self::Descriptor),
            b"env" if !value.is_empty() => Some(Self::Variable(OsString::from_vec(value.to_vec()))),
            _ => None,
        }
    }

    pub(super) fn read(self) -> anyhow::Result<Secret> {
        let (shown, password) = match self {
            Self::Argument(password) => {
                eprintln!(
                    "warning: a password on the command line can be read by every process of this machine"
                );
                return Ok(password);
            }
            Self::File(path) => (format!("file={}", path.display()), read_line(&path)),
            // Opened anew by its name in /proc, which works for files and pipes and takes no descriptor from its owner.
            Self::Descriptor(number) => {
                let path = PathBuf::from(format!("/proc/self/fd/{number}"));
                (format!("fd={number}"), read_line(&path))
            }
            Self::Variable(name) => {
                let value = std::env::var_os(&name).map(|value| Zeroizing::new(value.into_vec()));
                let value = value.ok_or_else(|| io::Error::other("the variable is not set"));
                (format!("env={}", name.display()), value)
            }
        };
        let password = password.with_context(|| format!("can't read `{shown}`"))?;
        if password.is_empty() {
            return Err(
                Advice::usage(format!("`{shown}` is empty"), "put the password there").error(),
            );
        }
        Ok(password)
    }
}

/// Never shows a password.
impl std::fmt::Debug for Source {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Argument(_) => f.write_str("Argument"),
            Self::File(path) => f.debug_tuple("File").field(path).finish(),
            Self::Descriptor(number) => f.debug_tuple("Descriptor").field(number).finish(),
            Self::Variable(name) => f.debug_tuple("Variable").field(name).finish(),
        }
    }
}

/// All of a small file without the line end that editors put behind it.
fn read_line(path: &Path) -> io::Result<Secret> {
    let mut password = read_bounded(File::open(path)?, MAX_PASSWORD_LEN + 2)?;
    if password.ends_with(b"\n") {
        password.pop();
        if password.ends_with(b"\r") {
            password.pop();
        }
    }
    Ok(password)
}

/// Reads to the end, into a buffer that does not move: what moved would leave secrets behind.
fn read_bounded(from: impl Read, limit: usize) -> io::Result<Secret> {
    let mut buffer = Zeroizing::new(Vec::with_capacity(limit + 1));
    from.take(limit as u64 + 1).read_to_end(&mut buffer)?;
    if buffer.len() > limit {
        return Err(io::Error::other(format!("it has more than {limit} bytes")));
    }
    Ok(buffer)
}

/// Longest file that is read: rings of OpenPGP keys hold what others signed, too.
const MAX_RING_LEN: usize = 4 * 1024 * 1024;

#[cfg(test)]
mod tests;
