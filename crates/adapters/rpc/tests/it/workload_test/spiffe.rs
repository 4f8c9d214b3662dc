//! SPIFFE Workload Endpoint and Workload API, X.509 and JWT profiles.

use std::{path::Path, sync::Arc};

use agent::JwtSvid;
use hyper_util::rt::TokioIo;
use proto::{
    bailiwick::workload::v1::{
        ExplainRequest, LeaseRequest, ReadRequest, delivery_client::DeliveryClient,
    },
    spiffe::{
        JwtBundlesRequest, JwtsvidRequest, ValidateJwtsvidRequest, X509BundlesRequest,
        X509svidRequest, X509svidResponse, spiffe_workload_api_client::SpiffeWorkloadApiClient,
    },
};
use spiffe_id::Bundle;
use tokio::net::UnixStream;
use tonic::{
    Code, Request,
    codegen::http,
    transport::{Channel, Endpoint},
};

use super::fake::{FakeAgent, Served, answer, id, jwt_authority, now, served, token};

pub(crate) async fn channel(path: &Path) -> Channel {
    let path = path.to_owned();
    let connector = tower::service_fn(move |_| {
        let path = path.clone();
        async move { UnixStream::connect(path).await.map(TokioIo::new) }
    });
    Endpoint::from_static("http://agent.invalid")
        .connect_with_connector(connector)
        .await
        .unwrap()
}

pub(crate) async fn api(served: &Served) -> SpiffeWorkloadApiClient<Channel> {
    SpiffeWorkloadApiClient::new(channel(&served.path).await)
}

