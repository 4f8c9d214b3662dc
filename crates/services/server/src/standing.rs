//! Push is state, not events: each node's stream is told its newest standing; a lost message costs nothing.

use std::{sync::Arc, sync::PoisonError, time::Duration};

use estate::{NodeName, Timestamp};
use evidence::Attestor;

use crate::{
    nodes::PendingQuote,
    ports::{DatabaseAccounts, Store, StoreError},
    server::Server,
};

/// A counter that rises with anything a node may have to hear of.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Changes(pub u64);

/// What a node is told.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Standing {
    /// The node's epoch.
    pub node_epoch: u64,
    /// The estate's version.
    pub policy: u64,
    /// The bundle's sequence.
    pub bundle: u64,
    /// A quote is due: nonce and PCRs.
    pub quote: Option<([u8; 32], Vec<u8>)>,
    /// It must attest anew.
    pub reattest: bool,
    /// It is banned.
    pub banned: bool,
    /// Leases of this node that ended.
    pub ended_leases: Vec<String>,
}

/// One node's stream of standings. Dropping it frees the node's place.
pub struct StandingStream<S: Store, A: DatabaseAccounts> {
    server: Arc<Server<S, A>>,
    node: NodeName,
    changes: tokio::sync::watch::Receiver<Changes>,
    epoch: u64,
    quote_due: Timestamp,
    first: bool,
}

impl<S: Store, A: DatabaseAccounts> Server<S, A> {
    /// Tells every stream that something changed.
    pub(crate) fn announce(&self) {
        self.changes.send_modify(|changes| changes.0 += 1);
    }

    /// A stream for an authenticated node, which says how far it saw the ledger grow: the newest checkpoint that it holds, or
    /// nothing. A checkpoint of this log that this tree does not lead to ends all trust in this server.
    ///
    /// # Errors
    /// [`StoreError`]
    pub async fn standings(
        self: &Arc<Self>,
        node: NodeName,
        checkpoint: &str,
    ) -> Result<StandingStream<S, A>, StoreError> {
        self.hear(&node, checkpoint).await?;
        let epoch = self.store.node(&node).await?.map_or(0, |row| row.epoch.0);
        *self
            .streams
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .entry(node.clone())
            .or_insert(0) += 1;
        let quote_due = self.now().plus(self.jittered_interval());
        Ok(StandingStream {
            server: Arc::clone(self),
            node,
            changes: self.changes.subscribe(),
            epoch,
            quote_due,
            first: true,
        })
    }

    /// The interval with a twelfth of jitter either way, so that nodes do not come at once.
    fn jittered_interval(&self) -> Duration {
        let [low, ..] = self.random();
        let jitter = self.quote_interval / 12;
        self.quote_interval - jitter + 2 * jitter * u32::from(low) / 255
    }
}

impl<S: Store, A: DatabaseAccounts> StandingStream<S, A> {
    /// Waits for the next standing; the first comes at once.
    ///
    /// # Errors
    /// [`StoreError`]
    pub async fn next(&mut self) -> Result<Standing, StoreError> {
        if !self.first {
            let wait = self.quote_due.since(self.server.now()).unwrap_or_default();
            tokio::select! {
                _ = self.changes.changed() => {}
                () = tokio::time::sleep(wait) => {}
            }
        }
        self.first = false;
        self.changes.mark_unchanged();
        self.current().await
    }

    async fn current(&mut self) -> Result<Standing, StoreError> {
        let server = Arc::clone(&self.server);
        let Some(row) = server.store.node(&self.node).await? else {
            return Ok(Standing {
                reattest: true,
                ..Standing::default()
            });
        };
        // Of this node alone and no more than are told: any node may ask at any time, and what has ended is kept for ever.
        let ended = server.store.leases_ended(&self.node, MOST_ENDED).await?;
        let ended_leases = ended
            .into_iter()
            .map(|lease| lease.id.to_string())
            .collect();
        Ok(Standing {
            node_epoch: row.epoch.0,
            policy: server.world().version().0,
            bundle: 1,
            quote: self.due_quote(row.attestor),
            reattest: row.epoch.0 != self.epoch || row.statement_key.is_empty(),
            banned: row.banned,
            ended_leases,
        })
    }

    fn due_quote(&mut self, attestor: Attestor) -> Option<([u8; 32], Vec<u8>)> {
        let now = self.server.now();
        if attestor != Attestor::Tpm || now < self.quote_due {
            return None;
        }
        self.quote_due = now.plus(self.server.jittered_interval());
        let pcrs = self.server.pcrs_of(&self.node)?;
        let nonce = self.server.random();
        let pending = PendingQuote { nonce, asked: now };
        self.server
            .nonces
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .insert(self.node.clone(), pending);
        Some((nonce, pcrs))
    }
}

impl<S: Store, A: DatabaseAccounts> Drop for StandingStream<S, A> {
    fn drop(&mut self) {
        let mut streams = self
            .server
            .streams
            .lock()
            .unwrap_or_else(PoisonError::into_inner);
        if let Some(count) = streams.get_mut(&self.node) {
            *count = count.saturating_sub(1);
        }
    }
}

const MOST_ENDED: u32 = 1000;
