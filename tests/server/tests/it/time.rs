//! That the server lived, and what its clocks said.

use std::{sync::Arc, time::Duration};

use ledger::Disclosure;
use serde_json::Value;
use server::{
    ports::{Clock, LogEntry, Monotonic},
    time::Timekeeper,
};
use test_server::{TestNode, TestServer, as_shipped};

use crate::house;

fn told(entry: &LogEntry, name: &str) -> Value {
    let mut all = entry
        .disclosures
        .iter()
        .map(|text| Disclosure::decode(text).unwrap());
    all.find(|disclosure| disclosure.name == name)
        .unwrap_or_else(|| panic!("no `{name}`"))
        .value
}

struct House {
    kit: TestServer,
    keeper: Timekeeper,
    ticks: Duration,
}

impl House {
    async fn open() -> Self {
        let kit = house().await;
        let ticks = Duration::from_secs(1_000);
        let keeper = Timekeeper::begin(kit.clock.now(), ticks);
        Self { kit, keeper, ticks }
    }

    /// Lets time go by, and the wall clock so much more.
    async fn beat(&mut self, seconds: u64, jump: i64) {
        self.ticks += Duration::from_secs(seconds);
        let wall = i64::try_from(seconds * 1_000).unwrap() + jump;
        self.kit.clock.shift(wall);
        let beaten = self.kit.server.beat(&mut self.keeper, self.ticks).await;
        beaten.unwrap();
    }

    async fn counts(&self) -> (usize, usize) {
        let (beats, clocks) = (self.kit.leaves("heartbeat"), self.kit.leaves("clock"));
        (beats.await.len(), clocks.await.len())
    }
}

#[tokio::test]
async fn a_heartbeat_says_how_large_the_tree_was_and_what_lives() {
    let mut house = House::open().await;
    let node = TestNode::join(&house.kit, "dal05-n1").await;
    TestNode::join(&house.kit, "fra02-n1").await;
    node.lease(&house.kit, as_shipped()).await.unwrap();
    let fra = "fra02-n1".parse().unwrap();
    let actor = ledger::Actor::LocalRoot;
    house.kit.server.ban(&fra, actor, "test").await.unwrap();
    house.beat(60, 0).await;
    let beat = &house.kit.leaves("heartbeat").await[0];
    assert_eq!(
        told(beat, "treeSize"),
        beat.index,
        "the tree before this leaf"
    );
    assert_eq!(told(beat, "uptimeSeconds"), 60);
    assert_eq!(told(beat, "nodes"), 1);
    assert_eq!(told(beat, "leases"), 1);
}

#[tokio::test]
async fn the_clocks_are_recorded_at_the_start_and_each_hour() {
    let mut house = House::open().await;
    house.beat(0, 0).await;
    assert_eq!(house.counts().await, (1, 1));
    for _ in 0..59 {
        house.beat(60, 0).await;
    }
    assert_eq!(house.counts().await, (60, 1));
    house.beat(60, 0).await;
    assert_eq!(house.counts().await, (61, 2));
    let clock = &house.kit.leaves("clock").await[0];
    assert_eq!(told(clock, "jumped"), false);
    assert_eq!(told(clock, "uptimeSeconds"), 3_600);
    assert!(told(clock, "wallClock").as_str().unwrap().starts_with("20"));
}

#[tokio::test]
async fn a_jump_is_recorded_within_the_minute_and_one_back_does_not_hide_it() {
    let mut house = House::open().await;
    house.beat(0, 0).await;
    house.beat(60, 30_000).await;
    assert_eq!(house.counts().await, (2, 2));
    let forth = &house.kit.leaves("clock").await[0];
    assert_eq!(told(forth, "jumped"), true);
    let drift = told(forth, "driftMillis").as_i64().unwrap();
    assert!((29_000..31_000).contains(&drift), "{drift}");
    house.beat(60, -30_000).await;
    let back = &house.kit.leaves("clock").await[0];
    assert!(back.index > forth.index);
    assert_eq!(told(back, "jumped"), true);
    assert!(told(back, "driftMillis").as_i64().unwrap() < -29_000);
}

struct Stopped;

impl Monotonic for Stopped {
    fn elapsed(&self) -> Duration {
        Duration::ZERO
    }
}

#[tokio::test]
async fn whoever_keeps_time_begins_at_once() {
    let kit = house().await;
    let keeping = tokio::spawn(Arc::clone(&kit.server).keep_time(Arc::new(Stopped)));
    let begun = async {
        while kit.leaves("clock").await.is_empty() {
            tokio::task::yield_now().await;
        }
    };
    tokio::time::timeout(Duration::from_secs(20), begun)
        .await
        .unwrap();
    keeping.abort();
    assert_eq!(kit.leaves("heartbeat").await.len(), 1);
}
