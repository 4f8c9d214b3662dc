//! The release path's last step under crashes, bans and a clock that jumps: thousands of seeded histories.
#![expect(
    clippy::unwrap_used,
    clippy::indexing_slicing,
    reason = "test code; a failed assumption is a failed test"
)]

mod executor;
mod journal;
mod model;
mod simulation;
mod testkit;
