//! Keys as people hold them, made by openssl or taken from the vectors of `jose`, in the files that all tools read.

use std::path::{Path, PathBuf};

use fixture::run;
use serde_json::Value;

/// A private and a public key.
#[derive(Clone, Debug)]
pub struct KeyPair {
    /// PKCS#8 in PEM.
    pub private: PathBuf,
    /// PEM, or a JWK that says its way.
    pub public: PathBuf,
}

/// What `openssl genpkey` is told.
pub type Algorithm = &'static [&'static str];

/// RSA.
pub const RSA: Algorithm = &["-algorithm", "RSA", "-pkeyopt", "rsa_keygen_bits:3072"];
/// NIST P-256.
pub const P256: Algorithm = &["-algorithm", "EC", "-pkeyopt", "ec_paramgen_curve:P-256"];
/// NIST P-384.
pub const P384: Algorithm = &["-algorithm", "EC", "-pkeyopt", "ec_paramgen_curve:P-384"];
/// NIST P-521.
pub const P521: Algorithm = &["-algorithm", "EC", "-pkeyopt", "ec_paramgen_curve:P-521"];

impl KeyPair {
    /// A new one.
    #[must_use]
    pub fn make(folder: &Path, name: &str, algorithm: Algorithm) -> Self {
        let private = folder.join(format!("{name}.pem"));
        let public = folder.join(format!("{name}.pub"));
        let words = ["genpkey", "-quiet", "-out", text(&private)];
        run("openssl", words.iter().chain(algorithm)).unwrap();
        let words = [
            "pkey",
            "-pubout",
            "-in",
            text(&private),
            "-out",
            text(&public),
        ];
        run("openssl", words).unwrap();
        Self { private, public }
    }

    /// The key `key` of the vectors, which asks for `alg` wherever it is used.
    #[must_use]
    pub fn of_vectors(folder: &Path, key: &str, alg: &str) -> Self {
        let vectors = Path::new(env!("CARGO_MANIFEST_DIR"))
            .join("../../crates/formats/jose/tests/vectors/go-jose.json");
        let vectors: Value = serde_json::from_slice(&std::fs::read(vectors).unwrap()).unwrap();
        let vector = &vectors["keys"][key];
        let mut jwk = vector["jwk"].clone();
        for member in ["d", "p", "q", "dp", "dq", "qi"] {
            jwk.as_object_mut().unwrap().remove(member);
        }
        jwk["alg"] = alg.into();
        jwk["kid"] = format!("{key} of the vectors").into();
        let private = folder.join(format!("{key}-{alg}.pem"));
        let public = folder.join(format!("{key}-{alg}.jwk"));
        std::fs::write(&private, vector["pkcs8"].as_str().unwrap()).unwrap();
        std::fs::write(&public, jwk.to_string()).unwrap();
        Self { private, public }
    }

    /// How image tools name whoever holds it.
    #[must_use]
    pub fn recipient(&self) -> String {
        format!("jwe:{}", text(&self.public))
    }

    /// The private key's file.
    #[must_use]
    pub fn private(&self) -> &str {
        text(&self.private)
    }

    /// A certificate of its own over it.
    #[must_use]
    pub fn certificate(&self, name: &str) -> PathBuf {
        let certificate = self.private.with_file_name(format!("{name}.crt"));
        let subject = format!("/O=Example Hospital/CN={name}");
        let words = [
            "req",
            "-x509",
            "-key",
            self.private(),
            "-days",
            "2",
            "-subj",
            &subject,
            "-out",
            text(&certificate),
        ];
        run("openssl", words).unwrap();
        certificate
    }
}

fn text(path: &Path) -> &str {
    path.to_str().unwrap()
}
