//! Hostile keys and messages: a clear error, never a panic, never an opened message.

use std::sync::LazyLock;

use hpke_xwing::{
    KeyError, OpenError, PrivateKey, PublicKey, SealError, Sealed, Suite, open, seal,
};
use proptest::prelude::*;

static KEYS: LazyLock<[PrivateKey; 2]> =
    LazyLock::new(|| Suite::ALL.map(|suite| PrivateKey::generate(suite).unwrap()));

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    #[test]
    fn what_is_sealed_opens(info: Vec<u8>, aad: Vec<u8>, plaintext: Vec<u8>) {
        for key in KEYS.iter() {
            let Sealed { enc, ct } = seal(key.public_key(), &info, &aad, &plaintext).unwrap();
            let opened = open(key, &enc, &info, &aad, &ct).unwrap();
            prop_assert_eq!(opened.as_slice(), plaintext.as_slice());
        }
    }

    #[test]
    fn one_flipped_bit_anywhere_is_refused(place: prop::sample::Index, bit in 0_u8..8) {
        for key in KEYS.iter() {
            let Sealed { enc, ct } = seal(key.public_key(), b"info", b"aad", b"plaintext").unwrap();
            let mut parts = [enc, b"info".to_vec(), b"aad".to_vec(), ct];
            let at = place.index(parts.iter().map(Vec::len).sum());
            let byte = parts.iter_mut().flatten().nth(at).unwrap();
            *byte ^= 1 << bit;
            let [enc, info, aad, ct] = parts;
            let opened = open(key, &enc, &info, &aad, &ct);
            // X25519 ignores the top bit of a point (RFC 7748, 5); both KEMs hash it, so that is refused too.
            prop_assert_eq!(opened.err(), Some(OpenError::Refused));
        }
    }

    #[test]
    fn arbitrary_messages_are_refused(enc: Vec<u8>, ct: Vec<u8>) {
        for key in KEYS.iter() {
            prop_assert!(open(key, &enc, b"", b"", &ct).is_err());
        }
    }

    #[test]
    fn arbitrary_messages_of_the_right_length_are_refused(fill: [u8; 32], ct in prop::collection::vec(any::<u8>(), 16..64)) {
        for key in KEYS.iter() {
            let suite = key.public_key().suite();
            let enc: Vec<u8> = fill.into_iter().cycle().take(suite.encapsulated_key_len()).collect();
            prop_assert_eq!(open(key, &enc, b"", b"", &ct).err(), Some(OpenError::Refused));
        }
    }

    #[test]
    fn arbitrary_bytes_are_a_key_or_an_error(bytes in prop::collection::vec(any::<u8>(), 0..1300)) {
        for suite in Suite::ALL {
            let public = PublicKey::from_bytes(suite, &bytes);
            prop_assert_eq!(matches!(public, Err(KeyError::Length { .. })), bytes.len() != suite.public_key_len());
            let private = PrivateKey::from_bytes(suite, &bytes);
            prop_assert_eq!(private.is_ok(), bytes.len() == 32);
        }
    }
}

#[test]
fn an_ml_kem_key_out_of_range_is_malformed() {
    let mut bytes = KEYS[0].public_key().to_bytes().to_vec();
    bytes[0] = 0xff;
    bytes[1] |= 0x0f; // first coefficient 4095, not below 3329
    assert_eq!(
        PublicKey::from_bytes(Suite::XWing, &bytes),
        Err(KeyError::Malformed {
            suite: Suite::XWing
        })
    );
}

#[test]
fn nothing_is_sealed_to_a_point_of_small_order() {
    let mut hybrid = KEYS[0].public_key().to_bytes().to_vec();
    hybrid[1184..].fill(0);
    for (suite, bytes) in [(Suite::X25519, vec![0; 32]), (Suite::XWing, hybrid)] {
        let key = PublicKey::from_bytes(suite, &bytes).unwrap();
        assert_eq!(seal(&key, b"", b"", b"secret"), Err(SealError::UnusableKey));
    }
}

#[test]
fn another_key_of_the_suite_opens_nothing() {
    for key in KEYS.iter() {
        let other = PrivateKey::generate(key.public_key().suite()).unwrap();
        let Sealed { enc, ct } = seal(key.public_key(), b"", b"", b"secret").unwrap();
        assert_eq!(
            open(&other, &enc, b"", b"", &ct).err(),
            Some(OpenError::Refused)
        );
    }
}

#[test]
fn the_same_message_is_never_sealed_twice_alike() {
    for key in KEYS.iter() {
        let [first, second] =
            [(); 2].map(|()| seal(key.public_key(), b"", b"", b"secret").unwrap());
        assert_ne!(first.enc, second.enc);
        assert_ne!(first.ct, second.ct);
    }
}

#[test]
fn a_truncated_message_is_told_apart() {
    let Sealed { enc, ct } = seal(KEYS[0].public_key(), b"", b"", b"").unwrap();
    assert_eq!(
        open(&KEYS[0], &enc, b"", b"", &ct[..15]).err(),
        Some(OpenError::Truncated)
    );
    assert!(matches!(
        open(&KEYS[0], &enc[1..], b"", b"", &ct).err(),
        Some(OpenError::EncapsulatedKeyLength {
            expected: 1120,
            found: 1119,
            ..
        })
    ));
}

#[test]
fn a_reloaded_key_is_the_same_key() {
    for key in KEYS.iter() {
        let again = PrivateKey::from_bytes(key.public_key().suite(), &key.expose_bytes()).unwrap();
        assert_eq!(again.public_key().id(), key.public_key().id());
    }
}
