//! The store on a real file: the journal's conformance, durability, isolation, what is read back and what an audit finds.
#![expect(
    clippy::unwrap_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "test code; a failed assumption is a failed test"
)]

mod audit;
mod conformance;
mod failure;
mod kill;
mod log;
mod opening;
mod rows;
mod testkit;
