//! Columns into domain types and back; whatever does not parse was not written by us.

use std::str::FromStr;

use estate::Timestamp;
use server::ports::StoreError;
use sqlx::{Row, sqlite::SqliteRow};

/// One row, read by column name.
pub(crate) struct Columns<'a>(pub(crate) &'a SqliteRow);

impl Columns<'_> {
    pub(crate) fn integer(&self, name: &str) -> Result<i64, StoreError> {
        self.0.try_get(name).map_err(|_| corrupt(name))
    }

    pub(crate) fn number(&self, name: &str) -> Result<u64, StoreError> {
        u64::try_from(self.integer(name)?).map_err(|_| corrupt(name))
    }

    pub(crate) fn number_or_none(&self, name: &str) -> Result<Option<u64>, StoreError> {
        let found: Option<i64> = self.0.try_get(name).map_err(|_| corrupt(name))?;
        found
            .map(|number| u64::try_from(number).map_err(|_| corrupt(name)))
            .transpose()
    }

    pub(crate) fn small(&self, name: &str) -> Result<u32, StoreError> {
        u32::try_from(self.integer(name)?).map_err(|_| corrupt(name))
    }

    pub(crate) fn flag(&self, name: &str) -> Result<bool, StoreError> {
        Ok(self.integer(name)? != 0)
    }

    pub(crate) fn time(&self, name: &str) -> Result<Timestamp, StoreError> {
        self.integer(name).map(Timestamp::from_millis)
    }

    pub(crate) fn time_or_none(&self, name: &str) -> Result<Option<Timestamp>, StoreError> {
        let millis: Option<i64> = self.0.try_get(name).map_err(|_| corrupt(name))?;
        Ok(millis.map(Timestamp::from_millis))
    }

    pub(crate) fn text(&self, name: &str) -> Result<String, StoreError> {
        self.0.try_get(name).map_err(|_| corrupt(name))
    }

    pub(crate) fn text_or_none(&self, name: &str) -> Result<Option<String>, StoreError> {
        self.0.try_get(name).map_err(|_| corrupt(name))
    }

    pub(crate) fn blob(&self, name: &str) -> Result<Vec<u8>, StoreError> {
        self.0.try_get(name).map_err(|_| corrupt(name))
    }

    pub(crate) fn parsed<T: FromStr>(&self, name: &str) -> Result<T, StoreError> {
        self.text(name)?.parse().map_err(|_| corrupt(name))
    }

    pub(crate) fn parsed_or_none<T: FromStr>(&self, name: &str) -> Result<Option<T>, StoreError> {
        let text = self.text_or_none(name)?;
        text.map(|text| text.parse())
            .transpose()
            .map_err(|_| corrupt(name))
    }
}

/// The engine's integers are signed.
pub(crate) fn signed(number: u64) -> i64 {
    // Larger than any tree, epoch or version: such a row is never found, and a constraint keeps it from being written.
    i64::try_from(number).unwrap_or(i64::MAX)
}

pub(crate) fn corrupt(column: &str) -> StoreError {
    StoreError::Corrupt(format!("column `{column}`"))
}

pub(crate) fn unavailable(error: sqlx::Error) -> StoreError {
    StoreError::Unavailable(error.to_string())
}
