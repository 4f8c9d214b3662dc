//! What somebody tries against nodes, leases and estates, and what comes of it.

use evidence::{ContainerRef, Deviation, PodFacts, Purpose, WorkloadFacts};
use ledger::Actor;
use server::{ReleaseError, keyring::Keyring, nodes::NodeError};
use test_server::{TestNode, as_shipped, files};

use crate::{count, denial, house};

#[tokio::test]
async fn a_role_that_is_made_after_its_lease_was_ended_does_not_stay() {
    let house = house().await;
    let node = TestNode::join(&house, "dal05-n1").await;
    house.accounts.set_slow(true);
    let (answer, ()) = tokio::join!(node.lease(&house, as_shipped()), async {
        house.accounts.making().await;
        let lease = house.server.leases(true).await.unwrap()[0].id.clone();
        house.server.revoke(&lease, Actor::LocalRoot).await.unwrap();
        house.server.sweep_once().await.unwrap();
        house.accounts.set_slow(false);
    });
    assert!(matches!(answer, Err(ReleaseError::Undelivered(_))));
    house.server.sweep_once().await.unwrap();
    assert!(
        house.accounts.roles().is_empty(),
        "whoever asked knows the password and can guess the name"
    );
    assert!(house.server.leases(true).await.unwrap().is_empty());
}

#[tokio::test]
async fn a_role_that_can_not_be_dropped_keeps_no_other_alive() {
    let house = house().await;
    let node = TestNode::join(&house, "dal05-n1").await;
    for _ in 0..3 {
        node.lease(&house, as_shipped()).await.unwrap();
    }
    let roles = house.accounts.roles();
    house.accounts.stick(&roles[0]);
    house
        .server
        .ban(&node.name, Actor::LocalRoot, "test")
        .await
        .unwrap();
    assert!(house.server.sweep_once().await.is_err());
    assert_eq!(house.accounts.roles(), roles[..1]);
    let live = house.server.leases(true).await.unwrap();
    assert_eq!(live.len(), 1, "only what is still there stays due");
    assert_eq!(live[0].role, roles[0]);
}

#[tokio::test]
async fn an_orphan_that_can_not_be_dropped_keeps_no_other_alive() {
    let house = house().await;
    house.accounts.plant("bw_1_stuck");
    house.accounts.plant("bw_2_orphan");
    house.accounts.stick("bw_1_stuck");
    assert!(house.server.sweep_orphans().await.is_err());
    assert_eq!(house.accounts.roles(), ["bw_1_stuck"]);
}

#[tokio::test]
async fn whoever_proves_nothing_ends_nobodys_session() {
    let house = house().await;
    let node = TestNode::join(&house, "dal05-n1").await;
    let _stream = house.server.standings(node.name.clone(), "").await.unwrap();
    let attempt = TestNode::join_with(&house, "dal05-n1", "made up", Purpose::Enrol).await;
    assert!(attempt.is_err());
    node.lease(&house, as_shipped()).await.unwrap();
}

#[tokio::test]
async fn strangers_do_not_fill_the_ledger() {
    let house = house().await;
    for number in 0..200 {
        let name = format!("stranger-{number}");
        let attempt = TestNode::join_with(&house, &name, "made up", Purpose::Enrol).await;
        assert!(matches!(
            attempt,
            Err(NodeError::Refused { .. } | NodeError::Busy)
        ));
    }
    let recorded = count(&house, &[("kind", "node-refused")]).await;
    assert!((1..=60).contains(&recorded), "{recorded}");
    house.clock.shift(60_000);
    let again = TestNode::join_with(&house, "stranger", "made up", Purpose::Enrol).await;
    assert!(matches!(again, Err(NodeError::Refused { .. })));
}

#[tokio::test]
async fn a_connection_does_not_outlive_the_nodes_certificate() {
    let house = house().await;
    let node = TestNode::join(&house, "dal05-n1").await;
    house.clock.shift(3_599_000);
    node.lease(&house, as_shipped()).await.unwrap();
    house.clock.shift(2_000);
    assert!(matches!(
        node.lease(&house, as_shipped()).await,
        Err(ReleaseError::NotAttested)
    ));
}

#[tokio::test]
async fn a_database_with_live_leases_is_not_forgotten_or_moved() {
    let house = house().await;
    let node = TestNode::join(&house, "dal05-n1").await;
    node.lease(&house, as_shipped()).await.unwrap();
    let mut without = files();
    without.retain(|(path, _)| path != "credentials.toml" && path != "tests/records.toml");
    let applied = house.apply(without.clone(), true);
    assert!(applied.await.is_err(), "nobody could end the role");
    let mut moved = files();
    for (_, text) in &mut moved {
        *text = text.replace("pg.hospital.example:5432", "proxy.evil.example:5432");
    }
    let applied = house.apply(moved, true);
    assert!(applied.await.is_err(), "the role would stay where it is");
    let lease = house.server.leases(true).await.unwrap()[0].id.clone();
    house.server.revoke(&lease, Actor::LocalRoot).await.unwrap();
    house.server.sweep_once().await.unwrap();
    let applied = house.apply(without, true);
    applied.await.unwrap();
}

