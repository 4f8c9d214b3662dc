//! Where a TPM is: a device file, or the socket of a software TPM.

use std::fmt;
use std::path::PathBuf;
use std::str::FromStr;

use crate::error::TpmError;

/// Where a TPM is. Written `device:/dev/tpmrm0`, `swtpm:host=127.0.0.1,port=2321` or `swtpm:path=/run/tpm.sock`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum TpmAddress {
    /// A device file of the kernel, best its resource manager (`/dev/tpmrm0`).
    Device(PathBuf),
    /// A software TPM behind a TCP socket. Traffic is in the clear: loopback only.
    Tcp {
        /// An IP address or host name.
        host: String,
        /// The port that takes commands.
        port: u16,
    },
    /// A software TPM behind a Unix socket.
    Unix(PathBuf),
}

impl FromStr for TpmAddress {
    type Err = TpmError;

    fn from_str(text: &str) -> Result<Self, TpmError> {
        let wrong = || TpmError::Address {
            text: text.chars().take(128).collect(),
        };
        let (kind, rest) = text.split_once(':').ok_or_else(wrong)?;
        match kind {
            "device" if rest.starts_with('/') => Ok(Self::Device(rest.into())),
            "swtpm" => software(rest).ok_or_else(wrong),
            _ => Err(wrong()),
        }
    }
}

impl fmt::Display for TpmAddress {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Device(path) => write!(out, "device:{}", path.display()),
            Self::Tcp { host, port } => write!(out, "swtpm:host={host},port={port}"),
            Self::Unix(path) => write!(out, "swtpm:path={}", path.display()),
        }
    }
}

fn software(text: &str) -> Option<TpmAddress> {
    if let Some(path) = text.strip_prefix("path=") {
        return path.starts_with('/').then(|| TpmAddress::Unix(path.into()));
    }
    let (host, port) = text.strip_prefix("host=")?.split_once(",port=")?;
    let port = port.parse().ok().filter(|port| *port != 0)?;
    let plain = |symbol: char| symbol.is_ascii_alphanumeric() || ['.', '-', ':'].contains(&symbol);
    (!host.is_empty() && host.chars().all(plain)).then(|| TpmAddress::Tcp {
        host: host.to_owned(),
        port,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses_are_written_as_they_are_read() {
        for text in [
            "device:/dev/tpmrm0",
            "swtpm:host=127.0.0.1,port=2321",
            "swtpm:path=/run/x/tpm.sock",
        ] {
            assert_eq!(text.parse::<TpmAddress>().unwrap().to_string(), text);
        }
    }

    #[test]
    fn unclear_addresses_are_refused() {
        for text in [
            "",
            "device",
            "device:tpm0",
            "swtpm:",
            "swtpm:host=,port=1",
            "swtpm:host=a,port=0",
            "swtpm:host=a,port=70000",
            "swtpm:host=a b,port=1",
            "swtpm:path=x",
            "tcp:host=a,port=1",
            "swtpm:port=1,host=a",
        ] {
            assert!(text.parse::<TpmAddress>().is_err(), "{text}");
        }
    }
}
