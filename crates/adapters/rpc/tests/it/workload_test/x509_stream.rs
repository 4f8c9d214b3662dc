//! The stream of X.509-SVIDs: the whole state at once, again at each change, and an end that says why.

use std::{sync::Arc, time::Duration};

use agent::AgentError;
use proto::spiffe::{X509BundlesRequest, X509svidRequest, X509svidResponse};
use tonic::{Code, Status, Streaming};

use super::{
    fake::{FakeAgent, Served, answer, bundle, facts, id, served, x509},
    spiffe::{api, plain},
};

async fn x509_stream(served: &Served) -> Result<Streaming<X509svidResponse>, Status> {
    api(served)
        .await
        .fetch_x509svid(plain(X509svidRequest {}))
        .await
        .map(tonic::Response::into_inner)
}

/// The status that ends a stream; messages before it are passed over.
async fn end(stream: &mut Streaming<X509svidResponse>) -> Status {
    loop {
        match stream.message().await {
            Ok(Some(_)) => {}
            Ok(None) => return Status::ok(""),
            Err(status) => return status,
        }
    }
}

async fn x509_code(agent: Arc<FakeAgent>) -> Code {
    let served = served(agent);
    match x509_stream(&served).await {
        Ok(mut stream) => end(&mut stream).await.code(),
        Err(status) => status.code(),
    }
}

#[tokio::test]
async fn the_first_message_comes_at_once_and_is_the_whole_state() {
    let served = served(FakeAgent::new());
    let message = x509_stream(&served)
        .await
        .unwrap()
        .message()
        .await
        .unwrap()
        .unwrap();
    let [svid] = message.svids.as_slice() else {
        unreachable!("one identity")
    };
    assert_eq!(svid.spiffe_id, id().to_string());
    assert_eq!(
        (svid.x509_svid.as_slice(), svid.x509_svid_key.as_slice()),
        ([1, 1, 1, 2].as_slice(), [1, 3].as_slice())
    );
    assert_eq!(
        svid.bundle,
        served.agent.bundle.borrow().x509().to_der_chain()
    );
    assert!(svid.hint.is_empty() && message.crl.is_empty() && message.federated_bundles.is_empty());
}

#[tokio::test]
async fn the_caller_is_the_process_that_the_kernel_names() {
    let served = served(FakeAgent::new());
    x509_stream(&served).await.unwrap().message().await.unwrap();
    let callers = served.agent.callers.lock().unwrap();
    assert!(!callers.is_empty() && callers.iter().all(|pid| *pid == std::process::id()));
}

#[tokio::test]
async fn a_denial_is_permission_denied_and_silence_is_unavailable() {
    let denied = || AgentError::Denied {
        code: "denied".to_owned(),
        reason: "no".to_owned(),
        receipt: None,
    };
    for (error, code) in [
        (denied(), Code::PermissionDenied),
        (
            AgentError::Caller("gone".to_owned()),
            Code::PermissionDenied,
        ),
        (AgentError::Banned, Code::PermissionDenied),
        (AgentError::NotAttested, Code::Unavailable),
        (
            AgentError::Unavailable("down".to_owned()),
            Code::Unavailable,
        ),
        (
            AgentError::BadReceipt("forged".to_owned()),
            Code::Unavailable,
        ),
    ] {
        let agent = FakeAgent::new();
        answer(&agent.x509, [Err(error.clone())]);
        assert_eq!(x509_code(agent).await, code, "{error}");
        let agent = FakeAgent::new();
        answer(&agent.facts, [Err(error.clone())]);
        assert_eq!(x509_code(agent).await, code, "{error}");
    }
}

#[tokio::test]
async fn an_svid_is_renewed_before_it_ends() {
    let served = served(FakeAgent::new());
    let life = Duration::from_millis(400);
    answer(
        &served.agent.x509,
        [
            Ok(x509(1, life)),
            Ok(x509(2, life)),
            Ok(x509(3, Duration::from_secs(60))),
        ],
    );
    let mut stream = x509_stream(&served).await.unwrap();
    for serial in 1..=3 {
        let message = stream.message().await.unwrap().unwrap();
        assert_eq!(message.svids[0].x509_svid_key, [serial, 3]);
    }
}

#[tokio::test]
async fn a_server_that_is_away_for_a_moment_ends_nothing() {
    let served = served(FakeAgent::new());
    let away = AgentError::Unavailable("down".to_owned());
    let (short, long) = (Duration::from_secs(2), Duration::from_secs(60));
    answer(
        &served.agent.x509,
        [Ok(x509(1, short)), Err(away), Ok(x509(2, long))],
    );
    let mut stream = x509_stream(&served).await.unwrap();
    assert_eq!(
        stream.message().await.unwrap().unwrap().svids[0].x509_svid_key,
        [1, 3]
    );
    assert_eq!(
        stream.message().await.unwrap().unwrap().svids[0].x509_svid_key,
        [2, 3]
    );
}

#[tokio::test]
async fn a_server_that_stays_away_ends_the_stream_with_the_svid() {
    let served = served(FakeAgent::new());
    let away = AgentError::Unavailable("down".to_owned());
    answer(
        &served.agent.x509,
        [Ok(x509(1, Duration::from_millis(100))), Err(away)],
    );
    let mut stream = x509_stream(&served).await.unwrap();
    assert_eq!(end(&mut stream).await.code(), Code::Unavailable);
}

