//! Secrets and leases: what a client accepts, and what it refuses though the agent says that it is fine.

use std::sync::{Arc, Mutex};

use agent::{AgentError, Delivered, ports::Outcome};
use estate::{Digest, Timestamp};
use evidence::{
    Confirmation,
    request::{Canonical, LeaseRequest, OpenRequest, ReadRequest},
};
use ledger::{Draft, Entropy};
use proto::bailiwick::workload::v1::{self as wire, delivery_client};
use rpc::{
    delivery_client::{DeliveryClient, DeliveryError},
    released::{Lab, Trust, Untrusted},
};
use tlog::{Checkpoint, Receipt, Signer, leaf_hash};
use tonic::{Code, Request};

use super::{
    fake::{Asked, FakeAgent, Release, Served, served},
    spiffe::channel,
};

const VERIFIER: &str = "SCRAM-SHA-256$4096:AAAAAAAAAAAAAAAAAAAAAA==$A:B";

pub(crate) struct Fixed;
impl Entropy for Fixed {
    fn fill(&self, bytes: &mut [u8]) {
        bytes.fill(9);
    }
}

pub(crate) fn log(name: &str) -> Signer {
    Signer::from_seed(name, &[3; 32]).unwrap()
}

/// Answers as the real path does: leaf, receipt and a value sealed to the requester, bound to request and leaf.
pub(crate) fn release(asked: Asked, cnf: &Confirmation, log: &Signer) -> Delivered {
    let (request, info) = match asked {
        Asked::Read(secret) => (
            ReadRequest { v: 1, secret }.to_canonical(),
            "bailiwick/release/v1",
        ),
        Asked::Lease(credential, verifier) => (
            LeaseRequest {
                v: 1,
                credential,
                verifier,
            }
            .to_canonical(),
            "bailiwick/lease/v1",
        ),
        Asked::Open(packet, image, layer) => {
            let (packet, caller) = (Digest::of(packet), Digest::of("exe"));
            let open = OpenRequest {
                v: 1,
                image,
                packet,
                layer,
                uses: Vec::new(),
                caller,
                start_gate: evidence::request::StartGate::Everywhere,
            };
            (open.to_canonical(), "bailiwick/open/v1")
        }
    };
    let request = request.unwrap();
    let leaf = Draft::new("read", &Fixed)
        .seal(Timestamp::from_seconds(5))
        .unwrap()
        .bytes;
    let aad = ledger::commit::release_aad(Digest::of(&request), &leaf);
    let sealed =
        hpke_xwing::seal(&cnf.public_key().unwrap(), info.as_bytes(), &aad, b"value").unwrap();
    let checkpoint = Checkpoint::new(log.name(), 1, leaf_hash(&leaf))
        .unwrap()
        .sign(log)
        .unwrap();
    Delivered {
        request,
        proof: Receipt::new(0, Vec::new(), checkpoint).to_text(),
        leaf,
        ledger_key: log.verifier_key().to_string(),
        lab: false,
        outcome: Outcome::Sealed {
            suite: cnf.suite.clone(),
            enc: sealed.enc,
            ct: sealed.ct,
        },
    }
}

/// A socket whose agent answers truly and then bends the answer.
fn bent(log_name: &'static str, bend: impl Fn(&mut Delivered) + Send + Sync + 'static) -> Served {
    let agent = FakeAgent::new();
    let release: Release = Box::new(move |asked, cnf| {
        let mut delivered = release(asked, cnf, &log(log_name));
        bend(&mut delivered);
        Ok(delivered)
    });
    *agent.release.lock().unwrap() = release;
    served(agent)
}

async fn read(served: &Served, trust: Trust) -> Result<Vec<u8>, DeliveryError> {
    let mut client = DeliveryClient::connect(&served.path, trust).await?;
    client
        .read(&"db/token".parse().unwrap())
        .await
        .map(|value| value.to_vec())
}

async fn untrusted(bend: impl Fn(&mut Delivered) + Send + Sync + 'static) -> Untrusted {
    match read(&bent("td/log", bend), Trust::in_agent(Lab::Refused)).await {
        Err(DeliveryError::Untrusted(why)) => why,
        other => unreachable!("{other:?}"),
    }
}

