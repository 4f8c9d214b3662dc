//! What is opened, and what is refused.

use std::{fs, os::unix::fs::PermissionsExt, path::Path};

use server::ports::{KeyRow, Store};
use store::{Create, OpenError, RollbackCheck, SqliteStore, StoreConfig};
use tlog::{Receipt, Signer, leaf_hash};

use crate::testkit::{Place, START, entry, granted, verify};

#[tokio::test]
async fn a_database_that_should_exist_is_never_made() {
    let place = Place::new();
    let error = place
        .try_open(place.config(Create::Existing))
        .await
        .unwrap_err();
    assert!(matches!(error, OpenError::Missing { .. }), "{error}");
    assert!(!place.database().exists());
}

#[tokio::test]
async fn a_log_that_exists_is_never_begun_anew() {
    let place = Place::new();
    let store = place.open(Create::New).await;
    granted(&store, entry("first")).await;
    store.close().await;
    let before = fs::read(place.database()).unwrap();
    let error = place.try_open(place.config(Create::New)).await.unwrap_err();
    assert!(matches!(error, OpenError::Exists { .. }), "{error}");
    let error = place
        .try_open(place.config(Create::NewTenant))
        .await
        .unwrap_err();
    assert!(matches!(error, OpenError::TenantExists { .. }), "{error}");
    assert_eq!(fs::read(place.database()).unwrap(), before);
}

#[tokio::test]
async fn a_new_log_beside_an_old_head_file_is_refused() {
    let place = Place::new();
    let store = place.open(Create::New).await;
    granted(&store, entry("first")).await;
    store.close().await;
    fs::remove_file(place.database()).unwrap();
    let error = place.try_open(place.config(Create::New)).await.unwrap_err();
    assert!(
        matches!(&error, OpenError::Exists { path } if *path == place.head_file()),
        "{error}"
    );
}

#[tokio::test]
async fn a_write_ahead_log_of_another_database_is_not_played_into_a_new_one() {
    let place = Place::new();
    let wal = place.database().with_extension("db-wal");
    fs::write(&wal, "left over").unwrap();
    let error = place.try_open(place.config(Create::New)).await.unwrap_err();
    assert!(
        matches!(&error, OpenError::Exists { path } if *path == wal),
        "{error}"
    );
}

#[tokio::test]
async fn only_the_owner_may_open_the_files() {
    let place = Place::new();
    let store = place.open(Create::New).await;
    granted(&store, entry("first")).await;
    let mode = |path: &Path| fs::metadata(path).unwrap().permissions().mode() & 0o777;
    for path in [
        place.database(),
        place.database().with_extension("db-wal"),
        place.head_file(),
    ] {
        assert_eq!(mode(&path), 0o600, "{}", path.display());
    }
    store.close().await;
    fs::set_permissions(place.database(), fs::Permissions::from_mode(0o640)).unwrap();
    let error = place
        .try_open(place.config(Create::Existing))
        .await
        .unwrap_err();
    assert!(
        matches!(error, OpenError::Permissions { mode: 0o640, .. }),
        "{error}"
    );
}

#[tokio::test]
async fn a_log_goes_on_where_it_ended() {
    let place = Place::new();
    let store = place.open(Create::New).await;
    assert_eq!(store.checkpoint().await, Ok(None));
    let mut answered = Vec::new();
    for _ in 0..7 {
        answered.push(granted(&store, entry("before")).await);
    }
    store.close().await;
    let store = place.open(Create::Existing).await;
    assert_eq!(store.rollback_check(), RollbackCheck::Compared { size: 7 });
    assert_eq!(granted(&store, entry("after")).await.index, 7);
    for commitment in &answered {
        verify(commitment, store.verifier_key());
        let newer =
            Receipt::parse(&store.receipt(commitment.index).await.unwrap().unwrap()).unwrap();
        let verified = newer
            .verify(leaf_hash(&commitment.leaf), store.verifier_key())
            .unwrap();
        assert_eq!(verified.size(), 8);
    }
    assert_eq!(store.audit().await, Ok(vec![]));
    store.close().await;
}

