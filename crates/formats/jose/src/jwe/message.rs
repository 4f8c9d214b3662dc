//! The three shapes of an encrypted text, as one value (RFC 7516 section 7).

use std::collections::BTreeMap;

use serde::Deserialize;
use serde_json::Value;
use zeroize::Zeroizing;

use super::content::Sealed;
use super::recipient::Recipient;
use super::{ContentEncryption, DecryptError, KeyManagement, MAX_LEN, MAX_RECIPIENTS};
use crate::base64url;
use crate::jwk::Jwk;
use crate::strict_json;

/// An encrypted text, taken apart; nothing is verified yet.
pub(super) struct Message {
    enc: ContentEncryption,
    recipients: Vec<Recipient>,
    iv: Vec<u8>,
    aad: String,
    ciphertext: Vec<u8>,
    tag: Vec<u8>,
}

/// The text before its parts are decoded. Unknown members are ignored, as the RFC demands.
#[derive(Default, Deserialize)]
#[serde(default)]
struct Raw {
    protected: String,
    unprotected: Header,
    header: Header,
    encrypted_key: Option<String>,
    recipients: Option<Vec<RawRecipient>>,
    iv: String,
    ciphertext: String,
    tag: String,
    aad: Option<String>,
}

#[derive(Default, Deserialize)]
#[serde(default)]
struct RawRecipient {
    header: Header,
    encrypted_key: Option<String>,
}

type Header = BTreeMap<String, Value>;

impl Message {
    pub(super) fn parse(text: &[u8]) -> Result<Self, DecryptError> {
        if text.len() > MAX_LEN {
            return Err(DecryptError::TooLarge);
        }
        // Go passes over line ends, with which people's editors close files.
        let text = text.trim_ascii();
        let raw = match text.first() {
            Some(b'{') => {
                strict_json::from_slice(text).map_err(|source| DecryptError::Json { source })?
            }
            _ => compact(text)?,
        };
        Self::from_raw(raw)
    }

    pub(super) fn content_encryption(&self) -> ContentEncryption {
        self.enc
    }

    pub(super) fn recipients(&self) -> &[Recipient] {
        &self.recipients
    }

    pub(super) fn open(&self, cek: &[u8]) -> Option<Zeroizing<Vec<u8>>> {
        let Self {
            enc,
            recipients: _,
            iv,
            aad,
            ciphertext,
            tag,
        } = self;
        enc.open(
            cek,
            Sealed {
                iv,
                aad: aad.as_bytes(),
                ciphertext,
                tag,
            },
        )
    }

    fn from_raw(raw: Raw) -> Result<Self, DecryptError> {
        let Raw {
            protected,
            unprotected,
            header,
            encrypted_key,
            recipients,
            iv,
            ciphertext,
            tag,
            aad,
        } = raw;
        let shared = merge(decode_header(&protected)?, unprotected)?;
        let recipients = raw_recipients(header, encrypted_key, recipients)?;
        let mut enc = None;
        let mut decoded = Vec::with_capacity(recipients.len());
        for recipient in recipients {
            let header = merge(shared.clone(), recipient.header)?;
            // Every recipient meets the same content, so all must name the same way (section 7.2.1).
            let said = content_encryption(&header)?;
            if enc.replace(said).is_some_and(|other| other != said) {
                return Err(DecryptError::Malformed { part: "enc" });
            }
            decoded.push(decode_recipient(
                &header,
                recipient.encrypted_key.as_deref(),
            )?);
        }
        let enc = enc.ok_or(DecryptError::Malformed { part: "recipients" })?;
        let aad = match aad {
            None => protected,
            Some(more) => {
                decode("aad", &more)?;
                format!("{protected}.{more}")
            }
        };
        let (iv, tag) = (decode("iv", &iv)?, decode("tag", &tag)?);
        for (part, len, expected) in [
            ("iv", iv.len(), enc.iv_len()),
            ("tag", tag.len(), enc.tag_len()),
        ] {
            if len != expected {
                return Err(DecryptError::Malformed { part });
            }
        }
        Ok(Self {
            enc,
            recipients: decoded,
            iv,
            aad,
            ciphertext: decode("ciphertext", &ciphertext)?,
            tag,
        })
    }
}

