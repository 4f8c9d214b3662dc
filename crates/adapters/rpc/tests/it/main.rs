//! Services and clients over real sockets.
#![expect(clippy::unwrap_used, clippy::indexing_slicing, reason = "test code")]

mod link_test;
mod nodes_test;
mod workload_test;
