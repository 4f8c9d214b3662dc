//! Names: parsed once at the rim, trusted afterwards.
//!
//! A name is case-sensitive, holds no blanks, control characters or globs, and is at most 128 bytes long.

use std::borrow::Borrow;
use std::fmt;
use std::str::FromStr;
use std::sync::Arc;

use serde::{Deserialize, Deserializer, Serialize, Serializer};

/// No name is longer than this, in bytes.
pub(crate) const MAX_NAME: usize = 128;

/// A text is not a name of its kind.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum NameError {
    /// Fault: whoever wrote the name.
    #[error("a {kind} can't be empty")]
    Empty {
        /// What the name was to name.
        kind: &'static str,
    },
    /// Fault: whoever wrote the name.
    #[error("a {kind} has at most {MAX_NAME} bytes, this one has {length}")]
    TooLong {
        /// What the name was to name.
        kind: &'static str,
        /// Length of the refused text in bytes.
        length: usize,
    },
    /// Fault: whoever wrote the name.
    #[error("`{}` is not a {kind}: {rule}", text.escape_debug())]
    Malformed {
        /// What the name was to name.
        kind: &'static str,
        /// The refused text.
        text: String,
        /// What such a name looks like.
        rule: &'static str,
    },
}

macro_rules! names {
    ($($(#[$doc:meta])* $name:ident, $kind:literal, $shape:ident;)*) => {$(
        $(#[$doc])*
        #[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
        pub struct $name(Arc<str>);

        impl $name {
            /// The name as text.
            #[must_use]
            pub fn as_str(&self) -> &str {
                &self.0
            }
        }

        impl FromStr for $name {
            type Err = NameError;

            fn from_str(text: &str) -> Result<Self, NameError> {
                check($kind, &$shape, text).map(|()| Self(Arc::from(text)))
            }
        }

        impl TryFrom<&str> for $name {
            type Error = NameError;

            fn try_from(text: &str) -> Result<Self, NameError> {
                text.parse()
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.pad(&self.0)
            }
        }

        impl fmt::Debug for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                write!(f, "{}({})", stringify!($name), self.0)
            }
        }

        // INVARIANT: Eq, Ord and Hash of the name are those of its text, so maps may be asked with a `&str`.
        impl Borrow<str> for $name {
            fn borrow(&self) -> &str {
                &self.0
            }
        }

        impl AsRef<str> for $name {
            fn as_ref(&self) -> &str {
                &self.0
            }
        }

        impl Serialize for $name {
            fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
                serializer.serialize_str(&self.0)
            }
        }

        impl<'de> Deserialize<'de> for $name {
            fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
                parse_visited(deserializer)
            }
        }
    )*};
}

names! {
    /// Whose data and workloads: part of every key that is stored.
    TenantName, "tenant name", LABEL;
    /// A machine of the inventory.
    NodeName, "node name", LABEL;
    /// A cluster of nodes.
    ClusterName, "cluster name", LABEL;
    /// A country, region, data centre or rack.
    LocationName, "location name", LABEL;
    /// A set of images that count as one application; `[a-z][a-z0-9-]*`, so it can't imitate a digest.
    ImageSetName, "image set name", SET;
    /// Data that rules speak of.
    DataSetName, "data set name", LABEL;
    /// A secret, such as `db/medrec-pg/admin`.
    SecretName, "secret name", PATH;
    /// A credential that is made on demand, such as `postgresql/medical-records`.
    CredentialName, "credential name", PATH;
    /// A database server on which accounts are made.
    DatabaseName, "database name", LABEL;
    /// A list of accepted boot states.
    BootProfileName, "boot profile name", LABEL;
    /// A person, such as `ana@hospital.example`.
    PersonId, "person id", PERSON;
    /// A team of people.
    TeamName, "team name", LABEL;
    /// A rule of a policy file or a guardrail: the value of its `@id`.
    RuleId, "rule id", LABEL;
    /// A lease of a credential.
    LeaseId, "lease id", LABEL;
}

/// How a kind of name is made up.
struct Shape {
    rule: &'static str,
    fits: fn(&str) -> bool,
}

const LABEL: Shape = Shape {
    rule: "letters, digits, `.`, `_` and `-`, beginning with a letter or digit",
    fits: is_label,
};

const SET: Shape = Shape {
    rule: "lower-case letters, digits and `-`, beginning with a letter",
    fits: |text| {
        text.starts_with(|c: char| c.is_ascii_lowercase())
            && text
                .chars()
                .all(|c| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '-')
    },
};

const PATH: Shape = Shape {
    rule: "parts of letters, digits, `.`, `_` and `-`, divided by single `/`, each beginning with a letter or digit",
    fits: |text| text.split('/').all(is_label),
};