#[tokio::test]
async fn time_never_runs_backwards_in_the_log_even_across_a_restart() {
    let place = Place::new();
    let store = place.open(Create::New).await;
    let time = |leaf: &[u8]| ledger::Leaf::parse(leaf).unwrap().time;
    assert_eq!(time(&granted(&store, entry("a")).await.leaf), START / 1000);
    place.clock.set(START - 60_000);
    assert_eq!(time(&granted(&store, entry("b")).await.leaf), START / 1000);
    store.close().await;
    let store = place.open(Create::Existing).await;
    assert_eq!(time(&granted(&store, entry("c")).await.leaf), START / 1000);
    place.clock.set(START + 5000);
    assert_eq!(
        time(&granted(&store, entry("d")).await.leaf),
        START / 1000 + 5
    );
    store.close().await;
}

#[tokio::test]
async fn a_database_that_was_rolled_back_is_refused() {
    let place = Place::new();
    let store = place.open(Create::New).await;
    granted(&store, entry("first")).await;
    store.close().await;
    let old = fs::read(place.database()).unwrap();
    let store = place.open(Create::Existing).await;
    granted(&store, entry("second")).await;
    store.close().await;
    fs::write(place.database(), old).unwrap();
    let error = place
        .try_open(place.config(Create::Existing))
        .await
        .unwrap_err();
    assert!(
        matches!(
            error,
            OpenError::RolledBack {
                head_file: 2,
                database: 1
            }
        ),
        "{error}"
    );
}

#[tokio::test]
async fn another_log_of_the_same_length_is_refused() {
    let (place, other) = (Place::new(), Place::new());
    for place in [&place, &other] {
        let store = place.open(Create::New).await;
        granted(&store, entry("first")).await;
        store.close().await;
    }
    fs::copy(other.database(), place.database()).unwrap();
    let error = place
        .try_open(place.config(Create::Existing))
        .await
        .unwrap_err();
    assert!(
        matches!(
            error,
            OpenError::RolledBack {
                head_file: 1,
                database: 1
            }
        ),
        "{error}"
    );
}

#[tokio::test]
async fn without_a_head_file_a_rollback_is_said_to_be_unchecked() {
    let place = Place::new();
    let store = place.open(Create::New).await;
    granted(&store, entry("first")).await;
    store.close().await;
    assert_eq!(store.rollback_warning().await, Ok(None));
    for remains in [None, Some("")] {
        fs::remove_file(place.head_file()).unwrap();
        if let Some(text) = remains {
            fs::write(place.head_file(), text).unwrap();
        }
        let store = place.open(Create::Existing).await;
        assert_eq!(store.rollback_check(), RollbackCheck::Unchecked);
        assert!(
            store
                .rollback_warning()
                .await
                .unwrap()
                .is_some_and(|text| text.contains("unchecked"))
        );
        granted(&store, entry("next")).await;
        store.close().await;
        assert!(
            fs::read_to_string(place.head_file())
                .unwrap()
                .starts_with("hospital.example/log\n")
        );
    }
}

#[tokio::test]
async fn a_head_file_that_nobody_signed_is_refused() {
    let place = Place::new();
    place.open(Create::New).await.close().await;
    fs::write(place.head_file(), "hospital.example/log\n0\nx\n").unwrap();
    let error = place
        .try_open(place.config(Create::Existing))
        .await
        .unwrap_err();
    assert!(matches!(error, OpenError::HeadFile { .. }), "{error}");
}

#[tokio::test]
async fn another_key_can_not_go_on_with_the_log() {
    let place = Place::new();
    place.open(Create::New).await.close().await;
    let other = Signer::from_seed("hospital.example/log", &[8; 32]).unwrap();
    let error = SqliteStore::open(place.config(Create::Existing), other, place.clock.clone())
        .await
        .unwrap_err();
    assert!(matches!(error, OpenError::OtherKey { .. }), "{error}");
}

