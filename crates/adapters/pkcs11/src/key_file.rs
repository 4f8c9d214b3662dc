//! ocicrypt's key files for tokens: YAML with a URI, and the environment that the module wants.
//!
//! ```yaml
//! pkcs11:
//!   uri: pkcs11:token=house;object=pathology?pin-source=/run/pin&module-name=softhsm2
//! module:
//!   env:
//!     SOFTHSM2_CONF: /etc/house/softhsm2.conf
//! ```

use std::fs::File;
use std::io::{self, Read};
use std::path::Path;

use rustix::fs::{Mode, OFlags};
use zeroize::Zeroizing;

use crate::error::KeyFileError;
use crate::uri::{Pin, PinSource, Uri};
use crate::yaml::{self, Value};

/// Longest file that is read.
pub const MAX_LEN: usize = 64 * 1024;
/// Longest PIN in a file.
const MAX_PIN_LEN: usize = 4096;

/// A key in a token, as its owner wrote it down.
#[derive(Debug, Clone)]
pub struct KeyFile {
    pub(crate) uri: Uri,
    pub(crate) environment: Vec<(String, String)>,
}

impl KeyFile {
    /// Whether a file seems to be of this kind. [`Self::parse`] tells.
    #[must_use]
    pub fn is_in(file: &[u8]) -> bool {
        let Ok(text) = std::str::from_utf8(file) else {
            return false;
        };
        let begins = |line: &str| line.starts_with("pkcs11:");
        let is_map = || yaml::parse(text).is_ok_and(|value| value.member("pkcs11").is_some());
        file.len() <= MAX_LEN && (text.lines().any(begins) || is_map())
    }

    /// Reads a file. Members that are not known are passed over, as ocicrypt does.
    ///
    /// # Errors
    /// See [`KeyFileError`].
    pub fn parse(file: &[u8]) -> Result<Self, KeyFileError> {
        if file.len() > MAX_LEN {
            return Err(KeyFileError::TooLong { limit: MAX_LEN });
        }
        let text = std::str::from_utf8(file).map_err(|_| KeyFileError::Yaml {
            line: 1,
            what: "bytes that are no text",
        })?;
        let document = yaml::parse(text)?;
        let uri = document.member("pkcs11").and_then(|key| key.member("uri"));
        let uri = uri.and_then(Value::text).ok_or(KeyFileError::Member {
            member: "pkcs11.uri",
        })?;
        Ok(Self {
            uri: Uri::parse(uri).map_err(KeyFileError::Uri)?,
            environment: environment(&document)?,
        })
    }

    /// The key's URI.
    #[must_use]
    pub fn uri(&self) -> &Uri {
        &self.uri
    }

    /// The PIN that the file gives, or names a file for.
    ///
    /// # Errors
    /// When it names a file that can't be read.
    pub fn pin(&self) -> Result<Option<Pin>, KeyFileError> {
        match self.uri.pin() {
            PinSource::Absent => Ok(None),
            PinSource::Here(pin) => Ok(Some(pin.clone())),
            PinSource::File(path) => match pin_in(path) {
                Ok(pin) => Ok(Some(pin)),
                Err(source) => Err(KeyFileError::Pin {
                    path: path.clone(),
                    source,
                }),
            },
        }
    }
}

/// A PIN without the line end that editors put behind it. Whoever wrote the key file named its file: a pipe would be waited
/// for without end, a terminal become ours.
fn pin_in(path: &Path) -> io::Result<Pin> {
    let mut pin = Zeroizing::new(Vec::with_capacity(MAX_PIN_LEN + 2));
    let limit = u64::try_from(MAX_PIN_LEN + 1).unwrap_or(u64::MAX);
    let flags = OFlags::RDONLY | OFlags::NONBLOCK | OFlags::NOCTTY | OFlags::CLOEXEC;
    let file = File::from(rustix::fs::open(path, flags, Mode::empty())?);
    if !file.metadata()?.is_file() {
        return Err(io::Error::other("it is no file"));
    }
    file.take(limit).read_to_end(&mut pin)?;
    if pin.ends_with(b"\n") {
        pin.pop();
        if pin.ends_with(b"\r") {
            pin.pop();
        }
    }
    match pin.len() {
        0 => Err(io::Error::other("it is empty")),
        length if length > MAX_PIN_LEN => Err(io::Error::other("it is too long")),
        _ => Ok(Pin::new(pin)),
    }
}

fn environment(document: &Value) -> Result<Vec<(String, String)>, KeyFileError> {
    let malformed = || KeyFileError::Member {
        member: "module.env",
    };
    let module = match document.member("module") {
        None => return Ok(Vec::new()),
        Some(module) if module.is_null() => return Ok(Vec::new()),
        Some(Value::Map(_)) => document.member("module").and_then(|it| it.member("env")),
        Some(_) => return Err(malformed()),
    };
    let variables = match module {
        None => return Ok(Vec::new()),
        Some(env) if env.is_null() => return Ok(Vec::new()),
        Some(Value::Map(variables)) => variables,
        Some(_) => return Err(malformed()),
    };
    variables
        .iter()
        .map(|(name, value)| {
            let (name, value) = (name.as_str(), value.text().ok_or_else(malformed)?);
            if name.is_empty() || name.contains(['=', '\0']) || value.contains('\0') {
                return Err(malformed());
            }
            if decides_what_runs(name) {
                let name = name.chars().take(64).collect();
                return Err(KeyFileError::Environment { name });
            }
            Ok((name.to_owned(), value.to_owned()))
        })
        .collect()
}

