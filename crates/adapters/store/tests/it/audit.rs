//! One byte changed anywhere is found and named.

use server::ports::{Discrepancy, Store};
use store::Create;

use crate::testkit::{Place, applying, entry, granted, rejecting, signing, submitting};

/// What an audit says of a log of five leaves after `edit`.
async fn after(edit: &str) -> Vec<Discrepancy> {
    let place = Place::new();
    let store = place.open(Create::New).await;
    for at in 0..5 {
        granted(&store, entry(&format!("number {at}"))).await;
    }
    assert_eq!(store.audit().await, Ok(vec![]));
    place.edit(edit).await;
    let found = store.audit().await.unwrap();
    store.close().await;
    assert!(!found.is_empty(), "not found: {edit}");
    found
}

fn names(found: &[Discrepancy], index: u64, what: &str) -> bool {
    found
        .iter()
        .any(|found| found.index == Some(index) && found.what.contains(what))
}

#[tokio::test]
async fn a_changed_leaf_is_found() {
    for edit in [
        "UPDATE leaf SET leaf = CAST(replace(CAST(leaf AS TEXT), '\"v\":1', '\"v\":2') AS BLOB) WHERE idx = 3",
        "UPDATE leaf SET leaf = CAST(replace(CAST(leaf AS TEXT), '\"time\":18', '\"time\":19') AS BLOB) WHERE idx = 3",
        "UPDATE leaf SET leaf = x'00' WHERE idx = 3",
        "UPDATE leaf SET leaf = leaf || ' ' WHERE idx = 3",
    ] {
        let found = after(edit).await;
        assert!(names(&found, 3, "stored hash"), "{edit}: {found:?}");
        assert!(
            found.iter().any(|found| found.what.contains("root")),
            "{edit}: {found:?}"
        );
    }
}

#[tokio::test]
async fn a_changed_time_beside_a_leaf_is_found() {
    assert!(names(
        &after("UPDATE leaf SET time = time + 1 WHERE idx = 2").await,
        2,
        "time"
    ));
    assert!(!after("UPDATE head SET time = 0").await.is_empty());
}

#[tokio::test]
async fn a_changed_disclosure_is_found() {
    let swapped = "UPDATE disclosure SET encoded = (SELECT encoded FROM disclosure o WHERE o.leaf = 1 AND o.position = 2)
        WHERE leaf = 2 AND position = 2";
    assert!(names(&after(swapped).await, 2, "disclosure"));
    let flipped =
        "UPDATE disclosure SET encoded = 'X' || substr(encoded, 2) WHERE leaf = 4 AND position = 0";
    assert!(names(&after(flipped).await, 4, "disclosure"));
}

#[tokio::test]
async fn a_changed_search_column_is_found() {
    let renamed = "UPDATE disclosure SET value = 'number 9' WHERE leaf = 1 AND name = 'what'";
    assert!(names(&after(renamed).await, 1, "`what`"));
}

#[tokio::test]
async fn a_changed_stored_hash_is_found() {
    for idx in 0..8 {
        let edit =
            format!("UPDATE stored_hash SET hash = x'00' || substr(hash, 2) WHERE idx = {idx}");
        let found = after(&edit).await;
        assert!(
            found
                .iter()
                .any(|found| found.what.contains(&format!("stored hash {idx} "))),
            "{found:?}"
        );
    }
    assert!(
        !after("DELETE FROM stored_hash WHERE idx = 2")
            .await
            .is_empty()
    );
}

#[tokio::test]
async fn a_changed_checkpoint_is_found() {
    for edit in [
        "UPDATE head SET checkpoint = replace(checkpoint, char(10) || '5' || char(10), char(10) || '4' || char(10))",
        "UPDATE head SET checkpoint = NULL",
        "UPDATE head SET checkpoint = substr(checkpoint, 1, length(checkpoint) - 6) || 'AAAA=' || char(10)",
        "UPDATE head SET root = zeroblob(32)",
        "UPDATE head SET size = 6",
    ] {
        let found = after(edit).await;
        assert!(
            found.iter().all(|found| found.index.is_none()),
            "{edit}: {found:?}"
        );
    }
}