#[tokio::test]
async fn a_new_policy_is_a_new_decision() {
    let served = served(FakeAgent::new());
    let mut stream = x509_stream(&served).await.unwrap();
    stream.message().await.unwrap().unwrap();
    answer(&served.agent.x509, [Ok(x509(2, Duration::from_secs(60)))]);
    served
        .agent
        .standing
        .send_modify(|standing| standing.policy += 1);
    assert_eq!(
        stream.message().await.unwrap().unwrap().svids[0].x509_svid_key,
        [2, 3]
    );

    let denied = AgentError::Denied {
        code: "denied".to_owned(),
        reason: "no more".to_owned(),
        receipt: None,
    };
    answer(&served.agent.x509, [Err(denied)]);
    served
        .agent
        .standing
        .send_modify(|standing| standing.policy += 1);
    let status = end(&mut stream).await;
    assert_eq!(
        (status.code(), status.message()),
        (Code::PermissionDenied, "denied: no more")
    );
}

#[tokio::test]
async fn a_new_bundle_is_pushed_with_the_same_svid() {
    let served = served(FakeAgent::new());
    let mut stream = x509_stream(&served).await.unwrap();
    let first = stream.message().await.unwrap().unwrap();
    served.agent.bundle.send_replace(Arc::new(bundle(2)));
    let second = stream.message().await.unwrap().unwrap();
    assert_eq!(first.svids[0].x509_svid, second.svids[0].x509_svid);
    assert_ne!(first.svids[0].bundle, second.svids[0].bundle);
}

#[tokio::test]
async fn a_process_that_changed_is_decided_on_anew() {
    let served = served(FakeAgent::new());
    let mut stream = x509_stream(&served).await.unwrap();
    stream.message().await.unwrap().unwrap();
    answer(&served.agent.x509, [Ok(x509(2, Duration::from_secs(60)))]);
    answer(&served.agent.facts, [Ok(facts(0))]);
    assert_eq!(
        stream.message().await.unwrap().unwrap().svids[0].x509_svid_key,
        [2, 3]
    );
    answer(
        &served.agent.facts,
        [Err(AgentError::Caller("it ended".to_owned()))],
    );
    assert_eq!(end(&mut stream).await.code(), Code::PermissionDenied);
}

#[tokio::test]
async fn a_ban_and_too_long_a_silence_end_every_stream() {
    let served = served(FakeAgent::new());
    let mut stream = x509_stream(&served).await.unwrap();
    stream.message().await.unwrap().unwrap();
    served
        .agent
        .standing
        .send_modify(|standing| standing.banned = true);
    assert_eq!(end(&mut stream).await.code(), Code::PermissionDenied);

    served
        .agent
        .standing
        .send_modify(|standing| standing.banned = false);
    let mut bundles = api(&served)
        .await
        .fetch_x509_bundles(plain(X509BundlesRequest {}))
        .await
        .unwrap()
        .into_inner();
    bundles.message().await.unwrap().unwrap();
    served
        .agent
        .standing
        .send_modify(|standing| standing.offline = true);
    assert_eq!(
        bundles.message().await.unwrap_err().code(),
        Code::Unavailable
    );
}

fn in_container(container: &str) -> evidence::WorkloadFacts {
    evidence::WorkloadFacts {
        container: Some(container_named(container)),
        ..facts(1000)
    }
}

fn container_named(id: &str) -> evidence::ContainerRef {
    evidence::ContainerRef {
        runtime_namespace: "k8s.io".into(),
        id: id.into(),
    }
}

#[tokio::test]
async fn a_hand_in_the_container_ends_its_stream_at_once_and_no_other() {
    let agent = FakeAgent::new();
    answer(&agent.facts, [Ok(in_container("app"))]);
    let served = served(agent);
    let mut stream = x509_stream(&served).await.unwrap();
    stream.message().await.unwrap().unwrap();
    served.agent.hands.touch(&container_named("other"));
    let quiet = tokio::time::timeout(Duration::from_millis(100), stream.message()).await;
    assert!(quiet.is_err(), "another container's hand");
    served.agent.hands.touch(&container_named("app"));
    let ended = tokio::time::timeout(Duration::from_secs(5), end(&mut stream)).await;
    assert_eq!(ended.unwrap().code(), Code::PermissionDenied);
    // Whoever comes again is decided about anew.
    let mut again = x509_stream(&served).await.unwrap();
    again.message().await.unwrap().unwrap();
}

#[tokio::test]
async fn a_hand_ends_a_stream_also_while_its_renewal_waits_for_a_server() {
    let agent = FakeAgent::new();
    answer(&agent.facts, [Ok(in_container("app"))]);
    let away = || Err(AgentError::Unavailable("away".into()));
    answer(&agent.x509, [Ok(x509(1, Duration::from_secs(60))), away()]);
    let served = served(agent);
    let mut stream = x509_stream(&served).await.unwrap();
    stream.message().await.unwrap().unwrap();
    served
        .agent
        .standing
        .send_modify(|standing| standing.policy += 1);
    tokio::time::sleep(Duration::from_millis(100)).await;
    served.agent.hands.touch(&container_named("app"));
    let ended = tokio::time::timeout(Duration::from_secs(5), end(&mut stream)).await;
    assert_eq!(ended.unwrap().code(), Code::PermissionDenied);
}