/// Variables by which the loader, the C library or OpenSSL (which many modules use) run code from elsewhere: the policy on
/// modules would be worth nothing if a key file could set them, so that not even the policy can allow it. What modules
/// themselves read is the policy's to allow.
fn decides_what_runs(name: &str) -> bool {
    const LOADERS: [&str; 7] = [
        "LD_",
        "DYLD_",
        "GLIBC_",
        "GCONV_",
        "OPENSSL_CONF",
        "OPENSSL_MODULES",
        "OPENSSL_ENGINES",
    ];
    let name = name.to_ascii_uppercase();
    LOADERS.iter().any(|loader| name.starts_with(loader))
}

#[cfg(test)]
mod tests {
    use super::*;

    const FILE: &str = "pkcs11:\n  uri: \"pkcs11:token=a;object=b?pin-value=4711&module-name=m\"\nmodule:\n  env:\n    SOFTHSM2_CONF: /tmp/conf\n";

    #[test]
    fn a_file_as_ocicrypt_documents_it_is_read() {
        let file = KeyFile::parse(FILE.as_bytes()).unwrap();
        let expected = [("SOFTHSM2_CONF".to_owned(), "/tmp/conf".to_owned())];
        assert_eq!(file.environment, expected);
        assert_eq!(file.pin().unwrap().unwrap().expose_bytes(), b"4711");
        assert!(KeyFile::is_in(FILE.as_bytes()));
        assert!(!format!("{file:?}").contains("4711"));
        let flow = br#"{"pkcs11": {"uri": "pkcs11:token=a;object=b"}, "other": [1]}"#;
        assert!(KeyFile::is_in(flow));
        let flow = KeyFile::parse(flow).unwrap();
        assert!(flow.pin().unwrap().is_none() && flow.environment.is_empty());
    }

    #[test]
    fn other_kinds_of_keys_are_not_taken_for_one() {
        for file in [
            &b"-----BEGIN PRIVATE KEY-----\nMC4C\n-----END PRIVATE KEY-----\n"[..],
            br#"{"kty":"RSA","kid":"pkcs11:token=a"}"#,
            b"\x30\x82\x01",
            b"",
        ] {
            assert!(!KeyFile::is_in(file));
        }
    }

    #[test]
    fn malformed_files_are_refused_without_a_word_of_them() {
        for file in [
            "",
            "pkcs11:\n",
            "pkcs11: secret\n",
            "pkcs11:\n  uri: [secret]\n",
            "pkcs11:\n  uri: secret\n",
            "pkcs11:\n  uri: pkcs11:token=a;object=b\nmodule: secret\n",
            "pkcs11:\n  uri: pkcs11:token=a;object=b\nmodule:\n  env: [secret]\n",
            "pkcs11:\n  uri: pkcs11:token=a;object=b\nmodule:\n  env:\n    A: [secret]\n",
            "pkcs11:\n  uri: pkcs11:token=a;object=b?pin-value=secret&pin-source=/x\n",
        ] {
            let error = KeyFile::parse(file.as_bytes()).unwrap_err();
            assert!(
                !format!("{error} {error:?}").contains("secret"),
                "{error:?}"
            );
        }
    }

    #[test]
    fn a_key_file_can_not_choose_what_else_the_loader_runs() {
        for name in [
            "LD_PRELOAD",
            "LD_LIBRARY_PATH",
            "LD_AUDIT",
            "ld_preload",
            "GLIBC_TUNABLES",
            "GCONV_PATH",
            "OPENSSL_CONF",
            "OPENSSL_MODULES",
        ] {
            let file = format!("{FILE}    {name}: /tmp/evil.so\n");
            let refused = KeyFile::parse(file.as_bytes()).unwrap_err();
            assert!(
                matches!(refused, KeyFileError::Environment { .. }),
                "{name}"
            );
        }
    }

    #[test]
    fn a_pin_may_lie_in_a_file() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("pin");
        let file = format!(
            "pkcs11:\n  uri: pkcs11:token=a;object=b?pin-source=file:{}\n",
            path.display()
        );
        let file = KeyFile::parse(file.as_bytes()).unwrap();
        assert!(file.pin().is_err());
        for (written, expected) in [
            ("1234\n", Some("1234")),
            ("12\r\n", Some("12")),
            ("\n", None),
        ] {
            std::fs::write(&path, written).unwrap();
            let pin = file.pin().ok().flatten();
            let pin = pin.map(|pin| pin.expose_bytes().to_vec());
            assert_eq!(pin.as_deref(), expected.map(str::as_bytes), "{written:?}");
        }
    }

    #[test]
    fn a_pin_is_waited_for_at_no_pipe() {
        let folder = tempfile::tempdir().unwrap();
        let pipe = folder.path().join("pin");
        let made = std::process::Command::new("mkfifo").arg(&pipe).status();
        assert!(made.unwrap().success());
        for named in [pipe.as_path(), folder.path(), Path::new("/dev/zero")] {
            let text = format!(
                "pkcs11:\n  uri: pkcs11:token=a;object=b?pin-source=file:{}\n",
                named.display()
            );
            let refused = KeyFile::parse(text.as_bytes()).unwrap().pin().unwrap_err();
            let KeyFileError::Pin { source, .. } = refused else {
                panic!("{refused}")
            };
            assert_eq!(source.to_string(), "it is no file", "{}", named.display());
        }
    }

    proptest::proptest! {
        #[test]
        fn hostile_files_never_panic(bytes in proptest::collection::vec(proptest::prelude::any::<u8>(), 0..200)) {
            let _ = KeyFile::is_in(&bytes);
            let _ = KeyFile::parse(&bytes);
        }
    }
}
