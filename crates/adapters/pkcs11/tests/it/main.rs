//! Helpers that crash, say nonsense, hang or refuse; real tokens are in `tests/real`.
#![expect(clippy::unwrap_used, reason = "test code")]

use std::fs;
use std::path::{Path, PathBuf};

use oci_crypt::{OaepHash, TokenKey, TokenKeyError};
use pkcs11::{HelperProgram, KeyFile, ModulePolicy, Pin, PolicyError, Token, TokenFault, Tokens};

/// A folder with a module that is never loaded, and a helper that is a script.
struct House {
    folder: tempfile::TempDir,
    tokens: Tokens,
}

impl House {
    fn with(script: &str) -> Self {
        let folder = tempfile::tempdir().unwrap();
        fs::write(folder.path().join("libhsm.so"), "").unwrap();
        let policy = format!(
            "pkcs11:\n  allowed-module-paths: [{}/]\n  allowed-environment: [HOUSE]\n",
            folder.path().display()
        );
        let policy = ModulePolicy::parse(policy.as_bytes()).unwrap();
        let program = HelperProgram {
            program: PathBuf::from("/bin/sh"),
            arguments: ["-c", script].map(Into::into).to_vec(),
        };
        Self {
            tokens: Tokens::new(policy, program),
            folder,
        }
    }

    fn file(&self, environment: &str) -> KeyFile {
        self.file_of(&self.folder.path().join("libhsm.so"), environment)
    }

    fn file_of(&self, module: &Path, environment: &str) -> KeyFile {
        let text = format!(
            "pkcs11:\n  uri: pkcs11:token=a;object=b?module-path={}\nmodule:\n  env: {{{environment}}}\n",
            module.display()
        );
        KeyFile::parse(text.as_bytes()).unwrap()
    }

    fn key(&self) -> Token {
        let pin = Pin::new(b"4711".to_vec().into());
        self.tokens.key(&self.file(""), Some(pin)).unwrap()
    }
}

fn decrypted(key: &Token) -> Result<Vec<u8>, String> {
    match key.decrypt(OaepHash::Sha256, &[1; 256]) {
        Ok(plaintext) => Ok(plaintext.to_vec()),
        Err(TokenKeyError::Token { key, source }) => Err(format!("{key}: {source}")),
        Err(error) => Err(error.to_string()),
    }
}

const READY: &str = r#"read open; echo '"ready"'; read question || exit;"#;

#[test]
fn an_answer_is_taken_and_the_environment_of_the_file_is_the_helpers() {
    let script = format!(r#"{READY} test "$HOUSE" = open && echo '{{"plaintext":"AQID"}}'"#);
    let house = House::with(&script);
    let key = house.tokens.key(&house.file("HOUSE: open"), None).unwrap();
    assert_eq!(decrypted(&key).unwrap(), [1, 2, 3]);
    assert!(std::env::var_os("HOUSE").is_none());
}

#[test]
fn a_crash_is_an_error_and_nothing_is_started_again() {
    let house = House::with("");
    let count = house.folder.path().join("count");
    for (script, expected) in [
        ("kill -SEGV $$", "signal: 11"),
        ("exit 3", "exit status: 3"),
        (r#"read open; echo '"ready"'; kill -ABRT $$"#, "signal: 6"),
        ("read open; echo nonsense", "no answer that is understood"),
        (
            r#"read open; echo '"ready"'; read q; echo '"ready"'"#,
            "no answer that is understood",
        ),
        ("head -c 100000 /dev/zero", "ended"),
    ] {
        let _ = fs::remove_file(&count);
        let house = House::with(&format!("echo x >> {}; {script}", count.display()));
        let key = house.key();
        for _ in 0..3 {
            let said = decrypted(&key).unwrap_err();
            assert!(said.contains(expected), "{script}: {said}");
            assert!(!said.contains("4711"), "{said}");
        }
        assert_eq!(fs::read_to_string(&count).unwrap(), "x\n", "{script}");
    }
}

#[test]
fn a_refused_pin_is_not_tried_again_by_any_key_of_the_module() {
    let house = House::with("");
    let count = house.folder.path().join("count");
    let refuse = r#"echo '{"fault":"pin-refused"}'"#;
    let script = format!("{READY} echo x >> {}; {refuse}; read more", count.display());
    let house = House::with(&script);
    let (one, two) = (house.key(), house.key());
    for _ in 0..2 {
        let said = decrypted(&one).unwrap_err();
        assert!(said.contains("refused the PIN"), "{said}");
    }
    let said = decrypted(&two).unwrap_err();
    assert!(said.contains("has refused a PIN already"), "{said}");
    assert_eq!(fs::read_to_string(&count).unwrap(), "x\n");
}

#[test]
fn a_module_outside_the_policy_starts_nothing() {
    let house = House::with("");
    let count = house.folder.path().join("count");
    let house = House::with(&format!("echo x >> {}", count.display()));
    let elsewhere = tempfile::NamedTempFile::new().unwrap();
    let refused = house.tokens.key(&house.file_of(elsewhere.path(), ""), None);
    assert!(matches!(refused, Err(PolicyError::Forbidden { .. })));
    assert!(!count.exists());
}

/// `pkcs11-spy` loads what `PKCS11SPY` names, OpenSC what stands in the file that `OPENSC_CONF` names, p11-kit what lies in a
/// home; glibc's `libpcprofile.so` writes where it is told. No list of such names is ever complete.
#[test]
fn a_variable_that_the_policy_does_not_name_starts_nothing() {
    let house = House::with("");
    let count = house.folder.path().join("count");
    let house = House::with(&format!("echo x >> {}", count.display()));
    for name in [
        "PKCS11SPY",
        "OPENSC_CONF",
        "HOME",
        "PCPROFILE_OUTPUT",
        "SOFTHSM2_CONF",
        "house",
    ] {
        let refused = house
            .tokens
            .key(&house.file(&format!("{name}: /evil")), None);
        assert!(
            matches!(refused, Err(PolicyError::Environment { .. })),
            "{name}"
        );
    }
    assert!(!count.exists());
}

#[test]
fn a_helper_that_is_not_there_is_an_error() {
    let house = House::with("");
    let helper = HelperProgram {
        program: house.folder.path().join("none"),
        arguments: Vec::new(),
    };
    let policy = format!(
        "pkcs11:\n  allowed-module-paths: [{}/]\n",
        house.folder.path().display()
    );
    let policy = ModulePolicy::parse(policy.as_bytes()).unwrap();
    let key = Tokens::new(policy, helper)
        .key(&house.file(""), None)
        .unwrap();
    assert_eq!(key.public_key(), Err(TokenFault::Start));
}
