//! A hand inside a container: what is refused, what is exposed, and what ends by it.

use estate::LeaseId;
use evidence::{
    WorkloadFacts,
    request::{Canonical, ExecRequest, Hand, Held},
};
use server::{Answer, Payload, ReleaseError, ports::Store};
use test_server::{TestNode, TestServer, as_shipped, files};

use crate::{count, house, put};

/// A house in which `records` is read by `medrec`, too, and hands inside it are refused or expose.
async fn house_with(rule: &str) -> TestServer {
    let house = house().await;
    let mut estate = files();
    for (path, text) in &mut estate {
        match path.as_str() {
            "policies/records.cedar" => text.push_str(concat!(
                "\n@id(\"records-read\")\npermit (principal in ImageSet::\"medrec\", action == Action::\"read\", ",
                "resource in DataSet::\"records\");\n"
            )),
            "datasets.toml" => {
                *text = text.replace("[dataset.bills]", &format!("exec = \"{rule}\"\n[dataset.bills]"));
            }
            "images.toml" => text.push_str("[image.medrec.run]\nprobes = [[\"/bin/alive\", \"-q\"]]\n"),
            _ => {}
        }
    }
    house.apply(estate, false).await.unwrap();
    put(&house, "records/token", "records", b"open sesame").await;
    house
}

fn hand(hand: Hand, argv: &[&str], held: Held) -> ExecRequest {
    ExecRequest {
        v: 1,
        hand,
        argv: argv.iter().map(|word| (*word).to_owned()).collect(),
        images: Vec::new(),
        held,
    }
}

async fn ask_as(
    house: &TestServer,
    node: &TestNode,
    request: &ExecRequest,
    workload: Option<WorkloadFacts>,
) -> Result<Answer, ReleaseError> {
    let request = request.to_canonical().unwrap();
    let statement = node.state(house, &request, workload);
    house.server.exec(&node.session, &statement, &request).await
}

async fn ask(
    house: &TestServer,
    node: &TestNode,
    request: &ExecRequest,
) -> Result<Answer, ReleaseError> {
    ask_as(house, node, request, Some(as_shipped())).await
}

/// The workload of an image that is in no set.
fn stranger() -> WorkloadFacts {
    let mut facts = as_shipped();
    facts.image.as_mut().unwrap().config = estate::Digest::of("stranger");
    facts
}

fn word(answer: Result<Answer, ReleaseError>) -> String {
    match answer.unwrap().payload {
        Payload::Plain(parts) => String::from_utf8(parts.concat()).unwrap(),
        other => panic!("sealed: {other:?}"),
    }
}

fn refusal(answer: Result<Answer, ReleaseError>) -> String {
    match answer {
        Err(ReleaseError::ExecRefused(_, reason)) => reason,
        other => panic!("not refused: {other:?}"),
    }
}

async fn a_lease(house: &TestServer, node: &TestNode) -> LeaseId {
    node.lease(house, as_shipped()).await.unwrap();
    let leases = house.server.leases(true).await.unwrap();
    leases.first().unwrap().id.clone()
}

fn held(secrets: &[&str], leases: &[LeaseId]) -> Held {
    Held {
        secrets: secrets.iter().map(|name| name.parse().unwrap()).collect(),
        leases: leases.to_vec(),
    }
}

const SHELL: &[&str] = &["/bin/sh", "-c", "echo hunter2"];

#[tokio::test]
async fn a_shell_in_a_container_of_a_data_set_that_refuses_is_refused_and_on_record() {
    let house = house_with("refuse").await;
    let node = TestNode::join(&house, "dal05-n1").await;
    let lease = a_lease(&house, &node).await;
    for asked in [Hand::Exec, Hand::Join, Hand::Checkpoint] {
        let request = hand(asked, SHELL, held(&[], std::slice::from_ref(&lease)));
        assert!(refusal(ask(&house, &node, &request).await).contains("`records`"));
    }
    let refused = [
        ("kind", "exec-refused"),
        ("node", "dal05-n1"),
        ("hand", "join"),
        ("container", "c1"),
    ];
    assert_eq!(count(&house, &refused).await, 1);
    assert_eq!(
        house.server.sweep_once().await.unwrap(),
        0,
        "the lease lives on"
    );
}

#[tokio::test]
async fn without_a_word_of_the_owner_a_hand_is_refused() {
    let house = house().await;
    let node = TestNode::join(&house, "dal05-n1").await;
    let request = hand(Hand::Exec, SHELL, Held::default());
    refusal(ask(&house, &node, &request).await);
}

