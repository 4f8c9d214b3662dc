//! The store itself: what is appended goes to the writer, what is read comes through the pool.

use std::sync::Arc;

use estate::{ChangeId, LeaseId, NodeName, PolicyVersion, SecretName, TenantName, Timestamp};
use ledger::{
    Entry, EntryId, Journal, JournalError, Written,
    rows::{EstateRow, LeaseRow, NodeRow, SecretRow, StoredChange},
};
use server::ports::{
    Clock, Discrepancy, EstateVersion, KeyRow, LogEntry, Search, Store, StoreError,
};
use sqlx::{
    SqlitePool,
    query::Query,
    sqlite::{SqliteArguments, SqlitePoolOptions, SqliteRow},
};
use tlog::{Signer, VerifierKey};
use tokio::sync::{mpsc, oneshot};

use crate::{
    OpenError, RollbackCheck, StoreConfig, audit,
    columns::{Columns, signed, unavailable},
    head::HeadFile,
    log, open, read, statements as sql,
    writer::{self, Message, Writer},
};

/// One tenant's store in an SQLite database.
#[derive(Debug)]
pub struct SqliteStore {
    tenant: TenantName,
    pool: SqlitePool,
    inbox: mpsc::Sender<Message>,
    log: VerifierKey,
    rollback: RollbackCheck,
}

/// What the log says of an entry whose commit was not confirmed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Recorded {
    /// Its leaf.
    pub index: u64,
    /// Whether all guards held and its effects took place.
    pub granted: bool,
}

impl SqliteStore {
    /// Opens the store as `config` says and starts its writer on the current run-time. The log is named after the
    /// signer's key: its name is the checkpoints' origin.
    ///
    /// # Errors
    /// [`OpenError`]
    pub async fn open(
        config: StoreConfig,
        signer: Signer,
        clock: Arc<dyn Clock>,
    ) -> Result<Self, OpenError> {
        let log = signer.verifier_key();
        let opened = open::open(&config, &log).await?;
        let pool = SqlitePoolOptions::new()
            .max_connections(READERS)
            .connect_with(opened.options.clone())
            .await;
        let (inbox, outbox) = mpsc::channel(WAITING);
        let StoreConfig {
            tenant, head_file, ..
        } = config;
        let writer = Writer {
            options: opened.options,
            tenant: tenant.clone(),
            signer,
            clock,
            head_file: head_file.map(HeadFile::new),
            edge: Some(opened.edge),
        };
        let pool = pool.map_err(OpenError::Database)?;
        tokio::spawn(writer.run(outbox));
        Ok(Self {
            tenant,
            pool,
            inbox,
            log,
            rollback: opened.rollback,
        })
    }

    /// The wrapped keys of a store that is not open: the log's own key is among them, and opening needs it.
    ///
    /// # Errors
    /// [`OpenError`]
    pub async fn keys_of(config: &StoreConfig) -> Result<Vec<KeyRow>, OpenError> {
        open::keys(config).await
    }

    /// Whether a roll-back of the database could be ruled out when it was opened.
    pub fn rollback_check(&self) -> RollbackCheck {
        self.rollback
    }

    /// What verifies this log's checkpoints.
    pub fn verifier_key(&self) -> &VerifierKey {
        &self.log
    }

    /// What became of an entry whose commit was not confirmed; `None` when it was not written.
    ///
    /// # Errors
    /// [`StoreError`]
    pub async fn recorded(&self, entry: EntryId) -> Result<Option<Recorded>, StoreError> {
        self.one(self.query(sql::ENTRY_OF).bind(entry.0.to_vec()), |row| {
            let row = Columns(row);
            Ok(Recorded {
                index: row.number("idx")?,
                granted: row.flag("granted")?,
            })
        })
        .await
    }