#[tokio::test]
async fn a_newer_schema_is_refused() {
    let place = Place::new();
    place.open(Create::New).await.close().await;
    place
        .edit("INSERT INTO _sqlx_migrations (version, description, success, checksum, execution_time) VALUES (9999, 'newer', 1, x'00', 0)")
        .await;
    let error = place
        .try_open(place.config(Create::Existing))
        .await
        .unwrap_err();
    assert!(
        matches!(error, OpenError::NewerSchema { found: 9999 }),
        "{error}"
    );
}

#[tokio::test]
async fn a_log_that_does_not_fit_its_checkpoint_is_not_continued() {
    for edit in [
        "UPDATE stored_hash SET hash = zeroblob(32) WHERE idx = 2",
        "UPDATE head SET root = zeroblob(32)",
        "UPDATE head SET size = 1",
        "UPDATE head SET checkpoint = NULL",
        "DELETE FROM leaf WHERE idx = 1",
    ] {
        let place = Place::new();
        let store = place.open(Create::New).await;
        granted(&store, entry("first")).await;
        granted(&store, entry("second")).await;
        store.close().await;
        place.edit(edit).await;
        let error = place
            .try_open(place.config(Create::Existing))
            .await
            .unwrap_err();
        assert!(matches!(error, OpenError::Corrupt(_)), "{edit}: {error}");
    }
}

#[tokio::test]
async fn tenants_see_nothing_of_each_other() {
    let place = Place::new();
    let one = place.open(Create::New).await;
    let config = |create| StoreConfig {
        tenant: "clinic".parse().unwrap(),
        head_file: None,
        ..place.config(create)
    };
    let error = place.try_open(config(Create::Existing)).await.unwrap_err();
    assert!(matches!(error, OpenError::UnknownTenant { .. }), "{error}");
    let key = Signer::from_seed("clinic.example/log", &[9; 32]).unwrap();
    let two = SqliteStore::open(config(Create::NewTenant), key, place.clock.clone())
        .await
        .unwrap();
    use crate::testkit::{doing, guarded, node, node_name};
    use ledger::{Effect, Guard};
    granted(&one, doing("attest", Effect::Node(Box::new(node(3))))).await;
    granted(&one, entry("one")).await;
    assert_eq!(
        granted(&two, guarded("two", Guard::NodeAt(node_name(), None)))
            .await
            .index,
        0
    );
    assert_eq!(two.nodes().await, Ok(vec![]));
    assert_eq!(two.entry(1).await, Ok(None));
    assert_eq!(one.search(Default::default()).await.unwrap().len(), 2);
    for store in [&one, &two] {
        assert_eq!(store.audit().await, Ok(vec![]));
        store.close().await;
    }
}

#[tokio::test]
async fn wrapped_keys_can_be_read_before_the_log_is_open_and_are_never_replaced() {
    let place = Place::new();
    let store = place.open(Create::New).await;
    let key = KeyRow {
        purpose: "log".into(),
        name: String::new(),
        algorithm: "ed25519".into(),
        public: vec![1],
        wrapped: vec![2],
        created: estate::Timestamp::from_millis(START),
    };
    assert_eq!(store.put_key(key.clone()).await, Ok(key.clone()));
    let other = KeyRow {
        wrapped: vec![9],
        ..key.clone()
    };
    assert_eq!(store.put_key(other).await, Ok(key.clone()));
    assert_eq!(store.key("log", "").await, Ok(Some(key.clone())));
    assert_eq!(store.key("ca", "").await, Ok(None));
    store.close().await;
    let keys = SqliteStore::keys_of(&place.config(Create::Existing))
        .await
        .unwrap();
    assert_eq!(keys, vec![key]);
}
