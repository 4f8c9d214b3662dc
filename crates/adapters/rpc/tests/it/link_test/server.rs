//! A server behind the real door, which answers with what it saw.

use std::{
    pin::Pin,
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
};

use estate::Timestamp;
use futures::{Stream, StreamExt};
use proto::bailiwick::node::v1::{
    self as wire, attest_down, attest_hello, attest_up,
    nodes_server::{Nodes, NodesServer},
    release_reply,
};
use rpc::listener::{Connection, Door, Limits};
use tokio_stream::wrappers::ReceiverStream;
use tonic::{Code, Request, Response, Status, Streaming};

use super::authority::{Authority, Certified};

/// A server on a port of loopback.
pub(crate) struct TestServer {
    pub(crate) address: String,
    calls: Arc<AtomicUsize>,
}

impl TestServer {
    pub(crate) async fn start(authority: &Authority, certified: Certified) -> Self {
        Self::start_with(authority, certified, Limits::default()).await
    }

    pub(crate) async fn start_with(
        authority: &Authority,
        (chain, key): Certified,
        limits: Limits,
    ) -> Self {
        let now = Arc::new(|| Timestamp::from_seconds(now()));
        let door = Door::new(
            "example.lab".parse().unwrap(),
            &authority.root(),
            chain,
            key,
            now,
        )
        .unwrap()
        .with_limits(limits);
        let listener = Door::listen("127.0.0.1:0".parse().unwrap()).await.unwrap();
        let address = listener.local_addr().unwrap().to_string();
        let calls = Arc::new(AtomicUsize::new(0));
        let service = NodesServer::new(Seen {
            calls: Arc::clone(&calls),
        })
        .max_encoding_message_size(16 << 20);
        let incoming = ReceiverStream::new(door.accept(listener));
        tokio::spawn(
            tonic::transport::Server::builder()
                .add_service(service)
                .serve_with_incoming(incoming),
        );
        Self { address, calls }
    }

    /// How often `consistency` was asked.
    pub(crate) fn calls(&self) -> usize {
        self.calls.load(Ordering::SeqCst)
    }
}

fn now() -> i64 {
    #[expect(
        clippy::disallowed_methods,
        reason = "certificates of this moment are judged at this moment"
    )]
    let now = std::time::SystemTime::now();
    now.duration_since(std::time::UNIX_EPOCH)
        .unwrap()
        .as_secs()
        .cast_signed()
}

struct Seen {
    calls: Arc<AtomicUsize>,
}

type Sent<T> = Pin<Box<dyn Stream<Item = Result<T, Status>> + Send>>;

fn connection<T>(request: &Request<T>) -> Connection {
    request.extensions().get::<Connection>().unwrap().clone()
}

fn release(name: &str, request: Request<wire::ReleaseRequest>) -> Response<wire::ReleaseReply> {
    let connection = connection(&request);
    let node = connection.session.unwrap().node().to_string();
    let seen = format!("{name} {node} {}", request.into_inner().statement);
    Response::new(wire::ReleaseReply {
        receipt: Some(wire::Receipt {
            leaf: connection.exporter.to_vec(),
            proof: String::new(),
        }),
        outcome: Some(release_reply::Outcome::Plain(wire::Plain {
            parts: vec![seen.into_bytes()],
        })),
    })
}

async fn step(up: &mut Streaming<wire::AttestUp>) -> attest_up::Step {
    up.next().await.unwrap().unwrap().step.unwrap()
}

fn down(step: attest_down::Step) -> Result<wire::AttestDown, Status> {
    Ok(wire::AttestDown { step: Some(step) })
}

#[tonic::async_trait]
impl Nodes for Seen {
    type AttestStream = Sent<wire::AttestDown>;
    type DirectivesStream = Sent<wire::Directive>;