/// Flattened and general shape as one list. A general text may repeat its first `encrypted_key` at the top, as Go
/// writes it; anything else at the top would leave two readings, and is refused.
fn raw_recipients(
    header: Header,
    encrypted_key: Option<String>,
    recipients: Option<Vec<RawRecipient>>,
) -> Result<Vec<RawRecipient>, DecryptError> {
    let Some(recipients) = recipients else {
        return Ok(vec![RawRecipient {
            header,
            encrypted_key,
        }]);
    };
    if recipients.len() > MAX_RECIPIENTS {
        return Err(DecryptError::TooLarge);
    }
    let repeats = recipients
        .first()
        .is_some_and(|first| first.encrypted_key == encrypted_key);
    if !header.is_empty() || (encrypted_key.is_some() && !repeats) {
        return Err(DecryptError::Malformed { part: "recipients" });
    }
    Ok(recipients)
}

fn compact(text: &[u8]) -> Result<Raw, DecryptError> {
    let malformed = DecryptError::Malformed { part: "structure" };
    let Ok(text) = std::str::from_utf8(text) else {
        return Err(malformed);
    };
    let mut parts = text.split('.').map(str::to_owned);
    let mut next = || parts.next();
    match (next(), next(), next(), next(), next(), next()) {
        (Some(protected), encrypted_key, Some(iv), Some(ciphertext), Some(tag), None) => Ok(Raw {
            protected,
            encrypted_key,
            iv,
            ciphertext,
            tag,
            ..Raw::default()
        }),
        _ => Err(malformed),
    }
}

fn decode_header(protected: &str) -> Result<Header, DecryptError> {
    if protected.is_empty() {
        return Ok(Header::new());
    }
    let json = decode("protected", protected)?;
    let header: Header =
        strict_json::from_slice(&json).map_err(|source| DecryptError::Json { source })?;
    for member in ["crit", "zip"] {
        if header.contains_key(member) {
            return Err(DecryptError::Unsupported { member });
        }
    }
    Ok(header)
}

/// The members of all headers must be disjoint (section 7.2.1): otherwise it would matter who reads which.
fn merge(mut one: Header, other: Header) -> Result<Header, DecryptError> {
    for (name, value) in other {
        if name == "crit" || name == "zip" || one.insert(name, value).is_some() {
            return Err(DecryptError::Malformed { part: "header" });
        }
    }
    Ok(one)
}

fn content_encryption(header: &Header) -> Result<ContentEncryption, DecryptError> {
    let name = text(header, "enc")?.ok_or(DecryptError::Malformed { part: "enc" })?;
    ContentEncryption::from_name(name).ok_or(DecryptError::Unsupported { member: "enc" })
}

fn decode_recipient(
    header: &Header,
    encrypted_key: Option<&str>,
) -> Result<Recipient, DecryptError> {
    let alg = text(header, "alg")?.ok_or(DecryptError::Malformed { part: "alg" })?;
    let Some(management) = KeyManagement::from_name(alg) else {
        return Ok(Recipient::default());
    };
    let info = |member| text(header, member)?.map_or(Ok(Vec::new()), |info| decode(member, info));
    Ok(Recipient {
        management: Some(management),
        kid: text(header, "kid")?.map(str::to_owned),
        epk: management
            .wrap_len()
            .map(|_| ephemeral_key(header))
            .transpose()?,
        apu: info("apu")?,
        apv: info("apv")?,
        encrypted_key: decode("encrypted_key", encrypted_key.unwrap_or_default())?,
    })
}

fn ephemeral_key(header: &Header) -> Result<Jwk, DecryptError> {
    let key = header
        .get("epk")
        .cloned()
        .and_then(|key| serde_json::from_value(key).ok());
    key.ok_or(DecryptError::Malformed { part: "epk" })
}

fn text<'a>(header: &'a Header, member: &'static str) -> Result<Option<&'a str>, DecryptError> {
    match header.get(member) {
        None => Ok(None),
        Some(Value::String(text)) => Ok(Some(text)),
        Some(_) => Err(DecryptError::Malformed { part: member }),
    }
}

fn decode(part: &'static str, text: &str) -> Result<Vec<u8>, DecryptError> {
    base64url::decode(text).ok_or(DecryptError::Malformed { part })
}
