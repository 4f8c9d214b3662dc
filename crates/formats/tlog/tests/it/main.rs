//! What the crate promises as a whole: trees against the definition, hostile input, other verifiers.
#![expect(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::indexing_slicing,
    clippy::panic,
    reason = "test code"
)]

mod go_judge;
mod parsers;
mod trees;
