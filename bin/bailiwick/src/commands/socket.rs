//! Where the agent listens for workloads: one option, one environment variable, one default.

use std::path::{Path, PathBuf};

use clap::Args;

/// Where the agent listens.
#[derive(Debug, Clone, Args)]
pub(crate) struct SocketArgs {
    /// The agent's socket. Default: what SPIFFE_ENDPOINT_SOCKET names, else /run/bailiwick/agent.sock.
    #[arg(long, value_name = "PATH")]
    socket: Option<PathBuf>,
}

impl SocketArgs {
    /// The path.
    ///
    /// # Errors
    /// A sentence, when SPIFFE_ENDPOINT_SOCKET is set to something that is no Unix socket.
    pub(crate) fn path(&self) -> Result<PathBuf, String> {
        let named = std::env::var("SPIFFE_ENDPOINT_SOCKET").ok();
        match (&self.socket, named) {
            (Some(path), _) => Ok(path.clone()),
            (None, Some(address)) => of_address(&address),
            (None, None) => Ok(PathBuf::from(DEFAULT)),
        }
    }
}

/// `unix:///absolute/path` or `unix:/absolute/path`: no authority, query or fragment (SPIFFE Workload Endpoint, section 4).
fn of_address(address: &str) -> Result<PathBuf, String> {
    let rest = address
        .strip_prefix("unix:")
        .map(|rest| rest.strip_prefix("//").unwrap_or(rest));
    match rest.map(Path::new) {
        Some(path) if path.is_absolute() && !address.contains(['?', '#']) => Ok(path.to_owned()),
        _ => Err(format!(
            "SPIFFE_ENDPOINT_SOCKET is `{address}`; it should be like `unix:///run/bailiwick/agent.sock`"
        )),
    }
}

const DEFAULT: &str = "/run/bailiwick/agent.sock";

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_unix_sockets_with_an_absolute_path_are_addresses() {
        for good in ["unix:///run/a.sock", "unix:/run/a.sock"] {
            assert_eq!(of_address(good).unwrap(), Path::new("/run/a.sock"));
        }
        for bad in [
            "",
            "/run/a.sock",
            "unix:a.sock",
            "unix://host/a.sock",
            "tcp://127.0.0.1:1",
            "unix:///a?b",
            "unix:///a#b",
        ] {
            assert!(of_address(bad).is_err(), "{bad}");
        }
    }
}
