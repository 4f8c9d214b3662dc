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
        self.answering()?.roles.insert(role.role.clone());
        Ok(())
    }

    async fn end(&self, _database: &Connection, roles: &[String]) -> Result<(), AccountError> {
        self.answering()?.roles.retain(|role| !roles.contains(role));
        Ok(())
    }

    async fn list(&self, _database: &Connection) -> Result<Vec<String>, AccountError> {
        Ok(self.answering()?.roles.iter().cloned().collect())
    }
}
