//! Nodes: tokens, epochs, sessions.

use evidence::Purpose;
use server::nodes::NodeError;
use test_server::{TestNode, as_shipped};

use crate::{count, denial, house};

#[tokio::test]
async fn a_token_admits_once() {
    let house = house().await;
    let name = "dal05-n1".parse().unwrap();
    let (token, _) = house
        .server
        .token(&name, ledger::Actor::LocalRoot)
        .await
        .unwrap();
    TestNode::join_with(&house, "dal05-n1", &token, Purpose::Enrol)
        .await
        .unwrap();
    let again = TestNode::join_with(&house, "dal05-n1", &token, Purpose::Enrol).await;
    assert!(matches!(again, Err(NodeError::NotReleased(_))));
}

#[tokio::test]
async fn a_token_of_another_node_or_of_nobody_admits_nobody() {
    let house = house().await;
    let (token, _) = house
        .server
        .token(&"dal05-n1".parse().unwrap(), ledger::Actor::LocalRoot)
        .await
        .unwrap();
    assert!(
        TestNode::join_with(&house, "fra02-n1", &token, Purpose::Enrol)
            .await
            .is_err()
    );
    assert!(
        TestNode::join_with(&house, "dal05-n1", "made up", Purpose::Enrol)
            .await
            .is_err()
    );
    assert!(
        TestNode::join_with(&house, "unknown-n1", &token, Purpose::Enrol)
            .await
            .is_err()
    );
    assert_eq!(
        count(&house, &[("kind", "node-refused")]).await,
        1,
        "the unknown node is on record"
    );
}

#[tokio::test]
async fn an_expired_token_admits_nobody() {
    let house = house().await;
    let (token, _) = house
        .server
        .token(&"dal05-n1".parse().unwrap(), ledger::Actor::LocalRoot)
        .await
        .unwrap();
    house.clock.shift(601_000);
    assert!(
        TestNode::join_with(&house, "dal05-n1", &token, Purpose::Enrol)
            .await
            .is_err()
    );
}

#[tokio::test]
async fn keys_of_an_earlier_attestation_are_dead() {
    let house = house().await;
    let old = TestNode::join(&house, "dal05-n1").await;
    old.lease(&house, as_shipped()).await.unwrap();
    let new = TestNode::join(&house, "dal05-n1").await;
    assert!(denial(old.lease(&house, as_shipped()).await).contains("signature"));
    new.lease(&house, as_shipped()).await.unwrap();
}

#[tokio::test]
async fn two_live_sessions_with_one_name_end_both() {
    let house = house().await;
    let first = TestNode::join(&house, "dal05-n1").await;
    let _stream = house
        .server
        .standings(first.name.clone(), "")
        .await
        .unwrap();
    let (token, _) = house
        .server
        .token(&first.name, ledger::Actor::LocalRoot)
        .await
        .unwrap();
    let second = TestNode::join_with(&house, "dal05-n1", &token, Purpose::Enrol).await;
    assert!(matches!(second, Err(NodeError::TwoSessions)));
    assert!(
        first.lease(&house, as_shipped()).await.is_err(),
        "the first session is ended, too"
    );
}

#[tokio::test]
async fn a_banned_node_does_not_come_back_by_attesting() {
    let house = house().await;
    let node = TestNode::join(&house, "dal05-n1").await;
    let (token, _) = house
        .server
        .token(&node.name, ledger::Actor::LocalRoot)
        .await
        .unwrap();
    house
        .server
        .ban(&node.name, ledger::Actor::LocalRoot, "test")
        .await
        .unwrap();
    let again = TestNode::join_with(&house, "dal05-n1", &token, Purpose::Enrol).await;
    assert!(matches!(again, Err(NodeError::Banned)));
}

#[tokio::test]
async fn a_node_that_is_denied_too_often_is_busy_and_counted_in_one_leaf() {
    let house = house().await;
    let node = TestNode::join(&house, "fra02-n1").await;
    for _ in 0..600 {
        denial(node.lease(&house, as_shipped()).await);
    }
    let answer = node.lease(&house, as_shipped()).await;
    assert!(
        matches!(answer, Err(server::ReleaseError::Busy)),
        "{answer:?}"
    );
    assert_eq!(
        count(&house, &[("kind", "lease"), ("outcome", "denied")]).await,
        600
    );
}

#[tokio::test]
async fn a_node_can_be_banned_before_it_ever_attests() {
    let house = house().await;
    let name = "dal05-n1".parse().unwrap();
    house
        .server
        .ban(&name, ledger::Actor::LocalRoot, "stolen on the way")
        .await
        .unwrap();
    let (token, _) = house
        .server
        .token(&name, ledger::Actor::LocalRoot)
        .await
        .unwrap();
    let joined = TestNode::join_with(&house, "dal05-n1", &token, Purpose::Enrol).await;
    assert!(matches!(joined, Err(NodeError::Banned)));
    let nobody = "unknown-n1".parse().unwrap();
    assert!(
        house
            .server
            .ban(&nobody, ledger::Actor::LocalRoot, "")
            .await
            .is_err()
    );
}
