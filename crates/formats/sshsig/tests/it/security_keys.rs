//! Security keys: a token in software signs as PROTOCOL.u2f says.

use aws_lc_rs::signature::Ed25519KeyPair;
use sshsig::{KeyKind, PublicKey, PublicKeyError, SshSigError};

use crate::parts::{Token, string};
use crate::vectors::MESSAGE;

const PRESENT: u8 = 1;
const VERIFIED: u8 = 4;

fn tokens() -> [Token; 2] {
    [Token::ed25519(), Token::ecdsa()]
}

#[test]
fn touched_security_keys_verify() {
    for (token, kind) in tokens()
        .iter()
        .zip([KeyKind::SkEd25519, KeyKind::SkEcdsaP256])
    {
        let key: PublicKey = token.key_text("ssh:").parse().unwrap();
        assert_eq!(key.kind(), kind);
        for flags in [PRESENT, PRESENT | VERIFIED] {
            let signature = token.sign("ssh:", flags, 77, MESSAGE).parse().unwrap();
            assert_eq!(signature.verify(&key, "file", MESSAGE), Ok(()), "{kind}");
            assert_eq!(
                signature.verify(&key, "file", b"other"),
                Err(SshSigError::Invalid)
            );
        }
    }
}

#[test]
fn security_keys_that_were_not_touched_are_refused() {
    for token in tokens() {
        let key: PublicKey = token.key_text("ssh:").parse().unwrap();
        for flags in [0, VERIFIED, 0xfe] {
            let signature = token.sign("ssh:", flags, 77, MESSAGE).parse().unwrap();
            assert_eq!(
                signature.verify(&key, "file", MESSAGE),
                Err(SshSigError::Untouched)
            );
        }
    }
}

#[test]
fn the_touch_cannot_be_added_afterwards() {
    for token in tokens() {
        let key: PublicKey = token.key_text("ssh:").parse().unwrap();
        let mut fields = token.sign("ssh:", 0, 77, MESSAGE);
        let flags = fields.proof.len() - 5;
        fields.proof[flags] = PRESENT;
        let answer = fields.parse().unwrap().verify(&key, "file", MESSAGE);
        assert_eq!(answer, Err(SshSigError::Invalid));
    }
}

#[test]
fn the_counter_is_covered() {
    for token in tokens() {
        let key: PublicKey = token.key_text("ssh:").parse().unwrap();
        let mut fields = token.sign("ssh:", PRESENT, 77, MESSAGE);
        let last = fields.proof.len() - 1;
        fields.proof[last] += 1;
        let answer = fields.parse().unwrap().verify(&key, "file", MESSAGE);
        assert_eq!(answer, Err(SshSigError::Invalid));
    }
}

#[test]
fn another_application_is_another_key() {
    for token in tokens() {
        let key: PublicKey = token.key_text("ssh:").parse().unwrap();
        let work: PublicKey = token.key_text("ssh:work").parse().unwrap();
        assert_ne!(key, work);
        let mut fields = token.sign("ssh:work", PRESENT, 77, MESSAGE);
        let signature = fields.parse().unwrap();
        assert_eq!(signature.verify(&work, "file", MESSAGE), Ok(()));
        assert_eq!(
            signature.verify(&key, "file", MESSAGE),
            Err(SshSigError::OtherKey)
        );
        fields.key = token.blob("ssh:");
        let answer = fields.parse().unwrap().verify(&key, "file", MESSAGE);
        assert_eq!(answer, Err(SshSigError::Invalid));
    }
}

#[test]
fn keys_made_for_web_sites_are_refused() {
    for token in tokens() {
        for application in [
            "",
            "example.com",
            "ss",
            "ssh:\n",
            &format!("ssh:{}", "a".repeat(252)),
        ] {
            let answer = token.key_text(application).parse::<PublicKey>();
            assert_eq!(
                answer.unwrap_err(),
                PublicKeyError::Malformed,
                "{application}"
            );
        }
    }
}

#[test]
fn flags_and_counter_must_stand_there_once() {
    for token in tokens() {
        let good = token.sign("ssh:", PRESENT, 77, MESSAGE);
        for missing in 1..=5 {
            let mut fields = good.clone();
            fields.proof.truncate(good.proof.len() - missing);
            assert_eq!(fields.parse().unwrap_err(), SshSigError::Malformed);
        }
        let mut fields = good.clone();
        fields.proof.push(0);
        assert_eq!(fields.parse().unwrap_err(), SshSigError::Malformed);
    }
}

#[test]
fn a_plain_signature_does_not_pass_for_a_security_keys() {
    let pair = Ed25519KeyPair::generate().unwrap();
    let plain = pair.sign(
        &Token::ed25519()
            .sign("ssh:", PRESENT, 77, MESSAGE)
            .signed(MESSAGE),
    );
    let token = Token::Ed25519(pair);
    let key: PublicKey = token.key_text("ssh:").parse().unwrap();
    let mut fields = token.sign("ssh:", PRESENT, 77, MESSAGE);
    assert_eq!(
        fields.parse().unwrap().verify(&key, "file", MESSAGE),
        Ok(())
    );
    let name = string(token.name().as_bytes());
    fields.proof = [name, string(plain.as_ref()), vec![PRESENT, 0, 0, 0, 77]].concat();
    let answer = fields.parse().unwrap().verify(&key, "file", MESSAGE);
    assert_eq!(answer, Err(SshSigError::Invalid));
}
