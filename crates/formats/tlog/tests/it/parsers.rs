//! Every parser meets hostile input: it answers, and what it accepts it writes back as it was.

use proptest::prelude::*;
use tlog::{
    Bundle, Checkpoint, Hash, Note, Receipt, Signer, Tile, VerifierKey, leaf_hash, node_hash,
};

fn signer() -> Signer {
    Signer::from_seed("log.example/x", &[9; 32]).unwrap()
}

fn receipt() -> Receipt {
    let (first, second) = (leaf_hash(b"first"), leaf_hash(b"second"));
    let checkpoint = Checkpoint::new("log.example/x", 2, node_hash(first, second)).unwrap();
    Receipt::new(1, vec![first], checkpoint.sign(&signer()).unwrap()).with_extra(vec![1, 2, 3])
}

/// A text one edit away from `good`: a character removed, doubled or replaced.
fn edited(good: String) -> impl Strategy<Value = String> {
    let length = good.chars().count();
    let replacement = prop::sample::select(vec![
        ' ', '\n', '\r', '+', '—', '0', 'x', '/', '=', '\u{0}', '\u{2028}',
    ]);
    (0..length, 0..3u8, replacement).prop_map(move |(at, kind, with)| {
        let mut chars: Vec<char> = good.chars().collect();
        match kind {
            0 => drop(chars.remove(at)),
            1 => chars.insert(at, chars[at]),
            _ => chars[at] = with,
        }
        chars.into_iter().collect()
    })
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(2000))]

    #[test]
    fn any_text_is_read_as_written_or_refused(text in "\\PC{0,40}|(.|\n){0,200}") {
        if let Ok(hash) = text.parse::<Hash>() { prop_assert_eq!(hash.to_string(), &*text); }
        if let Ok(key) = text.parse::<VerifierKey>() { prop_assert_eq!(key.to_string(), &*text); }
        if let Ok(tile) = text.parse::<Tile>() { prop_assert_eq!(tile.to_string(), &*text); }
        if let Ok(bundle) = text.parse::<Bundle>() { prop_assert_eq!(bundle.to_string(), &*text); }
        if let Ok(note) = Note::parse(&text) { prop_assert_eq!(note.to_string(), &*text); }
        if let Ok(checkpoint) = Checkpoint::parse(&text) { prop_assert_eq!(checkpoint.to_text(), &*text); }
        if let Ok(receipt) = Receipt::parse(&text) { prop_assert_eq!(receipt.to_text(), &*text); }
    }

    #[test]
    fn an_edited_receipt_is_read_as_written_or_refused(text in edited(receipt().to_text())) {
        prop_assume!(text != receipt().to_text());
        if let Ok(read) = Receipt::parse(&text) {
            prop_assert_eq!(read.to_text(), text);
            // Nothing vouches for the extra data; all else is either signed, hashed or counted.
            let unchanged = Receipt::new(read.index(), read.proof().to_vec(), read.checkpoint().clone());
            let original = receipt();
            let accepted = read.verify(leaf_hash(b"second"), &signer().verifier_key()).is_ok();
            prop_assert_eq!(accepted, unchanged == Receipt::new(1, original.proof().to_vec(), original.checkpoint().clone()));
        }
    }

    #[test]
    fn an_edited_key_is_refused(text in edited(signer().verifier_key().to_string())) {
        prop_assume!(text != signer().verifier_key().to_string());
        prop_assert!(text.parse::<VerifierKey>().is_err());
    }

    #[test]
    fn tile_paths_survive_the_round_trip(level in 0..8u8, index in 0..1u64 << 40, width in 1..=256u16) {
        if let Ok(tile) = Tile::new(level, index, width) {
            prop_assert_eq!(tile.to_string().parse(), Ok(tile));
            prop_assert!(tile.indexes().iter().all(|index| *index < u64::MAX));
        }
    }

    #[test]
    fn tile_like_paths_have_one_spelling(path in "tile/(entries|[0-9]{1,2})/(x?[0-9]{1,4}/){0,7}[0-9]{1,4}(\\.p/[0-9]{1,4})?") {
        if let Ok(tile) = path.parse::<Tile>() { prop_assert_eq!(tile.to_string(), &*path); }
        if let Ok(bundle) = path.parse::<Bundle>() { prop_assert_eq!(bundle.to_string(), &*path); }
    }

    #[test]
    fn any_bundle_is_read_as_written_or_refused(bytes in prop::collection::vec(0..4u8, 0..60), width in 1..=256u16) {
        let bundle = Bundle::new(0, width).unwrap();
        if let Ok(entries) = bundle.decode(&bytes) { prop_assert_eq!(bundle.encode(&entries).unwrap(), bytes); }
    }

    #[test]
    fn bundles_survive_the_round_trip(entries in prop::collection::vec(prop::collection::vec(any::<u8>(), 0..300), 1..20)) {
        let bundle = Bundle::new(7, entries.len() as u16).unwrap();
        let bytes = bundle.encode(&entries).unwrap();
        prop_assert_eq!(bundle.decode(&bytes).unwrap(), entries);
    }
}
