//! Parsers of `/proc`: its files are short, but a process can put almost anything into its own name.

use std::fs::File;
use std::io::{self, Read as _};
use std::path::Path;

/// Parts of `/proc/PID/stat`.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Stat {
    pub(crate) parent: u32,
    pub(crate) start_time: u64,
}

/// Reads a file that is refused when it is longer than any honest one.
pub(crate) fn read_small(path: &Path) -> io::Result<String> {
    let mut text = Vec::new();
    File::open(path)?.take(LIMIT + 1).read_to_end(&mut text)?;
    if text.len() as u64 > LIMIT {
        return Err(io::ErrorKind::FileTooLarge.into());
    }
    Ok(String::from_utf8_lossy(&text).into_owned())
}

/// The name stands in parentheses and may hold more of them: what counts follows the last one.
pub(crate) fn stat(text: &str) -> Option<Stat> {
    let (_, after_name) = text.rsplit_once(')')?;
    let mut fields = after_name.split_ascii_whitespace();
    Some(Stat {
        parent: fields.nth(1)?.parse().ok()?,
        start_time: fields.nth(17)?.parse().ok()?,
    })
}

/// The path in the unified hierarchy; where that has no groups of its own, the one that systemd's hierarchy names, and then
/// the first other one. `None`: malformed, removed, or outside what this process can see.
pub(crate) fn cgroup_path(text: &str) -> Option<String> {
    let mut lines = Vec::new();
    for line in text.lines() {
        let mut parts = line.splitn(3, ':');
        let (hierarchy, controllers, path) = (parts.next()?, parts.next()?, parts.next()?);
        hierarchy.parse::<u32>().ok()?;
        if !path.starts_with('/')
            || path.split('/').any(|part| part == "..")
            || path.ends_with(" (deleted)")
        {
            return None;
        }
        lines.push((hierarchy, controllers, path));
    }
    let unified = lines.iter().find(|(hierarchy, ..)| *hierarchy == "0");
    let systemd = lines
        .iter()
        .find(|(_, controllers, _)| *controllers == "name=systemd");
    let other = lines.iter().find(|(.., path)| *path != "/");
    [unified, systemd, other]
        .into_iter()
        .flatten()
        .map(|(.., path)| *path)
        .find(|path| *path != "/")
        .or_else(|| lines.first().map(|(.., path)| *path))
        .map(str::to_owned)
}

/// Where the unified hierarchy is mounted whole, by `/proc/self/mountinfo`.
pub(crate) fn unified_mount(mountinfo: &str) -> Option<String> {
    mountinfo.lines().find_map(|line| {
        let (front, back) = line.split_once(" - ")?;
        let mut front = front.split(' ').skip(3);
        let (root, point) = (front.next()?, front.next()?);
        (root == "/" && back.split(' ').next() == Some("cgroup2")).then(|| unescape(point))
    })
}

const LIMIT: u64 = 1 << 20;

/// Space, tab, newline and backslash are written as octal numbers.
fn unescape(text: &str) -> String {
    ["\\040", "\\011", "\\012", "\\134"]
        .iter()
        .zip([" ", "\t", "\n", "\\"])
        .fold(text.to_owned(), |text, (from, to)| text.replace(from, to))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn a_name_with_parentheses_and_numbers_does_not_shift_the_fields() {
        let text = "42 (a) S 1 2) R 7 42 42 0 -1 4194304 1 2 3 4 5 6 7 8 20 0 1 0 9876 1 2\n";
        let stat = stat(text).unwrap();
        assert_eq!((stat.parent, stat.start_time), (7, 9876));
    }

    #[test]
    fn the_unified_line_is_preferred() {
        let hybrid = "9:name=systemd:/default/other\n3:pids:/default/peer1\n0::/default/peer1\n";
        assert_eq!(cgroup_path(hybrid).unwrap(), "/default/peer1");
    }

    #[test]
    fn an_empty_unified_hierarchy_gives_way_to_systemds() {
        let hybrid = "9:name=systemd:/k8s/pod/abc\n3:pids:/elsewhere\n0::/\n";
        assert_eq!(cgroup_path(hybrid).unwrap(), "/k8s/pod/abc");
    }

    #[test]
    fn the_root_group_is_a_path_too() {
        assert_eq!(cgroup_path("0::/\n").unwrap(), "/");
    }

    #[test]
    fn a_path_outside_this_view_is_refused() {
        assert_eq!(cgroup_path("0::/../../default/peer1\n"), None);
        assert_eq!(cgroup_path("0::/default/peer1 (deleted)\n"), None);
        assert_eq!(cgroup_path(""), None);
        assert_eq!(cgroup_path("nonsense"), None);
    }

    #[test]
    fn a_colon_in_a_group_name_stays_in_the_path() {
        assert_eq!(cgroup_path("0::/a:b/c\n").unwrap(), "/a:b/c");
    }

    #[test]
    fn only_a_whole_unified_mount_counts() {
        let text = "30 23 0:26 / /sys/fs/cgroup/pids rw - cgroup cgroup rw,pids\n\
                    31 23 0:27 /sub /mnt/part rw - cgroup2 cgroup2 rw\n\
                    32 23 0:27 / /sys/fs/cgroup/uni\\040fied rw shared:9 - cgroup2 cgroup2 rw\n";
        assert_eq!(unified_mount(text).unwrap(), "/sys/fs/cgroup/uni fied");
    }

    proptest! {
        #[test]
        fn hostile_text_never_panics(text in ".{0,300}", lines in prop::collection::vec("[0-9]{0,3}:[a-z=]{0,6}:/?[./a-z]{0,9}", 0..5)) {
            for text in [text, lines.join("\n")] {
                let _ = stat(&text);
                let _ = unified_mount(&text);
                if let Some(path) = cgroup_path(&text) {
                    prop_assert!(path.starts_with('/') && !path.split('/').any(|part| part == ".."));
                }
            }
        }
    }
}
