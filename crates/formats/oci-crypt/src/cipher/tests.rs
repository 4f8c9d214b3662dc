//! Round trips at every split, and everything that must not verify.

use proptest::prelude::*;

use super::*;

/// Bytes that count up: known keys for known answers. Never outside tests.
struct Counting(u8);

impl Randomness for Counting {
    fn fill(&mut self, buffer: &mut [u8]) -> Result<(), NoRandomness> {
        for byte in buffer {
            *byte = self.0;
            self.0 = self.0.wrapping_add(1);
        }
        Ok(())
    }
}

struct Broken;

impl Randomness for Broken {
    fn fill(&mut self, _: &mut [u8]) -> Result<(), NoRandomness> {
        Err(NoRandomness)
    }
}

fn seal(plain: &[u8], splits: &[usize]) -> (Vec<u8>, Finished) {
    let mut sealer = LayerSealer::new(&mut SystemRandomness).unwrap();
    let ciphertext = run(plain, splits, |input, output| sealer.update(input, output));
    (ciphertext, sealer.finish().unwrap())
}

fn run(
    input: &[u8],
    splits: &[usize],
    mut update: impl FnMut(&[u8], &mut [u8]) -> Result<(), CipherError>,
) -> Vec<u8> {
    let mut output = vec![0; input.len()];
    let mut at = 0_usize;
    for split in splits.iter().copied().chain([usize::MAX]) {
        let end = input.len().min(at.saturating_add(split));
        update(&input[at..end], &mut output[at..end]).unwrap();
        at = end;
    }
    output
}

fn open(ciphertext: &[u8], splits: &[usize], finished: &Finished) -> Result<Vec<u8>, CipherError> {
    let mut opener = LayerOpener::new(&finished.key, &PublicOptions::new(finished.hmac))?;
    let plain = run(ciphertext, splits, |input, output| {
        opener.update(input, output)
    });
    let verified = opener.finish()?;
    assert_eq!(
        verified,
        Verified {
            digest: finished.digest,
            size: finished.size
        }
    );
    Ok(plain)
}

#[test]
fn a_known_layer_has_its_known_ciphertext() {
    // AES-256-CTR and HMAC-SHA256 computed by Python's `cryptography` and `hmac` with key 00..1f and nonce 20..2f.
    let mut sealer = LayerSealer::new(&mut Counting(0)).unwrap();
    let mut ciphertext = [0; 19];
    sealer
        .update(b"The bailiff's word.", &mut ciphertext)
        .unwrap();
    let finished = sealer.finish().unwrap();
    assert_eq!(
        hex::encode(ciphertext),
        "35cef64e2cee797075a79fb4c662d7bbc1d6de"
    );
    assert_eq!(
        hex::encode(finished.hmac),
        "54fbc4ce5ab10a1e07eb43e8712d5501df076f61533b26183eeb6b9b40a1743b"
    );
    assert_eq!(finished.digest, Digest::of(&ciphertext));
    assert_eq!(finished.size, 19);
}

#[test]
fn every_length_around_a_block_survives_every_split() {
    let plain: Vec<u8> = (0..70).collect();
    for len in 0..plain.len() {
        for split in 0..=len {
            let (ciphertext, finished) = seal(&plain[..len], &[split]);
            assert_eq!(
                open(&ciphertext, &[split / 2, 3], &finished).unwrap(),
                &plain[..len],
                "{len} {split}"
            );
        }
    }
}

#[test]
fn two_layers_never_share_a_key() {
    let ((one, first), (two, second)) = (seal(&[0; 64], &[]), seal(&[0; 64], &[]));
    assert_ne!(one, two);
    assert_ne!(first.key.expose_key(), second.key.expose_key());
    assert_ne!(first.key.expose_nonce(), second.key.expose_nonce());
    assert!(LayerSealer::new(&mut Broken).is_err());
}

#[test]
fn every_flipped_bit_is_found() {
    let (ciphertext, finished) = seal(&[0x5a; 40], &[]);
    for bit in 0..ciphertext.len() * 8 {
        let mut flipped = ciphertext.clone();
        flipped[bit / 8] ^= 1 << (bit % 8);
        assert_eq!(
            open(&flipped, &[], &finished),
            Err(CipherError::Altered),
            "{bit}"
        );
        let mut verifier = LayerVerifier::new(&finished.key, &PublicOptions::new(finished.hmac));
        verifier.update(&flipped);
        assert_eq!(verifier.finish(), Err(CipherError::Altered), "{bit}");
    }
}

