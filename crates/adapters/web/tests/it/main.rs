//! The API over a real server and a real store: every row of the table, both doors, and whoever should not pass.
#![expect(
    clippy::unwrap_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "test code"
)]

mod client;
mod doors;
mod house;
mod table;
