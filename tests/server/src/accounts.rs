//! Database accounts that are remembered instead of made.

use std::{
    collections::BTreeSet,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

use server::ports::{AccountError, Connection, DatabaseAccounts, RoleSpec};

/// Names of roles that were made and not ended. Clones remember together.
#[derive(Debug, Default, Clone)]
pub struct RememberedAccounts(Arc<Mutex<State>>);

#[derive(Debug, Default)]
struct State {
    roles: BTreeSet<String>,
    away: bool,
    /// Whether roles are slow to be made.
    slow: bool,
    /// Roles that are being made.
    making: usize,
    /// A role that can't be dropped.
    stuck: Option<String>,
}

impl RememberedAccounts {
    fn state(&self) -> MutexGuard<'_, State> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The roles that are there.
    pub fn roles(&self) -> Vec<String> {
        self.state().roles.iter().cloned().collect()
    }

    /// Puts a role there that no lease made.
    pub fn plant(&self, role: &str) {
        self.state().roles.insert(role.to_owned());
    }

    /// Whether the database does not answer.
    pub fn set_away(&self, away: bool) {
        self.state().away = away;
    }

    /// Whether making a role takes until this is taken back.
    pub fn set_slow(&self, slow: bool) {
        self.state().slow = slow;
    }

    /// A role that the database does not drop, as when it owns something elsewhere.
    pub fn stick(&self, role: &str) {
        self.state().stuck = Some(role.to_owned());
    }

    /// Waits until the database has begun to make a role.
    pub async fn making(&self) {
        while self.state().making == 0 {
            tokio::task::yield_now().await;
        }
    }

    fn answering(&self) -> Result<MutexGuard<'_, State>, AccountError> {
        let state = self.state();
        match state.away {
            true => Err(AccountError::Unavailable("away".to_owned())),
            false => Ok(state),
        }
    }
}

impl DatabaseAccounts for RememberedAccounts {
    fn accepts(&self, verifier: &str) -> bool {
        verifier.starts_with("SCRAM-SHA-256$")
    }

    async fn create(&self, role: &RoleSpec) -> Result<(), AccountError> {
        self.answering()?.making += 1;
        while self.state().slow {
            tokio::task::yield_now().await;
        }
        let mut state = self.answering()?;
        state.making -= 1;
        state.roles.insert(role.role.clone());
        Ok(())
    }

    async fn end(&self, _database: &Connection, roles: &[String]) -> Result<(), AccountError> {
        let mut state = self.answering()?;
        for role in roles {
            if state.stuck.as_ref() == Some(role) {
                return Err(AccountError::Refused("it owns something".to_owned()));
            }
            state.roles.remove(role);
        }
        Ok(())
    }

    async fn list(&self, _database: &Connection) -> Result<Vec<String>, AccountError> {
        Ok(self.answering()?.roles.iter().cloned().collect())
    }
}