    /// Writes what is waiting, then closes the database. Later appends are refused.
    pub async fn close(&self) {
        let (done, ended) = oneshot::channel();
        if self.inbox.send(Message::Close(done)).await.is_ok() {
            // The writer is gone either way.
            drop(ended.await);
        }
        self.pool.close().await;
    }

    pub(crate) fn query(
        &self,
        statement: &'static str,
    ) -> Query<'static, sqlx::Sqlite, SqliteArguments> {
        sqlx::query(statement).bind(self.tenant.to_string())
    }

    pub(crate) fn pool(&self) -> &SqlitePool {
        &self.pool
    }

    pub(crate) fn tenant(&self) -> &TenantName {
        &self.tenant
    }

    pub(crate) async fn one<T>(
        &self,
        query: Query<'static, sqlx::Sqlite, SqliteArguments>,
        decode: impl FnOnce(&SqliteRow) -> Result<T, StoreError>,
    ) -> Result<Option<T>, StoreError> {
        query
            .fetch_optional(&self.pool)
            .await
            .map_err(unavailable)?
            .as_ref()
            .map(decode)
            .transpose()
    }

    pub(crate) async fn all<T>(
        &self,
        query: Query<'static, sqlx::Sqlite, SqliteArguments>,
        decode: impl FnMut(&SqliteRow) -> Result<T, StoreError>,
    ) -> Result<Vec<T>, StoreError> {
        query
            .fetch_all(&self.pool)
            .await
            .map_err(unavailable)?
            .iter()
            .map(decode)
            .collect()
    }
}

impl Journal for SqliteStore {
    async fn append(&self, entry: Entry) -> Result<Written, JournalError> {
        let (answer, written) = oneshot::channel();
        let message = Message::Append(Box::new(entry), answer);
        self.inbox
            .send(message)
            .await
            .map_err(|_| writer::closed())?;
        // Without an answer the writer is gone, and nobody knows how far it came.
        written.await.unwrap_or(Err(JournalError::Uncertain))
    }
}

impl Store for SqliteStore {
    async fn node(&self, name: &NodeName) -> Result<Option<NodeRow>, StoreError> {
        self.one(self.query(sql::NODE).bind(name.to_string()), read::node)
            .await
    }

    async fn nodes(&self) -> Result<Vec<NodeRow>, StoreError> {
        self.all(self.query(sql::NODES), read::node).await
    }

    async fn estate(&self) -> Result<Option<EstateRow>, StoreError> {
        self.one(self.query(sql::ESTATE), read::estate).await
    }

    async fn estate_at(&self, version: PolicyVersion) -> Result<Option<EstateRow>, StoreError> {
        let query = self.query(sql::ESTATE_AT).bind(signed(version.0));
        self.one(query, read::estate).await
    }

    async fn change(&self, number: ChangeId) -> Result<Option<StoredChange>, StoreError> {
        let query = self.query(sql::CHANGE).bind(signed(number.0));
        self.one(query, read::change).await
    }

    async fn changes(&self) -> Result<Vec<StoredChange>, StoreError> {
        self.all(self.query(sql::CHANGES), read::change).await
    }

    async fn estate_history(&self) -> Result<Vec<EstateVersion>, StoreError> {
        self.all(self.query(sql::ESTATE_HISTORY), read::estate_version)
            .await
    }

    async fn secret(&self, name: &SecretName) -> Result<Option<SecretRow>, StoreError> {
        self.one(self.query(sql::SECRET).bind(name.to_string()), read::secret)
            .await
    }

    async fn secrets(&self) -> Result<Vec<SecretRow>, StoreError> {
        self.all(self.query(sql::SECRETS), read::secret_listed)
            .await
    }

    async fn secrets_exposed(&self) -> Result<Vec<(SecretName, Timestamp)>, StoreError> {
        self.all(self.query(sql::SECRETS_EXPOSED), |row| {
            let row = Columns(row);
            Ok((row.parsed("name")?, row.time("exposed_at")?))
        })
        .await
    }

