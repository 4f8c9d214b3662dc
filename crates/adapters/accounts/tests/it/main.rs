//! Accounts against a real PostgreSQL: what the database holds is asked of the database, past the code under test.
#![expect(clippy::unwrap_used, reason = "test code")]

mod postgres;
