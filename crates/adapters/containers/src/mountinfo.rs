//! What the kernel shows of a process's mounts.

/// One line of `/proc/PID/mountinfo`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Seen {
    pub(crate) device: (u32, u32),
    pub(crate) root: String,
    pub(crate) point: String,
    pub(crate) kind: String,
    pub(crate) source: String,
    pub(crate) options: String,
}

/// `None`: a line is malformed.
pub(crate) fn parse(text: &str) -> Option<Vec<Seen>> {
    text.lines().map(line).collect()
}

impl Seen {
    /// The value of a super block option.
    pub(crate) fn option(&self, name: &str) -> Option<&str> {
        self.options
            .split(',')
            .find_map(|option| option.strip_prefix(name)?.strip_prefix('='))
    }
}

fn line(line: &str) -> Option<Seen> {
    let (front, back) = line.split_once(" - ")?;
    let mut front = front.split(' ').skip(2);
    let (major, minor) = front.next()?.split_once(':')?;
    let mut back = back.splitn(3, ' ');
    Some(Seen {
        device: (major.parse().ok()?, minor.parse().ok()?),
        root: unescape(front.next()?),
        point: unescape(front.next()?),
        kind: back.next()?.to_owned(),
        source: unescape(back.next()?),
        options: unescape(back.next()?),
    })
}

/// The kernel writes space, tab, newline and backslash as three octal digits.
fn unescape(text: &str) -> String {
    let mut parts = text.split('\\');
    let mut plain = parts.next().unwrap_or_default().to_owned();
    for part in parts {
        let escaped = part
            .split_at_checked(3)
            .and_then(|(digits, rest)| Some((u8::from_str_radix(digits, 8).ok()?, rest)));
        match escaped {
            Some((byte, rest)) if byte.is_ascii() => {
                plain.push(char::from(byte));
                plain.push_str(rest);
            }
            _ => {
                plain.push('\\');
                plain.push_str(part);
            }
        }
    }
    plain
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn a_container_root_is_read() {
        let text = "92 68 0:40 / / rw,relatime shared:3 - overlay overlay rw,lowerdir=/s/1/fs,upperdir=/s/2/fs,workdir=/s/2/work\n";
        let [root] = &parse(text).unwrap()[..] else {
            panic!()
        };
        assert_eq!((root.device, root.point.as_str()), ((0, 40), "/"));
        assert_eq!(root.option("upperdir"), Some("/s/2/fs"));
        assert_eq!(root.option("upper"), None);
    }

    #[test]
    fn a_space_in_a_mount_point_does_not_shift_the_fields() {
        let text = "1 2 0:1 /a\\040b /x\\134y rw - tmpfs t\\011s rw\n";
        let [seen] = &parse(text).unwrap()[..] else {
            panic!()
        };
        assert_eq!(
            (
                seen.root.as_str(),
                seen.point.as_str(),
                seen.source.as_str()
            ),
            ("/a b", "/x\\y", "t\ts")
        );
    }

    #[test]
    fn one_malformed_line_spoils_all() {
        assert_eq!(parse("nonsense\n"), None);
    }

    proptest! {
        #[test]
        fn hostile_text_never_panics(text in "[0-9:/ a\\\\\n-]{0,200}") {
            let _ = parse(&text);
        }
    }
}
