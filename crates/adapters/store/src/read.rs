//! Rows read back.

use ledger::rows::{ChangeRow, EstateRow, LeaseRow, NodeRow, SecretRow, StoredChange};
use server::ports::{EstateVersion, KeyRow, StoreError};
use sqlx::sqlite::SqliteRow;

use crate::{
    columns::{Columns, corrupt},
    effects::{attestor_of, change_state_of},
    guards::outcome_of,
};

pub(crate) fn node(row: &SqliteRow) -> Result<NodeRow, StoreError> {
    let row = Columns(row);
    Ok(NodeRow {
        name: row.parsed("name")?,
        epoch: estate::Epoch(row.number("epoch")?),
        attestor: attestor_of(&row.text("attestor")?).ok_or_else(|| corrupt("attestor"))?,
        ek: row.parsed_or_none("ek")?,
        ak_public: row.blob("ak_public")?,
        node_key_spki: row.blob("node_key_spki")?,
        node_key_name: row.blob("node_key_name")?,
        statement_key: row.text("statement_key")?,
        hpke_suite: row.text("hpke_suite")?,
        hpke_key: row.blob("hpke_key")?,
        boot: row.parsed_or_none("boot")?,
        reset_count: row.small("reset_count")?,
        attested_at: row.time("attested_at")?,
        quoted_at: row.time_or_none("quoted_at")?,
        not_after: row.time("not_after")?,
        banned: row.flag("banned")?,
    })
}

pub(crate) fn estate(row: &SqliteRow) -> Result<EstateRow, StoreError> {
    let row = Columns(row);
    Ok(EstateRow {
        version: estate::PolicyVersion(row.number("version")?),
        hash: row.parsed("hash")?,
        files: row.text("files")?,
        number: estate::ChangeId(row.number("number")?),
        change: row.parsed("change")?,
        record: row.text("record")?,
        by: row.text("applied_by")?,
    })
}

pub(crate) fn change(row: &SqliteRow) -> Result<StoredChange, StoreError> {
    let row = Columns(row);
    Ok(StoredChange {
        row: ChangeRow {
            number: estate::ChangeId(row.number("number")?),
            hash: row.parsed("hash")?,
            record: row.text("record")?,
            files: row.text("files")?,
            by: row.text("submitted_by")?,
            expires: row.time("expires")?,
        },
        leaf: row.number("leaf")?,
        at: row.time("at")?,
        state: change_state_of(&row.text("state")?).ok_or_else(|| corrupt("state"))?,
        version: row.number_or_none("version")?.map(estate::PolicyVersion),
    })
}

pub(crate) fn estate_version(row: &SqliteRow) -> Result<EstateVersion, StoreError> {
    let row = Columns(row);
    Ok(EstateVersion {
        version: estate::PolicyVersion(row.number("version")?),
        hash: row.parsed("hash")?,
        number: estate::ChangeId(row.number("number")?),
        change: row.parsed("change")?,
        by: row.text("applied_by")?,
        leaf: row.number("leaf")?,
        at: row.time("at")?,
    })
}

pub(crate) fn secret(row: &SqliteRow) -> Result<SecretRow, StoreError> {
    let row = Columns(row);
    Ok(SecretRow {
        name: row.parsed("name")?,
        version: row.number("version")?,
        dataset: row.parsed("dataset")?,
        suite: row.text("suite")?,
        key_id: row.parsed("key_id")?,
        enc: row.blob("enc")?,
        ct: row.blob("ct")?,
        by: row.text("put_by")?,
    })
}

/// As [`secret`], without the sealed bytes: for lists.
pub(crate) fn secret_listed(row: &SqliteRow) -> Result<SecretRow, StoreError> {
    Ok(SecretRow {
        enc: Vec::new(),
        ct: Vec::new(),
        ..secret(row)?
    })
}

pub(crate) fn lease(row: &SqliteRow) -> Result<LeaseRow, StoreError> {
    let row = Columns(row);
    let outcome = row.text_or_none("outcome")?;
    Ok(LeaseRow {
        id: row.parsed("id")?,
        leaf: row.number("leaf")?,
        credential: row.parsed("credential")?,
        dataset: row.parsed("dataset")?,
        database: row.parsed("db")?,
        role: row.text("role")?,
        node: row.parsed("node")?,
        image: row.parsed_or_none("image")?,
        expires: row.time("expires")?,
        outcome: match outcome {
            Some(text) => Some(outcome_of(&text).ok_or_else(|| corrupt("outcome"))?),
            None => None,
        },
    })
}

pub(crate) fn key(row: &SqliteRow) -> Result<KeyRow, StoreError> {
    let row = Columns(row);
    Ok(KeyRow {
        purpose: row.text("purpose")?,
        name: row.text("name")?,
        algorithm: row.text("algorithm")?,
        public: row.blob("public")?,
        wrapped: row.blob("wrapped")?,
        created: row.time("created")?,
    })
}
