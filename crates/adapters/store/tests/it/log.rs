//! The log read back: search, proofs, tiles.

use ledger::{Disclosure, Leaf};
use serde_json::json;
use server::ports::{Search, Store};
use store::{Create, SqliteStore};
use tlog::{Bundle, Checkpoint, Hash, Note, Receipt, leaf_hash, verify_consistency};

use crate::testkit::{Place, Random, START, entry, granted, together};

fn by(fields: &[(&str, &str)]) -> Search {
    let fields = fields
        .iter()
        .map(|(name, value)| ((*name).to_owned(), (*value).to_owned()))
        .collect();
    Search {
        fields,
        ..Search::default()
    }
}

async fn found(store: &SqliteStore, search: Search) -> Vec<u64> {
    store
        .search(search)
        .await
        .unwrap()
        .iter()
        .map(|entry| entry.index)
        .collect()
}

#[tokio::test]
async fn a_search_finds_what_was_disclosed_newest_first() {
    let place = Place::new();
    let store = place.open(Create::New).await;
    for (at, what) in ["a", "b", "a", "c"].into_iter().enumerate() {
        place.clock.set(START + 10_000 * at as i64);
        let mut entry = entry(what);
        entry.granted =
            entry
                .granted
                .with("level", 2, &Random)
                .with("rules", json!(["r1"]), &Random);
        granted(&store, entry).await;
    }
    assert_eq!(found(&store, Search::default()).await, [3, 2, 1, 0]);
    assert_eq!(found(&store, by(&[("what", "a")])).await, [2, 0]);
    assert_eq!(
        found(&store, by(&[("level", "2"), ("what", "c")])).await,
        [3]
    );
    assert_eq!(found(&store, by(&[("rules", "[\"r1\"]")])).await.len(), 4);
    assert_eq!(
        found(&store, by(&[("what", "a' OR '1'='1")])).await,
        [] as [u64; 0]
    );
    assert_eq!(
        found(
            &store,
            Search {
                limit: 1,
                ..by(&[("what", "a")])
            }
        )
        .await,
        [2]
    );
    let middle = Search {
        since: Some(START / 1000 + 10),
        until: Some(START / 1000 + 30),
        ..Search::default()
    };
    assert_eq!(found(&store, middle).await, [2, 1]);
    store.close().await;
}

#[tokio::test]
async fn a_search_walks_through_more_than_a_page() {
    let place = Place::new();
    let store = place.open(Create::New).await;
    let mut entries = vec![entry("needle")];
    entries.extend((0..600).map(|_| entry("hay")));
    for answer in together(&store, entries).await {
        answer.unwrap();
    }
    assert_eq!(
        found(&store, by(&[("outcome", "granted"), ("what", "needle")])).await,
        [0]
    );
    assert_eq!(
        found(
            &store,
            Search {
                limit: 5000,
                ..by(&[("what", "hay")])
            }
        )
        .await
        .len(),
        600
    );
    assert_eq!(found(&store, Search::default()).await.len(), 100);
    store.close().await;
}

#[tokio::test]
async fn a_search_finds_values_that_the_index_does_not_hold() {
    let place = Place::new();
    let store = place.open(Create::New).await;
    let long = |end: &str| "é".repeat(500) + end;
    for end in ["a", "b"] {
        let mut entry = entry("leaf");
        entry.granted = entry
            .granted
            .with("request", format!("sha256:{end}"), &Random)
            .with("args", long(end), &Random);
        granted(&store, entry).await;
    }
    assert_eq!(found(&store, by(&[("request", "sha256:b")])).await, [1]);
    assert_eq!(found(&store, by(&[("args", &long("a"))])).await, [0]);
    assert_eq!(
        found(&store, by(&[("args", &long(""))])).await,
        [] as [u64; 0]
    );
    assert_eq!(store.audit().await, Ok(vec![]));
    store.close().await;
}

