//! JSON objects of others, kept as they are written: a changed member moves nothing else.

use std::collections::HashSet;
use std::fmt;

use serde::de::{DeserializeOwned, Error as _, MapAccess, Visitor};
use serde::ser::SerializeMap;
use serde::{Deserialize, Deserializer, Serialize, Serializer};
use serde_json::value::RawValue;

/// The members of an object, in their order, each with its value as the author wrote it.
///
/// A doubled member is refused: two readers could each believe another one of the two. So is one whose name other readers
/// take for the one that is looked for: Go's do not tell `Config` from `config`.
#[derive(Debug, Clone, Default)]
pub struct RawObject(Vec<(String, Box<RawValue>)>);

impl RawObject {
    /// The value of `name`, if it is there and not `null`.
    ///
    /// # Errors
    /// When the value is of another kind, or another member could be taken for this one.
    pub fn read<T: DeserializeOwned>(&self, name: &str) -> Result<Option<T>, serde_json::Error> {
        if let Some(key) = self.names().find(|key| *key != name && reads_as(key, name)) {
            return Err(serde_json::Error::custom(format_args!(
                "member `{}` could be taken for `{name}`",
                key.escape_debug()
            )));
        }
        match self.0.iter().find(|(key, _)| key == name) {
            Some((_, value)) => serde_json::from_str(value.get()),
            None => Ok(None),
        }
    }

    /// All members with their values, `None` for `null`. In one pass: comparing each name with each other one takes
    /// minutes for names that whoever made the object chose for that.
    ///
    /// # Errors
    /// When a value is of another kind, or a member could be taken for another.
    pub fn read_all<T: DeserializeOwned>(
        &self,
    ) -> Result<Vec<(String, Option<T>)>, serde_json::Error> {
        let mut spelt = HashSet::new();
        let each = self.0.iter().map(|(key, value)| {
            if !spelt.insert(folded(key).collect::<String>()) {
                return Err(serde_json::Error::custom(format_args!(
                    "member `{}` could be taken for another",
                    key.escape_debug()
                )));
            }
            Ok((key.clone(), serde_json::from_str(value.get())?))
        });
        each.collect()
    }

    /// Whether a member has this name, or could be taken for it.
    #[must_use]
    pub fn has(&self, name: &str) -> bool {
        self.names().any(|key| reads_as(key, name))
    }

    /// Writes `value` where `name` stands, or at the end.
    ///
    /// # Errors
    /// When the value has no JSON form.
    pub fn set(&mut self, name: &str, value: &impl Serialize) -> Result<(), serde_json::Error> {
        let value = serde_json::value::to_raw_value(value)?;
        match self.0.iter_mut().find(|(key, _)| key == name) {
            Some((_, old)) => *old = value,
            None => self.0.push((name.to_owned(), value)),
        }
        Ok(())
    }

    /// Takes `name` away, and what could be taken for it.
    pub fn remove(&mut self, name: &str) {
        self.0.retain(|(key, _)| !reads_as(key, name));
    }

    /// Takes every member away whose name begins with `prefix`, in whatever spelling.
    pub fn remove_all(&mut self, prefix: &str) {
        self.0.retain(|(key, _)| {
            let mut key = folded(key);
            !folded(prefix).all(|expected| key.next() == Some(expected))
        });
    }

    /// The names, in their order.
    pub fn names(&self) -> impl Iterator<Item = &str> {
        self.0.iter().map(|(key, _)| key.as_str())
    }
}

impl Serialize for RawObject {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let mut map = serializer.serialize_map(Some(self.0.len()))?;
        for (key, value) in &self.0 {
            map.serialize_entry(key, value)?;
        }
        map.end()
    }
}

impl<'de> Deserialize<'de> for RawObject {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_map(RawObjectVisitor)
    }
}

struct RawObjectVisitor;

impl<'de> Visitor<'de> for RawObjectVisitor {
    type Value = RawObject;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("an object")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<RawObject, A::Error> {
        let mut members = RawObject::default();
        while let Some((key, value)) = map.next_entry::<String, Box<RawValue>>()? {
            if members.names().any(|name| name == key) {
                return Err(A::Error::custom(format_args!(
                    "member `{}` is there twice",
                    key.escape_debug()
                )));
            }
            if members.0.len() == MEMBER_LIMIT {
                return Err(A::Error::custom("an object has too many members"));
            }
            members.0.push((key, value));
        }
        Ok(members)
    }
}

/// Whether a reader that does not mind case, as Go's, takes `key` for `name`.
fn reads_as(key: &str, name: &str) -> bool {
    folded(key).eq(folded(name))
}

/// Upper case first: `ſ` is lower case already, and stands for `s`.
fn folded(text: &str) -> impl Iterator<Item = char> {
    text.chars()
        .flat_map(char::to_uppercase)
        .flat_map(char::to_lowercase)
}

/// Looking for a doubled name takes time quadratic in their number.
const MEMBER_LIMIT: usize = 1024;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn untouched_members_stay_as_written() {
        let text = r#"{"z":1.50,"a":{"y" : 1e3, "b":"\u00e9"},"n":12345678901234567890123}"#;
        let mut members: RawObject = serde_json::from_str(text).unwrap();
        assert_eq!(serde_json::to_string(&members).unwrap(), text);
        members.set("z", &"new").unwrap();
        members.set("more", &1).unwrap();
        members.remove("n");
        assert_eq!(
            serde_json::to_string(&members).unwrap(),
            r#"{"z":"new","a":{"y" : 1e3, "b":"\u00e9"},"more":1}"#
        );
    }

    #[test]
    fn a_doubled_member_is_refused() {
        let doubled = serde_json::from_str::<RawObject>(r#"{"a":1,"\u0061":2}"#);
        assert!(doubled.unwrap_err().to_string().contains("twice"));
    }

    proptest::proptest! {
        #[test]
        fn an_object_is_refused_or_comes_back_the_same(text in r#"\{("[aAk\u{212a}]{0,2}":([0-9]{1,30}|1e5|"[a-z]{0,3}"|\{\}|\[1, 2\]|null),?){0,4}\}|.{0,40}"#) {
            if let Ok(members) = serde_json::from_str::<RawObject>(&text) {
                let written = serde_json::to_string(&members).unwrap();
                let again: RawObject = serde_json::from_str(&written).unwrap();
                proptest::prop_assert_eq!(serde_json::to_string(&again).unwrap(), written);
                // What is read has one spelling.
                let found = members.read::<serde::de::IgnoredAny>("ak").is_ok();
                let spelt = members.names().filter(|name| reads_as(name, "ak")).count();
                proptest::prop_assert!(!found || spelt == usize::from(members.names().any(|name| name == "ak")));
            }
        }
    }

    #[test]
    fn null_reads_as_absent() {
        let members: RawObject = serde_json::from_str(r#"{"a":null}"#).unwrap();
        assert_eq!(members.read::<String>("a").unwrap(), None);
        assert!(members.read::<String>("b").unwrap().is_none());
    }

    #[test]
    fn a_name_that_others_would_read_as_ours_is_refused() {
        for name in ["Layers", "LAYERS", "layer\u{17f}"] {
            let text = serde_json::json!({name: []}).to_string();
            let members: RawObject = serde_json::from_str(&text).unwrap();
            assert!(members.read::<Vec<u8>>("layers").is_err(), "{name}");
            assert!(members.has("layers"), "{name}");
        }
        let members: RawObject = serde_json::from_str(r#"{"layers2":[]}"#).unwrap();
        assert!(members.read::<Vec<u8>>("layers").unwrap().is_none());
    }
}
