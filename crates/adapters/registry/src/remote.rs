//! Registries that speak the OCI distribution API, version 2.

mod challenge;
mod client;
mod credentials;
mod download;
mod source;
mod target;
mod thread;
mod transport;
mod upload;

pub use credentials::auth_file_candidates;
pub use source::RemoteSource;
pub use target::RemoteTarget;

use std::path::PathBuf;

/// How registries are reached.
#[derive(Debug, Clone, Default)]
pub struct Options {
    /// Files with credentials, in the order they are asked; see [`auth_file_candidates`].
    pub auth_files: Vec<PathBuf>,
    /// Files with certificate authorities (PEM) that are trusted beside the system's.
    pub authorities: Vec<PathBuf>,
    /// How registries on this machine are spoken to.
    pub loopback: Loopback,
}

/// How registries on this machine are spoken to. Any other is spoken to by TLS, always.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Loopback {
    /// Without TLS.
    #[default]
    PlainHttp,
    /// By TLS, as every other.
    Tls,
}
