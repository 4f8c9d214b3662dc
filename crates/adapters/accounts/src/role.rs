//! Names of the roles that bailiwick makes, told from all others by their prefix.

use std::fmt;
use std::str::FromStr;

/// The name of a role made for one lease: `bw_` and lower-case letters, digits and `_`, at most 63 bytes.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct RoleName(String);

/// A text is not the name of a role of ours.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error(
    "a role for a lease is named `bw_` and lower-case letters, digits and `_`, at most 63 bytes"
)]
pub struct RoleNameError;

impl RoleName {
    /// What every name begins with. No role without it is ever made, changed or ended.
    pub const PREFIX: &str = "bw_";

    /// The name as text.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl FromStr for RoleName {
    type Err = RoleNameError;

    fn from_str(text: &str) -> Result<Self, RoleNameError> {
        let rest = text.strip_prefix(Self::PREFIX).ok_or(RoleNameError)?;
        let plain = rest
            .bytes()
            .all(|byte| byte.is_ascii_lowercase() || byte.is_ascii_digit() || byte == b'_');
        if plain && !rest.is_empty() && text.len() <= MOST_BYTES {
            Ok(Self(text.to_owned()))
        } else {
            Err(RoleNameError)
        }
    }
}

impl fmt::Display for RoleName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// PostgreSQL cuts longer names silently, and two leases would share a role.
const MOST_BYTES: usize = 63;

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn names_of_others_are_refused() {
        for text in [
            "",
            "bw_",
            "postgres",
            "BW_1",
            "bw_1\"; drop role x",
            "bw_1 ",
            "bw-1",
            "bw_é",
            "abw_1",
        ] {
            assert_eq!(text.parse::<RoleName>(), Err(RoleNameError), "{text}");
        }
        assert!("bw_417_medical_records".parse::<RoleName>().is_ok());
    }

    #[test]
    fn a_name_that_postgresql_would_cut_is_refused() {
        let name = |bytes: usize| format!("bw_{}", "a".repeat(bytes - 3));
        assert!(name(63).parse::<RoleName>().is_ok());
        assert!(name(64).parse::<RoleName>().is_err());
    }

    proptest! {
        #[test]
        fn what_is_accepted_needs_no_quotes(text in "(bw_)?.{0,70}") {
            if let Ok(name) = text.parse::<RoleName>() {
                prop_assert_eq!(name.as_str(), &text);
                let plain = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '_';
                prop_assert!(text.starts_with("bw_") && text.chars().all(plain) && text.len() <= 63);
            }
        }
    }
}
