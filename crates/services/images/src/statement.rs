//! Image statements: what its maker says of an image, signed over what encryption and recipients never change.
//!
//! The subject is the digest of the configuration, which is the image's identity whether its layers are encrypted or
//! not. A statement is no proof of what a layer holds while it is encrypted; the diff ids in it are, once it is opened.

use std::collections::BTreeMap;

use dsse::{Envelope, NotSigned, SigningKey, Statement, Subject, Verified};
use estate::{Digest, Timestamp};
use serde::{Deserialize, Serialize};

/// `artifactType` of a document that holds a statement.
pub(crate) const ARTIFACT_TYPE: &str = "application/vnd.bailiwick.image-statement.v1";
/// Media type of its layer.
pub(crate) const ENVELOPE_TYPE: &str = "application/vnd.dsse.envelope.v1+json";

/// Why a signed payload is no image statement, or none can be made.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum StatementError {
    /// Fault: whoever signed, or sent it here.
    #[error("the payload is no image statement")]
    Statement {
        /// What is wrong with it.
        #[source]
        source: dsse::StatementError,
    },
    /// Fault: whoever signed.
    #[error("the statement does not name exactly one configuration by its SHA-256")]
    Subject,
    /// Fault: whoever signed.
    #[error(
        "the version {version} is not in the range from 1 to {}",
        ImageStatement::LATEST
    )]
    Version {
        /// What it says.
        version: u64,
    },
    /// Fault: whoever signed; it holds at no time.
    #[error("the statement ends at {expires}, before it begins at {not_before}")]
    NeverHolds {
        /// When it begins.
        not_before: Timestamp,
        /// When it ends.
        expires: Timestamp,
    },
    /// Fault: whoever signed, or the caller.
    #[error("the statement lists {count} layers")]
    Layers {
        /// How many.
        count: usize,
    },
    /// Fault: this machine.
    #[error("the statement was not signed")]
    NotSigned {
        /// What did not work.
        #[source]
        source: NotSigned,
    },
}

/// What is said of one image.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ImageStatement {
    /// Where it was first published, for people.
    pub name: Option<String>,
    /// The digest of its configuration.
    pub config: Digest,
    /// What its layers unpack to, from the bottom up.
    pub diff_ids: Vec<Digest>,
    /// Rises with each statement for the application; milliseconds since 1970 will do. Floors are set against it.
    pub version: u64,
    /// It counts for nothing before.
    pub not_before: Timestamp,
    /// It counts for nothing from then on.
    pub expires: Option<Timestamp>,
}

impl ImageStatement {
    /// The highest version: what every reader of JSON keeps exactly.
    pub const LATEST: u64 = (1 << 53) - 1;
    /// Most layers.
    const MOST_LAYERS: usize = 1024;

    /// Signs it.
    ///
    /// # Errors
    /// When it would be refused by whoever reads it, or the cryptographic library does not sign.
    pub fn sign(&self, key: &SigningKey) -> Result<Envelope, StatementError> {
        self.check()?;
        let Self {
            name,
            config,
            diff_ids,
            version,
            not_before,
            expires,
        } = self.clone();
        let subject = Subject::of_sha256(name, config.to_hex());
        let predicate = Predicate {
            version,
            not_before,
            expires,
            diff_ids,
        };
        let statement = Statement::new(PREDICATE_TYPE, vec![subject], predicate);
        let not_signed = |source| StatementError::NotSigned { source };
        let payload = statement.to_payload().map_err(|_| not_signed(NotSigned))?;
        Envelope::sign(dsse::PAYLOAD_TYPE, &payload, key).map_err(not_signed)
    }

    /// The statement in an envelope whose signature was verified.
    ///
    /// # Errors
    /// When it holds anything else, or contradicts itself.
    pub fn of(verified: &Verified) -> Result<Self, StatementError> {
        let statement: Statement<Predicate> = Statement::of(verified, PREDICATE_TYPE)
            .map_err(|source| StatementError::Statement { source })?;
        let [Subject { name, .. }] = statement.subject.as_slice() else {
            return Err(StatementError::Subject);
        };
        let config = statement.subject.first().and_then(Subject::sha256);
        let config = config.and_then(|digits| Digest::from_hex(digits).ok());
        let Predicate {
            version,
            not_before,
            expires,
            diff_ids,
        } = statement.predicate;
        let statement = Self {
            name: name.clone(),
            config: config.ok_or(StatementError::Subject)?,
            diff_ids,
            version,
            not_before,
            expires,
        };
        statement.check()?;
        Ok(statement)
    }

    fn check(&self) -> Result<(), StatementError> {
        let version = self.version;
        if !(1..=Self::LATEST).contains(&version) {
            return Err(StatementError::Version { version });
        }
        if self.diff_ids.len() > Self::MOST_LAYERS {
            let count = self.diff_ids.len();
            return Err(StatementError::Layers { count });
        }
        match self.expires {
            Some(expires) if expires <= self.not_before => Err(StatementError::NeverHolds {
                not_before: self.not_before,
                expires,
            }),
            Some(_) | None => Ok(()),
        }
    }
}

/// What is stated. Members that are not known here are refused: they could be conditions.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
struct Predicate {
    version: u64,
    not_before: Timestamp,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    expires: Option<Timestamp>,
    diff_ids: Vec<Digest>,
}

