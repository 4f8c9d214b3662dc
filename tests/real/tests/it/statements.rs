//! What a node on the wire may try against a real server: tokens and statements that are not what they should be.

use agent::ports::{LinkError, Outcome, Reply};
use custody::{ReleaseInfo, open_release};
use evidence::request::{Canonical, ReadRequest};
use evidence::{Action, Confirmation, Statement};
use fixture::Scratch;
use hpke_xwing::{PrivateKey, Suite};
use real::{LoneServer, TokenNode, shipped};

use crate::ledger::Log;

/// A server with the estate and one secret of the data set.
async fn house(scratch: &Scratch) -> LoneServer {
    let server = LoneServer::init(scratch);
    server.start();
    server.apply_estate(None).await;
    server.put_secret(SECRET, 1, VALUE).await.unwrap();
    server
}

#[tokio::test]
#[ignore = "needs root; run by make test"]
async fn a_token_admits_once_and_only_its_node() {
    let scratch = Scratch::new("token").unwrap();
    let server = house(&scratch).await;
    let token = server.token("dal05-n1").await;
    let join = async |node: &str, token: &str, folder: &str| {
        let joined = TokenNode::join(&server, node, token, &scratch.join(folder)).await;
        joined.map(|node| node.admission)
    };

    let reason = refusal(join("dal05-n2", &token, "other").await);
    assert!(reason.contains("token"), "{reason}");
    let admission = join("dal05-n1", &token, "first").await.unwrap();
    let reason = refusal(join("dal05-n1", &token, "thief").await);
    assert!(reason.contains("token"), "{reason}");
    let reason = refusal(join("dal05-n1", "made-up", "guess").await);
    assert!(reason.contains("token"), "{reason}");
    // What was not there is not told apart from what was used; and the admission is on record.
    let log = Log::fetch(&server).await;
    let (leaf, proof) = admission.receipt;
    assert!(log.proves(&leaf, &proof).size > 0);
    assert_eq!(attested_nodes(&server).await, ["dal05-n1"]);
}

#[tokio::test]
#[ignore = "needs root; run by make test"]
async fn a_statement_counts_once_on_its_connection_for_its_request_and_its_key() {
    let scratch = Scratch::new("statement").unwrap();
    let server = house(&scratch).await;
    let token = server.token("dal05-n1").await;
    let node = TokenNode::join(&server, "dal05-n1", &token, &scratch.join("node")).await;
    let node = node.unwrap();
    let (link, other) = (node.connect().await.unwrap(), node.connect().await.unwrap());
    let (key, thief) = (private_key(), private_key());
    let request = ReadRequest {
        v: 1,
        secret: SECRET.parse().unwrap(),
    };
    let request = request.to_canonical().unwrap();
    let honest = || link.statement(&request, &key, Some(shipped()), |_| {});
    let read = async |statement: Statement| {
        let reply = link.send(Action::Read, request.clone(), statement).await;
        reply.unwrap()
    };

    // An honest statement opens, and for nobody but its key.
    let statement = honest();
    let reply = read(statement.clone()).await;
    assert_eq!(opened(&reply, &key, &request).as_deref(), Some(VALUE));
    assert_eq!(opened(&reply, &thief, &request), None);

    let used = read(statement.clone()).await;
    let moved = other
        .send(Action::Read, request.clone(), honest())
        .await
        .unwrap();
    let early = link.statement(&request, &key, Some(shipped()), |builder| {
        builder.measured_at = builder
            .measured_at
            .minus(std::time::Duration::from_secs(90));
    });
    let future = link.statement(&request, &key, Some(shipped()), |builder| {
        builder.measured_at = builder.measured_at.plus(std::time::Duration::from_secs(90));
    });
    let elsewhere = ReadRequest {
        v: 1,
        secret: "db/pg/admin".parse().unwrap(),
    };
    let elsewhere = link.statement(
        &elsewhere.to_canonical().unwrap(),
        &key,
        Some(shipped()),
        |_| {},
    );
    let seq_again = link.statement(&request, &thief, Some(shipped()), |builder| builder.seq = 1);
    let rebound = with_key(&honest(), &thief);

    let denied = [
        ("seq repeated", used, "used before"),
        (
            "seq repeated for another cnf",
            read(seq_again).await,
            "used before",
        ),
        (
            "replayed on another connection",
            moved,
            "another connection",
        ),
        ("expired", read(early).await, "not fresh"),
        ("from the future", read(future).await, "not fresh"),
        (
            "made for another request",
            read(elsewhere).await,
            "another request",
        ),
        ("changed to another cnf", read(rebound).await, "signature"),
    ];
    let log = Log::fetch(&server).await;
    for (attempt, reply, wanted) in denied {
        let Outcome::Denied { reason, .. } = &reply.outcome else {
            panic!("{attempt}: {reply:?}")
        };
        assert!(reason.contains(wanted), "{attempt}: {reason}");
        let proven = log.proves(&reply.leaf, &reply.proof);
        assert_eq!(log.entries[proven.index as usize], reply.leaf, "{attempt}");
    }
    // None of this cost the honest node anything.
    assert!(opened(&read(honest()).await, &key, &request).is_some());
}

