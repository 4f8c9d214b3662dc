//! What hpke-xwing promises, seen from outside.
#![expect(
    clippy::unwrap_used,
    clippy::indexing_slicing,
    clippy::panic,
    reason = "test code"
)]

mod hostile;
mod judge;
mod vectors;
