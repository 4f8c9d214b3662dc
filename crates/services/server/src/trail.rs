//! The trail: who received what, when; every reading of it is a leaf, too.

use ledger::{Act, ActKind, Actor, Commitment, NotRecorded};
use serde::Serialize;

use crate::{
    ports::{DatabaseAccounts, Discrepancy, LogEntry, Search, Store, StoreError},
    server::Server,
};

/// The trail can't be read.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum TrailError {
    /// Fault: the store.
    #[error("the store can't be read")]
    Store(#[from] StoreError),
    /// Fault: the store.
    #[error("reading the trail could not be recorded")]
    NotRecorded(#[from] NotRecorded),
    /// Fault: the caller.
    #[error("there is no leaf {0}")]
    NotFound(u64),
}

/// A leaf, its disclosures and its proof in the newest tree: all that an offline verifier needs beside the log's key.
#[derive(Debug, Clone, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct ReceiptDocument {
    /// Format version, 1.
    pub v: u8,
    /// Checkpoint verifier key, for comparison with the one that the reader trusts.
    pub ledger_key: String,
    /// The leaf.
    #[serde(flatten)]
    pub entry: LogEntry,
    /// tlog-proof text.
    pub proof: String,
}

impl<S: Store, A: DatabaseAccounts> Server<S, A> {
    /// Searches the trail.
    ///
    /// # Errors
    /// [`TrailError`]
    pub async fn search(
        &self,
        filter: Search,
        actor: Actor,
    ) -> Result<(Vec<LogEntry>, Commitment), TrailError> {
        let asked = serde_json::to_value(&filter).unwrap_or_default();
        let reading = self.record_reading(actor, "search", asked).await?;
        Ok((self.store.search(filter).await?, reading))
    }

    /// Who received anything of a data set: its leaves by data set name, credentials, secrets and image sets.
    ///
    /// # Errors
    /// [`TrailError`]
    pub async fn who(
        &self,
        dataset: &estate::DataSetName,
        actor: Actor,
    ) -> Result<(Vec<LogEntry>, Commitment), TrailError> {
        let reading = self
            .record_reading(actor, "who", dataset.to_string().into())
            .await?;
        let world = self.world();
        let estate = &world.estate;
        let mut targets: Vec<String> = Vec::new();
        targets.extend(
            estate
                .credentials()
                .filter(|c| &c.dataset == dataset)
                .map(|c| policy::Target::Credential(c.name.clone(), dataset.clone()).to_string()),
        );
        targets.extend(
            estate
                .image_sets()
                .filter(|set| &set.dataset == dataset)
                .map(|set| policy::Target::ImageKey(set.name.clone()).to_string()),
        );
        for secret in self
            .store
            .secrets()
            .await?
            .into_iter()
            .filter(|secret| &secret.dataset == dataset)
        {
            targets.push(policy::Target::Secret(secret.name, dataset.clone()).to_string());
        }
        let mut entries = Vec::new();
        for target in targets {
            let fields = vec![("target".to_owned(), target)];
            entries.extend(
                self.store
                    .search(Search {
                        fields,
                        limit: 1000,
                        ..Search::default()
                    })
                    .await?,
            );
        }
        entries.sort_by_key(|entry| std::cmp::Reverse(entry.index));
        Ok((entries, reading))
    }

    /// One receipt, for an offline verifier.
    ///
    /// # Errors
    /// [`TrailError`]
    pub async fn receipt(
        &self,
        index: u64,
        actor: Actor,
    ) -> Result<(ReceiptDocument, Commitment), TrailError> {
        let reading = self.record_reading(actor, "receipt", index.into()).await?;
        let entry = self
            .store
            .entry(index)
            .await?
            .ok_or(TrailError::NotFound(index))?;
        let proof = self
            .store
            .receipt(index)
            .await?
            .ok_or(TrailError::NotFound(index))?;
        Ok((
            ReceiptDocument {
                v: 1,
                ledger_key: self.ledger_key.clone(),
                entry,
                proof,
            },
            reading,
        ))
    }

    /// Recomputes the whole log from the database.
    ///
    /// # Errors
    /// [`TrailError`]
    pub async fn audit(&self, actor: Actor) -> Result<(Vec<Discrepancy>, Commitment), TrailError> {
        let reading = self
            .record_reading(actor, "verify", serde_json::Value::Null)
            .await?;
        Ok((self.store.audit().await?, reading))
    }

    async fn record_reading(
        &self,
        actor: Actor,
        how: &str,
        asked: serde_json::Value,
    ) -> Result<Commitment, NotRecorded> {
        let act = Act::new(ActKind::AuditRead, actor)
            .field("how", how)
            .field("asked", asked);
        Ok(self.ledger.record(act).await?.commitment().clone())
    }
}
