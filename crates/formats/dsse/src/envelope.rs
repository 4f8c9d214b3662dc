//! The envelope: a payload, its type, and signatures over both.

use std::fmt;

use base64::Engine as _;
use base64::engine::general_purpose::{STANDARD, URL_SAFE};
use jose::strict_json::{self, JsonError};
use serde::{Deserialize, Serialize, Serializer};

use crate::key::{NotSigned, SigningKey, VerifyingKey};

/// Why a text is no envelope.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum EnvelopeError {
    /// Fault: whoever made the envelope.
    #[error("the envelope has more than {} bytes", Envelope::MAX_LEN)]
    TooLong,
    /// Fault: whoever made the envelope.
    #[error("the envelope is not the JSON of an envelope")]
    Json {
        /// What is wrong with it.
        #[source]
        source: JsonError,
    },
    /// Fault: whoever made the envelope; two texts of the same bytes would be two envelopes.
    #[error("`{member}` of the envelope is not canonical base64")]
    Base64 {
        /// Which member.
        member: &'static str,
    },
    /// Fault: whoever made the envelope.
    #[error("the envelope has no signature")]
    Unsigned,
    /// Fault: whoever made the envelope; each signature is tried with each key.
    #[error("the envelope has more than {} signatures", Envelope::MAX_SIGNATURES)]
    TooManySignatures,
}

/// No key of the caller made any of the signatures. Fault: whoever made the envelope, or changed it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("none of the {signatures} signatures is of one of the {keys} keys that count")]
pub struct NotVerified {
    /// How many signatures there are.
    pub signatures: usize,
    /// How many keys they were tried with.
    pub keys: usize,
}

/// The payload is of another type. Fault: whoever made the envelope, or sent it here.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("the payload is of type `{}`, not `{wanted}`", said.escape_debug())]
pub struct WrongType {
    /// What the envelope says, cut to 64 characters.
    pub said: String,
    /// What the caller wants.
    pub wanted: &'static str,
}

/// A signed payload that nobody has checked.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Envelope {
    payload_type: String,
    payload: Vec<u8>,
    signatures: Vec<Signature>,
}

/// One signature of an envelope.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Signature {
    /// An unsigned hint at the key; empty when there is none. Nothing here believes it.
    pub key_id: String,
    /// The signature itself.
    pub bytes: Vec<u8>,
}

/// The payload of an envelope that one of the caller's keys signed.
#[derive(Debug, PartialEq, Eq)]
pub struct Verified {
    payload_type: String,
    payload: Vec<u8>,
    signers: Vec<usize>,
}

impl Envelope {
    /// Longest text that is read.
    pub const MAX_LEN: usize = 256 * 1024;
    /// Most signatures that are read.
    pub const MAX_SIGNATURES: usize = 16;

    /// Signs a payload of this type.
    ///
    /// # Errors
    /// When the cryptographic library does not sign.
    pub fn sign(payload_type: &str, payload: &[u8], key: &SigningKey) -> Result<Self, NotSigned> {
        let signature = Signature {
            key_id: key.verifying_key().key_id(),
            bytes: key.sign(&pae(payload_type, payload))?,
        };
        Ok(Self {
            payload_type: payload_type.to_owned(),
            payload: payload.to_vec(),
            signatures: vec![signature],
        })
    }

    /// Reads the JSON form.
    ///
    /// # Errors
    /// When it is not exactly one envelope.
    pub fn parse(text: &str) -> Result<Self, EnvelopeError> {
        if text.len() > Self::MAX_LEN {
            return Err(EnvelopeError::TooLong);
        }
        let json: Json =
            strict_json::from_str(text).map_err(|source| EnvelopeError::Json { source })?;
        match json.signatures.len() {
            0 => return Err(EnvelopeError::Unsigned),
            count if count > Self::MAX_SIGNATURES => return Err(EnvelopeError::TooManySignatures),
            _ => {}
        }
        let signatures = json.signatures.into_iter().map(|signature| {
            Ok(Signature {
                key_id: signature.keyid.unwrap_or_default(),
                bytes: decode("sig", &signature.sig)?,
            })
        });
        Ok(Self {
            payload: decode("payload", &json.payload)?,
            signatures: signatures.collect::<Result<_, _>>()?,
            payload_type: json.payload_type,
        })
    }

