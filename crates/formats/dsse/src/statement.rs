//! in-toto Statement v1: who signs says something (the predicate) of artifacts (the subjects, named by digest).

use std::collections::BTreeMap;

use jose::strict_json::{self, JsonError};
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};

use crate::envelope::{Verified, WrongType};

/// The type of a payload that is a statement.
pub const PAYLOAD_TYPE: &str = "application/vnd.in-toto+json";
/// Most subjects that a statement may have here.
pub const MAX_SUBJECTS: usize = 64;

/// Why a payload is not the wanted statement.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum StatementError {
    /// Fault: whoever signed, or sent the envelope here.
    #[error("the envelope holds no statement")]
    Type {
        /// What it holds.
        #[source]
        source: WrongType,
    },
    /// Fault: whoever signed; a member that is not known is refused, too.
    #[error("the statement is not the JSON that is wanted")]
    Json {
        /// What is wrong with it.
        #[source]
        source: JsonError,
    },
    /// Fault: whoever signed.
    #[error("`_type` of the statement is `{}`, not `{STATEMENT_TYPE}`", said.escape_debug())]
    Version {
        /// What it says, cut to 64 characters.
        said: String,
    },
    /// Fault: whoever signed, or sent the statement here.
    #[error("the statement's predicate is `{}`, not `{wanted}`", said.escape_debug())]
    Predicate {
        /// What it says, cut to 64 characters.
        said: String,
        /// What the caller wants.
        wanted: &'static str,
    },
    /// Fault: whoever signed; it speaks of nothing, or of more than anybody reads.
    #[error("the statement has {count} subjects; 1 to {MAX_SUBJECTS} are wanted")]
    Subjects {
        /// How many there are.
        count: usize,
    },
}

/// A statement about artifacts.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Statement<P> {
    #[serde(rename = "_type")]
    kind: String,
    /// The artifacts.
    pub subject: Vec<Subject>,
    /// What kind of thing is said of them.
    pub predicate_type: String,
    /// What is said of them.
    pub predicate: P,
}

/// One artifact.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Subject {
    /// What its author calls it; means nothing beyond the statement.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub name: Option<String>,
    /// Its digests by the name of the algorithm, in hexadecimal.
    pub digest: BTreeMap<String, String>,
}

impl<P> Statement<P> {
    /// A statement.
    pub fn new(predicate_type: &str, subject: Vec<Subject>, predicate: P) -> Self {
        Self {
            kind: STATEMENT_TYPE.to_owned(),
            subject,
            predicate_type: predicate_type.to_owned(),
            predicate,
        }
    }
}

impl<P: Serialize> Statement<P> {
    /// The payload of an envelope.
    ///
    /// # Errors
    /// When the predicate has no JSON form.
    pub fn to_payload(&self) -> Result<Vec<u8>, serde_json::Error> {
        serde_json::to_vec(self)
    }
}

impl<P: DeserializeOwned> Statement<P> {
    /// The statement in a verified envelope, if its predicate is of exactly this type. `P` decides on unknown members.
    ///
    /// # Errors
    /// When the envelope holds anything else.
    pub fn of(verified: &Verified, predicate_type: &'static str) -> Result<Self, StatementError> {
        let payload = verified
            .payload(PAYLOAD_TYPE)
            .map_err(|source| StatementError::Type { source })?;
        // The types are read first: the members of a predicate of another kind are nothing to complain of.
        let types: Types =
            strict_json::from_slice(payload).map_err(|source| StatementError::Json { source })?;
        let short = |text: &str| text.chars().take(64).collect();
        if types.kind != STATEMENT_TYPE {
            let said = short(&types.kind);
            return Err(StatementError::Version { said });
        }
        if types.predicate_type != predicate_type {
            return Err(StatementError::Predicate {
                said: short(&types.predicate_type),
                wanted: predicate_type,
            });
        }
        let statement: Self =
            strict_json::from_slice(payload).map_err(|source| StatementError::Json { source })?;
        match statement.subject.len() {
            1..=MAX_SUBJECTS => Ok(statement),
            count => Err(StatementError::Subjects { count }),
        }
    }
}

impl Subject {
    /// An artifact by its SHA-256.
    #[must_use]
    pub fn of_sha256(name: Option<String>, digits: String) -> Self {
        Self {
            name,
            digest: BTreeMap::from([("sha256".to_owned(), digits)]),
        }
    }

