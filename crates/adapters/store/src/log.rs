//! The log read back: entries, proofs and tiles.

use std::collections::BTreeMap;

use ledger::Disclosure;
use serde_json::Value;
use server::ports::{LogEntry, Search, StoreError};
use tlog::{Bundle, Hash, Note, Receipt, Tile};

use crate::{
    SqliteStore,
    columns::{Columns, signed, unavailable},
    state, statements as sql,
};

/// The text by which a disclosed value is searched: strings without quotes, all else as JSON.
pub(crate) fn value_text(value: &Value) -> String {
    match value {
        Value::String(text) => text.clone(),
        // As in the disclosure: an object's members have one order, however the library keeps them.
        other => serde_json_canonicalizer::to_string(other).unwrap_or_else(|_| other.to_string()),
    }
}

/// What stands in the index for a value. It narrows a search, and [`matches`] decides: values that are long, or hardly
/// ever the same twice, would make the index as large as the log and every commit write all over it.
pub(crate) fn search_key(name: &str, value: &str) -> String {
    if UNIQUE.contains(&name) {
        String::new()
    } else {
        value.chars().take(MAX_KEY).collect()
    }
}

pub(crate) async fn search(
    store: &SqliteStore,
    filter: Search,
) -> Result<Vec<LogEntry>, StoreError> {
    let Search {
        fields,
        since,
        until,
        limit,
    } = filter;
    let limit = if limit == 0 {
        DEFAULT_LIMIT
    } else {
        usize::try_from(limit).unwrap_or(MAX_LIMIT).min(MAX_LIMIT)
    };
    let (since, until) = (since.unwrap_or(i64::MIN), until.unwrap_or(i64::MAX));
    let mut found = Vec::new();
    let mut before = i64::MAX;
    while found.len() < limit {
        let page = candidates(store, fields.first(), before, since, until).await?;
        let last = page.last().map(|(index, _)| signed(*index));
        for (index, leaf) in page {
            let entry = with_disclosures(store, index, leaf).await?;
            if matches(&entry, &fields) {
                found.push(entry);
            }
            if found.len() == limit {
                break;
            }
        }
        match last {
            Some(index) => before = index,
            None => break,
        }
    }
    Ok(found)
}

pub(crate) async fn entry(store: &SqliteStore, index: u64) -> Result<Option<LogEntry>, StoreError> {
    let query = store.query(sql::LEAF).bind(signed(index));
    match store.one(query, |row| Columns(row).blob("leaf")).await? {
        Some(leaf) => with_disclosures(store, index, leaf).await.map(Some),
        None => Ok(None),
    }
}

pub(crate) async fn receipt(store: &SqliteStore, index: u64) -> Result<Option<String>, StoreError> {
    let Some((size, note)) = newest(store).await? else {
        return Ok(None);
    };
    let Ok(plan) = tlog::Plan::inclusion(index, size) else {
        return Ok(None);
    };
    let hashes = hashes(store, &plan.indexes()).await?;
    let proof = tlog::inclusion_proof(index, size, &hashes).map_err(|_| missing())?;
    Ok(Some(Receipt::new(index, proof, note).to_text()))
}

pub(crate) async fn consistency(
    store: &SqliteStore,
    old_size: u64,
) -> Result<Option<(Vec<[u8; 32]>, String)>, StoreError> {
    let Some((size, note)) = newest(store).await? else {
        return Ok(None);
    };
    let Ok(plan) = tlog::Plan::consistency(old_size, size) else {
        return Ok(None);
    };
    let hashes = hashes(store, &plan.indexes()).await?;
    let proof = tlog::consistency_proof(old_size, size, &hashes).map_err(|_| missing())?;
    Ok(Some((
        proof.iter().map(|hash| *hash.as_bytes()).collect(),
        note.to_string(),
    )))
}

