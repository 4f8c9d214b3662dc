//! The load on a server that is about to die: requests of every kind at once, and every answer kept.

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

use accounts::scram::{Iterations, Password, Salt, verifier};
use agent::ports::{LinkError, Outcome, Reply};
use custody::{ReleaseInfo, open_release};
use evidence::Action;
use evidence::request::{Canonical, LeaseRequest, ReadRequest};
use fixture::until_async;
use hpke_xwing::{PrivateKey, Suite};
use real::{LoneServer, NodeLink, TokenNode, shipped};
use serde_json::Value;
use server::leases::LeasedConnection;
use tokio::task::JoinSet;
use web::client::Question;
use web::{Call, ClientError};

use super::{PATIENCE, SECRET, random};

/// An answer that somebody outside the server has in hand.
pub(super) struct Answer {
    pub(super) kind: Kind,
    pub(super) leaf: Vec<u8>,
    pub(super) proof: String,
}

/// What was asked for, and what came.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Kind {
    /// How the server is.
    Status,
    /// A secret's version.
    Secret(u64),
    /// A secret's value.
    Read,
    /// A lease's role.
    Lease(String),
}

/// Where answers are kept.
#[derive(Default)]
pub(super) struct Desk {
    answers: Mutex<Vec<Answer>>,
    broken: AtomicU64,
}

impl Kind {
    /// Which of the four.
    pub(super) fn number(&self) -> usize {
        match self {
            Self::Status => 0,
            Self::Secret(_) => 1,
            Self::Read => 2,
            Self::Lease(_) => 3,
        }
    }
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

impl Desk {
    fn keep(&self, answer: Answer) {
        self.answers().push(answer);
    }

    fn answers(&self) -> std::sync::MutexGuard<'_, Vec<Answer>> {
        self.answers.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// All answers, and how many requests were broken off.
    pub(super) fn take(&self) -> (Vec<Answer>, u64) {
        (
            std::mem::take(&mut self.answers()),
            self.broken.load(Ordering::SeqCst),
        )
    }

    /// How many answers of each kind there are.
    pub(super) fn counts(&self) -> [usize; 4] {
        let mut counts = [0; 4];
        for answer in self.answers().iter() {
            counts[answer.kind.number()] += 1;
        }
        counts
    }

    /// Waits until one more of each kind has come.
    pub(super) async fn one_more_of_each(&self, before: [usize; 4]) {
        let more = || {
            self.counts()
                .iter()
                .zip(before)
                .all(|(now, before)| *now > before)
        };
        let waited = until_async("answers of every kind", PATIENCE, async || {
            more().then_some(())
        });
        waited.await.unwrap();
    }

    /// A server that dies breaks off; it never says anything else.
    fn broke_off(&self, error: &ClientError) {
        let cut_off = matches!(
            error,
            ClientError::Unreachable { .. } | ClientError::Broken(_) | ClientError::Slow(_)
        );
        assert!(cut_off, "{error:?}");
        self.broken.fetch_add(1, Ordering::SeqCst);
    }

    fn link_broke_off(&self, error: &LinkError) {
        assert!(matches!(error, LinkError::Unavailable(_)), "{error:?}");
        self.broken.fetch_add(1, Ordering::SeqCst);
    }
}

/// Everybody asks, until each meets the end of the server.
pub(super) fn begin(
    server: &Arc<LoneServer>,
    node: &Arc<TokenNode>,
    desk: &Arc<Desk>,
) -> JoinSet<()> {
    let mut load = JoinSet::new();
    for _ in 0..2 {
        let (server, desk) = (Arc::clone(server), Arc::clone(desk));
        load.spawn(async move {
            let ended = ask_status(&server, &desk).await;
            desk.broke_off(&ended.unwrap_err());
        });
    }
    let (writer, kept) = (Arc::clone(server), Arc::clone(desk));
    load.spawn(async move {
        let ended = put_secrets(&writer, &kept).await;
        kept.broke_off(&ended.unwrap_err());
    });
    for asker in 0..5 {
        let (node, desk) = (Arc::clone(node), Arc::clone(desk));
        load.spawn(async move {
            let ended = ask_as_node(&node, &desk, asker < 2).await;
            desk.link_broke_off(&ended.unwrap_err());
        });
    }
    load
}

type Never = std::convert::Infallible;

async fn ask_status(server: &LoneServer, desk: &Desk) -> Result<Never, ClientError> {
    let client = server.client();
    loop {
        let answer = client
            .get::<Value>(Call::Status, Question::default())
            .await?;
        desk.keep(Answer::of_receipt(Kind::Status, &answer.receipt.unwrap()));
    }
}

async fn put_secrets(server: &LoneServer, desk: &Desk) -> Result<Never, ClientError> {
    let mut version = newest(server).await?;
    loop {
        version += 1;
        let value = format!("version {version}");
        let receipt = server.put_secret(SECRET, version, value.as_bytes()).await?;
        desk.keep(Answer::of_receipt(Kind::Secret(version), &receipt));
    }
}

async fn ask_as_node(node: &TokenNode, desk: &Desk, reads: bool) -> Result<Never, LinkError> {
    let link = node.connect().await?;
    loop {
        let answer = match reads {
            true => read(&link).await?,
            false => lease(&link).await?,
        };
        desk.keep(answer);
    }
}

/// The newest version of the secret.
pub(super) async fn newest(server: &LoneServer) -> Result<u64, ClientError> {
    let path = [("name", SECRET)];
    let asked = Question {
        path: &path,
        query: &[],
    };
    let shown = server.client().get::<Value>(Call::Secret, asked).await?;
    Ok(shown.data["version"].as_u64().unwrap())
}

async fn read(link: &NodeLink<'_>) -> Result<Answer, LinkError> {
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

async fn lease(link: &NodeLink<'_>) -> Result<Answer, LinkError> {
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
