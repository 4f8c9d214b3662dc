//! `bailiwick.node.v1`, the node's side: connections whose exporter is known, and the calls on them.
//!
//! Each connection is made by our own TLS code and given to gRPC once. When it breaks the link is dead, and the agent
//! makes another: statements are bound to the exporter of exactly one connection, so none may be swapped underneath.

mod attesting;
mod checkpoint_file;
mod dial;
mod server_link;
mod status;
mod token_keys;

use std::sync::{
    Arc,
    atomic::{AtomicUsize, Ordering},
};

use agent::ports::{Connector, LinkError, NodeKeys};
use rustls::ClientConfig;
use spiffe_id::TrustDomain;

pub use attesting::RpcAttesting;
pub use checkpoint_file::FileCheckpoints;
pub use dial::{ServerAddress, ServerAddressError};
pub use server_link::RpcLink;
pub use token_keys::{FileNodeKeys, TokenKeysError};

use crate::tls_client::{ServerTrust, TlsClientError};

/// Connects a node to the servers of its trust domain.
pub struct RpcConnector {
    servers: Vec<ServerAddress>,
    trust: ServerTrust,
    keys: Arc<dyn NodeKeys>,
    /// Where the next search begins. Moved on with each mutual connection, so that a server whose connection broke or
    /// who was not believed is not the first one asked again.
    first: AtomicUsize,
}

impl RpcConnector {
    /// A connector to one of `servers`, trusted under `roots` (DER).
    ///
    /// # Errors
    /// [`TlsClientError`]
    pub fn new(
        servers: Vec<ServerAddress>,
        roots: &[Vec<u8>],
        trust_domain: &TrustDomain,
        keys: Arc<dyn NodeKeys>,
    ) -> Result<Self, TlsClientError> {
        let trust = ServerTrust::new(trust_domain, roots)?;
        Ok(Self {
            servers,
            trust,
            keys,
            first: AtomicUsize::new(0),
        })
    }

    /// A connection to the first server that takes one.
    async fn dial(&self, first: usize, config: ClientConfig) -> Result<dial::Dialled, LinkError> {
        let config = Arc::new(config);
        let mut last = LinkError::Unavailable("no server is configured".into());
        for step in 0..self.servers.len() {
            let place = first.wrapping_add(step) % self.servers.len();
            let Some(server) = self.servers.get(place) else {
                continue;
            };
            match dial::dial(server, Arc::clone(&config)).await {
                Ok(dialled) => return Ok(dialled),
                Err(error) => last = error,
            }
        }
        Err(last)
    }
}

impl Connector for RpcConnector {
    type Attesting = RpcAttesting;
    type Link = RpcLink;

    async fn attesting(&self) -> Result<RpcAttesting, LinkError> {
        let config = self.trust.anonymous().map_err(unusable)?;
        let dialled = self
            .dial(self.first.load(Ordering::Relaxed), config)
            .await?;
        Ok(RpcAttesting::new(dialled))
    }

    async fn mutual(&self, chain: Vec<Vec<u8>>) -> Result<RpcLink, LinkError> {
        let config = self
            .trust
            .mutual(chain, Arc::clone(&self.keys))
            .map_err(unusable)?;
        let dialled = self
            .dial(self.first.fetch_add(1, Ordering::Relaxed), config)
            .await?;
        Ok(RpcLink::new(dialled))
    }
}

fn unusable(error: TlsClientError) -> LinkError {
    LinkError::Unavailable(error.to_string())
}
