//! OpenSSL makes keys and signatures for us, and judges ours. It is a prerequisite of this repository's tests.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use dsse::{Envelope, SigningKey, VerifyingKey, pae};
use tempfile::TempDir;

const TYPE: &str = "application/vnd.in-toto+json";
const PAYLOAD: &[u8] = b"{\"said\":\"so\"}";

struct Judge(TempDir);

impl Judge {
    fn new() -> Self {
        Self(TempDir::new().unwrap())
    }

    fn path(&self, name: &str) -> PathBuf {
        self.0.path().join(name)
    }

    fn put(&self, name: &str, bytes: impl AsRef<[u8]>) -> PathBuf {
        let path = self.path(name);
        fs::write(&path, bytes).unwrap();
        path
    }

    fn run(&self, arguments: &[&str]) -> bool {
        let done = Command::new("openssl")
            .args(arguments)
            .current_dir(self.0.path())
            .output()
            .unwrap();
        done.status.success()
    }

    fn text(&self, name: &str) -> String {
        fs::read_to_string(self.path(name)).unwrap()
    }
}

fn show(path: &Path) -> &str {
    path.to_str().unwrap()
}

#[test]
fn openssl_verifies_what_we_sign() {
    let judge = Judge::new();
    let key = SigningKey::generate_p256().unwrap();
    let envelope = Envelope::sign(TYPE, PAYLOAD, &key).unwrap();
    let public = judge.put("key.pub", key.verifying_key().to_pem());
    let signature = judge.put("sig", &envelope.signatures()[0].bytes);
    let verify = |message: &Path| {
        judge.run(&[
            "dgst",
            "-sha256",
            "-verify",
            show(&public),
            "-signature",
            show(&signature),
            show(message),
        ])
    };
    assert!(verify(&judge.put("good", pae(TYPE, PAYLOAD))));
    assert!(!verify(&judge.put("bad", pae("another/type", PAYLOAD))));

    let edwards = SigningKey::generate_ed25519().unwrap();
    let envelope = Envelope::sign(TYPE, PAYLOAD, &edwards).unwrap();
    judge.put("ed.pub", edwards.verifying_key().to_pem());
    judge.put("ed.sig", &envelope.signatures()[0].bytes);
    let arguments = [
        "pkeyutl", "-verify", "-pubin", "-inkey", "ed.pub", "-rawin", "-sigfile", "ed.sig", "-in",
    ];
    assert!(judge.run(&[&arguments[..], &["good"]].concat()));
    assert!(!judge.run(&[&arguments[..], &["bad"]].concat()));
}

#[test]
fn we_verify_what_openssl_signs_and_read_its_keys() {
    let judge = Judge::new();
    let curve = ["-pkeyopt", "ec_paramgen_curve:P-256"];
    let generate = ["genpkey", "-algorithm", "EC", "-out", "key.pem"];
    assert!(judge.run(&[&generate[..], &curve].concat()));
    // This is the file that `cosign generate-key-pair` writes as `cosign.pub`: PEM of a P-256 SubjectPublicKeyInfo.
    assert!(judge.run(&["pkey", "-in", "key.pem", "-pubout", "-out", "cosign.pub"]));
    judge.put("message", pae(TYPE, PAYLOAD));
    assert!(judge.run(&[
        "dgst", "-sha256", "-sign", "key.pem", "-out", "sig", "message"
    ]));
    let public = VerifyingKey::from_pem(&judge.text("cosign.pub")).unwrap();
    let signature = fs::read(judge.path("sig")).unwrap();
    assert!(public.verifies(&pae(TYPE, PAYLOAD), &signature));
    let private = SigningKey::from_pem(&judge.text("key.pem")).unwrap();
    assert_eq!(private.verifying_key(), public);

    let older = ["ec", "-in", "key.pem", "-out", "older.pem"];
    assert!(judge.run(&older));
    let older = SigningKey::from_pem(&judge.text("older.pem")).unwrap();
    assert_eq!(older.verifying_key(), public);

    assert!(judge.run(&["genpkey", "-algorithm", "ED25519", "-out", "ed.pem"]));
    assert!(judge.run(&["pkey", "-in", "ed.pem", "-pubout", "-out", "ed.pub"]));
    let edwards = SigningKey::from_pem(&judge.text("ed.pem")).unwrap();
    let public = VerifyingKey::from_pem(&judge.text("ed.pub")).unwrap();
    assert_eq!(edwards.verifying_key(), public);
}

#[test]
fn keys_of_other_kinds_are_refused() {
    let judge = Judge::new();
    for (name, kind, option) in [
        ("p384", "EC", "ec_paramgen_curve:P-384"),
        ("short", "RSA", "rsa_keygen_bits:1024"),
        ("shorter-than-counts", "RSA", "rsa_keygen_bits:2040"),
    ] {
        let (private, public) = (format!("{name}.pem"), format!("{name}.pub"));
        assert!(judge.run(&[
            "genpkey",
            "-algorithm",
            kind,
            "-pkeyopt",
            option,
            "-out",
            &private
        ]));
        assert!(judge.run(&["pkey", "-in", &private, "-pubout", "-out", &public]));
        let refused = VerifyingKey::from_pem(&judge.text(&public)).unwrap_err();
        let wanted = match kind {
            "RSA" => dsse::KeyFileError::Rejected,
            _ => dsse::KeyFileError::UnknownKey,
        };
        assert_eq!(refused, wanted, "{name}");
        assert!(
            SigningKey::from_pem(&judge.text(&private)).is_err(),
            "{name}"
        );
    }
    let locked = [
        "genpkey",
        "-algorithm",
        "ED25519",
        "-aes256",
        "-pass",
        "pass:secret",
        "-out",
        "locked.pem",
    ];
    assert!(judge.run(&locked));
    assert_eq!(
        SigningKey::from_pem(&judge.text("locked.pem"))
            .err()
            .unwrap(),
        dsse::KeyFileError::Encrypted
    );
}

#[test]
fn an_rsa_key_verifies_and_a_short_one_is_refused() {
    let judge = Judge::new();
    let made = |name: &str, bits: &str| {
        let (private, public) = (format!("{name}.pem"), format!("{name}.pub"));
        let bits = format!("rsa_keygen_bits:{bits}");
        assert!(judge.run(&[
            "genpkey",
            "-quiet",
            "-algorithm",
            "RSA",
            "-pkeyopt",
            &bits,
            "-out",
            &private
        ]));
        assert!(judge.run(&["pkey", "-in", &private, "-pubout", "-out", &public]));
        VerifyingKey::from_pem(&judge.text(&public))
    };
    let key = made("rsa", "2048").unwrap();
    let message = judge.put("message", pae(TYPE, PAYLOAD));
    assert!(judge.run(&[
        "dgst",
        "-sha256",
        "-sign",
        "rsa.pem",
        "-out",
        "sig",
        show(&message)
    ]));
    let mut signature = fs::read(judge.path("sig")).unwrap();
    assert!(key.verifies(&pae(TYPE, PAYLOAD), &signature));
    assert!(!key.verifies(&pae("another/type", PAYLOAD), &signature));
    signature[0] ^= 1;
    assert!(!key.verifies(&pae(TYPE, PAYLOAD), &signature));
    assert!(made("short", "1024").is_err());
}
