//! Registries and layouts from outside: what is written comes back, and what lies is refused.
#![expect(
    clippy::unwrap_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "test code"
)]

mod archive;
mod attacks;
mod fake;
mod images_end_to_end;
mod layout;
mod packed;
mod recipients;
mod referrers;
mod remote;
mod weather;
