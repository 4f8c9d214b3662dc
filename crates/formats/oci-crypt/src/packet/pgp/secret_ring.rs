//! Secret keys, and how their password opens them.

use pgp::composed::{Deserializable as _, PlainSessionKey, SignedSecretKey};
use pgp::packet::{SecretKey, SecretSubkey};
use pgp::types::{
    EskType, KeyDetails, Password, PkeskBytes, PlainSecretParams, PublicParams, S2kParams,
    SecretParams, StringToKey,
};

use super::key_file::{KeyFile, PgpKeyError, fenced};
use super::key_id::PgpKeyId;
use super::opener::PgpOpener;
use super::public_ring::key_id;
use super::rsa::RsaKey;

/// Secret keys as a file or GnuPG's `--export-secret-keys` gives them, with or without a password.
pub struct PgpSecretRing {
    keys: Vec<SignedSecretKey>,
}

/// One secret that decrypts.
pub(super) struct OpenedKey {
    pub(super) id: PgpKeyId,
    decrypt: Decrypt,
}

type Decrypt = Box<dyn Fn(&PkeskBytes, EskType) -> Option<PlainSessionKey> + Send + Sync>;

impl OpenedKey {
    /// The session key that was encrypted to it. Whether it is the right one shows where the content opens.
    pub(super) fn session_key(
        &self,
        values: &PkeskBytes,
        kind: EskType,
    ) -> Option<PlainSessionKey> {
        fenced(|| (self.decrypt)(values, kind))
    }
}

impl PgpSecretRing {
    /// Reads all keys of a file, armoured or binary. One that is not understood is an error: it may be the one that is
    /// needed.
    pub fn parse(file: &[u8]) -> Result<Self, PgpKeyError> {
        let file = KeyFile::read(file)?;
        let keys: Vec<SignedSecretKey> = file
            .keys()?
            .iter()
            .filter(|key| key.is_secret)
            .map(|key| fenced(|| SignedSecretKey::from_bytes(key.bytes).ok()))
            .collect::<Option<_>>()
            .ok_or(PgpKeyError::NotUnderstood)?;
        match keys.is_empty() {
            true => Err(PgpKeyError::NoSecretKey),
            false => Ok(Self { keys }),
        }
    }

    /// Whether a secret in here needs a password.
    pub fn is_encrypted(&self) -> bool {
        self.parts()
            .any(|part| part.holds() && part.secret().is_encrypted())
    }

    /// Opens all secrets that decrypt. The password may open some of them only; those that stay closed come with the opener,
    /// for a warning.
    pub fn open(&self, password: Option<&[u8]>) -> Result<(PgpOpener, Vec<PgpKeyId>), PgpKeyError> {
        let mut opened = Vec::new();
        let mut closed = Vec::new();
        for part in self.parts().filter(Part::holds) {
            let password = match (part.secret().is_encrypted(), password) {
                (true, None) => return Err(PgpKeyError::PasswordMissing),
                (true, Some(password)) => Password::from(password),
                (false, _) => Password::empty(),
            };
            match part.open(&password) {
                Some(key) => opened.push(key),
                None => closed.push(part.id()),
            }
        }
        match (opened.is_empty(), closed.is_empty()) {
            (true, true) => Err(PgpKeyError::NothingDecrypts),
            (true, false) => Err(PgpKeyError::PasswordWrong { keys: closed }),
            (false, _) => Ok((PgpOpener::new(opened), closed)),
        }
    }

    /// Expired and revoked keys, too: they open what was encrypted to them before.
    fn parts(&self) -> impl Iterator<Item = Part<'_>> {
        self.keys.iter().flat_map(|key| {
            let subkeys = key.secret_subkeys.iter();
            [Part::Primary(&key.primary_key)]
                .into_iter()
                .chain(subkeys.map(|subkey| Part::Subkey(&subkey.key)))
        })
    }
}

#[derive(Clone, Copy)]
enum Part<'k> {
    Primary(&'k SecretKey),
    Subkey(&'k SecretSubkey),
}

impl Part<'_> {
    fn id(&self) -> PgpKeyId {
        key_id(match self {
            Part::Primary(key) => key.legacy_key_id(),
            Part::Subkey(key) => key.legacy_key_id(),
        })
    }

    fn secret(&self) -> &SecretParams {
        match self {
            Part::Primary(key) => key.secret_params(),
            Part::Subkey(key) => key.secret_params(),
        }
    }

    /// Whether there is a secret that decrypts: not only one that signs, nor GnuPG's stub for one that is on a card or
    /// was left out.
    fn holds(&self) -> bool {
        let algorithm = match self {
            Part::Primary(key) => key.algorithm(),
            Part::Subkey(key) => key.algorithm(),
        };
        let is_stub = match self.secret() {
            SecretParams::Plain(_) => false,
            SecretParams::Encrypted(secret) => matches!(
                secret.string_to_key_params(),
                S2kParams::Cfb {
                    s2k: StringToKey::Private { .. },
                    ..
                } | S2kParams::MalleableCfb {
                    s2k: StringToKey::Private { .. },
                    ..
                }
            ),
        };
        algorithm.can_encrypt() && !is_stub
    }

    /// The secret, if the password is right.
    fn open(&self, password: &Password) -> Option<OpenedKey> {
        let id = self.id();
        let decrypt = fenced(|| match self {
            Part::Primary(key) => key
                .unlock(password, |public, secret| {
                    Ok(decrypting(key.public_key().clone(), public, secret))
                })
                .ok()?
                .ok(),
            Part::Subkey(key) => key
                .unlock(password, |public, secret| {
                    Ok(decrypting(key.public_key().clone(), public, secret))
                })
                .ok()?
                .ok(),
        })?;
        Some(OpenedKey { id, decrypt })
    }
}

fn decrypting<K: KeyDetails + Send + Sync + 'static>(
    key: K,
    public: &PublicParams,
    secret: &PlainSecretParams,
) -> Decrypt {
    if let (PublicParams::RSA(public), PlainSecretParams::RSA(secret)) = (public, secret)
        && let Some(key) = RsaKey::of(public, secret)
    {
        return Box::new(move |values, kind| match (values, kind) {
            (PkeskBytes::Rsa { mpi }, EskType::V3_4) => key.session_key(mpi),
            _ => None,
        });
    }
    let secret = secret.clone();
    Box::new(move |values, kind| {
        let params = key.public_params();
        secret.decrypt(params, values, kind, &key).ok()
    })
}