    async fn attest(
        &self,
        request: Request<Streaming<wire::AttestUp>>,
    ) -> Result<Response<Self::AttestStream>, Status> {
        let connection = connection(&request);
        assert!(connection.session.is_none());
        let mut up = request.into_inner();
        // The first step is read before anything is answered: a client must not wait for headers.
        let attest_up::Step::Hello(hello) = step(&mut up).await else {
            return Err(Status::invalid_argument("no hello"));
        };
        let Some(attest_hello::Attestor::Token(token)) = hello.attestor else {
            return Err(Status::invalid_argument("no token"));
        };
        let (sender, receiver) = tokio::sync::mpsc::channel(2);
        let pcrs = if hello.node == "register-99" {
            vec![99]
        } else {
            vec![0, 7]
        };
        let challenge = wire::AttestChallenge {
            nonce: connection.exporter.to_vec(),
            pcrs,
            ..Default::default()
        };
        sender
            .send(down(attest_down::Step::Challenge(challenge)))
            .await
            .unwrap();
        tokio::spawn(async move {
            let Some(Ok(wire::AttestUp {
                step: Some(attest_up::Step::Proof(proof)),
            })) = up.next().await
            else {
                return;
            };
            let seen = format!(
                "{} {} {}",
                hello.purpose,
                token.token,
                String::from_utf8(proof.possession).unwrap()
            );
            let admission = wire::Admission {
                certificate_chain: vec![seen.into_bytes()],
                lab: true,
                receipt: Some(wire::Receipt::default()),
                ..Default::default()
            };
            sender
                .send(down(attest_down::Step::Admission(admission)))
                .await
                .unwrap();
        });
        Ok(Response::new(Box::pin(ReceiverStream::new(receiver))))
    }

    async fn quote(
        &self,
        _: Request<wire::QuoteRequest>,
    ) -> Result<Response<wire::QuoteReply>, Status> {
        Ok(Response::new(wire::QuoteReply::default()))
    }

    async fn open(
        &self,
        request: Request<wire::ReleaseRequest>,
    ) -> Result<Response<wire::ReleaseReply>, Status> {
        Ok(release("open", request))
    }
    async fn start(
        &self,
        request: Request<wire::ReleaseRequest>,
    ) -> Result<Response<wire::ReleaseReply>, Status> {
        Ok(release("start", request))
    }
    async fn read(
        &self,
        request: Request<wire::ReleaseRequest>,
    ) -> Result<Response<wire::ReleaseReply>, Status> {
        Ok(release("read", request))
    }
    async fn lease(
        &self,
        request: Request<wire::ReleaseRequest>,
    ) -> Result<Response<wire::ReleaseReply>, Status> {
        Ok(release("lease", request))
    }
    async fn issue(
        &self,
        request: Request<wire::ReleaseRequest>,
    ) -> Result<Response<wire::ReleaseReply>, Status> {
        Ok(release("issue", request))
    }
    async fn exec(
        &self,
        request: Request<wire::ReleaseRequest>,
    ) -> Result<Response<wire::ReleaseReply>, Status> {
        Ok(release("exec", request))
    }

    async fn directives(
        &self,
        request: Request<wire::DirectivesRequest>,
    ) -> Result<Response<Self::DirectivesStream>, Status> {
        let ended_leases = vec![request.into_inner().checkpoint];
        let first = wire::Directive {
            policy: 1,
            ended_leases,
            ..Default::default()
        };
        let quote = |pcr| wire::Directive {
            quote_nonce: vec![3; 32],
            quote_pcrs: vec![0, pcr],
            ..Default::default()
        };
        let told = futures::stream::iter([Ok(first), Ok(quote(23)), Ok(quote(24))]);
        Ok(Response::new(Box::pin(
            told.chain(futures::stream::pending()),
        )))
    }

    async fn bundle(
        &self,
        _: Request<wire::BundleRequest>,
    ) -> Result<Response<wire::BundleReply>, Status> {
        Ok(Response::new(wire::BundleReply {
            bundle: vec![0; 5 << 20],
            sequence: 1,
        }))
    }

    async fn consistency(
        &self,
        request: Request<wire::ConsistencyRequest>,
    ) -> Result<Response<wire::ConsistencyReply>, Status> {
        self.calls.fetch_add(1, Ordering::SeqCst);
        match i32::try_from(request.into_inner().old_size).unwrap() {
            0 => Ok(Response::new(wire::ConsistencyReply::default())),
            code => Err(Status::new(Code::from_i32(code), "as asked")),
        }
    }
}
