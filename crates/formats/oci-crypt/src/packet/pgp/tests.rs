//! What GnuPG and Go's ocicrypt made is read; what is made here comes back; what was altered opens nothing.

use std::fs;
use std::path::Path;

use super::framing::{LITERAL, PUBLIC_KEY_SESSION_KEY};
use super::*;

fn vector(name: &str) -> Vec<u8> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/vectors/pgp");
    fs::read(folder.join(name)).unwrap()
}

#[test]
fn recipients_are_seen_without_a_key() {
    let of = |name: &str| pgp_recipients(&vector(name)).unwrap();
    assert_eq!(of("gpg.several.msg").len(), 3);
    assert_eq!(of("go.several.msg").len(), 3);
    assert_eq!(of("gpg.hidden.msg"), [PgpHolder::Hidden; 3]);
    assert!(of("gpg.password.msg").contains(&PgpHolder::Password));
    assert_eq!(of("gpg.rsa2048.msg"), of("go.rsa2048.msg"));
}

#[test]
fn one_recipient_is_taken_out_and_the_others_stay() {
    let message = vector("gpg.several.msg");
    let before = pgp_recipients(&message).unwrap();
    let rest = pgp_without(&message, before[1]).unwrap();
    assert_eq!(pgp_recipients(&rest).unwrap(), [before[0], before[2]]);
    let container = message.len() - rest.len();
    assert!(container > 100 && message.ends_with(&rest[rest.len() - 100..]));
}

#[test]
fn messages_that_could_be_altered_or_go_on_are_refused() {
    let message = vector("gpg.rsa2048.msg");
    let mut packets = framing::Packets::new(&message);
    let (key, container) = (
        packets.next().unwrap().unwrap(),
        packets.next().unwrap().unwrap(),
    );
    let packet = |tag: u8, body: &[u8]| {
        let mut bytes = vec![0xc0 | tag, 0xff];
        bytes.extend_from_slice(&u32::try_from(body.len()).unwrap().to_be_bytes());
        bytes.extend_from_slice(body);
        bytes
    };
    let refused = |parts: &[&[u8]]| pgp_recipients(&parts.concat()).unwrap_err();
    let unprotected = packet(9, &container.body[1..]);
    assert!(matches!(
        refused(&[key.whole, &unprotected]),
        PacketError::Unsupported { .. }
    ));
    let _ = refused(&[key.whole]);
    let _ = refused(&[key.whole, container.whole, container.whole]);
    let _ = refused(&[key.whole, &packet(LITERAL, b"b\0\0\0\0\0"), container.whole]);
    let _ = refused(&[&packet(PUBLIC_KEY_SESSION_KEY, &[3, 1]), container.whole]);
    let _ = refused(&[&packet(PUBLIC_KEY_SESSION_KEY, &[6, 9]), container.whole]);
    let _ = refused(&[&key.whole.repeat(257), container.whole]);
}

#[cfg(feature = "pgp")]
mod with_keys {
    use proptest::prelude::*;

    use super::*;
    use crate::options::PrivateOptions;
    use crate::packet::{KeyPacket, Opening, PacketOpener, PacketWrapper};

    /// Seconds of 2026-12-01, after the vectors were made.
    const NOW: u64 = 1_796_083_200;
    const PASSWORD: &[u8] = b"correct horse";

    fn opener(name: &str) -> PgpOpener {
        let ring = PgpSecretRing::parse(&vector(name)).unwrap();
        let password = ring.is_encrypted().then_some(PASSWORD);
        let (opener, closed) = ring.open(password).unwrap();
        assert_eq!(closed, []);
        opener
    }

    fn opened(opener: &PgpOpener, message: &[u8]) -> Option<Vec<u8>> {
        match opener.open(&KeyPacket::Pgp(message.to_vec())) {
            Opening::Opened(options) => Some(options.expose_bytes().to_vec()),
            Opening::NotOurs | Opening::Failed(_) => None,
        }
    }

    fn is_not_ours(opener: &PgpOpener, message: &[u8]) -> bool {
        let opening = opener.open(&KeyPacket::Pgp(message.to_vec()));
        matches!(opening, Opening::NotOurs)
    }

    fn options() -> PrivateOptions {
        PrivateOptions::parse(&vector("options.json")).unwrap()
    }

