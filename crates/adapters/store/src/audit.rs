//! The whole log recomputed from its leaves and compared with everything that was stored beside them.

mod changes;

use std::collections::{BTreeMap, BTreeSet};

use ledger::{Disclosure, Leaf};
use server::ports::{Discrepancy, StoreError};
use sqlx::{Connection, SqliteConnection};
use tlog::{Hash, Tree, VerifierKey, leaf_hash, stored_hash_count};

use crate::{
    SqliteStore,
    columns::{Columns, signed, unavailable},
    log::{search_key, value_text},
    read, state, statements as sql,
};

/// Reads one snapshot of the database, page by page.
pub(crate) async fn audit(store: &SqliteStore) -> Result<Vec<Discrepancy>, StoreError> {
    let mut db = store.pool().acquire().await.map_err(unavailable)?;
    let mut snapshot = db.begin_with(sql::BEGIN_READ).await.map_err(unavailable)?;
    let mut audit = Audit {
        db: &mut snapshot,
        tenant: store.tenant().as_str(),
        tree: Tree::new(),
        time: i64::MIN,
        told: changes::Told::default(),
        found: Vec::new(),
    };
    audit.leaves().await?;
    audit.head(store.verifier_key()).await?;
    audit.strays().await?;
    audit.changes().await?;
    Ok(audit.found)
}

struct Audit<'a> {
    db: &'a mut SqliteConnection,
    tenant: &'a str,
    tree: Tree,
    time: i64,
    told: changes::Told,
    found: Vec<Discrepancy>,
}

struct StoredLeaf {
    index: u64,
    time: i64,
    bytes: Vec<u8>,
}

struct StoredDisclosure {
    encoded: String,
    name: String,
    value: String,
}

