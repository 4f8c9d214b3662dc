//! The HTTP API for people and tools: one table of endpoints, the two doors that are built from it, and a client that
//! speaks through them. No endpoint returns a secret's value.

mod access;
mod answer;
mod ask;
pub mod client;
pub mod doors;
pub mod endpoints;
mod handlers;
mod router;
mod tls;
pub mod wire;

pub use access::Caller;
pub use client::{Address, Client, ClientError};
pub use doors::{Limits, ListenError, LocalDoor, RemoteDoor};
pub use endpoints::{Authentication, Call, ENDPOINTS, Endpoint, Method, Role, Whose};
pub use router::{Api, Counters};
