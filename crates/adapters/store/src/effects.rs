//! What an entry creates or changes, one arm for each effect.

use estate::{LeaseId, Timestamp};
use evidence::Attestor;
use ledger::{
    Effect,
    rows::{
        ChangeRow, ChangeState, EstateRow, LeaseIntent, LeaseOutcome, NodeRow, SecretRow,
        SerialRow, TokenRow,
    },
};
use sqlx::{SqliteConnection, query::Query, sqlite::SqliteArguments};

use crate::{columns::signed, statements as sql};

/// Carries out the effects of the leaf `leaf`, sealed at `time`.
pub(crate) struct Effects<'a> {
    pub(crate) db: &'a mut SqliteConnection,
    pub(crate) tenant: &'a str,
    pub(crate) leaf: u64,
    pub(crate) time: Timestamp,
}

/// Why an effect did not take place.
#[derive(Debug, thiserror::Error)]
pub(crate) enum EffectError {
    /// Fault: the caller. There is nothing that this could change, or it is there already.
    #[error("{0} does not fit what the store holds")]
    Contradiction(&'static str),
    /// Fault: the database.
    #[error("the database failed")]
    Database(#[source] sqlx::Error),
}

type Statement = Query<'static, sqlx::Sqlite, SqliteArguments>;

impl Effects<'_> {
    /// Carries out one effect.
    pub(crate) async fn apply(&mut self, effect: &Effect) -> Result<(), EffectError> {
        let (what, statement) = self.statement(effect)?;
        let done = statement
            .execute(&mut *self.db)
            .await
            .map_err(|error| of_entry(what, error))?;
        if done.rows_affected() == 0 {
            return Err(EffectError::Contradiction(what));
        }
        match effect {
            Effect::Banned(node) => {
                // A node without leases has none to end.
                let leases = self
                    .query(sql::LEASES_OF_NODE_ENDING)
                    .bind(node.to_string());
                leases
                    .execute(&mut *self.db)
                    .await
                    .map_err(|error| of_entry("the ban", error))?;
                Ok(())
            }
            Effect::Estate(row) => self.applied(row).await,
            _ => Ok(()),
        }
    }

    /// A version comes from one waiting change; all others start from an estate that is no more.
    async fn applied(&mut self, row: &EstateRow) -> Result<(), EffectError> {
        const WHAT: &str = "the version's change";
        let change = self
            .query(sql::CHANGE_APPLIED)
            .bind(signed(row.number.0))
            .bind(signed(row.version.0));
        let done = change
            .execute(&mut *self.db)
            .await
            .map_err(|error| of_entry(WHAT, error))?;
        if done.rows_affected() == 0 {
            return Err(EffectError::Contradiction(WHAT));
        }
        let others = self.query(sql::CHANGES_VOID).execute(&mut *self.db).await;
        others
            .map(drop)
            .map_err(|error| of_entry("the waiting changes", error))
    }

    fn statement(&self, effect: &Effect) -> Result<(&'static str, Statement), EffectError> {
        Ok(match effect {
            Effect::Lease(intent) => ("the lease", self.lease(intent)?),
            Effect::LeaseMoved(id, outcome) => {
                ("the lease's outcome", self.lease_moved(id, *outcome))
            }
            Effect::Serial(row) => ("the serial", self.serial(row)),
            Effect::Node(row) => ("the node", self.node(row)),
            Effect::Quoted(name, at, resets) => {
                let statement = self
                    .query(sql::NODE_QUOTED)
                    .bind(name.to_string())
                    .bind(at.as_millis());
                ("the quote's node", statement.bind(i64::from(*resets)))
            }
            Effect::Banned(name) => (
                "the banned node",
                self.query(sql::NODE_BANNED).bind(name.to_string()),
            ),
            Effect::EpochRaised(name) => (
                "the node",
                self.query(sql::NODE_RAISED).bind(name.to_string()),
            ),
            Effect::Token(row) => ("the token", self.token(row)),
            Effect::TokenUsed(hash) => (
                "the token",
                self.query(sql::TOKEN_USED).bind(hash.to_string()),
            ),
            Effect::Secret(row) => ("the secret's version", self.secret(row)),
            Effect::SecretExposed(name, version) => {
                let statement = self.query(sql::SECRET_EXPOSED).bind(name.to_string());
                let statement = statement.bind(signed(*version));
                ("the exposed secret", statement.bind(self.time.as_millis()))
            }
            Effect::Estate(row) => ("the estate's version", self.estate(row)),
            Effect::ChangeSubmitted(row) => ("the change", self.change(row)),
            Effect::ChangeSigned(number, record) => {
                let statement = self.query(sql::CHANGE_SIGNED).bind(signed(number.0));
                ("the signed change", statement.bind(record.clone()))
            }
            Effect::ChangeRejected(number) => (
                "the rejected change",
                self.query(sql::CHANGE_REJECTED).bind(signed(number.0)),
            ),
        })
    }

    fn query(&self, statement: &'static str) -> Statement {
        sqlx::query(statement).bind(self.tenant.to_owned())
    }

    fn lease(&self, intent: &LeaseIntent) -> Result<Statement, EffectError> {
        let LeaseIntent {
            tenant,
            credential,
            dataset,
            database,
            node,
            node_epoch,
            image,
            expires,
            verifier,
        } = intent;
        if tenant.as_str() != self.tenant {
            return Err(EffectError::Contradiction("the lease's tenant"));
        }
        let id: LeaseId = intent
            .id(self.leaf)
            .parse()
            .map_err(|_| EffectError::Contradiction("the lease's id"))?;
        Ok(self
            .query(sql::LEASE_ADD)
            .bind(id.to_string())
            .bind(signed(self.leaf))
            .bind(credential.to_string())
            .bind(dataset.to_string())
            .bind(database.to_string())
            .bind(intent.role(self.leaf))
            .bind(node.to_string())
            .bind(signed(node_epoch.0))
            .bind(image.map(|image| image.to_string()))
            .bind(expires.as_millis())
            .bind(verifier.clone())
            .bind(self.time.as_millis()))
    }

    fn lease_moved(&self, id: &LeaseId, outcome: LeaseOutcome) -> Statement {
        let statement = match outcome {
            LeaseOutcome::Granted => sql::LEASE_GRANTED,
            LeaseOutcome::Ending => sql::LEASE_ENDING,
            LeaseOutcome::Ended => sql::LEASE_ENDED,
        };
        self.query(statement).bind(id.to_string())
    }

    fn serial(&self, row: &SerialRow) -> Statement {
        let SerialRow {
            serial,
            subject,
            node,
            not_after,
        } = row;
        self.query(sql::SERIAL_ADD)
            .bind(serial.clone())
            .bind(signed(self.leaf))
            .bind(subject.clone())
            .bind(node.to_string())
            .bind(not_after.as_millis())
    }

    fn node(&self, row: &NodeRow) -> Statement {
        self.query(sql::NODE_PUT)
            .bind(row.name.to_string())
            .bind(signed(row.epoch.0))
            .bind(attestor_text(row.attestor))
            .bind(row.ek.map(|ek| ek.to_string()))
            .bind(row.ak_public.clone())
            .bind(row.node_key_spki.clone())
            .bind(row.node_key_name.clone())
            .bind(row.statement_key.clone())
            .bind(row.hpke_suite.clone())
            .bind(row.hpke_key.clone())
            .bind(row.boot.as_ref().map(ToString::to_string))
            .bind(i64::from(row.reset_count))
            .bind(row.attested_at.as_millis())
            .bind(row.quoted_at.map(Timestamp::as_millis))
            .bind(row.not_after.as_millis())
            .bind(i64::from(row.banned))
    }

    fn token(&self, row: &TokenRow) -> Statement {
        let TokenRow {
            hash,
            node,
            not_after,
        } = row;
        self.query(sql::TOKEN_ADD)
            .bind(hash.to_string())
            .bind(node.to_string())
            .bind(not_after.as_millis())
    }

    fn secret(&self, row: &SecretRow) -> Statement {
        let SecretRow {
            name,
            version,
            dataset,
            suite,
            key_id,
            enc,
            ct,
            by,
        } = row;
        self.query(sql::SECRET_ADD)
            .bind(name.to_string())
            .bind(signed(*version))
            .bind(signed(self.leaf))
            .bind(dataset.to_string())
            .bind(suite.clone())
            .bind(key_id.to_string())
            .bind(enc.clone())
            .bind(ct.clone())
            .bind(by.clone())
    }

    fn estate(&self, row: &EstateRow) -> Statement {
        let EstateRow {
            version,
            hash,
            files,
            number,
            change,
            record,
            by,
        } = row;
        self.query(sql::ESTATE_ADD)
            .bind(signed(version.0))
            .bind(signed(self.leaf))
            .bind(hash.to_string())
            .bind(files.clone())
            .bind(signed(number.0))
            .bind(change.to_string())
            .bind(record.clone())
            .bind(by.clone())
            .bind(self.time.as_millis())
    }

    fn change(&self, row: &ChangeRow) -> Statement {
        let ChangeRow {
            number,
            hash,
            record,
            files,
            by,
            expires,
        } = row;
        self.query(sql::CHANGE_ADD)
            .bind(signed(number.0))
            .bind(signed(self.leaf))
            .bind(hash.to_string())
            .bind(record.clone())
            .bind(files.clone())
            .bind(by.clone())
            .bind(self.time.as_millis())
            .bind(expires.as_millis())
    }
}

/// An attestor as its column.
pub(crate) fn attestor_text(attestor: Attestor) -> &'static str {
    match attestor {
        Attestor::Tpm => "tpm",
        Attestor::JoinToken => "join-token",
    }
}

/// An attestor from its column.
pub(crate) fn attestor_of(text: &str) -> Option<Attestor> {
    [Attestor::Tpm, Attestor::JoinToken]
        .into_iter()
        .find(|attestor| attestor_text(*attestor) == text)
}

/// Where a change stands, from its column; that it expired never stands there.
pub(crate) fn change_state_of(text: &str) -> Option<ChangeState> {
    match text {
        "waiting" => Some(ChangeState::Waiting),
        "applied" => Some(ChangeState::Applied),
        "rejected" => Some(ChangeState::Rejected),
        "void" => Some(ChangeState::Void),
        _ => None,
    }
}

/// A broken constraint is the entry's own; anything else is the database's and ends the whole batch.
fn of_entry(what: &'static str, error: sqlx::Error) -> EffectError {
    let constraint = error
        .as_database_error()
        .is_some_and(|error| !matches!(error.kind(), sqlx::error::ErrorKind::Other));
    if constraint {
        EffectError::Contradiction(what)
    } else {
        EffectError::Database(error)
    }
}
