//! By what a decision was made stands in its leaf: the estate's version and hash, the change that brought it, who approved it.

use std::{collections::BTreeMap, time::Duration};

use ledger::{Actor, Disclosure};
use serde_json::{Value, json};
use server::{
    ports::{Clock, Search, Store},
    time::Timekeeper,
};
use test_server::{TestNode, TestServer, as_shipped, files};

use crate::house;

/// What each leaf of the log discloses, oldest first.
async fn leaves(house: &TestServer) -> Vec<BTreeMap<String, Value>> {
    let all = Search {
        limit: 1000,
        ..Search::default()
    };
    let mut found = house.server.store().search(all).await.unwrap();
    found.reverse();
    let values = |text: &String| {
        let Disclosure { name, value, .. } = Disclosure::decode(text).unwrap();
        (name, value)
    };
    found
        .iter()
        .map(|entry| entry.disclosures.iter().map(values).collect())
        .collect()
}

#[tokio::test]
async fn every_leaf_carries_estate_change_and_approvers() {
    let house = house().await;
    let (node, other) = (
        TestNode::join(&house, "dal05-n1").await,
        TestNode::join(&house, "fra02-n1").await,
    );
    node.lease(&house, as_shipped()).await.unwrap();
    assert!(other.lease(&house, as_shipped()).await.is_err());
    let absent = node.read(&house, "db/no/such", as_shipped()).await;
    assert!(absent.is_err());
    let mut keeper = Timekeeper::begin(house.clock.now(), Duration::ZERO);
    house.clock.shift(60_000);
    let beaten = house.server.beat(&mut keeper, Duration::from_secs(60));
    beaten.await.unwrap();
    let fra = "fra02-n1".parse().unwrap();
    let banned = house.server.ban(&fra, Actor::LocalRoot, "test");
    banned.await.unwrap();
    let mut longer = files();
    for (path, text) in &mut longer {
        if path == "datasets.toml" {
            *text = text.replace("max_lease = \"1h\"", "max_lease = \"2h\"");
        }
    }
    house.apply(longer, false).await.unwrap();
    node.lease(&house, as_shipped()).await.unwrap();

    let leaves = leaves(&house).await;
    let kinds: Vec<&str> = leaves
        .iter()
        .filter_map(|leaf| leaf.get("kind")?.as_str())
        .collect();
    for kind in [
        "enrol",
        "lease",
        "lease-granted",
        "connection-use",
        "read",
        "heartbeat",
        "clock",
        "node-ban",
        "change-submit",
        "change-approve",
        "estate-apply",
        "secret-put",
    ] {
        assert!(kinds.contains(&kind), "{kind}: {kinds:?}");
    }
    let mut in_force = None;
    for leaf in leaves.iter().filter(|leaf| leaf["kind"] != "genesis") {
        let basis = ["policy", "estate", "change", "approvers"].map(|name| leaf.get(name).cloned());
        let said = basis.iter().all(Option::is_some);
        assert!(said, "{leaf:?}");
        match leaf["kind"] == "estate-apply" {
            true => in_force = Some(basis),
            false => assert!(in_force.is_none() || in_force == Some(basis), "{leaf:?}"),
        }
    }
    let last = leaves.last().unwrap();
    assert_eq!((&last["policy"], &last["change"]), (&json!(2), &json!(2)));
    assert_eq!(last["approvers"], json!(["chen@hospital.example"]));
}
