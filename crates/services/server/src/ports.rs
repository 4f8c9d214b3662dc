//! What the server needs of the world: a store beside the journal, a database for accounts, a clock.

use std::{future::Future, time::Duration};

use estate::{
    ChangeId, CredentialName, Digest, LeaseId, NodeName, PolicyVersion, SecretName, Timestamp,
};
use ledger::{
    Journal,
    rows::{EstateRow, LeaseRow, NodeRow, SecretRow, StoredChange},
};
use serde::{Deserialize, Serialize};

/// Tells the time. Only the binary and adapters know a real one.
pub trait Clock: Send + Sync {
    /// Now, by the server's clock.
    fn now(&self) -> Timestamp;
}

/// A clock that nobody sets.
pub trait Monotonic: Send + Sync {
    /// Time since some fixed moment of this boot.
    fn elapsed(&self) -> Duration;
}

/// Everything that is read back. Nothing here writes but [`Store::put_key`], and that never replaces.
pub trait Store: Journal + 'static {
    /// One node.
    fn node(
        &self,
        name: &NodeName,
    ) -> impl Future<Output = Result<Option<NodeRow>, StoreError>> + Send;
    /// All nodes that ever attested, by name.
    fn nodes(&self) -> impl Future<Output = Result<Vec<NodeRow>, StoreError>> + Send;
    /// The newest version of the estate.
    fn estate(&self) -> impl Future<Output = Result<Option<EstateRow>, StoreError>> + Send;
    /// One version of the estate.
    fn estate_at(
        &self,
        version: PolicyVersion,
    ) -> impl Future<Output = Result<Option<EstateRow>, StoreError>> + Send;
    /// One change.
    fn change(
        &self,
        number: ChangeId,
    ) -> impl Future<Output = Result<Option<StoredChange>, StoreError>> + Send;
    /// All changes, newest first, with `files` empty.
    fn changes(&self) -> impl Future<Output = Result<Vec<StoredChange>, StoreError>> + Send;
    /// All versions, newest first, without their files.
    fn estate_history(&self)
    -> impl Future<Output = Result<Vec<EstateVersion>, StoreError>> + Send;
    /// The newest version of a secret.
    fn secret(
        &self,
        name: &SecretName,
    ) -> impl Future<Output = Result<Option<SecretRow>, StoreError>> + Send;
    /// All secrets' newest versions, with `ct` and `enc` empty.
    fn secrets(&self) -> impl Future<Output = Result<Vec<SecretRow>, StoreError>> + Send;
    /// Secrets whose newest version may have been seen by a person, with the time of the first exposure.
    fn secrets_exposed(
        &self,
    ) -> impl Future<Output = Result<Vec<(SecretName, Timestamp)>, StoreError>> + Send;
    /// One lease.
    fn lease(
        &self,
        id: &LeaseId,
    ) -> impl Future<Output = Result<Option<LeaseRow>, StoreError>> + Send;
    /// Leases, newest first; with `live` only those that have not ended.
    fn leases(&self, live: bool) -> impl Future<Output = Result<Vec<LeaseRow>, StoreError>> + Send;
    /// Leases of a node that ended or are ending, newest first.
    fn leases_ended(
        &self,
        node: &NodeName,
        limit: u32,
    ) -> impl Future<Output = Result<Vec<LeaseRow>, StoreError>> + Send;
    /// Leases that a sweep must end: ending; past `now`; pending with an older leaf than `pending_before`.
    fn leases_due(
        &self,
        now: Timestamp,
        pending_before: Timestamp,
    ) -> impl Future<Output = Result<Vec<LeaseRow>, StoreError>> + Send;
    /// A wrapped key by purpose and name.
    fn key(
        &self,
        purpose: &str,
        name: &str,
    ) -> impl Future<Output = Result<Option<KeyRow>, StoreError>> + Send;
    /// All wrapped keys.
    fn keys(&self) -> impl Future<Output = Result<Vec<KeyRow>, StoreError>> + Send;
    /// Stores a wrapped key unless that purpose and name has one; returns the one that stands.
    fn put_key(&self, key: KeyRow) -> impl Future<Output = Result<KeyRow, StoreError>> + Send;
    /// Log entries that match, newest first.
    fn search(
        &self,
        filter: Search,
    ) -> impl Future<Output = Result<Vec<LogEntry>, StoreError>> + Send;
    /// One log entry.
    fn entry(
        &self,
        index: u64,
    ) -> impl Future<Output = Result<Option<LogEntry>, StoreError>> + Send;
    /// tlog-proof text of one entry in the newest checkpoint's tree.
    fn receipt(
        &self,
        index: u64,
    ) -> impl Future<Output = Result<Option<String>, StoreError>> + Send;
    /// The newest checkpoint, signed-note text; absent before the first leaf.
    fn checkpoint(&self) -> impl Future<Output = Result<Option<String>, StoreError>> + Send;
    /// Proof that the tree of `old_size` is a prefix of the newest checkpoint's, and that checkpoint.
    fn consistency(
        &self,
        old_size: u64,
    ) -> impl Future<Output = Result<Option<ConsistencyProof>, StoreError>> + Send;
    /// Bytes of a hash tile (level ≥ 0) or, for `level` `None`, of an entry bundle.
    fn tile(
        &self,
        level: Option<u8>,
        index: u64,
        width: u16,
    ) -> impl Future<Output = Result<Option<Vec<u8>>, StoreError>> + Send;
    /// What a person should know about the check against roll-back at the last start; absent when it was made.
    fn rollback_warning(&self) -> impl Future<Output = Result<Option<String>, StoreError>> + Send;
    /// Recomputes every leaf hash and the tree from the stored leaves and compares them with the newest checkpoint;
    /// also compares every disclosure with its leaf. Answers what differs.
    fn audit(&self) -> impl Future<Output = Result<Vec<Discrepancy>, StoreError>> + Send;
}

