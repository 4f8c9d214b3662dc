//! The agent's sockets, clause by clause, over an agent that answers as it is told.

mod delivery;
mod fake;
mod go_judge;
mod key_socket;
mod sockets;
mod spiffe;
mod x509_stream;
