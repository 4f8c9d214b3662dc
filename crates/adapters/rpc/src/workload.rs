//! The agent's socket for workloads: the SPIFFE Workload API and our Delivery service. No caller says who it is: the kernel
//! does, and the agent measures the process at each call and before each message of a stream.

mod access;
mod connection;
mod delivery;
mod spiffe;
mod streams;

use std::{future::Future, sync::Arc};

use estate::Timestamp;
use futures::Stream;
use peer::Peer;
use proto::{
    bailiwick::workload::v1::delivery_server::DeliveryServer,
    spiffe::spiffe_workload_api_server::SpiffeWorkloadApiServer,
};
use tokio::{net::UnixListener, time::Duration};
use tokio_stream::wrappers::ReceiverStream;
use tonic::{Request, Status, service::InterceptorLayer, transport::Server};

pub use access::WorkloadAgent;
pub use connection::CallerOf;

use crate::workload::{delivery::DeliveryService, spiffe::SpiffeService};

/// What the socket needs beside the agent.
#[derive(Clone)]
pub struct WorkloadSettings {
    /// The clock.
    pub now: Arc<dyn Fn() -> Timestamp + Send + Sync>,
    /// How often the process behind an open stream is looked at again when nothing else happens.
    pub look_again: Duration,
}

impl WorkloadSettings {
    /// Looks again every ten seconds.
    pub fn new(now: Arc<dyn Fn() -> Timestamp + Send + Sync>) -> Self {
        Self {
            now,
            look_again: Duration::from_secs(10),
        }
    }
}

/// Serves workloads until `until` is done. `make_caller` turns the process at the other end into what the agent measures.
///
/// # Errors
/// When the transport fails; a single connection never ends it.
pub async fn serve<A, M>(
    agent: Arc<A>,
    listener: UnixListener,
    make_caller: M,
    settings: WorkloadSettings,
    until: impl Future<Output = ()>,
) -> Result<(), tonic::transport::Error>
where
    A: WorkloadAgent,
    M: Fn(Peer) -> A::Caller + Send + Sync + 'static,
{
    let connections = ReceiverStream::new(connection::accept(listener, make_caller));
    let desk = Desk { agent, settings };
    Server::builder()
        .layer(InterceptorLayer::new(security_header))
        .add_service(
            SpiffeWorkloadApiServer::new(SpiffeService::new(desk.clone()))
                .max_decoding_message_size(LARGEST_REQUEST),
        )
        .add_service(
            DeliveryServer::new(DeliveryService::new(desk))
                .max_decoding_message_size(LARGEST_REQUEST),
        )
        .serve_with_incoming_shutdown(connections, until)
        .await
}

/// What both services share.
pub(crate) struct Desk<A> {
    agent: Arc<A>,
    settings: WorkloadSettings,
}

impl<A> Clone for Desk<A> {
    fn clone(&self) -> Self {
        Self {
            agent: Arc::clone(&self.agent),
            settings: self.settings.clone(),
        }
    }
}

impl<A: WorkloadAgent> Desk<A> {
    /// Who sent a request; the connection knows.
    fn caller<T>(&self, request: &Request<T>) -> Result<Arc<A::Caller>, Status> {
        let caller = request.extensions().get::<CallerOf<A::Caller>>();
        caller
            .map(|caller| Arc::clone(&caller.0))
            .ok_or_else(|| Status::internal("the connection has no caller"))
    }
}

pub(crate) type Sent<T> = std::pin::Pin<Box<dyn Stream<Item = Result<T, Status>> + Send>>;

/// A browser or a proxy that was tricked into sending a request can't set this header (SPIFFE Workload Endpoint, section 3).
fn security_header(request: Request<()>) -> Result<Request<()>, Status> {
    let mut values = request.metadata().get_all(SECURITY_HEADER).iter();
    match (values.next(), values.next()) {
        (Some(value), None) if value == "true" => Ok(request),
        _ => Err(Status::invalid_argument(
            "security header missing from request: `workload.spiffe.io: true`",
        )),
    }
}

/// Metadata that every request on this socket carries, with the value `true`.
pub(crate) const SECURITY_HEADER: &str = "workload.spiffe.io";
const LARGEST_REQUEST: usize = 64 * 1024;
