//! Whether a guard holds inside the transaction.

use std::collections::HashMap;

use estate::{ChangeId, Digest, NodeName, Timestamp};
use ledger::{Guard, rows::LeaseOutcome};
use sqlx::{Row, SqliteConnection};

use crate::{columns::signed, statements as sql};

/// What this transaction has read already and no effect has changed since: most guards ask the same.
#[derive(Debug, Default)]
pub(crate) struct Standing {
    estate: Option<i64>,
    nodes: HashMap<NodeName, Option<(i64, bool)>>,
}

/// Asks the guards of one tenant.
pub(crate) struct Guards<'a> {
    pub(crate) db: &'a mut SqliteConnection,
    pub(crate) tenant: &'a str,
    pub(crate) standing: &'a mut Standing,
    /// The time that the leaf will have.
    pub(crate) time: Timestamp,
}

impl Guards<'_> {
    /// The first guard that fails.
    pub(crate) async fn failing(&mut self, guards: &[Guard]) -> Result<Option<Guard>, sqlx::Error> {
        for guard in guards {
            if !self.holds(guard).await? {
                return Ok(Some(guard.clone()));
            }
        }
        Ok(None)
    }

    async fn holds(&mut self, guard: &Guard) -> Result<bool, sqlx::Error> {
        Ok(match guard {
            Guard::NodeEpoch(name, epoch) => {
                self.node(name).await? == Some((signed(epoch.0), false))
            }
            Guard::NodeAt(name, epoch) => {
                self.node(name).await? == epoch.map(|epoch| (signed(epoch.0), false))
            }
            Guard::Policy(version) => self.estate().await? == signed(version.0),
            Guard::TokenUnused(hash, node, at) => self.token(&hash.to_string(), node, *at).await?,
            Guard::SecretVersion(name, version) => {
                let newest = sqlx::query(sql::SECRET_NEWEST)
                    .bind(self.tenant.to_owned())
                    .bind(name.to_string());
                newest
                    .fetch_one(&mut *self.db)
                    .await?
                    .try_get::<i64, _>("version")?
                    == signed(*version)
            }
            Guard::ChangeNewest(number) => {
                let newest = sqlx::query(sql::CHANGE_NEWEST)
                    .bind(self.tenant.to_owned())
                    .fetch_one(&mut *self.db)
                    .await?;
                newest.try_get::<i64, _>("number")? == signed(number.0)
            }
            Guard::ChangeWaiting(number, record) => self.change(*number, record).await?,
            Guard::LeasePending(id) => self.lease(id.as_str()).await? == Some(None),
            Guard::LeaseLive(id) => self
                .lease(id.as_str())
                .await?
                .is_some_and(|outcome| outcome != Some(LeaseOutcome::Ended)),
        })
    }

    async fn node(&mut self, name: &NodeName) -> Result<Option<(i64, bool)>, sqlx::Error> {
        if let Some(known) = self.standing.nodes.get(name) {
            return Ok(*known);
        }
        let row = sqlx::query(sql::NODE_STANDING)
            .bind(self.tenant.to_owned())
            .bind(name.to_string());
        let row = row.fetch_optional(&mut *self.db).await?;
        let found = match row {
            Some(row) => Some((row.try_get("epoch")?, row.try_get::<i64, _>("banned")? != 0)),
            None => None,
        };
        self.standing.nodes.insert(name.clone(), found);
        Ok(found)
    }

    async fn estate(&mut self) -> Result<i64, sqlx::Error> {
        if let Some(known) = self.standing.estate {
            return Ok(known);
        }
        let row = sqlx::query(sql::ESTATE_NEWEST)
            .bind(self.tenant.to_owned())
            .fetch_one(&mut *self.db)
            .await?;
        let version = row.try_get("version")?;
        self.standing.estate = Some(version);
        Ok(version)
    }

    async fn token(
        &mut self,
        hash: &str,
        node: &NodeName,
        at: Timestamp,
    ) -> Result<bool, sqlx::Error> {
        let row = sqlx::query(sql::TOKEN)
            .bind(self.tenant.to_owned())
            .bind(hash.to_owned());
        let Some(row) = row.fetch_optional(&mut *self.db).await? else {
            return Ok(false);
        };
        Ok(row.try_get::<String, _>("node")? == node.as_str()
            && row.try_get::<i64, _>("not_after")? >= at.as_millis()
            && row.try_get::<i64, _>("used")? == 0)
    }

    /// The record is compared whole: an approval is counted on top of the signatures that it was added to, or not at all.
    async fn change(&mut self, number: ChangeId, record: &Digest) -> Result<bool, sqlx::Error> {
        let row = sqlx::query(sql::CHANGE_STANDING)
            .bind(self.tenant.to_owned())
            .bind(signed(number.0));
        let Some(row) = row.fetch_optional(&mut *self.db).await? else {
            return Ok(false);
        };
        Ok(row.try_get::<i64, _>("expires")? > self.time.as_millis()
            && Digest::of(row.try_get::<String, _>("record")?) == *record)
    }

    async fn lease(&mut self, id: &str) -> Result<Option<Option<LeaseOutcome>>, sqlx::Error> {
        let row = sqlx::query(sql::LEASE_OUTCOME)
            .bind(self.tenant.to_owned())
            .bind(id.to_owned());
        let Some(row) = row.fetch_optional(&mut *self.db).await? else {
            return Ok(None);
        };
        // An outcome that can't be read counts as ended: nothing may be done with such a lease.
        let outcome: Option<String> = row.try_get("outcome")?;
        Ok(Some(outcome.map(|text| {
            outcome_of(&text).unwrap_or(LeaseOutcome::Ended)
        })))
    }
}

/// Where a lease stands, from its column.
pub(crate) fn outcome_of(text: &str) -> Option<LeaseOutcome> {
    match text {
        "granted" => Some(LeaseOutcome::Granted),
        "ending" => Some(LeaseOutcome::Ending),
        "ended" => Some(LeaseOutcome::Ended),
        _ => None,
    }
}
