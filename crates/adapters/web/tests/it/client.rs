//! What the client refuses.

use serde_json::Value;
use web::{
    Address, Call, Client, ClientError,
    client::{Identity, Question},
    wire::{Answer, Diff, Explanation, Node, NodeState, WhoCan},
};

use crate::house::House;

#[tokio::test]
async fn a_server_of_another_root_is_not_spoken_to() {
    let (house, elsewhere) = (House::open().await, House::open().await);
    let other = Identity {
        root: elsewhere.kit.root_pem().into_bytes(),
        certificate: None,
        key: None,
    };
    let client = Client::new(house.https.clone(), Some(other), None).unwrap();
    let answer = client.fetch(Call::Checkpoint, Question::default()).await;
    assert!(
        matches!(answer, Err(ClientError::Unreachable { .. })),
        "{answer:?}"
    );
    assert!(matches!(
        Client::new(house.https.clone(), None, None),
        Err(ClientError::NoRoot { .. })
    ));
}

#[tokio::test]
async fn a_receipt_of_another_log_is_not_taken() {
    let (house, elsewhere) = (House::open().await, House::open().await);
    let key = elsewhere.kit.server.ledger_key().parse().unwrap();
    let client = Client::new(Address::Unix(house.kit.socket()), None, Some(key)).unwrap();
    let answer: Result<Answer<Value>, _> = client.get(Call::Status, Question::default()).await;
    assert!(
        matches!(answer, Err(ClientError::BadReceipt(_))),
        "{answer:?}"
    );
}

#[tokio::test]
async fn the_answers_are_those_of_the_estate() {
    let house = House::open().await;
    let client = house.root();
    let nodes: Answer<Vec<Node>> = client.get(Call::Nodes, Question::default()).await.unwrap();
    assert!(
        nodes
            .data
            .iter()
            .all(|node| node.state == NodeState::Pending)
    );
    let ask = serde_json::json!({ "ask": "lease credential/postgresql/records" });
    let who: Answer<WhoCan> = client
        .send(Call::WhoCan, Question::default(), &ask)
        .await
        .unwrap();
    let [only] = who.data.permitted.as_slice() else {
        panic!("{who:?}")
    };
    assert_eq!(
        (only.node.as_str(), only.rules.as_slice()),
        ("dal05-n1", ["records-lease".to_owned()].as_slice())
    );
    let ask = serde_json::json!({ "ask": "lease credential/postgresql/records", "node": "fra02-n1", "image": "medrec" });
    let why: Answer<Explanation> = client
        .send(Call::Explain, Question::default(), &ask)
        .await
        .unwrap();
    assert!(
        !why.data.permitted && why.data.answer.contains("DAL05"),
        "{why:?}"
    );
}

#[tokio::test]
async fn a_diff_says_who_gains_and_who_loses() {
    let house = House::open().await;
    let mut files = test_server::files();
    let rules = files
        .iter_mut()
        .find(|(path, _)| path == "policies/records.cedar")
        .unwrap();
    rules.1 = rules.1.replace(
        "principal in Cluster::\"hipaaCluster\", action == Action::\"open\"",
        "principal in Cluster::\"euCluster\", action == Action::\"open\"",
    );
    let body = serde_json::json!({ "files": files });
    let diff: Answer<Diff> = house
        .root()
        .send(Call::Diff, Question::default(), &body)
        .await
        .unwrap();
    let access: Vec<_> = diff
        .data
        .access
        .iter()
        .map(|it| (it.gains, it.access.node.as_str(), it.access.action.as_str()))
        .collect();
    assert_eq!(
        access,
        [(true, "fra02-n1", "open"), (false, "dal05-n1", "open")]
    );
}
