//! Our own packets: HPKE in base mode, in the extension slot that ocicrypt leaves to key providers.
//!
//! The suite comes from the key's record, never from the packet; a packet can only agree. Whatever is not understood
//! is a refusal, and a packet for others is left alone: nothing is ever tried.

use std::fmt;
use std::str::FromStr;

use hpke_xwing::{PrivateKey, PublicKey, Suite, open, seal};
use jose::strict_json;
use serde::{Deserialize, Serialize};

use super::{KeyPacket, Opening, PacketError, PacketOpener, PacketWrapper, WrapError};
use crate::base64;
use crate::digest::lower_hex;
use crate::options::PrivateOptions;

/// SHA-256 of a serialised public key.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct KeyId([u8; 32]);

impl KeyId {
    /// The id of a key.
    pub fn of(key: &PublicKey) -> Self {
        Self(key.id())
    }

    /// The hash itself.
    pub const fn as_bytes(&self) -> &[u8; 32] {
        &self.0
    }
}

/// 64 lower-case hexadecimal digits.
impl fmt::Display for KeyId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&hex::encode(self.0))
    }
}

impl FromStr for KeyId {
    type Err = PacketError;

    fn from_str(text: &str) -> Result<Self, PacketError> {
        lower_hex(text)
            .map(Self)
            .ok_or(PacketError::Malformed { part: "key" })
    }
}

/// What is on record about a private key: the only packets that it opens say the same.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct KeyRecord {
    /// The authority that holds the key: `spiffe://` and a trust domain.
    pub authority: String,
    /// The key's id.
    pub key_id: KeyId,
    /// The key's suite.
    pub suite: Suite,
    /// The image that the key is for.
    pub resource: String,
}

/// One of our packets, whoever it is for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct BailiwickPacket {
    context: Context,
    enc: Vec<u8>,
    ct: Vec<u8>,
}

/// What the packet says in clear and HPKE authenticates.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Context {
    authority: String,
    key: KeyId,
    resource: String,
    suite: String,
}

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct PacketJson {
    v: u32,
    authority: String,
    key: String,
    resource: String,
    suite: String,
    enc: String,
    ct: String,
}

#[derive(Serialize)]
struct ContextJson<'a> {
    v: u32,
    authority: &'a str,
    key: String,
    resource: &'a str,
    suite: &'a str,
}

impl BailiwickPacket {
    /// Reads a packet. A suite that is not known here is no error yet: the packet may be for others.
    pub fn parse(text: &[u8]) -> Result<Self, PacketError> {
        let PacketJson {
            v,
            authority,
            key,
            resource,
            suite,
            enc,
            ct,
        } = strict_json::from_slice(text)
            .map_err(|_| PacketError::Malformed { part: "structure" })?;
        if v != 1 {
            return Err(PacketError::Malformed { part: "v" });
        }
        for (part, name) in [
            ("authority", &authority),
            ("resource", &resource),
            ("suite", &suite),
        ] {
            if !is_name(name) {
                return Err(PacketError::Malformed { part });
            }
        }
        let bytes = |part, text: &str| base64::decode(text).ok_or(PacketError::Malformed { part });
        let (enc, ct) = (bytes("enc", &enc)?, bytes("ct", &ct)?);
        Ok(Self {
            context: Context {
                authority,
                key: key.parse()?,
                resource,
                suite,
            },
            enc,
            ct,
        })
    }

    /// Seals private options to a key.
    pub fn seal(
        options: &PrivateOptions,
        authority: &str,
        resource: &str,
        key: &PublicKey,
    ) -> Result<Self, WrapError> {
        for (member, name) in [("authority", authority), ("resource", resource)] {
            if !is_name(name) {
                return Err(WrapError::Name { member });
            }
        }
        let context = Context {
            authority: authority.to_owned(),
            key: KeyId::of(key),
            resource: resource.to_owned(),
            suite: key.suite().name().to_owned(),
        };
        let sealed = seal(key, &context.info(), &context.aad(), options.expose_bytes())
            .map_err(|source| WrapError::Hpke { source })?;
        Ok(Self {
            context,
            enc: sealed.enc,
            ct: sealed.ct,
        })
    }

