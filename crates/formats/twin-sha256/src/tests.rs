//! Every way to compress against aws-lc: all lengths, all splits, the specifications' vectors.

use aws_lc_rs::{digest, hmac};
use proptest::prelude::*;

use super::*;

const KEY: &[u8] = b"a key of thirty-two bytes, or so";

fn twin(backend: Backend, key: &[u8], pieces: &[&[u8]]) -> ([u8; 32], [u8; 32]) {
    let mut twin = TwinSha256::on(backend, key);
    pieces.iter().for_each(|piece| twin.update(piece));
    let Twin { digest, mac } = twin.finish();
    (digest, mac)
}

fn plain(backend: Backend, pieces: &[&[u8]]) -> [u8; 32] {
    let mut hash = Sha256::on(backend);
    pieces.iter().for_each(|piece| hash.update(piece));
    hash.finish()
}

/// Both with another message beside them, whose pieces go with the pieces of this one as far as there are any.
fn beside(backend: Backend, pieces: &[&[u8]], others: &[&[u8]]) -> ([u8; 32], [u8; 32], [u8; 32]) {
    let (mut twin, mut plain) = (TwinSha256::on(backend, KEY), Sha256::on(backend));
    for number in 0..pieces.len().max(others.len()) {
        twin.update_beside(
            pieces.get(number).copied().unwrap_or_default(),
            &mut plain,
            others.get(number).copied().unwrap_or_default(),
        );
    }
    let Twin { digest, mac } = twin.finish();
    (digest, mac, plain.finish())
}

fn reference(key: &[u8], bytes: &[u8]) -> ([u8; 32], [u8; 32]) {
    let key = hmac::Key::new(hmac::HMAC_SHA256, key);
    (
        digest::digest(&digest::SHA256, bytes)
            .as_ref()
            .try_into()
            .unwrap(),
        hmac::sign(&key, bytes).as_ref().try_into().unwrap(),
    )
}

/// Bytes in which no two blocks are alike.
fn bytes(len: usize) -> Vec<u8> {
    seeded(0x9e37_79b9, len)
}

fn seeded(seed: u32, len: usize) -> Vec<u8> {
    let mut state = seed;
    let next = |_| {
        state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
        state.to_be_bytes()[0]
    };
    (0..len).map(next).collect()
}

/// Short ones and long ones.
fn messages() -> impl Strategy<Value = Vec<u8>> {
    let lens = prop_oneof![0..300_usize, 0..60_000_usize];
    (any::<u32>(), lens).prop_map(|(seed, len)| seeded(seed, len))
}

#[test]
fn the_instructions_are_used_where_they_are() {
    let best = match Backend::best() {
        Backend::Portable => "portable",
        #[cfg(target_arch = "x86_64")]
        Backend::ShaNi(_) => "x86-64 SHA-NI",
        #[cfg(target_arch = "x86_64")]
        Backend::Avx512(_) => "x86-64 AVX-512",
        Backend::Sha2(_) => "AArch64 SHA2",
    };
    #[cfg(target_arch = "x86_64")]
    let expected = match (
        std::arch::is_x86_feature_detected!("sha"),
        std::arch::is_x86_feature_detected!("avx512vl"),
    ) {
        (true, _) => "x86-64 SHA-NI",
        (false, true) => "x86-64 AVX-512",
        (false, false) => "portable",
    };
    #[cfg(target_arch = "aarch64")]
    let expected = match std::arch::is_aarch64_feature_detected!("sha2") {
        true => "AArch64 SHA2",
        false => "portable",
    };
    #[cfg(not(any(target_arch = "x86_64", target_arch = "aarch64")))]
    let expected = "portable";
    assert_eq!(best, expected);
}

#[test]
fn every_length_agrees_with_aws_lc() {
    let all = bytes(4096);
    for len in 0..=all.len() {
        let expected = reference(KEY, &all[..len]);
        for (name, backend) in Backend::all() {
            let pieces = [&all[..len]];
            assert_eq!(twin(backend, KEY, &pieces), expected, "{name}, {len}");
            assert_eq!(plain(backend, &pieces), expected.0, "{name}, {len}");
        }
    }
}