    fn ring() -> PgpPublicRing {
        PgpPublicRing::parse(&vector("all.pub.gpg")).unwrap()
    }

    #[test]
    fn every_kind_of_key_opens_what_gpg_and_go_encrypted_to_it() {
        let options = vector("options.json");
        for name in [
            "rsa1024", "rsa2048", "rsa3072", "cv25519", "p256", "p384", "p521",
        ] {
            let opener = opener(&format!("{name}.key"));
            let message = vector(&format!("gpg.{name}.msg"));
            assert_eq!(opened(&opener, &message), Some(options.clone()), "{name}");
            let others = vector(match name {
                "p384" => "gpg.p256.msg",
                _ => "gpg.p384.msg",
            });
            assert!(is_not_ours(&opener, &others), "{name}");
        }
        for (key, message) in [
            ("rsa2048.key", "go.rsa2048.msg"),
            ("cv25519.key", "go.cv25519.msg"),
            ("cv25519.subkeys.key", "go.several.msg"),
            ("rsa3072.armoured.key", "go.several.msg"),
            ("all.key.gpg", "go.several.msg"),
        ] {
            assert!(
                opened(&opener(key), &vector(message)).is_some(),
                "{message}"
            );
        }
    }

    #[test]
    fn every_form_of_message_is_read() {
        let opener = opener("rsa3072.key");
        for form in [
            "several", "hidden", "zip", "stored", "aes128", "3des", "signed", "password",
        ] {
            let message = vector(&format!("gpg.{form}.msg"));
            assert_eq!(
                opened(&opener, &message),
                Some(vector("options.json")),
                "{form}"
            );
        }
        // The one compression that is not read here.
        assert_eq!(opened(&opener, &vector("gpg.bzip2.msg")), None);
    }

    #[test]
    fn newer_messages_are_read_although_peers_write_none() {
        use pgp::composed::{Deserializable as _, MessageBuilder, SignedPublicKey};
        use pgp::crypto::aead::{AeadAlgorithm, ChunkSize};
        use pgp::crypto::sym::SymmetricKeyAlgorithm;
        use rand::rngs::OsRng;

        let file = vector("p256.pub");
        let file = key_file::KeyFile::read(&file).unwrap();
        let key = SignedPublicKey::from_bytes(file.keys().unwrap()[0].bytes).unwrap();
        let subkey = &key.public_subkeys[0];
        for is_told in [true, false] {
            let options = vector("options.json");
            let (cipher, aead) = (SymmetricKeyAlgorithm::AES256, AeadAlgorithm::Ocb);
            let builder = MessageBuilder::from_bytes("", options.clone());
            let mut builder = builder.seipd_v2(OsRng, cipher, aead, ChunkSize::default());
            let _ = match is_told {
                true => builder.encrypt_to_key(OsRng, subkey).unwrap(),
                false => builder.encrypt_to_key_anonymous(OsRng, subkey).unwrap(),
            };
            let message = builder.to_vec(OsRng).unwrap();
            assert_eq!(opened(&opener("p256.key"), &message), Some(options));
            assert!(is_not_ours(&opener("p384.key"), &message));
            let recipients = pgp_recipients(&message).unwrap();
            assert_eq!(recipients[0] != PgpHolder::Hidden, is_told);
        }
    }

    #[test]
    fn a_hidden_message_for_others_is_not_ours() {
        assert!(is_not_ours(&opener("p521.key"), &vector("gpg.hidden.msg")));
        assert!(is_not_ours(
            &opener("rsa1024.key"),
            &vector("gpg.hidden.msg")
        ));
    }

    #[test]
    fn what_is_made_here_comes_back_for_each_recipient() {
        let names = [
            "rsa2048",
            "rsa3072@example.org",
            "cv25519",
            "p256",
            "p384",
            "p521",
        ];
        let recipients = names.map(|name| ring().find(name, NOW).unwrap());
        let ids = recipients
            .clone()
            .map(|recipient| PgpHolder::Key(recipient.key_id()));
        let twice = [recipients.to_vec(), recipients.to_vec()].concat();
        let KeyPacket::Pgp(message) = PgpWrapper::new(twice).wrap(&options()).unwrap() else {
            panic!("another packet")
        };
        assert_eq!(pgp_recipients(&message).unwrap(), ids);
        for name in ["rsa2048", "rsa3072", "cv25519", "p256", "p384", "p521"] {
            let opener = opener(&format!("{name}.key"));
            assert_eq!(opened(&opener, &message), Some(vector("options.json")));
            // All are the same message: anybody who stays can still open it when another goes.
            let rest = pgp_without(&message, ids[0]).unwrap();
            assert_eq!(opened(&opener, &rest).is_some(), name != "rsa2048");
        }
        assert!(is_not_ours(&opener("rsa1024.key"), &message));
        assert!(PgpWrapper::new(Vec::new()).wrap(&options()).is_err());
    }