/// A tile or bundle, if the newest checkpoint's tree has it.
pub(crate) async fn tile(
    store: &SqliteStore,
    level: Option<u8>,
    index: u64,
    width: u16,
) -> Result<Option<Vec<u8>>, StoreError> {
    let Some((size, _)) = newest(store).await? else {
        return Ok(None);
    };
    match level {
        Some(level) => {
            let Ok(tile) = Tile::new(level, index, width) else {
                return Ok(None);
            };
            let complete = size >> (8 * u32::from(level));
            if index * 256 + u64::from(width) > complete {
                return Ok(None);
            }
            let hashes = hashes(store, &tile.indexes()).await?;
            tile.data(&hashes).map(Some).map_err(|_| missing())
        }
        None => {
            let Ok(bundle) = Bundle::new(index, width) else {
                return Ok(None);
            };
            if bundle.first_entry() + u64::from(width) > size {
                return Ok(None);
            }
            let query = store
                .query(sql::LEAVES_FROM)
                .bind(signed(bundle.first_entry()))
                .bind(i64::from(width));
            let leaves = store.all(query, |row| Columns(row).blob("leaf")).await?;
            bundle
                .encode(&leaves)
                .map(Some)
                .map_err(|error| StoreError::Corrupt(error.to_string()))
        }
    }
}

async fn candidates(
    store: &SqliteStore,
    field: Option<&(String, String)>,
    before: i64,
    since: i64,
    until: i64,
) -> Result<Vec<(u64, Vec<u8>)>, StoreError> {
    let statement = if field.is_some() {
        sql::LEAVES_DISCLOSING
    } else {
        sql::LEAVES_BEFORE
    };
    let mut query = store
        .query(statement)
        .bind(before)
        .bind(since)
        .bind(until)
        .bind(PAGE);
    if let Some((name, value)) = field {
        query = query.bind(name.clone()).bind(search_key(name, value));
    }
    let mut found = store
        .all(query, |row| {
            let row = Columns(row);
            Ok((row.number("idx")?, row.blob("leaf")?))
        })
        .await?;
    // A leaf may disclose one value twice.
    found.dedup_by_key(|(index, _)| *index);
    Ok(found)
}

async fn with_disclosures(
    store: &SqliteStore,
    index: u64,
    leaf: Vec<u8>,
) -> Result<LogEntry, StoreError> {
    let query = store.query(sql::DISCLOSURES).bind(signed(index));
    let disclosures = store.all(query, |row| Columns(row).text("encoded")).await?;
    // A leaf that is no longer text was edited: it is shown as it stands, and no proof will hold for it.
    Ok(LogEntry {
        index,
        leaf: String::from_utf8_lossy(&leaf).into_owned(),
        disclosures,
    })
}

/// What counts is what the disclosures say, not the columns made for the search.
fn matches(entry: &LogEntry, fields: &[(String, String)]) -> bool {
    let disclosed: Vec<Disclosure> = entry
        .disclosures
        .iter()
        .filter_map(|encoded| Disclosure::decode(encoded).ok())
        .collect();
    fields.iter().all(|(name, value)| {
        disclosed
            .iter()
            .any(|disclosure| &disclosure.name == name && &value_text(&disclosure.value) == value)
    })
}

async fn newest(store: &SqliteStore) -> Result<Option<(u64, Note)>, StoreError> {
    let head = store.query(sql::HEAD);
    let head = store.one(head, |row| {
        let row = Columns(row);
        Ok((row.number("size")?, row.text_or_none("checkpoint")?))
    });
    let Some((size, Some(text))) = head.await? else {
        return Ok(None);
    };
    let note = Note::parse(&text).map_err(|error| StoreError::Corrupt(error.to_string()))?;
    Ok(Some((size, note)))
}

async fn hashes(store: &SqliteStore, indexes: &[u64]) -> Result<BTreeMap<u64, Hash>, StoreError> {
    let mut db = store.pool().acquire().await.map_err(unavailable)?;
    state::hashes(&mut db, store.tenant().as_str(), indexes).await
}

fn missing() -> StoreError {
    StoreError::Corrupt("a stored hash is missing".into())
}

/// Names of values that are as good as unique.
const UNIQUE: [&str; 5] = ["request", "statement", "cnf", "measuredAt", "quotedAt"];
const MAX_KEY: usize = 128;
const DEFAULT_LIMIT: usize = 100;
const MAX_LIMIT: usize = 1000;
const PAGE: i64 = 256;
