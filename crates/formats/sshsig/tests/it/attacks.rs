//! Signatures with one thing wrong. Each is made by the key's owner over exactly these fields, so nothing else refuses it.

use sshsig::{PublicKey, SigningKey, SshSigError, SshSignature};

use crate::parts::{Fields, Signer, armor, key_blob, mpint, string, unarmor};
use crate::vectors::{GOOD, MESSAGE, vector};

/// Fields of key 1 with something spoiled, then signed by it.
fn spoiled(spoil: impl FnOnce(&mut Fields)) -> SshSigError {
    let signer = Signer::new(1);
    let mut fields = Fields::of(&signer.blob());
    spoil(&mut fields);
    signer.sign(fields, MESSAGE).parse().unwrap_err()
}

#[test]
fn the_unspoiled_signature_verifies() {
    let signer = Signer::new(1);
    let fields = signer.sign(Fields::of(&signer.blob()), MESSAGE);
    assert_eq!(
        fields
            .parse()
            .unwrap()
            .verify(&signer.key(), "file", MESSAGE),
        Ok(())
    );
}

#[test]
fn an_unknown_version_is_refused() {
    for version in [0, 2, u32::MAX] {
        assert_eq!(
            spoiled(|fields| fields.version = version),
            SshSigError::Version { version }
        );
    }
}

#[test]
fn another_magic_is_refused() {
    assert_eq!(
        spoiled(|fields| fields.magic = b"SSHSIX".to_vec()),
        SshSigError::Malformed
    );
}

#[test]
fn a_namespace_that_is_empty_or_not_readable_is_refused() {
    for namespace in [&b""[..], b"fi\nle", b"file\0", &[0xff], &[b'a'; 256]] {
        let answer = spoiled(|fields| fields.namespace = namespace.to_vec());
        assert_eq!(answer, SshSigError::Namespace);
    }
}

#[test]
fn a_reserved_field_with_something_in_it_is_refused() {
    assert_eq!(
        spoiled(|fields| fields.reserved = b"x".to_vec()),
        SshSigError::Reserved
    );
}

#[test]
fn other_hash_algorithms_are_refused() {
    for name in [&b""[..], b"sha1", b"md5", b"SHA512", b"sha384"] {
        let answer = spoiled(|fields| fields.hash = name.to_vec());
        assert_eq!(answer, SshSigError::HashAlgorithm);
    }
}

#[test]
fn bytes_behind_the_signature_are_refused() {
    assert_eq!(
        spoiled(|fields| fields.behind = vec![0]),
        SshSigError::Malformed
    );
    let signer = Signer::new(1);
    let mut fields = signer.sign(Fields::of(&signer.blob()), MESSAGE);
    fields.proof.push(0);
    assert_eq!(fields.parse().unwrap_err(), SshSigError::Malformed);
}

#[test]
fn bytes_behind_the_key_are_refused() {
    let answer = spoiled(|fields| fields.key.push(0));
    assert_eq!(answer, SshSigError::Key(sshsig::PublicKeyError::Malformed));
}

#[test]
fn a_signature_with_anothers_key_in_it_is_refused() {
    let (owner, thief) = (Signer::new(1), Signer::new(2));
    let fields = thief.sign(Fields::of(&owner.blob()), MESSAGE);
    let signature = fields.parse().unwrap();
    assert_eq!(
        signature.verify(&owner.key(), "file", MESSAGE),
        Err(SshSigError::Invalid)
    );
    assert_eq!(
        signature.verify(&thief.key(), "file", MESSAGE),
        Err(SshSigError::OtherKey)
    );
}

#[test]
fn a_namespace_put_in_afterwards_is_refused() {
    let signer = Signer::new(1);
    let mut fields = signer.sign(Fields::of(&signer.blob()), MESSAGE);
    fields.namespace = b"other".to_vec();
    let answer = fields
        .parse()
        .unwrap()
        .verify(&signer.key(), "other", MESSAGE);
    assert_eq!(answer, Err(SshSigError::Invalid));
}

