//! Keys of those who take part, made once each, and given to the nodes.

use std::path::PathBuf;

use custody::{KeyDocument, KeyUse, RootPin};
use fixture::run;
use hpke_xwing::{PrivateKey, Suite};
use jose::EcdsaP256Key;
use real::keys::{Algorithm, KeyPair};
use real::tokens::TokenKey;

use super::Crew;

impl Crew {
    /// A key of this name, made once; nodes have it, too.
    pub(crate) fn key(&self, name: &str, algorithm: Algorithm) -> KeyPair {
        self.keep(name, |folder| KeyPair::make(folder, name, algorithm))
    }

    /// A key of the vectors.
    pub(crate) fn vector(&self, key: &str, alg: &str) -> KeyPair {
        self.keep(&format!("{key} {alg}"), |folder| {
            KeyPair::of_vectors(folder, key, alg)
        })
    }

    /// A key with a certificate of this name.
    pub(crate) fn certified(&self, name: &str, key: &str) -> (KeyPair, PathBuf) {
        let pair = self.key(key, real::keys::RSA);
        let certificate = pair.certificate(name);
        self.give_to_nodes(&certificate);
        (pair, certificate)
    }

    fn keep(&self, name: &str, make: impl FnOnce(&std::path::Path) -> KeyPair) -> KeyPair {
        let mut keys = self.keys.lock().unwrap();
        if let Some(pair) = keys.get(name) {
            return pair.clone();
        }
        let pair = make(&self.scratch.join("people"));
        self.give_to_nodes(&pair.private);
        keys.insert(name.to_owned(), pair.clone());
        pair
    }

    /// A new key in the token.
    pub(crate) fn token_key(&self, name: &str) -> TokenKey {
        let key = self.tokens.key("house", name, 3072);
        self.give_to_nodes(&key.yaml);
        key
    }

    /// GnuPG's folder.
    pub(crate) fn gnupg(&self) -> PathBuf {
        self.scratch.join("gnupg")
    }

    /// A new OpenPGP key of this name, without a password; gives the ring with the secret key.
    pub(crate) fn openpgp(&self, name: &str) -> PathBuf {
        let (home, ring) = (
            self.gnupg().display().to_string(),
            self.scratch.join("people").join(format!("{name}.gpg")),
        );
        run("install", ["-d", "-m", "700", &home]).unwrap();
        let gpg = |words: &[&str]| {
            let common = ["--batch", "--quiet", "--homedir", &home, "--passphrase", ""];
            run("gpg", common.iter().chain(words)).unwrap();
        };
        let id = format!("{name} <{name}@example.org>");
        gpg(&[
            "--quick-generate-key",
            &id,
            "rsa3072",
            "encrypt,sign",
            "never",
        ]);
        gpg(&[
            "--output",
            ring.to_str().unwrap(),
            "--export-secret-keys",
            &id,
        ]);
        self.give_to_nodes(&ring);
        ring
    }

    /// The public keys of all who have an OpenPGP key.
    pub(crate) fn openpgp_ring(&self) -> PathBuf {
        let (home, ring) = (
            self.gnupg().display().to_string(),
            self.scratch.join("people/public.gpg"),
        );
        let file = ring.to_str().unwrap();
        let words = [
            "--batch",
            "--yes",
            "--homedir",
            &home,
            "--output",
            file,
            "--export",
        ];
        run("gpg", words).unwrap();
        ring
    }

    fn give_to_nodes(&self, file: &std::path::Path) {
        let name = file.file_name().unwrap();
        std::fs::copy(file, self.scratch.join("keys").join(name)).unwrap();
    }

    /// A signed key document of an authority, and its pin.
    pub(crate) fn key_document(&self) -> (PathBuf, String) {
        let root = EcdsaP256Key::generate().unwrap();
        let key = PrivateKey::generate(Suite::XWing).unwrap();
        let dataset = "medical-records".parse().unwrap();
        let (authority, public) = ("spiffe://hospital.lab", key.public_key());
        let document = KeyDocument::new(authority, "medrec", &dataset, public, 0, 4_102_444_800);
        let file = self.scratch.join("people/medrec-key.json");
        let signed = document.sign(KeyUse::Image, root.public_jwk(), &root);
        std::fs::write(&file, signed.unwrap()).unwrap();
        let pin = RootPin::of(root.public_jwk()).unwrap().to_string();
        (file, pin)
    }
}
