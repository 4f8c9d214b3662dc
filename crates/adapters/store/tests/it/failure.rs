//! A database that fails in the middle.

use ledger::{Journal, JournalError};
use server::ports::Store;
use store::{Create, Recorded};

use crate::testkit::{Place, entry, granted, together, verify};

const FAIL_BEFORE: &str =
    "CREATE TRIGGER fail BEFORE UPDATE ON head BEGIN SELECT RAISE(ABORT, 'disk full'); END";
// A deferred constraint is judged by COMMIT itself.
const FAIL_AT_COMMIT: &str = "
    CREATE TABLE parent (id INTEGER PRIMARY KEY);
    CREATE TABLE child (id INTEGER REFERENCES parent (id) DEFERRABLE INITIALLY DEFERRED);
    CREATE TRIGGER fail AFTER UPDATE ON head BEGIN INSERT INTO child VALUES (1); END";

#[tokio::test]
async fn what_was_not_written_is_unavailable_and_the_log_goes_on_afterwards() {
    let place = Place::new();
    let store = place.open(Create::New).await;
    granted(&store, entry("first")).await;
    place.edit(FAIL_BEFORE).await;
    for answer in together(&store, vec![entry("a"), entry("b")]).await {
        assert!(
            matches!(answer, Err(JournalError::Unavailable(_))),
            "{answer:?}"
        );
    }
    place.edit("DROP TRIGGER fail").await;
    let next = granted(&store, entry("second")).await;
    assert_eq!(next.index, 1);
    verify(&next, store.verifier_key());
    assert_eq!(store.audit().await, Ok(vec![]));
    store.close().await;
}

#[tokio::test]
async fn a_commit_that_fails_is_uncertain_and_can_be_looked_up() {
    let place = Place::new();
    let store = place.open(Create::New).await;
    let first = entry("first");
    let first_id = first.id;
    granted(&store, first).await;
    place.edit(FAIL_AT_COMMIT).await;
    let lost = entry("lost");
    let lost_id = lost.id;
    assert_eq!(store.append(lost).await, Err(JournalError::Uncertain));
    place.edit("DROP TRIGGER fail").await;
    assert_eq!(store.recorded(lost_id).await, Ok(None));
    assert_eq!(
        store.recorded(first_id).await,
        Ok(Some(Recorded {
            index: 0,
            granted: true
        }))
    );
    let next = granted(&store, entry("second")).await;
    assert_eq!(next.index, 1);
    verify(&next, store.verifier_key());
    assert_eq!(store.audit().await, Ok(vec![]));
    store.close().await;
}

#[tokio::test]
async fn two_processes_on_one_database_do_not_fork_the_log() {
    let place = Place::new();
    let one = place.open(Create::New).await;
    let two = place.open(Create::Existing).await;
    for (index, store) in [&one, &two, &two, &one, &two].into_iter().enumerate() {
        let commitment = granted(store, entry("in turn")).await;
        assert_eq!(commitment.index, index as u64);
        verify(&commitment, store.verifier_key());
    }
    assert_eq!(one.audit().await, Ok(vec![]));
    one.close().await;
    two.close().await;
}

#[tokio::test]
async fn a_closed_store_refuses() {
    let place = Place::new();
    let store = place.open(Create::New).await;
    let waiting = store.append(entry("waiting"));
    let (answer, ()) = futures::join!(waiting, store.close());
    assert!(answer.is_ok(), "what waited is written: {answer:?}");
    assert!(matches!(
        store.append(entry("late")).await,
        Err(JournalError::Unavailable(_))
    ));
}

#[test]
fn a_run_time_that_ends_in_the_middle_keeps_every_answer() {
    let place = Place::new();
    let answered = std::sync::Arc::new(std::sync::Mutex::new(Vec::new()));
    for round in 0..5 {
        let runtime = tokio::runtime::Builder::new_multi_thread()
            .worker_threads(2)
            .enable_all()
            .build()
            .unwrap();
        let create = if round == 0 {
            Create::New
        } else {
            Create::Existing
        };
        let store = std::sync::Arc::new(runtime.block_on(place.open(create)));
        let before = answered.lock().unwrap().len();
        for _ in 0..8 {
            let (store, answered) = (store.clone(), answered.clone());
            runtime.spawn(async move {
                while let Ok(written) = store.append(entry("under load")).await {
                    answered
                        .lock()
                        .unwrap()
                        .push(crate::testkit::commitment(&written).clone());
                }
            });
        }
        while answered.lock().unwrap().len() < before + 40 {
            std::thread::yield_now();
        }
        // Every task, the writer too, is dropped at whatever it awaits.
        runtime.shutdown_background();
    }
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .unwrap();
    runtime.block_on(async {
        let store = place.open(Create::Existing).await;
        let answered = std::mem::take(&mut *answered.lock().unwrap());
        for commitment in &answered {
            verify(commitment, store.verifier_key());
            let entry = store.entry(commitment.index).await.unwrap().unwrap();
            assert_eq!(entry.leaf.as_bytes(), commitment.leaf);
        }
        assert_eq!(store.audit().await, Ok(vec![]));
        store.close().await;
    });
}
