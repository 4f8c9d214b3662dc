//! `bailiwick.node.v1`, the server's side: translates messages; every decision is the server's.

mod translate;

use std::{pin::Pin, sync::Arc};

use estate::NodeName;
use evidence::{Confirmation, Proof, Purpose, Session, Statement, TpmHello};
use futures::{Stream, StreamExt};
use ledger::Commitment;
use proto::bailiwick::node::v1::{
    self as wire, attest_down, attest_hello, attest_up, nodes_server::Nodes, release_reply,
};
use server::{
    Answer, Code, Payload, ReleaseError, Server, Standing,
    nodes::{Admitted, Hello, Means, NodeError, chain},
    ports::{DatabaseAccounts, Store},
};
use tonic::{Request, Response, Status, Streaming};

use self::translate::{
    admission, directive, down, gone, node_status, parse_hello, parse_proof, receipt, reply,
    unavailable,
};
use crate::listener::Connection;

/// The service over a server.
pub struct NodeService<S, A> {
    server: Arc<Server<S, A>>,
}

impl<S, A> NodeService<S, A> {
    /// The service over `server`.
    pub fn new(server: Arc<Server<S, A>>) -> Self {
        Self { server }
    }
}

type Sent<T> = Pin<Box<dyn Stream<Item = Result<T, Status>> + Send>>;

#[tonic::async_trait]
impl<S: Store, A: DatabaseAccounts + 'static> Nodes for NodeService<S, A> {
    type AttestStream = Sent<wire::AttestDown>;
    type DirectivesStream = Sent<wire::Directive>;

    async fn attest(
        &self,
        request: Request<Streaming<wire::AttestUp>>,
    ) -> Result<Response<Self::AttestStream>, Status> {
        let connection = connection(&request)?;
        let server = Arc::clone(&self.server);
        let mut up = request.into_inner();
        let stream = async_stream(move |sender| async move {
            let hello = next_hello(&mut up).await?;
            let hello = parse_hello(hello, &connection)?;
            let (attesting, challenge) = server.challenge(hello).await.map_err(node_status)?;
            let challenge = wire::AttestChallenge {
                nonce: challenge.nonce.to_vec(),
                id_object: challenge.id_object,
                encrypted_secret: challenge.encrypted_secret,
                pcrs: challenge.pcrs.into_iter().map(u32::from).collect(),
            };
            sender
                .send(Ok(down(attest_down::Step::Challenge(challenge))))
                .await
                .map_err(|_| gone())?;
            let proof = next_proof(&mut up).await?;
            let possession = proof.possession.clone();
            let admitted = server
                .admit(attesting, &parse_proof(proof), &possession)
                .await
                .map_err(node_status)?;
            let admission = admission(&server, admitted)?;
            sender
                .send(Ok(down(attest_down::Step::Admission(admission))))
                .await
                .map_err(|_| gone())
        });
        Ok(Response::new(stream))
    }

    async fn quote(
        &self,
        request: Request<wire::QuoteRequest>,
    ) -> Result<Response<wire::QuoteReply>, Status> {
        let (connection, session) = authenticated(&request)?;
        let wire::QuoteRequest {
            nonce,
            quote_attest,
            quote_signature,
            event_log,
        } = request.into_inner();
        let proof = Proof {
            quote: (quote_attest, quote_signature),
            event_log,
            ..Proof::default()
        };
        let (commitment, at) = self
            .server
            .quote(session.node(), connection.exporter, &nonce, &proof)
            .await
            .map_err(node_status)?;
        Ok(Response::new(wire::QuoteReply {
            receipt: Some(receipt(commitment)),
            quoted_at: at.as_millis(),
        }))
    }

    async fn open(
        &self,
        request: Request<wire::ReleaseRequest>,
    ) -> Result<Response<wire::ReleaseReply>, Status> {
        let asked = Asked::by(request)?;
        reply(
            self.server
                .open(
                    &asked.session,
                    &asked.statement,
                    &asked.request,
                    &asked.packet,
                )
                .await,
        )
    }

    async fn start(
        &self,
        request: Request<wire::ReleaseRequest>,
    ) -> Result<Response<wire::ReleaseReply>, Status> {
        let asked = Asked::by(request)?;
        reply(
            self.server
                .start(&asked.session, &asked.statement, &asked.request)
                .await,
        )
    }

    async fn read(
        &self,
        request: Request<wire::ReleaseRequest>,
    ) -> Result<Response<wire::ReleaseReply>, Status> {
        let asked = Asked::by(request)?;
        reply(
            self.server
                .read(&asked.session, &asked.statement, &asked.request)
                .await,
        )
    }

    async fn lease(
        &self,
        request: Request<wire::ReleaseRequest>,
    ) -> Result<Response<wire::ReleaseReply>, Status> {
        let asked = Asked::by(request)?;
        // A caller that hangs up must not leave a role between intent and grant: the lease runs to its end.
        let server = Arc::clone(&self.server);
        let leased = tokio::spawn(async move {
            server
                .lease(&asked.session, &asked.statement, &asked.request)
                .await
        });
        reply(
            leased
                .await
                .map_err(|_| Status::internal("the lease ended unexpectedly"))?,
        )
    }

    async fn issue(
        &self,
        request: Request<wire::ReleaseRequest>,
    ) -> Result<Response<wire::ReleaseReply>, Status> {
        let asked = Asked::by(request)?;
        reply(
            self.server
                .issue(&asked.session, &asked.statement, &asked.request)
                .await,
        )
    }

    async fn exec(
        &self,
        request: Request<wire::ReleaseRequest>,
    ) -> Result<Response<wire::ReleaseReply>, Status> {
        let asked = Asked::by(request)?;
        reply(
            self.server
                .exec(&asked.session, &asked.statement, &asked.request)
                .await,
        )
    }

    async fn directives(
        &self,
        request: Request<wire::DirectivesRequest>,
    ) -> Result<Response<Self::DirectivesStream>, Status> {
        let (_, session) = authenticated(&request)?;
        let node: NodeName = session.node().clone();
        let wire::DirectivesRequest { checkpoint } = request.into_inner();
        let mut standings = self
            .server
            .standings(node, &checkpoint)
            .await
            .map_err(|error| unavailable(&error))?;
        let stream = async_stream(move |sender| async move {
            loop {
                let standing = tokio::select! {
                    standing = standings.next() => standing.map_err(|error| unavailable(&error))?,
                    () = sender.closed() => return Ok(()),
                };
                if sender.send(Ok(directive(standing))).await.is_err() {
                    return Ok(());
                }
            }
        });
        Ok(Response::new(stream))
    }

    async fn bundle(
        &self,
        request: Request<wire::BundleRequest>,
    ) -> Result<Response<wire::BundleReply>, Status> {
        authenticated(&request)?;
        let bundle = self.server.bundle().map_err(|error| unavailable(&error))?;
        let json = bundle
            .to_json()
            .map_err(|_| Status::internal("the bundle can't be written"))?;
        Ok(Response::new(wire::BundleReply {
            bundle: json.into_bytes(),
            sequence: 1,
        }))
    }

    async fn consistency(
        &self,
        request: Request<wire::ConsistencyRequest>,
    ) -> Result<Response<wire::ConsistencyReply>, Status> {
        authenticated(&request)?;
        let old_size = request.into_inner().old_size;
        let proven = self
            .server
            .store()
            .consistency(old_size)
            .await
            .map_err(|error| unavailable(&error))?;
        let (hashes, checkpoint) =
            proven.ok_or_else(|| Status::not_found("the log has no tree of that size"))?;
        let hashes = hashes.into_iter().map(|hash| hash.to_vec()).collect();
        Ok(Response::new(wire::ConsistencyReply { hashes, checkpoint }))
    }
}

