//! Which numbers an image's `User` stands for, by the image's own `/etc/passwd` and `/etc/group`.

use std::collections::BTreeSet;

use crate::spec::User;

/// Texts of the two files in the image's layers; empty where it has none.
#[derive(Debug, Default)]
pub(crate) struct Users {
    pub(crate) passwd: String,
    pub(crate) group: String,
}

impl Users {
    /// Whether the numbers are those that the image asks for. Supplementary groups may be fewer, never more.
    pub(crate) fn agree(&self, wanted: &str, actual: &User) -> bool {
        let Some(expected) = self.resolve(wanted) else {
            return false;
        };
        let (uid, gid) = (expected.uid, expected.gid);
        (actual.uid, actual.gid) == (uid, gid)
            && actual.others.keys().all(|key| key == "umask")
            && actual
                .additional_gids
                .iter()
                .all(|extra| *extra == gid || expected.groups.contains(extra))
    }

    fn resolve(&self, wanted: &str) -> Option<Expected> {
        let (user, group) = match wanted.split_once(':') {
            Some((user, group)) => (user, Some(group)),
            None => (wanted, None),
        };
        let user = if user.is_empty() { "0" } else { user };
        let entry = self.passwd_entry(user);
        let uid = match (&entry, user.parse()) {
            (_, Ok(uid)) => uid,
            (Some(entry), Err(_)) => entry.uid,
            (None, Err(_)) => return None,
        };
        let gid = match group {
            None => entry.as_ref().map_or(0, |entry| entry.gid),
            Some(group) => match group.parse() {
                Ok(gid) => gid,
                Err(_) => self.groups().find(|line| line.name == group)?.gid,
            },
        };
        let name = entry.map(|entry| entry.name).unwrap_or_default();
        let groups = self
            .groups()
            .filter(|line| !name.is_empty() && line.members.split(',').any(|member| member == name))
            .map(|line| line.gid)
            .collect();
        Some(Expected { uid, gid, groups })
    }

    fn passwd_entry(&self, user: &str) -> Option<PasswdEntry> {
        self.passwd
            .lines()
            .filter_map(|line| {
                let mut fields = line.split(':');
                Some(PasswdEntry {
                    name: fields.next()?.to_owned(),
                    uid: fields.nth(1)?.parse().ok()?,
                    gid: fields.next()?.parse().ok()?,
                })
            })
            .find(|entry| match user.parse::<u32>() {
                Ok(uid) => entry.uid == uid,
                Err(_) => entry.name == user,
            })
    }

    fn groups(&self) -> impl Iterator<Item = GroupLine<'_>> {
        self.group.lines().filter_map(|line| {
            let mut fields = line.split(':');
            Some(GroupLine {
                name: fields.next()?,
                gid: fields.nth(1)?.parse().ok()?,
                members: fields.next().unwrap_or_default(),
            })
        })
    }
}

struct Expected {
    uid: u32,
    gid: u32,
    groups: BTreeSet<u32>,
}

struct PasswdEntry {
    name: String,
    uid: u32,
    gid: u32,
}

struct GroupLine<'a> {
    name: &'a str,
    gid: u32,
    members: &'a str,
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn user(uid: u32, gid: u32, extra: &[u32]) -> User {
        User {
            uid,
            gid,
            additional_gids: extra.to_vec(),
            ..User::default()
        }
    }

    fn image() -> Users {
        Users {
            passwd: "root:x:0:0:root:/root:/bin/sh\napp:x:1000:2000::/:/bin/sh\n".into(),
            group: "root:x:0:\nwheel:x:10:root,other\nstaff:x:50:app\n".into(),
        }
    }

    #[test]
    fn no_user_is_root_with_its_groups() {
        assert!(image().agree("", &user(0, 0, &[0, 10])));
        assert!(!image().agree("", &user(0, 0, &[50])));
        assert!(Users::default().agree("", &user(0, 0, &[0])));
    }

    #[test]
    fn names_and_numbers_are_looked_up_in_the_image() {
        assert!(image().agree("app", &user(1000, 2000, &[2000, 50])));
        assert!(image().agree("1000", &user(1000, 2000, &[])));
        assert!(image().agree("app:staff", &user(1000, 50, &[])));
        assert!(image().agree("7:8", &user(7, 8, &[])));
        assert!(image().agree("7", &user(7, 0, &[])));
    }

    #[test]
    fn another_user_than_the_images_disagrees() {
        assert!(!image().agree("app", &user(0, 0, &[])));
        assert!(!image().agree("app", &user(1000, 0, &[])));
        assert!(!image().agree("nobody", &user(0, 0, &[])));
        assert!(!Users::default().agree("app", &user(1000, 2000, &[])));
    }

    proptest! {
        #[test]
        fn hostile_files_never_panic(passwd in "[a-z0-9:\n,]{0,80}", group in "[a-z0-9:\n,]{0,80}", wanted in "[a-z0-9:]{0,12}", uid: u32) {
            Users { passwd, group }.agree(&wanted, &user(uid, 0, &[]));
        }
    }
}
