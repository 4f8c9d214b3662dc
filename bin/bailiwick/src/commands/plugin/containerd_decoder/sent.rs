//! Keys that the client of the runtime sent along, in the members of ocicrypt's `DecryptConfig`.

use std::collections::BTreeMap;

use images::Keys;
use zeroize::Zeroizing;

use super::{
    folder::{self, Meaning},
    refusal::{Refusal, Unused},
};

/// A key or a password.
pub(super) type Secret = Zeroizing<Vec<u8>>;

/// What came along. It has private keys and passwords, so it is never shown.
#[derive(Default)]
pub(super) struct Sent {
    /// Private keys, some with a password.
    pub(super) private_keys: Vec<(Secret, Option<Secret>)>,
    /// Certificates for them.
    pub(super) certificates: Vec<Secret>,
    /// OpenPGP keys, some with a password.
    pub(super) openpgp_keys: Vec<(Secret, Option<Secret>)>,
    /// Descriptions of keys on tokens.
    pub(super) tokens: Vec<Secret>,
    /// What was written for key providers, by their names.
    pub(super) arguments: BTreeMap<String, Vec<String>>,
}

impl std::fmt::Debug for Sent {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Sent")
    }
}

impl Sent {
    /// Sorts the members by their names; what has no name of ocicrypt's is for the key provider of that name.
    pub(super) fn of(mut parameters: BTreeMap<String, Vec<Secret>>) -> Result<Self, Refusal> {
        let mut take = |name: &str| parameters.remove(name).unwrap_or_default();
        let private_keys = with_passwords(take("privkeys"), take("privkeys-passwords"))?;
        let openpgp_keys =
            with_passwords(take("gpg-privatekeys"), take("gpg-privatekeys-passwords"))?;
        let (certificates, tokens) = (take("x509s"), take("pkcs11-yamls"));
        // Which modules may be loaded here is not for the client to say.
        drop(take("pkcs11-config"));
        let text = |argument: &Secret| String::from_utf8(argument.to_vec());
        let arguments = parameters.iter().map(|(name, arguments)| {
            let arguments: Result<_, _> = arguments.iter().map(text).collect();
            Ok((name.clone(), arguments?))
        });
        let arguments: Result<_, std::string::FromUtf8Error> = arguments.collect();
        Ok(Self {
            private_keys,
            certificates,
            openpgp_keys,
            tokens,
            arguments: arguments
                .map_err(|_| Refusal::Payload("an argument for a key provider is no text"))?,
        })
    }

    /// Whether no key came along.
    pub(super) fn has_no_keys(&self) -> bool {
        let Self {
            private_keys,
            certificates: _,
            openpgp_keys,
            tokens,
            arguments: _,
        } = self;
        private_keys.is_empty() && openpgp_keys.is_empty() && tokens.is_empty()
    }

    /// Adds the keys, and tells which are not understood.
    pub(super) fn add_to(&self, keys: &mut Keys) -> Vec<Unused> {
        let Self {
            private_keys,
            certificates,
            openpgp_keys,
            tokens,
            arguments: _,
        } = self;
        let certificates = certificates.iter().map(|file| ("certificate", file, None));
        let private = private_keys.iter();
        let private = private.map(|(file, password)| ("private key", file, password.as_ref()));
        let openpgp = openpgp_keys.iter();
        let openpgp = openpgp.map(|(file, password)| ("OpenPGP key", file, password.as_ref()));
        let tokens = tokens.iter().map(|file| ("PKCS#11 key", file, None));
        let mut unused = Vec::new();
        let all = certificates.chain(private).chain(openpgp).chain(tokens);
        for (number, (kind, file, password)) in all.enumerate() {
            let name = format!("{kind} (number {} of those sent along)", number + 1);
            keys.come_from(&name);
            let password = password.map(|password| password.as_slice());
            let why = match folder::add(keys, file, password) {
                Ok(Meaning::PublicKeys) => "it is a public key".to_owned(),
                Ok(_) => continue,
                Err(why) => why,
            };
            unused.push(Unused { name, why });
        }
        unused
    }
}

/// Each key with its password: those that are not encrypted have an empty one, or all of them have none.
fn with_passwords(
    keys: Vec<Secret>,
    passwords: Vec<Secret>,
) -> Result<Vec<(Secret, Option<Secret>)>, Refusal> {
    if !passwords.is_empty() && passwords.len() != keys.len() {
        return Err(Refusal::Payload(
            "it has another number of passwords than of private keys",
        ));
    }
    let mut passwords = passwords.into_iter();
    let password = |_: &Secret| passwords.next().filter(|password| !password.is_empty());
    let passwords: Vec<_> = keys.iter().map(password).collect();
    Ok(keys.into_iter().zip(passwords).collect())
}
