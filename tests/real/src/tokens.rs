//! Keys in a hardware module, which SoftHSM plays: tokens, keys in them, and the files that name both.

use std::path::{Path, PathBuf};
use std::process::Command;

use fixture::run;

/// The PIN of every token.
pub const PIN: &str = "4711-geheim";
/// SoftHSM 2.6 knows RSA-OAEP with SHA-1 alone.
pub const SHA1: (&str, &str) = ("OCICRYPT_OAEP_HASHALG", "sha1");

/// Tokens in a folder, and the policy that allows their module.
#[derive(Clone, Debug)]
pub struct SoftHsm {
    folder: PathBuf,
}

/// A key in a token, and how its owner names it.
#[derive(Clone, Debug)]
pub struct TokenKey {
    /// Its public half, which needs no token.
    pub public: PathBuf,
    /// The file that says where the key is.
    pub yaml: PathBuf,
}

impl TokenKey {
    /// The recipient, by the public key.
    #[must_use]
    pub fn by_public_key(&self) -> String {
        format!("pkcs11:{}", text(&self.public))
    }

    /// The recipient, by what the token says of its key.
    #[must_use]
    pub fn by_token(&self) -> String {
        format!("pkcs11:{}", text(&self.yaml))
    }
}

impl SoftHsm {
    /// New tokens of these names.
    #[must_use]
    pub fn set_up(folder: &Path, tokens: &[&str]) -> Self {
        let here = Self {
            folder: folder.to_owned(),
        };
        let store = folder.join("tokens");
        std::fs::create_dir(&store).unwrap();
        let configuration = format!("directories.tokendir = {}\n", text(&store));
        std::fs::write(here.configuration(), configuration).unwrap();
        let modules = "[/usr/lib/softhsm/]";
        let policy = format!(
            "pkcs11:\n  module-directories: {modules}\n  allowed-module-paths: {modules}\n"
        );
        std::fs::write(here.policy(), policy).unwrap();
        for token in tokens {
            here.util(&["--init-token", "--free", "--so-pin", "12345678"], token);
        }
        here
    }

    /// The file that says which modules may be loaded.
    #[must_use]
    pub fn policy(&self) -> PathBuf {
        self.folder.join("ocicrypt.conf")
    }

    /// What ocicrypt's users put into their environment: this policy, and the hash that SoftHSM knows.
    #[must_use]
    pub fn environment(&self) -> Vec<(String, String)> {
        let policy = self.policy();
        let variables = [("OCICRYPT_CONFIG", text(&policy)), SHA1];
        variables
            .map(|(name, value)| (name.to_owned(), value.to_owned()))
            .into()
    }

    /// A key that openssl makes, so that it has a public half outside, and the token keeps.
    #[must_use]
    pub fn key(&self, token: &str, label: &str, bits: u16) -> TokenKey {
        let (private, public) = (
            self.folder.join("private.pem"),
            self.folder.join(format!("{label}.pub")),
        );
        let size = format!("rsa_keygen_bits:{bits}");
        let words = ["genpkey", "-quiet", "-algorithm", "RSA", "-pkeyopt", &size];
        let files = ["-out", text(&private)];
        run("openssl", words.iter().chain(&files)).unwrap();
        let words = ["pkey", "-in", text(&private), "-pubout"];
        let files = ["-out", text(&public)];
        run("openssl", words.iter().chain(&files)).unwrap();
        let id = format!("{:02x}", label.bytes().fold(0u8, u8::wrapping_add));
        // `--token` names the one to fill, `--label` the key.
        let words = ["--import", text(&private), "--token", token, "--id", &id];
        self.util(&words, label);
        std::fs::remove_file(private).unwrap();
        let uri =
            format!("pkcs11:token={token};object={label}?pin-value={PIN}&module-name=softhsm2");
        let yaml = self.yaml(label, &uri);
        TokenKey { public, yaml }
    }

    /// A file that names a key by this URI.
    #[must_use]
    pub fn yaml(&self, name: &str, uri: &str) -> PathBuf {
        let path = self.folder.join(format!("{name}.yaml"));
        let configuration = self.configuration();
        let file = format!(
            "pkcs11:\n  uri: {uri}\nmodule:\n  env:\n    SOFTHSM2_CONF: {}\n",
            text(&configuration)
        );
        std::fs::write(&path, file).unwrap();
        path
    }

    fn configuration(&self) -> PathBuf {
        self.folder.join("softhsm2.conf")
    }

    fn util(&self, words: &[&str], label: &str) {
        let made = Command::new("softhsm2-util")
            .args(words)
            .args(["--label", label, "--pin", PIN])
            .env("SOFTHSM2_CONF", self.configuration())
            .output()
            .expect("SoftHSM must be installed: it is the module");
        assert!(made.status.success(), "{made:?}");
    }
}

fn text(path: &Path) -> &str {
    path.to_str().unwrap()
}
