//! JSON that means one thing: duplicate members are refused at any depth.
//!
//! RFC 8259 leaves duplicates open, parsers differ in which one wins, and an attacker who can make two parsers
//! disagree has a message that one checks and the other obeys.

use std::cell::RefCell;
use std::collections::HashSet;
use std::fmt;

use serde::de::{DeserializeOwned, DeserializeSeed, Error as _, MapAccess, SeqAccess, Visitor};

/// Why a text is not strict JSON of the wanted shape.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum JsonError {
    /// Fault: whoever wrote the text; one member stands twice in an object.
    #[error("member `{member}` appears twice")]
    Duplicate {
        /// The member's name, cut to 64 characters.
        member: String,
    },
    /// Fault: whoever wrote the text; it is not JSON, or not of the wanted shape.
    #[error("text is not the expected JSON")]
    Malformed {
        /// What the parser saw. It may quote the text: leave it out of errors about secrets.
        #[source]
        source: serde_json::Error,
    },
}

/// Parses one JSON value with nothing after it, refusing duplicate members at any depth.
///
/// Nesting beyond 128 levels is refused. Unknown members are `T`'s own decision (`#[serde(deny_unknown_fields)]`).
pub fn from_slice<T: DeserializeOwned>(text: &[u8]) -> Result<T, JsonError> {
    check(text)?;
    serde_json::from_slice(text).map_err(|source| JsonError::Malformed { source })
}

/// [`from_slice`] for text that is a string already.
pub fn from_str<T: DeserializeOwned>(text: &str) -> Result<T, JsonError> {
    from_slice(text.as_bytes())
}

fn check(text: &[u8]) -> Result<(), JsonError> {
    let duplicate = RefCell::new(None);
    let mut parser = serde_json::Deserializer::from_slice(text);
    let walked = Walk {
        duplicate: &duplicate,
    }
    .deserialize(&mut parser)
    .and_then(|()| parser.end());
    match (duplicate.into_inner(), walked) {
        (Some(member), _) => Err(JsonError::Duplicate { member }),
        (None, Err(source)) => Err(JsonError::Malformed { source }),
        (None, Ok(())) => Ok(()),
    }
}

/// Walks a value and keeps nothing of it but the first duplicate.
#[derive(Clone, Copy)]
struct Walk<'a> {
    duplicate: &'a RefCell<Option<String>>,
}

impl<'de> DeserializeSeed<'de> for Walk<'_> {
    type Value = ();

    fn deserialize<D: serde::Deserializer<'de>>(self, parser: D) -> Result<(), D::Error> {
        parser.deserialize_any(self)
    }
}

impl<'de> Visitor<'de> for Walk<'_> {
    type Value = ();

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a JSON value")
    }

    fn visit_bool<E>(self, _: bool) -> Result<(), E> {
        Ok(())
    }

    fn visit_i64<E>(self, _: i64) -> Result<(), E> {
        Ok(())
    }

    fn visit_u64<E>(self, _: u64) -> Result<(), E> {
        Ok(())
    }

    fn visit_f64<E>(self, _: f64) -> Result<(), E> {
        Ok(())
    }

    fn visit_str<E>(self, _: &str) -> Result<(), E> {
        Ok(())
    }

    fn visit_unit<E>(self) -> Result<(), E> {
        Ok(())
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut items: A) -> Result<(), A::Error> {
        while items.next_element_seed(self)?.is_some() {}
        Ok(())
    }

    fn visit_map<A: MapAccess<'de>>(self, mut members: A) -> Result<(), A::Error> {
        let mut seen = HashSet::new();
        while let Some(name) = members.next_key::<String>()? {
            members.next_value_seed(self)?;
            if let Some(twice) = seen.replace(name) {
                self.duplicate
                    .borrow_mut()
                    .get_or_insert(twice.chars().take(64).collect());
                return Err(A::Error::custom("duplicate member"));
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use serde_json::Value;

    use super::*;

    fn refused(text: &str) -> JsonError {
        from_str::<Value>(text).unwrap_err()
    }

    #[test]
    fn duplicates_are_refused_at_any_depth() {
        for text in [
            r#"{"a":1,"a":1}"#,
            r#"[{"b":{"a":1,"a":2}}]"#,
            r#"{"a":1,"\u0061":2}"#,
        ] {
            assert!(
                matches!(refused(text), JsonError::Duplicate { member } if member == "a"),
                "{text}"
            );
        }
    }

    #[test]
    fn equal_names_in_different_objects_are_fine() {
        assert!(from_str::<Value>(r#"{"a":{"a":[{"a":1},{"a":null}]}}"#).is_ok());
    }

    #[test]
    fn trailing_bytes_and_deep_nesting_are_refused() {
        assert!(matches!(refused("{} {}"), JsonError::Malformed { .. }));
        assert!(matches!(
            refused(&"[".repeat(100_000)),
            JsonError::Malformed { .. }
        ));
    }

    #[test]
    fn a_very_long_member_name_is_cut_in_the_error() {
        let name = "n".repeat(5_000);
        let error = refused(&format!(r#"{{"{name}":1,"{name}":2}}"#));
        assert!(matches!(error, JsonError::Duplicate { member } if member.len() == 64));
    }
}
