//! PostgreSQL: roles for leases, made in one transaction and ended with their sessions.

use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use estate::{Grant, Timestamp};
use tokio::sync::{Semaphore, SemaphorePermit};
use tokio_postgres::config::{ChannelBinding, Host, SslMode};
use tokio_postgres::{Client, Config, Transaction};
use zeroize::{Zeroize, ZeroizeOnDrop};

use crate::error::{AccountError, refused, unavailable, unconnected};
use crate::role::RoleName;
use crate::scram::Verifier;
use crate::sql::{self, Known};
use crate::tls::Tls;

/// Makes and ends roles in one database, over a few connections that are opened when needed.
pub struct PostgresAccounts {
    config: Config,
    tls: Tls,
    /// Connections that nobody uses now. One that a cancelled call used is dropped, and the database undoes what was not committed.
    idle: Mutex<Vec<Client>>,
    permits: Semaphore,
}

/// The user that makes the roles: may create roles and end sessions, and may grant what the leases get.
#[derive(Zeroize, ZeroizeOnDrop)]
pub struct Login {
    user: String,
    password: String,
}

/// How a role ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Ended {
    /// It was there and is gone, and so are its sessions.
    Dropped {
        /// How many sessions were told to end.
        sessions: u64,
    },
    /// It was not there; an earlier try may have ended it.
    Absent,
}

/// So many at once: one role whose sessions are slow to end holds up no other.
const CONNECTIONS: usize = 4;
/// How long the database may take to be reached.
const CONNECT: Duration = Duration::from_secs(5);
/// After this the network is given up.
const SILENCE: Duration = Duration::from_secs(20);
/// Between two looks whether sessions have ended, and how many looks.
const LOOK: Duration = Duration::from_millis(10);
const LOOKS: u32 = 500;
/// What every session starts with: names mean the catalogue's, a backslash is a letter, and nothing waits for ever.
const OPTIONS: &str = "-c search_path=pg_catalog -c standard_conforming_strings=on -c statement_timeout=15s -c lock_timeout=5s \
     -c idle_in_transaction_session_timeout=15s -c client_min_messages=warning";

impl Login {
    /// A user and its password.
    #[must_use]
    pub fn new(user: String, password: String) -> Self {
        Self { user, password }
    }
}

impl PostgresAccounts {
    /// Connects and looks whether the login may do its work.
    ///
    /// # Errors
    /// [`AccountError`] says what is wrong with address, authority, login or server.
    pub async fn connect(url: &str, ca_pem: &str, login: &Login) -> Result<Self, AccountError> {
        let mut config = address(url)?;
        config
            .user(&login.user)
            .password(&login.password)
            .options(OPTIONS)
            .application_name("bailiwick");
        // Required, so that no server can ask for the password in the clear, or be spoken to through another.
        config
            .ssl_mode(SslMode::Require)
            .channel_binding(ChannelBinding::Require);
        config.connect_timeout(CONNECT).tcp_user_timeout(SILENCE);
        let tls = Tls::trusting(ca_pem.as_bytes()).map_err(AccountError::Authority)?;
        let accounts = Self {
            config,
            tls,
            idle: Mutex::default(),
            permits: Semaphore::new(CONNECTIONS),
        };
        accounts.check().await?;
        Ok(accounts)
    }

    /// Makes a role that recognises the verifier's password until `until` and may do what the grants say, all or nothing.
    ///
    /// Repeating it is harmless: a role of an earlier try is renewed.
    ///
    /// # Errors
    /// [`AccountError::Taken`] for a role of more rights, [`AccountError::Refused`] when the login may not give a grant.
    pub async fn create_role(
        &self,
        role: &RoleName,
        verifier: &Verifier,
        until: Timestamp,
        grants: &[Grant],
    ) -> Result<(), AccountError> {
        let mut session = self.session().await?;
        let made = make(&mut session.client, role, verifier, until, grants).await;
        self.keep(session);
        made
    }

    /// Ends a role: no new session, then no session, then no grant, then no role.
    ///
    /// Repeating it is harmless, and a role of any earlier state is ended.
    ///
    /// # Errors
    /// [`AccountError::SessionsRemain`] and [`AccountError::Unavailable`] are worth another try; the role is closed before either
    /// of its sessions or grants goes.
    pub async fn end_role(&self, role: &RoleName) -> Result<Ended, AccountError> {
        let mut session = self.session().await?;
        let ended = end(&mut session.client, role).await;
        self.keep(session);
        ended
    }

