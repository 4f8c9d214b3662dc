//! Where a provider's service listens, in the forms that gRPC's names and ttrpc's have.

use std::fmt;
use std::path::PathBuf;

/// A place to connect to.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Address {
    /// Over the network, or this machine's part of it.
    Tcp { host: String, port: u16 },
    /// A Unix socket.
    Unix(PathBuf),
}

impl Address {
    /// Reads `HOST:PORT`, `dns:///HOST:PORT`, `passthrough:///HOST:PORT` or `unix:…`.
    pub(crate) fn of_grpc(text: &str) -> Option<Self> {
        if let Some(socket) = socket_path(text) {
            return Some(Self::Unix(socket));
        }
        let bare = ["dns:///", "passthrough:///", "dns:", "passthrough:"]
            .iter()
            .find_map(|scheme| text.strip_prefix(scheme));
        Self::of_host_and_port(bare.unwrap_or(text))
    }

    fn of_host_and_port(text: &str) -> Option<Self> {
        let (host, port) = text.rsplit_once(':')?;
        let bare = host
            .strip_prefix('[')
            .and_then(|host| host.strip_suffix(']'));
        let is_named = |host: &str| {
            let known = |byte: u8| byte.is_ascii_alphanumeric() || b"-._".contains(&byte);
            !host.is_empty() && host.bytes().all(known)
        };
        let host = match bare {
            Some(address) => address.parse::<std::net::Ipv6Addr>().ok()?.to_string(),
            None if is_named(host) => host.to_owned(),
            None => return None,
        };
        let port = port.parse().ok().filter(|port| *port != 0)?;
        Some(Self::Tcp { host, port })
    }

    /// The name that a certificate must have, unless the configuration says another.
    pub(crate) fn host(&self) -> &str {
        match self {
            Self::Tcp { host, .. } => host,
            Self::Unix(_) => "localhost",
        }
    }

    /// HTTP's name of it.
    pub(crate) fn authority(&self) -> String {
        match self {
            Self::Tcp { host, port } if host.contains(':') => format!("[{host}]:{port}"),
            Self::Tcp { host, port } => format!("{host}:{port}"),
            Self::Unix(_) => "localhost".to_owned(),
        }
    }
}

/// Reads `unix:///ABSOLUTE/PATH` or `unix:/ABSOLUTE/PATH`. A relative one would be another socket in another folder.
pub(crate) fn socket_path(text: &str) -> Option<PathBuf> {
    let path = text
        .strip_prefix("unix://")
        .or_else(|| text.strip_prefix("unix:"))?;
    let is_one = path.starts_with('/') && !path.contains('\0');
    is_one.then(|| path.into())
}

impl fmt::Display for Address {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Tcp { .. } => f.write_str(&self.authority()),
            Self::Unix(path) => write!(f, "unix://{}", path.display()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn all_forms_of_one_place_are_read_and_others_refused() {
        for text in [
            "kms.example:443",
            "dns:///kms.example:443",
            "passthrough:///kms.example:443",
            "dns:kms.example:443",
        ] {
            let address = Address::of_grpc(text).unwrap();
            assert_eq!(address.to_string(), "kms.example:443", "{text}");
        }
        let six = Address::of_grpc("[::1]:50051").unwrap();
        assert_eq!(
            (six.host(), six.authority().as_str()),
            ("::1", "[::1]:50051")
        );
        for text in ["unix:///run/x.sock", "unix:/run/x.sock"] {
            let address = Address::of_grpc(text).unwrap();
            assert_eq!(address.to_string(), "unix:///run/x.sock");
        }
        for text in [
            "",
            "kms",
            "kms:",
            ":1",
            "kms:0",
            "kms:65536",
            "unix:x.sock",
            "unix://",
            "unix:///a\0",
            "https://kms:1",
            "dns://8.8.8.8/kms:1",
            "vsock://2:1",
            "a b:1",
            "::1:1",
            "a\nb:1",
        ] {
            assert_eq!(Address::of_grpc(text), None, "{text:?}");
        }
        assert_eq!(socket_path("kms:1"), None);
    }

    proptest::proptest! {
        #[test]
        fn any_text_is_an_address_or_none(text: String) {
            let _ = Address::of_grpc(&text).map(|address| address.authority());
        }
    }
}