#[test]
fn a_shorter_a_longer_and_another_layer_are_found() {
    let (ciphertext, finished) = seal(&[1; 40], &[]);
    let (other, _) = seal(&[1; 40], &[]);
    let longer = [ciphertext.as_slice(), &[0]].concat();
    for wrong in [&ciphertext[..39], &[], &longer, &other] {
        assert_eq!(open(wrong, &[], &finished), Err(CipherError::Altered));
    }
}

#[test]
fn what_only_one_half_saw_is_no_layer() {
    let (plain, mut output) = ([7; 100], [0; 100]);
    let mut sealer = LayerSealer::new(&mut SystemRandomness).unwrap();
    sealer.danger_halves().0.apply(&plain, &mut output).unwrap();
    assert!(matches!(
        sealer.finish().map(drop),
        Err(CipherError::Halves {
            cipher: 100,
            tags: 0
        })
    ));
    let (ciphertext, finished) = seal(&plain, &[]);
    let mut opener = LayerOpener::new(&finished.key, &PublicOptions::new(finished.hmac)).unwrap();
    let (mut cipher, mut tags) = opener.danger_halves();
    tags.update(&ciphertext, &mut Sha256::new(), &plain)
        .unwrap();
    assert!(matches!(
        tags.update(&ciphertext, &mut Sha256::new(), &plain[1..]),
        Err(CipherError::Lengths { .. })
    ));
    cipher.apply(&ciphertext[1..], &mut output[1..]).unwrap();
    assert_eq!(
        opener.finish(),
        Err(CipherError::Halves {
            cipher: 99,
            tags: 100
        })
    );
}

#[test]
fn buffers_of_different_length_are_refused() {
    let mut sealer = LayerSealer::new(&mut SystemRandomness).unwrap();
    let refused = sealer.update(&[0; 16], &mut [0; 17]);
    assert_eq!(
        refused,
        Err(CipherError::Lengths {
            input: 16,
            output: 17
        })
    );
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(48))]

    #[test]
    fn any_layer_survives_any_splits(
        len in 0..3 * PIECE + 100,
        seed in any::<u8>(),
        sealing in prop::collection::vec(0..PIECE + 40, 0..6),
        opening in prop::collection::vec(0..PIECE + 40, 0..6),
    ) {
        let plain: Vec<u8> = (0..len).map(|at| (at as u8).wrapping_mul(31) ^ seed).collect();
        let (ciphertext, finished) = seal(&plain, &sealing);
        prop_assert_eq!(Digest::of(&ciphertext), finished.digest);
        prop_assert_eq!(open(&ciphertext, &opening, &finished).unwrap(), plain);
        let mut verifier = LayerVerifier::new(&finished.key, &PublicOptions::new(finished.hmac));
        ciphertext.chunks(1000).for_each(|piece| verifier.update(piece));
        prop_assert!(verifier.finish().is_ok());
    }

    #[test]
    fn both_halves_give_what_the_whole_gives_and_the_digest_of_the_plaintext(
        len in 0..3 * PIECE + 100,
        seed in any::<u8>(),
        sealing in prop::collection::vec(0..PIECE + 40, 0..6),
        opening in prop::collection::vec(0..PIECE + 40, 0..6),
    ) {
        let plain: Vec<u8> = (0..len).map(|at| (at as u8).wrapping_mul(31) ^ seed).collect();
        let mut sealer = LayerSealer::new(&mut SystemRandomness).unwrap();
        let mut beside = Sha256::new();
        let (mut cipher, mut tags) = sealer.danger_halves();
        let ciphertext = run(&plain, &sealing, |input, output| {
            cipher.apply(input, output)?;
            tags.update(output, &mut beside, input)
        });
        let finished = sealer.finish().unwrap();
        prop_assert_eq!(Digest::from_sha256(beside.finish()), Digest::of(&plain));
        prop_assert_eq!(open(&ciphertext, &opening, &finished).unwrap(), plain.clone());
        let public = PublicOptions::new(finished.hmac);
        let mut opener = LayerOpener::new(&finished.key, &public).unwrap();
        let mut beside = Sha256::new();
        let (mut cipher, mut tags) = opener.danger_halves();
        let opened = run(&ciphertext, &opening, |input, output| {
            cipher.apply(input, output)?;
            tags.update(input, &mut beside, output)
        });
        prop_assert_eq!(opener.finish().unwrap().digest, finished.digest);
        prop_assert_eq!(Digest::from_sha256(beside.finish()), Digest::of(&plain));
        prop_assert_eq!(opened, plain);
    }
}
