//! Hostile bytes and texts never panic and never verify.

use proptest::prelude::*;
use sshsig::{PublicKey, SigningKey, SshSignature};

use crate::parts::{Fields, Signer, Token, armor, key_blob, string, unarmor};
use crate::vectors::{GOOD, MESSAGE, vector};

/// Read, and asked about every key there is, its own included.
fn verifies(text: &str) -> bool {
    let Ok(signature) = SshSignature::parse(text) else {
        return false;
    };
    let own = signature.public_key().clone();
    let known = GOOD
        .iter()
        .map(|(key, ..)| key.parse::<PublicKey>().unwrap());
    known.chain([own]).any(|key| {
        signature
            .verify(&key, signature.namespace(), MESSAGE)
            .is_ok()
    })
}

fn private(bytes: &[u8]) -> String {
    armor(bytes).replace("SSH SIGNATURE", "OPENSSH PRIVATE KEY")
}

fn bytes() -> impl Strategy<Value = Vec<u8>> {
    proptest::collection::vec(any::<u8>(), 0..400)
}

proptest! {
    #[test]
    fn any_text(text in "\\PC{0,300}") {
        prop_assert!(!verifies(&text));
        prop_assert!(text.parse::<PublicKey>().is_err());
        prop_assert!(SigningKey::parse(&text).is_err());
    }

    #[test]
    fn any_bytes_in_armor(bytes in bytes()) {
        prop_assert!(!verifies(&armor(&bytes)));
        prop_assert!(!verifies(&armor(&[b"SSHSIG\0\0\0\x01", &bytes[..]].concat())));
        prop_assert!(SigningKey::parse(&private(&bytes)).is_err());
        prop_assert!(SigningKey::parse(&private(&[b"openssh-key-v1\0", &bytes[..]].concat())).is_err());
    }

    #[test]
    fn any_proof_for_any_key(which in 0usize..GOOD.len(), bytes in bytes(), sixty_four in proptest::collection::vec(any::<u8>(), 64)) {
        let (key, _, _, kind) = GOOD[which];
        let names = [kind.name(), "rsa-sha2-256", "rsa-sha2-512"];
        for name in names {
            for proof in [bytes.clone(), string(&bytes), string(&sixty_four)] {
                let mut fields = Fields::of(&key_blob(key));
                fields.proof = [string(name.as_bytes()), proof].concat();
                prop_assert!(!verifies(&fields.text()));
            }
        }
    }

    #[test]
    fn any_proof_for_security_keys(bytes in bytes(), sixty_four in proptest::collection::vec(any::<u8>(), 64), rest: [u8; 5]) {
        for token in [Token::ed25519(), Token::ecdsa()] {
            for value in [&bytes, &sixty_four] {
                let mut fields = Fields::of(&token.blob("ssh:"));
                fields.proof = [string(token.name().as_bytes()), string(value), rest.to_vec()].concat();
                prop_assert!(!verifies(&fields.text()));
            }
        }
    }

    #[test]
    fn any_splice_of_a_good_signature(which in 0usize..GOOD.len(), at in 0usize..1000, removed in 0usize..40, put in proptest::collection::vec(any::<u8>(), 0..40)) {
        let good = unarmor(GOOD[which].1);
        let from = at % good.len();
        let to = (from + removed).min(good.len());
        let spliced = [&good[..from], &put, &good[to..]].concat();
        prop_assume!(spliced != good);
        prop_assert!(!verifies(&armor(&spliced)));
    }

    #[test]
    fn any_splice_of_a_good_text(at in 0usize..300, put in "\\PC{1,10}") {
        let good = vector!("ed25519.sig");
        let at = at.min(good.len());
        let text = format!("{}{put}{}", &good[..at], &good[at..]);
        prop_assert!(!verifies(&text));
    }

    #[test]
    fn any_key_that_is_read_is_written_the_same(bytes in bytes(), which in 0usize..GOOD.len(), at in 0usize..400, bit in 0u8..8) {
        let mut blob = key_blob(GOOD[which].0);
        let at = at % blob.len();
        blob[at] ^= 1 << bit;
        for blob in [blob, bytes] {
            let name = GOOD[which].3.name();
            let text = format!("{name} {}", unbroken(&blob));
            if let Ok(key) = text.parse::<PublicKey>() {
                prop_assert_eq!(key.key_text(), text);
            }
        }
    }

    #[test]
    fn good_signatures_verify_for_one_message_only(seed: u8, message: Vec<u8>, other: Vec<u8>) {
        let signer = Signer::new(seed);
        let key = SigningKey::generate_ed25519([seed; 32], "").unwrap();
        let signature = key.sign("file", &message).unwrap();
        prop_assert_eq!(signature.armored(), signer.sign(Fields::of(&signer.blob()), &message).text());
        prop_assert!(signature.verify(key.public_key(), "file", &message).is_ok());
        prop_assert_eq!(signature.verify(key.public_key(), "file", &other).is_ok(), other == message);
    }
}

fn unbroken(blob: &[u8]) -> String {
    let text = armor(blob);
    text.lines().filter(|line| !line.starts_with('-')).collect()
}