    /// Verifies the envelope with the caller's keys and nothing that the envelope offers. One good signature is enough.
    ///
    /// # Errors
    /// When none of the keys made any of the signatures.
    pub fn verify(&self, keys: &[VerifyingKey]) -> Result<Verified, NotVerified> {
        let message = pae(&self.payload_type, &self.payload);
        let made_one = |key: &VerifyingKey| {
            self.signatures
                .iter()
                .any(|signature| key.verifies(&message, &signature.bytes))
        };
        let signers: Vec<usize> = keys
            .iter()
            .enumerate()
            .filter_map(|(index, key)| made_one(key).then_some(index))
            .collect();
        if signers.is_empty() {
            return Err(NotVerified {
                signatures: self.signatures.len(),
                keys: keys.len(),
            });
        }
        Ok(Verified {
            payload_type: self.payload_type.clone(),
            payload: self.payload.clone(),
            signers,
        })
    }

    /// The signatures, which nobody has checked.
    #[must_use]
    pub fn signatures(&self) -> &[Signature] {
        &self.signatures
    }

    /// Adds the signatures of another envelope of the same payload; `false` when the payload is another.
    pub fn merge(&mut self, other: Self) -> bool {
        let same = (&self.payload_type, &self.payload) == (&other.payload_type, &other.payload);
        if same {
            self.signatures.extend(other.signatures);
        }
        same
    }
}

impl Verified {
    /// The payload, for those who want exactly this type.
    ///
    /// # Errors
    /// When it is of another type.
    pub fn payload(&self, wanted: &'static str) -> Result<&[u8], WrongType> {
        if self.payload_type != wanted {
            let said = self.payload_type.chars().take(64).collect();
            return Err(WrongType { said, wanted });
        }
        Ok(&self.payload)
    }

    /// Which of the caller's keys signed: positions in the list that [`Envelope::verify`] got, never none.
    #[must_use]
    pub fn signers(&self) -> &[usize] {
        &self.signers
    }
}

/// The JSON form, with standard base64: one text for one envelope.
impl fmt::Display for Envelope {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let text = serde_json::to_string(self).map_err(|_| fmt::Error)?;
        f.write_str(&text)
    }
}

impl Serialize for Envelope {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let signatures = self.signatures.iter().map(|signature| JsonSignature {
            keyid: Some(signature.key_id.clone()).filter(|id| !id.is_empty()),
            sig: STANDARD.encode(&signature.bytes),
        });
        Json {
            payload_type: self.payload_type.clone(),
            payload: STANDARD.encode(&self.payload),
            signatures: signatures.collect(),
        }
        .serialize(serializer)
    }
}

/// What is signed: type and payload, each with its length, so that neither can lend bytes to the other.
//= dsse/protocol.md#signature-definition
#[must_use]
pub fn pae(payload_type: &str, payload: &[u8]) -> Vec<u8> {
    let mut text = format!(
        "DSSEv1 {} {payload_type} {} ",
        payload_type.len(),
        payload.len()
    )
    .into_bytes();
    text.extend_from_slice(payload);
    text
}

//= dsse/envelope.md#parsing-rules; members that are not known are ignored, since nobody signed them
#[derive(Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
struct Json {
    payload_type: String,
    payload: String,
    signatures: Vec<JsonSignature>,
}

#[derive(Serialize, Deserialize)]
struct JsonSignature {
    #[serde(default, skip_serializing_if = "Option::is_none")]
    keyid: Option<String>,
    sig: String,
}

/// Both alphabets, since signers may use either; in each, one text for one value.
fn decode(member: &'static str, text: &str) -> Result<Vec<u8>, EnvelopeError> {
    STANDARD
        .decode(text)
        .or_else(|_| URL_SAFE.decode(text))
        .map_err(|_| EnvelopeError::Base64 { member })
}

#[cfg(test)]
mod tests;
