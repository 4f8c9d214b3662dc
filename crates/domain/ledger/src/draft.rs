//! A leaf and its disclosures: in the log stand only version, time and salted hashes; everything else lies beside it
//! (SD-JWT, RFC 9901 section 4.2), so erasing one value breaks no proof.

use base64::{Engine, engine::general_purpose::URL_SAFE_NO_PAD as B64};
use estate::{Digest, Timestamp};
use serde::{Deserialize, Serialize};
use serde_json::Value;

/// Randomness as an argument: the real source is wired in by the binary, a seeded one by the simulation.
pub trait Entropy: Send + Sync {
    /// Fills `bytes` with random bytes.
    fn fill(&self, bytes: &mut [u8]);
}

/// A leaf before its time is known. The journal sets the time, so that time never runs backwards in the log.
#[derive(Debug, Clone)]
pub struct Draft {
    disclosures: Vec<Disclosure>,
}

impl Draft {
    /// A draft of `kind` with nothing else in it.
    pub fn new(kind: &'static str, entropy: &dyn Entropy) -> Self {
        Self {
            disclosures: Vec::new(),
        }
        .with("kind", kind, entropy)
    }

    /// Adds one value under its own 128-bit salt.
    #[must_use]
    pub fn with(
        mut self,
        name: &'static str,
        value: impl Into<Value>,
        entropy: &dyn Entropy,
    ) -> Self {
        let mut salt = [0; 16];
        entropy.fill(&mut salt);
        self.disclosures.push(Disclosure {
            salt: B64.encode(salt),
            name: name.to_owned(),
            value: value.into(),
        });
        self
    }

    /// Adds a value where there is one: what was not measured is absent from the leaf, too.
    #[must_use]
    pub fn with_some<V: Into<Value>>(
        self,
        name: &'static str,
        value: Option<V>,
        entropy: &dyn Entropy,
    ) -> Self {
        match value {
            Some(value) => self.with(name, value, entropy),
            None => self,
        }
    }

    /// The leaf at `time`.
    ///
    /// # Errors
    /// [`LeafError`] when a value has no canonical form.
    pub fn seal(&self, time: Timestamp) -> Result<SealedLeaf, LeafError> {
        let disclosures = self
            .disclosures
            .iter()
            .map(Disclosure::encode)
            .collect::<Result<Vec<_>, _>>()?;
        let mut sd: Vec<String> = disclosures
            .iter()
            .map(|encoded| disclosure_digest(encoded))
            .collect();
        sd.sort();
        let leaf = Leaf {
            v: 1,
            time: time.as_seconds(),
            sd,
        };
        let bytes = serde_json_canonicalizer::to_vec(&leaf).map_err(|_| LeafError::NotCanonical)?;
        Ok(SealedLeaf { bytes, disclosures })
    }

    /// What the draft will disclose, in the order of [`SealedLeaf::disclosures`].
    pub fn values(&self) -> impl Iterator<Item = &Disclosure> {
        self.disclosures.iter()
    }

    /// A value that the draft will disclose.
    pub fn value(&self, name: &str) -> Option<&Value> {
        self.disclosures
            .iter()
            .find(|disclosure| disclosure.name == name)
            .map(|disclosure| &disclosure.value)
    }
}

/// A leaf's bytes as they stand in the log, and the disclosures that are kept beside it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SealedLeaf {
    /// JCS JSON.
    pub bytes: Vec<u8>,
    /// Encoded disclosures, base64url, in the order of the draft.
    pub disclosures: Vec<String>,
}

/// What stands in the log.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Leaf {
    /// Format version, 1.
    pub v: u8,
    /// Seconds since 1970, UTC.
    pub time: i64,
    /// Digests of the disclosures, sorted.
    #[serde(rename = "_sd")]
    pub sd: Vec<String>,
}

impl Leaf {
    /// Reads a leaf's canonical bytes.
    ///
    /// # Errors
    /// See [`LeafError`].
    pub fn parse(bytes: &[u8]) -> Result<Self, LeafError> {
        if bytes.len() > MAX_LEAF {
            return Err(LeafError::Malformed);
        }
        let leaf: Self = jose::strict_json::from_slice(bytes).map_err(|_| LeafError::Malformed)?;
        if leaf.v != 1 {
            return Err(LeafError::Version(leaf.v));
        }
        let canonical =
            serde_json_canonicalizer::to_vec(&leaf).map_err(|_| LeafError::NotCanonical)?;
        if canonical != bytes || !leaf.sd.is_sorted() {
            return Err(LeafError::NotCanonical);
        }
        Ok(leaf)
    }

