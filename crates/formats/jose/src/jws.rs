//! Signed texts in the compact form (RFC 7515 section 7.1).
//!
//! The key *and* the algorithm come from whoever calls, never from the header: a header can only disagree.

use crate::algorithm::Algorithm;
use crate::base64url;
use crate::key::{SignError, Signer, VerifyingKey};
use crate::strict_json::JsonError;

mod header;

pub use header::Header;

/// Longest compact text that is read.
pub const MAX_COMPACT_LEN: usize = 256 * 1024;

/// Why a signed text was not accepted.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum VerifyError {
    /// Fault: whoever made the text; it is longer than [`MAX_COMPACT_LEN`].
    #[error("signed text has {len} bytes, more than {MAX_COMPACT_LEN}")]
    TooLong {
        /// Its length.
        len: usize,
    },
    /// Fault: whoever made the text; not three parts, or a part is not canonical base64url.
    #[error("{part} of the signed text is malformed")]
    Malformed {
        /// Which part.
        part: &'static str,
    },
    /// Fault: whoever made the text; the header is not JSON of the right shape, or has a member twice.
    #[error("header of the signed text is not acceptable")]
    Header {
        /// What is wrong with it. A header is public.
        #[source]
        source: JsonError,
    },
    /// Fault: whoever made the text; it demands extensions, and none is understood here.
    #[error("header demands extensions through `crit`")]
    Critical,
    /// Fault: whoever made the text; `alg` is none of the known ones.
    #[error("algorithm `{name}` is not accepted")]
    UnknownAlgorithm {
        /// The name, cut to 64 characters.
        name: String,
    },
    /// Fault: whoever made the text; `alg` is not the key's.
    #[error("header says algorithm `{said}`, the key is for `{expected}`")]
    WrongAlgorithm {
        /// What the header says.
        said: Algorithm,
        /// What the caller's key is for.
        expected: Algorithm,
    },
    /// Fault: whoever made the text, or who sent it here; it is a text of another type.
    #[error("header says type `{said}`, which is not the expected one")]
    WrongType {
        /// What the header says, cut to 64 characters; empty when it says nothing.
        said: String,
    },
    /// Fault: whoever made the text; it was changed, or signed by another key.
    #[error("signature does not verify")]
    BadSignature,
}

/// What a signed text must be, beside signed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Expected<'a> {
    /// The header's `typ`.
    pub typ: ExpectedTyp<'a>,
}

/// What the header's `typ` must be. Compared byte by byte.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ExpectedTyp<'a> {
    /// Present and equal.
    Exactly(&'a str),
    /// Absent, or one of these.
    AbsentOr(&'a [&'a str]),
}

impl<'a> Expected<'a> {
    /// A text of exactly this type.
    pub const fn typ(typ: &'a str) -> Self {
        Self {
            typ: ExpectedTyp::Exactly(typ),
        }
    }

    /// A text that says no type, or one of these.
    pub const fn typ_absent_or(typs: &'a [&'a str]) -> Self {
        Self {
            typ: ExpectedTyp::AbsentOr(typs),
        }
    }

    fn accepts(&self, typ: Option<&str>) -> bool {
        match (self.typ, typ) {
            (ExpectedTyp::Exactly(wanted), Some(said)) => wanted == said,
            (ExpectedTyp::Exactly(_), None) => false,
            (ExpectedTyp::AbsentOr(wanted), Some(said)) => wanted.contains(&said),
            (ExpectedTyp::AbsentOr(_), None) => true,
        }
    }
}

/// What a verified text held.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Verified {
    header: Header,
    payload: Vec<u8>,
}

impl Verified {
    /// The header, which the signature covers.
    pub fn header(&self) -> &Header {
        &self.header
    }

    /// The payload, which the signature covers.
    pub fn payload(&self) -> &[u8] {
        &self.payload
    }

    /// The payload, owned.
    pub fn into_payload(self) -> Vec<u8> {
        self.payload
    }
}

/// Signs a payload. The header's algorithm must be the signer's.
pub fn sign_compact(
    header: &Header,
    payload: &[u8],
    signer: &dyn Signer,
) -> Result<String, SignError> {
    if header.alg() != signer.algorithm() {
        return Err(SignError::WrongAlgorithm {
            said: header.alg(),
            signer: signer.algorithm(),
        });
    }
    let mut text = format!(
        "{}.{}",
        base64url::encode(header.to_json()),
        base64url::encode(payload)
    );
    let signature = signer.sign(text.as_bytes())?;
    text.push('.');
    text.push_str(&base64url::encode(signature));
    Ok(text)
}

/// Verifies a compact text with the caller's key and nothing that the header offers.
pub fn verify_compact(
    token: &str,
    key: &VerifyingKey,
    expected: &Expected<'_>,
) -> Result<Verified, VerifyError> {
    let parts = Parts::split(token)?;
    let header = Header::parse(parts.header)?;
    if header.alg() != key.algorithm() {
        return Err(VerifyError::WrongAlgorithm {
            said: header.alg(),
            expected: key.algorithm(),
        });
    }
    if !expected.accepts(header.typ()) {
        return Err(VerifyError::WrongType {
            said: header.typ().unwrap_or_default().chars().take(64).collect(),
        });
    }
    let payload = decode("payload", parts.payload)?;
    let signature = decode("signature", parts.signature)?;
    if !key.verifies(parts.signed.as_bytes(), &signature) {
        return Err(VerifyError::BadSignature);
    }
    Ok(Verified { header, payload })
}

/// The header, which nobody has vouched for: good for finding the key by `kid`, for nothing else.
pub fn decode_unverified_header(token: &str) -> Result<Header, VerifyError> {
    Header::parse(Parts::split(token)?.header)
}

struct Parts<'a> {
    header: &'a str,
    payload: &'a str,
    signature: &'a str,
    signed: &'a str,
}

impl<'a> Parts<'a> {
    fn split(token: &'a str) -> Result<Self, VerifyError> {
        if token.len() > MAX_COMPACT_LEN {
            return Err(VerifyError::TooLong { len: token.len() });
        }
        let malformed = VerifyError::Malformed { part: "structure" };
        let Some((signed, signature)) = token.rsplit_once('.') else {
            return Err(malformed);
        };
        match signed.split_once('.') {
            Some((header, payload)) if !payload.contains('.') => Ok(Self {
                header,
                payload,
                signature,
                signed,
            }),
            _ => Err(malformed),
        }
    }
}

fn decode(part: &'static str, text: &str) -> Result<Vec<u8>, VerifyError> {
    base64url::decode(text).ok_or(VerifyError::Malformed { part })
}

#[cfg(test)]
mod tests;
