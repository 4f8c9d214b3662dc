//! The server is killed a hundred times in the middle of its work: no answer without a leaf, no role without a lease.

use std::collections::BTreeSet;
use std::hash::{BuildHasher, Hasher, RandomState};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use accounts::scram::{Iterations, Password, Salt, verifier};
use agent::ports::{Outcome, Reply};
use custody::{ReleaseInfo, open_release};
use evidence::Action;
use evidence::request::{Canonical, LeaseRequest, ReadRequest};
use fixture::{Postgres, Scratch, until, until_async};
use hpke_xwing::{PrivateKey, Suite};
use real::{LoneServer, NodeLink, TokenNode, shipped};
use serde_json::Value;
use server::leases::LeasedConnection;
use tokio::sync::mpsc::UnboundedSender;
use tokio::task::JoinSet;
use web::client::Question;
use web::{Call, ClientError};

use crate::ledger::{Log, Proven};

/// An answer that somebody outside the server has in hand.
struct Answer {
    kind: Kind,
    leaf: Vec<u8>,
    proof: String,
}

#[derive(Clone, Debug, PartialEq, Eq)]
enum Kind {
    /// How the server is.
    Status,
    /// A secret's version.
    Secret(u64),
    /// A secret's value.
    Read,
    /// A lease's role.
    Lease(String),
}

const KILLS: usize = 100;
/// The longest time that a server may live, in milliseconds.
const LIFE: u64 = 450;
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

    let (sender, mut received) = tokio::sync::mpsc::unbounded_channel();
    let broken = Arc::new(AtomicU64::new(0));
    for _ in 0..KILLS {
        server.start();
        let load = load(&server, &node, &sender, &broken).await;
        tokio::time::sleep(Duration::from_millis(random(LIFE))).await;
        server.kill();
        load.join_all().await;
    }
    drop(sender);
    let mut answers = Vec::new();
    while let Some(answer) = received.recv().await {
        answers.push(answer);
    }
    server.start();
    the_load_was_one(&answers, broken.load(Ordering::SeqCst));
    every_answer_has_its_leaf(&server, &answers).await;
    the_newest_secret_stands(&server, &answers).await;
    roles_and_leases_agree(&server, &postgres, &answers).await;
    a_ban_ends_them_all(&server, &postgres).await;
    let verified = server
        .client()
        .get::<web::wire::Verified>(Call::Verify, Question::default())
        .await
        .unwrap();
    assert!(verified.data.intact, "{:?}", verified.data.discrepancies);
}

/// Requests of every kind at once, until each meets the end of the server.
async fn load(
    server: &Arc<LoneServer>,
    node: &Arc<TokenNode>,
    sender: &UnboundedSender<Answer>,
    broken: &Arc<AtomicU64>,
) -> JoinSet<()> {
    let mut load = JoinSet::new();
    for _ in 0..2 {
        let (server, sender, broken) = (Arc::clone(server), sender.clone(), Arc::clone(broken));
        load.spawn(async move {
            let client = server.client();
            loop {
                let answer = client.get::<Value>(Call::Status, Question::default()).await;
                let Ok(answer) = answer.inspect_err(|error| passing(error, &broken)) else {
                    break;
                };
                let receipt = answer.receipt.unwrap();
                let _ = sender.send(Answer::of_receipt(Kind::Status, &receipt));
            }
        });
    }
    {
        let (server, sender, broken) = (Arc::clone(server), sender.clone(), Arc::clone(broken));
        load.spawn(async move {
            let Ok(mut version) = newest(&server)
                .await
                .inspect_err(|error| passing(error, &broken))
            else {
                return;
            };
            loop {
                version += 1;
                let value = format!("version {version}");
                let put = server.put_secret(SECRET, version, value.as_bytes()).await;
                let Ok(receipt) = put.inspect_err(|error| passing(error, &broken)) else {
                    break;
                };
                let _ = sender.send(Answer::of_receipt(Kind::Secret(version), &receipt));
            }
        });
    }
    for asker in 0..5 {
        let (node, sender, broken) = (Arc::clone(node), sender.clone(), Arc::clone(broken));
        load.spawn(async move {
            let Ok(link) = node.connect().await else {
                broken.fetch_add(1, Ordering::SeqCst);
                return;
            };
            loop {
                let answer = match asker {
                    0 | 1 => read(&link).await,
                    _ => lease(&link).await,
                };
                let Ok(answer) = answer else {
                    broken.fetch_add(1, Ordering::SeqCst);
                    return;
                };
                let _ = sender.send(answer);
            }
        });
    }
    load
}

/// A server that dies breaks off; it never says anything else.
fn passing(error: &ClientError, broken: &AtomicU64) {
    let cut_off = matches!(
        error,
        ClientError::Unreachable { .. } | ClientError::Broken(_) | ClientError::Slow(_)
    );
    assert!(cut_off, "{error:?}");
    broken.fetch_add(1, Ordering::SeqCst);
}