#[tokio::test]
async fn nobody_swaps_a_public_key_in_the_database() {
    let house = house().await;
    let (set, dataset) = ("medrec".parse().unwrap(), "records".parse().unwrap());
    house
        .server
        .image_key_document(&set, Actor::LocalRoot)
        .await
        .unwrap();
    house
        .edit(
            "UPDATE wrapped_key SET public = (SELECT public FROM wrapped_key WHERE purpose = 'dataset')
             WHERE purpose = 'image'",
        )
        .await;
    assert!(
        house
            .server
            .image_key_document(&set, Actor::LocalRoot)
            .await
            .is_err(),
        "images would be encrypted to whoever edits the database"
    );
    house
        .server
        .dataset_key_document(&dataset, Actor::LocalRoot)
        .await
        .unwrap();
}

#[tokio::test]
async fn nobody_swaps_a_certificate_of_the_authority_in_the_database() {
    let kek = || custody::Kek::from_material(&[7; 32]).unwrap();
    for swap in [
        "UPDATE wrapped_key SET public = (SELECT public FROM wrapped_key WHERE purpose = 'ca') WHERE purpose = 'root'",
        "UPDATE wrapped_key SET public = (SELECT public FROM wrapped_key WHERE purpose = 'root') WHERE purpose = 'ca'",
    ] {
        let house = house().await;
        let (store, domain) = (house.server.store(), house.server.trust_domain());
        let load = async || Keyring::load(store, &kek(), domain).await;
        assert!(load().await.is_ok());
        house.edit(swap).await;
        assert!(
            load().await.is_err(),
            "whoever edits the database would make nodes and people"
        );
    }
}

#[tokio::test]
async fn a_node_is_told_of_its_own_leases_alone() {
    let house = house().await;
    let (mine, other) = (house.lease("dal05-n1").await, house.lease("fra02-n1").await);
    for lease in [&mine, &other] {
        let lease = lease.parse().unwrap();
        house.server.revoke(&lease, Actor::LocalRoot).await.unwrap();
    }
    let pending = house.lease("dal05-n1").await;
    house.attested("dal05-n1").await;
    let mut stream = house
        .server
        .standings("dal05-n1".parse().unwrap(), "")
        .await
        .unwrap();
    let told = stream.next().await.unwrap().ended_leases;
    assert_eq!(told, [mine], "neither `{other}` nor `{pending}`");
}

#[tokio::test]
async fn a_statement_does_not_fill_the_disk_through_its_leaf() {
    let house = house().await;
    let node = TestNode::join(&house, "dal05-n1").await;
    let long = "x".repeat(100_000);
    let named = |runtime_namespace: &str, id: &str| WorkloadFacts {
        container: Some(ContainerRef {
            runtime_namespace: runtime_namespace.to_owned(),
            id: id.to_owned(),
        }),
        ..as_shipped()
    };
    let pod = |namespace: &str, name: &str| WorkloadFacts {
        pod: Some(PodFacts {
            namespace: namespace.to_owned(),
            name: name.to_owned(),
            service_account: None,
        }),
        ..as_shipped()
    };
    for facts in [
        named("k8s.io", &long),
        named(&long, "c1"),
        pod(&long, "p"),
        pod("ns", &long),
    ] {
        assert!(denial(node.lease(&house, facts).await).contains("malformed"));
    }
    let deviations = (0..5000).map(|number| Deviation::Env {
        name: format!("VARIABLE_{number}"),
    });
    let facts = WorkloadFacts {
        deviations: Some(deviations.collect()),
        ..as_shipped()
    };
    let why = denial(node.lease(&house, facts).await);
    assert!(
        why.len() < 10_000 && why.contains("VARIABLE_0"),
        "{}",
        why.len()
    );
}

#[tokio::test]
async fn leases_that_the_estate_does_not_permit_end_after_a_crash_too() {
    let house = house().await;
    TestNode::join(&house, "dal05-n1").await;
    // Of an image that is in no set: as if the estate had become narrower right before the crash.
    let lease = house.lease("dal05-n1").await.parse().unwrap();
    let sweeping = tokio::spawn(std::sync::Arc::clone(&house.server).sweep_forever());
    let ended = async {
        while house
            .server
            .leases(true)
            .await
            .unwrap()
            .iter()
            .any(|row| row.id == lease)
        {
            tokio::task::yield_now().await;
        }
    };
    let patience = std::time::Duration::from_secs(20);
    tokio::time::timeout(patience, ended).await.unwrap();
    sweeping.abort();
    assert_eq!(
        count(&house, &[("reason", "the estate no longer permits it")]).await,
        1
    );
}
