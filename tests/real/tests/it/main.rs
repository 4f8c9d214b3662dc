//! Judges from outside and attacks, on the real program and real parts.
#![expect(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "test code"
)]

mod hpke;
mod kill;
mod ledger;
mod policy;
mod skopeo;
mod statements;
