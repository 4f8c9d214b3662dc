//! The calls of an admitted node.

use agent::ports::{Directive, LinkError, Outcome, Reply, ServerLink};
use evidence::{Action, Proof, Statement};
use proto::bailiwick::node::v1::{self as wire, nodes_client::NodesClient, release_reply};
use tokio::sync::Mutex;
use tonic::{Streaming, transport::Channel};

use super::{
    attesting::parse_pcrs,
    dial::Dialled,
    status::{answered, link_error, protocol, request},
};

/// A connection that both sides authenticated.
pub struct RpcLink {
    exporter: [u8; 32],
    client: NodesClient<Channel>,
    directives: Mutex<Option<Streaming<wire::Directive>>>,
}

impl RpcLink {
    pub(super) fn new(Dialled { exporter, client }: Dialled) -> Self {
        Self {
            exporter,
            client,
            directives: Mutex::new(None),
        }
    }

    fn client(&self) -> NodesClient<Channel> {
        self.client.clone()
    }
}

impl ServerLink for RpcLink {
    fn exporter(&self) -> [u8; 32] {
        self.exporter
    }

    async fn release(
        &self,
        action: Action,
        body: Vec<u8>,
        statement: Statement,
        packet: Vec<u8>,
    ) -> Result<Reply, LinkError> {
        let mut client = self.client();
        let asked = request(wire::ReleaseRequest {
            request: body,
            statement: statement.as_str().to_owned(),
            packet,
        });
        let reply = match action {
            Action::Open => answered(client.open(asked)).await,
            Action::Start => answered(client.start(asked)).await,
            Action::Read => answered(client.read(asked)).await,
            Action::Lease => answered(client.lease(asked)).await,
            Action::Issue => answered(client.issue(asked)).await,
        };
        parse_reply(reply?.into_inner())
    }

    async fn exec(&self, body: Vec<u8>, statement: Statement) -> Result<Reply, LinkError> {
        let asked = request(wire::ReleaseRequest {
            request: body,
            statement: statement.as_str().to_owned(),
            packet: Vec::new(),
        });
        parse_reply(answered(self.client().exec(asked)).await?.into_inner())
    }

    async fn quote(&self, nonce: [u8; 32], proof: Proof) -> Result<(), LinkError> {
        let (quote_attest, quote_signature) = proof.quote;
        let quote = wire::QuoteRequest {
            nonce: nonce.to_vec(),
            quote_attest,
            quote_signature,
            event_log: proof.event_log,
        };
        answered(self.client().quote(request(quote)))
            .await
            .map(drop)
    }

    async fn bundle(&self) -> Result<(Vec<u8>, u64), LinkError> {
        let reply = answered(self.client().bundle(request(wire::BundleRequest {})))
            .await?
            .into_inner();
        Ok((reply.bundle, reply.sequence))
    }

    async fn consistency(&self, old_size: u64) -> Result<(Vec<[u8; 32]>, String), LinkError> {
        let asked = request(wire::ConsistencyRequest { old_size });
        let wire::ConsistencyReply { hashes, checkpoint } =
            answered(self.client().consistency(asked))
                .await?
                .into_inner();
        let hashes: Result<Vec<[u8; 32]>, _> = hashes.into_iter().map(TryInto::try_into).collect();
        Ok((
            hashes.map_err(|_| protocol("a hash of another length"))?,
            checkpoint,
        ))
    }

    async fn next_directive(&self, checkpoint: &str) -> Result<Directive, LinkError> {
        let mut stream = self.directives.lock().await;
        let stream = match stream.as_mut() {
            Some(stream) => stream,
            None => {
                // No deadline in the request: it would end the stream. That the peer lives is HTTP/2's to tell.
                let asked = wire::DirectivesRequest {
                    checkpoint: checkpoint.to_owned(),
                };
                stream.insert(
                    answered(self.client().directives(asked))
                        .await?
                        .into_inner(),
                )
            }
        };
        let ended = || LinkError::Unavailable("the stream of directives ended".into());
        parse_directive(
            stream
                .message()
                .await
                .map_err(link_error)?
                .ok_or_else(ended)?,
        )
    }
}

fn parse_reply(reply: wire::ReleaseReply) -> Result<Reply, LinkError> {
    let receipt = reply
        .receipt
        .ok_or_else(|| protocol("an answer without a receipt"))?;
    let outcome = match reply
        .outcome
        .ok_or_else(|| protocol("an answer without an outcome"))?
    {
        release_reply::Outcome::Sealed(wire::Sealed { suite, enc, ct }) => {
            Outcome::Sealed { suite, enc, ct }
        }
        release_reply::Outcome::Plain(wire::Plain { parts }) => Outcome::Plain(parts),
        release_reply::Outcome::Denied(wire::Denied { code, reason }) => {
            Outcome::Denied { code, reason }
        }
    };
    Ok(Reply {
        leaf: receipt.leaf,
        proof: receipt.proof,
        outcome,
    })
}

fn parse_directive(directive: wire::Directive) -> Result<Directive, LinkError> {
    let wire::Directive {
        node_epoch,
        policy,
        bundle,
        quote_nonce,
        quote_pcrs,
        reattest,
        banned,
        ended_leases,
    } = directive;
    let quote = match quote_nonce.is_empty() {
        true => None,
        false => {
            let nonce = quote_nonce
                .try_into()
                .map_err(|_| protocol("a nonce of another length"))?;
            Some((nonce, parse_pcrs(quote_pcrs)?))
        }
    };
    Ok(Directive {
        node_epoch,
        policy,
        bundle,
        quote,
        reattest,
        banned,
        ended_leases,
    })
}