/// Runs `work`, which sends into the stream; its error becomes the stream's last item.
fn async_stream<T, F, W>(work: F) -> Sent<T>
where
    T: Send + 'static,
    F: FnOnce(tokio::sync::mpsc::Sender<Result<T, Status>>) -> W,
    W: Future<Output = Result<(), Status>> + Send + 'static,
{
    let (sender, receiver) = tokio::sync::mpsc::channel(4);
    let last = sender.clone();
    let work = work(sender);
    tokio::spawn(async move {
        if let Err(status) = work.await {
            let _ = last.send(Err(status)).await;
        }
    });
    Box::pin(tokio_stream::wrappers::ReceiverStream::new(receiver))
}

fn connection<T>(request: &Request<T>) -> Result<Connection, Status> {
    request
        .extensions()
        .get::<Connection>()
        .cloned()
        .ok_or_else(|| Status::internal("no connection"))
}

fn authenticated<T>(request: &Request<T>) -> Result<(Connection, Arc<Session>), Status> {
    let connection = connection(request)?;
    let session = connection.session.clone();
    let session = session
        .ok_or_else(|| Status::unauthenticated("a node certificate is needed; attest first"))?;
    Ok((connection, session))
}

/// A request for a release, on an authenticated connection.
struct Asked {
    session: Arc<Session>,
    statement: Statement,
    request: Vec<u8>,
    packet: Vec<u8>,
}

impl Asked {
    fn by(request: Request<wire::ReleaseRequest>) -> Result<Self, Status> {
        let (_, session) = authenticated(&request)?;
        let wire::ReleaseRequest {
            request,
            statement,
            packet,
        } = request.into_inner();
        Ok(Self {
            session,
            statement: Statement::from_wire(statement),
            request,
            packet,
        })
    }
}

async fn next_step(up: &mut Streaming<wire::AttestUp>) -> Result<attest_up::Step, Status> {
    let message = tokio::time::timeout(STEP_LIMIT, up.next())
        .await
        .map_err(|_| Status::deadline_exceeded("the next step of the attestation did not come"))?;
    message
        .ok_or_else(gone)??
        .step
        .ok_or_else(|| Status::invalid_argument("an empty step"))
}

async fn next_hello(up: &mut Streaming<wire::AttestUp>) -> Result<wire::AttestHello, Status> {
    match next_step(up).await? {
        attest_up::Step::Hello(hello) => Ok(hello),
        attest_up::Step::Proof(_) => Err(Status::invalid_argument("the first step is `hello`")),
    }
}

async fn next_proof(up: &mut Streaming<wire::AttestUp>) -> Result<wire::AttestProof, Status> {
    match next_step(up).await? {
        attest_up::Step::Proof(proof) => Ok(proof),
        attest_up::Step::Hello(_) => Err(Status::invalid_argument("the second step is `proof`")),
    }
}

const STEP_LIMIT: std::time::Duration = std::time::Duration::from_secs(30);
