//! Opening: what must be there is there, what must not be is not, and every commit will be synced.

use std::{
    ffi::OsString,
    fs,
    os::unix::fs::{OpenOptionsExt, PermissionsExt},
    path::{Path, PathBuf},
    time::Duration,
};

use estate::Timestamp;
use server::ports::{KeyRow, StoreError};
use sqlx::{
    ConnectOptions, Connection, Row, SqliteConnection,
    migrate::MigrateError,
    sqlite::{SqliteConnectOptions, SqliteJournalMode, SqliteSynchronous},
};
use tlog::{Plan, VerifierKey, empty_root};

use crate::{
    Create, OpenError, RollbackCheck, StoreConfig, head, read,
    state::{self, LogState},
    statements as sql,
    writer::Edge,
};

/// A database that may be used.
pub(crate) struct Opened {
    pub(crate) options: SqliteConnectOptions,
    pub(crate) edge: Edge,
    pub(crate) rollback: RollbackCheck,
}

/// Opens or makes the database and the tenant's log in it.
pub(crate) async fn open(config: &StoreConfig, log: &VerifierKey) -> Result<Opened, OpenError> {
    match config.create {
        Create::New => {
            refuse_existing(config)?;
            create_file(&config.path)?;
            let opened = open_file(config, log).await;
            if opened.is_err() {
                // It was made a moment ago and holds nothing; the next try must not find it in its way.
                drop(fs::remove_file(&config.path));
            }
            opened
        }
        Create::NewTenant | Create::Existing => {
            check_file(&config.path)?;
            open_file(config, log).await
        }
    }
}

/// Reads the wrapped keys without opening the log.
pub(crate) async fn keys(config: &StoreConfig) -> Result<Vec<KeyRow>, OpenError> {
    check_file(&config.path)?;
    let mut db = options(&config.path)
        .connect()
        .await
        .map_err(OpenError::Database)?;
    let rows = sqlx::query(sql::KEYS)
        .bind(config.tenant.to_string())
        .fetch_all(&mut db)
        .await;
    let keys = rows
        .map_err(OpenError::Database)?
        .iter()
        .map(read::key)
        .collect::<Result<_, _>>()
        .map_err(of_store);
    db.close().await.map_err(OpenError::Database)?;
    keys
}

/// Connects with the settings that make a commit durable.
pub(crate) fn options(path: &Path) -> SqliteConnectOptions {
    SqliteConnectOptions::new()
        .filename(path)
        .create_if_missing(false)
        .journal_mode(SqliteJournalMode::Wal)
        .synchronous(SqliteSynchronous::Full)
        .foreign_keys(true)
        .busy_timeout(BUSY)
        .disable_statement_logging()
}

/// Asks the engine itself whether commits are synced: some file systems and builds refuse the settings silently.
pub(crate) async fn check_durable(db: &mut SqliteConnection) -> Result<(), OpenError> {
    let row = sqlx::query(sql::JOURNAL_MODE)
        .fetch_one(&mut *db)
        .await
        .map_err(OpenError::Database)?;
    let journal: String = row.try_get(0).map_err(OpenError::Database)?;
    let row = sqlx::query(sql::SYNCHRONOUS)
        .fetch_one(&mut *db)
        .await
        .map_err(OpenError::Database)?;
    let synchronous: i64 = row.try_get(0).map_err(OpenError::Database)?;
    if journal == "wal" && synchronous >= FULL {
        Ok(())
    } else {
        Err(OpenError::NotDurable {
            journal,
            synchronous,
        })
    }
}

async fn open_file(config: &StoreConfig, log: &VerifierKey) -> Result<Opened, OpenError> {
    let options = options(&config.path);
    let mut db = options.connect().await.map_err(OpenError::Database)?;
    check_durable(&mut db).await?;
    sqlx::migrate!("./migrations")
        .run_direct(None, &mut db, false)
        .await
        .map_err(|error| match error {
            MigrateError::VersionMissing(found) => OpenError::NewerSchema { found },
            other => OpenError::Migration(other),
        })?;
    match (tenant(&mut db, config).await?, config.create) {
        (None, Create::Existing) => {
            return Err(OpenError::UnknownTenant {
                tenant: config.tenant.clone(),
            });
        }
        (Some(_), Create::New | Create::NewTenant) => {
            return Err(OpenError::TenantExists {
                tenant: config.tenant.clone(),
            });
        }
        (None, Create::New | Create::NewTenant) => begin_log(&mut db, config, log).await?,
        (Some(found), Create::Existing) if found != log.to_string() => {
            return Err(OpenError::OtherKey {
                found,
                given: log.to_string(),
            });
        }
        (Some(_), Create::Existing) => {}
    }
    let (state, rollback) = load(&mut db, config, log).await?;
    Ok(Opened {
        options,
        edge: Edge { db, state },
        rollback,
    })
}

