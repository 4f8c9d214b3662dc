//! Public keys: one text, one key.

use std::collections::BTreeSet;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use sshsig::{PublicKey, PublicKeyError};

use crate::parts::{key_blob, mpint, string};
use crate::vectors::{GOOD, vector};

fn parse(kind: &str, blob: &[u8]) -> Result<PublicKey, PublicKeyError> {
    format!("{kind} {}", STANDARD.encode(blob)).parse()
}

fn ed25519(key: &[u8]) -> Result<PublicKey, PublicKeyError> {
    parse(
        "ssh-ed25519",
        &[string(b"ssh-ed25519"), string(key)].concat(),
    )
}

fn rsa(e: &[u8], n: &[u8]) -> Result<PublicKey, PublicKeyError> {
    parse(
        "ssh-rsa",
        &[string(b"ssh-rsa"), mpint(e), mpint(n)].concat(),
    )
}

#[test]
fn the_comment_is_no_part_of_the_key() {
    let one: PublicKey = vector!("ed25519.pub").parse().unwrap();
    let bare: PublicKey = one.key_text().parse().unwrap();
    let other: PublicKey = format!("{} somebody else's laptop", one.key_text())
        .parse()
        .unwrap();
    assert_eq!(other.comment(), "somebody else's laptop");
    assert_eq!(bare.to_string(), one.key_text());
    assert_eq!(BTreeSet::from([&one, &bare, &other]).len(), 1);
}

#[test]
fn different_keys_are_different() {
    let keys: BTreeSet<PublicKey> = GOOD.iter().map(|(key, ..)| key.parse().unwrap()).collect();
    assert_eq!(keys.len(), 5);
}

#[test]
fn options_and_unknown_kinds_are_refused() {
    let good = vector!("ed25519.pub");
    for text in [
        format!("cert-authority {good}"),
        format!("no-pty,command=\"x\" {good}"),
        format!(" {good}"),
        good.replace("ssh-ed25519", "ssh-ed25519-cert-v01@openssh.com"),
        String::new(),
    ] {
        assert_eq!(
            text.parse::<PublicKey>().unwrap_err(),
            PublicKeyError::Kind,
            "{text}"
        );
    }
}

#[test]
fn a_text_that_is_not_one_key_is_refused() {
    let good = vector!("ed25519.pub");
    assert_eq!(
        format!("{good}{good}").parse::<PublicKey>().unwrap_err(),
        PublicKeyError::Comment
    );
    for text in [
        "ssh-ed25519".to_owned(),
        "ssh-ed25519 ".to_owned(),
        good.replace("ssh-ed25519 ", "ssh-ed25519  "),
        good.replace("ssh-ed25519", "ssh-rsa"),
        good.replace("AAAAC3", "AAAAC4"),
    ] {
        assert_eq!(
            text.parse::<PublicKey>().unwrap_err(),
            PublicKeyError::Malformed,
            "{text}"
        );
    }
    let long = format!("{} {}", good.trim_end(), "a".repeat(8192));
    assert_eq!(
        long.parse::<PublicKey>().unwrap_err(),
        PublicKeyError::TooLarge
    );
}

#[test]
fn trailing_bytes_in_a_key_are_refused() {
    for (key, _, _, kind) in GOOD {
        let blob = [key_blob(key), vec![0]].concat();
        assert_eq!(
            parse(kind.name(), &blob).unwrap_err(),
            PublicKeyError::Malformed
        );
    }
}

#[test]
fn ed25519_keys_of_small_order_are_refused() {
    let mut one = [0; 32];
    one[0] = 1;
    let mut minus_one = [0xff; 32];
    minus_one[0] = 0xec;
    minus_one[31] = 0x7f;
    for key in [[0; 32], one, minus_one] {
        assert_eq!(ed25519(&key).unwrap_err(), PublicKeyError::Weak);
        let mut mirrored = key;
        mirrored[31] |= 0x80;
        assert_eq!(ed25519(&mirrored).unwrap_err(), PublicKeyError::Weak);
    }
}

#[test]
fn ed25519_keys_beyond_the_field_are_refused() {
    // p + 3 up to 2^255 - 1: the same points as 3 … 18, in a second encoding.
    for low in 0xed..=0xff {
        let mut key = [0xff; 32];
        key[0] = low;
        key[31] = 0x7f;
        assert_eq!(ed25519(&key).unwrap_err(), PublicKeyError::Weak);
    }
    assert_eq!(ed25519(&[1; 31]).unwrap_err(), PublicKeyError::Malformed);
}

#[test]
fn points_off_the_curve_and_compressed_points_are_refused() {
    for (key, _, _, kind) in GOOD
        .into_iter()
        .filter(|(.., kind)| kind.name().starts_with("ecdsa"))
    {
        let blob = key_blob(key);
        let mut off = blob.clone();
        *off.last_mut().unwrap() ^= 1;
        assert_eq!(
            parse(kind.name(), &off).unwrap_err(),
            PublicKeyError::Malformed,
            "{kind}"
        );
    }
    let blob = key_blob(vector!("ecdsa-p256.pub"));
    let point = &blob[blob.len() - 65..];
    let head = [string(b"ecdsa-sha2-nistp256"), string(b"nistp256")].concat();
    let compressed = [&[2 + (point[64] & 1)], &point[1..33]].concat();
    for wrong in [compressed, vec![0], Vec::new()] {
        let answer = parse(
            "ecdsa-sha2-nistp256",
            &[head.clone(), string(&wrong)].concat(),
        );
        assert_eq!(answer.unwrap_err(), PublicKeyError::Malformed);
    }
}

#[test]
fn the_curve_must_fit_the_kind() {
    let blob = key_blob(vector!("ecdsa-p256.pub"));
    let point = &blob[blob.len() - 65..];
    let wrong = [
        string(b"ecdsa-sha2-nistp384"),
        string(b"nistp256"),
        string(point),
    ]
    .concat();
    assert_eq!(
        parse("ecdsa-sha2-nistp384", &wrong).unwrap_err(),
        PublicKeyError::Malformed
    );
}

#[test]
fn rsa_keys_have_2048_to_8192_bits() {
    let e = [1, 0, 1];
    let of = |bytes: usize| vec![0xffu8; bytes];
    assert!(rsa(&e, &of(256)).is_ok());
    assert!(rsa(&e, &of(1024)).is_ok());
    assert_eq!(rsa(&e, &of(255)).unwrap_err(), PublicKeyError::Short);
    assert_eq!(rsa(&e, &of(1025)).unwrap_err(), PublicKeyError::TooLarge);
    let mut almost = of(256);
    almost[0] = 0x7f;
    assert_eq!(rsa(&e, &almost).unwrap_err(), PublicKeyError::Short);
}

#[test]
fn rsa_exponents_that_sign_nothing_are_refused() {
    let n = [0xff; 256];
    assert_eq!(rsa(&[1], &n).unwrap_err(), PublicKeyError::Weak);
    assert_eq!(rsa(&[2], &n).unwrap_err(), PublicKeyError::Weak);
    assert_eq!(rsa(&[1, 0, 0], &n).unwrap_err(), PublicKeyError::Weak);
    assert_eq!(rsa(&[1; 6], &n).unwrap_err(), PublicKeyError::TooLarge);
    assert_eq!(rsa(&[0], &n).unwrap_err(), PublicKeyError::Malformed);
    let padded = [string(b"ssh-rsa"), string(&[0, 1, 0, 1]), mpint(&n)].concat();
    assert_eq!(
        parse("ssh-rsa", &padded).unwrap_err(),
        PublicKeyError::Malformed
    );
}
