//! The server's database, read past the server: what tests assert on, and where the demo changes a byte.

use std::collections::{BTreeMap, HashSet};
use std::path::Path;
use std::time::Duration;

use anyhow::Context;
use sqlx::sqlite::{SqliteConnectOptions, SqlitePool, SqlitePoolOptions};

/// A connection to the database file.
#[derive(Clone, Debug)]
pub struct Rows {
    pool: SqlitePool,
}

/// A leaf's values by name, as the database keeps them.
#[derive(Clone, Debug, Default)]
pub struct Leaf {
    /// Its index.
    pub index: i64,
    /// Its values.
    pub values: BTreeMap<String, String>,
}

impl Leaf {
    /// A value without the quotes that a text may have.
    #[must_use]
    pub fn value(&self, name: &str) -> &str {
        self.values
            .get(name)
            .map(|value| value.trim_matches('"'))
            .unwrap_or_default()
    }
}

impl Rows {
    /// Opens the file, which must be there.
    ///
    /// # Errors
    /// When it is not, or is no such database.
    pub async fn open(file: &Path) -> anyhow::Result<Self> {
        let options = SqliteConnectOptions::new()
            .filename(file)
            .busy_timeout(Duration::from_secs(5));
        let pool = SqlitePoolOptions::new()
            .max_connections(1)
            .connect_with(options)
            .await;
        Ok(Self {
            pool: pool.with_context(|| format!("can't open `{}`", file.display()))?,
        })
    }

    /// The leaves that have this value under this name, oldest first.
    ///
    /// # Errors
    /// When the database can't be read.
    pub async fn leaves(&self, name: &str, value: &str) -> anyhow::Result<Vec<Leaf>> {
        let found: Vec<(i64, String, String)> = sqlx::query_as(
            "SELECT leaf, name, value FROM disclosure WHERE leaf IN \
             (SELECT leaf FROM disclosure WHERE name = $1 AND trim(value, '\"') = $2) ORDER BY leaf, position",
        )
        .bind(name)
        .bind(value)
        .fetch_all(&self.pool)
        .await
        .context("can't read disclosures")?;
        let mut leaves: Vec<Leaf> = Vec::new();
        for (index, name, value) in found {
            match leaves.last_mut() {
                Some(leaf) if leaf.index == index => drop(leaf.values.insert(name, value)),
                _ => leaves.push(Leaf {
                    index,
                    values: BTreeMap::from([(name, value)]),
                }),
            }
        }
        Ok(leaves)
    }

    /// The bytes of all leaves.
    ///
    /// # Errors
    /// When the database can't be read.
    pub async fn all_leaves(&self) -> anyhow::Result<HashSet<Vec<u8>>> {
        let rows: Vec<(Vec<u8>,)> = sqlx::query_as("SELECT leaf FROM leaf")
            .fetch_all(&self.pool)
            .await
            .context("can't read leaves")?;
        Ok(rows.into_iter().map(|(leaf,)| leaf).collect())
    }

    /// Id, role and outcome of each lease.
    ///
    /// # Errors
    /// When the database can't be read.
    pub async fn leases(&self) -> anyhow::Result<Vec<(String, String, Option<String>)>> {
        sqlx::query_as("SELECT id, role, outcome FROM lease ORDER BY leaf")
            .fetch_all(&self.pool)
            .await
            .context("can't read leases")
    }

    /// Number and state of each change.
    ///
    /// # Errors
    /// When the database can't be read.
    pub async fn changes(&self) -> anyhow::Result<Vec<(i64, String)>> {
        sqlx::query_as("SELECT number, state FROM change ORDER BY number")
            .fetch_all(&self.pool)
            .await
            .context("can't read changes")
    }

    /// Name, attestor, boot profile and ban of each node.
    ///
    /// # Errors
    /// When the database can't be read.
    pub async fn nodes(&self) -> anyhow::Result<Vec<(String, String, Option<String>, bool)>> {
        sqlx::query_as("SELECT name, attestor, boot, banned <> 0 FROM node ORDER BY name")
            .fetch_all(&self.pool)
            .await
            .context("can't read nodes")
    }

    /// The subjects of issued certificates and tokens.
    ///
    /// # Errors
    /// When the database can't be read.
    pub async fn subjects(&self) -> anyhow::Result<Vec<String>> {
        let rows: Vec<(String,)> = sqlx::query_as("SELECT subject FROM serial ORDER BY leaf")
            .fetch_all(&self.pool)
            .await
            .context("can't read serials")?;
        Ok(rows.into_iter().map(|(subject,)| subject).collect())
    }

    /// Changes one bit of one leaf; again changes it back.
    ///
    /// # Errors
    /// When the database can't be written, or has no such leaf.
    pub async fn flip(&self, index: i64) -> anyhow::Result<()> {
        let (mut leaf,): (Vec<u8>,) = sqlx::query_as("SELECT leaf FROM leaf WHERE idx = $1")
            .bind(index)
            .fetch_one(&self.pool)
            .await
            .context("can't read a leaf")?;
        *leaf.last_mut().context("a leaf is empty")? ^= 1;
        sqlx::query("UPDATE leaf SET leaf = $1 WHERE idx = $2")
            .bind(leaf)
            .bind(index)
            .execute(&self.pool)
            .await
            .context("can't write a leaf")?;
        Ok(())
    }
}
