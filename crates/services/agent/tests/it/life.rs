//! Attestation, connections, directives, and the ends of all of them.

use std::time::Duration;

use agent::AgentError;
use tlog::Signer;

use crate::{ledger::Log, node::Node, server::Lie};

#[tokio::test]
async fn a_lab_is_refused_unless_allowed_and_named_so() {
    let mut node = Node::start_with(|config| config.allow_lab = false, |_| {});
    let standing = node.stands(|standing| standing.fault.is_some()).await;
    assert!(standing.fault.unwrap().contains("lab"));
    assert!(!standing.attested);

    let mut node = Node::start_with(
        |config| config.allow_lab = false,
        |server| server.with(|state| state.lab = false),
    );
    node.up().await;
}

#[tokio::test]
async fn a_server_of_another_trust_domain_is_refused() {
    let mut node = Node::start_with(
        |_| {},
        |server| server.with(|state| state.says_trust_domain = "other.lab".into()),
    );
    let standing = node.stands(|standing| standing.fault.is_some()).await;
    assert!(standing.fault.unwrap().contains("another trust domain"));
}

#[tokio::test]
async fn a_node_certificate_for_another_key_or_node_is_refused() {
    for (lie, why) in [
        (Lie::OtherKey, "for another key"),
        (Lie::OtherName, "names another"),
    ] {
        let mut node = Node::start_with(|_| {}, |server| server.with(|state| state.lie = lie));
        let standing = node.stands(|standing| standing.fault.is_some()).await;
        assert!(standing.fault.unwrap().contains(why), "{lie:?}");
        assert!(!standing.attested);
    }
}

#[tokio::test]
async fn a_ledger_under_another_key_than_configured_is_refused() {
    let other = Signer::from_seed("log.example.lab", &[2; 32])
        .unwrap()
        .verifier_key();
    let mut node = Node::start_with(|config| config.ledger_key = Some(other), |_| {});
    let standing = node.stands(|standing| standing.fault.is_some()).await;
    assert!(standing.fault.unwrap().contains("pinned"));
}

#[tokio::test]
async fn the_first_ledger_stays_pinned_over_a_restart() {
    let mut node = Node::start();
    node.up().await;
    node.server.with(|state| state.log = Log::new(3));
    let mut node = node.restart();
    let standing = node.stands(|standing| standing.fault.is_some()).await;
    assert!(standing.fault.unwrap().contains("pinned"));
    assert!(!standing.attested);
}

#[tokio::test]
async fn a_forked_ledger_is_refused_at_reconnect_until_it_is_whole_again() {
    let mut node = Node::start();
    node.up().await;
    node.read().await.unwrap();
    let honest = node.server.with(|state| {
        let honest = state.log.leaves.clone();
        state.log.leaves[1] = b"{\"forged\":1}".to_vec();
        state.log.append(b"{}".to_vec());
        honest
    });
    node.server.break_connections();
    let standing = node
        .stands(|standing| {
            standing
                .fault
                .as_ref()
                .is_some_and(|fault| fault.contains("forked"))
        })
        .await;
    assert!(!standing.attested);
    node.server.with(|state| state.log.leaves = honest);
    node.up().await;
    node.read().await.unwrap();
}

#[tokio::test]
async fn a_rolled_back_ledger_is_refused_after_a_restart() {
    let mut node = Node::start();
    node.up().await;
    for _ in 0..5 {
        node.read().await.unwrap();
    }
    node.server.break_connections();
    node.stands(|standing| !standing.attested).await;
    node.up().await;
    node.server.with(|state| state.log.leaves.truncate(2));
    let mut node = node.restart();
    let standing = node.stands(|standing| standing.fault.is_some()).await;
    let fault = standing.fault.unwrap();
    assert!(
        fault.contains("leaf") || fault.contains("rolled back"),
        "{fault}"
    );
    assert!(!standing.attested);
}

/// Waits for two more answers: what was on its way has ended.
async fn two_more(node: &Node, requests: &tokio::task::JoinHandle<()>) {
    let before = node.server.with(|state| state.accepted.len());
    while node.server.with(|state| state.accepted.len()) < before + 2 {
        assert!(!requests.is_finished(), "a request was denied");
        tokio::time::sleep(Duration::from_millis(2)).await;
    }
}