fn with<T>(message: T, values: &[&'static str]) -> Request<T> {
    let mut request = Request::new(message);
    for value in values {
        request
            .metadata_mut()
            .append("workload.spiffe.io", value.parse().unwrap());
    }
    request
}

pub(crate) fn plain<T>(message: T) -> Request<T> {
    with(message, &["true"])
}

//= Workload Endpoint, section 3: "MUST be rejected ... InvalidArgument"
#[tokio::test]
async fn every_method_wants_the_security_header_exactly_once() {
    let served = served(FakeAgent::new());
    let mut spiffe = api(&served).await;
    let mut delivery = DeliveryClient::new(channel(&served.path).await);
    for values in [
        &[] as &[&str],
        &["false"],
        &["TRUE"],
        &[""],
        &["true", "true"],
        &["true", "false"],
    ] {
        let codes = [
            spiffe
                .fetch_x509svid(with(X509svidRequest {}, values))
                .await
                .map(drop),
            spiffe
                .fetch_x509_bundles(with(X509BundlesRequest {}, values))
                .await
                .map(drop),
            spiffe
                .fetch_jwtsvid(with(JwtsvidRequest::default(), values))
                .await
                .map(drop),
            spiffe
                .fetch_jwt_bundles(with(JwtBundlesRequest {}, values))
                .await
                .map(drop),
            spiffe
                .validate_jwtsvid(with(ValidateJwtsvidRequest::default(), values))
                .await
                .map(drop),
            delivery
                .read(with(ReadRequest::default(), values))
                .await
                .map(drop),
            delivery
                .lease(with(LeaseRequest::default(), values))
                .await
                .map(drop),
            delivery
                .explain(with(ExplainRequest {}, values))
                .await
                .map(drop),
        ];
        for answer in codes {
            let status = answer.unwrap_err();
            assert_eq!(status.code(), Code::InvalidArgument);
            assert!(
                status.message().contains("security header"),
                "{values:?}: {status}"
            );
        }
    }
    assert!(
        served.agent.callers.lock().unwrap().is_empty(),
        "nobody was measured"
    );
}

//= Workload API: a profile that is not there is answered with Unimplemented
#[tokio::test]
async fn the_wit_profile_is_unimplemented() {
    let served = served(FakeAgent::new());
    let mut grpc = tonic::client::Grpc::new(channel(&served.path).await);
    grpc.ready().await.unwrap();
    let codec = tonic_prost::ProstCodec::<X509svidRequest, X509svidResponse>::default();
    let path = http::uri::PathAndQuery::from_static("/SpiffeWorkloadAPI/FetchWITSVID");
    let status = grpc
        .unary(plain(X509svidRequest {}), path, codec)
        .await
        .unwrap_err();
    assert_eq!(status.code(), Code::Unimplemented);
}

#[tokio::test]
async fn bundles_come_by_the_id_of_their_trust_domain_and_again_when_they_change() {
    let (_, first) = jwt_authority();
    let agent = FakeAgent::new();
    agent.bundle.send_replace(Arc::new(first.clone()));
    let served = served(agent);
    let mut x509 = api(&served)
        .await
        .fetch_x509_bundles(plain(X509BundlesRequest {}))
        .await
        .unwrap()
        .into_inner();
    let mut jwt = api(&served)
        .await
        .fetch_jwt_bundles(plain(JwtBundlesRequest {}))
        .await
        .unwrap()
        .into_inner();
    let roots = x509.message().await.unwrap().unwrap().bundles;
    assert_eq!(roots["spiffe://td.lab"], first.x509().to_der_chain());
    let keys = jwt.message().await.unwrap().unwrap().bundles;
    let keys: serde_json::Value = serde_json::from_slice(&keys["spiffe://td.lab"]).unwrap();
    assert_eq!(keys["keys"].as_array().unwrap().len(), 1);
    assert_eq!(
        (
            keys["keys"][0]["kid"].as_str(),
            keys["keys"][0]["use"].as_str()
        ),
        (Some("k1"), Some("jwt-svid"))
    );
    let (_, second) = jwt_authority();
    served.agent.bundle.send_replace(Arc::new(second.clone()));
    assert_eq!(
        x509.message().await.unwrap().unwrap().bundles["spiffe://td.lab"],
        second.x509().to_der_chain()
    );
    assert!(jwt.message().await.unwrap().is_some());
}

#[tokio::test]
async fn before_the_node_has_a_bundle_nothing_is_trusted_and_nothing_is_said() {
    let agent = FakeAgent::new();
    agent
        .bundle
        .send_replace(Arc::new(Bundle::new(&"td.lab".parse().unwrap())));
    let served = served(agent);
    let mut api = api(&served).await;
    let mut x509 = api
        .fetch_x509_bundles(plain(X509BundlesRequest {}))
        .await
        .unwrap()
        .into_inner();
    assert_eq!(x509.message().await.unwrap_err().code(), Code::Unavailable);
    let mut jwt = api
        .fetch_jwt_bundles(plain(JwtBundlesRequest {}))
        .await
        .unwrap()
        .into_inner();
    assert_eq!(jwt.message().await.unwrap_err().code(), Code::Unavailable);
    let question = ValidateJwtsvidRequest {
        audience: "a".to_owned(),
        svid: "t".to_owned(),
    };
    assert_eq!(
        api.validate_jwtsvid(plain(question))
            .await
            .unwrap_err()
            .code(),
        Code::Unavailable
    );
}

#[tokio::test]
async fn a_jwt_svid_needs_an_audience_and_the_callers_own_id() {
    let served = served(FakeAgent::new());
    let svid = JwtSvid {
        id: id(),
        token: "token".to_owned(),
        expires: now(),
    };
    answer(&served.agent.jwt, [Ok(svid)]);
    let mut api = api(&served).await;
    let mut ask = async |audience: &[&str], spiffe_id: &str| {
        let audience = audience.iter().map(ToString::to_string).collect();
        let request = JwtsvidRequest {
            audience,
            spiffe_id: spiffe_id.to_owned(),
        };
        api.fetch_jwtsvid(plain(request))
            .await
            .map(tonic::Response::into_inner)
    };
    for audience in [&[] as &[&str], &[""], &["a", ""]] {
        assert_eq!(
            ask(audience, "").await.unwrap_err().code(),
            Code::InvalidArgument
        );
    }
    assert_eq!(
        ask(&["a"], "https://no").await.unwrap_err().code(),
        Code::InvalidArgument
    );
    assert_eq!(
        ask(&["a"], "spiffe://td.lab/other")
            .await
            .unwrap_err()
            .code(),
        Code::PermissionDenied
    );
    for own in ["", "spiffe://td.lab/records/reader"] {
        let answer = ask(&["a"], own).await.unwrap();
        assert_eq!(
            (
                answer.svids[0].spiffe_id.as_str(),
                answer.svids[0].svid.as_str()
            ),
            (id().to_string().as_str(), "token")
        );
    }
}

#[tokio::test]
async fn a_token_is_validated_for_its_audience_with_all_its_claims() {
    let (key, bundle) = jwt_authority();
    let (stranger, _) = jwt_authority();
    let agent = FakeAgent::new();
    agent.bundle.send_replace(Arc::new(bundle));
    let served = served(agent);
    let mut api = api(&served).await;
    let mut ask = async |audience: &str, svid: &str| {
        let request = ValidateJwtsvidRequest {
            audience: audience.to_owned(),
            svid: svid.to_owned(),
        };
        api.validate_jwtsvid(plain(request))
            .await
            .map(tonic::Response::into_inner)
    };
    let good = token(&key, "vault", 300);
    let valid = ask("vault", &good).await.unwrap();
    assert_eq!(valid.spiffe_id, id().to_string());
    let claims = valid.claims.unwrap().fields;
    let Some(prost_types::value::Kind::StructValue(ours)) = &claims["bailiwick"].kind else {
        unreachable!("an object")
    };
    assert_eq!(
        ours.fields["leaf"].kind,
        Some(prost_types::value::Kind::NumberValue(7.0))
    );
    for (audience, svid) in [
        ("", good.as_str()),
        ("vault", ""),
        ("other", &good),
        ("vault", "a.b.c"),
        ("vault", &good[..good.len() - 4]),
        ("vault", &token(&key, "vault", -1)),
        ("vault", &token(&stranger, "vault", 300)),
    ] {
        assert_eq!(
            ask(audience, svid).await.unwrap_err().code(),
            Code::InvalidArgument,
            "{audience}"
        );
    }
}