#[test]
fn a_hash_algorithm_put_in_afterwards_is_refused() {
    let signer = Signer::new(1);
    let mut fields = signer.sign(Fields::of(&signer.blob()), MESSAGE);
    fields.hash = b"sha256".to_vec();
    let answer = fields
        .parse()
        .unwrap()
        .verify(&signer.key(), "file", MESSAGE);
    assert_eq!(answer, Err(SshSigError::Invalid));
}

#[test]
fn a_signature_over_the_bare_message_is_refused() {
    // Somebody may get the owner to sign bytes elsewhere; without the preamble they count for nothing here.
    let signer = Signer::new(1);
    let fields = signer.sign_bare(Fields::of(&signer.blob()), MESSAGE);
    let answer = fields
        .parse()
        .unwrap()
        .verify(&signer.key(), "file", MESSAGE);
    assert_eq!(answer, Err(SshSigError::Invalid));
}

#[test]
fn the_algorithm_must_be_the_keys_own() {
    for (key, signature, _, kind) in GOOD {
        let key_blob = key_blob(key);
        let proof = proof_of(signature);
        for name in [
            "",
            "ssh-dss",
            "ssh-ed25519",
            "ecdsa-sha2-nistp256",
            "ecdsa-sha2-nistp384",
            "ecdsa-sha2-nistp521",
            "rsa-sha2-256",
            "rsa-sha2-512",
            "sk-ssh-ed25519@openssh.com",
            "webauthn-sk-ecdsa-sha2-nistp256@openssh.com",
            "ssh-ed25519-cert-v01@openssh.com",
        ] {
            if name == kind.name() || (kind.name() == "ssh-rsa" && name.starts_with("rsa-sha2")) {
                continue;
            }
            let mut fields = Fields::of(&key_blob);
            fields.proof = [string(name.as_bytes()), proof.clone()].concat();
            assert_eq!(
                fields.parse().unwrap_err(),
                SshSigError::Algorithm,
                "{kind} {name}"
            );
        }
    }
}

#[test]
fn the_digest_of_rsa_is_the_one_that_is_named() {
    let key: PublicKey = vector!("rsa-2048.pub").parse().unwrap();
    let mut fields = Fields::of(&key_blob(vector!("rsa-2048.pub")));
    fields.proof = [string(b"rsa-sha2-256"), proof_of(vector!("rsa-2048.sig"))].concat();
    let answer = fields.parse().unwrap().verify(&key, "file", MESSAGE);
    assert_eq!(answer, Err(SshSigError::Invalid));
}

#[test]
fn a_sha1_signature_under_the_name_of_sha2_is_refused() {
    let key: PublicKey = vector!("rsa-2048.pub").parse().unwrap();
    for name in [&b"rsa-sha2-256"[..], b"rsa-sha2-512"] {
        let mut fields = Fields::of(&key_blob(vector!("rsa-2048.pub")));
        fields.proof = [string(name), proof_of(vector!("rsa-2048-sha1.sig"))].concat();
        let answer = fields.parse().unwrap().verify(&key, "file", MESSAGE);
        assert_eq!(answer, Err(SshSigError::Invalid));
    }
}

#[test]
fn numbers_of_ecdsa_have_one_form() {
    let key_blob = key_blob(vector!("ecdsa-p256.pub"));
    for (r, s) in [
        (mpint(&[0]), mpint(&[1])),
        (mpint(&[1]), mpint(&[0])),
        (string(&[0, 1]), mpint(&[1])),
        (string(&[0xff]), mpint(&[1])),
        (mpint(&[1; 33]), mpint(&[1])),
        (mpint(&[1]), [mpint(&[1]), vec![0]].concat()),
    ] {
        let mut fields = Fields::of(&key_blob);
        fields.proof = [string(b"ecdsa-sha2-nistp256"), string(&[r, s].concat())].concat();
        assert_eq!(fields.parse().unwrap_err(), SshSigError::Malformed);
    }
}

#[test]
fn ecdsa_in_der_is_refused() {
    let mut fields = Fields::of(&key_blob(vector!("ecdsa-p256.pub")));
    let der = [&[0x30, 68, 2, 32][..], &[1; 32], &[2, 32], &[1; 32]].concat();
    fields.proof = [string(b"ecdsa-sha2-nistp256"), string(&der)].concat();
    assert_eq!(fields.parse().unwrap_err(), SshSigError::Malformed);
}

