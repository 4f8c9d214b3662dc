//! What a software TPM really said (`tests/vectors`, recorded by `tpm`'s example `record_vectors`), what a forger would
//! say instead, and hostile bytes for every parser.
#![expect(
    clippy::unwrap_used,
    clippy::indexing_slicing,
    reason = "test code: a failure here is a failed test"
)]

mod certificates;
mod forger;
mod hostile;
mod recorded;
mod refused;
mod vectors;
