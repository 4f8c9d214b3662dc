//! The decoders' socket.

use std::{
    io::{Read, Write},
    os::unix::net::UnixStream,
    path::PathBuf,
    sync::Arc,
};

use agent::AgentError;
use custody::ReleaseInfo;
use estate::Digest;
use evidence::{
    Confirmation,
    request::{Canonical, LayerDescriptor, LayerUse, OpenRequest},
};
use hpke_xwing::{PrivateKey, Suite};
use rpc::{
    key_socket::{KeyClient, KeyRequest, KeySocketError, serve},
    released::{Lab, SealedAnswer, Trust, Untrusted},
    unix::{self, Access},
};
use tempfile::TempDir;

use super::{
    delivery::{log, release},
    fake::{FakeAgent, answer},
};

struct Socket {
    path: PathBuf,
    agent: Arc<FakeAgent>,
    _folder: TempDir,
}

fn socket() -> Socket {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("keys.sock");
    let agent = FakeAgent::new();
    let listener = unix::listen(&path, Access::Root).unwrap();
    tokio::spawn(serve(
        Arc::clone(&agent),
        listener,
        |peer: peer::Peer| peer.pid(),
        std::future::pending(),
    ));
    Socket {
        path,
        agent,
        _folder: folder,
    }
}

fn layer() -> LayerDescriptor {
    let media_type = "application/vnd.oci.image.layer.v1.tar+encrypted".to_owned();
    LayerDescriptor {
        digest: Digest::of("layer"),
        size: 5,
        media_type,
    }
}

async fn ask(socket: &Socket, key: &PrivateKey) -> Result<SealedAnswer, KeySocketError> {
    let client = KeyClient::new(&socket.path);
    let request = KeyRequest::new(
        b"packet",
        "medrec".parse().unwrap(),
        layer(),
        Confirmation::of(key.public_key()),
    );
    tokio::task::spawn_blocking(move || client.open(&request))
        .await
        .unwrap()
}

fn is_root() -> bool {
    rustix::process::geteuid().is_root()
}

#[tokio::test]
async fn root_gets_a_key_that_is_sealed_and_on_record_and_nobody_else_gets_an_answer() {
    let socket = socket();
    *socket.agent.release.lock().unwrap() =
        Box::new(|asked, cnf| Ok(release(asked, cnf, &log("td/log"))));
    let key = PrivateKey::generate(Suite::XWing).unwrap();
    let answer = ask(&socket, &key).await;
    if !is_root() {
        assert!(matches!(answer, Err(KeySocketError::Broken(_))));
        return;
    }
    let expected = |canonical: &[u8]| {
        let asked = OpenRequest::from_canonical(canonical).unwrap();
        asked.packet == Digest::of("packet")
            && asked.image.as_str() == "medrec"
            && asked.layer == layer()
    };
    let opened = answer
        .unwrap()
        .open(
            &Trust::in_agent(Lab::Refused),
            &key,
            ReleaseInfo::Open,
            expected,
        )
        .unwrap();
    assert_eq!(opened.as_slice(), b"value");
}

#[tokio::test]
async fn each_refusal_keeps_its_kind_and_its_reason() {
    if !is_root() {
        return;
    }
    let socket = socket();
    let key = PrivateKey::generate(Suite::XWing).unwrap();
    let set = |error: AgentError| {
        *socket.agent.release.lock().unwrap() = Box::new(move |_, _| Err(error.clone()))
    };
    set(AgentError::Denied {
        code: "denied".to_owned(),
        reason: "not in DAL05".to_owned(),
        receipt: None,
    });
    assert_eq!(
        ask(&socket, &key).await.unwrap_err().to_string(),
        "denied: not in DAL05"
    );
    set(AgentError::Banned);
    assert!(matches!(
        ask(&socket, &key).await,
        Err(KeySocketError::Denied { .. })
    ));
    set(AgentError::NotAttested);
    assert!(matches!(
        ask(&socket, &key).await,
        Err(KeySocketError::Unavailable(_))
    ));
    set(AgentError::Caller("no decoder".to_owned()));
    assert!(matches!(
        ask(&socket, &key).await,
        Err(KeySocketError::Refused(_))
    ));
}

async fn ask_uses(socket: &Socket) -> Result<Vec<LayerUse>, KeySocketError> {
    let client = KeyClient::new(&socket.path);
    tokio::task::spawn_blocking(move || client.layer_uses(layer().digest))
        .await
        .unwrap()
}