const PERSON: Shape = Shape {
    rule: "an address of letters, digits, `.`, `_`, `+`, `-` with at most one `@`",
    fits: |text| {
        text.split('@').count() <= 2
            && text
                .split('@')
                .all(|part| is_label(&part.replace('+', "-")))
    },
};

fn is_label(text: &str) -> bool {
    text.starts_with(|c: char| c.is_ascii_alphanumeric())
        && text
            .chars()
            .all(|c| c.is_ascii_alphanumeric() || matches!(c, '.' | '_' | '-'))
}

fn check(kind: &'static str, shape: &Shape, text: &str) -> Result<(), NameError> {
    if text.is_empty() {
        return Err(NameError::Empty { kind });
    }
    if text.len() > MAX_NAME {
        return Err(NameError::TooLong {
            kind,
            length: text.len(),
        });
    }
    if !(shape.fits)(text) {
        return Err(NameError::Malformed {
            kind,
            text: text.to_owned(),
            rule: shape.rule,
        });
    }
    Ok(())
}

/// Deserializes anything that is written as a string and parsed by `FromStr`.
pub(crate) fn parse_visited<'de, D, T>(deserializer: D) -> Result<T, D::Error>
where
    D: Deserializer<'de>,
    T: FromStr,
    T::Err: fmt::Display,
{
    struct Text<T>(std::marker::PhantomData<T>);
    impl<T> serde::de::Visitor<'_> for Text<T>
    where
        T: FromStr,
        T::Err: fmt::Display,
    {
        type Value = T;

        fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
            f.write_str("a text")
        }

        fn visit_str<E: serde::de::Error>(self, text: &str) -> Result<T, E> {
            text.parse().map_err(E::custom)
        }
    }
    deserializer.deserialize_str(Text(std::marker::PhantomData))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_of_the_example_are_names() {
        assert!("hospital".parse::<TenantName>().is_ok());
        assert!("dal05-r12-n07".parse::<NodeName>().is_ok());
        assert!("hipaaCluster".parse::<ClusterName>().is_ok());
        assert!("DAL05-R12".parse::<LocationName>().is_ok());
        assert!("db/medrec-pg/admin".parse::<SecretName>().is_ok());
        assert!(
            "postgresql/medical-records"
                .parse::<CredentialName>()
                .is_ok()
        );
        assert!("debian12-2026-11".parse::<BootProfileName>().is_ok());
        assert!("ana@hospital.example".parse::<PersonId>().is_ok());
        assert!("ana+night@hospital.example".parse::<PersonId>().is_ok());
    }

    #[test]
    fn a_set_can_not_be_named_like_a_digest() {
        for text in [
            "sha256:3b1f",
            "Medrec",
            "9f",
            "-medrec",
            "medrec_1",
            "medrec/x",
        ] {
            assert!(text.parse::<ImageSetName>().is_err(), "{text}");
        }
    }

    #[test]
    fn blanks_controls_globs_and_climbing_paths_are_refused() {
        for text in [
            "",
            " ",
            "a b",
            "a\n",
            "a\0",
            "*",
            "a*",
            "é",
            "a/b",
            ".",
            "..",
            "-a",
            "a\u{200b}",
        ] {
            assert!(text.parse::<NodeName>().is_err(), "{text:?}");
        }
        for text in ["/a", "a/", "a//b", "a/../b", "a/./b", "../a", "a/*"] {
            assert!(text.parse::<SecretName>().is_err(), "{text:?}");
        }
        for text in ["@", "a@", "@b", "a@b@c", "a b@c"] {
            assert!(text.parse::<PersonId>().is_err(), "{text:?}");
        }
    }

    #[test]
    fn a_name_has_a_longest_length() {
        assert!("a".repeat(MAX_NAME).parse::<NodeName>().is_ok());
        let error = "a".repeat(MAX_NAME + 1).parse::<NodeName>().unwrap_err();
        assert_eq!(
            error,
            NameError::TooLong {
                kind: "node name",
                length: MAX_NAME + 1
            }
        );
    }

    #[test]
    fn a_name_is_validated_when_deserialized() {
        assert_eq!(
            serde_json::from_str::<NodeName>("\"n1\"").unwrap().as_str(),
            "n1"
        );
        assert!(serde_json::from_str::<NodeName>("\"n 1\"").is_err());
        assert!(serde_json::from_str::<NodeName>("1").is_err());
    }

    #[test]
    fn refusals_escape_what_they_quote() {
        let error = "a\u{1b}[2J".parse::<NodeName>().unwrap_err();
        assert!(!error.to_string().contains('\u{1b}'));
    }
}
