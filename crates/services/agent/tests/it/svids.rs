//! Identities: whose they are, and when a copy may be handed out.

use std::time::Duration;

use agent::AgentError;
use evidence::Action;
use jose::EcdsaP256Key;

use crate::{
    node::{Node, facts},
    server::Lie,
};

fn issued(node: &Node) -> usize {
    node.server.with(|state| {
        state
            .accepted
            .iter()
            .filter(|(action, _)| *action == Action::Issue)
            .count()
    })
}

#[tokio::test]
async fn an_x509_svid_fits_its_key() {
    let mut node = Node::start();
    node.up().await;
    let svid = node.agent.x509_svid(&()).await.unwrap();
    assert_eq!(svid.id.to_string(), "spiffe://example.lab/image/medrec");
    let key = EcdsaP256Key::from_pkcs8(&svid.key_pkcs8).unwrap();
    let bundle = node.agent.bundle().borrow().clone();
    let now = spiffe_id::UnixTime::from_secs(1_795_478_400);
    let verified = spiffe_id::verify_x509_svid(&svid.chain, &[bundle.x509()], now).unwrap();
    assert_eq!(verified.spki_der(), key.public_jwk().to_spki_der().unwrap());
}

#[tokio::test]
async fn a_certificate_for_another_key_is_refused() {
    let mut node = Node::start();
    node.up().await;
    node.server.with(|state| state.lie = Lie::OtherKey);
    assert!(matches!(
        node.agent.x509_svid(&()).await,
        Err(AgentError::BadReceipt(_))
    ));
}

#[tokio::test]
async fn a_copy_is_handed_out_only_for_the_same_facts() {
    let mut node = Node::start();
    node.up().await;
    let first = node.agent.x509_svid(&()).await.unwrap();
    assert_eq!(node.agent.x509_svid(&()).await.unwrap().chain, first.chain);
    assert_eq!(issued(&node), 1);
    *node.facts.lock().unwrap() = facts("two");
    assert_ne!(node.agent.x509_svid(&()).await.unwrap().chain, first.chain);
    assert_eq!(issued(&node), 2);
    *node.facts.lock().unwrap() = evidence::WorkloadFacts {
        privileged: None,
        ..facts("one")
    };
    node.server.with(|state| state.denies = true);
    assert!(matches!(
        node.agent.x509_svid(&()).await,
        Err(AgentError::Denied { .. })
    ));
}

#[tokio::test]
async fn no_copy_survives_a_new_version_of_the_estate() {
    let mut node = Node::start();
    node.up().await;
    node.stands(|standing| standing.policy == 1).await;
    node.agent.x509_svid(&()).await.unwrap();
    node.server.tell(|directive| directive.policy = 2);
    node.stands(|standing| standing.policy == 2).await;
    node.server.with(|state| state.denies = true);
    assert!(matches!(
        node.agent.x509_svid(&()).await,
        Err(AgentError::Denied { .. })
    ));
}

#[tokio::test]
async fn no_copy_is_handed_out_in_the_second_half_of_its_life() {
    let mut node = Node::start();
    node.up().await;
    let first = node.agent.x509_svid(&()).await.unwrap();
    node.clock.forward(Duration::from_secs(1801));
    assert_ne!(node.agent.x509_svid(&()).await.unwrap().chain, first.chain);
}

#[tokio::test]
async fn a_copy_outlives_a_short_outage() {
    let mut node = Node::start();
    node.up().await;
    let first = node.agent.x509_svid(&()).await.unwrap();
    node.server.with(|state| state.down = true);
    node.server.break_connections();
    node.stands(|standing| !standing.attested).await;
    assert_eq!(node.agent.x509_svid(&()).await.unwrap().chain, first.chain);
}

#[tokio::test]
async fn a_jwt_svid_is_for_its_audiences() {
    let mut node = Node::start();
    node.up().await;
    let svid = node
        .agent
        .jwt_svid(&(), vec!["db".into(), "cache".into()])
        .await
        .unwrap();
    assert_eq!(svid.id.to_string(), "spiffe://example.lab/image/medrec");
    assert_eq!(svid.expires.as_seconds(), 1_795_478_700);
    assert!(matches!(
        node.agent.jwt_svid(&(), Vec::new()).await,
        Err(AgentError::Caller(_))
    ));
}