#[test]
fn every_split_of_small_messages_agrees() {
    let all = bytes(200);
    for len in 0..=all.len() {
        let expected = reference(KEY, &all[..len]);
        for (name, backend) in Backend::all() {
            for split in 0..=len {
                let pieces = [&all[..split], &all[split..len]];
                let found = twin(backend, KEY, &pieces);
                assert_eq!(found, expected, "{name}, {len}, {split}");
                assert_eq!(
                    plain(backend, &pieces),
                    expected.0,
                    "{name}, {len}, {split}"
                );
            }
        }
    }
}

#[test]
fn two_messages_go_beside_each_other_from_any_places_in_their_blocks() {
    /// Less than ends a block, just one, some and one more, for any place.
    const LENS: [usize; 8] = [0, 1, 63, 64, 65, 128, 200, 257];
    let (all, others) = (bytes(400), bytes(800).split_off(400));
    let expected: Vec<_> = (0..400).map(|len| reference(KEY, &all[..len])).collect();
    let expected_others: Vec<_> = (0..400)
        .map(|len| reference(KEY, &others[..len]).0)
        .collect();
    for (name, backend) in Backend::all() {
        for number in 0..2 * 64 * 64 {
            let (start, other_start) = (number % 64, number / 64 % 64);
            // Any two lengths meet, each with any place of either.
            let end = start + LENS[(number / 512 + start) % 8];
            let other_end = other_start + LENS[(number / 64 + start / 8) % 8];
            let (mut twin, mut plain) = (TwinSha256::on(backend, KEY), Sha256::on(backend));
            twin.update(&all[..start]);
            plain.update(&others[..other_start]);
            twin.update_beside(
                &all[start..end],
                &mut plain,
                &others[other_start..other_end],
            );
            let Twin { digest, mac } = twin.finish();
            let case = format!("{name}, {start}..{end}, {other_start}..{other_end}");
            assert_eq!((digest, mac), expected[end], "{case}");
            assert_eq!(plain.finish(), expected_others[other_end], "{case}");
        }
    }
}

#[test]
fn single_bytes_and_empty_pieces_agree() {
    let all = bytes(333);
    let mut pieces: Vec<&[u8]> = Vec::new();
    for byte in all.chunks(1) {
        pieces.extend([byte, &[]]);
    }
    for (name, backend) in Backend::all() {
        assert_eq!(twin(backend, KEY, &pieces), reference(KEY, &all), "{name}");
    }
}

#[test]
fn every_length_of_key_agrees() {
    let keys = bytes(200);
    let message = bytes(100);
    for len in 0..=keys.len() {
        let key = &keys[..len];
        for (name, backend) in Backend::all() {
            let found = twin(backend, key, &[&message]);
            assert_eq!(found, reference(key, &message), "{name}, {len}");
        }
    }
}

#[test]
fn the_public_ways_in_take_the_best_backend() {
    let all = bytes(1000);
    let mut twin = TwinSha256::new(KEY);
    let mut plain = Sha256::default();
    for piece in all.chunks(77) {
        twin.update(piece);
        plain.update(piece);
    }
    let Twin { digest, mac } = twin.finish();
    assert_eq!((digest, mac), reference(KEY, &all));
    assert_eq!(plain.finish(), digest);
}

#[test]
fn the_digests_of_nist_come_out() {
    // FIPS 180-4's examples (NIST, "Examples with Intermediate Values") and CAVP's SHA256ShortMsg.rsp.
    let vectors: [(&[u8], &str); 6] = [
        (b"", "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855"),
        (b"abc", "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad"),
        (
            b"abcdbcdecdefdefgefghfghighijhijkijkljklmklmnlmnomnopnopq",
            "248d6a61d20638b8e5c026930c3e6039a33ce45964ff2167f6ecedd419db06c1",
        ),
        (
            b"abcdefghbcdefghicdefghijdefghijkefghijklfghijklmghijklmnhijklmnoijklmnopjklmnopqklmnopqrlmnopqrsmnopqrstnopqrstu",
            "cf5b16a778af8380036ce59e7b0492370b249b11e8f07a51afac45037afee9d1",
        ),
        (&[0xd3], "28969cdfa74a12c82f3bad960b0b000aca2ac329deea5c2328ebc6f2ba9802c1"),
        (
            &[0x11, 0xaf],
            "5ca7133fa735326081558ac312c620eeca9970d1e70a4b95533d956f072d1f98",
        ),
    ];
    for (name, backend) in Backend::all() {
        for (message, digest) in vectors {
            assert_eq!(hex::encode(plain(backend, &[message])), digest, "{name}");
            assert_eq!(
                hex::encode(twin(backend, KEY, &[message]).0),
                digest,
                "{name}"
            );
        }
        let million = vec![b'a'; 1_000_000];
        assert_eq!(
            hex::encode(twin(backend, KEY, &[&million]).0),
            "cdc76e5c9914fb9281a1c7e284d73e67f1809a48a497200e046d39ccc7112cd0",
            "{name}"
        );
    }
}

