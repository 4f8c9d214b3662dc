//! Which database is opened, how, and why it may be refused.

use std::path::PathBuf;

use estate::TenantName;

/// Where a tenant's store lies.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct StoreConfig {
    /// The database's file.
    pub path: PathBuf,
    /// Whose log, keys and rows: tenants share a database and see nothing of each other.
    pub tenant: TenantName,
    /// Whether it must exist.
    pub create: Create,
    /// A file outside the database that keeps the newest checkpoint, so that a restored old database is noticed.
    pub head_file: Option<PathBuf>,
}

/// A log that should exist is never created silently, and one that exists is never begun anew.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Create {
    /// Neither the database nor a head file is there; both are made.
    New,
    /// The database is there, the tenant is not.
    NewTenant,
    /// Both are there.
    Existing,
}

/// What is known about a roll-back of the database.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum RollbackCheck {
    /// The log was begun just now: there is nothing to roll back.
    NewLog,
    /// Nothing outside the database was there to compare with.
    Unchecked,
    /// The log of this many leaves in the head file is the beginning of the database's.
    Compared {
        /// Leaves in the head file's checkpoint.
        size: u64,
    },
}

/// The store is not opened.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum OpenError {
    /// Fault: the operator. A log that exists is never begun anew.
    #[error("`{}` exists already", .path.display())]
    Exists {
        /// The file in the way: a database, its write-ahead log or a head file.
        path: PathBuf,
    },
    /// Fault: the operator. A database that should exist is never created silently.
    #[error("the database `{}` does not exist", .path.display())]
    Missing {
        /// The database's file.
        path: PathBuf,
    },
    /// Fault: the operator.
    #[error("`{}` may be opened by others than its owner (mode {mode:03o}, wanted 600)", .path.display())]
    Permissions {
        /// The database's file.
        path: PathBuf,
        /// Its mode.
        mode: u32,
    },
    /// Fault: the operator.
    #[error("the database has no tenant `{tenant}`")]
    UnknownTenant {
        /// The tenant asked for.
        tenant: TenantName,
    },
    /// Fault: the operator.
    #[error("the database has a tenant `{tenant}` already")]
    TenantExists {
        /// The tenant to be made.
        tenant: TenantName,
    },
    /// Fault: the operator. A newer release wrote the database.
    #[error("the database has schema {found}, which this release does not know")]
    NewerSchema {
        /// The migration that is not known here.
        found: i64,
    },
    /// Fault: the database, or whoever edited its schema.
    #[error("the database could not be brought to this release's schema")]
    Migration(#[source] sqlx::migrate::MigrateError),
    /// Fault: the file system or the build. Without write-ahead log and full sync "durable" would not be true.
    #[error(
        "the database does not sync every commit (journal mode `{journal}`, synchronous {synchronous})"
    )]
    NotDurable {
        /// What `PRAGMA journal_mode` answers.
        journal: String,
        /// What `PRAGMA synchronous` answers.
        synchronous: i64,
    },
    /// Fault: the operator. Another key signed this log.
    #[error("the log is signed by `{found}`, not by `{given}`")]
    OtherKey {
        /// The key on record.
        found: String,
        /// The key given.
        given: String,
    },
    /// Fault: whoever restored an old database, or ran two from one copy.
    #[error(
        "the head file holds a log of {head_file} leaves that the database's log of {database} does not continue: \
         the database was rolled back or replaced"
    )]
    RolledBack {
        /// Leaves in the head file's checkpoint.
        head_file: u64,
        /// Leaves in the database.
        database: u64,
    },
    /// Fault: whoever wrote the head file.
    #[error("the head file `{}` is no checkpoint of this log", .path.display())]
    HeadFile {
        /// The head file.
        path: PathBuf,
        /// Why not.
        source: tlog::CheckpointError,
    },
    /// Fault: whoever edited the database, or a defect of ours.
    #[error("the log in the database does not fit its own checkpoint: {0}")]
    Corrupt(String),
    /// Fault: the database.
    #[error("the database could not be opened")]
    Database(#[source] sqlx::Error),
    /// Fault: the file system.
    #[error("`{}` can't be used", .path.display())]
    File {
        /// The file.
        path: PathBuf,
        /// What the system said.
        source: std::io::Error,
    },
}
