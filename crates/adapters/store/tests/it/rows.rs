//! What effects wrote is what is read back.

use estate::{ChangeId, Digest, EstateHash, PolicyVersion, Timestamp};
use ledger::{
    Effect,
    rows::{
        ChangeRow, ChangeState, EstateRow, LeaseOutcome, LeaseRow, SecretRow, SerialRow,
        StoredChange,
    },
};
use server::ports::Store;
use store::Create;

use crate::testkit::{Place, START, doing, granted, lease, node, node_name};

#[tokio::test]
async fn a_node_is_replaced_quoted_and_banned() {
    let place = Place::new();
    let store = place.open(Create::New).await;
    assert_eq!(store.node(&node_name()).await, Ok(None));
    granted(&store, doing("attest", Effect::Node(Box::new(node(1))))).await;
    assert_eq!(store.node(&node_name()).await, Ok(Some(node(1))));
    granted(&store, doing("attest", Effect::Node(Box::new(node(2))))).await;
    let at = Timestamp::from_millis(START + 9);
    granted(&store, doing("quote", Effect::Quoted(node_name(), at, 6))).await;
    let mut quoted = node(2);
    (quoted.quoted_at, quoted.reset_count) = (Some(at), 6);
    assert_eq!(store.nodes().await, Ok(vec![quoted.clone()]));
    granted(&store, doing("ban", Effect::Banned(node_name()))).await;
    (quoted.banned, quoted.epoch) = (true, estate::Epoch(3));
    assert_eq!(store.node(&node_name()).await, Ok(Some(quoted)));
    store.close().await;
}

#[tokio::test]
async fn a_lease_is_named_after_its_leaf_and_ends_with_a_ban() {
    let place = Place::new();
    let store = place.open(Create::New).await;
    granted(&store, doing("attest", Effect::Node(Box::new(node(1))))).await;
    let leaf = granted(&store, doing("lease", Effect::Lease(lease(START + 100))))
        .await
        .index;
    let id = lease(0).id(leaf).parse().unwrap();
    let pending = LeaseRow {
        id: lease(0).id(leaf).parse().unwrap(),
        leaf,
        credential: lease(0).credential,
        dataset: lease(0).dataset,
        database: lease(0).database,
        role: "bw_1_medical_records".into(),
        node: node_name(),
        image: lease(0).image,
        expires: Timestamp::from_millis(START + 100),
        outcome: None,
    };
    assert_eq!(store.lease(&id).await, Ok(Some(pending.clone())));
    granted(&store, doing("ban", Effect::Banned(node_name()))).await;
    let ending = LeaseRow {
        outcome: Some(LeaseOutcome::Ending),
        ..pending
    };
    assert_eq!(store.leases(true).await, Ok(vec![ending.clone()]));
    granted(
        &store,
        doing("end", Effect::LeaseMoved(id, LeaseOutcome::Ended)),
    )
    .await;
    assert_eq!(store.leases(true).await, Ok(vec![]));
    assert_eq!(
        store.leases(false).await,
        Ok(vec![LeaseRow {
            outcome: Some(LeaseOutcome::Ended),
            ..ending
        }])
    );
    store.close().await;
}

#[tokio::test]
async fn leases_are_due_when_ending_over_or_left_pending() {
    let place = Place::new();
    let store = place.open(Create::New).await;
    let late = START + 1_000_000;
    let mut leaves = Vec::new();
    for (made, expires) in [
        (START, late),
        (START, START + 50),
        (START, late),
        (START + 100, late),
    ] {
        place.clock.set(made);
        leaves.push(
            granted(&store, doing("lease", Effect::Lease(lease(expires))))
                .await
                .index,
        );
    }
    let id = |at: usize| lease(0).id(leaves[at]).parse().unwrap();
    granted(
        &store,
        doing("grant", Effect::LeaseMoved(id(0), LeaseOutcome::Granted)),
    )
    .await;
    granted(
        &store,
        doing("grant", Effect::LeaseMoved(id(1), LeaseOutcome::Granted)),
    )
    .await;
    let due = async |now: i64, before: i64| {
        let due = store
            .leases_due(Timestamp::from_millis(now), Timestamp::from_millis(before))
            .await
            .unwrap();
        due.iter().map(|lease| lease.leaf).collect::<Vec<_>>()
    };
    assert_eq!(due(START, START).await, [] as [u64; 0]);
    assert_eq!(due(START + 50, START).await, [leaves[1]], "over");
    assert_eq!(due(START, START + 100).await, [leaves[2]], "left pending");
    granted(
        &store,
        doing("revoke", Effect::LeaseMoved(id(0), LeaseOutcome::Ending)),
    )
    .await;
    assert_eq!(due(START, START).await, [leaves[0]], "ending");
    store.close().await;
}

