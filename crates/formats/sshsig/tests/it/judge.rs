//! `ssh-keygen` as judge, both ways.

use std::fs;
use std::io::Write as _;
use std::os::unix::fs::PermissionsExt as _;
use std::path::Path;
use std::process::{Command, Stdio};

use sshsig::{PublicKey, SigningKey, SigningKeyError, SshSignature};
use tempfile::TempDir;

use crate::parts::Token;
use crate::vectors::{GOOD, MESSAGE, vector};

fn ssh_keygen(folder: &Path, arguments: &[&str], input: &[u8]) -> (bool, Vec<u8>) {
    let mut child = Command::new("ssh-keygen")
        .current_dir(folder)
        .args(arguments)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::null())
        .spawn()
        .unwrap();
    // It may refuse before it reads.
    let _ = child.stdin.take().unwrap().write_all(input);
    let output = child.wait_with_output().unwrap();
    (output.status.success(), output.stdout)
}

fn accepts(key: &PublicKey, namespace: &str, signature: &str, message: &[u8]) -> bool {
    let folder = TempDir::new().unwrap();
    fs::write(
        folder.path().join("allowed"),
        format!("ann {}\n", key.key_text()),
    )
    .unwrap();
    fs::write(folder.path().join("sig"), signature).unwrap();
    let arguments = [
        "-Y", "verify", "-f", "allowed", "-I", "ann", "-n", namespace, "-s", "sig",
    ];
    ssh_keygen(folder.path(), &arguments, message).0
}

/// In a file of its own that nobody else may read, or ssh-keygen refuses it.
fn write_key(folder: &Path, text: &str) {
    let path = folder.join("key");
    fs::write(&path, text).unwrap();
    fs::set_permissions(&path, fs::Permissions::from_mode(0o600)).unwrap();
}

#[test]
#[ignore = "needs ssh-keygen; run by make test"]
fn ssh_keygen_accepts_our_signatures() {
    let made = SigningKey::generate_ed25519([3; 32], "ann").unwrap();
    let ecdsa = SigningKey::parse(vector!("ecdsa-p256")).unwrap();
    for key in [made, ecdsa] {
        let text = key.sign("bailiwick-change", MESSAGE).unwrap().armored();
        let public = key.public_key();
        assert!(accepts(public, "bailiwick-change", &text, MESSAGE));
        assert!(!accepts(public, "bailiwick-change", &text, b"other"));
        assert!(!accepts(public, "other", &text, MESSAGE));
    }
}

#[test]
#[ignore = "needs ssh-keygen; run by make test"]
fn ssh_keygen_agrees_on_security_keys() {
    for token in [Token::ed25519(), Token::ecdsa()] {
        let key: PublicKey = token.key_text("ssh:").parse().unwrap();
        let good = token.sign("ssh:", 1, 5, MESSAGE);
        assert!(accepts(&key, "file", &good.text(), MESSAGE));
        assert_eq!(good.parse().unwrap().verify(&key, "file", MESSAGE), Ok(()));
        let mut counted = good.clone();
        *counted.proof.last_mut().unwrap() += 1;
        assert!(!accepts(&key, "file", &counted.text(), MESSAGE));
    }
}

#[test]
#[ignore = "needs ssh-keygen; run by make test"]
fn we_accept_signatures_of_ssh_keygen() {
    for arguments in [
        &["-t", "ed25519"][..],
        &["-t", "ecdsa", "-b", "256"],
        &["-t", "ecdsa", "-b", "384"],
        &["-t", "ecdsa", "-b", "521"],
        &["-t", "rsa", "-b", "2048"],
        &["-t", "rsa", "-b", "3072"],
    ] {
        let folder = TempDir::new().unwrap();
        let make = [arguments, &["-q", "-N", "", "-f", "key"]].concat();
        assert!(ssh_keygen(folder.path(), &make, b"").0);
        let key: PublicKey = fs::read_to_string(folder.path().join("key.pub"))
            .unwrap()
            .parse()
            .unwrap();
        for hash in ["hashalg=sha256", "hashalg=sha512"] {
            let sign = [
                "-Y",
                "sign",
                "-n",
                "bailiwick-change",
                "-O",
                hash,
                "-f",
                "key",
            ];
            let (done, text) = ssh_keygen(folder.path(), &sign, MESSAGE);
            assert!(done);
            let signature = SshSignature::parse(str::from_utf8(&text).unwrap()).unwrap();
            assert_eq!(signature.verify(&key, "bailiwick-change", MESSAGE), Ok(()));
            assert!(
                signature
                    .verify(&key, "bailiwick-change", b"other")
                    .is_err()
            );
        }
    }
}

#[test]
#[ignore = "needs ssh-keygen; run by make test"]
fn ssh_keygen_signs_with_keys_that_we_write() {
    let made = SigningKey::generate_ed25519([3; 32], "ann@desk").unwrap();
    let ecdsa = SigningKey::parse(vector!("ecdsa-p256")).unwrap();
    for key in [made, ecdsa] {
        let folder = TempDir::new().unwrap();
        write_key(folder.path(), &key.to_openssh());
        let (done, public) = ssh_keygen(folder.path(), &["-y", "-f", "key"], b"");
        assert!(done);
        assert_eq!(
            String::from_utf8(public).unwrap(),
            format!("{}\n", key.public_key())
        );
        let (done, text) = ssh_keygen(
            folder.path(),
            &["-Y", "sign", "-n", "file", "-f", "key"],
            MESSAGE,
        );
        assert!(done);
        let signature = SshSignature::parse(str::from_utf8(&text).unwrap()).unwrap();
        assert_eq!(signature.verify(key.public_key(), "file", MESSAGE), Ok(()));
    }
}

#[test]
#[ignore = "needs ssh-keygen; run by make test"]
fn keys_of_ssh_keygen_are_read_or_told_apart() {
    for (kind, passphrase) in [
        ("ed25519", ""),
        ("ecdsa", ""),
        ("ed25519", "secret"),
        ("ecdsa", "secret"),
    ] {
        let folder = TempDir::new().unwrap();
        let make = [
            "-q", "-t", kind, "-N", passphrase, "-f", "key", "-a", "1", "-C", "",
        ];
        assert!(ssh_keygen(folder.path(), &make, b"").0);
        let text = fs::read_to_string(folder.path().join("key")).unwrap();
        let public = fs::read_to_string(folder.path().join("key.pub")).unwrap();
        match SigningKey::parse(&text) {
            Ok(key) => {
                assert_eq!(passphrase, "");
                assert_eq!(*key.public_key(), public.parse().unwrap());
            }
            Err(error) => assert_eq!((error, passphrase), (SigningKeyError::Encrypted, "secret")),
        }
    }
}

#[test]
#[ignore = "needs ssh-keygen; run by make test"]
fn ssh_keygen_prints_our_fingerprints() {
    for (text, ..) in GOOD {
        let key: PublicKey = text.parse().unwrap();
        let folder = TempDir::new().unwrap();
        fs::write(folder.path().join("key.pub"), text).unwrap();
        let (done, printed) = ssh_keygen(folder.path(), &["-l", "-f", "key.pub"], b"");
        assert!(done);
        assert!(
            String::from_utf8(printed)
                .unwrap()
                .contains(&key.fingerprint())
        );
    }
}