#[test]
fn the_macs_of_rfc_4231_come_out() {
    // Test cases 1 to 4, 6 and 7; of case 5 the RFC shows the first half only.
    let counting: Vec<u8> = (1..=25).collect();
    let vectors: [(&[u8], &[u8], &str); 7] = [
        (
            &[0x0b; 20],
            b"Hi There",
            "b0344c61d8db38535ca8afceaf0bf12b881dc200c9833da726e9376c2e32cff7",
        ),
        (
            b"Jefe",
            b"what do ya want for nothing?",
            "5bdcc146bf60754e6a042426089575c75a003f089d2739839dec58b964ec3843",
        ),
        (
            &[0xaa; 20],
            &[0xdd; 50],
            "773ea91e36800e46854db8ebd09181a72959098b3ef8c122d9635514ced565fe",
        ),
        (
            &counting,
            &[0xcd; 50],
            "82558a389a443c0ea4cc819899f2083a85f0faa3e578f8077a2e3ff46729665b",
        ),
        (&[0x0c; 20], b"Test With Truncation", "a3b6167473100ee06e0c796c2955552b"),
        (
            &[0xaa; 131],
            b"Test Using Larger Than Block-Size Key - Hash Key First",
            "60e431591ee0b67f0d8a26aacbf5b77f8e0bc6213728c5140546040f0ee37f54",
        ),
        (
            &[0xaa; 131],
            b"This is a test using a larger than block-size key and a larger than block-size data. The key needs to be hashed before being used by the HMAC algorithm.",
            "9b09ffa71b942fcb27635fbcd5b0e944bfdc63644f0713938a7f51535c3a35e2",
        ),
    ];
    for (name, backend) in Backend::all() {
        for (key, message, mac) in vectors {
            let found = hex::encode(twin(backend, key, &[message]).1);
            assert_eq!(found[..mac.len()], *mac, "{name}");
        }
    }
}

/// Lengths of pieces, around one block and of many.
fn cuts() -> impl Strategy<Value = Vec<usize>> {
    prop::collection::vec(prop_oneof![0..150_usize, 0..20_000_usize], 0..12)
}

/// The message in pieces of these lengths, and what is left.
fn cut<'m>(message: &'m [u8], cuts: &[usize]) -> Vec<&'m [u8]> {
    let mut pieces = Vec::new();
    let mut rest = message;
    for cut in cuts {
        let (piece, after) = rest.split_at((*cut).min(rest.len()));
        pieces.push(piece);
        rest = after;
    }
    pieces.push(rest);
    pieces
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(256))]

    #[test]
    fn any_message_in_any_pieces_agrees(
        message in messages(),
        key in prop::collection::vec(any::<u8>(), 0..150),
        cuts in cuts(),
    ) {
        let pieces = cut(&message, &cuts);
        let expected = reference(&key, &message);
        for (name, backend) in Backend::all() {
            prop_assert_eq!(twin(backend, &key, &pieces), expected, "{}", name);
            prop_assert_eq!(plain(backend, &pieces), expected.0, "{}", name);
        }
    }

    #[test]
    fn any_two_messages_in_any_pieces_agree_beside_each_other(
        message in messages(),
        other in messages(),
        cuts in cuts(),
        other_cuts in cuts(),
    ) {
        let (pieces, others) = (cut(&message, &cuts), cut(&other, &other_cuts));
        let (digest, mac) = reference(KEY, &message);
        let expected = (digest, mac, reference(KEY, &other).0);
        for (name, backend) in Backend::all() {
            prop_assert_eq!(beside(backend, &pieces, &others), expected, "{}", name);
        }
    }
}
