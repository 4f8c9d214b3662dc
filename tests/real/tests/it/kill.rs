//! The server is killed a hundred times in the middle of its work: no answer without a leaf, no role without a lease.

mod load;

use std::collections::{BTreeMap, BTreeSet};
use std::hash::{BuildHasher, Hasher, RandomState};
use std::sync::Arc;
use std::time::Duration;

use fixture::{Postgres, Scratch, until, until_async};
use real::{LoneServer, TokenNode};
use serde_json::Value;
use tlog::Receipt;
use web::Call;
use web::client::Question;

use self::load::{Answer, Desk, Kind, newest};
use crate::ledger::{Log, Proven};

const KILLS: usize = 100;
/// The longest time that a server may live, in milliseconds.
const LIFE: u64 = 300;
const SECRET: &str = "notes/shift";
const PATIENCE: Duration = Duration::from_secs(90);

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
#[ignore = "needs root and PostgreSQL; run by make test"]
async fn a_hundred_kills_leave_no_answer_without_its_leaf_and_no_orphan_role() {
    let scratch = Scratch::new("kill").unwrap();
    let postgres = Postgres::start(&scratch).unwrap();
    let server = Arc::new(LoneServer::init(&scratch));
    server.start();
    server.apply_estate(Some(&postgres)).await;
    server.put_secret(SECRET, 1, b"version 1").await.unwrap();
    let token = server.token("dal05-n1").await;
    let node = TokenNode::join(&server, "dal05-n1", &token, &scratch.join("node")).await;
    let node = Arc::new(node.unwrap());
    server.stop();

    let desk = Arc::new(Desk::default());
    for round in 0..KILLS {
        server.start();
        let before = desk.counts();
        let load = load::begin(&server, &node, &desk);
        // Half of them die at any moment, also of their beginning; the others once they have answered everybody.
        if round % 2 == 1 {
            desk.one_more_of_each(before).await;
        }
        tokio::time::sleep(Duration::from_millis(random(LIFE))).await;
        server.kill();
        load.join_all().await;
    }
    let counts = desk.counts();
    assert!(counts.iter().all(|count| *count >= KILLS / 2), "{counts:?}");
    let (answers, broken) = desk.take();
    assert!(broken >= KILLS as u64, "{broken} requests were broken off");

    server.start();
    every_answer_has_its_leaf(&server, &answers).await;
    the_newest_secret_stands(&server, &answers).await;
    roles_and_leases_agree(&server, &postgres, &answers).await;
    a_ban_ends_them_all(&server, &postgres).await;
    let client = server.client();
    let verified = client.get::<web::wire::Verified>(Call::Verify, Question::default());
    let verified = verified.await.unwrap();
    assert!(verified.data.intact, "{:?}", verified.data.discrepancies);
}

async fn every_answer_has_its_leaf(server: &LoneServer, answers: &[Answer]) {
    let log = Log::fetch(server).await;
    for answer in answers {
        let Proven { index, .. } = log.proves(&answer.leaf, &answer.proof);
        assert_eq!(
            log.entries[index as usize], answer.leaf,
            "{:?}",
            answer.kind
        );
    }
    let roles: Vec<&Kind> = answers.iter().map(|answer| &answer.kind).collect();
    let leases = roles.iter().filter(|kind| matches!(kind, Kind::Lease(_)));
    let distinct: BTreeSet<String> = leases.clone().map(|kind| format!("{kind:?}")).collect();
    assert_eq!(distinct.len(), leases.count(), "a role was given twice");
}

async fn the_newest_secret_stands(server: &LoneServer, answers: &[Answer]) {
    let answered = answers.iter().filter_map(|answer| match answer.kind {
        Kind::Secret(version) => Some(version),
        _ => None,
    });
    assert!(newest(server).await.unwrap() >= answered.max().unwrap());
}

async fn leases(server: &LoneServer) -> Vec<web::wire::Lease> {
    let asked = Question {
        path: &[],
        query: &[("all", "true".to_owned())],
    };
    let answer = server.client().get(Call::Leases, asked).await;
    answer.unwrap().data
}

/// After the sweep nothing is half done: the database has exactly the roles of the leases that are granted, and each
/// answered lease is one of them, under the leaf of its answer.
async fn roles_and_leases_agree(server: &LoneServer, postgres: &Postgres, answers: &[Answer]) {
    let mut last = String::new();
    let agree = async || {
        let leases = leases(server).await;
        let live = leases.into_iter().filter(|lease| lease.state != "ended");
        let (granted, others): (Vec<_>, Vec<_>) = live.partition(|lease| lease.state == "granted");
        let wanted: BTreeSet<String> = granted.iter().map(|lease| lease.role.clone()).collect();
        let roles: BTreeSet<String> = postgres.roles("bw_").unwrap().into_iter().collect();
        last = format!(
            "orphans {:?}, without a role {:?}, half done {others:?}",
            roles.difference(&wanted),
            wanted.difference(&roles)
        );
        (others.is_empty() && roles == wanted).then_some(granted)
    };
    let granted = until_async("roles and leases to agree", PATIENCE, agree).await;
    let granted = granted.unwrap_or_else(|error| panic!("{error}: {last}; {}", server.log()));
    let leaves: BTreeMap<String, u64> = granted
        .into_iter()
        .map(|lease| (lease.role, lease.leaf))
        .collect();
    for answer in answers {
        if let Kind::Lease(role) = &answer.kind {
            let index = Receipt::parse(&answer.proof).unwrap().index();
            assert_eq!(leaves.get(role), Some(&index), "`{role}` was answered");
        }
    }
}

async fn a_ban_ends_them_all(server: &LoneServer, postgres: &Postgres) {
    let path = [("name", "dal05-n1")];
    let asked = Question {
        path: &path,
        query: &[],
    };
    let body = serde_json::json!({ "reason": "the test is over" });
    let banned = server.client().send::<Value>(Call::Ban, asked, &body).await;
    assert!(banned.is_ok(), "{banned:?}");
    let gone = || postgres.roles("bw_").unwrap().is_empty().then_some(());
    until("the end of every role", PATIENCE, gone).unwrap();
}

/// Anything below `end`; the test asserts the same whatever it is.
fn random(end: u64) -> u64 {
    RandomState::new().build_hasher().finish() % end
}
