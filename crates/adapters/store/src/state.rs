//! What the writer keeps in memory: the tree's edge and the newest leaf's time, checked against what is stored.

use std::collections::BTreeMap;

use estate::Timestamp;
use server::ports::StoreError;
use sqlx::SqliteConnection;
use tlog::{Checkpoint, Hash, Note, Plan, Tree, VerifierKey};

use crate::{
    columns::{Columns, signed, unavailable},
    statements as sql,
};

/// The edge of a tenant's log.
#[derive(Debug, Clone)]
pub(crate) struct LogState {
    pub(crate) tree: Tree,
    pub(crate) time: Timestamp,
}

/// The head row as it stands.
pub(crate) struct Head {
    pub(crate) size: u64,
    pub(crate) root: Vec<u8>,
    pub(crate) checkpoint: Option<String>,
    pub(crate) time: Timestamp,
}

/// Reads the head row.
pub(crate) async fn head(db: &mut SqliteConnection, tenant: &str) -> Result<Head, StoreError> {
    let row = sqlx::query(sql::HEAD)
        .bind(tenant.to_owned())
        .fetch_optional(db)
        .await
        .map_err(unavailable)?;
    let row = row.ok_or_else(|| StoreError::Corrupt("the tenant's log has no head".into()))?;
    let row = Columns(&row);
    Ok(Head {
        size: row.number("size")?,
        root: row.blob("root")?,
        checkpoint: row.text_or_none("checkpoint")?,
        time: row.time("time")?,
    })
}

impl LogState {
    /// Reads the edge back and compares head, tree and checkpoint with each other.
    pub(crate) async fn load(
        db: &mut SqliteConnection,
        tenant: &str,
        log: &VerifierKey,
    ) -> Result<Self, StoreError> {
        let head = head(&mut *db, tenant).await?;
        let plan =
            Plan::root(head.size).map_err(|_| StoreError::Corrupt("the head's size".into()))?;
        let edge = hashes(&mut *db, tenant, &plan.indexes()).await?;
        let tree = Tree::open(head.size, &edge).map_err(|_| {
            StoreError::Corrupt("stored hashes of the tree's edge are missing".into())
        })?;
        if tree.root().as_bytes().as_slice() != head.root {
            return Err(StoreError::Corrupt(
                "the stored hashes do not lead to the head's root".into(),
            ));
        }
        let leaves = sqlx::query(sql::LEAF_COUNT)
            .bind(tenant.to_owned())
            .fetch_one(db)
            .await
            .map_err(unavailable)?;
        if Columns(&leaves).number("leaves")? != head.size {
            return Err(StoreError::Corrupt(
                "the number of leaves is not the head's size".into(),
            ));
        }
        check_checkpoint(head.checkpoint.as_deref(), &tree, log).map_err(StoreError::Corrupt)?;
        Ok(Self {
            tree,
            time: head.time,
        })
    }
}

/// Whether the checkpoint is the log's, and of this tree; says what is wrong.
pub(crate) fn check_checkpoint(
    text: Option<&str>,
    tree: &Tree,
    log: &VerifierKey,
) -> Result<(), String> {
    let Some(text) = text else {
        return if tree.size() == 0 {
            Ok(())
        } else {
            Err("the checkpoint is missing".into())
        };
    };
    let note =
        Note::parse(text).map_err(|error| format!("the checkpoint is malformed: {error}"))?;
    let checkpoint = Checkpoint::open(&note, log)
        .map_err(|_| "the log's key did not sign the checkpoint".to_owned())?;
    if checkpoint.size() != tree.size() || checkpoint.root() != tree.root() {
        return Err(format!(
            "the checkpoint is of a tree of {} leaves with root {}, the stored tree has {} leaves and root {}",
            checkpoint.size(),
            checkpoint.root(),
            tree.size(),
            tree.root()
        ));
    }
    Ok(())
}

/// The stored hashes at `indexes`, as far as they are there.
pub(crate) async fn hashes(
    db: &mut SqliteConnection,
    tenant: &str,
    indexes: &[u64],
) -> Result<BTreeMap<u64, Hash>, StoreError> {
    let wanted: Vec<i64> = indexes.iter().copied().map(signed).collect();
    let wanted = serde_json::Value::from(wanted).to_string();
    let rows = sqlx::query(sql::HASHES)
        .bind(tenant.to_owned())
        .bind(wanted)
        .fetch_all(db)
        .await
        .map_err(unavailable)?;
    rows.iter()
        .map(|row| {
            let row = Columns(row);
            let index = row.number("idx")?;
            let hash = Hash::try_from(row.blob("hash")?.as_slice())
                .map_err(|_| StoreError::Corrupt(format!("stored hash {index} is not a hash")))?;
            Ok((index, hash))
        })
        .collect()
}
