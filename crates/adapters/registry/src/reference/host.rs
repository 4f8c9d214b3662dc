//! The host part of a registry's name, and which of them are this machine.

use std::fmt;
use std::net::{Ipv4Addr, Ipv6Addr};
use std::str::FromStr;

use super::{ReferenceError, short};

/// A registry: a DNS name or an address, with an optional port.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Host {
    name: Name,
    port: Option<u16>,
}

#[derive(Debug, Clone, PartialEq, Eq)]
enum Name {
    Dns(String),
    V4(Ipv4Addr),
    V6(Ipv6Addr),
}

impl Host {
    /// Whether traffic to it stays on this machine.
    #[must_use]
    pub fn is_loopback(&self) -> bool {
        match &self.name {
            Name::Dns(name) => name == "localhost",
            Name::V4(address) => address.is_loopback(),
            Name::V6(address) => address.is_loopback(),
        }
    }

    pub(crate) fn is_docker_hub(&self) -> bool {
        self.port.is_none() && matches!(&self.name, Name::Dns(name) if name == "docker.io")
    }

    /// Host and port to connect to: Docker's registry does not live under its own name.
    pub(crate) fn authority(&self) -> String {
        if self.is_docker_hub() {
            return "registry-1.docker.io".to_owned();
        }
        self.to_string()
    }
}

impl fmt::Display for Host {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.name {
            Name::Dns(name) => f.write_str(name)?,
            Name::V4(address) => address.fmt(f)?,
            Name::V6(address) => write!(f, "[{address}]")?,
        }
        self.port.map_or(Ok(()), |port| write!(f, ":{port}"))
    }
}

impl FromStr for Host {
    type Err = ReferenceError;

    fn from_str(text: &str) -> Result<Self, ReferenceError> {
        parse(text).ok_or_else(|| ReferenceError::Host(short(text)))
    }
}

/// A word without dot, port or brackets is no registry: it would be the first part of a repository elsewhere.
fn parse(text: &str) -> Option<Host> {
    let (name, port) = match text.strip_prefix('[') {
        Some(rest) => {
            let (address, port) = rest.split_once(']')?;
            (
                Name::V6(address.parse().ok()?),
                port.strip_prefix(':').map_or_else(
                    || port.is_empty().then_some(None),
                    |port| parse_port(port).map(Some),
                )?,
            )
        }
        None => match text.split_once(':') {
            Some((name, port)) => (parse_name(name)?, Some(parse_port(port)?)),
            None if text.contains('.') || text == "localhost" => (parse_name(text)?, None),
            None => return None,
        },
    };
    Some(Host { name, port })
}

fn parse_port(text: &str) -> Option<u16> {
    let digits = !text.starts_with('0') && text.bytes().all(|byte| byte.is_ascii_digit());
    digits.then(|| text.parse().ok()).flatten()
}

/// A name whose last label is a number would be an address to some resolvers and a name to others.
fn parse_name(text: &str) -> Option<Name> {
    if let Ok(address) = text.parse() {
        return Some(Name::V4(address));
    }
    let label = |label: &str| {
        let edge = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit();
        label.len() <= 63
            && label.starts_with(edge)
            && label.ends_with(edge)
            && label
                .bytes()
                .all(|byte| byte.is_ascii_lowercase() || byte.is_ascii_digit() || byte == b'-')
    };
    let lettered = text
        .rsplit('.')
        .next()?
        .starts_with(|c: char| c.is_ascii_lowercase());
    (text.len() <= 253 && lettered && text.split('.').all(label))
        .then(|| Name::Dns(text.to_owned()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn this_machine_is_known_by_its_names_only() {
        for here in [
            "localhost",
            "localhost:5000",
            "127.0.0.1:80",
            "127.9.9.9",
            "[::1]:5000",
        ] {
            assert!(here.parse::<Host>().unwrap().is_loopback(), "{here}");
        }
        for there in [
            "localhost.example",
            "127.0.0.1.example",
            "10.0.0.1",
            "[::2]:1",
            "127-0-0-1.example:443",
        ] {
            assert!(!there.parse::<Host>().unwrap().is_loopback(), "{there}");
        }
    }

    #[test]
    fn odd_spellings_of_addresses_are_refused() {
        for bad in [
            "",
            ":",
            "a",
            "127.1",
            "0x7f.1",
            "1.2.3.4.5",
            "h.example:",
            "h.example:0",
            "h.example:65536",
            "h.example:+1",
            "[::1",
            "[::1]x",
            "::1",
            "H.example",
            "-h.example",
            "h..example",
            "h.example.",
        ] {
            assert!(bad.parse::<Host>().is_err(), "{bad}");
        }
    }
}
