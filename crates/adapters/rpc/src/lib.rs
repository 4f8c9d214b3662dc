//! gRPC between nodes and servers, and between workloads and their agent.

pub mod delivery_client;
mod framing;
pub mod gate_socket;
pub mod key_socket;
pub mod link;
pub mod listener;
pub mod nodes;
pub mod released;
pub mod tls_client;
pub mod unix;
pub mod workload;
