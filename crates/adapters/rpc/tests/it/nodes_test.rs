//! Each call of `bailiwick.node.v1`, without a certificate, with a person's, and with a node's: who is let in, and which
//! leaf says so.

use std::{collections::BTreeSet, sync::Arc};

use estate::Digest;
use evidence::request::{
    Canonical, ExecRequest, Hand, Held, IssueRequest, LayerDescriptor, LeaseRequest, OpenRequest,
    ReadRequest, StartRequest, SvidRequest,
};
use hyper_util::rt::TokioIo;
use proto::bailiwick::node::v1::{
    self as wire, nodes_client::NodesClient, nodes_server::NodesServer, release_reply::Outcome,
};
use rpc::{listener::Door, nodes::NodeService, tls_client::ServerTrust};
use rustls::{
    ClientConfig,
    pki_types::{CertificateDer, PrivateKeyDer, PrivatePkcs8KeyDer, ServerName},
    sign::{CertifiedKey, SingleCertAndKey},
};
use server::ports::Clock;
use test_server::{TestNode, TestServer};
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;
use tonic::{
    Code, Status,
    transport::{Channel, Endpoint, Uri},
};

/// Each method, and the kind of leaf that a release of it writes; the rest writes none of its own here.
const METHODS: [(&str, Option<&str>); 11] = [
    ("Attest", None),
    ("Quote", None),
    ("Open", Some("open")),
    ("Start", Some("start")),
    ("Read", Some("read")),
    ("Lease", Some("lease")),
    ("Issue", Some("issue")),
    ("Exec", Some("exec-refused")),
    ("Directives", None),
    ("Bundle", None),
    ("Consistency", None),
];

struct House {
    kit: TestServer,
    address: String,
    trust: ServerTrust,
}

impl House {
    async fn open() -> Self {
        let kit = TestServer::start().await;
        let tls = kit.tls("127.0.0.1");
        let clock = kit.clock.clone();
        let now = Arc::new(move || clock.now());
        let domain = kit.server.trust_domain().clone();
        let door = Door::new(domain.clone(), kit.root_der(), tls.chain, tls.key, now).unwrap();
        let listener = Door::listen("127.0.0.1:0".parse().unwrap()).await.unwrap();
        let address = listener.local_addr().unwrap().to_string();
        let incoming = tokio_stream::wrappers::ReceiverStream::new(door.accept(listener));
        let service = NodesServer::new(NodeService::new(Arc::clone(&kit.server)));
        tokio::spawn(
            tonic::transport::Server::builder()
                .add_service(service)
                .serve_with_incoming(incoming),
        );
        let trust = ServerTrust::new(&domain, &[kit.root_der().to_vec()]).unwrap();
        Self {
            kit,
            address,
            trust,
        }
    }

    fn with(&self, chain: &[Vec<u8>], pkcs8: &[u8]) -> ClientConfig {
        let key = PrivateKeyDer::from(PrivatePkcs8KeyDer::from(pkcs8.to_vec()));
        let key = rustls::crypto::aws_lc_rs::sign::any_supported_type(&key).unwrap();
        let chain = chain.iter().cloned().map(CertificateDer::from).collect();
        let mut config = self.trust.anonymous().unwrap();
        config.client_auth_cert_resolver =
            Arc::new(SingleCertAndKey::from(CertifiedKey::new(chain, key)));
        config
    }

    async fn client(
        &self,
        config: ClientConfig,
    ) -> Result<NodesClient<Channel>, tonic::transport::Error> {
        let (connector, address) = (TlsConnector::from(Arc::new(config)), self.address.clone());
        let dial = tower::service_fn(move |_: Uri| {
            let (connector, address) = (connector.clone(), address.clone());
            async move {
                let stream = TcpStream::connect(address).await?;
                let name = ServerName::try_from("127.0.0.1").unwrap();
                connector.connect(name, stream).await.map(TokioIo::new)
            }
        });
        let channel = Endpoint::from_static("http://node")
            .connect_with_connector(dial)
            .await?;
        Ok(NodesClient::new(channel))
    }
}

fn release(request: &impl Canonical) -> wire::ReleaseRequest {
    wire::ReleaseRequest {
        request: request.to_canonical().unwrap(),
        statement: "no.statement.at-all".to_owned(),
        packet: b"{}".to_vec(),
    }
}

