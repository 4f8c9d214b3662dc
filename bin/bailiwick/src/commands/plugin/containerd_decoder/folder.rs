//! A folder of keys, as an operator or a mounted Kubernetes Secret fills it. What a file is for is told by its content, and by
//! files beside it with a longer name:
//!
//! | file | what it is |
//! |---|---|
//! | `NAME` | private keys (PEM, DER, JWK or a JWK set), or the certificate of one; OpenPGP secret keys; the YAML of a PKCS#11 key |
//! | `NAME.password` | the password or PIN of `NAME`; a line end after it does not count |
//! | `NAME.kid` | the name under which a key broker of Confidential Containers keeps the 32 bytes of `NAME`: `kbs:///default/key/1` |
//!
//! Public keys may lie there. What else is not understood is told, and is no obstacle as long as another key opens the layer.

mod walk;

use std::{
    collections::BTreeMap,
    error::Error,
    ffi::OsString,
    path::{Path, PathBuf},
};

use images::Keys;
use jose::key_file::{is_encrypted, parse_public_keys};
use oci_crypt::Certificate;
#[cfg(feature = "pgp")]
use oci_crypt::PgpKeyError;
#[cfg(feature = "pkcs11")]
use zeroize::Zeroizing;

pub(crate) use self::walk::WalkError;
use self::walk::{Walked, walk};

/// A file in a folder of keys.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct KeyFile {
    /// Its path below the folder.
    pub(crate) name: PathBuf,
    /// Its permissions.
    pub(crate) mode: u32,
    /// What it is for.
    pub(crate) meaning: Meaning,
}

/// What a file is for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Meaning {
    /// It holds private keys.
    PrivateKeys,
    /// It holds the key of a key broker.
    BrokerKey,
    /// It is a certificate, which opens packets with its private key.
    Certificate,
    /// It holds a password, or the name of a key.
    BesideAKey,
    /// It holds public keys, which open nothing.
    PublicKeys,
    /// It is not used.
    Unused {
        /// Why.
        why: String,
    },
}

/// Adds all keys of a folder, and tells what became of each file.
pub(crate) fn add_folder(keys: &mut Keys, folder: &Path) -> Result<Vec<KeyFile>, WalkError> {
    let walked: BTreeMap<PathBuf, Walked> = walk(folder)?
        .into_iter()
        .map(|file| (file.name.clone(), file))
        .collect();
    let each = walked.values().map(|file| {
        keys.come_from(file.name.display().to_string());
        KeyFile {
            name: file.name.clone(),
            mode: file.mode,
            meaning: meaning(keys, file, &walked).unwrap_or_else(|why| Meaning::Unused { why }),
        }
    });
    Ok(each.collect())
}

fn meaning(
    keys: &mut Keys,
    file: &Walked,
    all: &BTreeMap<PathBuf, Walked>,
) -> Result<Meaning, String> {
    if let Some(key) = is_for(&file.name) {
        return match all.contains_key(&key) {
            true => Ok(Meaning::BesideAKey),
            false => Err(format!("there is no `{}` that it is for", key.display())),
        };
    }
    let content = file.content.as_ref().map_err(Clone::clone)?;
    let password = beside(file, PASSWORD, all)?;
    let kid = beside(file, KID, all)?;
    match (kid, password) {
        (Some(_), Some(_)) => {
            Err("a password and the name of a broker's key are given for it".to_owned())
        }
        (Some(kid), None) => {
            let kid = std::str::from_utf8(kid).map_err(|_| "its name is no text".to_owned())?;
            let added = keys.add_broker_key(kid, content);
            added
                .map(|()| Meaning::BrokerKey)
                .map_err(|error| told(&error))
        }
        (None, password) => add(keys, content, password),
    }
}

/// Adds what a file holds, whose password may be known.
pub(crate) fn add(
    keys: &mut Keys,
    content: &[u8],
    password: Option<&[u8]>,
) -> Result<Meaning, String> {
    if content.is_empty() {
        return Err("it is empty".to_owned());
    }
    if Certificate::is_in(content) {
        let added = keys.add_certificate(content);
        return added
            .map(|()| Meaning::Certificate)
            .map_err(|error| told(&error));
    }
    #[cfg(feature = "pgp")]
    if oci_crypt::is_pgp_key_file(content) {
        return add_pgp(keys, content, password);
    }
    #[cfg(feature = "pkcs11")]
    if pkcs11::KeyFile::is_in(content) {
        let pin = password.map(|pin| Zeroizing::new(pin.to_vec()));
        let added = crate::commands::image::add_token_key(keys, content, pin);
        return added
            .map(|()| Meaning::PrivateKeys)
            .map_err(|error| told(error.as_ref()));
    }
    if password.is_none() && is_encrypted(content) {
        return Err(NO_PASSWORD.to_owned());
    }
    match keys.add_private_key(content, password) {
        Ok(()) => Ok(Meaning::PrivateKeys),
        Err(_) if parse_public_keys(content).is_ok() => Ok(Meaning::PublicKeys),
        Err(error) => Err(told(&error)),
    }
}

/// Secret keys of another password in the same ring stay closed.
#[cfg(feature = "pgp")]
fn add_pgp(keys: &mut Keys, content: &[u8], password: Option<&[u8]>) -> Result<Meaning, String> {
    let ring = match oci_crypt::PgpSecretRing::parse(content) {
        Ok(ring) => ring,
        Err(PgpKeyError::NoSecretKey) if oci_crypt::PgpPublicRing::parse(content).is_ok() => {
            return Ok(Meaning::PublicKeys);
        }
        Err(error) => return Err(told(&error)),
    };
    let (opener, _closed) = ring.open(password).map_err(|error| match error {
        PgpKeyError::PasswordMissing => NO_PASSWORD.to_owned(),
        error => told(&error),
    })?;
    keys.add_pgp(opener);
    Ok(Meaning::PrivateKeys)
}

/// What a file beside this one says about it.
fn beside<'a>(
    file: &Walked,
    suffix: &str,
    all: &'a BTreeMap<PathBuf, Walked>,
) -> Result<Option<&'a [u8]>, String> {
    let mut name = OsString::from(&file.name);
    name.push(suffix);
    let name = PathBuf::from(name);
    let Some(beside) = all.get(&name) else {
        return Ok(None);
    };
    let shown = || name.display();
    let line = match &beside.content {
        Ok(content) => without_line_end(content),
        Err(why) => return Err(format!("`{}` can't be used: {why}", shown())),
    };
    match line.is_empty() {
        true => Err(format!("`{}` is empty", shown())),
        false => Ok(Some(line)),
    }
}

/// The name of the key that a file lies beside for.
fn is_for(name: &Path) -> Option<PathBuf> {
    let text = name.to_str()?;
    let key = [PASSWORD, KID]
        .iter()
        .find_map(|suffix| text.strip_suffix(suffix))?;
    Some(PathBuf::from(key))
}

fn without_line_end(text: &[u8]) -> &[u8] {
    let text = text.strip_suffix(b"\n").unwrap_or(text);
    text.strip_suffix(b"\r").unwrap_or(text)
}

/// An error and its causes, in one line.
pub(crate) fn told(error: &dyn Error) -> String {
    let mut text = error.to_string();
    let mut cause = error.source();
    while let Some(error) = cause {
        text.push_str(": ");
        text.push_str(&error.to_string());
        cause = error.source();
    }
    text
}

/// What is wrong with a key that only lacks its password.
pub(crate) const NO_PASSWORD: &str =
    "its private key is encrypted, and no password is given for it";
const PASSWORD: &str = ".password";
const KID: &str = ".kid";

#[cfg(test)]
mod tests;