    /// Opens the packet with the private key of a record. A packet that differs from the record in authority, key or
    /// suite is not ours; one that names another image is refused.
    pub fn open_with(&self, record: &KeyRecord, key: &PrivateKey) -> Opening {
        let Context {
            authority,
            key: key_id,
            resource,
            suite,
        } = &self.context;
        if *authority != record.authority
            || *key_id != record.key_id
            || suite != record.suite.name()
        {
            return Opening::NotOurs;
        }
        if *resource != record.resource {
            let found = resource.chars().take(128).collect();
            return Opening::Failed(PacketError::Resource {
                expected: record.resource.clone(),
                found,
            });
        }
        if KeyId::of(key.public_key()) != record.key_id || key.public_key().suite() != record.suite
        {
            return Opening::Failed(PacketError::Record);
        }
        match open(key, &self.enc, &self.info(), &self.aad(), &self.ct) {
            Ok(plaintext) => Opening::of_plaintext(&plaintext),
            Err(source) => Opening::Failed(PacketError::Hpke { source }),
        }
    }

    /// The packet's JSON.
    pub fn to_bytes(&self) -> Vec<u8> {
        let Self { context, enc, ct } = self;
        let json = PacketJson {
            v: 1,
            authority: context.authority.clone(),
            key: context.key.to_string(),
            resource: context.resource.clone(),
            suite: context.suite.clone(),
            enc: base64::encode(enc),
            ct: base64::encode(ct),
        };
        // Serializing a struct of strings cannot fail; an empty packet would be refused by every reader.
        serde_json::to_vec(&json).unwrap_or_default()
    }

    /// Who holds the key.
    pub fn authority(&self) -> &str {
        &self.context.authority
    }

    /// Which key.
    pub fn key_id(&self) -> KeyId {
        self.context.key
    }

    /// The image that the packet is for.
    pub fn resource(&self) -> &str {
        &self.context.resource
    }

    /// The suite's name; it may be one that is not known here.
    pub fn suite(&self) -> &str {
        &self.context.suite
    }

    /// HPKE's additional data: the canonical JSON of the packet without `enc` and `ct`.
    pub fn aad(&self) -> Vec<u8> {
        self.context.aad()
    }

    /// HPKE's info: what this key is used for, by whom and how.
    pub fn info(&self) -> Vec<u8> {
        self.context.info()
    }

    /// HPKE's encapsulated key.
    pub fn enc(&self) -> &[u8] {
        &self.enc
    }

    /// HPKE's ciphertext.
    pub fn ct(&self) -> &[u8] {
        &self.ct
    }
}

impl Context {
    fn aad(&self) -> Vec<u8> {
        let Self {
            authority,
            key,
            resource,
            suite,
        } = self;
        let json = ContextJson {
            v: 1,
            authority,
            key: key.to_string(),
            resource,
            suite,
        };
        // A struct of strings always serializes; were it not so, what was sealed under nothing would open under nothing.
        serde_json_canonicalizer::to_vec(&json).unwrap_or_default()
    }

    fn info(&self) -> Vec<u8> {
        [
            b"bailiwick/image-key/v1\0",
            self.authority.as_bytes(),
            b"\0",
            self.suite.as_bytes(),
        ]
        .concat()
    }
}

/// Names have no control characters: a NUL would make two contexts of one info.
fn is_name(name: &str) -> bool {
    !name.is_empty() && name.len() <= 512 && !name.chars().any(char::is_control)
}

/// Opens packets with one key of ours.
pub struct BailiwickOpener {
    record: KeyRecord,
    key: PrivateKey,
}

impl BailiwickOpener {
    /// An opener with this key.
    pub fn new(record: KeyRecord, key: PrivateKey) -> Self {
        Self { record, key }
    }
}

impl PacketOpener for BailiwickOpener {
    fn open(&self, packet: &KeyPacket) -> Opening {
        match packet {
            KeyPacket::Bailiwick(packet) => packet.open_with(&self.record, &self.key),
            KeyPacket::Jwe(_)
            | KeyPacket::Pgp(_)
            | KeyPacket::Pkcs7(_)
            | KeyPacket::Pkcs11(_)
            | KeyPacket::Foreign(_) => Opening::NotOurs,
        }
    }
}

/// Wraps for one key of an authority.
#[derive(Debug, Clone)]
pub struct BailiwickWrapper {
    /// The authority that holds the key: `spiffe://` and a trust domain.
    pub authority: String,
    /// The image.
    pub resource: String,
    /// The key.
    pub key: PublicKey,
}

impl PacketWrapper for BailiwickWrapper {
    fn wrap(&self, options: &PrivateOptions) -> Result<KeyPacket, WrapError> {
        BailiwickPacket::seal(options, &self.authority, &self.resource, &self.key)
            .map(KeyPacket::Bailiwick)
    }
}

#[cfg(test)]
mod tests;
