//! `credentials.toml`: database servers, and accounts on them that are made for one workload at a time.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::str::FromStr;

use serde::{Serialize, Serializer};

use crate::grants::Grant;
use crate::inventory::key_file;
use crate::read::{Value, document};
use crate::source::{EstateError, Source};
use crate::{CredentialName, DataSet, DataSetName, DatabaseName, SecretName, Span};

/// A database server on which accounts are made.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Database {
    /// Its name.
    pub name: DatabaseName,
    /// What kind of server it is.
    pub kind: DatabaseKind,
    /// Where it is.
    pub url: DatabaseUrl,
    /// The file of the estate with the authority of its certificate; the system's own authorities when there is none.
    pub ca: Option<String>,
    /// The secret with which accounts are made there.
    pub login: SecretName,
}

/// A kind of database server.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum DatabaseKind {
    /// PostgreSQL.
    Postgresql,
    /// Apache CouchDB.
    Couchdb,
    /// IBM Cloudant.
    Cloudant,
}

/// The address of a database server; holds no user, password or option that could switch TLS off.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct DatabaseUrl {
    scheme: &'static str,
    host: String,
    port: u16,
    database: Option<String>,
}

/// A text is no address of a database server.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error(
    "an address `postgresql://host:port/database` or `https://host` is wanted, without user, password or options"
)]
pub struct DatabaseUrlError;

/// An account that is made on demand.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Credential {
    /// Its name.
    pub name: CredentialName,
    /// The data set whose rules decide on it.
    pub dataset: DataSetName,
    /// The server.
    pub database: DatabaseName,
    /// What the account may do.
    pub grants: Grants,
    /// How long a lease lives.
    pub ttl: Span,
}

/// What an account may do.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(untagged)]
pub enum Grants {
    /// On PostgreSQL.
    Sql(BTreeSet<Grant>),
    /// Roles in databases of CouchDB or Cloudant.
    Document(BTreeMap<String, BTreeSet<String>>),
}

impl DatabaseUrl {
    /// The host.
    #[must_use]
    pub fn host(&self) -> &str {
        &self.host
    }

    /// The port.
    #[must_use]
    pub fn port(&self) -> u16 {
        self.port
    }

    /// The database on the server, which PostgreSQL needs.
    #[must_use]
    pub fn database(&self) -> Option<&str> {
        self.database.as_deref()
    }
}

impl FromStr for DatabaseUrl {
    type Err = DatabaseUrlError;

    fn from_str(text: &str) -> Result<Self, DatabaseUrlError> {
        let (scheme, usual_port, rest) = if let Some(rest) = text.strip_prefix("postgresql://") {
            ("postgresql", 5432, rest)
        } else {
            (
                "https",
                443,
                text.strip_prefix("https://").ok_or(DatabaseUrlError)?,
            )
        };
        let (place, database) = rest
            .split_once('/')
            .map_or((rest, None), |(place, path)| (place, Some(path)));
        let (host, port) = place
            .split_once(':')
            .map_or((place, Ok(usual_port)), |(host, port)| {
                (host, parse_port(port))
            });
        let host_is_plain = !host.is_empty()
            && host.len() <= 253
            && !host.starts_with(['-', '.'])
            && host
                .chars()
                .all(|c| c.is_ascii_alphanumeric() || matches!(c, '.' | '-'));
        let word = |text: &str| {
            text.chars()
                .all(|c| c.is_ascii_alphanumeric() || matches!(c, '_' | '-'))
        };
        let database = database.filter(|path| !path.is_empty());
        let database_fits = match database {
            Some(path) => scheme == "postgresql" && word(path) && path.len() <= 63,
            None => scheme != "postgresql",
        };
        if !host_is_plain || !database_fits {
            return Err(DatabaseUrlError);
        }
        Ok(Self {
            scheme,
            host: host.to_owned(),
            port: port?,
            database: database.map(str::to_owned),
        })
    }
}

impl fmt::Display for DatabaseUrl {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}://{}:{}", self.scheme, self.host, self.port)?;
        self.database
            .as_ref()
            .map_or(Ok(()), |database| write!(f, "/{database}"))
    }
}