#[tokio::test]
async fn a_secret_with_its_receipt_opens() {
    let pinned = Trust::in_ledger(log("td/log").verifier_key(), Lab::Refused);
    for trust in [pinned, Trust::in_agent(Lab::Refused)] {
        assert_eq!(
            read(&bent("td/log", |_| {}), trust).await.unwrap(),
            b"value"
        );
    }
}

#[tokio::test]
async fn a_lease_opens_for_its_own_verifier() {
    let served = bent("td/log", |_| {});
    let mut client = DeliveryClient::connect(&served.path, Trust::in_agent(Lab::Refused))
        .await
        .unwrap();
    let value = client
        .lease(&"medrec/db".parse().unwrap(), VERIFIER)
        .await
        .unwrap();
    assert_eq!(value.as_slice(), b"value");
}

#[tokio::test]
async fn an_answer_without_a_valid_receipt_is_not_used() {
    assert!(matches!(
        untrusted(|answer| answer.proof.clear()).await,
        Untrusted::Receipt(_)
    ));
    assert!(matches!(
        untrusted(|answer| answer.leaf.clear()).await,
        Untrusted::Leaf(_)
    ));
    assert!(matches!(
        untrusted(|answer| answer.ledger_key.clear()).await,
        Untrusted::LedgerKey(_)
    ));
    // Another leaf, well formed and never logged.
    let other = untrusted(|answer| {
        answer.leaf = Draft::new("other", &Fixed)
            .seal(Timestamp::from_seconds(6))
            .unwrap()
            .bytes;
    });
    assert!(matches!(other.await, Untrusted::Receipt(_)));
    // The right receipt under a key that did not sign it.
    let forged = untrusted(|answer| {
        answer.ledger_key = Signer::from_seed("td/log", &[4; 32])
            .unwrap()
            .verifier_key()
            .to_string();
    });
    assert!(matches!(forged.await, Untrusted::Receipt(_)));
}

#[tokio::test]
async fn an_answer_to_another_request_is_not_used() {
    let other = untrusted(|answer| {
        answer.request = ReadRequest {
            v: 1,
            secret: "db/other".parse().unwrap(),
        }
        .to_canonical()
        .unwrap();
    });
    assert!(matches!(other.await, Untrusted::OtherRequest));
    let changed = untrusted(|answer| {
        if let Outcome::Sealed { ct, .. } = &mut answer.outcome {
            ct[0] ^= 1;
        }
    });
    assert!(matches!(changed.await, Untrusted::Sealed(_)));
}

#[tokio::test]
async fn an_answer_that_was_sealed_to_an_earlier_request_is_not_used() {
    let first: Arc<Mutex<Option<Delivered>>> = Arc::default();
    let kept = Arc::clone(&first);
    let served = bent("td/log", move |answer| {
        let earlier = kept
            .lock()
            .unwrap()
            .get_or_insert_with(|| answer.clone())
            .clone();
        *answer = earlier;
    });
    let trust = Trust::in_agent(Lab::Refused);
    assert!(read(&served, trust.clone()).await.is_ok());
    let again = read(&served, trust).await;
    assert!(
        matches!(again, Err(DeliveryError::Untrusted(Untrusted::Sealed(_)))),
        "{again:?}"
    );
}

#[tokio::test]
async fn only_the_pinned_ledger_counts() {
    let other = Signer::from_seed("td/log", &[4; 32])
        .unwrap()
        .verifier_key();
    let answer = read(
        &bent("td/log", |_| {}),
        Trust::in_ledger(other, Lab::Refused),
    )
    .await;
    assert!(matches!(
        answer,
        Err(DeliveryError::Untrusted(Untrusted::OtherLedger { .. }))
    ));
}

#[tokio::test]
async fn a_lab_counts_only_where_it_is_accepted() {
    let lab = Trust::in_agent(Lab::Refused);
    let by_flag = read(&bent("td/log", |answer| answer.lab = true), lab.clone()).await;
    assert!(matches!(
        by_flag,
        Err(DeliveryError::Untrusted(Untrusted::Lab))
    ));
    // An agent that hides it is found out by the ledger's name.
    let by_name = read(&bent("td.lab/log", |_| {}), lab).await;
    assert!(matches!(
        by_name,
        Err(DeliveryError::Untrusted(Untrusted::Lab))
    ));
    assert!(
        read(&bent("td.lab/log", |_| {}), Trust::in_agent(Lab::Accepted))
            .await
            .is_ok()
    );
    let pinned = Trust::in_ledger(log("td.lab/log").verifier_key(), Lab::Refused);
    assert!(read(&bent("td.lab/log", |_| {}), pinned).await.is_ok());
}