    /// Closes a role: no new session, and no session. It can do nothing any more, and waits for [`PostgresAccounts::end_role`].
    ///
    /// # Errors
    /// As [`PostgresAccounts::end_role`].
    pub async fn close_role(&self, role: &RoleName) -> Result<(), AccountError> {
        let mut session = self.session().await?;
        let client = &mut session.client;
        let closed = match close(client, role).await {
            Ok(Some(oid)) => end_sessions(client, role, oid).await.map(drop),
            Ok(None) => Ok(()),
            Err(error) => Err(error),
        };
        self.keep(session);
        closed
    }

    /// The roles of ours whose names begin with `prefix`; all of them for [`RoleName::PREFIX`].
    ///
    /// # Errors
    /// [`AccountError::Unavailable`] when the database does not answer.
    pub async fn roles_with_prefix(&self, prefix: &str) -> Result<Vec<RoleName>, AccountError> {
        let session = self.session().await?;
        let rows = session
            .client
            .query(sql::WITH_PREFIX, &[&prefix])
            .await
            .map_err(unavailable)?;
        self.keep(session);
        // What does not parse was never made here.
        Ok(rows
            .iter()
            .filter_map(|row| row.try_get::<_, String>(0).ok()?.parse().ok())
            .collect())
    }

    async fn check(&self) -> Result<(), AccountError> {
        let session = self.session().await?;
        let row = session
            .client
            .query_one(sql::ABLE, &[])
            .await
            .map_err(unavailable)?;
        self.keep(session);
        let able = |column| row.try_get::<_, bool>(column).unwrap_or(false);
        for (column, missing) in [
            (0, "create roles"),
            (1, "end sessions (grant it `pg_signal_backend`)"),
        ] {
            if !able(column) {
                return Err(AccountError::LoginWeak { missing });
            }
        }
        Ok(())
    }

    /// An idle connection or a new one, when fewer than [`CONNECTIONS`] are in use.
    async fn session(&self) -> Result<Session<'_>, AccountError> {
        // The semaphore is never closed; were it, more connections would be the only harm.
        let permit = self.permits.acquire().await.ok();
        let idle = self
            .idle
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .pop();
        if let Some(client) = idle.filter(|client| !client.is_closed()) {
            return Ok(Session {
                client,
                _permit: permit,
            });
        }
        let (client, connection) = self
            .config
            .connect(self.tls.clone())
            .await
            .map_err(unconnected)?;
        // Ends when the client is dropped; its error is the one that the next statement gets.
        tokio::spawn(async move { drop(connection.await) });
        Ok(Session {
            client,
            _permit: permit,
        })
    }

    fn keep(&self, session: Session<'_>) {
        if !session.client.is_closed() {
            self.idle
                .lock()
                .unwrap_or_else(PoisonError::into_inner)
                .push(session.client);
        }
    }
}

/// A connection in use.
struct Session<'a> {
    client: Client,
    _permit: Option<SemaphorePermit<'a>>,
}

async fn make(
    client: &mut Client,
    role: &RoleName,
    verifier: &Verifier,
    until: Timestamp,
    grants: &[Grant],
) -> Result<(), AccountError> {
    let failed = |error| refused("make", role, error);
    let transaction = client.transaction().await.map_err(failed)?;
    transaction.batch_execute(sql::LOCK).await.map_err(failed)?;
    let known = match look(&transaction, role).await? {
        Some(_) => Known::Yes,
        None => Known::No,
    };
    transaction
        .batch_execute(&sql::make(role, known, verifier, until))
        .await
        .map_err(failed)?;
    let grants: Vec<String> = grants.iter().map(|grant| sql::grant(grant, role)).collect();
    transaction
        .batch_execute(&grants.join("; "))
        .await
        .map_err(failed)?;
    transaction.commit().await.map_err(failed)
}

async fn end(client: &mut Client, role: &RoleName) -> Result<Ended, AccountError> {
    let failed = |error| refused("end", role, error);
    let Some(oid) = close(client, role).await? else {
        return Ok(Ended::Absent);
    };
    let sessions = end_sessions(client, role, oid).await?;
    let transaction = client.transaction().await.map_err(failed)?;
    transaction.batch_execute(sql::LOCK).await.map_err(failed)?;
    transaction
        .batch_execute(&sql::drop_role(role))
        .await
        .map_err(failed)?;
    transaction.commit().await.map_err(failed)?;
    // A login that was half-way through when the role was closed has a session now, and no role.
    let late = end_sessions(client, role, oid).await?;
    Ok(Ended::Dropped {
        sessions: sessions + late,
    })
}

