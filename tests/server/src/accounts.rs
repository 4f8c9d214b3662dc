//! Database accounts that are remembered instead of made.

use std::{
    collections::BTreeSet,
    sync::{Mutex, PoisonError},
};

use server::ports::{AccountError, Connection, DatabaseAccounts, RoleSpec};

/// Names of roles that were made and not ended.
#[derive(Debug, Default)]
pub struct RememberedAccounts(Mutex<BTreeSet<String>>);

impl RememberedAccounts {
    /// The roles that are there.
    pub fn roles(&self) -> Vec<String> {
        self.0
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .iter()
            .cloned()
            .collect()
    }
}

impl DatabaseAccounts for RememberedAccounts {
    fn accepts(&self, verifier: &str) -> bool {
        verifier.starts_with("SCRAM-SHA-256$")
    }

    async fn create(&self, role: &RoleSpec) -> Result<(), AccountError> {
        self.0
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .insert(role.role.clone());
        Ok(())
    }

    async fn end(&self, _database: &Connection, roles: &[String]) -> Result<(), AccountError> {
        self.0
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .retain(|role| !roles.contains(role));
        Ok(())
    }

    async fn list(&self, _database: &Connection) -> Result<Vec<String>, AccountError> {
        Ok(self.roles())
    }
}