#[tokio::test]
async fn removed_and_added_rows_are_found() {
    assert!(names(
        &after("DELETE FROM leaf WHERE idx = 2").await,
        2,
        "missing"
    ));
    assert!(
        !after("DELETE FROM leaf WHERE idx = 4").await.is_empty(),
        "the end of the log"
    );
    let added =
        "INSERT INTO leaf SELECT tenant, 5, x'aa', granted, time, leaf FROM leaf WHERE idx = 4";
    assert!(!after(added).await.is_empty());
    let stray = "INSERT INTO disclosure SELECT tenant, 77, position, encoded, name, value FROM disclosure WHERE leaf = 0";
    assert!(names(&after(stray).await, 77, "not there"));
    assert!(
        !after("INSERT INTO stored_hash SELECT tenant, 99, hash FROM stored_hash WHERE idx = 0")
            .await
            .is_empty()
    );
    assert!(
        !after(
            "INSERT INTO leaf SELECT tenant, -1, x'bb', granted, time, leaf FROM leaf WHERE idx = 4"
        )
        .await
        .is_empty()
    );
}

#[tokio::test]
async fn an_erased_disclosure_is_no_discrepancy() {
    let place = Place::new();
    let store = place.open(Create::New).await;
    granted(&store, entry("a person's name")).await;
    place
        .edit("DELETE FROM disclosure WHERE leaf = 0 AND name = 'what'")
        .await;
    assert_eq!(store.audit().await, Ok(vec![]));
    assert_eq!(store.entry(0).await.unwrap().unwrap().disclosures.len(), 2);
    store.close().await;
}

/// What an audit says of a rejected, an applied, a void and a waiting change after `edit`.
async fn changes_after(edit: &str) -> Vec<String> {
    let place = Place::new();
    let store = place.open(Create::New).await;
    for number in 1..=3 {
        granted(&store, submitting(number)).await;
    }
    granted(&store, rejecting(1)).await;
    granted(&store, signing(2, 1)).await;
    granted(&store, applying(1, 2)).await;
    granted(&store, submitting(4)).await;
    assert_eq!(store.audit().await, Ok(vec![]));
    place.edit(edit).await;
    let found = store.audit().await.unwrap();
    store.close().await;
    found.into_iter().map(|found| found.what).collect()
}

#[tokio::test]
async fn a_changed_change_or_version_is_found() {
    for (edit, what) in [
        (
            "UPDATE change SET state = 'waiting' WHERE number = 1",
            "change 1 stands otherwise",
        ),
        (
            "UPDATE change SET state = 'rejected' WHERE number = 4",
            "change 4 stands otherwise",
        ),
        (
            "UPDATE change SET state = 'applied', version = 2 WHERE number = 4",
            "change 4 stands otherwise",
        ),
        (
            "UPDATE change SET state = 'waiting' WHERE number = 3",
            "change 3 stands otherwise",
        ),
        (
            "UPDATE change SET state = 'expired' WHERE number = 3",
            "can't be read",
        ),
        (
            "UPDATE change SET version = 7 WHERE number = 2",
            "change 2 stands otherwise",
        ),
        (
            "UPDATE change SET record = replace(record, 'null', '\"eve@evil.example\"') WHERE number = 4",
            "change 4 has a record",
        ),
        (
            "UPDATE change SET record = json_set(record, '$.signatures', json('[]')) WHERE number = 2",
            "change 2 has other signatures",
        ),
        (
            "UPDATE change SET record = replace(record, 'person0', 'person7') WHERE number = 2",
            "change 2 has other signatures",
        ),
        (
            "UPDATE change SET hash = (SELECT hash FROM change WHERE number = 1) WHERE number = 4",
            "change 4 is not the one",
        ),
        (
            "UPDATE change SET leaf = 0 WHERE number = 4",
            "change 4 is not the one",
        ),
        ("DELETE FROM change WHERE number = 3", "change 3 is missing"),
        ("DELETE FROM estate", "version 1 of the estate is missing"),
        (
            "UPDATE estate SET version = 2",
            "version 2 of the estate is not the one",
        ),
        (
            "UPDATE estate SET number = 3",
            "version 1 of the estate is not the one",
        ),
        (
            "UPDATE estate SET hash = change",
            "version 1 of the estate is not the one",
        ),
        (
            "INSERT INTO change SELECT tenant, 9, leaf, hash, record, files, submitted_by, at, expires, state, version FROM change WHERE number = 4",
            "change 9 was submitted by no leaf",
        ),
    ] {
        let found = changes_after(edit).await;
        assert!(
            found.iter().any(|found| found.contains(what)),
            "{edit}: {found:?}"
        );
    }
}
