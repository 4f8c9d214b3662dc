//! Registries that speak the OCI distribution API, version 2.

mod challenge;
mod client;
mod credentials;
mod download;
mod feed;
mod referrers;
mod retry;
mod source;
mod target;
mod thread;
mod token;
mod transport;
mod upload;

pub use credentials::{Helpers, auth_file_candidates};
pub use retry::Patience;
pub use source::RemoteSource;
pub use target::RemoteTarget;

use std::path::PathBuf;

use crate::reference::Host;

/// How registries are reached.
#[derive(Debug, Clone, Default)]
pub struct Options {
    /// Files with credentials, in the order they are asked; see [`auth_file_candidates`].
    pub auth_files: Vec<PathBuf>,
    /// Files with certificate authorities (PEM) that are trusted beside the system's.
    pub authorities: Vec<PathBuf>,
    /// Programs that keep credentials, where those files name one.
    pub helpers: Helpers,
    /// Registries that are spoken to without TLS, wherever they are.
    pub plain_http: Vec<Host>,
    /// How much is borne with registries.
    pub patience: Patience,
    /// How registries on this machine are spoken to.
    pub loopback: Loopback,
}

/// How registries on this machine are spoken to. Any other is spoken to by TLS, but for [`Options::plain_http`].
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Loopback {
    /// Without TLS.
    #[default]
    PlainHttp,
    /// By TLS, as every other.
    Tls,
}
