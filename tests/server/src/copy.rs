//! A server on a copy of another one's files, as a restored back-up or a cloned disk makes it.

use std::{fs, sync::Arc};

use server::{Server, ports::Store};
use store::Create;

use crate::{RememberedAccounts, ShiftedClock, TestServer, open, parts};

impl TestServer {
    /// Copies database and head file as they stand now, and starts a server on the copy. Both servers have the same keys.
    pub async fn copied(&self) -> Self {
        let folder = tempfile::tempdir().unwrap();
        for name in ["server.db", "server.db-wal", "head"] {
            let (from, to) = (self.folder.path().join(name), folder.path().join(name));
            if from.exists() {
                fs::copy(from, to).unwrap();
            }
        }
        let store = open(
            folder.path(),
            self.trust_domain,
            &self.seed,
            Create::Existing,
        );
        let (accounts, clock) = (RememberedAccounts::default(), ShiftedClock::default());
        let parts = parts(Arc::new(store.await), &accounts, &clock, self.trust_domain);
        Self {
            server: Server::build(parts).await.unwrap(),
            accounts,
            clock,
            folder,
            root_der: self.root_der.clone(),
            pin: self.pin.clone(),
            trust_domain: self.trust_domain,
            seed: self.seed,
        }
    }

    /// The newest checkpoint.
    pub async fn checkpoint(&self) -> String {
        self.server.store().checkpoint().await.unwrap().unwrap()
    }
}