#[tokio::test]
async fn odd_values_come_back_as_they_went_in() {
    let place = Place::new();
    let store = place.open(Create::New).await;
    let odd = [
        "",
        "quote \" ' \\",
        "nul \0 within",
        "line\nbreak",
        "ключ 🔑",
        "{\"json\":1}",
        "12",
        "null",
    ];
    for value in odd {
        granted(&store, entry(value)).await;
    }
    for (index, value) in odd.iter().enumerate() {
        assert_eq!(
            found(&store, by(&[("what", value)])).await,
            [index as u64],
            "{value:?}"
        );
        let entry = store.entry(index as u64).await.unwrap().unwrap();
        let disclosed: Vec<Disclosure> = Leaf::parse(entry.leaf.as_bytes())
            .unwrap()
            .disclose(&entry.disclosures)
            .unwrap();
        assert_eq!(disclosed[2].value, json!(value));
    }
    assert_eq!(store.audit().await, Ok(vec![]));
    store.close().await;
}

#[tokio::test]
async fn every_receipt_and_consistency_proof_verifies() {
    let place = Place::new();
    let store = place.open(Create::New).await;
    assert_eq!(store.receipt(0).await, Ok(None));
    let mut roots = vec![tlog::empty_root()];
    for _ in 0..20 {
        granted(&store, entry("leaf")).await;
        roots.push(newest(&store).await.root());
    }
    for index in 0..20 {
        let leaf = store.entry(index).await.unwrap().unwrap().leaf;
        let receipt = Receipt::parse(&store.receipt(index).await.unwrap().unwrap()).unwrap();
        let verified = receipt
            .verify(leaf_hash(leaf.as_bytes()), store.verifier_key())
            .unwrap();
        assert_eq!((verified.index(), verified.size()), (index, 20));
    }
    for (old, root) in roots.iter().enumerate() {
        let (proof, checkpoint) = store.consistency(old as u64).await.unwrap().unwrap();
        assert_eq!(checkpoint, store.checkpoint().await.unwrap().unwrap());
        let proof: Vec<Hash> = proof.into_iter().map(Hash::from_bytes).collect();
        verify_consistency(&proof, old as u64, 20, *root, roots[20]).unwrap();
    }
    assert_eq!(store.receipt(20).await, Ok(None));
    assert_eq!(store.consistency(21).await, Ok(None));
    store.close().await;
}

#[tokio::test]
async fn tiles_and_bundles_fit_each_other_and_end_with_the_tree() {
    let place = Place::new();
    let store = place.open(Create::New).await;
    for answer in together(&store, (0..300).map(|_| entry("leaf")).collect()).await {
        answer.unwrap();
    }
    for (index, width) in [(0, 256), (1, 44), (1, 10)] {
        let tile = store.tile(Some(0), index, width).await.unwrap().unwrap();
        let entries = store.tile(None, index, width).await.unwrap().unwrap();
        assert!(
            Bundle::new(index, width)
                .unwrap()
                .matches(&entries, &tile)
                .unwrap()
        );
    }
    let top = store.tile(Some(1), 0, 1).await.unwrap().unwrap();
    assert_eq!(top.len(), 32);
    for (level, index, width) in [
        (Some(0), 1, 45),
        (None, 1, 45),
        (Some(1), 0, 2),
        (Some(2), 0, 1),
        (Some(0), 0, 0),
        (None, 0, 257),
        (Some(9), 0, 1),
        (Some(0), u64::MAX, 1),
        (None, u64::MAX, 1),
    ] {
        assert_eq!(
            store.tile(level, index, width).await,
            Ok(None),
            "{level:?} {index} {width}"
        );
    }
    store.close().await;
}

async fn newest(store: &SqliteStore) -> tlog::VerifiedCheckpoint {
    let note = Note::parse(&store.checkpoint().await.unwrap().unwrap()).unwrap();
    Checkpoint::open(&note, store.verifier_key()).unwrap()
}
