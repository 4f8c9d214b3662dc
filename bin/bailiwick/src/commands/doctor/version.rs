//! Which containerd runs here, as its program says.

use std::{fmt, path::Path, process::Command};

/// A version of containerd.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Version {
    major: u32,
    minor: u32,
}

impl Version {
    /// The first whose CRI pulls by way of the transfer service.
    pub(super) const TRANSFER: Self = Self { major: 2, minor: 1 };

    /// That of a program.
    pub(super) fn ask(program: &Path) -> Option<Self> {
        let said = Command::new(program).arg("--version").output().ok()?;
        said.status
            .success()
            .then(|| Self::of(std::str::from_utf8(&said.stdout).ok()?))?
    }

    /// That in `containerd github.com/containerd/containerd/v2 v2.1.4 75cb2b7…`.
    pub(super) fn of(said: &str) -> Option<Self> {
        said.split_whitespace().find_map(|word| {
            let mut numbers = word.strip_prefix('v').unwrap_or(word).split('.');
            let (major, minor) = (numbers.next()?, numbers.next()?);
            numbers.next()?.bytes().next().filter(u8::is_ascii_digit)?;
            Some(Self {
                major: major.parse().ok()?,
                minor: minor.parse().ok()?,
            })
        })
    }
}

impl fmt::Display for Version {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}.{}", self.major, self.minor)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn versions_of_every_builder_are_read() {
        for (said, shown) in [
            (
                "containerd github.com/containerd/containerd/v2 v2.1.4 75cb2b7",
                "2.1",
            ),
            (
                "containerd github.com/containerd/containerd 1.6.20~ds1 1.6.20~ds1-1+deb12u3",
                "1.6",
            ),
            ("containerd containerd.io 1.7.24 88bf19b", "1.7"),
            (
                "containerd github.com/containerd/containerd/v2 v2.2.0-k3s1",
                "2.2",
            ),
        ] {
            assert_eq!(Version::of(said).unwrap().to_string(), shown);
        }
        for said in ["", "containerd", "containerd v2", "containerd 2.x.1"] {
            assert_eq!(Version::of(said), None, "{said}");
        }
        assert_eq!(Version::ask(Path::new("/does/not/exist")), None);
        assert_eq!(Version::ask(Path::new("/bin/false")), None);
    }
}
