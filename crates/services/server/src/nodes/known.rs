//! What is known of a node now: its attestation, under the inventory in force.

use super::*;

impl<S: Store, A: DatabaseAccounts> Server<S, A> {
    /// The node as its attestation left it, with place and cluster of the estate in force.
    pub(crate) async fn attested(
        &self,
        node: &NodeName,
    ) -> Result<Option<AttestedNode>, StoreError> {
        Ok(self.attested_until(node).await?.map(|(node, _)| node))
    }

    /// As [`Server::attested`], with the end of the node's certificate.
    pub(crate) async fn attested_until(
        &self,
        node: &NodeName,
    ) -> Result<Option<(AttestedNode, Timestamp)>, StoreError> {
        let Some(row) = self.store.node(node).await? else {
            return Ok(None);
        };
        let (Some(enrolled), Some(statement_key)) = (self.enrolled(node), statement_key(&row))
        else {
            return Ok(None);
        };
        let assurance = match row.attestor {
            Attestor::Tpm => estate::Assurance::ENROLLED,
            Attestor::JoinToken => estate::Assurance::OWN_WORD,
        };
        // A boot profile that the estate no longer gives this node proves nothing any more.
        let boot = row
            .boot
            .filter(|boot| enrolled.boot.as_ref().is_some_and(|(name, _)| name == boot));
        let facts = NodeFacts {
            name: row.name,
            cluster: enrolled.cluster,
            location: enrolled.location,
            assurance,
            attestor: row.attestor,
            boot,
            quoted_at: row.quoted_at,
            epoch: row.epoch,
        };
        let attested = AttestedNode {
            facts,
            statement_key,
            banned: row.banned,
        };
        Ok(Some((attested, row.not_after)))
    }

    pub(super) fn enrolled(&self, name: &NodeName) -> Option<Enrolled> {
        let world = self.world();
        let node = world.estate.node(name)?;
        let boot = node
            .boot
            .as_ref()
            .and_then(|profile| world.estate.boot_profile(profile))
            .map(|profile| {
                let state = |pcrs: &BTreeMap<estate::PcrIndex, Digest>| {
                    pcrs.iter()
                        .map(|(index, value)| (index.number(), *value.as_bytes()))
                        .collect()
                };
                (
                    profile.name.clone(),
                    profile
                        .accept
                        .values()
                        .map(|accepted| state(&accepted.pcrs))
                        .collect(),
                )
            });
        Some(Enrolled {
            node: name.clone(),
            cluster: Some(node.cluster.clone()),
            location: Some(node.location.clone()),
            attestor: match node.attest {
                Attest::Tpm => Attestor::Tpm,
                Attest::JoinToken => Attestor::JoinToken,
            },
            ek: node.ek,
            boot,
        })
    }

    pub(crate) fn pcrs_of(&self, node: &NodeName) -> Option<Vec<u8>> {
        let (_, states) = self.enrolled(node)?.boot?;
        Some(states.first()?.keys().copied().collect())
    }
}

pub(super) fn statement_key(row: &NodeRow) -> Option<Jwk> {
    serde_json::from_str(&row.statement_key).ok()
}
