//! What judges and attacks have in common: Go programs as judges, images to forge, a server that is killed, a node that lies.
#![expect(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "made for tests only: whatever fails ends the test"
)]

mod judge;
pub mod keys;
mod node;
pub mod peers;
mod program;
mod server;
pub mod tokens;

pub use fixture::{Descriptor, Image};
pub use judge::Judge;
pub use node::{NodeLink, TokenNode, shipped};
pub use program::{Program, Said};
pub use server::{ESTATE, FOUNDER, LoneServer, TRUST_DOMAIN};