/// Hashes of a consistency proof, and the signed checkpoint of the newer tree.
pub type ConsistencyProof = (Vec<[u8; 32]>, String);

/// A version of the estate, without its files.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct EstateVersion {
    /// Its number.
    pub version: PolicyVersion,
    /// Its hash.
    pub hash: Digest,
    /// The change that brought it.
    pub number: ChangeId,
    /// Hash of that change.
    pub change: Digest,
    /// Who applied it.
    pub by: String,
    /// Its leaf.
    pub leaf: u64,
    /// When.
    pub at: Timestamp,
}

/// A private key wrapped by the KEK provider, with its public half.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct KeyRow {
    /// `root`, `ca`, `jwt`, `log`, `image`, `dataset`, `release`.
    pub purpose: String,
    /// Image set or data set; empty where there is one key.
    pub name: String,
    /// Algorithm or HPKE suite.
    pub algorithm: String,
    /// Public key or certificate, as the purpose says.
    pub public: Vec<u8>,
    /// The private key, wrapped.
    pub wrapped: Vec<u8>,
    /// Made at.
    pub created: Timestamp,
}

/// What to look for in the log. Empty finds everything.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default, deny_unknown_fields)]
pub struct Search {
    /// Values that must be disclosed: name and exact value (text of the JSON value, strings without quotes).
    pub fields: Vec<(String, String)>,
    /// From this time, seconds since 1970.
    pub since: Option<i64>,
    /// Before this time, seconds since 1970.
    pub until: Option<i64>,
    /// At most so many, 1 to 1000; 0 counts as 100.
    pub limit: u32,
}

/// A leaf with what is kept beside it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct LogEntry {
    /// Its index.
    pub index: u64,
    /// The leaf's bytes, text (JCS JSON).
    pub leaf: String,
    /// Encoded disclosures.
    pub disclosures: Vec<String>,
}

/// Something in the database that does not fit the signed log.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Discrepancy {
    /// The leaf, where it is one leaf's.
    pub index: Option<u64>,
    /// What is wrong, as a person reads it.
    pub what: String,
}

/// The store can't answer.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum StoreError {
    /// Fault: the database. Try again.
    #[error("the store is not available: {0}")]
    Unavailable(String),
    /// Fault: whoever edited the database, or a defect of ours.
    #[error("the store holds something that can't be read: {0}")]
    Corrupt(String),
}

/// Users of one kind of database.
pub trait DatabaseAccounts: Send + Sync {
    /// Whether a text is a SCRAM verifier that the database will take as it is.
    fn accepts(&self, verifier: &str) -> bool;
    /// Creates the role with its grants, or finds it as it should be.
    fn create(&self, role: &RoleSpec) -> impl Future<Output = Result<(), AccountError>> + Send;
    /// Ends roles: no login, sessions ended, then dropped. Absent is fine.
    fn end(
        &self,
        database: &Connection,
        roles: &[String],
    ) -> impl Future<Output = Result<(), AccountError>> + Send;
    /// Names of roles that begin with our prefix.
    fn list(
        &self,
        database: &Connection,
    ) -> impl Future<Output = Result<Vec<String>, AccountError>> + Send;
}

/// How to reach a database as its administrator.
pub struct Connection {
    /// `postgresql://host:port/database`, no user in it.
    pub url: String,
    /// Certificates that the server must chain to, PEM.
    pub ca_pem: String,
    /// The login: a JSON object with `user` and `password`, opened for this one use.
    pub login: zeroize::Zeroizing<Vec<u8>>,
}

/// A role to be made.
pub struct RoleSpec {
    /// Where.
    pub connection: Connection,
    /// Its name.
    pub role: String,
    /// SCRAM-SHA-256 verifier.
    pub verifier: String,
    /// End of validity.
    pub expires: Timestamp,
    /// What it may do.
    pub credential: CredentialName,
    /// Fixed kinds of grants.
    pub grants: Vec<estate::Grant>,
}

/// The database did not do what was asked.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum AccountError {
    /// Fault: the database or the way to it. Try again.
    #[error("the database did not answer: {0}")]
    Unavailable(String),
    /// Fault: whoever wrote the estate, or the database's administrator.
    #[error("the database refused: {0}")]
    Refused(String),
    /// Fault: whoever wrote the estate or the secret.
    #[error("the database's connection is not usable: {0}")]
    Misconfigured(String),
}
