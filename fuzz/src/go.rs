//! What `encoding/json` of Go makes of a text: the reader on the other side, which runs the image.
//!
//! It takes a member for a field without regard to case, by the simple folds of Unicode, and the last one wins. This is
//! written from Go's documentation and shares nothing with our parsers but serde_json's tokens.

use std::fmt;

use serde::Deserialize;
use serde::de::{Deserializer, MapAccess, Visitor};
use serde_json::Value;
use serde_json::value::RawValue;

/// The members of an object, all of them, in their order.
#[derive(Debug, Default)]
pub struct Object(Vec<(String, Box<RawValue>)>);

impl Object {
    /// Reads an object.
    ///
    /// # Panics
    /// When there is none: only what our parsers accepted is read here.
    pub fn of(text: &str) -> Self {
        serde_json::from_str(text).expect("an object was accepted")
    }

    /// The value that a field called `name` gets: the last one that is not `null`.
    ///
    /// # Panics
    /// When more than one member could be meant: readers would disagree.
    pub fn field(&self, name: &str) -> Option<&str> {
        let mut meant = self.0.iter().filter(|(key, _)| folds_to(key, name));
        let (_, value) = meant.next()?;
        assert!(meant.next().is_none(), "`{name}` has a second face");
        (value.get() != "null").then(|| value.get())
    }

    /// A field that is a text; empty where there is none.
    pub fn text(&self, name: &str) -> String {
        self.value(name).as_str().unwrap_or_default().to_owned()
    }

    /// A field that is an object.
    pub fn object(&self, name: &str) -> Self {
        self.field(name).map(Self::of).unwrap_or_default()
    }

    /// A field that is a list of objects.
    pub fn objects(&self, name: &str) -> Vec<Self> {
        let list: Option<Vec<Box<RawValue>>> = self
            .field(name)
            .and_then(|list| serde_json::from_str(list).ok());
        list.unwrap_or_default()
            .iter()
            .map(|item| Self::of(item.get()))
            .collect()
    }

    /// A field of any kind; `null` where there is none.
    pub fn value(&self, name: &str) -> Value {
        self.field(name)
            .and_then(|value| serde_json::from_str(value).ok())
            .unwrap_or_default()
    }

    /// The members of a map, whose keys Go takes as they are.
    pub fn texts(&self) -> Vec<(String, String)> {
        let text = |value: &RawValue| {
            serde_json::from_str::<Option<String>>(value.get())
                .ok()
                .flatten()
        };
        self.0
            .iter()
            .map(|(key, value)| (key.clone(), text(value).unwrap_or_default()))
            .collect()
    }

    /// The value of a key of a map.
    pub fn exactly(&self, name: &str) -> Option<&str> {
        let found = self.0.iter().rfind(|(key, _)| key == name);
        found.map(|(_, value)| value.get())
    }

    /// The members that no field of `known` takes, as they are written.
    pub fn others(&self, known: &[&str]) -> Vec<(&str, &str)> {
        let is_other = |key: &str| !known.iter().any(|name| folds_to(key, name));
        let members = self.0.iter().filter(|(key, _)| is_other(key));
        members
            .map(|(key, value)| (key.as_str(), value.get()))
            .collect()
    }
}

/// Unicode has two letters beyond ASCII that fold to one of it: the long s and the sign for Kelvin.
fn folds_to(key: &str, name: &str) -> bool {
    let fold = |letter: char| match letter {
        '\u{17f}' => 's',
        '\u{212a}' => 'k',
        other => other.to_ascii_lowercase(),
    };
    key.chars().map(fold).eq(name.chars().map(fold))
}

impl<'de> Deserialize<'de> for Object {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Members;
        impl<'de> Visitor<'de> for Members {
            type Value = Object;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("an object")
            }

            fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Object, A::Error> {
                let mut members = Vec::new();
                while let Some(member) = map.next_entry()? {
                    members.push(member);
                }
                Ok(Object(members))
            }
        }
        deserializer.deserialize_map(Members)
    }
}
