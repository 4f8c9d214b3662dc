//! Where a server is.

use std::{fmt, path::PathBuf, str::FromStr};

/// Where a server is: `unix:PATH` or `https://HOST:PORT`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Address {
    /// The socket of the host's root.
    Unix(PathBuf),
    /// TLS.
    Https {
        /// Name or address; the server's certificate must have it.
        host: String,
        /// Port.
        port: u16,
    },
}

/// A text is no address of a server.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("a server is written `unix:PATH`, with an absolute path, or `https://HOST:PORT`")]
pub struct AddressError;

impl FromStr for Address {
    type Err = AddressError;

    fn from_str(text: &str) -> Result<Self, AddressError> {
        if let Some(path) = text.strip_prefix("unix:") {
            return if path.starts_with('/') {
                Ok(Self::Unix(path.into()))
            } else {
                Err(AddressError)
            };
        }
        let rest = text
            .strip_prefix("https://")
            .ok_or(AddressError)?
            .trim_end_matches('/');
        let (host, port) = rest.rsplit_once(':').ok_or(AddressError)?;
        let host = host.trim_start_matches('[').trim_end_matches(']');
        let port = port.parse().map_err(|_| AddressError)?;
        if host.is_empty() || host.contains(['/', '@', '?', '#']) {
            return Err(AddressError);
        }
        Ok(Self::Https {
            host: host.to_owned(),
            port,
        })
    }
}

impl fmt::Display for Address {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Unix(path) => write!(f, "unix:{}", path.display()),
            Self::Https { host, port } if host.contains(':') => {
                write!(f, "https://[{host}]:{port}")
            }
            Self::Https { host, port } => write!(f, "https://{host}:{port}"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses_are_read_and_written() {
        for text in [
            "unix:/run/bailiwick/server.sock",
            "https://server.example:8443",
            "https://[::1]:8443",
        ] {
            assert_eq!(text.parse::<Address>().unwrap().to_string(), text);
        }
        for text in [
            "",
            "unix:relative",
            "http://server:80",
            "https://server",
            "https://u@server:1",
            "https://:1",
        ] {
            assert!(text.parse::<Address>().is_err(), "{text}");
        }
    }
}