#[tokio::test]
async fn the_words_of_a_command_are_not_recorded() {
    let house = house_with("refuse").await;
    let node = TestNode::join(&house, "dal05-n1").await;
    refusal(ask(&house, &node, &hand(Hand::Exec, SHELL, Held::default())).await);
    let leaf = &house.leaves("exec-refused").await[0];
    let told: Vec<String> = leaf
        .disclosures
        .iter()
        .map(|text| ledger::Disclosure::decode(text).unwrap().value.to_string())
        .collect();
    assert!(told.iter().any(|value| value.contains("/bin/sh")));
    assert!(
        !told.iter().any(|value| value.contains("hunter2")),
        "{told:?}"
    );
}

#[tokio::test]
async fn exactly_a_probe_of_the_owner_passes_and_exposes_nothing() {
    let house = house_with("refuse").await;
    let node = TestNode::join(&house, "dal05-n1").await;
    let lease = a_lease(&house, &node).await;
    let probe = |argv: &[&str]| hand(Hand::Exec, argv, held(&[], std::slice::from_ref(&lease)));
    assert_eq!(
        word(ask(&house, &node, &probe(&["/bin/alive", "-q"])).await),
        "probe"
    );
    assert_eq!(
        count(&house, &[("kind", "exec-permitted"), ("probe", "true")]).await,
        1
    );
    assert_eq!(house.server.leases(true).await.unwrap().len(), 1);
    let others: [&[&str]; 5] = [
        &["/bin/alive"],
        &["/bin/alive", "-q", "; sh"],
        &["/bin/alive", "-q "],
        &["-q", "/bin/alive"],
        &[],
    ];
    for argv in others {
        refusal(ask(&house, &node, &probe(argv)).await);
    }
    // Another container's probe is no probe of this one.
    let elsewhere = ask_as(
        &house,
        &node,
        &probe(&["/bin/alive", "-q"]),
        Some(stranger()),
    )
    .await;
    refusal(elsewhere);
    let mut join = probe(&["/bin/alive", "-q"]);
    join.hand = Hand::Join;
    refusal(ask(&house, &node, &join).await);
}

#[tokio::test]
async fn where_it_is_permitted_leases_end_and_secrets_are_to_be_replaced() {
    let house = house_with("expose").await;
    let node = TestNode::join(&house, "dal05-n1").await;
    let lease = a_lease(&house, &node).await;
    node.read(&house, "records/token", as_shipped())
        .await
        .unwrap();
    let name = "records/token".parse().unwrap();
    assert!(!house.server.show_secret(&name).await.unwrap().exposed);
    let request = hand(Hand::Exec, SHELL, held(&["records/token"], &[lease]));
    assert_eq!(word(ask(&house, &node, &request).await), "exposed");
    assert_eq!(
        count(&house, &[("kind", "exposure"), ("node", "dal05-n1")]).await,
        1
    );
    assert_eq!(
        house.server.sweep_once().await.unwrap(),
        1,
        "the role is gone"
    );
    assert!(house.accounts.roles().is_empty());
    let shown = house.server.show_secret(&name).await.unwrap();
    assert!(shown.exposed && shown.since.is_some());
    assert!(
        house
            .server
            .secrets()
            .await
            .unwrap()
            .iter()
            .any(|secret| secret.exposed)
    );
    // Once more: nothing is left to end, and it is on record again.
    assert_eq!(word(ask(&house, &node, &request).await), "exposed");
    assert_eq!(
        house.server.show_secret(&name).await.unwrap().since,
        shown.since
    );
    crate::put_version(&house, "records/token", "records", 2, b"close sesame").await;
    assert!(
        !house.server.show_secret(&name).await.unwrap().exposed,
        "replaced"
    );
    // The container still holds the old one: a further hand says nothing of the new one.
    assert_eq!(word(ask(&house, &node, &request).await), "exposed");
    assert!(!house.server.show_secret(&name).await.unwrap().exposed);
}

#[tokio::test]
async fn what_was_seen_is_recorded_even_where_it_would_have_been_refused() {
    let house = house_with("refuse").await;
    let node = TestNode::join(&house, "dal05-n1").await;
    let lease = a_lease(&house, &node).await;
    let request = hand(Hand::Seen, &[], held(&[], &[lease]));
    assert_eq!(word(ask(&house, &node, &request).await), "exposed");
    assert_eq!(house.server.sweep_once().await.unwrap(), 1);
}

