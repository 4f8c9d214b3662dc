//! Fresh quotes within a session: asked for over the directive stream, checked here.

use super::{known::statement_key, *};

impl<S: Store, A: DatabaseAccounts> Server<S, A> {
    /// Checks the quote that was asked for over the directive stream.
    ///
    /// # Errors
    /// [`NodeError`]; a refused quote ends the node's session.
    pub async fn quote(
        &self,
        node: &NodeName,
        exporter: [u8; 32],
        nonce: &[u8],
        proof: &Proof,
    ) -> Result<(Commitment, Timestamp), NodeError> {
        self.trusted()?;
        let now = self.now();
        let pending = self
            .nonces
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .remove(node);
        let pending = pending
            .filter(|pending| pending.nonce == nonce)
            .filter(|pending| {
                now.since(pending.asked)
                    .is_some_and(|age| age <= QUOTE_PATIENCE)
            })
            .ok_or(NodeError::NotAsked)?;
        let row = self
            .store
            .node(node)
            .await?
            .ok_or_else(|| NodeError::Unknown(node.clone()))?;
        match self.check_quote(&row, exporter, &pending.nonce, proof, now) {
            Ok(reset_count) => self.record_quote(&row, reset_count, now).await,
            Err(error) => {
                let effects = vec![Effect::EpochRaised(node.clone())];
                let refused = self.refuse(node, error, effects).await?;
                self.announce();
                Err(refused)
            }
        }
    }

    pub(super) fn check_quote(
        &self,
        row: &NodeRow,
        exporter: [u8; 32],
        nonce: &[u8; 32],
        proof: &Proof,
        now: Timestamp,
    ) -> Result<u32, AttestationError> {
        let malformed = |what| AttestationError::Malformed { what };
        let enrolled = self
            .enrolled(&row.name)
            .ok_or_else(|| AttestationError::NotEnrolled(row.name.clone()))?;
        let ak = tpm_quote::PublicArea::parse(&row.ak_public)
            .map_err(|_| malformed("attestation key"))?;
        let hpke_key =
            String::from_utf8(row.hpke_key.clone()).map_err(|_| malformed("node HPKE key"))?;
        let binding = AttestBinding {
            trust_domain: self.trust_domain.clone(),
            node: row.name.clone(),
            purpose: Purpose::Quote,
            ak_name: ak.name().as_bytes().to_vec(),
            node_key_name: row.node_key_name.clone(),
            statement_key: statement_key(row).ok_or_else(|| malformed("statement key"))?,
            hpke_key: Confirmation {
                suite: row.hpke_suite.clone(),
                key: hpke_key,
            },
            exporter,
        };
        let quote = verify_fresh_quote(&enrolled, &binding, &row.ak_public, nonce, proof, now)?;
        match quote.reset_count() == row.reset_count {
            true => Ok(quote.reset_count()),
            false => Err(AttestationError::Restarted),
        }
    }

    pub(super) async fn record_quote(
        &self,
        row: &NodeRow,
        reset_count: u32,
        now: Timestamp,
    ) -> Result<(Commitment, Timestamp), NodeError> {
        let act = Act::new(ActKind::NodeQuote, Actor::Node(row.name.to_string()))
            .field("node", row.name.to_string())
            .effect(Effect::Quoted(row.name.clone(), now, reset_count))
            .guard(Guard::NodeEpoch(row.name.clone(), row.epoch));
        let logged = self.ledger.record(act).await?;
        Ok((logged.commitment().clone(), now))
    }
}

const QUOTE_PATIENCE: Duration = Duration::from_secs(60);
