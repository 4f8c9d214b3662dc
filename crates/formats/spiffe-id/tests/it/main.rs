//! What the crate promises as a whole, clause by clause, with certificates and tokens made for the occasion.
#![expect(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    reason = "test code"
)]

mod authority;
mod bundles;
mod go_judge;
mod hostile;
mod jwt_svids;
mod x509_svids;
