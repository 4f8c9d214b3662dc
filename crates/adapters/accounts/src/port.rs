//! The server's port to databases: opens a login for one use and closes it again.

use jose::strict_json;
use serde::Deserialize;
use server::ports::{AccountError as PortError, Connection, DatabaseAccounts, RoleSpec};
use zeroize::Zeroize;

use crate::{AccountError, Login, PostgresAccounts, RoleName, scram::Verifier};

/// Users of the databases that the estate names. Holds nothing: each use connects anew with the login it is given.
#[derive(Debug, Default)]
pub struct EstateAccounts;

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct LoginJson {
    user: String,
    password: String,
}

impl Drop for LoginJson {
    fn drop(&mut self) {
        self.password.zeroize();
    }
}

async fn connect(connection: &Connection) -> Result<PostgresAccounts, PortError> {
    let login: LoginJson = strict_json::from_slice(&connection.login).map_err(|_| {
        PortError::Misconfigured("the login is a JSON object with `user` and `password`".to_owned())
    })?;
    let login = Login::new(login.user.clone(), login.password.clone());
    PostgresAccounts::connect(&connection.url, &connection.ca_pem, &login)
        .await
        .map_err(translated)
}

fn role(name: &str) -> Result<RoleName, PortError> {
    name.parse()
        .map_err(|_| PortError::Misconfigured(format!("`{name}` is not a role of a lease")))
}

impl DatabaseAccounts for EstateAccounts {
    fn accepts(&self, verifier: &str) -> bool {
        verifier.parse::<Verifier>().is_ok()
    }

    async fn create(&self, spec: &RoleSpec) -> Result<(), PortError> {
        let name = role(&spec.role)?;
        let verifier: Verifier = spec.verifier.parse().map_err(|_| {
            PortError::Misconfigured("the verifier is not SCRAM-SHA-256".to_owned())
        })?;
        let accounts = connect(&spec.connection).await?;
        accounts
            .create_role(&name, &verifier, spec.expires, &spec.grants)
            .await
            .map_err(translated)
    }

    async fn end(&self, connection: &Connection, roles: &[String]) -> Result<(), PortError> {
        let accounts = connect(connection).await?;
        let names: Vec<RoleName> = roles
            .iter()
            .map(|name| role(name))
            .collect::<Result<_, _>>()?;
        let mut failure = None;
        for (index, name) in names.iter().enumerate() {
            let Err(error) = accounts.end_role(name).await else {
                continue;
            };
            // What is wrong with one, or what one holds up, must not keep the others open.
            if failure.is_none() {
                close_all(&accounts, names.iter().skip(index + 1)).await;
            }
            let passing = matches!(error, AccountError::Unavailable(_));
            let error = translated(error);
            if passing {
                return Err(error);
            }
            failure.get_or_insert(error);
        }
        failure.map_or(Ok(()), Err)
    }

    async fn list(&self, connection: &Connection) -> Result<Vec<String>, PortError> {
        let accounts = connect(connection).await?;
        let roles = accounts
            .roles_with_prefix(PREFIX)
            .await
            .map_err(translated)?;
        Ok(roles
            .into_iter()
            .map(|role| role.as_str().to_owned())
            .collect())
    }
}

/// As far as it goes: what is left open is ended, or reported, by whoever ends it.
async fn close_all<'a>(accounts: &PostgresAccounts, roles: impl Iterator<Item = &'a RoleName>) {
    for role in roles {
        if let Err(AccountError::Unavailable(_)) = accounts.close_role(role).await {
            return;
        }
    }
}

/// The database's own words may be in the source; they name roles and objects, never a password.
fn translated(error: AccountError) -> PortError {
    let mut text = error.to_string();
    let mut cause = std::error::Error::source(&error);
    while let Some(source) = cause {
        text.push_str(": ");
        text.push_str(&source.to_string());
        cause = source.source();
    }
    match error {
        AccountError::Unavailable(_) => PortError::Unavailable(text),
        // A single role's matter: the database answers, and others can be ended.
        AccountError::SessionsRemain { .. }
        | AccountError::Refused { .. }
        | AccountError::Taken { .. } => PortError::Refused(text),
        _ => PortError::Misconfigured(text),
    }
}

const PREFIX: &str = "bw_";
