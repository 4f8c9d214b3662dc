//! The start gate's questions: starts, hands, and what was delivered before.

use std::{sync::Arc, time::Duration};

use agent::{
    AgentError, GateOperation,
    ports::{Holding, Outcome, SeenHand},
};
use estate::Digest;
use evidence::{
    Action,
    request::{Hand, Held, LayerDescriptor, OpenRequest, StartGate},
};

use crate::{
    gate::{FakeGate, container, layer, question, untouched},
    node::{Node, key},
    server::Lie,
};

async fn gated() -> (Node, FakeGate) {
    let (mut node, gate) = Node::start_gated();
    node.up().await;
    *node.facts.lock().unwrap() = untouched("one");
    (node, gate)
}

fn make(gate: &FakeGate, layers: &[agent::ports::GatedLayer]) {
    gate.with(|state| state.starting.gated = layers.iter().cloned().collect());
}

async fn open(node: &Node) -> Result<agent::Delivered, AgentError> {
    let layer = LayerDescriptor {
        digest: Digest::of("layer"),
        size: 5,
        media_type: "x+encrypted".into(),
    };
    let image = "medrec".parse().unwrap();
    node.agent
        .open(&(), b"packet".to_vec(), image, layer, key())
        .await
}

#[tokio::test]
async fn layers_are_gated_before_their_key_is_asked_for() {
    let (node, gate) = gated().await;
    let delivered = open(&node).await.unwrap();
    let request: OpenRequest = serde_json::from_slice(&delivered.request).unwrap();
    assert_eq!(request.start_gate, StartGate::Everywhere);
    gate.with(|state| {
        assert_eq!((state.claimed.len(), state.confirmed), (1, 1));
        state.coverage = StartGate::Missing;
    });
    let delivered = open(&node).await.unwrap();
    let request: OpenRequest = serde_json::from_slice(&delivered.request).unwrap();
    assert_eq!(request.start_gate, StartGate::Missing);
}

#[tokio::test]
async fn no_key_is_asked_for_where_layers_can_not_be_gated() {
    let (node, gate) = gated().await;
    gate.with(|state| state.disk_works = false);
    assert!(matches!(open(&node).await, Err(AgentError::Unavailable(_))));
    assert!(node.server.with(|state| state.accepted.is_empty()));
}

#[tokio::test]
async fn layers_whose_key_was_refused_are_not_gated() {
    let (node, gate) = gated().await;
    node.server.with(|state| state.denies = true);
    assert!(matches!(open(&node).await, Err(AgentError::Denied { .. })));
    gate.with(|state| assert!(state.claimed.is_empty() && state.confirmed == 0));
}

#[tokio::test]
async fn a_container_without_opened_layers_starts_without_a_record() {
    let (node, _gate) = gated().await;
    let answer = node
        .agent
        .gate(&(), question(GateOperation::Create, &[]))
        .await;
    assert!(answer.unwrap().records.is_empty());
    assert!(node.server.with(|state| state.accepted.is_empty()));
}

