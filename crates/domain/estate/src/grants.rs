//! What a database account may do: fixed statement kinds with identifiers, no free SQL.

use std::collections::BTreeSet;
use std::fmt;
use std::str::FromStr;

use serde::{Serialize, Serializer};

/// One grant of a PostgreSQL account. Its `Display` is the text between `GRANT` and `TO`.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Grant {
    /// `CONNECT ON DATABASE database`.
    Connect {
        /// The database.
        database: SqlIdent,
    },
    /// `USAGE ON SCHEMA schema`.
    Usage {
        /// The schema.
        schema: SqlIdent,
    },
    /// `SELECT, … ON ALL TABLES IN SCHEMA schema`.
    AllTables {
        /// What may be done.
        privileges: BTreeSet<Privilege>,
        /// The schema.
        schema: SqlIdent,
    },
    /// `SELECT, … ON TABLE schema.table`.
    Table {
        /// What may be done.
        privileges: BTreeSet<Privilege>,
        /// The schema.
        schema: SqlIdent,
        /// The table.
        table: SqlIdent,
    },
}

/// What may be done with a table.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Privilege {
    /// Read rows.
    Select,
    /// Add rows.
    Insert,
    /// Change rows.
    Update,
    /// Remove rows.
    Delete,
}

/// An identifier of PostgreSQL that needs no quotes: `[a-z_][a-z0-9_]*`, at most 63 bytes.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct SqlIdent(String);

/// A text is not a grant of a known kind.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum GrantError {
    /// Fault: the writer.
    #[error(
        "a grant is `CONNECT ON DATABASE d`, `USAGE ON SCHEMA s`, \
         or SELECT, INSERT, UPDATE, DELETE `ON ALL TABLES IN SCHEMA s` or `ON TABLE s.t`"
    )]
    Kind,
    /// Fault: the writer.
    #[error(
        "an identifier is lower-case letters, digits and `_`, beginning with a letter or `_`, at most 63 bytes"
    )]
    Identifier,
}

impl SqlIdent {
    /// The identifier as text; it may stand in a statement as it is.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl FromStr for SqlIdent {
    type Err = GrantError;

    fn from_str(text: &str) -> Result<Self, GrantError> {
        let head = text.starts_with(|c: char| c.is_ascii_lowercase() || c == '_');
        let tail = text
            .chars()
            .all(|c| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '_');
        if head && tail && text.len() <= MAX_IDENT {
            Ok(Self(text.to_owned()))
        } else {
            Err(GrantError::Identifier)
        }
    }
}

impl fmt::Display for SqlIdent {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl Privilege {
    /// The word in a statement.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Select => "SELECT",
            Self::Insert => "INSERT",
            Self::Update => "UPDATE",
            Self::Delete => "DELETE",
        }
    }
}

impl FromStr for Privilege {
    type Err = GrantError;

    fn from_str(text: &str) -> Result<Self, GrantError> {
        [Self::Select, Self::Insert, Self::Update, Self::Delete]
            .into_iter()
            .find(|privilege| privilege.as_str() == text)
            .ok_or(GrantError::Kind)
    }
}

impl FromStr for Grant {
    type Err = GrantError;

    fn from_str(text: &str) -> Result<Self, GrantError> {
        let (what, object) = text.split_once(" ON ").ok_or(GrantError::Kind)?;
        if let Some(database) = object
            .strip_prefix("DATABASE ")
            .filter(|_| what == "CONNECT")
        {
            return Ok(Self::Connect {
                database: database.parse()?,
            });
        }
        if let Some(schema) = object.strip_prefix("SCHEMA ").filter(|_| what == "USAGE") {
            return Ok(Self::Usage {
                schema: schema.parse()?,
            });
        }
        let listed: Vec<Privilege> = what.split(", ").map(str::parse).collect::<Result<_, _>>()?;
        let privileges: BTreeSet<Privilege> = listed.iter().copied().collect();
        if privileges.len() < listed.len() {
            return Err(GrantError::Kind);
        }
        if let Some(schema) = object.strip_prefix("ALL TABLES IN SCHEMA ") {
            return Ok(Self::AllTables {
                privileges,
                schema: schema.parse()?,
            });
        }
        let (schema, table) = object
            .strip_prefix("TABLE ")
            .and_then(|name| name.split_once('.'))
            .ok_or(GrantError::Kind)?;
        Ok(Self::Table {
            privileges,
            schema: schema.parse()?,
            table: table.parse()?,
        })
    }
}

impl fmt::Display for Grant {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let words = |privileges: &BTreeSet<Privilege>| {
            privileges
                .iter()
                .map(|privilege| privilege.as_str())
                .collect::<Vec<_>>()
                .join(", ")
        };
        match self {
            Self::Connect { database } => write!(f, "CONNECT ON DATABASE {database}"),
            Self::Usage { schema } => write!(f, "USAGE ON SCHEMA {schema}"),
            Self::AllTables { privileges, schema } => {
                write!(f, "{} ON ALL TABLES IN SCHEMA {schema}", words(privileges))
            }
            Self::Table {
                privileges,
                schema,
                table,
            } => write!(f, "{} ON TABLE {schema}.{table}", words(privileges)),
        }
    }
}

impl Serialize for Grant {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

/// PostgreSQL cuts longer identifiers off (NAMEDATALEN - 1), so two of them could be the same.
const MAX_IDENT: usize = 63;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_kind_is_read_and_written_back() {
        for text in [
            "CONNECT ON DATABASE medrec",
            "USAGE ON SCHEMA records",
            "SELECT ON ALL TABLES IN SCHEMA records",
            "SELECT, INSERT, UPDATE, DELETE ON ALL TABLES IN SCHEMA records",
            "SELECT, UPDATE ON TABLE records.patient_2026",
        ] {
            assert_eq!(text.parse::<Grant>().unwrap().to_string(), text);
        }
    }

    #[test]
    fn anything_else_is_no_grant() {
        for text in [
            "",
            "ALL ON DATABASE medrec",
            "select on all tables in schema records",
            "SELECT ON ALL TABLES IN SCHEMA records; DROP TABLE x",
            "SELECT ON ALL TABLES IN SCHEMA records TO PUBLIC",
            "SELECT ON ALL TABLES IN SCHEMA \"records\"",
            "SELECT ON ALL TABLES IN SCHEMA Records",
            "SELECT ON TABLE patient",
            "SELECT ON TABLE a.b.c",
            "SELECT,INSERT ON TABLE a.b",
            "SELECT, SELECT ON TABLE a.b",
            "CONNECT ON DATABASE a, b",
            "CONNECT ON SCHEMA a",
            "USAGE ON DATABASE a",
            "TRUNCATE ON TABLE a.b",
            "SELECT ON TABLE a.b WITH GRANT OPTION",
            "SELECT  ON TABLE a.b",
            "SELECT ON TABLE a.1b",
        ] {
            assert!(text.parse::<Grant>().is_err(), "{text}");
        }
        assert!(
            format!("USAGE ON SCHEMA {}", "a".repeat(64))
                .parse::<Grant>()
                .is_err()
        );
    }
}
