//! The little of YAML that ocicrypt's files use: mappings, lists and scalars, read as text. Anchors and aliases, by which a
//! short text becomes a huge value, are refused; so are members that stand twice, several documents and deep nesting.

use yaml_rust2::parser::{Event, Parser};
use zeroize::Zeroize;

use crate::error::KeyFileError;

/// A value. Texts are wiped: one of them may hold a PIN.
#[derive(Debug)]
pub(crate) enum Value {
    Scalar(Text),
    List(Vec<Value>),
    Map(Vec<(Text, Value)>),
}

/// A text that is wiped.
#[derive(zeroize::ZeroizeOnDrop)]
pub(crate) struct Text(String);

impl std::fmt::Debug for Text {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Text")
    }
}

impl Text {
    pub(crate) fn as_str(&self) -> &str {
        &self.0
    }
}

impl Value {
    /// The member of a mapping.
    pub(crate) fn member(&self, name: &str) -> Option<&Self> {
        let Self::Map(members) = self else {
            return None;
        };
        let mut members = members.iter();
        members
            .find(|(found, _)| found.as_str() == name)
            .map(|(_, value)| value)
    }

    pub(crate) fn text(&self) -> Option<&str> {
        match self {
            Self::Scalar(text) => Some(text.as_str()),
            Self::List(_) | Self::Map(_) => None,
        }
    }

    /// Nothing at all, as a member without a value has.
    pub(crate) fn is_null(&self) -> bool {
        matches!(self.text(), Some("" | "~" | "null"))
    }
}

/// Reads one document; none is an empty text.
pub(crate) fn parse(text: &str) -> Result<Value, KeyFileError> {
    let mut parser = Parser::new_from_str(text);
    let mut reader = Reader {
        line: 1,
        parser: &mut parser,
    };
    loop {
        match reader.next()? {
            Event::StreamStart | Event::DocumentStart => {}
            Event::StreamEnd => return Ok(Value::Scalar(Text(String::new()))),
            first => {
                let value = reader.value(first, 0)?;
                return reader.end().map(|()| value);
            }
        }
    }
}

struct Reader<'p, 't> {
    line: usize,
    parser: &'p mut Parser<std::str::Chars<'t>>,
}

impl Reader<'_, '_> {
    fn next(&mut self) -> Result<Event, KeyFileError> {
        match self.parser.next_token() {
            Ok((event, at)) => {
                self.line = at.line();
                Ok(event)
            }
            Err(error) => Err(KeyFileError::Yaml {
                line: error.marker().line(),
                what: "which is malformed",
            }),
        }
    }

    fn value(&mut self, first: Event, depth: usize) -> Result<Value, KeyFileError> {
        let refused = |what| {
            Err(KeyFileError::Yaml {
                line: self.line,
                what,
            })
        };
        match first {
            Event::Alias(_) => refused("an alias"),
            Event::SequenceStart(..) | Event::MappingStart(..) if depth >= DEEPEST => {
                refused("nested too deep")
            }
            Event::Scalar(text, _, 0, None) => Ok(Value::Scalar(Text(text))),
            Event::SequenceStart(0, None) => self.list(depth),
            Event::MappingStart(0, None) => self.map(depth),
            Event::Scalar(mut text, ..) => {
                text.zeroize();
                refused("an anchor or a tag")
            }
            Event::SequenceStart(..) | Event::MappingStart(..) => refused("an anchor or a tag"),
            _ => refused("which is malformed"),
        }
    }

    fn list(&mut self, depth: usize) -> Result<Value, KeyFileError> {
        let mut values = Vec::new();
        loop {
            match self.next()? {
                Event::SequenceEnd => return Ok(Value::List(values)),
                first => values.push(self.value(first, depth + 1)?),
            }
        }
    }

    fn map(&mut self, depth: usize) -> Result<Value, KeyFileError> {
        let mut members: Vec<(Text, Value)> = Vec::new();
        loop {
            let name = match self.next()? {
                Event::MappingEnd => return Ok(Value::Map(members)),
                first => self.value(first, depth + 1)?,
            };
            let line = self.line;
            let refused = |what| Err(KeyFileError::Yaml { line, what });
            let Value::Scalar(name) = name else {
                return refused("a member whose name is no text");
            };
            let stands = |(known, _): &(Text, Value)| known.as_str() == name.as_str();
            if members.iter().any(stands) {
                return refused("a member that stands twice");
            }
            let first = self.next()?;
            members.push((name, self.value(first, depth + 1)?));
        }
    }

    fn end(&mut self) -> Result<(), KeyFileError> {
        loop {
            match self.next()? {
                Event::DocumentEnd => {}
                Event::StreamEnd => return Ok(()),
                _ => {
                    return Err(KeyFileError::Yaml {
                        line: self.line,
                        what: "a second document",
                    });
                }
            }
        }
    }
}

const DEEPEST: usize = 8;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_forms_that_ocicrypts_users_write_are_read() {
        let text = "# comment\npkcs11:\n  uri: pkcs11:token=a;object=b?pin-value=1234&module-name=softhsm2\nmodule:\n  env:\n    A: 'b c'\n    N: 12\n";
        let value = parse(text).unwrap();
        let uri = value.member("pkcs11").and_then(|key| key.member("uri"));
        assert_eq!(
            uri.unwrap().text(),
            Some("pkcs11:token=a;object=b?pin-value=1234&module-name=softhsm2")
        );
        let env = value.member("module").and_then(|key| key.member("env"));
        assert_eq!(env.unwrap().member("A").unwrap().text(), Some("b c"));
        assert_eq!(env.unwrap().member("N").unwrap().text(), Some("12"));
        assert!(parse("").unwrap().is_null());
        assert!(parse("a:\n").unwrap().member("a").unwrap().is_null());
        let list = parse("a: [b, c]\n").unwrap();
        assert!(matches!(list.member("a"), Some(Value::List(two)) if two.len() == 2));
    }

    #[test]
    fn what_makes_much_of_little_is_refused() {
        let deep = "[".repeat(5000);
        for text in [
            "a: &a 1\nb: *a\n",
            "a: &a [1]\n",
            "a: !!binary AAAA\n",
            "a: 1\na: 2\n",
            "? [a]\n: b\n",
            "a: 1\n---\nb: 2\n",
            "a: [\n",
            deep.as_str(),
        ] {
            assert!(parse(text).is_err(), "{text:.40}");
        }
    }

    #[test]
    fn errors_name_the_line_and_never_the_text() {
        let error = parse("pkcs11:\n  uri: &pin secret\n").unwrap_err();
        let said = format!("{error} {error:?}");
        assert!(
            said.contains("line 2") && !said.contains("secret"),
            "{said}"
        );
    }

    proptest::proptest! {
        #[test]
        fn hostile_texts_never_panic(text in "(?s)[-a-z0-9:{}\\[\\]&*!|>'\"%@#?, \n\t]{0,120}") {
            let _ = parse(&text);
        }
    }
}
