//! Reads TOML strictly: every key is known, every value has its type, every error names file and line.

use std::collections::BTreeSet;
use std::fmt::Display;
use std::str::FromStr;

use toml::de::{DeTable, DeValue};

use crate::source::{EstateError, Problem, Source, most_similar, shorten};

/// Parses a file and hands its top table, with `version = 1` checked, to `read`.
pub(crate) fn document<T>(
    source: Source<'_>,
    known: &[&str],
    read: impl FnOnce(&Table<'_>) -> Result<T, EstateError>,
) -> Result<T, EstateError> {
    let parsed = DeTable::parse(source.text).map_err(|error| {
        let message = shorten(error.message());
        source.error_in(error.span(), Problem::Syntax { message })
    })?;
    let table = Table {
        source,
        name: "the file".into(),
        offset: 0,
        entries: parsed.get_ref(),
    };
    table.allow(&[known, &["version"]].concat())?;
    match table.find("version") {
        Some(version) if version.integer::<u64>()? != 1 => {
            Err(version.malformed("only version 1 is known"))
        }
        // Tests change nothing, so people may write them without ceremony.
        None if !source.path.starts_with("tests/") => Err(table.error(Problem::Missing {
            table: table.name.clone(),
            key: "version",
        })),
        _ => read(&table),
    }
}

/// A table of a file.
#[derive(Debug, Clone)]
pub(crate) struct Table<'t> {
    source: Source<'t>,
    name: String,
    offset: usize,
    entries: &'t DeTable<'t>,
}

impl<'t> Table<'t> {
    /// Refuses every key that is not in `known`.
    pub(crate) fn allow(&self, known: &[&str]) -> Result<(), EstateError> {
        for key in self.entries.keys() {
            let text: &str = key.get_ref();
            if !known.contains(&text) {
                let nearest_key = most_similar(text, known.iter().copied());
                let problem = Problem::UnknownKey {
                    key: shorten(text),
                    table: self.name.clone(),
                    nearest_key,
                };
                return Err(self.source.error(key.span().start, problem));
            }
        }
        Ok(())
    }