#[tokio::test]
async fn renewal_makes_new_keys_and_no_request_notices() {
    let mut node = Node::start();
    node.up().await;
    node.server
        .with(|state| state.takes = Duration::from_millis(20));
    let agent = std::sync::Arc::clone(&node.agent);
    let requests: tokio::task::JoinHandle<()> = tokio::spawn(async move {
        loop {
            agent
                .read(&(), "db-password".parse().unwrap(), crate::node::key())
                .await
                .unwrap();
        }
    });
    // In steps that leave each statement fresh, and always with a request on its way.
    for _ in 0..37 {
        two_more(&node, &requests).await;
        node.clock.forward(Duration::from_secs(50));
    }
    let standing = node
        .stands(|standing| standing.epoch == 2 && standing.attested)
        .await;
    assert_eq!(standing.fault, None);
    two_more(&node, &requests).await;
    requests.abort();
    assert!(requests.await.unwrap_err().is_cancelled());
    let (admissions, rejected) = node
        .server
        .with(|state| (state.admissions.clone(), state.rejected.clone()));
    assert_eq!(rejected, [""; 0]);
    assert_eq!([&admissions[0].0, &admissions[1].0], ["enrol", "renew"]);
    assert_ne!(admissions[0].1, admissions[1].1);
    assert_ne!(admissions[0].2, admissions[1].2);
    node.server.with(|state| state.takes = Duration::ZERO);
    node.read().await.unwrap();
}

#[tokio::test]
async fn a_renewal_that_fails_leaves_the_session_as_long_as_its_certificate() {
    let mut node = Node::start();
    node.up().await;
    node.server.with(|state| state.refuses = true);
    node.clock.forward(Duration::from_secs(1801));
    node.read().await.unwrap();
    node.clock.forward(Duration::from_secs(1801));
    node.stands(|standing| !standing.attested).await;
}

#[tokio::test]
async fn an_order_to_attest_anew_is_followed() {
    let mut node = Node::start();
    node.up().await;
    node.server.tell(|directive| directive.reattest = true);
    node.stands(|standing| standing.epoch >= 2).await;
    node.server.tell(|directive| directive.reattest = false);
    node.up().await;
    let admissions = node.server.with(|state| state.admissions.clone());
    assert_ne!(admissions[0].1, admissions[1].1);
    node.read().await.unwrap();
}

#[tokio::test]
async fn an_epoch_that_rose_elsewhere_ends_the_keys() {
    let mut node = Node::start();
    node.up().await;
    node.server.with(|state| state.epoch = 7);
    node.server.tell(|directive| directive.node_epoch = 7);
    node.stands(|standing| standing.epoch == 8).await;
}

#[tokio::test]
async fn a_quote_binds_the_connection_it_is_asked_on() {
    let mut node = Node::start();
    node.up().await;
    node.server
        .tell(|directive| directive.quote = Some(([9; 32], vec![0, 7])));
    for _ in 0..500 {
        if !node.server.with(|state| state.quotes.is_empty()) {
            break;
        }
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    assert_eq!(node.server.with(|state| state.quotes.clone()), [true]);
}

#[tokio::test]
async fn a_ban_stops_everything_for_good() {
    let mut node = Node::start();
    node.up().await;
    node.agent.x509_svid(&()).await.unwrap();
    node.server.tell(|directive| {
        directive.banned = true;
        directive.ended_leases = vec!["bw_1".into()];
    });
    let standing = node.stands(|standing| standing.banned).await;
    assert!(!standing.attested);
    (&mut node.life).await.unwrap();
    assert!(matches!(node.read().await, Err(AgentError::Banned)));
    assert!(matches!(
        node.agent.x509_svid(&()).await,
        Err(AgentError::Banned)
    ));
    assert_eq!(node.server.with(|state| state.admissions.len()), 1);
}

#[tokio::test]
async fn a_request_waits_through_a_short_outage() {
    let mut node = Node::start();
    node.up().await;
    node.server.break_connections();
    node.stands(|standing| !standing.attested).await;
    node.read().await.unwrap();
    assert_eq!(
        node.server.with(|state| state.admissions.len()),
        1,
        "the same keys on another connection"
    );
}

#[tokio::test]
async fn without_a_server_a_request_ends_in_a_bounded_time() {
    let node = Node::start_with(|_| {}, |server| server.with(|state| state.down = true));
    assert!(matches!(node.read().await, Err(AgentError::NotAttested)));
}

#[tokio::test]
async fn the_dead_mans_switch_falls_and_rises() {
    let mut node = Node::start_with(|config| config.max_offline = Duration::from_secs(1), |_| {});
    node.up().await;
    node.agent.x509_svid(&()).await.unwrap();
    node.server.with(|state| state.down = true);
    node.server.break_connections();
    node.stands(|standing| standing.offline).await;
    assert!(matches!(
        node.agent.x509_svid(&()).await,
        Err(AgentError::Unavailable(_))
    ));
    node.server.with(|state| state.down = false);
    let standing = node.stands(|standing| standing.attested).await;
    assert!(!standing.offline);
}

#[tokio::test]
async fn ended_leases_are_told() {
    let mut node = Node::start();
    node.up().await;
    node.server
        .tell(|directive| directive.ended_leases = vec!["bw_12_records".into()]);
    let standing = node
        .stands(|standing| !standing.ended_leases.is_empty())
        .await;
    assert_eq!(standing.ended_leases, ["bw_12_records"]);
}
