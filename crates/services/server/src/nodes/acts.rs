//! What people do to nodes: bans and tokens.

use super::*;

impl<S: Store, A: DatabaseAccounts> Server<S, A> {
    /// Bans a node: its epoch rises, its leases end, its streams are told.
    ///
    /// # Errors
    /// [`NodeError`]
    pub async fn ban(
        &self,
        node: &NodeName,
        actor: Actor,
        why: &str,
    ) -> Result<Commitment, NodeError> {
        let act = Act::new(ActKind::NodeBan, actor)
            .field("node", node.to_string())
            .field("reason", why);
        let act = match self.store.node(node).await? {
            Some(_) => act.effect(Effect::Banned(node.clone())),
            // A node can be banned before it ever attests: then it never will. Should it have attested this very moment,
            // the guard says so, and the next try bans it with its leases.
            None => act
                .effect(Effect::Node(Box::new(self.never_attested(node)?)))
                .guard(Guard::NodeAt(node.clone(), None)),
        };
        let logged = self.ledger.record(act).await?;
        self.sweep.notify_one();
        self.announce();
        Ok(logged.commitment().clone())
    }

    pub(super) fn never_attested(&self, node: &NodeName) -> Result<NodeRow, NodeError> {
        let enrolled = self
            .enrolled(node)
            .ok_or_else(|| NodeError::Unknown(node.clone()))?;
        Ok(NodeRow {
            name: enrolled.node,
            epoch: Epoch(0),
            attestor: enrolled.attestor,
            ek: enrolled.ek,
            ak_public: Vec::new(),
            node_key_spki: Vec::new(),
            node_key_name: Vec::new(),
            statement_key: String::new(),
            hpke_suite: String::new(),
            hpke_key: Vec::new(),
            boot: None,
            reset_count: 0,
            attested_at: self.now(),
            quoted_at: None,
            not_after: self.now(),
            banned: true,
        })
    }

    /// Makes a one-time token for a node that the estate lets join by token; the token is returned once and kept nowhere.
    ///
    /// # Errors
    /// [`NodeError`]
    pub async fn token(
        &self,
        node: &NodeName,
        actor: Actor,
    ) -> Result<(String, Commitment), NodeError> {
        let enrolled = self
            .enrolled(node)
            .ok_or_else(|| NodeError::Unknown(node.clone()))?;
        if enrolled.attestor != Attestor::JoinToken {
            let error = AttestationError::OtherAttestor {
                node: node.clone(),
                expected: "tpm",
            };
            return Err(self.refuse(node, error, Vec::new()).await?);
        }
        let token = hex::encode(self.random());
        let row = TokenRow {
            hash: Digest::of(&token),
            node: node.clone(),
            not_after: self.now().plus(TOKEN_LIFE),
        };
        let act = Act::new(ActKind::NodeToken, actor)
            .field("node", node.to_string())
            .effect(Effect::Token(row));
        let logged = self.ledger.record(act).await?;
        Ok((token, logged.commitment().clone()))
    }
}

const TOKEN_LIFE: Duration = Duration::from_secs(600);
