//! Keys in hardware modules: `--recipient pkcs11:PUBLIC-KEY-FILE|KEY.yaml`, `--key KEY.yaml[:PASSWORD]`, where the password is
//! the token's PIN.
//!
//! Which modules may be loaded stands in the file that ocicrypt's users have: the one that `OCICRYPT_CONFIG` names, or the
//! first of `$XDG_CONFIG_HOME/ocicrypt.conf`, `~/.config/ocicrypt.conf` and `/etc/ocicrypt.conf`.

use std::fs;

use anyhow::Context;
use images::{RecipientError, Recipients};
use oci_crypt::{OaepHash, Pkcs11KeyError, Pkcs11Recipient};

use crate::advice::Advice;

/// What ocicrypt's users set where their module knows no SHA-256.
const HASH: &str = "OCICRYPT_OAEP_HASHALG";

/// Adds the holder of a key in a module: by its public key, or by the file that names it in its token.
pub(super) fn add_recipient(recipients: &mut Recipients, path: &str) -> anyhow::Result<()> {
    let hash = hash(std::env::var(HASH).ok().as_deref())?;
    let file = fs::read(path).with_context(|| format!("can't read `{path}`"))?;
    let refused = || format!("`{path}` is refused");
    #[cfg(feature = "pkcs11")]
    if pkcs11::KeyFile::is_in(&file) {
        let key = module::public_key(&file).with_context(refused)?;
        let added = recipients.add_token_jwk(&key, hash);
        return added
            .map(|key| tell(path, key))
            .map_err(with_way_out)
            .with_context(refused);
    }
    let added = recipients.add_token_key(&file, hash);
    added
        .map(|key| tell(path, key))
        .map_err(with_way_out)
        .with_context(refused)
}

/// The hash of RSA-OAEP that packets are written with.
fn hash(named: Option<&str>) -> anyhow::Result<OaepHash> {
    match named.unwrap_or_default().to_ascii_lowercase().as_str() {
        "" | "sha256" => Ok(OaepHash::Sha256),
        "sha1" => Ok(OaepHash::Sha1),
        _ => Err(Advice::usage(
            format!("`{HASH}` names no hash that is used here"),
            "set it to `sha256` or `sha1`, or to nothing",
        )
        .error()),
    }
}

fn tell(path: &str, key: Pkcs11Recipient) {
    if !key.has_room_for_binding {
        eprintln!(
            "warning: RSA-{} has no room for a binding: the holder of `{path}` opens the layers wherever they lie",
            key.bits
        );
    }
}

fn with_way_out(error: RecipientError) -> anyhow::Error {
    let hint = match &error {
        RecipientError::Pkcs11(Pkcs11KeyError::NoRoom { .. }) => format!(
            "use a key of 3072 bits or more, set `{HASH}=sha1`, or choose another kind of recipient, such as `jwe:`"
        ),
        _ => return error.into(),
    };
    let advice = Advice::usage("the key is too small", hint);
    anyhow::Error::from(error).context(advice)
}

#[cfg(feature = "pkcs11")]
pub(super) use module::add_key;
#[cfg(feature = "pkcs11")]
pub(crate) use module::add_unasked;

/// What needs the module itself.
#[cfg(feature = "pkcs11")]
mod module {
    use std::{
        ffi::OsString,
        path::{Path, PathBuf},
        sync::OnceLock,
    };

    use anyhow::Context;
    use images::Keys;
    use jose::Jwk;
    use pkcs11::{
        HelperProgram, KeyFile, ModulePolicy, Pin, PinSource, PolicyError, Token, Tokens,
    };

    use super::super::keys::{Secret, Source, ask};
    use crate::advice::Advice;

    const CONFIG: &str = "OCICRYPT_CONFIG";

    /// Adds the key that a file names in its token, if the file is of this kind. Its PIN is asked for where nobody gives it;
    /// where nobody can be asked, the token may have keys of its own.
    pub(in super::super) fn add_key(
        keys: &mut Keys,
        path: &Path,
        file: &[u8],
        source: Option<Source>,
    ) -> anyhow::Result<()> {
        let shown = path.display();
        let file = KeyFile::parse(file)?;
        if let (PinSource::Here(_), None) = (file.uri().pin(), &source) {
            eprintln!(
                "warning: the PIN stands in `{shown}`, where everybody reads it who can read the file; `pin-source` names a file for it"
            );
        }
        let pin = match source {
            Some(source) => Some(Pin::new(source.read()?)),
            None => match file.pin()? {
                Some(pin) => Some(pin),
                None => ask(&format!("PIN for `{shown}`: "))?
                    .filter(|typed| !typed.is_empty())
                    .map(Pin::new),
            },
        };
        keys.add_token_key(token(&file, pin)?);
        Ok(())
    }

    /// The same where nobody can be asked: for the decoder.
    pub(crate) fn add_unasked(
        keys: &mut Keys,
        file: &[u8],
        pin: Option<Secret>,
    ) -> anyhow::Result<()> {
        let file = KeyFile::parse(file)?;
        let pin = match pin {
            Some(pin) => Some(Pin::new(pin)),
            None => file.pin()?,
        };
        keys.add_token_key(token(&file, pin)?);
        Ok(())
    }