#[tokio::test]
async fn where_a_layer_is_listed_is_told_to_root_and_nobody_else() {
    let socket = socket();
    let uses = vec![LayerUse {
        manifest: Digest::of("manifest"),
        config: Digest::of("config"),
        index: 1,
        of: 2,
        diff_id: None,
    }];
    answer(
        &socket.agent.uses,
        [
            Ok(uses.clone()),
            Ok(Vec::new()),
            Err(AgentError::Caller("no decoder".to_owned())),
        ],
    );
    let first = ask_uses(&socket).await;
    if !is_root() {
        assert!(matches!(first, Err(KeySocketError::Broken(_))));
        return;
    }
    assert_eq!(first.unwrap(), uses);
    assert_eq!(ask_uses(&socket).await.unwrap(), []);
    assert!(matches!(
        ask_uses(&socket).await,
        Err(KeySocketError::Refused(_))
    ));
    answer(
        &socket.agent.uses,
        [Err(AgentError::Unavailable("no runtime".to_owned()))],
    );
    assert!(matches!(
        ask_uses(&socket).await,
        Err(KeySocketError::Unavailable(_))
    ));
}

#[tokio::test]
async fn hostile_questions_are_refused_or_closed() {
    if !is_root() {
        return;
    }
    let socket = socket();
    let say = async |bytes: Vec<u8>| {
        let path = socket.path.clone();
        let ask = move || {
            let mut stream = UnixStream::connect(path).unwrap();
            stream.write_all(&bytes).unwrap();
            stream.shutdown(std::net::Shutdown::Write).unwrap();
            let mut answer = Vec::new();
            let _ = stream.read_to_end(&mut answer);
            String::from_utf8_lossy(&answer).into_owned()
        };
        tokio::task::spawn_blocking(ask).await.unwrap()
    };
    let framed = |body: &[u8]| {
        [
            u32::try_from(body.len()).unwrap().to_be_bytes().as_slice(),
            body,
        ]
        .concat()
    };
    for body in [
        b"".as_slice(),
        b"{}",
        b"null",
        br#"{"v":1}"#,
        br#"{"v":1,"usesOf":"sha256:ab"}"#,
        br#"{"v":1,"usesOf":null}"#,
    ] {
        assert!(say(framed(body)).await.contains(r#""outcome":"refused""#));
    }
    for raw in [vec![0xff; 4], vec![0, 0, 0, 9, b'{'], vec![1]] {
        assert_eq!(say(raw).await, "");
    }
    assert!(socket.agent.callers.lock().unwrap().is_empty());
}

#[tokio::test]
async fn without_a_socket_there_is_no_agent() {
    let client = KeyClient::new(std::path::Path::new("/does/not/exist.sock"));
    assert!(!client.is_there());
    let key = PrivateKey::generate(Suite::X25519).unwrap();
    let request = KeyRequest::new(
        b"p",
        "medrec".parse().unwrap(),
        layer(),
        Confirmation::of(key.public_key()),
    );
    assert!(matches!(
        client.open(&request),
        Err(KeySocketError::NoAgent { .. })
    ));
}

/// What a decoder makes of an answer that somebody bent.
async fn untrusted(bend: fn(&mut agent::Delivered)) -> Untrusted {
    let socket = socket();
    *socket.agent.release.lock().unwrap() = Box::new(move |asked, cnf| {
        let mut delivered = release(asked, cnf, &log("td/log"));
        bend(&mut delivered);
        Ok(delivered)
    });
    let key = PrivateKey::generate(Suite::XWing).unwrap();
    let trust = Trust::in_agent(Lab::Refused);
    let answer = ask(&socket, &key).await.unwrap();
    let opened = answer.open(&trust, &key, ReleaseInfo::Open, |_| true);
    opened.unwrap_err()
}

#[tokio::test]
async fn a_key_whose_receipt_is_missing_or_forged_is_not_used() {
    if !is_root() {
        return;
    }
    let missing = untrusted(|answer| answer.proof.clear()).await;
    assert!(matches!(missing, Untrusted::Receipt(_)), "{missing}");
    // The right receipt under a key that did not sign it.
    let forged = untrusted(|answer| answer.ledger_key = log_of_another_seed());
    let forged = forged.await;
    assert!(matches!(forged, Untrusted::Receipt(_)), "{forged}");
    // Signed, and for a tree without this leaf.
    let unlogged = untrusted(|answer| answer.leaf = leaf_at(6)).await;
    assert!(matches!(unlogged, Untrusted::Receipt(_)), "{unlogged}");
}

fn log_of_another_seed() -> String {
    let signer = tlog::Signer::from_seed("td/log", &[4; 32]).unwrap();
    signer.verifier_key().to_string()
}

fn leaf_at(seconds: i64) -> Vec<u8> {
    let time = estate::Timestamp::from_seconds(seconds);
    let draft = ledger::Draft::new("open", &super::delivery::Fixed);
    draft.seal(time).unwrap().bytes
}