#[tokio::test]
async fn a_container_that_holds_nothing_is_free() {
    let house = house_with("refuse").await;
    let node = TestNode::join(&house, "dal05-n1").await;
    for kind in [Hand::Exec, Hand::Seen] {
        let answer = ask_as(
            &house,
            &node,
            &hand(kind, SHELL, Held::default()),
            Some(stranger()),
        )
        .await;
        assert_eq!(word(answer), "free");
    }
    assert_eq!(count(&house, &[("kind", "exec-permitted")]).await, 2);
    assert_eq!(count(&house, &[("kind", "exposure")]).await, 0);
}

#[tokio::test]
async fn an_encrypted_layer_alone_makes_its_data_set_concerned() {
    let house = house_with("refuse").await;
    let node = TestNode::join(&house, "dal05-n1").await;
    let mut request = hand(Hand::Exec, SHELL, Held::default());
    request.images = vec!["medrec".parse().unwrap(), "unheard-of".parse().unwrap()];
    let answer = ask_as(&house, &node, &request, Some(stranger())).await;
    assert!(refusal(answer).contains("`records`"));
    assert_eq!(
        count(&house, &[("kind", "exec-refused"), ("unknown", "1")]).await,
        1
    );
}

#[tokio::test]
async fn a_node_can_neither_end_a_lease_nor_expose_a_secret_that_is_not_its_own() {
    let house = house_with("expose").await;
    let node = TestNode::join(&house, "dal05-n1").await;
    let lease = a_lease(&house, &node).await;
    node.read(&house, "records/token", as_shipped())
        .await
        .unwrap();
    let other = TestNode::join(&house, "fra02-n1").await;
    let none: LeaseId = "hospital-999999".parse().unwrap();
    for kind in [Hand::Exec, Hand::Seen] {
        let names = held(
            &["records/token", "records/none"],
            &[lease.clone(), none.clone()],
        );
        let answer = ask_as(&house, &other, &hand(kind, SHELL, names), Some(stranger())).await;
        assert_eq!(word(answer), "free", "none of it is this node's");
    }
    assert_eq!(
        count(&house, &[("kind", "exec-permitted"), ("unknown", "4")]).await,
        2
    );
    assert_eq!(house.server.sweep_once().await.unwrap(), 0);
    let name = "records/token".parse().unwrap();
    assert!(!house.server.show_secret(&name).await.unwrap().exposed);
}

#[tokio::test]
async fn a_long_list_is_cut_and_a_question_with_one_is_refused() {
    let house = house_with("expose").await;
    let node = TestNode::join(&house, "dal05-n1").await;
    let lease = a_lease(&house, &node).await;
    let mut leases: Vec<LeaseId> = (0..300)
        .map(|index| format!("zzz-{index}").parse().unwrap())
        .collect();
    leases.push(lease);
    let request = hand(Hand::Exec, SHELL, held(&[], &leases));
    assert!(refusal(ask(&house, &node, &request).await).contains("more than"));
    let seen = hand(Hand::Seen, SHELL, held(&[], &leases));
    assert_eq!(word(ask(&house, &node, &seen).await), "exposed");
    assert_eq!(
        count(&house, &[("kind", "exposure"), ("beyond", "45")]).await,
        1
    );
}

#[tokio::test]
async fn a_statement_that_is_no_evidence_or_names_no_container_is_refused() {
    let house = house_with("expose").await;
    let node = TestNode::join(&house, "dal05-n1").await;
    let request = hand(Hand::Exec, SHELL, Held::default());
    assert!(refusal(ask_as(&house, &node, &request, None).await).contains("no container"));
    let canonical = request.to_canonical().unwrap();
    let other = hand(Hand::Seen, SHELL, Held::default())
        .to_canonical()
        .unwrap();
    let statement = node.state(&house, &other, Some(as_shipped()));
    let answer = house
        .server
        .exec(&node.session, &statement, &canonical)
        .await;
    assert!(refusal(answer).contains("another request"));
    let statement = node.state(&house, &canonical, Some(as_shipped()));
    let again = |statement| house.server.exec(&node.session, statement, &canonical);
    assert_eq!(word(again(&statement).await), "exposed");
    assert!(refusal(again(&statement).await).contains("used before"));
}

#[tokio::test]
async fn refusals_beyond_the_budget_are_not_recorded_one_by_one() {
    let house = house_with("refuse").await;
    let node = TestNode::join(&house, "dal05-n1").await;
    let request = hand(Hand::Exec, SHELL, Held::default());
    for _ in 0..600 {
        refusal(ask(&house, &node, &request).await);
    }
    assert!(matches!(
        ask(&house, &node, &request).await,
        Err(ReleaseError::Busy)
    ));
    let size = house.server.store().checkpoint().await.unwrap();
    drop(ask(&house, &node, &request).await);
    assert_eq!(house.server.store().checkpoint().await.unwrap(), size);
}