#[tokio::test]
#[ignore = "needs root; run by make test"]
async fn a_banned_node_gets_no_answer_any_more() {
    let scratch = Scratch::new("banned").unwrap();
    let server = house(&scratch).await;
    let token = server.token("dal05-n1").await;
    let node = TokenNode::join(&server, "dal05-n1", &token, &scratch.join("node")).await;
    let node = node.unwrap();
    let (link, key) = (node.connect().await.unwrap(), private_key());
    let request = ReadRequest {
        v: 1,
        secret: SECRET.parse().unwrap(),
    };
    let reply = link
        .ask(Action::Read, &request, &key, shipped())
        .await
        .unwrap();
    assert!(matches!(reply.outcome, Outcome::Sealed { .. }), "{reply:?}");
    let _ = server
        .run(&["node", "ban", "dal05-n1", "--reason", "stolen"])
        .well();
    match link.ask(Action::Read, &request, &key, shipped()).await {
        Ok(Reply {
            outcome: Outcome::Denied { reason, .. },
            ..
        }) => assert!(reason.contains("banned"), "{reason}"),
        Err(LinkError::Refused(_) | LinkError::Unavailable(_)) => {}
        other => panic!("{other:?}"),
    }
    let again = server.token("dal05-n1").await;
    let reason =
        refusal(TokenNode::join(&server, "dal05-n1", &again, &scratch.join("again")).await);
    assert!(reason.contains("banned"), "{reason}");
}

fn private_key() -> PrivateKey {
    PrivateKey::generate(Suite::XWing).unwrap()
}

fn opened(reply: &Reply, key: &PrivateKey, request: &[u8]) -> Option<Vec<u8>> {
    let Outcome::Sealed { enc, ct, .. } = &reply.outcome else {
        panic!("{reply:?}")
    };
    let value = open_release(key, ReleaseInfo::Read, request, &reply.leaf, enc, ct);
    value.ok().map(|value| value.to_vec())
}

/// The statement with another key to seal to, under the old signature.
fn with_key(statement: &Statement, key: &PrivateKey) -> Statement {
    use base64::Engine;
    let base64 = base64::engine::general_purpose::URL_SAFE_NO_PAD;
    let parts: Vec<&str> = statement.as_str().split('.').collect();
    let mut claims: serde_json::Value =
        serde_json::from_slice(&base64.decode(parts[1]).unwrap()).unwrap();
    claims["cnf"] = serde_json::to_value(Confirmation::of(key.public_key())).unwrap();
    let claims = base64.encode(claims.to_string());
    Statement::from_wire([parts[0], &claims, parts[2]].join("."))
}

/// Why a node was not admitted.
fn refusal<T>(joined: Result<T, LinkError>) -> String {
    match joined {
        Err(LinkError::Refused(reason)) => reason,
        Err(other) => panic!("{other:?}"),
        Ok(_) => panic!("it was admitted"),
    }
}

async fn attested_nodes(server: &LoneServer) -> Vec<String> {
    let client = server.client();
    let nodes =
        client.get::<Vec<web::wire::Node>>(web::Call::Nodes, web::client::Question::default());
    let nodes = nodes.await.unwrap().data.into_iter();
    nodes
        .filter(|node| node.state == web::wire::NodeState::Attested)
        .map(|node| node.name.to_string())
        .collect()
}

const SECRET: &str = "notes/shift";
const VALUE: &[u8] = b"the night was calm";
