//! The configuration file that ocicrypt's users share, named by `OCICRYPT_KEYPROVIDER_CONFIG`.
//!
//! Others pass over what they do not know. Here an unknown member is refused, since it may be the misspelt one that was to
//! protect the connection; but only for the provider that has it, and when that provider is wanted.

use std::collections::BTreeMap;
use std::io;
use std::path::{Path, PathBuf};

use jose::strict_json;
use serde::Deserialize;
use serde_json::Value;

use crate::address::{Address, socket_path};

/// Why a configuration is not used.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum ConfigError {
    /// Fault: whoever named the file, or this machine.
    #[error("`{}` can't be read: {why}", path.display())]
    Read {
        /// The file.
        path: PathBuf,
        /// What the kernel said.
        why: String,
    },
    /// Fault: whoever wrote the file.
    #[error("it is not JSON with an object `key-providers`, each member once")]
    File,
    /// Fault: whoever wrote the file; the name can't end an annotation's.
    #[error("a provider's name has other characters than letters, digits, `.`, `_` and `-`")]
    Name,
    /// Fault: whoever wrote the file; a member is unknown, malformed, missing or in the wrong company.
    #[error("its entry is not one of `cmd`, `grpc` with or without `grpc-tls`, and `ttrpc`")]
    Entry,
    /// Fault: none; that kind is a part of another program.
    #[error("a `native` provider is built into the tool that has it, and not into this one")]
    Native,
    /// Fault: whoever wrote the file.
    #[error("`{}` is neither an absolute path nor the name of a program", .0.escape_debug())]
    Program(String),
    /// Fault: whoever wrote the file.
    #[error("`{}` is neither `HOST:PORT` nor `unix:///PATH`", .0.escape_debug())]
    Address(String),
    /// Fault: whoever wrote the file; anybody in between would get the keys.
    #[error(
        "`insecure-skip-verify` is not done here; let `root-ca-file` name the server's certificate"
    )]
    SkipVerify,
    /// Fault: whoever wrote the file; a certificate without its key would be left out in silence.
    #[error("`cert-file` and `key-file` come together")]
    HalfCertificate,
}

/// The providers of a file, each usable or not.
pub(crate) type Entries = BTreeMap<String, Result<Means, ConfigError>>;

/// How a provider is asked.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Means {
    /// By starting a program.
    Command { path: PathBuf, args: Vec<String> },
    /// Over gRPC.
    Grpc { address: Address, tls: Option<Tls> },
    /// Over ttrpc.
    Ttrpc { socket: PathBuf },
}

/// How the connection is protected. Absent files are absent here: others write empty names.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub(crate) struct Tls {
    pub(crate) roots: Option<PathBuf>,
    pub(crate) identity: Option<(PathBuf, PathBuf)>,
    pub(crate) server_name: Option<String>,
}

/// Reads a file. One that does not exist configures nobody, as others have it.
pub(crate) fn read(path: &Path) -> Result<Entries, ConfigError> {
    let unreadable = |why: String| ConfigError::Read {
        path: path.to_owned(),
        why,
    };
    match std::fs::metadata(path) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Entries::new()),
        Ok(file) if file.len() > LARGEST => return Err(unreadable("it is too large".to_owned())),
        _ => {}
    }
    let text = std::fs::read(path).map_err(|error| unreadable(error.to_string()))?;
    parse(&text)
}

/// Reads a file's text.
pub(crate) fn parse(text: &[u8]) -> Result<Entries, ConfigError> {
    let FileJson { providers } = strict_json::from_slice(text).map_err(|_| ConfigError::File)?;
    let entries = providers.into_iter().map(|(name, entry)| {
        let means = match is_name(&name) {
            true => means(entry),
            false => Err(ConfigError::Name),
        };
        (name, means)
    });
    Ok(entries.collect())
}

/// What lies beside the providers is for others.
#[derive(Deserialize)]
struct FileJson {
    #[serde(rename = "key-providers")]
    providers: BTreeMap<String, Value>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
struct EntryJson {
    #[serde(default)]
    cmd: Option<CommandJson>,
    #[serde(default)]
    grpc: Option<String>,
    #[serde(default)]
    grpc_tls: Option<TlsJson>,
    #[serde(default)]
    ttrpc: Option<String>,
    #[serde(default)]
    native: Option<String>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct CommandJson {
    path: String,
    #[serde(default)]
    args: Option<Vec<String>>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
struct TlsJson {
    #[serde(default)]
    root_ca_file: String,
    #[serde(default)]
    cert_file: String,
    #[serde(default)]
    key_file: String,
    #[serde(default)]
    server_name: String,
    #[serde(default)]
    insecure_skip_verify: bool,
}

/// Of several means others take the first that they know, in this order; a file may be for more than one of them.
fn means(entry: Value) -> Result<Means, ConfigError> {
    let EntryJson {
        cmd,
        grpc,
        grpc_tls,
        ttrpc,
        native,
    } = serde_json::from_value(entry).map_err(|_| ConfigError::Entry)?;
    let given = |text: &String| !text.is_empty();
    if let Some(CommandJson { path, args }) = cmd {
        return command(path, args.unwrap_or_default());
    }
    if let Some(text) = grpc.filter(given) {
        let address = Address::of_grpc(&text).ok_or(ConfigError::Address(text))?;
        let tls = grpc_tls.map(tls).transpose()?;
        return Ok(Means::Grpc { address, tls });
    }
    if let Some(text) = ttrpc.filter(given) {
        let socket = socket_path(&text).ok_or(ConfigError::Address(text))?;
        return Ok(Means::Ttrpc { socket });
    }
    match native {
        Some(_) => Err(ConfigError::Native),
        None => Err(ConfigError::Entry),
    }
}

/// A relative path would be another program in another folder.
fn command(path: String, args: Vec<String>) -> Result<Means, ConfigError> {
    let is_program = path.starts_with('/') || (!path.is_empty() && !path.contains('/'));
    let is_plain = |text: &String| !text.contains('\0');
    if !is_program || !is_plain(&path) || !args.iter().all(is_plain) {
        return Err(ConfigError::Program(path));
    }
    let path = path.into();
    Ok(Means::Command { path, args })
}

fn tls(json: TlsJson) -> Result<Tls, ConfigError> {
    let TlsJson {
        root_ca_file,
        cert_file,
        key_file,
        server_name,
        insecure_skip_verify,
    } = json;
    if insecure_skip_verify {
        return Err(ConfigError::SkipVerify);
    }
    let named = |text: String| (!text.is_empty()).then_some(text);
    let identity = match (named(cert_file), named(key_file)) {
        (Some(certificate), Some(key)) => Some((certificate.into(), key.into())),
        (None, None) => None,
        _ => return Err(ConfigError::HalfCertificate),
    };
    Ok(Tls {
        roots: named(root_ca_file).map(PathBuf::from),
        identity,
        server_name: named(server_name),
    })
}

/// What a provider may be called: the rest of a key packet's scheme.
fn is_name(name: &str) -> bool {
    let is_plain = |byte: u8| byte.is_ascii_alphanumeric() || b"._-".contains(&byte);
    !name.is_empty() && name.len() <= 100 && name.bytes().all(is_plain)
}

/// Bytes.
const LARGEST: u64 = 1024 * 1024;

#[cfg(test)]
mod tests;
