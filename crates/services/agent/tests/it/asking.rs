//! What is asked for a caller.

use std::sync::atomic::Ordering;

use agent::{AgentError, ports::Outcome};
use estate::Digest;
use evidence::{Action, request::LayerDescriptor};

use crate::{
    node::{Node, facts, key},
    server::Lie,
};

#[tokio::test]
async fn a_secret_comes_sealed_and_on_record() {
    let mut node = Node::start();
    node.up().await;
    let delivered = node.read().await.unwrap();
    assert_eq!(delivered.request, br#"{"secret":"db-password","v":1}"#);
    assert!(matches!(delivered.outcome, Outcome::Sealed { .. }));
    assert!(delivered.lab);
    let key = delivered.ledger_key.parse().unwrap();
    let receipt = tlog::Receipt::parse(&delivered.proof).unwrap();
    receipt
        .verify(tlog::leaf_hash(&delivered.leaf), &key)
        .unwrap();
    assert_eq!(
        node.server.with(|state| state.accepted.clone()),
        [(Action::Read, Some(facts("one")))]
    );
}

#[tokio::test]
async fn a_lease_comes_sealed() {
    let mut node = Node::start();
    node.up().await;
    let lease = node
        .agent
        .lease(
            &(),
            "records".parse().unwrap(),
            "SCRAM-SHA-256$4096:…".into(),
            key(),
        )
        .await
        .unwrap();
    assert!(matches!(lease.outcome, Outcome::Sealed { .. }));
}

#[tokio::test]
async fn a_denial_carries_its_receipt() {
    let mut node = Node::start();
    node.up().await;
    node.server.with(|state| state.denies = true);
    let Err(AgentError::Denied {
        code,
        reason,
        receipt,
    }) = node.read().await
    else {
        panic!("not denied")
    };
    assert_eq!(
        (code.as_str(), reason.as_str()),
        ("denied", "DPIA-2026-014")
    );
    assert!(receipt.is_some());
}

#[tokio::test]
async fn an_answer_that_is_not_on_record_is_refused_and_its_server_left() {
    for lie in [Lie::OtherLeaf, Lie::Replay, Lie::OtherLog] {
        let mut node = Node::start();
        node.up().await;
        node.server.with(|state| state.lie = lie);
        assert!(
            matches!(node.read().await, Err(AgentError::BadReceipt(_))),
            "{lie:?}"
        );
        let standing = node.stands(|standing| !standing.attested).await;
        assert!(standing.fault.is_some(), "{lie:?}");
        node.server.with(|state| state.lie = Lie::None);
        node.up().await;
        node.read().await.unwrap();
    }
}

#[tokio::test]
async fn a_denial_that_is_not_on_record_is_no_denial() {
    let mut node = Node::start();
    node.up().await;
    node.server
        .with(|state| (state.denies, state.lie) = (true, Lie::OtherLeaf));
    assert!(matches!(node.read().await, Err(AgentError::BadReceipt(_))));
}

#[tokio::test]
async fn an_answer_of_another_kind_is_refused() {
    let mut node = Node::start();
    node.up().await;
    node.server.with(|state| state.lie = Lie::OtherKind);
    assert!(matches!(node.read().await, Err(AgentError::BadReceipt(_))));
    assert!(matches!(
        node.agent.x509_svid(&()).await,
        Err(AgentError::BadReceipt(_))
    ));
}

#[tokio::test]
async fn concurrent_calls_never_share_a_sequence_number() {
    let mut node = Node::start();
    node.up().await;
    let calls = (0..60).map(|_| {
        let agent = std::sync::Arc::clone(&node.agent);
        tokio::spawn(async move { agent.read(&(), "db-password".parse().unwrap(), key()).await })
    });
    for call in calls.collect::<Vec<_>>() {
        call.await.unwrap().unwrap();
    }
    assert_eq!(node.server.with(|state| state.rejected.clone()), [""; 0]);
    assert_eq!(node.server.with(|state| state.accepted.len()), 60);
}

#[tokio::test]
async fn a_key_that_nothing_can_be_sealed_to_is_the_callers_fault() {
    let mut node = Node::start();
    node.up().await;
    let cnf = evidence::Confirmation {
        suite: "x25519".into(),
        key: "AA".into(),
    };
    let found = node
        .agent
        .read(&(), "db-password".parse().unwrap(), cnf)
        .await;
    assert!(matches!(found, Err(AgentError::Caller(_))));
}

#[tokio::test]
async fn only_a_decoder_opens_and_the_node_asks_for_itself() {
    let mut node = Node::start();
    node.up().await;
    let layer = LayerDescriptor {
        digest: Digest::of("layer"),
        size: 5,
        media_type: "x+encrypted".into(),
    };
    let open = || {
        node.agent.open(
            &(),
            b"packet".to_vec(),
            "medrec".parse().unwrap(),
            layer.clone(),
            key(),
        )
    };
    let delivered = open().await.unwrap();
    let request: evidence::request::OpenRequest =
        serde_json::from_slice(&delivered.request).unwrap();
    assert_eq!(
        (request.packet, request.caller),
        (Digest::of(b"packet"), Digest::of("decoder"))
    );
    assert_eq!(request.uses[0].config, layer.digest);
    assert_eq!(
        node.server.with(|state| state.accepted.clone()),
        [(Action::Open, None)]
    );
    node.is_decoder.store(false, Ordering::SeqCst);
    assert!(matches!(open().await, Err(AgentError::Caller(_))));
}

#[tokio::test]
async fn only_a_decoder_is_told_where_a_layer_is_listed_and_no_server_is_asked() {
    let node = Node::start();
    let layer = Digest::of("layer");
    let uses = node.agent.layer_uses(&(), layer).await.unwrap();
    assert_eq!(uses[0].config, layer);
    assert!(node.server.with(|state| state.accepted.is_empty()));
    node.is_decoder.store(false, Ordering::SeqCst);
    let refused = node.agent.layer_uses(&(), layer).await;
    assert!(matches!(refused, Err(AgentError::Caller(_))));
}