#[tokio::test]
async fn each_image_set_is_asked_for_once_and_on_record() {
    let (node, gate) = gated().await;
    make(
        &gate,
        &[
            layer("1", "one", "medrec"),
            layer("2", "one", "medrec"),
            layer("3", "one", "models"),
        ],
    );
    let answer = node
        .agent
        .gate(&(), question(GateOperation::Create, &[]))
        .await;
    let answer = answer.unwrap();
    let asked: Vec<_> = answer
        .records
        .iter()
        .map(|record| String::from_utf8(record.request.clone()).unwrap())
        .collect();
    assert_eq!(
        asked,
        [r#"{"image":"medrec","v":1}"#, r#"{"image":"models","v":1}"#]
    );
    assert!(!answer.exposed && !answer.probe);
    assert!(
        answer
            .records
            .iter()
            .all(|record| matches!(record.outcome, Outcome::Plain(_)))
    );
    let accepted = node.server.with(|state| state.accepted.clone());
    let whole = (Action::Start, Some(untouched("one")));
    assert_eq!(accepted, [whole.clone(), whole]);
}

#[tokio::test]
async fn a_stranger_with_our_layer_is_refused_and_on_record() {
    let (node, gate) = gated().await;
    make(&gate, &[layer("1", "another image", "medrec")]);
    for operation in [GateOperation::Create, GateOperation::Restore] {
        let refused = node.agent.gate(&(), question(operation, &[])).await;
        assert!(matches!(refused, Err(AgentError::Caller(_))), "{refused:?}");
    }
    assert_eq!(node.server.with(|state| state.accepted.len()), 2);
}

#[tokio::test]
async fn what_the_server_denies_does_not_start() {
    let (node, gate) = gated().await;
    make(&gate, &[layer("1", "one", "medrec")]);
    node.server.with(|state| state.denies = true);
    let Err(AgentError::Denied {
        reason, receipt, ..
    }) = node
        .agent
        .gate(&(), question(GateOperation::Create, &[]))
        .await
    else {
        panic!("not denied")
    };
    assert_eq!(reason, "DPIA-2026-014");
    assert!(receipt.is_some());
}

#[tokio::test]
async fn an_answer_that_is_not_on_record_starts_nothing_and_lets_no_hand_in() {
    let (mut node, gate) = gated().await;
    make(&gate, &[layer("1", "one", "medrec")]);
    node.server.with(|state| state.lie = Lie::OtherLeaf);
    let refused = node
        .agent
        .gate(&(), question(GateOperation::Create, &[]))
        .await;
    assert!(matches!(refused, Err(AgentError::BadReceipt(_))));
    node.server.with(|state| {
        state.lie = Lie::None;
        state.exec_word = "yes";
    });
    node.up().await;
    let refused = node
        .agent
        .gate(&(), question(GateOperation::Exec, &["sh"]))
        .await;
    assert!(matches!(refused, Err(AgentError::BadReceipt(_))));
    assert!(gate.with(|state| state.touched.is_empty()));
}

#[tokio::test]
async fn only_a_gate_is_answered_and_only_where_one_is_set_up() {
    let (node, gate) = gated().await;
    gate.with(|state| state.is_gate = false);
    for operation in [GateOperation::Create, GateOperation::Exec] {
        let refused = node.agent.gate(&(), question(operation, &["sh"])).await;
        assert!(matches!(refused, Err(AgentError::Caller(_))));
    }
    let mut without = Node::start();
    without.up().await;
    let refused = without
        .agent
        .gate(&(), question(GateOperation::Create, &[]))
        .await;
    assert!(matches!(refused, Err(AgentError::Caller(_))));
}

#[tokio::test]
async fn a_banned_or_silent_node_starts_nothing_and_lets_no_hand_in() {
    let (mut node, gate) =
        Node::start_gated_with(|config| config.max_offline = Duration::from_secs(1));
    node.up().await;
    make(&gate, &[]);
    node.server.with(|state| state.down = true);
    node.server.break_connections();
    node.stands(|standing| standing.offline).await;
    for operation in [GateOperation::Create, GateOperation::Exec] {
        let refused = node.agent.gate(&(), question(operation, &["sh"])).await;
        assert!(
            matches!(refused, Err(AgentError::Unavailable(_))),
            "{refused:?}"
        );
    }

    let (mut node, _gate) = gated().await;
    node.server.tell(|directive| directive.banned = true);
    node.stands(|standing| standing.banned).await;
    let refused = node
        .agent
        .gate(&(), question(GateOperation::Create, &[]))
        .await;
    assert!(matches!(refused, Err(AgentError::Banned)));
}

#[tokio::test]
async fn a_hand_is_asked_about_with_everything_that_it_would_find() {
    let (node, gate) = gated().await;
    let held = Held {
        secrets: vec!["db-password".parse().unwrap()],
        leases: vec!["hospital-7".parse().unwrap()],
    };
    gate.with(|state| {
        state.inside.held = held.clone();
        state.inside.images = ["medrec".parse().unwrap()].into();
    });
    node.server.with(|state| state.exec_word = "exposed");
    let mut watch = node.agent.hands();
    let asked = question(GateOperation::Exec, &["sh", "-c", "env"]);
    let answer = node.agent.gate(&(), asked).await.unwrap();
    assert!(answer.exposed && !answer.probe && answer.records.len() == 1);
    node.server.with(|state| {
        let [request] = &state.execs[..] else {
            panic!("asked once")
        };
        assert_eq!(request.hand, Hand::Exec);
        assert_eq!(request.argv, ["sh", "-c", "env"]);
        assert_eq!(request.images, ["medrec".parse().unwrap()]);
        assert_eq!(request.held, held);
    });
    gate.with(|state| {
        assert_eq!(state.touched, [("c1".to_owned(), Hand::Exec)]);
        assert_eq!(state.leases_forgotten, 1);
    });
    tells(&mut watch).await;
}

#[tokio::test]
async fn a_refused_hand_marks_nothing_and_ends_nothing() {
    let (node, gate) = gated().await;
    node.server.with(|state| state.denies = true);
    let watch = node.agent.hands();
    for operation in [
        GateOperation::Exec,
        GateOperation::Join,
        GateOperation::Checkpoint,
    ] {
        let argv: &[&str] = match operation {
            GateOperation::Exec => &["sh"],
            _ => &[],
        };
        let refused = node.agent.gate(&(), question(operation, argv)).await;
        assert!(matches!(refused, Err(AgentError::Denied { .. })));
    }
    assert!(gate.with(|state| state.touched.is_empty()));
    assert!(!watch.saw(Some(&container("c1"))));
    let hands: Vec<Hand> = node
        .server
        .with(|state| state.execs.iter().map(|asked| asked.hand).collect());
    assert_eq!(hands, [Hand::Exec, Hand::Join, Hand::Checkpoint]);
}

#[tokio::test]
async fn a_probe_is_no_hand_and_is_remembered() {
    let (node, gate) = gated().await;
    let watch = node.agent.hands();
    node.server.with(|state| state.exec_word = "probe");
    let answer = node
        .agent
        .gate(&(), question(GateOperation::Exec, &["/ready"]))
        .await;
    assert!(answer.unwrap().probe);
    gate.with(|state| {
        assert!(state.touched.is_empty());
        assert_eq!(state.probes, [["/ready".to_owned()]]);
    });
    assert!(!watch.saw(Some(&container("c1"))));
    // Neither a checkpoint nor a shared process space can be one.
    for operation in [GateOperation::Join, GateOperation::Checkpoint] {
        let refused = node.agent.gate(&(), question(operation, &[])).await;
        assert!(matches!(refused, Err(AgentError::BadReceipt(_))));
    }
}

#[tokio::test]
async fn the_images_own_health_check_is_a_probe_word_for_word() {
    let (node, gate) = gated().await;
    gate.with(|state| state.inside.healthcheck = Some(vec!["/healthy".into(), "-q".into()]));
    let answer = node
        .agent
        .gate(&(), question(GateOperation::Exec, &["/healthy", "-q"]))
        .await
        .unwrap();
    assert!(answer.probe && answer.records.is_empty());
    assert!(node.server.with(|state| state.execs.is_empty()));
    let more = question(GateOperation::Exec, &["/healthy", "-q", "&&", "sh"]);
    let answer = node.agent.gate(&(), more).await.unwrap();
    assert!(!answer.probe);
    assert_eq!(node.server.with(|state| state.execs.len()), 1);
}

#[tokio::test]
async fn a_hand_that_can_not_be_marked_is_refused_and_streams_end_all_the_same() {
    let (node, gate) = gated().await;
    let watch = node.agent.hands();
    gate.with(|state| state.disk_works = false);
    let refused = node
        .agent
        .gate(&(), question(GateOperation::Exec, &["sh"]))
        .await;
    assert!(matches!(refused, Err(AgentError::Unavailable(_))));
    assert!(watch.saw(Some(&container("c1"))));
}

#[tokio::test]
async fn an_exec_without_a_command_is_refused() {
    let (node, _gate) = gated().await;
    let refused = node
        .agent
        .gate(&(), question(GateOperation::Exec, &[]))
        .await;
    assert!(matches!(refused, Err(AgentError::Caller(_))));
}

#[tokio::test]
async fn a_delivery_is_written_down_before_it_leaves() {
    let (node, gate) = gated().await;
    node.read().await.unwrap();
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
    let index = tlog::Receipt::parse(&lease.proof).unwrap().index();
    let key: tlog::VerifierKey = lease.ledger_key.parse().unwrap();
    let tenant = key.name().rsplit('/').next().unwrap();
    let id = format!("{tenant}-{index}");
    gate.with(|state| {
        assert_eq!(
            state.held,
            [
                Holding::Secret("db-password".parse().unwrap()),
                Holding::Lease(id.parse().unwrap()),
            ]
        );
    });
}

#[tokio::test]
async fn what_can_not_be_written_down_is_not_delivered() {
    let (node, gate) = gated().await;
    gate.with(|state| state.disk_works = false);
    assert!(matches!(node.read().await, Err(AgentError::Unavailable(_))));
}

#[tokio::test]
async fn what_was_decided_before_a_hand_came_in_is_not_delivered_after_it() {
    let (node, gate) = gated().await;
    gate.with(|state| state.touched_meanwhile = true);
    assert!(matches!(node.read().await, Err(AgentError::Caller(_))));
    assert!(gate.with(|state| state.held.is_empty()));
    // One that was decided on a touched container is the owner's will.
    if let Some(known) = &mut node.facts.lock().unwrap().interactive {
        known.yes = true;
    }
    node.read().await.unwrap();
}

#[tokio::test]
async fn a_hand_that_nobody_asked_about_ends_streams_and_goes_on_record_once() {
    let (node, gate) = gated().await;
    gate.with(|state| state.inside.held.secrets = vec!["db-password".parse().unwrap()]);
    node.server.with(|state| state.exec_word = "exposed");
    let watching = tokio::spawn(Arc::clone(&node.agent).watch_hands());
    let mut watch = node.agent.hands();
    gate.hand_comes("c1");
    tells(&mut watch).await;
    until(|| gate.with(|state| state.reported == ["c1"])).await;
    node.server.with(|state| {
        assert_eq!(state.execs.len(), 1);
        assert_eq!(state.execs[0].hand, Hand::Seen);
    });
    watching.abort();
}

#[tokio::test]
async fn a_hand_that_the_gate_let_in_by_itself_ends_streams_and_is_not_told() {
    let (node, gate) = gated().await;
    let watching = tokio::spawn(Arc::clone(&node.agent).watch_hands());
    let mut watch = node.agent.hands();
    gate.sees(SeenHand::LetIn(container("c1")));
    tells(&mut watch).await;
    assert!(node.server.with(|state| state.execs.is_empty()));
    assert!(gate.with(|state| state.reported.is_empty()));
    watching.abort();
}

#[tokio::test]
async fn a_hand_is_reported_when_the_server_is_back() {
    let (mut node, gate) = gated().await;
    gate.with(|state| state.inside.images = ["medrec".parse().unwrap()].into());
    let watching = tokio::spawn(Arc::clone(&node.agent).watch_hands());
    node.server.with(|state| state.down = true);
    node.server.break_connections();
    node.stands(|standing| !standing.attested).await;
    gate.hand_comes("c1");
    tokio::time::sleep(Duration::from_millis(200)).await;
    assert!(gate.with(|state| state.reported.is_empty()));
    node.server.with(|state| state.down = false);
    until(|| gate.with(|state| state.reported == ["c1"])).await;
    assert_eq!(node.server.with(|state| state.execs.len()), 1);
    watching.abort();
}

#[tokio::test]
async fn a_hand_in_a_container_that_holds_nothing_is_not_told() {
    let (node, gate) = gated().await;
    let watching = tokio::spawn(Arc::clone(&node.agent).watch_hands());
    gate.hand_comes("c1");
    until(|| gate.with(|state| state.reported == ["c1"])).await;
    assert!(node.server.with(|state| state.execs.is_empty()));
    watching.abort();
}

/// No question of a hand and no delivery overlap in one container: the delivery waits until the hand is decided.
#[tokio::test]
async fn a_delivery_waits_for_the_hand_that_is_being_judged() {
    let (node, gate) = gated().await;
    node.read().await.unwrap();
    node.server
        .with(|state| state.exec_takes = Duration::from_millis(300));
    let asking = {
        let agent = Arc::clone(&node.agent);
        tokio::spawn(async move {
            agent
                .gate(&(), question(GateOperation::Exec, &["sh"]))
                .await
        })
    };
    until(|| node.server.with(|state| state.execs_begun == 1)).await;
    let read = tokio::time::timeout(Duration::from_millis(100), node.read()).await;
    assert!(read.is_err(), "delivered beside a hand");
    assert_eq!(gate.with(|state| state.held.len()), 1);
    asking.await.unwrap().unwrap();
    node.read().await.unwrap();
}

/// The watch is told of a hand in the container.
async fn tells(watch: &mut agent::HandWatch) {
    let container = container("c1");
    let told = watch.touched(Some(&container));
    tokio::time::timeout(Duration::from_secs(5), told)
        .await
        .unwrap();
}

async fn until(holds: impl Fn() -> bool) {
    let waited = tokio::time::timeout(Duration::from_secs(30), async {
        while !holds() {
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    });
    waited.await.unwrap();
}