    #[test]
    fn passwords_open_or_are_asked_for() {
        let ring = PgpSecretRing::parse(&vector("rsa2048.key")).unwrap();
        assert!(ring.is_encrypted());
        assert!(matches!(ring.open(None), Err(PgpKeyError::PasswordMissing)));
        let wrong = ring.open(Some(b"wrong")).map(|_| ());
        assert!(matches!(wrong, Err(PgpKeyError::PasswordWrong { keys }) if keys.len() == 2));
        let plain = PgpSecretRing::parse(&vector("rsa3072.key")).unwrap();
        assert!(!plain.is_encrypted() && plain.open(None).is_ok());
        // Those of another password stay closed, and are told.
        let all = PgpSecretRing::parse(&vector("all.key.gpg")).unwrap();
        let (opener, closed) = all.open(Some(b"wrong")).unwrap();
        assert_eq!(closed.len(), 3);
        assert!(opened(&opener, &vector("gpg.p256.msg")).is_some());
    }

    #[test]
    fn keys_that_are_not_there_are_missed() {
        let secret = |name: &str| PgpSecretRing::parse(&vector(name)).map(|_| ());
        assert!(matches!(
            secret("rsa2048.pub"),
            Err(PgpKeyError::NoSecretKey)
        ));
        assert!(matches!(
            secret("options.json"),
            Err(PgpKeyError::NotUnderstood)
        ));
        let public = |name: &str| PgpPublicRing::parse(&vector(name)).map(|_| ());
        assert!(matches!(
            public("rsa2048.key"),
            Err(PgpKeyError::NoPublicKey)
        ));
        for name in [
            "rsa2048.key",
            "rsa3072.armoured.key",
            "rsa2048.pub",
            "all.pub.gpg",
        ] {
            assert!(is_pgp_key_file(&vector(name)), "{name}");
        }
        assert!(!is_pgp_key_file(&vector("options.json")));
    }

    #[test]
    fn recipients_are_found_by_exact_names_only() {
        let ring = ring();
        let id = |name: &str| ring.find(name, NOW).map(|found| found.key_id());
        let named = id("rsa2048").unwrap();
        assert_eq!(id("rsa2048@example.org").unwrap(), named);
        assert_eq!(id("rsa2048 <rsa2048@example.org>").unwrap(), named);
        for unknown in ["rsa", "example.org", "", "RSA2048"] {
            assert!(
                matches!(id(unknown), Err(PgpKeyError::NotFound)),
                "{unknown}"
            );
        }
        assert!(
            matches!(ring.only(NOW), Err(PgpKeyError::Several { fingerprints }) if fingerprints.len() == 7)
        );
        let twins = PgpPublicRing::parse(&vector("twins.pub")).unwrap();
        let both = twins.find("twin@example.org", NOW).map(|_| ());
        let Err(PgpKeyError::Several { fingerprints }) = both else {
            panic!("not told apart")
        };
        for fingerprint in fingerprints {
            assert!(twins.find(&fingerprint, NOW).is_ok());
        }
        assert!(twins.find("another", NOW).is_ok());
    }

    #[test]
    fn nothing_is_encrypted_to_keys_that_are_over_or_weak() {
        let refused = |name: &str| {
            let ring = PgpPublicRing::parse(&vector(name)).unwrap();
            match ring.only(NOW) {
                Err(PgpKeyError::Unusable { reason, .. }) => reason,
                _ => panic!("{name} is used"),
            }
        };
        assert_eq!(refused("revoked.pub"), "it is revoked");
        assert_eq!(
            refused("subkey-revoked.pub"),
            "its part that encrypts is revoked"
        );
        assert_eq!(refused("expired.pub"), "it has expired");
        assert_eq!(refused("signer.pub"), "it has no part that encrypts");
        assert_eq!(refused("rsa1024.pub"), "its RSA has less than 2048 bits");
        // Before it ended it was good.
        let expired = PgpPublicRing::parse(&vector("expired.pub")).unwrap();
        assert!(expired.only(1_600_000_000).is_ok());
        // The newer part takes the place of the revoked one.
        let replaced = PgpPublicRing::parse(&vector("replaced.pub")).unwrap();
        assert!(replaced.only(NOW).is_ok());
    }