    /// Its SHA-256 in hexadecimal, unchecked, when that is the one digest given.
    ///
    /// Two digests of an artifact could be those of two artifacts.
    #[must_use]
    pub fn sha256(&self) -> Option<&str> {
        match self.digest.len() {
            1 => self.digest.get("sha256").map(String::as_str),
            _ => None,
        }
    }
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Types {
    #[serde(rename = "_type")]
    kind: String,
    predicate_type: String,
}

const STATEMENT_TYPE: &str = "https://in-toto.io/Statement/v1";

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;
    use crate::{Envelope, SigningKey};

    #[derive(Debug, PartialEq, Serialize, Deserialize)]
    #[serde(deny_unknown_fields)]
    struct Note {
        text: String,
    }

    fn read(payload_type: &str, payload: &str) -> Result<Statement<Note>, StatementError> {
        let key = SigningKey::generate_ed25519().unwrap();
        let envelope = Envelope::sign(payload_type, payload.as_bytes(), &key).unwrap();
        Statement::of(
            &envelope.verify(&[key.verifying_key()]).unwrap(),
            "urn:note",
        )
    }

    fn good() -> Value {
        json!({
            "_type": "https://in-toto.io/Statement/v1",
            "subject": [{ "name": "a", "digest": { "sha256": "00" } }],
            "predicateType": "urn:note",
            "predicate": { "text": "x" },
        })
    }

    fn with(edit: impl FnOnce(&mut Value)) -> Result<Statement<Note>, StatementError> {
        let mut value = good();
        edit(&mut value);
        read(PAYLOAD_TYPE, &value.to_string())
    }

    #[test]
    fn what_was_stated_comes_back() {
        let subject = Subject::of_sha256(Some("a".to_owned()), "00".to_owned());
        let text = "x".to_owned();
        let statement = Statement::new("urn:note", vec![subject], Note { text });
        let payload = String::from_utf8(statement.to_payload().unwrap()).unwrap();
        assert_eq!(read(PAYLOAD_TYPE, &payload).unwrap(), statement);
        assert_eq!(with(|_| {}).unwrap(), statement);
    }

    #[test]
    fn another_payload_statement_or_predicate_is_refused() {
        assert!(matches!(
            read("application/json", &good().to_string()),
            Err(StatementError::Type { .. })
        ));
        for kind in ["https://in-toto.io/Statement/v0.1", ""] {
            assert!(matches!(
                with(|value| value["_type"] = kind.into()),
                Err(StatementError::Version { .. })
            ));
        }
        assert!(matches!(
            with(|value| value["predicateType"] = "urn:notes".into()),
            Err(StatementError::Predicate { .. })
        ));
    }

    #[test]
    fn unknown_and_doubled_members_are_refused() {
        let edits: [fn(&mut Value); 3] = [
            |value| value["more"] = 1.into(),
            |value| value["predicate"]["more"] = 1.into(),
            |value| value["subject"][0]["uri"] = "u".into(),
        ];
        for edit in edits {
            assert!(matches!(with(edit), Err(StatementError::Json { .. })));
        }
        let doubled = good()
            .to_string()
            .replace(r#""text":"x""#, r#""text":"y","text":"x""#);
        assert!(matches!(
            read(PAYLOAD_TYPE, &doubled),
            Err(StatementError::Json {
                source: JsonError::Duplicate { .. }
            })
        ));
    }

    #[test]
    fn a_statement_speaks_of_1_to_64_artifacts() {
        let subjects = |count: usize| {
            with(|value| value["subject"] = vec![value["subject"][0].clone(); count].into())
        };
        assert!(subjects(64).is_ok());
        for count in [0, 65] {
            assert!(matches!(
                subjects(count),
                Err(StatementError::Subjects { .. })
            ));
        }
    }

    #[test]
    fn a_subject_with_two_digests_has_no_single_one() {
        let mut subject = Subject::of_sha256(None, "00".to_owned());
        assert_eq!(subject.sha256(), Some("00"));
        subject.digest.insert("sha512".to_owned(), "00".to_owned());
        assert_eq!(subject.sha256(), None);
    }

    proptest::proptest! {
        #[test]
        fn no_payload_panics(payload in "\\{?(\"(_type|subject|predicateType|predicate|x)\":(\"https://in-toto.io/Statement/v1\"|\"urn:note\"|1|null|\\[\\{\\}\\]|\\{\\}),?){0,5}\\}?") {
            proptest::prop_assert!(read(PAYLOAD_TYPE, &payload).is_err());
        }
    }
}
