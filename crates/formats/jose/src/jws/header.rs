//! The protected header of a signed text (RFC 7515 section 4).

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::{VerifyError, decode};
use crate::algorithm::Algorithm;
use crate::strict_json;

/// A header: algorithm, key id, type. Other members are ignored, as the RFC demands, but named in [`Header::others`].
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Header {
    alg: Algorithm,
    kid: Option<String>,
    typ: Option<String>,
    others: Vec<String>,
}

#[derive(Serialize, Deserialize)]
struct HeaderJson {
    alg: String,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    kid: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    typ: Option<String>,
    #[serde(flatten)]
    others: BTreeMap<String, Value>,
}

impl Header {
    /// A header that says nothing but the algorithm.
    pub fn new(alg: Algorithm) -> Self {
        Self {
            alg,
            kid: None,
            typ: None,
            others: Vec::new(),
        }
    }

    /// The same header with a key id.
    pub fn with_kid(self, kid: impl Into<String>) -> Self {
        Self {
            kid: Some(kid.into()),
            ..self
        }
    }

    /// The same header with a type.
    pub fn with_typ(self, typ: impl Into<String>) -> Self {
        Self {
            typ: Some(typ.into()),
            ..self
        }
    }

    /// The algorithm.
    pub fn alg(&self) -> Algorithm {
        self.alg
    }

    /// The key id.
    pub fn kid(&self) -> Option<&str> {
        self.kid.as_deref()
    }

    /// The type.
    pub fn typ(&self) -> Option<&str> {
        self.typ.as_deref()
    }

    /// Names of members that were read and ignored. Profiles that allow none look here.
    pub fn others(&self) -> &[String] {
        &self.others
    }

    pub(super) fn parse(text: &str) -> Result<Self, VerifyError> {
        let json = decode("header", text)?;
        let HeaderJson {
            alg,
            kid,
            typ,
            others,
        } = strict_json::from_slice(&json).map_err(|source| VerifyError::Header { source })?;
        if others.contains_key("crit") {
            return Err(VerifyError::Critical);
        }
        let unknown = |_| VerifyError::UnknownAlgorithm {
            name: alg.chars().take(64).collect(),
        };
        let known = alg.parse().map_err(unknown)?;
        Ok(Self {
            alg: known,
            kid,
            typ,
            others: others.into_keys().collect(),
        })
    }

    pub(super) fn to_json(&self) -> String {
        let mut members = vec![format!(r#""alg":"{}""#, self.alg)];
        for (name, value) in [("kid", &self.kid), ("typ", &self.typ)] {
            members.extend(
                value
                    .as_ref()
                    .map(|value| format!(r#""{name}":{}"#, Value::from(value.as_str()))),
            );
        }
        format!("{{{}}}", members.join(","))
    }
}
