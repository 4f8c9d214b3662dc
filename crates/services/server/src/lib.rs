//! The server: enrols nodes, decides and releases, governs. Only the order of steps lives here: no HTTP, no SQL.

mod budget;
pub mod codes;
pub mod exec;
pub mod genesis;
pub mod govern;
pub mod keyring;
pub mod leases;
mod logged;
pub mod nodes;
pub mod ports;
pub mod release;
pub mod server;
pub mod standing;
pub mod time;
pub mod trail;
pub mod witnesses;
pub mod world;

pub use codes::{Code, Fault};
pub use release::{Answer, Payload, ReleaseError};
pub use server::{Parts, Server, StartError};
pub use standing::Standing;
pub use witnesses::Distrusted;
pub use world::World;