#[test]
fn ed25519_with_s_beyond_the_order_is_refused() {
    // s + L signs the same message if s is not checked: two signatures for one.
    let signer = Signer::new(1);
    let mut fields = signer.sign(Fields::of(&signer.blob()), MESSAGE);
    let start = fields.proof.len() - 32;
    let mut carry = 0;
    for (byte, order) in fields.proof[start..].iter_mut().zip(ORDER) {
        let sum = u16::from(*byte) + u16::from(order) + carry;
        *byte = sum.to_le_bytes()[0];
        carry = sum >> 8;
    }
    assert_eq!(carry, 0);
    let answer = fields
        .parse()
        .unwrap()
        .verify(&signer.key(), "file", MESSAGE);
    assert_eq!(answer, Err(SshSigError::Invalid));
}

#[test]
fn each_flipped_bit_is_noticed() {
    for (key, signature, _, kind) in GOOD {
        let key: PublicKey = key.parse().unwrap();
        let blob = unarmor(signature);
        // All bits of the short ones, one bit of each byte of RSA's.
        let step = if blob.len() > 300 { 7 } else { 1 };
        for bit in (0..blob.len() * 8).step_by(step) {
            let mut flipped = blob.clone();
            flipped[bit / 8] ^= 1 << (bit % 8);
            let answer = SshSignature::parse(&armor(&flipped))
                .and_then(|signature| signature.verify(&key, "file", MESSAGE));
            assert!(answer.is_err(), "{kind}, bit {bit}");
        }
    }
}

#[test]
fn each_truncation_is_refused() {
    for (_, text, _, kind) in GOOD {
        let blob = unarmor(text);
        for length in 0..blob.len() {
            assert!(
                SshSignature::parse(&armor(&blob[..length])).is_err(),
                "{kind} {length}"
            );
        }
        for length in 0..text.len() - 1 {
            assert!(
                SshSignature::parse(&text[..length]).is_err(),
                "{kind} {length}"
            );
        }
    }
}

#[test]
fn doubled_armor_is_refused() {
    let (one, other) = (vector!("ed25519.sig"), vector!("ed25519-sha256.sig"));
    for text in [
        format!("{one}{other}"),
        format!("{one}\n{other}"),
        format!("text\n{one}"),
    ] {
        assert_eq!(SshSignature::parse(&text).unwrap_err(), SshSigError::Armor);
    }
}

#[test]
fn a_text_beyond_the_bound_is_refused_unread() {
    let text = "A".repeat(8193);
    assert_eq!(
        SshSignature::parse(&text).unwrap_err(),
        SshSigError::TooLarge
    );
}

#[test]
fn the_empty_namespace_is_not_signed_for() {
    let key = SigningKey::generate_ed25519([1; 32], "").unwrap();
    for namespace in ["", "a\nb", &"a".repeat(256)] {
        let answer = key.sign(namespace, MESSAGE);
        assert_eq!(answer.unwrap_err(), sshsig::SigningKeyError::Namespace);
    }
}

/// The signature proper, without the name before it.
fn proof_of(text: &str) -> Vec<u8> {
    let blob = unarmor(text);
    let mut rest = &blob[10..];
    let mut last = rest;
    for _ in 0..5 {
        let length = u32::from_be_bytes(rest[..4].try_into().unwrap()) as usize;
        last = &rest[4..4 + length];
        rest = &rest[4 + length..];
    }
    let name = u32::from_be_bytes(last[..4].try_into().unwrap()) as usize;
    last[4 + name..].to_vec()
}

/// L, the order of Ed25519's base point, little-endian.
const ORDER: [u8; 32] = [
    0xed, 0xd3, 0xf5, 0x5c, 0x1a, 0x63, 0x12, 0x58, 0xd6, 0x9c, 0xf7, 0xa2, 0xde, 0xf9, 0xde, 0x14,
    0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0x10,
];
