//! Private keys: what signs here, what `ssh-keygen` must sign with, and what is refused.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use sshsig::{KeyKind, PublicKey, PublicKeyError, SigningKey, SigningKeyError};

use crate::parts::{Token, key_blob, mpint, string};
use crate::vectors::{MESSAGE, vector};

fn refused(text: &str) -> SigningKeyError {
    SigningKey::parse(text).err().unwrap()
}

fn armor(blob: &[u8]) -> String {
    let encoded = STANDARD.encode(blob);
    let lines: Vec<&str> = encoded
        .as_bytes()
        .chunks(70)
        .map(|line| str::from_utf8(line).unwrap())
        .collect();
    format!(
        "-----BEGIN OPENSSH PRIVATE KEY-----\n{}\n-----END OPENSSH PRIVATE KEY-----\n",
        lines.join("\n")
    )
}

/// A file with these parts, padded as PROTOCOL.key says.
fn file(cipher: &[u8], derivation: &[u8], public: &[u8], private: &[u8]) -> String {
    let mut private = private.to_vec();
    private.extend((1..).take(private.len().next_multiple_of(8) - private.len()));
    raw_file(cipher, derivation, public, &private)
}

fn raw_file(cipher: &[u8], derivation: &[u8], public: &[u8], private: &[u8]) -> String {
    let head = [
        string(cipher),
        string(derivation),
        string(b""),
        vec![0, 0, 0, 1],
    ]
    .concat();
    armor(
        &[
            b"openssh-key-v1\0".as_slice(),
            &head,
            &string(public),
            &string(private),
        ]
        .concat(),
    )
}

fn bytes_of(text: &str) -> Vec<u8> {
    let lines: Vec<&str> = text.lines().filter(|line| !line.starts_with('-')).collect();
    STANDARD.decode(lines.concat()).unwrap()
}

#[test]
fn keys_of_ssh_keygen_sign() {
    for (private, public) in [
        (vector!("ed25519"), vector!("ed25519.pub")),
        (vector!("ecdsa-p256"), vector!("ecdsa-p256.pub")),
    ] {
        let key = SigningKey::parse(private).unwrap();
        let public: PublicKey = public.parse().unwrap();
        assert_eq!(key.public_key().to_string(), public.to_string());
        let signature = key.sign("file", MESSAGE).unwrap();
        assert_eq!(signature.verify(&public, "file", MESSAGE), Ok(()));
        assert!(signature.verify(&public, "file", b"other").is_err());
    }
}

#[test]
fn ed25519_signatures_are_those_of_ssh_keygen() {
    let key = SigningKey::parse(vector!("ed25519")).unwrap();
    assert_eq!(
        key.sign("file", MESSAGE).unwrap().armored(),
        vector!("ed25519.sig")
    );
}

#[test]
fn ecdsa_numbers_of_all_lengths_verify() {
    let key = SigningKey::parse(vector!("ecdsa-p256")).unwrap();
    let mut lengths = std::collections::BTreeSet::new();
    for round in 0..2000u32 {
        let signature = key.sign("file", &round.to_be_bytes()).unwrap();
        lengths.insert(signature.armored().len());
        assert_eq!(
            signature.verify(key.public_key(), "file", &round.to_be_bytes()),
            Ok(())
        );
    }
    assert!(lengths.len() > 1);
}

#[test]
fn a_written_key_is_read_again() {
    let made = SigningKey::generate_ed25519([9; 32], "ann@desk").unwrap();
    let read = SigningKey::parse(&made.to_openssh()).unwrap();
    assert_eq!(read.public_key().to_string(), made.public_key().to_string());
    assert_eq!(read.public_key().comment(), "ann@desk");
    let ecdsa = SigningKey::parse(vector!("ecdsa-p256")).unwrap();
    let again = SigningKey::parse(&ecdsa.to_openssh()).unwrap();
    let signature = again.sign("file", MESSAGE).unwrap();
    assert_eq!(
        signature.verify(ecdsa.public_key(), "file", MESSAGE),
        Ok(())
    );
}

#[test]
fn a_comment_of_several_lines_is_refused() {
    let answer = SigningKey::generate_ed25519([9; 32], "ann\nssh-ed25519 AAAA")
        .err()
        .unwrap();
    assert_eq!(answer, SigningKeyError::Public(PublicKeyError::Comment));
}

#[test]
fn encrypted_keys_are_left_to_ssh_keygen() {
    for text in [
        vector!("ed25519-encrypted"),
        vector!("ecdsa-p256-encrypted"),
    ] {
        assert_eq!(refused(text), SigningKeyError::Encrypted);
        assert!(refused(text).is_for_ssh_keygen());
    }
}

#[test]
fn hardware_keys_are_left_to_ssh_keygen() {
    for token in [Token::ed25519(), Token::ecdsa()] {
        for cipher in [&b"none"[..], b"aes256-ctr"] {
            let text = file(cipher, b"none", &token.blob("ssh:"), &[0; 64]);
            assert_eq!(refused(&text), SigningKeyError::HardwareKey);
            assert!(refused(&text).is_for_ssh_keygen());
        }
    }
}