#[tokio::test]
async fn secrets_keep_their_versions_and_lists_keep_no_ciphertext() {
    let place = Place::new();
    let store = place.open(Create::New).await;
    let secret = |version, ct: &[u8]| SecretRow {
        name: "db/medrec-pg/admin".parse().unwrap(),
        version,
        dataset: "medical-records".parse().unwrap(),
        suite: "suite".into(),
        key_id: Digest::of("key"),
        enc: vec![1],
        ct: ct.to_vec(),
        by: "ana@hospital.example".into(),
    };
    let put = |row: SecretRow| doing("put", Effect::Secret(Box::new(row)));
    granted(&store, put(secret(1, b"one"))).await;
    granted(&store, put(secret(2, b"two"))).await;
    let twice = ledger::Journal::append(&store, put(secret(2, b"other"))).await;
    assert!(
        matches!(twice, Err(ledger::JournalError::Invalid(_))),
        "a version never changes: {twice:?}"
    );
    assert_eq!(
        store.secret(&secret(0, b"").name).await,
        Ok(Some(secret(2, b"two")))
    );
    let listed = SecretRow {
        enc: Vec::new(),
        ..secret(2, b"")
    };
    assert_eq!(store.secrets().await, Ok(vec![listed]));
    assert_eq!(store.secret(&"other".parse().unwrap()).await, Ok(None));
    store.close().await;
}

#[tokio::test]
async fn a_secret_counts_as_exposed_since_the_first_time_until_a_newer_version_is_put() {
    let place = Place::new();
    let store = place.open(Create::New).await;
    let name: estate::SecretName = "db/medrec-pg/admin".parse().unwrap();
    let put = |version| {
        let row = SecretRow {
            name: name.clone(),
            version,
            dataset: "medical-records".parse().unwrap(),
            suite: "suite".into(),
            key_id: Digest::of("key"),
            enc: vec![1],
            ct: vec![2],
            by: "ana@hospital.example".into(),
        };
        doing("put", Effect::Secret(Box::new(row)))
    };
    let exposed = |version| {
        let effect = Effect::SecretExposed(name.clone(), version);
        doing("exposure", effect)
    };
    granted(&store, put(1)).await;
    assert_eq!(store.secrets_exposed().await, Ok(vec![]));
    let unknown = ledger::Journal::append(&store, exposed(2)).await;
    assert!(matches!(unknown, Err(ledger::JournalError::Invalid(_))));
    granted(&store, exposed(1)).await;
    let first = store.secrets_exposed().await.unwrap();
    assert_eq!(first.len(), 1);
    assert_eq!(first[0].0, name);
    place.clock.set(START + 90_000);
    granted(&store, exposed(1)).await;
    assert_eq!(store.secrets_exposed().await.unwrap(), first);
    granted(&store, put(2)).await;
    assert_eq!(store.secrets_exposed().await, Ok(vec![]));
    store.close().await;
}

