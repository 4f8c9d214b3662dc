//! How a node is refused: on record, and not without limit.

use super::*;

impl<S: Store, A: DatabaseAccounts> Server<S, A> {
    /// Refuses whoever has proven nothing yet: strangers do not fill the ledger.
    pub(super) async fn refuse_stranger(
        &self,
        node: &NodeName,
        error: AttestationError,
    ) -> Result<NodeError, NodeError> {
        if self.strangers().records(self.now()) {
            return self.refuse(node, error, Vec::new()).await;
        }
        tracing::info!(%node, error = %chain(&error), "an attestation was refused");
        Ok(NodeError::Busy)
    }

    pub(super) async fn refuse(
        &self,
        node: &NodeName,
        error: AttestationError,
        effects: Vec<Effect>,
    ) -> Result<NodeError, NodeError> {
        let mut act = Act::new(ActKind::NodeRefused, Actor::Node(node.to_string()))
            .field("node", node.to_string())
            .field("reason", chain(&error));
        act.effects = effects;
        let logged = self.ledger.record(act).await?;
        Ok(NodeError::Refused {
            error,
            commitment: Box::new(logged.commitment().clone()),
        })
    }
}