    /// Opens the given disclosures; each must be one that the leaf commits to, and none may come twice.
    ///
    /// # Errors
    /// [`DisclosureError`]
    pub fn disclose(&self, encoded: &[String]) -> Result<Vec<Disclosure>, DisclosureError> {
        let mut seen = Vec::new();
        encoded
            .iter()
            .map(|text| {
                let digest = disclosure_digest(text);
                if self.sd.binary_search(&digest).is_err() {
                    return Err(DisclosureError::NotCommitted);
                }
                if seen.contains(&digest) {
                    return Err(DisclosureError::Twice);
                }
                seen.push(digest);
                Disclosure::decode(text)
            })
            .collect()
    }
}

/// One value of a leaf, with the salt that hides it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Disclosure {
    salt: String,
    /// The value's name.
    pub name: String,
    /// The value.
    pub value: Value,
}

impl Disclosure {
    fn encode(&self) -> Result<String, LeafError> {
        serde_json_canonicalizer::to_vec(&(&self.salt, &self.name, &self.value))
            .map(|json| B64.encode(json))
            .map_err(|_| LeafError::NotCanonical)
    }

    /// Reads an encoded disclosure, whether or not a leaf commits to it.
    ///
    /// # Errors
    /// [`DisclosureError::Malformed`]
    pub fn decode(text: &str) -> Result<Self, DisclosureError> {
        let json = B64.decode(text).map_err(|_| DisclosureError::Malformed)?;
        let (salt, name, value) =
            jose::strict_json::from_slice(&json).map_err(|_| DisclosureError::Malformed)?;
        Ok(Self { salt, name, value })
    }
}

/// Digest of an encoded disclosure, as it stands in `_sd`.
pub fn disclosure_digest(encoded: &str) -> String {
    B64.encode(Digest::of(encoded.as_bytes()).as_bytes())
}

/// A leaf can't be written or read.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum LeafError {
    /// Fault: whoever kept or sent the leaf.
    #[error("leaf is malformed")]
    Malformed,
    /// Fault: none; a newer log.
    #[error("leaf has version {0}, known is 1")]
    Version(u8),
    /// Fault: whoever kept or sent the leaf.
    #[error("leaf is not in canonical form")]
    NotCanonical,
}

/// A disclosure does not fit its leaf.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum DisclosureError {
    /// Fault: whoever kept or sent the disclosure.
    #[error("disclosure is malformed")]
    Malformed,
    /// Fault: whoever kept or sent the disclosure: it was changed, or belongs to another leaf.
    #[error("the leaf does not commit to this disclosure")]
    NotCommitted,
    /// Fault: whoever sent the disclosure.
    #[error("a disclosure is given twice")]
    Twice,
}

const MAX_LEAF: usize = 64 * 1024;

#[cfg(test)]
mod tests {
    use super::*;

    struct Zero;
    impl Entropy for Zero {
        fn fill(&self, bytes: &mut [u8]) {
            bytes.fill(7);
        }
    }

    fn leaf() -> SealedLeaf {
        Draft::new("read", &Zero)
            .with("node", "n1", &Zero)
            .seal(Timestamp::from_seconds(5))
            .unwrap()
    }

    #[test]
    fn a_leaf_discloses_what_it_commits_to() {
        let sealed = leaf();
        let parsed = Leaf::parse(&sealed.bytes).unwrap();
        let values = parsed.disclose(&sealed.disclosures).unwrap();
        assert_eq!(values[1].value, Value::from("n1"));
        assert_eq!(parsed.time, 5);
    }

    #[test]
    fn a_changed_disclosure_is_not_committed() {
        let sealed = leaf();
        let other = Draft::new("read", &Zero)
            .with("node", "n2", &Zero)
            .seal(Timestamp::from_seconds(5))
            .unwrap();
        let parsed = Leaf::parse(&sealed.bytes).unwrap();
        assert_eq!(
            parsed.disclose(&other.disclosures),
            Err(DisclosureError::NotCommitted)
        );
    }

    #[test]
    fn no_value_stands_in_the_log_itself() {
        let text = String::from_utf8(leaf().bytes).unwrap();
        assert!(!text.contains("n1") && !text.contains("read"), "{text}");
    }

    proptest::proptest! {
        #[test]
        fn hostile_leaves_are_errors(bytes: Vec<u8>, text: String) {
            let _ = Leaf::parse(&bytes);
            let _ = Disclosure::decode(&text);
        }
    }
}