#[tokio::test]
async fn the_newest_estate_stands_and_its_history_stays() {
    let place = Place::new();
    let store = place.open(Create::New).await;
    let estate = |version| EstateRow {
        version: PolicyVersion(version),
        hash: EstateHash(Digest::of(format!("estate {version}"))),
        files: "[[\"people.toml\",\"\"]]".into(),
        number: ChangeId(version),
        change: Digest::of(format!("change {version}")),
        record: format!("{{\"number\":{version}}}"),
        by: "ana@hospital.example".into(),
    };
    assert_eq!(store.estate().await, Ok(None));
    for version in 1..=2 {
        let submitted = Effect::ChangeSubmitted(Box::new(change(version)));
        granted(&store, doing("submit", submitted)).await;
        let applied = Effect::Estate(Box::new(estate(version)));
        granted(&store, doing("apply", applied)).await;
    }
    assert_eq!(store.estate().await, Ok(Some(estate(2))));
    assert_eq!(store.estate_at(PolicyVersion(1)).await, Ok(Some(estate(1))));
    assert_eq!(store.estate_at(PolicyVersion(3)).await, Ok(None));
    let history = store.estate_history().await.unwrap();
    let seen: Vec<_> = history
        .iter()
        .map(|row| (row.version.0, row.leaf, row.at.as_millis()))
        .collect();
    assert_eq!(seen, [(2, 3, START), (1, 1, START)]);
    store.close().await;
}

#[tokio::test]
async fn a_change_is_kept_with_its_signatures_and_what_became_of_it() {
    let place = Place::new();
    let store = place.open(Create::New).await;
    for number in 1..=3 {
        let submitted = Effect::ChangeSubmitted(Box::new(change(number)));
        granted(&store, doing("submit", submitted)).await;
    }
    let signed = Effect::ChangeSigned(ChangeId(2), "{\"signed\":true}".into());
    granted(&store, doing("sign", signed)).await;
    granted(&store, doing("reject", Effect::ChangeRejected(ChangeId(1)))).await;
    let applied = EstateRow {
        version: PolicyVersion(1),
        hash: EstateHash(Digest::of("estate")),
        files: "[]".into(),
        number: ChangeId(2),
        change: change(2).hash,
        record: "{}".into(),
        by: "ana@hospital.example".into(),
    };
    granted(&store, doing("apply", Effect::Estate(Box::new(applied)))).await;
    let stored = |number, state, version| StoredChange {
        row: change(number),
        leaf: number - 1,
        at: Timestamp::from_millis(START),
        state,
        version,
    };
    let mut second = stored(2, ChangeState::Applied, Some(PolicyVersion(1)));
    second.row.record = "{\"signed\":true}".into();
    second.row.files = String::new();
    assert_eq!(store.change(ChangeId(2)).await, Ok(Some(second.clone())));
    let void = stored(3, ChangeState::Void, None);
    assert_eq!(store.change(ChangeId(3)).await, Ok(Some(void.clone())));
    assert_eq!(store.change(ChangeId(4)).await, Ok(None));
    let mut listed = vec![void, second, stored(1, ChangeState::Rejected, None)];
    listed
        .iter_mut()
        .for_each(|change| change.row.files.clear());
    assert_eq!(store.changes().await, Ok(listed));
    store.close().await;
}

fn change(number: u64) -> ChangeRow {
    ChangeRow {
        number: ChangeId(number),
        hash: Digest::of(format!("change {number}")),
        record: format!("{{\"number\":{number}}}"),
        files: "[[\"people.toml\",\"\"]]".into(),
        by: "ana@hospital.example".into(),
        expires: Timestamp::from_millis(START + 1000),
    }
}

#[tokio::test]
async fn a_serial_is_issued_once() {
    let place = Place::new();
    let store = place.open(Create::New).await;
    let issue = || {
        let row = SerialRow {
            serial: "0a".into(),
            subject: "spiffe://hospital.example/medrec".into(),
            node: node_name(),
            not_after: Timestamp::from_millis(START),
        };
        doing("issue", Effect::Serial(row))
    };
    granted(&store, issue()).await;
    let twice = ledger::Journal::append(&store, issue()).await;
    assert!(
        matches!(twice, Err(ledger::JournalError::Invalid(_))),
        "{twice:?}"
    );
    store.close().await;
}