impl Serialize for DatabaseUrl {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

/// Servers and accounts.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize)]
pub(crate) struct Credentials {
    pub(crate) databases: BTreeMap<DatabaseName, Database>,
    pub(crate) credentials: BTreeMap<CredentialName, Credential>,
}

pub(crate) fn parse(
    source: Source<'_>,
    datasets: &BTreeMap<DataSetName, DataSet>,
    keys: &BTreeMap<String, String>,
) -> Result<Credentials, EstateError> {
    document(source, &["database", "credential"], |top| {
        let mut all = Credentials::default();
        for (name, value) in top.named_under::<DatabaseName>("database")? {
            all.databases
                .insert(name.clone(), database(name, &value, keys)?);
        }
        for (name, value) in top.named_under::<CredentialName>("credential")? {
            all.credentials.insert(
                name.clone(),
                credential(name, &value, datasets, &all.databases)?,
            );
        }
        Ok(all)
    })
}

fn database(
    name: DatabaseName,
    value: &Value<'_>,
    keys: &BTreeMap<String, String>,
) -> Result<Database, EstateError> {
    let table = value.table_of(&["kind", "url", "ca", "login"])?;
    let kind_value = table.need("kind")?;
    let kind = match kind_value.text()? {
        "postgresql" => DatabaseKind::Postgresql,
        "couchdb" => DatabaseKind::Couchdb,
        "cloudant" => DatabaseKind::Cloudant,
        _ => return Err(kind_value.malformed("`postgresql`, `couchdb` or `cloudant` is wanted")),
    };
    let url_value = table.need("url")?;
    let url: DatabaseUrl = url_value.parse()?;
    if (kind == DatabaseKind::Postgresql) != (url.scheme == "postgresql") {
        return Err(url_value.malformed("the address is of another kind of server"));
    }
    let login_value = table.need("login")?;
    let login = login_value.text()?.strip_prefix("secret:").map(str::parse);
    let login = login
        .and_then(Result::ok)
        .ok_or_else(|| login_value.malformed("the name of a secret is wanted, as `secret:NAME`"))?;
    Ok(Database {
        name,
        kind,
        url,
        ca: table
            .find("ca")
            .map(|value| key_file(&value, keys))
            .transpose()?,
        login,
    })
}

fn credential(
    name: CredentialName,
    value: &Value<'_>,
    datasets: &BTreeMap<DataSetName, DataSet>,
    databases: &BTreeMap<DatabaseName, Database>,
) -> Result<Credential, EstateError> {
    let table = value.table_of(&["dataset", "database", "grants", "ttl"])?;
    let dataset = table
        .need("dataset")?
        .name_of("data set", datasets.keys())?;
    let database = table
        .need("database")?
        .name_of("database", databases.keys())?;
    let grants = grants(&table.need("grants")?, databases.get(&database))?;
    let ttl_value = table.need("ttl")?;
    let ttl: Span = ttl_value.parse()?;
    let longest = datasets
        .get(&dataset)
        .map_or_else(Span::default, |dataset| dataset.max_lease);
    if ttl.seconds() == 0 || ttl > longest {
        return Err(ttl_value.malformed(&format!(
            "more than 0 and at most {longest}, `max_lease` of `{dataset}`, is wanted"
        )));
    }
    Ok(Credential {
        name,
        dataset,
        database,
        grants,
        ttl,
    })
}

fn grants(value: &Value<'_>, database: Option<&Database>) -> Result<Grants, EstateError> {
    let sql = database.is_some_and(|database| database.kind == DatabaseKind::Postgresql);
    let grants = match (sql, value.is_table()) {
        (true, false) => Grants::Sql(value.set_of()?),
        (false, true) => Grants::Document(roles(value)?),
        (true, true) => return Err(value.malformed("PostgreSQL wants a list of grants")),
        (false, false) => return Err(value.malformed("a table of databases and roles is wanted")),
    };
    let empty = match &grants {
        Grants::Sql(list) => list.is_empty(),
        Grants::Document(table) => table.values().all(BTreeSet::is_empty),
    };
    if empty {
        Err(value.malformed("an account that may do nothing is no use"))
    } else {
        Ok(grants)
    }
}

fn roles(value: &Value<'_>) -> Result<BTreeMap<String, BTreeSet<String>>, EstateError> {
    let word = |text: &str| {
        text.starts_with(|c: char| c.is_ascii_lowercase() || c == '_')
            && text
                .chars()
                .all(|c| c.is_ascii_lowercase() || c.is_ascii_digit() || matches!(c, '_' | '-'))
    };
    let mut databases = BTreeMap::new();
    for (name, list) in value.table()?.named::<DatabaseName>()? {
        if !word(name.as_str()) {
            return Err(list.malformed("a database is lower-case letters, digits, `_` and `-`"));
        }
        let roles = list.set(|item| match item.text()? {
            role @ ("_reader" | "_writer" | "_replicator") => Ok(role.to_owned()),
            role if word(role) && !role.starts_with('_') => Ok(role.to_owned()),
            _ => Err(item
                .malformed("`_reader`, `_writer`, `_replicator` or a role of your own is wanted")),
        })?;
        databases.insert(name.to_string(), roles);
    }
    Ok(databases)
}

fn parse_port(text: &str) -> Result<u16, DatabaseUrlError> {
    let plain = text.bytes().all(|byte| byte.is_ascii_digit());
    text.parse()
        .ok()
        .filter(|port| plain && *port > 0)
        .ok_or(DatabaseUrlError)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_address_holds_host_port_and_database() {
        let url: DatabaseUrl = "postgresql://pg.dal05.hospital.example:5433/medrec"
            .parse()
            .unwrap();
        assert_eq!(
            (url.host(), url.port(), url.database()),
            ("pg.dal05.hospital.example", 5433, Some("medrec"))
        );
        let url: DatabaseUrl = "https://medrec.cloudantnosqldb.appdomain.cloud"
            .parse()
            .unwrap();
        assert_eq!((url.port(), url.database()), (443, None));
    }

    #[test]
    fn an_address_can_not_hold_a_password_or_switch_tls_off() {
        for text in [
            "postgresql://user:secret@host/db",
            "postgresql://host/db?sslmode=disable",
            "postgresql://host",
            "postgresql:///db",
            "postgres://host/db",
            "http://host",
            "https://host/path",
            "postgresql://host:0/db",
            "postgresql://host:99999/db",
            "postgresql://host:+1/db",
            "postgresql://[::1]/db",
            "postgresql://a,b/db",
            "",
        ] {
            assert!(text.parse::<DatabaseUrl>().is_err(), "{text}");
        }
    }
}
