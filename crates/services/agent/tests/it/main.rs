//! The agent against a server that keeps a real log, makes real certificates and judges statements with the real
//! verifier, and that can lie in every way that matters. Only transport, TPM and processes are played.
#![expect(
    clippy::unwrap_used,
    clippy::indexing_slicing,
    reason = "test code: a failure here is a failed test"
)]

mod asking;
mod gate;
mod hands;
mod ledger;
mod life;
mod node;
mod server;
mod svids;