    /// The public half of the key that a file names.
    pub(super) fn public_key(file: &[u8]) -> anyhow::Result<Jwk> {
        let file = KeyFile::parse(file)?;
        let token = token(&file, file.pin()?)?;
        let numbers = token.public_key();
        let numbers =
            numbers.with_context(|| format!("`{}` gives no public key", token.shown()))?;
        Jwk::from_rsa(&numbers.n, &numbers.e).context("the token's key is refused")
    }

    fn token(file: &KeyFile, pin: Option<Pin>) -> anyhow::Result<Token> {
        let tokens = tokens()?;
        tokens.key(file, pin).map_err(|error| {
            let hint = match &error {
                PolicyError::Forbidden { .. } => format!(
                    "who may decide it adds the file to `allowed-module-paths` in the file that `{CONFIG}` names, or in `/etc/ocicrypt.conf`"
                ),
                PolicyError::Environment { .. } => format!(
                    "many modules load other code by what they find there; who may decide it adds the name to `allowed-environment`, beside `SOFTHSM2_CONF`, in the file that `{CONFIG}` names, or in `/etc/ocicrypt.conf`"
                ),
                _ => "`module-path` in the URI names its file; `module-name` is looked for in `module-directories`".to_owned(),
            };
            Advice::usage(error.to_string(), hint).error()
        })
    }

    /// One for the whole run, so that no PIN is tried twice.
    fn tokens() -> anyhow::Result<&'static Tokens> {
        static TOKENS: OnceLock<Tokens> = OnceLock::new();
        if let Some(tokens) = TOKENS.get() {
            return Ok(tokens);
        }
        let policy = policy(|name| std::env::var_os(name).filter(|value| !value.is_empty()));
        let policy = policy.map_err(|error| {
            let hint = format!(
                "write `/etc/ocicrypt.conf`, or `{CONFIG}=internal` for the folders where distributions put modules; docs/how/encrypt-images.md shows both"
            );
            anyhow::Error::from(error).context(Advice::usage("no hardware module can be used", hint))
        })?;
        let helper = HelperProgram {
            // This very program, even if its file was replaced meanwhile.
            program: "/proc/self/exe".into(),
            arguments: ["plugin", "pkcs11-token"].map(OsString::from).to_vec(),
        };
        Ok(TOKENS.get_or_init(|| Tokens::new(policy, helper)))
    }

    fn policy(variable: impl Fn(&str) -> Option<OsString>) -> Result<ModulePolicy, PolicyError> {
        match variable(CONFIG) {
            Some(internal) if internal == "internal" => return Ok(ModulePolicy::internal()),
            // A file that is named must be there: another one might allow more.
            Some(path) => return ModulePolicy::read(Path::new(&path)),
            None => {}
        }
        let in_folder = |folder: OsString, below: &str| PathBuf::from(folder).join(below);
        let own = variable("XDG_CONFIG_HOME").map(|folder| in_folder(folder, "ocicrypt.conf"));
        let home = variable("HOME").map(|folder| in_folder(folder, ".config/ocicrypt.conf"));
        let files: Vec<PathBuf> = own
            .into_iter()
            .chain(home)
            .chain(["/etc/ocicrypt.conf".into()])
            .collect();
        ModulePolicy::first_of(&files)
    }

    #[cfg(test)]
    mod tests {
        use std::fs;

        use super::*;

        #[test]
        fn the_policy_is_looked_for_where_ocicrypts_users_have_it() {
            let folder = tempfile::tempdir().unwrap();
            let path = |name: &str| folder.path().join(name);
            let write = |name: &str, allowed: &str| {
                let text = format!("pkcs11:\n  allowed-module-paths: [{allowed}]\n");
                fs::create_dir_all(path(name).parent().unwrap()).unwrap();
                fs::write(path(name), &text).unwrap();
                ModulePolicy::parse(text.as_bytes()).unwrap()
            };
            let named = write("named.conf", "/one/");
            let own = write("xdg/ocicrypt.conf", "/two/");
            let home = write("home/.config/ocicrypt.conf", "/three/");
            let with = |variables: &[(&str, OsString)]| {
                policy(|name| {
                    let mut variables = variables.iter();
                    variables
                        .find(|(known, _)| *known == name)
                        .map(|(_, value)| value.clone())
                })
            };
            let (xdg, at_home) = (
                ("XDG_CONFIG_HOME", path("xdg").into()),
                ("HOME", path("home").into()),
            );
            let config = |value: OsString| (CONFIG, value);
            let all = [
                config(path("named.conf").into()),
                xdg.clone(),
                at_home.clone(),
            ];
            assert_eq!(with(&all).unwrap(), named);
            assert_eq!(with(&[xdg.clone(), at_home.clone()]).unwrap(), own);
            assert_eq!(with(&[at_home]).unwrap(), home);
            let internal = with(&[config("internal".into()), xdg.clone()]).unwrap();
            assert_eq!(internal, ModulePolicy::internal());
            let gone = with(&[config(path("gone").into()), xdg]);
            assert!(matches!(gone, Err(PolicyError::Read { .. })));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_hash_is_named_as_ocicrypts_users_name_it() {
        for (named, expected) in [
            (None, OaepHash::Sha256),
            (Some(""), OaepHash::Sha256),
            (Some("SHA256"), OaepHash::Sha256),
            (Some("sha1"), OaepHash::Sha1),
        ] {
            assert_eq!(hash(named).unwrap(), expected, "{named:?}");
        }
        assert!(hash(Some("md5")).is_err());
    }
}