    #[test]
    fn a_foreign_subkey_is_not_encrypted_to() {
        // The attack avoided: whoever can write into a ring puts his own subkey beneath somebody's name.
        let (own, other) = (vector("p256.pub"), vector("cv25519.pub"));
        let (own, other) = (
            key_file::KeyFile::read(&own).unwrap(),
            key_file::KeyFile::read(&other).unwrap(),
        );
        let (own, other) = (own.keys().unwrap(), other.keys().unwrap());
        let mut packets = framing::Packets::new(other[0].bytes);
        let mut forged = own[0].bytes.to_vec();
        let mut is_subkey = false;
        while let Some(packet) = packets.next().unwrap() {
            is_subkey |= packet.tag == 14;
            if is_subkey {
                forged.extend_from_slice(packet.whole);
            }
        }
        let ring = |bytes: &[u8]| PgpPublicRing::parse(bytes).unwrap().only(NOW).unwrap();
        assert_eq!(ring(&forged).key_id(), ring(own[0].bytes).key_id());
    }

    #[test]
    fn a_stranger_in_the_ring_does_not_hide_the_others() {
        let good = vector("all.pub.gpg");
        let broken = [&[0x98, 3, 4, 1, 1][..], &[0xb4, 1, b'x']].concat();
        let ring = PgpPublicRing::parse(&[broken, good].concat()).unwrap();
        assert!(ring.find("p521", NOW).is_ok());
    }

    /// Any bit: of what a key opens, of its padding, of the content, of its integrity.
    #[test]
    fn an_altered_message_opens_to_nothing_else_and_has_one_error() {
        for name in ["rsa2048", "cv25519"] {
            let opener = opener(&format!("{name}.key"));
            let message = vector(&format!("gpg.{name}.msg"));
            let mut texts = std::collections::BTreeSet::new();
            for at in 13..message.len() {
                let mut altered = message.clone();
                altered[at] ^= 1;
                match opener.open(&KeyPacket::Pgp(altered)) {
                    // The length of a point in bits says nothing that its bytes do not.
                    Opening::Opened(options) => {
                        assert_eq!(options.expose_bytes(), vector("options.json"), "{at}");
                    }
                    Opening::Failed(error) => texts.extend([error.to_string()]),
                    Opening::NotOurs => {}
                }
            }
            texts.remove("packet is malformed at framing");
            assert_eq!(
                texts.into_iter().collect::<Vec<_>>(),
                ["OpenPGP packet did not open"]
            );
        }
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(48))]

        #[test]
        fn hostile_messages_never_panic(
            position in 0usize..400,
            bytes in prop::collection::vec(any::<u8>(), 0..40),
        ) {
            let opener = opener("p256.key");
            let mut message = vector("gpg.p256.msg");
            let start = position.min(message.len());
            let end = (start + bytes.len()).min(message.len());
            message.splice(start..end, bytes.iter().copied());
            let _ = opener.open(&KeyPacket::Pgp(message));
            let _ = opener.open(&KeyPacket::Pgp(bytes));
        }

        #[test]
        fn hostile_keys_never_panic(
            position in 0usize..700,
            bytes in prop::collection::vec(any::<u8>(), 1..20),
        ) {
            for name in ["p256.key", "cv25519.pub"] {
                let mut file = vector(name);
                let start = position.min(file.len());
                let end = (start + bytes.len()).min(file.len());
                file.splice(start..end, bytes.iter().copied());
                if let Ok(ring) = PgpSecretRing::parse(&file) {
                    let _ = ring.open(Some(b"wrong"));
                }
                if let Ok(ring) = PgpPublicRing::parse(&file) {
                    let _ = ring.only(NOW);
                }
            }
            let _ = PgpSecretRing::parse(&bytes);
            let _ = PgpPublicRing::parse(&bytes);
        }
    }
}