/// Calls a method; a release answers its outcome.
async fn call(client: &mut NodesClient<Channel>, method: &str) -> Result<Option<Outcome>, Status> {
    let digest = Digest::of("layer");
    let layer = LayerDescriptor {
        digest,
        size: 1,
        media_type: "application/x+encrypted".into(),
    };
    let reply = match method {
        "Attest" => {
            let stream = client
                .attest(tokio_stream::empty())
                .await?
                .into_inner()
                .message()
                .await;
            return stream.map(|_| None);
        }
        "Quote" => {
            return client
                .quote(wire::QuoteRequest::default())
                .await
                .map(|_| None);
        }
        "Directives" => {
            return client
                .directives(wire::DirectivesRequest::default())
                .await
                .map(|_| None);
        }
        "Bundle" => return client.bundle(wire::BundleRequest {}).await.map(|_| None),
        "Consistency" => {
            return client
                .consistency(wire::ConsistencyRequest { old_size: 1 })
                .await
                .map(|_| None);
        }
        "Open" => {
            let image = "medrec".parse().unwrap();
            let request = OpenRequest {
                v: 1,
                image,
                packet: Digest::of("{}"),
                layer,
                uses: Vec::new(),
                caller: digest,
                start_gate: evidence::request::StartGate::Everywhere,
            };
            client.open(release(&request)).await?
        }
        "Start" => {
            client
                .start(release(&StartRequest {
                    v: 1,
                    image: "medrec".parse().unwrap(),
                }))
                .await?
        }
        "Read" => {
            client
                .read(release(&ReadRequest {
                    v: 1,
                    secret: "db/none".parse().unwrap(),
                }))
                .await?
        }
        "Lease" => {
            let credential = "postgresql/records".parse().unwrap();
            client
                .lease(release(&LeaseRequest {
                    v: 1,
                    credential,
                    verifier: String::new(),
                }))
                .await?
        }
        "Exec" => {
            client
                .exec(release(&ExecRequest {
                    v: 1,
                    hand: Hand::Exec,
                    argv: vec!["sh".into()],
                    images: Vec::new(),
                    held: Held::default(),
                }))
                .await?
        }
        _ => {
            let svid = SvidRequest::Jwt {
                audience: vec!["x".into()],
            };
            client.issue(release(&IssueRequest { v: 1, svid })).await?
        }
    };
    Ok(reply.into_inner().outcome)
}

#[test]
fn the_table_names_every_method() {
    let proto = include_str!("../../../proto/proto/bailiwick/node/v1/node.proto");
    let named = proto
        .lines()
        .filter_map(|line| line.trim().strip_prefix("rpc ")?.split('(').next());
    let tested: BTreeSet<&str> = METHODS.iter().map(|(name, _)| *name).collect();
    assert_eq!(named.collect::<BTreeSet<_>>(), tested);
}

#[tokio::test(flavor = "multi_thread")]
async fn without_a_certificate_only_attest_is_answered_and_nothing_is_written() {
    let house = House::open().await;
    let mut client = house
        .client(house.trust.anonymous().unwrap())
        .await
        .unwrap();
    let before = house.kit.leaves("read").await.len();
    for (method, _) in METHODS {
        let code = call(&mut client, method)
            .await
            .err()
            .map(|status| status.code());
        match method {
            // Let in, and told that a step is missing.
            "Attest" => assert_ne!(code, Some(Code::Unauthenticated)),
            _ => assert_eq!(code, Some(Code::Unauthenticated), "{method}"),
        }
    }
    assert_eq!(house.kit.leaves("read").await.len(), before);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_person_is_no_node() {
    let house = House::open().await;
    let key = rcgen::KeyPair::generate().unwrap();
    let spki = rcgen::PublicKeyData::subject_public_key_info(&key);
    let person = "ana@hospital.example".parse().unwrap();
    let given = house
        .kit
        .server
        .person_certificate(&person, &spki, ledger::Actor::LocalRoot)
        .await;
    let config = house.with(&given.unwrap().0, &key.serialize_der());
    // Closed at the door, before or at the first call.
    if let Ok(mut client) = house.client(config).await {
        for (method, _) in METHODS {
            assert!(call(&mut client, method).await.is_err(), "{method}");
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_node_is_let_in_and_what_it_is_denied_is_a_leaf_of_that_kind() {
    let house = House::open().await;
    let node = TestNode::join(&house.kit, "dal05-n1").await;
    let config = house.with(&node.chain, &node.node_key.to_pkcs8().unwrap());
    let mut client = house.client(config).await.unwrap();
    for (method, kind) in METHODS {
        let Some(kind) = kind else {
            let code = call(&mut client, method)
                .await
                .err()
                .map(|status| status.code());
            assert_ne!(code, Some(Code::Unauthenticated), "{method}");
            continue;
        };
        let before = house.kit.leaves(kind).await.len();
        let outcome = call(&mut client, method).await.unwrap();
        assert!(
            matches!(outcome, Some(Outcome::Denied(_))),
            "{method}: {outcome:?}"
        );
        assert_eq!(house.kit.leaves(kind).await.len(), before + 1, "{method}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_checkpoint_that_a_node_brings_ends_the_trust_in_a_server_that_was_put_back() {
    let house = House::open().await;
    let node = TestNode::join(&house.kit, "dal05-n1").await;
    // The same database, which grew on elsewhere.
    let grown = house.kit.copied().await;
    for _ in 0..3 {
        let name = "fra02-n1".parse().unwrap();
        let token = grown.server.token(&name, ledger::Actor::LocalRoot).await;
        token.unwrap();
    }
    let config = house.with(&node.chain, &node.node_key.to_pkcs8().unwrap());
    let mut client = house.client(config).await.unwrap();
    call(&mut client, "Read").await.unwrap();
    let checkpoint = grown.checkpoint().await;
    let asked = wire::DirectivesRequest { checkpoint };
    let _stream = client.directives(asked).await.unwrap();
    for method in ["Open", "Start", "Read", "Lease", "Issue", "Exec"] {
        let status = call(&mut client, method).await.unwrap_err();
        assert_eq!(status.code(), Code::Unavailable, "{method}");
        assert!(status.message().contains("rolled back"), "{status:?}");
    }
}