impl Audit<'_> {
    async fn leaves(&mut self) -> Result<(), StoreError> {
        loop {
            let first = self.tree.size();
            let page = self.page(first).await?;
            let Some(last) = page.last() else {
                return Ok(());
            };
            let mut disclosures = self.disclosures(first, last.index + 1).await?;
            let hashes = self.hashes(first, last.index + 1).await?;
            for leaf in page {
                let index = leaf.index;
                if index != self.tree.size() {
                    let missing = self.tree.size();
                    self.report(
                        Some(missing),
                        format!("leaf {missing} is missing; the next one stored is {index}"),
                    );
                    // Behind a gap every hash would differ.
                    return Ok(());
                }
                self.leaf(
                    leaf,
                    disclosures.remove(&index).unwrap_or_default(),
                    &hashes,
                )?;
            }
        }
    }

    fn leaf(
        &mut self,
        leaf: StoredLeaf,
        disclosures: Vec<StoredDisclosure>,
        hashes: &BTreeMap<u64, Vec<u8>>,
    ) -> Result<(), StoreError> {
        let StoredLeaf { index, time, bytes } = leaf;
        let computed = self
            .tree
            .append(leaf_hash(&bytes))
            .map_err(|error| StoreError::Corrupt(error.to_string()))?;
        for (level, computed) in computed.iter().enumerate() {
            let stored = hashes
                .get(&computed.index)
                .map(|bytes| Hash::try_from(bytes.as_slice()));
            if stored != Some(Ok(computed.hash)) {
                let what = if level == 0 { "leaf" } else { "subtree" };
                self.report(
                    Some(index),
                    format!(
                        "stored hash {} is not that of the {what} that ends with leaf {index}",
                        computed.index
                    ),
                );
            }
        }
        match Leaf::parse(&bytes) {
            Ok(parsed) => self.parsed(index, time, &parsed, &disclosures),
            Err(error) => self.report(Some(index), format!("leaf {index} can't be read: {error}")),
        }
        Ok(())
    }

    fn parsed(&mut self, index: u64, time: i64, leaf: &Leaf, disclosures: &[StoredDisclosure]) {
        if leaf.time != time {
            self.report(
                Some(index),
                format!("the time kept beside leaf {index} is not the leaf's"),
            );
        }
        if leaf.time < self.time {
            self.report(
                Some(index),
                format!("leaf {index} is older than the one before it"),
            );
        }
        self.time = self.time.max(leaf.time);
        let encoded: Vec<String> = disclosures
            .iter()
            .map(|stored| stored.encoded.clone())
            .collect();
        match leaf.disclose(&encoded) {
            Ok(values) => self.told.leaf(index, &values),
            Err(error) => self.report(
                Some(index),
                format!("a disclosure beside leaf {index} is not the one logged: {error}"),
            ),
        }
        for stored in disclosures {
            let decoded = Disclosure::decode(&stored.encoded);
            if !decoded.is_ok_and(|it| {
                it.name == stored.name
                    && search_key(&it.name, &value_text(&it.value)) == stored.value
            }) {
                self.report(
                    Some(index),
                    format!(
                        "a searchable value `{}` beside leaf {index} is not the disclosed one",
                        stored.name
                    ),
                );
            }
        }
    }

    async fn head(&mut self, log: &VerifierKey) -> Result<(), StoreError> {
        let head = state::head(&mut *self.db, self.tenant).await?;
        let size = self.tree.size();
        if head.size != size {
            self.report(
                None,
                format!("the head says {} leaves, stored are {size}", head.size),
            );
        } else if head.root != self.tree.root().as_bytes() {
            self.report(None, "the leaves do not lead to the head's root".into());
        }
        if let Err(what) = state::check_checkpoint(head.checkpoint.as_deref(), &self.tree, log) {
            self.report(None, what);
        }
        if head.time.as_seconds() < self.time {
            self.report(None, "the head's time is before its newest leaf's".into());
        }
        Ok(())
    }

    /// Rows that belong to no leaf.
    async fn strays(&mut self) -> Result<(), StoreError> {
        let size = self.tree.size();
        let rows = self.rows(sql::DISCLOSURES_STRAY, &[signed(size)]).await?;
        for row in &rows {
            let leaf = Columns(row).integer("leaf")?;
            self.report(
                u64::try_from(leaf).ok(),
                format!("a disclosure belongs to leaf {leaf}, which is not there"),
            );
        }
        for row in &self
            .rows(sql::HASHES_STRAY, &[signed(stored_hash_count(size))])
            .await?
        {
            let hashes = Columns(row).integer("hashes")?;
            if hashes > 0 {
                self.report(None, format!("{hashes} stored hashes belong to no leaf"));
            }
        }
        for row in &self.rows(sql::LEAVES_STRAY, &[]).await? {
            let index = Columns(row).integer("idx")?;
            self.report(None, format!("there is a leaf {index}"));
        }
        Ok(())
    }

    /// Changes and versions of the estate, which can be edited as everything else can.
    async fn changes(&mut self) -> Result<(), StoreError> {
        let (mut changes, mut versions) = (BTreeSet::new(), BTreeSet::new());
        for row in &self.rows(sql::CHANGES, &[]).await? {
            match read::change(row) {
                Ok(stored) => {
                    changes.insert(stored.row.number.0);
                    for what in self.told.change(&stored) {
                        self.report(Some(stored.leaf), what);
                    }
                }
                Err(error) => self.report(None, format!("a change can't be read: {error}")),
            }
        }
        for row in &self.rows(sql::ESTATES, &[]).await? {
            let leaf = Columns(row).number("leaf").unwrap_or(u64::MAX);
            match read::estate(row) {
                Ok(version) => {
                    versions.insert(version.version.0);
                    if let Some(what) = self.told.version(&version, leaf) {
                        self.report(Some(leaf), what);
                    }
                }
                Err(error) => self.report(None, format!("a version can't be read: {error}")),
            }
        }
        for what in self.told.missing(&changes, &versions) {
            self.report(None, what);
        }
        Ok(())
    }

    async fn page(&mut self, first: u64) -> Result<Vec<StoredLeaf>, StoreError> {
        let rows = self.rows(sql::LEAVES_FROM, &[signed(first), PAGE]).await?;
        rows.iter()
            .map(|row| {
                let row = Columns(row);
                // Text where bytes were is an edit like any other.
                let bytes = row
                    .blob("leaf")
                    .or_else(|_| row.text("leaf").map(String::into_bytes))
                    .unwrap_or_default();
                Ok(StoredLeaf {
                    index: row.number("idx")?,
                    time: row.integer("time").unwrap_or(i64::MIN),
                    bytes,
                })
            })
            .collect()
    }

    async fn disclosures(
        &mut self,
        first: u64,
        end: u64,
    ) -> Result<BTreeMap<u64, Vec<StoredDisclosure>>, StoreError> {
        let mut by_leaf: BTreeMap<u64, Vec<StoredDisclosure>> = BTreeMap::new();
        for row in &self
            .rows(sql::DISCLOSURES_RANGE, &[signed(first), signed(end)])
            .await?
        {
            let row = Columns(row);
            by_leaf
                .entry(row.number("leaf")?)
                .or_default()
                .push(StoredDisclosure {
                    encoded: row.text("encoded").unwrap_or_default(),
                    name: row.text("name").unwrap_or_default(),
                    value: row.text("value").unwrap_or_default(),
                });
        }
        Ok(by_leaf)
    }

    async fn hashes(&mut self, first: u64, end: u64) -> Result<BTreeMap<u64, Vec<u8>>, StoreError> {
        let range = [
            signed(stored_hash_count(first)),
            signed(stored_hash_count(end)),
        ];
        let rows = self.rows(sql::HASHES_RANGE, &range).await?;
        rows.iter()
            .map(|row| {
                let row = Columns(row);
                Ok((row.number("idx")?, row.blob("hash").unwrap_or_default()))
            })
            .collect()
    }

    async fn rows(
        &mut self,
        statement: &'static str,
        bounds: &[i64],
    ) -> Result<Vec<sqlx::sqlite::SqliteRow>, StoreError> {
        let mut query = sqlx::query(statement).bind(self.tenant.to_owned());
        for bound in bounds {
            query = query.bind(*bound);
        }
        query.fetch_all(&mut *self.db).await.map_err(unavailable)
    }

    fn report(&mut self, index: Option<u64>, what: String) {
        self.found.push(Discrepancy { index, what });
    }
}

const PAGE: i64 = 512;
