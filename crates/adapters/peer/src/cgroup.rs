//! The control group of a process.

use std::fs;
use std::os::unix::fs::MetadataExt as _;
use std::path::Path;

use crate::procfs;

/// A control group, by path.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Cgroup {
    path: String,
    confirmed: bool,
}

impl Cgroup {
    /// `None`: the kernel's id of the group is not that of the path. Without an id, or where the unified hierarchy is not
    /// mounted or does not hold this path (groups of version 1 only), the path stands unconfirmed.
    pub(crate) fn checked(path: String, id: Option<u64>) -> Option<Self> {
        let named = procfs::read_small(Path::new("/proc/self/mountinfo"))
            .ok()
            .and_then(|text| procfs::unified_mount(&text))
            .and_then(|mount| fs::symlink_metadata(format!("{mount}{path}")).ok())
            .map(|folder| folder.ino());
        match (named, id) {
            (Some(named), Some(id)) if named == id => Some(Self {
                path,
                confirmed: true,
            }),
            (Some(_), Some(_)) => None,
            _ => Some(Self {
                path,
                confirmed: false,
            }),
        }
    }

    /// The absolute path in its hierarchy, such as `/default/app`.
    pub fn path(&self) -> &str {
        &self.path
    }

    /// Whether the kernel's own id of the group agrees with the path.
    pub fn is_confirmed(&self) -> bool {
        self.confirmed
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn another_id_than_the_paths_is_a_mismatch() {
        let Some(root) = Cgroup::checked("/".into(), None) else {
            panic!("without an id there is nothing to disagree with");
        };
        assert!(!root.is_confirmed());
        let mounted = procfs::read_small(Path::new("/proc/self/mountinfo"))
            .ok()
            .and_then(|text| procfs::unified_mount(&text));
        assert_eq!(
            Cgroup::checked("/".into(), Some(u64::MAX)).is_none(),
            mounted.is_some()
        );
    }
}
