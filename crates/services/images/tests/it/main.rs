//! Images from end to end, in memory: what comes back, and what an attacker gets.
#![expect(
    clippy::unwrap_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "test code"
)]

mod attacks;
mod authority;
mod build;
mod certificates;
mod content;
mod identification;
mod indexes;
mod inspection;
mod limits;
mod look_alikes;
mod memory;
mod never;
mod operations;
mod provenance;
mod recipients;
mod round_trip;
mod signed;
mod sizes;
mod tokens;
mod unbound;
