//! gRPC between nodes and servers, and between workloads and their agent.

pub mod listener;
pub mod nodes;