    /// The value of a key that may be missing.
    pub(crate) fn find(&self, key: &str) -> Option<Value<'t>> {
        let (_, value) = self
            .entries
            .iter()
            .find(|(name, _)| name.get_ref() == key)?;
        Some(Value {
            source: self.source,
            name: self.full_name(key),
            offset: value.span().start,
            value: value.get_ref(),
        })
    }

    /// The value of a key that must be there.
    pub(crate) fn need(&self, key: &'static str) -> Result<Value<'t>, EstateError> {
        self.find(key).ok_or_else(|| {
            self.error(Problem::Missing {
                table: self.name.clone(),
                key,
            })
        })
    }

    /// A table of named things: `[node.NAME]`.
    pub(crate) fn named<N>(&self) -> Result<Vec<(N, Value<'t>)>, EstateError>
    where
        N: FromStr<Err: Display>,
    {
        let mut found = Vec::new();
        for (key, value) in self.entries {
            let text: &str = key.get_ref();
            let name = text.parse().map_err(|error: N::Err| {
                let problem = Problem::Malformed {
                    key: self.name.clone(),
                    reason: error.to_string(),
                };
                self.source.error(key.span().start, problem)
            })?;
            let full_name = self.full_name(&shorten(text));
            let offset = key.span().start;
            found.push((
                name,
                Value {
                    source: self.source,
                    name: full_name,
                    offset,
                    value: value.get_ref(),
                },
            ));
        }
        Ok(found)
    }

    /// The things under `key`, each named by its own key; none when the key is missing.
    pub(crate) fn named_under<N>(&self, key: &str) -> Result<Vec<(N, Value<'t>)>, EstateError>
    where
        N: FromStr<Err: Display>,
    {
        self.find(key)
            .map_or_else(|| Ok(Vec::new()), |value| value.table()?.named())
    }

    /// An error at the beginning of this table.
    pub(crate) fn error(&self, problem: Problem) -> EstateError {
        self.source.error(self.offset, problem)
    }

    /// The number of keys.
    pub(crate) fn len(&self) -> usize {
        self.entries.len()
    }

    fn full_name(&self, key: &str) -> String {
        let key = key.escape_debug();
        if self.offset == 0 {
            format!("`{key}`")
        } else {
            format!("`{}.{key}`", self.name.trim_matches('`'))
        }
    }
}

/// A value of a file, with its place.
#[derive(Debug, Clone)]
pub(crate) struct Value<'t> {
    source: Source<'t>,
    name: String,
    offset: usize,
    value: &'t DeValue<'t>,
}

impl<'t> Value<'t> {
    pub(crate) fn text(&self) -> Result<&'t str, EstateError> {
        self.value.as_str().ok_or_else(|| self.wrong_type("a text"))
    }

    /// A text without control characters that is neither empty nor long.
    pub(crate) fn line(&self) -> Result<String, EstateError> {
        let text = self.text()?;
        if text.is_empty() || text.len() > MAX_LINE || text.chars().any(char::is_control) {
            return Err(
                self.malformed("a line of 1 to 1024 bytes without control characters is wanted")
            );
        }
        Ok(text.to_owned())
    }

    pub(crate) fn parse<T>(&self) -> Result<T, EstateError>
    where
        T: FromStr<Err: Display>,
    {
        self.text()?
            .parse()
            .map_err(|error: T::Err| self.malformed(&error.to_string()))
    }

    pub(crate) fn integer<T: TryFrom<i64>>(&self) -> Result<T, EstateError> {
        let integer = self
            .value
            .as_integer()
            .ok_or_else(|| self.wrong_type("a whole number"))?;
        let wide = i64::from_str_radix(integer.as_str(), integer.radix()).ok();
        wide.and_then(|wide| T::try_from(wide).ok())
            .ok_or_else(|| self.wrong_type("a number in range"))
    }

    pub(crate) fn boolean(&self) -> Result<bool, EstateError> {
        self.value
            .as_bool()
            .ok_or_else(|| self.wrong_type("`true` or `false`"))
    }

    pub(crate) fn table(&self) -> Result<Table<'t>, EstateError> {
        let entries = self
            .value
            .as_table()
            .ok_or_else(|| self.wrong_type("a table"))?;
        Ok(Table {
            source: self.source,
            name: self.name.clone(),
            offset: self.offset.max(1),
            entries,
        })
    }

    /// A table in which only `known` keys stand.
    pub(crate) fn table_of(&self, known: &[&str]) -> Result<Table<'t>, EstateError> {
        let table = self.table()?;
        table.allow(known)?;
        Ok(table)
    }

    pub(crate) fn is_table(&self) -> bool {
        self.value.is_table()
    }

    pub(crate) fn list(&self) -> Result<Vec<Self>, EstateError> {
        let items = self
            .value
            .as_array()
            .ok_or_else(|| self.wrong_type("a list"))?;
        if items.len() > MAX_LIST {
            return Err(self.error(Problem::TooLarge {
                what: "the list",
                limit: MAX_LIST,
            }));
        }
        let value_of = |item: &'t toml::Spanned<DeValue<'t>>| Self {
            source: self.source,
            name: self.name.clone(),
            offset: item.span().start,
            value: item.get_ref(),
        };
        Ok(items.iter().map(value_of).collect())
    }

    /// A list in which nothing stands twice.
    pub(crate) fn set<T: Ord + Clone>(
        &self,
        read: impl Fn(&Self) -> Result<T, EstateError>,
    ) -> Result<BTreeSet<T>, EstateError> {
        let mut set = BTreeSet::new();
        for item in self.list()? {
            if !set.insert(read(&item)?) {
                let value = shorten(item.value.as_str().unwrap_or("…"));
                return Err(item.error(Problem::Doubled {
                    key: item.name.clone(),
                    value,
                }));
            }
        }
        Ok(set)
    }

    /// A list of parsed texts in which nothing stands twice.
    pub(crate) fn set_of<T>(&self) -> Result<BTreeSet<T>, EstateError>
    where
        T: FromStr<Err: Display> + Ord + Clone,
    {
        self.set(Value::parse)
    }

    /// A name that must be one of `known`.
    pub(crate) fn name_of<'k, N>(
        &self,
        kind: &'static str,
        known: impl IntoIterator<Item = &'k N>,
    ) -> Result<N, EstateError>
    where
        N: FromStr<Err: Display> + AsRef<str> + PartialEq + 'k,
    {
        let name: N = self.parse()?;
        let known: Vec<&str> = known.into_iter().map(AsRef::as_ref).collect();
        if known.contains(&name.as_ref()) {
            return Ok(name);
        }
        let nearest_name = most_similar(name.as_ref(), known);
        let key = self.name.clone();
        Err(self.error(Problem::UnknownName {
            key,
            kind,
            name: name.as_ref().to_owned(),
            nearest_name,
        }))
    }

    pub(crate) fn malformed(&self, reason: &str) -> EstateError {
        self.error(Problem::Malformed {
            key: self.name.clone(),
            reason: reason.to_owned(),
        })
    }

    pub(crate) fn error(&self, problem: Problem) -> EstateError {
        self.source.error(self.offset, problem)
    }

    /// The full name of the key, for errors.
    pub(crate) fn name(&self) -> &str {
        &self.name
    }

    fn wrong_type(&self, wanted: &'static str) -> EstateError {
        self.error(Problem::WrongType {
            key: self.name.clone(),
            wanted,
        })
    }
}

const MAX_LIST: usize = 10_000;
const MAX_LINE: usize = 1024;