async fn newest(server: &LoneServer) -> Result<u64, ClientError> {
    let path = [("name", SECRET)];
    let asked = Question {
        path: &path,
        query: &[],
    };
    let shown = server.client().get::<Value>(Call::Secret, asked).await?;
    Ok(shown.data["version"].as_u64().unwrap())
}

async fn read(link: &NodeLink<'_>) -> Result<Answer, agent::ports::LinkError> {
    let request = ReadRequest {
        v: 1,
        secret: SECRET.parse().unwrap(),
    };
    let key = PrivateKey::generate(Suite::X25519).unwrap();
    let reply = link.ask(Action::Read, &request, &key, shipped()).await?;
    let value = opened(&reply, &key, ReleaseInfo::Read, &request);
    assert!(value.starts_with(b"version "), "{reply:?}");
    Ok(Answer::of_reply(Kind::Read, reply))
}

async fn lease(link: &NodeLink<'_>) -> Result<Answer, agent::ports::LinkError> {
    let seed: Vec<u8> = (0..4)
        .flat_map(|_| random(u64::MAX).to_be_bytes())
        .collect();
    let password = Password::from_random(&seed.clone().try_into().unwrap());
    let salt = Salt::from_random(seed[..16].try_into().unwrap());
    let proof = verifier(&password, salt, Iterations::DEFAULT);
    let request = LeaseRequest {
        v: 1,
        credential: "postgresql/records".parse().unwrap(),
        verifier: proof.expose_text().to_string(),
    };
    let key = PrivateKey::generate(Suite::X25519).unwrap();
    let reply = link.ask(Action::Lease, &request, &key, shipped()).await?;
    let connection = opened(&reply, &key, ReleaseInfo::Lease, &request);
    let connection: LeasedConnection = serde_json::from_slice(&connection).unwrap();
    Ok(Answer::of_reply(Kind::Lease(connection.user), reply))
}

/// What came, which opens with this key alone, for this request and this leaf alone.
fn opened(reply: &Reply, key: &PrivateKey, info: ReleaseInfo, request: &impl Canonical) -> Vec<u8> {
    let Outcome::Sealed { enc, ct, .. } = &reply.outcome else {
        panic!("{reply:?}")
    };
    let request = request.to_canonical().unwrap();
    let value = open_release(key, info, &request, &reply.leaf, enc, ct);
    value.unwrap().to_vec()
}

impl Answer {
    fn of_receipt(kind: Kind, receipt: &web::wire::Receipt) -> Self {
        use base64::Engine;
        let leaf = base64::engine::general_purpose::STANDARD.decode(&receipt.leaf);
        Self {
            kind,
            leaf: leaf.unwrap(),
            proof: receipt.proof.clone(),
        }
    }

    fn of_reply(kind: Kind, reply: Reply) -> Self {
        let Reply { leaf, proof, .. } = reply;
        Self { kind, leaf, proof }
    }
}

/// Otherwise nothing would have been tried.
fn the_load_was_one(answers: &[Answer], broken: u64) {
    let count = |of: fn(&Kind) -> bool| answers.iter().filter(|answer| of(&answer.kind)).count();
    let counts = [
        count(|kind| *kind == Kind::Status),
        count(|kind| matches!(kind, Kind::Secret(_))),
        count(|kind| *kind == Kind::Read),
        count(|kind| matches!(kind, Kind::Lease(_))),
    ];
    assert!(counts.iter().all(|count| *count >= KILLS / 4), "{counts:?}");
    assert!(broken >= KILLS as u64, "{broken} requests were broken off");
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

/// After the sweep the database has exactly the roles of the leases that live, and each answered lease is one of them.
async fn roles_and_leases_agree(server: &LoneServer, postgres: &Postgres, answers: &[Answer]) {
    let mut last = String::new();
    let agree = async || {
        let leases = leases(server).await;
        let live = leases.iter().filter(|lease| lease.state != "ended");
        let live: BTreeSet<String> = live.map(|lease| lease.role.clone()).collect();
        let roles: BTreeSet<String> = postgres.roles("bw_").unwrap().into_iter().collect();
        last = format!(
            "orphans {:?}, without a role {:?}, all {leases:?}",
            roles.difference(&live),
            live.difference(&roles)
        );
        (roles == live).then_some(roles)
    };
    let roles = until_async("roles and leases to agree", PATIENCE, agree).await;
    let roles = roles.unwrap_or_else(|error| panic!("{error}: {last}; {}", server.log()));
    for answer in answers {
        if let Kind::Lease(role) = &answer.kind {
            assert!(roles.contains(role), "`{role}` was answered and is gone");
        }
    }
    let granted = leases(server).await;
    let pending: Vec<_> = granted
        .iter()
        .filter(|lease| lease.state == "pending")
        .collect();
    assert!(pending.is_empty(), "{pending:?}");
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