#[tokio::test]
async fn a_denial_is_told_as_one_and_silence_can_pass() {
    let agent = FakeAgent::new();
    let served = served(Arc::clone(&agent));
    let set = |error: AgentError| {
        *agent.release.lock().unwrap() = Box::new(move |_, _| Err(error.clone()))
    };
    set(AgentError::Denied {
        code: "denied".to_owned(),
        reason: "not here".to_owned(),
        receipt: None,
    });
    let error = read(&served, Trust::default()).await.unwrap_err();
    assert_eq!(error.to_string(), "denied: not here");
    assert!(!error.is_passing());
    set(AgentError::NotAttested);
    assert!(
        read(&served, Trust::default())
            .await
            .unwrap_err()
            .is_passing()
    );
    set(AgentError::Caller("who".to_owned()));
    assert!(matches!(
        read(&served, Trust::default()).await,
        Err(DeliveryError::Denied { .. })
    ));
}

#[tokio::test]
async fn malformed_names_and_keys_are_refused_before_anybody_is_asked() {
    let served = bent("td/log", |_| {});
    let mut client = delivery_client::DeliveryClient::new(channel(&served.path).await);
    let key = hpke_xwing::PrivateKey::generate(hpke_xwing::Suite::XWing).unwrap();
    let (suite, key) = (
        key.public_key().suite().to_string(),
        key.public_key().to_bytes().to_vec(),
    );
    let mut ask = async |message: Result<wire::ReadRequest, wire::LeaseRequest>| {
        let status = match message {
            Ok(read) => client.read(signed_off(read)).await,
            Err(lease) => client.lease(signed_off(lease)).await,
        };
        status.map(drop).map_err(|status| status.code())
    };
    let read = wire::ReadRequest {
        secret: "db/token".to_owned(),
        suite: suite.clone(),
        key: key.clone(),
    };
    assert_eq!(ask(Ok(read.clone())).await, Ok(()));
    for bad in [
        wire::ReadRequest {
            secret: "../x".to_owned(),
            ..read.clone()
        },
        wire::ReadRequest {
            secret: String::new(),
            ..read.clone()
        },
        wire::ReadRequest {
            suite: "none".to_owned(),
            ..read.clone()
        },
        wire::ReadRequest {
            key: key[1..].to_vec(),
            ..read.clone()
        },
        wire::ReadRequest {
            key: Vec::new(),
            ..read
        },
    ] {
        assert_eq!(ask(Ok(bad)).await, Err(Code::InvalidArgument));
    }
    let lease = wire::LeaseRequest {
        credential: "medrec/db".to_owned(),
        scram_verifier: VERIFIER.to_owned(),
        suite,
        key,
    };
    assert_eq!(ask(Err(lease.clone())).await, Ok(()));
    for verifier in [
        String::new(),
        "hunter2".to_owned(),
        format!("{VERIFIER}{}", "A".repeat(300)),
    ] {
        assert_eq!(
            ask(Err(wire::LeaseRequest {
                scram_verifier: verifier,
                ..lease.clone()
            }))
            .await,
            Err(Code::InvalidArgument)
        );
    }
}

#[tokio::test]
async fn the_facts_are_explained_to_whom_they_are_about() {
    let served = served(FakeAgent::new());
    let mut client = DeliveryClient::connect(&served.path, Trust::default())
        .await
        .unwrap();
    let facts: serde_json::Value =
        serde_json::from_slice(&client.explain().await.unwrap()).unwrap();
    assert_eq!(facts, serde_json::json!({"uid": 1000}));
}

#[tokio::test]
async fn without_an_agent_the_client_says_where_it_looked() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("agent.sock");
    let Err(error) = DeliveryClient::connect(&path, Trust::default()).await else {
        unreachable!("nobody listens")
    };
    assert!(
        error.is_passing() && error.to_string().contains("agent.sock"),
        "{error}"
    );
}

fn signed_off<T>(message: T) -> Request<T> {
    let mut request = Request::new(message);
    request
        .metadata_mut()
        .insert("workload.spiffe.io", "true".parse().unwrap());
    request
}