    async fn lease(&self, id: &LeaseId) -> Result<Option<LeaseRow>, StoreError> {
        self.one(self.query(sql::LEASE).bind(id.to_string()), read::lease)
            .await
    }

    async fn leases(&self, live: bool) -> Result<Vec<LeaseRow>, StoreError> {
        self.all(self.query(sql::LEASES).bind(i64::from(live)), read::lease)
            .await
    }

    async fn leases_ended(&self, node: &NodeName, limit: u32) -> Result<Vec<LeaseRow>, StoreError> {
        let query = self
            .query(sql::LEASES_ENDED)
            .bind(node.to_string())
            .bind(i64::from(limit));
        self.all(query, read::lease).await
    }

    async fn leases_due(
        &self,
        now: Timestamp,
        pending_before: Timestamp,
    ) -> Result<Vec<LeaseRow>, StoreError> {
        let query = self
            .query(sql::LEASES_DUE)
            .bind(now.as_millis())
            .bind(pending_before.as_millis());
        self.all(query, read::lease).await
    }

    async fn key(&self, purpose: &str, name: &str) -> Result<Option<KeyRow>, StoreError> {
        self.one(
            self.query(sql::KEY)
                .bind(purpose.to_owned())
                .bind(name.to_owned()),
            read::key,
        )
        .await
    }

    async fn keys(&self) -> Result<Vec<KeyRow>, StoreError> {
        self.all(self.query(sql::KEYS), read::key).await
    }

    async fn put_key(&self, key: KeyRow) -> Result<KeyRow, StoreError> {
        let KeyRow {
            purpose,
            name,
            algorithm,
            public,
            wrapped,
            created,
        } = key;
        let query = self
            .query(sql::KEY_ADD)
            .bind(purpose.clone())
            .bind(name.clone())
            .bind(algorithm)
            .bind(public)
            .bind(wrapped)
            .bind(created.as_millis());
        query.execute(&self.pool).await.map_err(unavailable)?;
        let standing = self.key(&purpose, &name).await?;
        standing.ok_or_else(|| StoreError::Corrupt(format!("the key `{purpose}` is gone")))
    }

    async fn search(&self, filter: Search) -> Result<Vec<LogEntry>, StoreError> {
        log::search(self, filter).await
    }

    async fn entry(&self, index: u64) -> Result<Option<LogEntry>, StoreError> {
        log::entry(self, index).await
    }

    async fn receipt(&self, index: u64) -> Result<Option<String>, StoreError> {
        log::receipt(self, index).await
    }

    async fn checkpoint(&self) -> Result<Option<String>, StoreError> {
        let checkpoint = self
            .one(self.query(sql::HEAD), |row| {
                Columns(row).text_or_none("checkpoint")
            })
            .await?;
        Ok(checkpoint.flatten())
    }

    async fn consistency(
        &self,
        old_size: u64,
    ) -> Result<Option<(Vec<[u8; 32]>, String)>, StoreError> {
        log::consistency(self, old_size).await
    }

    async fn tile(
        &self,
        level: Option<u8>,
        index: u64,
        width: u16,
    ) -> Result<Option<Vec<u8>>, StoreError> {
        log::tile(self, level, index, width).await
    }

    async fn rollback_warning(&self) -> Result<Option<String>, StoreError> {
        Ok(match self.rollback {
            RollbackCheck::NewLog | RollbackCheck::Compared { .. } => None,
            RollbackCheck::Unchecked => Some(UNCHECKED.to_owned()),
        })
    }

    async fn audit(&self) -> Result<Vec<Discrepancy>, StoreError> {
        audit::audit(self).await
    }
}

const UNCHECKED: &str = "rollback: unchecked (no head file was there at the start, so an old database that was put back \
     would not have been noticed)";
/// Connections that read.
const READERS: u32 = 4;
/// Entries that may wait for the writer; more wait outside.
const WAITING: usize = 1024;