#[test]
fn other_kinds_are_left_to_ssh_keygen() {
    for (text, kind) in [
        (vector!("rsa-2048"), KeyKind::Rsa),
        (vector!("ecdsa-p384"), KeyKind::EcdsaP384),
    ] {
        assert_eq!(refused(text), SigningKeyError::OtherKind { kind });
        assert!(refused(text).is_for_ssh_keygen());
    }
    assert_eq!(
        refused(vector!("rsa-2048.pem")),
        SigningKeyError::OtherFormat
    );
    assert!(refused(vector!("rsa-2048.pem")).is_for_ssh_keygen());
    assert_eq!(refused(vector!("ed25519.pub")), SigningKeyError::PublicHalf);
    assert!(refused(vector!("ed25519.pub")).is_for_ssh_keygen());
}

#[test]
fn what_is_no_key_is_left_to_nobody() {
    let good = vector!("ed25519");
    for text in [
        "",
        "hello",
        &format!("{good}{good}"),
        &format!("\n{good}"),
        vector!("ed25519.sig"),
    ] {
        assert_eq!(refused(text), SigningKeyError::Armor);
        assert!(!refused(text).is_for_ssh_keygen());
    }
    assert_eq!(refused(&"A".repeat(16385)), SigningKeyError::TooLarge);
}

#[test]
fn halves_that_do_not_fit_are_refused() {
    // Ed25519 with another public half gives the private one away.
    let (own, other) = (
        key_blob(vector!("ed25519.pub")),
        SigningKey::generate_ed25519([9; 32], "").unwrap(),
    );
    let other = key_blob(&other.public_key().key_text());
    let key = |seed: &[u8], half: &[u8]| string(&[seed, &half[half.len() - 32..]].concat());
    let private = |public: &[u8], numbers: &[u8]| [&[0; 8], public, numbers, &string(b"")].concat();
    let good = file(
        b"none",
        b"none",
        &other,
        &private(&other, &key(&[9; 32], &other)),
    );
    assert!(SigningKey::parse(&good).is_ok());
    for (outer, inner, seed, half) in [
        (&own, &other, 9, &other),
        (&own, &own, 9, &own),
        (&own, &own, 9, &other),
        (&other, &own, 9, &other),
        (&other, &other, 8, &other),
        (&other, &other, 9, &own),
    ] {
        let text = file(
            b"none",
            b"none",
            outer,
            &private(inner, &key(&[seed; 32], half)),
        );
        assert_eq!(refused(&text), SigningKeyError::Inconsistent);
    }
    let ecdsa = key_blob(vector!("ecdsa-p256.pub"));
    for scalar in [mpint(&[1]), mpint(&[0xff; 32])] {
        let text = file(b"none", b"none", &ecdsa, &private(&ecdsa, &scalar));
        assert_eq!(refused(&text), SigningKeyError::Inconsistent);
    }
    for scalar in [mpint(&[0]), mpint(&[1; 33]), string(&[0, 1])] {
        let text = file(b"none", b"none", &ecdsa, &private(&ecdsa, &scalar));
        assert_eq!(refused(&text), SigningKeyError::Malformed);
    }
}

#[test]
fn wrong_check_numbers_padding_and_lengths_are_refused() {
    let bytes = bytes_of(vector!("ed25519"));
    let public = key_blob(vector!("ed25519.pub"));
    let start = 15 + 8 + 8 + 4 + 4 + 4 + public.len() + 4;
    let private = &bytes[start..];
    assert!(SigningKey::parse(&raw_file(b"none", b"none", &public, private)).is_ok());
    let mut checks = private.to_vec();
    checks[0] ^= 1;
    let mut padding = private.to_vec();
    *padding.last_mut().unwrap() ^= 1;
    let short = &private[..private.len() - 1];
    let block = [private, &[5, 6, 7, 8, 9, 10, 11, 12]].concat();
    for wrong in [&checks, &padding, short, &block, &[]] {
        let text = raw_file(b"none", b"none", &public, wrong);
        assert_eq!(refused(&text), SigningKeyError::Malformed);
    }
    assert_eq!(
        refused(&raw_file(b"none", b"bcrypt", &public, private)),
        SigningKeyError::Malformed
    );
    assert_eq!(
        refused(&armor(&[&bytes[..], &[0]].concat())),
        SigningKeyError::Malformed
    );
    let mut two = bytes.clone();
    two[15 + 8 + 8 + 4 + 3] = 2;
    assert_eq!(refused(&armor(&two)), SigningKeyError::Malformed);
}

#[test]
fn each_truncation_of_a_private_key_is_refused() {
    for text in [vector!("ed25519"), vector!("ecdsa-p256")] {
        let bytes = bytes_of(text);
        for length in 0..bytes.len() {
            assert!(SigningKey::parse(&armor(&bytes[..length])).is_err());
        }
    }
}