/// What the database knows about a role.
struct Found {
    oid: u32,
}

async fn look(
    transaction: &Transaction<'_>,
    role: &RoleName,
) -> Result<Option<Found>, AccountError> {
    let failed = |error| refused("look for", role, error);
    let Some(row) = transaction
        .query_opt(sql::LOOK, &[&role.as_str()])
        .await
        .map_err(failed)?
    else {
        return Ok(None);
    };
    let (oid, strong): (u32, bool) = (
        row.try_get(0).map_err(failed)?,
        row.try_get(1).map_err(failed)?,
    );
    if strong {
        Err(AccountError::Taken { role: role.clone() })
    } else {
        Ok(Some(Found { oid }))
    }
}

/// Committed by itself: from here on every login of the role fails, whatever becomes of the rest. A role that is there is closed
/// without waiting for anybody: any user of the database can take our lock, and hold it. Only a role that is not there is looked
/// for again with the lock, for it may be in the making.
async fn close(client: &mut Client, role: &RoleName) -> Result<Option<u32>, AccountError> {
    let failed = |error| refused("close", role, error);
    let transaction = client.transaction().await.map_err(failed)?;
    let found = match look(&transaction, role).await? {
        Some(found) => Some(found),
        None => {
            transaction.batch_execute(sql::LOCK).await.map_err(failed)?;
            look(&transaction, role).await?
        }
    };
    let Some(Found { oid }) = found else {
        return Ok(None);
    };
    transaction
        .batch_execute(&sql::close(role))
        .await
        .map_err(failed)?;
    transaction.commit().await.map_err(failed)?;
    Ok(Some(oid))
}

/// Tells every session of the role to end, and waits until none is left.
async fn end_sessions(client: &Client, role: &RoleName, oid: u32) -> Result<u64, AccountError> {
    let failed = |error| refused("end the sessions of", role, error);
    let mut told = 0;
    let mut left = 0;
    for look in 0..LOOKS {
        let row = client
            .query_one(sql::END_SESSIONS, &[&oid])
            .await
            .map_err(failed)?;
        left = row.try_get::<_, i64>(0).map_err(failed)?;
        if look == 0 {
            told = left.unsigned_abs();
        }
        if left == 0 {
            return Ok(told);
        }
        tokio::time::sleep(LOOK).await;
    }
    Err(AccountError::SessionsRemain {
        role: role.clone(),
        sessions: left,
    })
}

/// Where the database is, and nothing else: who logs in, and how, is not for the address to say.
fn address(url: &str) -> Result<Config, AccountError> {
    if !url.starts_with("postgresql://") || url.contains('?') {
        return Err(AccountError::Address);
    }
    let config: Config = url.parse().map_err(|_| AccountError::Address)?;
    let one_host = matches!(config.get_hosts(), [Host::Tcp(host)] if !host.is_empty());
    let anonymous = config.get_user().is_none() && config.get_password().is_none();
    let database = config.get_dbname().is_some_and(|name| !name.is_empty());
    if one_host && anonymous && database {
        Ok(config)
    } else {
        Err(AccountError::Address)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn an_address_says_where_and_nothing_else() {
        assert!(address("postgresql://pg.dal05.hospital.example:5432/medrec").is_ok());
        assert!(address("postgresql://127.0.0.1/medrec").is_ok());
        for url in [
            "",
            "postgresql://",
            "postgresql://host",
            "postgresql://host/",
            "postgresql://user@host/db",
            "postgresql://user:password@host/db",
            "postgresql://host/db?sslmode=disable",
            "postgresql://host/db?hostaddr=10.0.0.1",
            "postgresql://host/db?options=-c%20x",
            "postgresql://one,two/db",
            "postgresql://%2Fvar%2Frun/db",
            "postgresql:///db",
            "host=one dbname=db",
            "mysql://host/db",
        ] {
            assert!(matches!(address(url), Err(AccountError::Address)), "{url}");
        }
    }

    proptest! {
        #[test]
        fn any_address_is_an_answer(rest in any::<String>()) {
            if let Ok(config) = address(&format!("postgresql://{rest}")) {
                prop_assert!(config.get_user().is_none() && config.get_options().is_none());
                prop_assert_eq!(config.get_hosts().len(), 1);
            }
        }
    }
}
