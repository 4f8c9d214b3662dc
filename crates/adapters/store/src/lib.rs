//! The server's memory: leaves, their disclosures, the tree above them, and what they create, in one SQLite database.
//!
//! [`SqliteStore`] is the ledger's `Journal` and the server's `Store`. One writer task owns the connection that writes
//! and the tree's edge; many waiting entries share one transaction, one sync and one signature. Anything else is read
//! through a pool. Rows are only what leaves brought about: the one exception are wrapped keys, which never change.

mod audit;
mod batch;
mod columns;
mod config;
mod effects;
mod guards;
mod head;
mod log;
mod open;
mod read;
mod state;
mod statements;
mod store;
mod writer;

pub use config::{Create, OpenError, RollbackCheck, StoreConfig};
pub use store::{Recorded, SqliteStore};