/// Reads the log as it stands at one moment: another process may still be writing its last batch. The head file is read
/// before, so that it can't be ahead of what is compared with it.
async fn load(
    db: &mut SqliteConnection,
    config: &StoreConfig,
    log: &VerifierKey,
) -> Result<(LogState, RollbackCheck), OpenError> {
    let kept = match (&config.head_file, config.create) {
        (Some(path), Create::Existing) => head::read(path, log)?,
        _ => None,
    };
    sqlx::query(sql::BEGIN_READ)
        .execute(&mut *db)
        .await
        .map_err(OpenError::Database)?;
    let state = LogState::load(&mut *db, config.tenant.as_str(), log)
        .await
        .map_err(of_store)?;
    let rollback = match (kept, config.create) {
        (_, Create::New | Create::NewTenant) => RollbackCheck::NewLog,
        (None, Create::Existing) => RollbackCheck::Unchecked,
        (Some(kept), Create::Existing) => compare_head(&mut *db, config, &kept, &state).await?,
    };
    sqlx::query(sql::COMMIT)
        .execute(&mut *db)
        .await
        .map_err(OpenError::Database)?;
    Ok((state, rollback))
}

async fn tenant(
    db: &mut SqliteConnection,
    config: &StoreConfig,
) -> Result<Option<String>, OpenError> {
    let row = sqlx::query(sql::TENANT)
        .bind(config.tenant.to_string())
        .fetch_optional(db)
        .await;
    let row = row.map_err(OpenError::Database)?;
    row.map(|row| row.try_get("verifier"))
        .transpose()
        .map_err(OpenError::Database)
}

async fn begin_log(
    db: &mut SqliteConnection,
    config: &StoreConfig,
    log: &VerifierKey,
) -> Result<(), OpenError> {
    sqlx::query(sql::BEGIN)
        .execute(&mut *db)
        .await
        .map_err(OpenError::Database)?;
    let tenant = sqlx::query(sql::TENANT_ADD)
        .bind(config.tenant.to_string())
        .bind(log.to_string());
    tenant
        .execute(&mut *db)
        .await
        .map_err(OpenError::Database)?;
    let head = sqlx::query(sql::HEAD_ADD)
        .bind(config.tenant.to_string())
        .bind(empty_root().as_bytes().to_vec())
        .bind(Timestamp::MIN.as_millis());
    head.execute(&mut *db).await.map_err(OpenError::Database)?;
    sqlx::query(sql::COMMIT)
        .execute(&mut *db)
        .await
        .map_err(OpenError::Database)?;
    Ok(())
}

/// The log in the head file must be the beginning of the database's.
async fn compare_head(
    db: &mut SqliteConnection,
    config: &StoreConfig,
    kept: &tlog::VerifiedCheckpoint,
    state: &LogState,
) -> Result<RollbackCheck, OpenError> {
    let rolled_back = OpenError::RolledBack {
        head_file: kept.size(),
        database: state.tree.size(),
    };
    if kept.size() > state.tree.size() {
        return Err(rolled_back);
    }
    let plan = Plan::root(kept.size()).map_err(|error| OpenError::Corrupt(error.to_string()))?;
    let hashes = state::hashes(db, config.tenant.as_str(), &plan.indexes())
        .await
        .map_err(of_store)?;
    match tlog::tree_hash(kept.size(), &hashes) {
        Ok(root) if root == kept.root() => Ok(RollbackCheck::Compared { size: kept.size() }),
        _ => Err(rolled_back),
    }
}

fn refuse_existing(config: &StoreConfig) -> Result<(), OpenError> {
    // A write-ahead log without its database would be played into the new one.
    let beside = ["-wal", "-shm", "-journal"].map(|suffix| beside(&config.path, suffix));
    let in_the_way = beside
        .iter()
        .chain([&config.path])
        .chain(&config.head_file)
        .find(|path| path.exists());
    in_the_way.map_or(Ok(()), |path| Err(OpenError::Exists { path: path.clone() }))
}

fn create_file(path: &Path) -> Result<(), OpenError> {
    match fs::OpenOptions::new()
        .write(true)
        .create_new(true)
        .mode(0o600)
        .open(path)
    {
        Ok(_) => Ok(()),
        Err(error) if error.kind() == std::io::ErrorKind::AlreadyExists => Err(OpenError::Exists {
            path: path.to_owned(),
        }),
        Err(source) => Err(OpenError::File {
            path: path.to_owned(),
            source,
        }),
    }
}

fn check_file(path: &Path) -> Result<(), OpenError> {
    let metadata = match fs::metadata(path) {
        Ok(metadata) => metadata,
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => {
            return Err(OpenError::Missing {
                path: path.to_owned(),
            });
        }
        Err(source) => {
            return Err(OpenError::File {
                path: path.to_owned(),
                source,
            });
        }
    };
    let mode = metadata.permissions().mode() & 0o777;
    if mode & 0o077 == 0 {
        Ok(())
    } else {
        Err(OpenError::Permissions {
            path: path.to_owned(),
            mode,
        })
    }
}

fn beside(path: &Path, suffix: &str) -> PathBuf {
    let mut name: OsString = path.as_os_str().to_owned();
    name.push(suffix);
    PathBuf::from(name)
}

fn of_store(error: StoreError) -> OpenError {
    match error {
        StoreError::Corrupt(what) => OpenError::Corrupt(what),
        other => OpenError::Corrupt(other.to_string()),
    }
}

const BUSY: Duration = Duration::from_secs(5);
const FULL: i64 = 2;