/// Groups what several statements say of one version, so that two that disagree are seen.
pub(crate) fn contradicting(statements: &[(usize, ImageStatement)]) -> Vec<(usize, u64)> {
    let mut said: BTreeMap<(usize, u64), &ImageStatement> = BTreeMap::new();
    let mut contradicting = Vec::new();
    for (key, statement) in statements {
        let place = (*key, statement.version);
        match said.get(&place) {
            Some(other) if !other.says_the_same(statement) => contradicting.push(place),
            Some(_) => {}
            None => {
                said.insert(place, statement);
            }
        }
    }
    contradicting
}

impl ImageStatement {
    /// Whether both say the same; where the image was published is no part of it.
    fn says_the_same(&self, other: &Self) -> bool {
        let name = None;
        let nameless = |statement: &Self| Self {
            name: name.clone(),
            ..statement.clone()
        };
        nameless(self) == nameless(other)
    }
}

const PREDICATE_TYPE: &str = "urn:bailiwick:image:v1";

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;

    fn good() -> Value {
        json!({
            "_type": "https://in-toto.io/Statement/v1",
            "subject": [{ "name": "oci:app", "digest": { "sha256": Digest::of("config").to_hex() } }],
            "predicateType": "urn:bailiwick:image:v1",
            "predicate": { "version": 7, "notBefore": "2026-01-01T00:00:00.000Z", "diffIds": [Digest::of("layer")] },
        })
    }

    fn read(payload_type: &str, payload: &str) -> Result<ImageStatement, StatementError> {
        let key = SigningKey::generate_ed25519().unwrap();
        let envelope = Envelope::sign(payload_type, payload.as_bytes(), &key).unwrap();
        ImageStatement::of(&envelope.verify(&[key.verifying_key()]).unwrap())
    }

    fn with(edit: impl FnOnce(&mut Value)) -> Result<ImageStatement, StatementError> {
        let mut value = good();
        edit(&mut value);
        read(dsse::PAYLOAD_TYPE, &value.to_string())
    }

    #[test]
    fn what_was_signed_comes_back() {
        let statement = with(|_| {}).unwrap();
        let key = SigningKey::generate_p256().unwrap();
        let envelope = statement.sign(&key).unwrap();
        let verified = envelope.verify(&[key.verifying_key()]).unwrap();
        assert_eq!(ImageStatement::of(&verified).unwrap(), statement);
    }

    #[test]
    fn statements_that_can_not_hold_are_refused_and_never_signed() {
        let edits: [fn(&mut Value); 8] = [
            |value| value["predicate"]["version"] = 0.into(),
            |value| value["predicate"]["version"] = (1_u64 << 53).into(),
            |value| value["predicate"]["expires"] = "2026-01-01T00:00:00.000Z".into(),
            |value| value["predicate"]["expires"] = "never".into(),
            |value| value["predicate"]["Version"] = 8.into(),
            |value| value["subject"][0]["digest"] = json!({"sha512": "00"}),
            |value| value["subject"] = json!([value["subject"][0], value["subject"][0]]),
            |value| value["predicate"]["diffIds"] = json!(vec![Digest::of("x"); 1025]),
        ];
        for (number, edit) in edits.into_iter().enumerate() {
            assert!(with(edit).is_err(), "edit {number}");
        }
        let mut statement = with(|_| {}).unwrap();
        statement.expires = Some(statement.not_before);
        let key = SigningKey::generate_p256().unwrap();
        assert!(matches!(
            statement.sign(&key),
            Err(StatementError::NeverHolds { .. })
        ));
    }

    #[test]
    fn another_type_of_payload_or_predicate_is_refused() {
        assert!(read("application/json", &good().to_string()).is_err());
        assert!(
            with(|value| value["predicateType"] = "urn:bailiwick:promotion:v1".into()).is_err()
        );
        let doubled = good()
            .to_string()
            .replace(r#""version":7"#, r#""version":9,"version":7"#);
        assert!(read(dsse::PAYLOAD_TYPE, &doubled).is_err());
    }

    #[test]
    fn two_of_one_version_that_disagree_contradict() {
        let one = with(|_| {}).unwrap();
        let later = ImageStatement {
            version: 8,
            ..one.clone()
        };
        let moved = ImageStatement {
            name: None,
            ..one.clone()
        };
        let other = ImageStatement {
            not_before: Timestamp::UNIX_EPOCH,
            ..one.clone()
        };
        let all = [(0, one.clone()), (0, later), (0, moved), (1, other.clone())];
        assert!(contradicting(&all).is_empty());
        assert_eq!(contradicting(&[(0, one), (0, other)]), [(0, 7)]);
    }

    proptest::proptest! {
        #[test]
        fn no_predicate_panics(predicate in r#"\{("(version|notBefore|expires|diffIds|x)":("[0-9TZ:.-]{0,30}"|-?[0-9]{1,22}|null|\[\]|\["sha256:[0-9a-f]{0,64}"\]),?){0,5}\}?"#) {
            let text = good().to_string();
            let from = text.find(r#""predicate":"#).unwrap();
            let to = from + text[from..].find('}').unwrap() + 1;
            let text = format!(r#"{}"predicate":{predicate}{}"#, &text[..from], &text[to..]);
            let _ = read(dsse::PAYLOAD_TYPE, &text);
        }
    }
}
