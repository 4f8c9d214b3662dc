//! Packets of Confidential Containers: the options under AES-256-GCM and a key that a key broker hands to attested
//! guests, or that lies in a file here.
//!
//! They have the name of some key provider, so a packet is one of these when it can be read as one; whoever knows it only as
//! some provider's keeps it as it is.

use aws_lc_rs::aead::{AES_256_GCM, Aad, LessSafeKey, NONCE_LEN, Nonce, UnboundKey};
use aws_lc_rs::rand;
use jose::strict_json;
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};
use zeroize::Zeroizing;

use super::{
    Foreign, KeyPacket, Opening, PacketError, PacketOpener, PacketWrapper, Scheme, WrapError,
};
use crate::base64;
use crate::options::PrivateOptions;

/// What a packet of Confidential Containers says in clear.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CocoPacket {
    kid: String,
    provider: String,
    wrap_type: Option<String>,
    iv: Option<Vec<u8>>,
    wrapped: Vec<u8>,
}

/// Both versions: the first has the first four members and no others. Members that are not known are left alone.
#[derive(Serialize, Deserialize)]
struct PacketJson {
    #[serde(skip_serializing_if = "Option::is_none")]
    version: Option<String>,
    kid: String,
    wrapped_data: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    provider: Option<String>,
    iv: Option<String>,
    wrap_type: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    provider_settings: Option<Map<String, Value>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    annotations: Option<Map<String, Value>>,
}

impl CocoPacket {
    /// Reads a packet of some key provider; none if it is not one of these.
    pub fn of(packet: &Foreign) -> Option<Self> {
        let scheme = packet.scheme.as_str();
        if !scheme.starts_with(PROVIDER_PREFIX) || scheme == Scheme::BAILIWICK {
            return None;
        }
        let json: PacketJson = strict_json::from_slice(&packet.bytes).ok()?;
        let provider = json.provider.unwrap_or_else(|| KBS.to_owned());
        let is_whole = provider != KBS || (json.iv.is_some() && json.wrap_type.is_some());
        let is_known = json.version.is_none_or(|version| version == VERSION);
        if !is_whole || !is_known || !is_name(&json.kid) || !is_name(&provider) {
            return None;
        }
        let iv = match json.iv {
            Some(iv) => Some(base64::decode(&iv)?),
            None => None,
        };
        Some(Self {
            kid: json.kid,
            provider,
            wrap_type: json.wrap_type,
            iv,
            wrapped: base64::decode(&json.wrapped_data)?,
        })
    }

    /// The name of the key that opens the packet, such as `kbs:///default/key/1`.
    pub fn key_id(&self) -> &str {
        &self.kid
    }

    /// Who keeps that key: `kbs`, or a key service of a cloud.
    pub fn provider(&self) -> &str {
        &self.provider
    }
}

/// The key of a key broker: 32 bytes, with its name.
#[derive(Clone)]
pub struct CocoKey {
    kid: String,
    key: Zeroizing<[u8; 32]>,
}

impl CocoKey {
    /// A key under its name: `kbs://[HOST]/REPOSITORY/TYPE/TAG`, or `kbs+PLUGIN://…`.
    ///
    /// # Errors
    /// When the name is no such URI, or the key has not 32 bytes.
    pub fn new(kid: &str, key: &[u8]) -> Result<Self, CocoKeyError> {
        if !is_resource_uri(kid) {
            return Err(CocoKeyError::Name);
        }
        let mut bytes = Zeroizing::new([0; 32]);
        if key.len() != bytes.len() {
            return Err(CocoKeyError::Length { found: key.len() });
        }
        bytes.copy_from_slice(key);
        Ok(Self {
            kid: kid.to_owned(),
            key: bytes,
        })
    }

    /// The key's name.
    pub fn key_id(&self) -> &str {
        &self.kid
    }

    fn aes(&self) -> Option<LessSafeKey> {
        let key = UnboundKey::new(&AES_256_GCM, self.key.as_slice()).ok()?;
        Some(LessSafeKey::new(key))
    }
}

/// Why a key of a key broker was not accepted.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum CocoKeyError {
    /// Fault: the caller; guests could not ask for such a key.
    #[error("key's name is not `kbs://[HOST]/REPOSITORY/TYPE/TAG`")]
    Name,
    /// Fault: whoever named the file.
    #[error("key has {found} bytes, not 32")]
    Length {
        /// How many it has.
        found: usize,
    },
}

/// Opens packets that name a key at hand, whatever provider's name they bear.
pub struct CocoOpener {
    keys: Vec<CocoKey>,
}

impl CocoOpener {
    /// An opener with these keys.
    pub fn new(keys: Vec<CocoKey>) -> Self {
        Self { keys }
    }
}

impl PacketOpener for CocoOpener {
    fn open(&self, packet: &KeyPacket) -> Opening {
        let KeyPacket::Foreign(foreign) = packet else {
            return Opening::NotOurs;
        };
        let Some(packet) = CocoPacket::of(foreign).filter(|packet| packet.provider == KBS) else {
            return Opening::NotOurs;
        };
        match self.keys.iter().find(|key| key.kid == packet.kid) {
            Some(key) => open_with(&packet, key).unwrap_or_else(Opening::Failed),
            None => Opening::NotOurs,
        }
    }
}

fn open_with(packet: &CocoPacket, key: &CocoKey) -> Result<Opening, PacketError> {
    // The other type that the specification knows is AES-256-CTR, which authenticates nothing and which no writer makes.
    match packet.wrap_type.as_deref() {
        Some(A256GCM) => {}
        other => {
            return Err(PacketError::Unsupported {
                what: "wrap type",
                found: other.unwrap_or_default().chars().take(64).collect(),
            });
        }
    }
    let nonce: Option<[u8; NONCE_LEN]> = packet.iv.as_deref().and_then(|iv| iv.try_into().ok());
    let nonce = nonce.ok_or(PacketError::Malformed { part: "iv" })?;
    let mut content = Zeroizing::new(packet.wrapped.clone());
    let aes = key.aes().ok_or(PacketError::Coco)?;
    let nonce = Nonce::assume_unique_for_key(nonce);
    let plaintext = aes
        .open_in_place(nonce, Aad::empty(), &mut content)
        .map_err(|_| PacketError::Coco)?;
    Ok(Opening::of_plaintext(plaintext))
}

/// Which form a packet is written in.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum CocoVersion {
    /// What the key provider of Confidential Containers writes, and all guests read.
    #[default]
    V1,
    /// The form that also names the key's keeper.
    V2,
}

/// Wraps for whoever is given one key by a key broker.
#[derive(Clone)]
pub struct CocoWrapper {
    /// The key.
    pub key: CocoKey,
    /// The scheme that the packet stands under.
    pub scheme: Scheme,
    /// Its form.
    pub version: CocoVersion,
}

impl CocoWrapper {
    /// A wrapper for the name that guests of Confidential Containers look for.
    pub fn new(key: CocoKey) -> Self {
        Self {
            key,
            scheme: Scheme(Scheme::ATTESTATION_AGENT.to_owned()),
            version: CocoVersion::default(),
        }
    }
}

impl PacketWrapper for CocoWrapper {
    fn wrap(&self, options: &PrivateOptions) -> Result<KeyPacket, WrapError> {
        let (iv, wrapped) = seal(&self.key, options.expose_bytes()).ok_or(WrapError::Coco)?;
        let second = self.version == CocoVersion::V2;
        let json = PacketJson {
            version: second.then(|| VERSION.to_owned()),
            kid: self.key.kid.clone(),
            wrapped_data: base64::encode(wrapped),
            provider: second.then(|| KBS.to_owned()),
            iv: Some(base64::encode(iv)),
            wrap_type: Some(A256GCM.to_owned()),
            provider_settings: second.then(Map::new),
            annotations: second.then(Map::new),
        };
        Ok(KeyPacket::Foreign(Foreign {
            scheme: self.scheme.clone(),
            bytes: serde_json::to_vec(&json).map_err(|_| WrapError::Coco)?,
        }))
    }
}

/// The key meets many layers, so nothing but a random nonce keeps them apart: 96 bits are enough for 2^32 of them.
fn seal(key: &CocoKey, plaintext: &[u8]) -> Option<([u8; NONCE_LEN], Vec<u8>)> {
    let mut iv = [0; NONCE_LEN];
    rand::fill(&mut iv).ok()?;
    let mut content = Vec::with_capacity(plaintext.len() + AES_256_GCM.tag_len());
    content.extend_from_slice(plaintext);
    let nonce = Nonce::assume_unique_for_key(iv);
    key.aes()?
        .seal_in_place_append_tag(nonce, Aad::empty(), &mut content)
        .ok()?;
    Some((iv, content))
}

/// Names have no control characters, and an end.
fn is_name(name: &str) -> bool {
    !name.is_empty() && name.len() <= 512 && !name.chars().any(char::is_control)
}

fn is_resource_uri(uri: &str) -> bool {
    let Some((scheme, rest)) = uri.split_once("://") else {
        return false;
    };
    let plugin = scheme.strip_prefix("kbs+");
    let is_scheme = scheme == KBS || plugin.is_some_and(|plugin| !plugin.is_empty());
    let mut parts = rest.split('/');
    let _host = parts.next();
    let is_path = parts.clone().count() == 3 && parts.all(|part| !part.is_empty());
    is_scheme && is_path && is_name(uri)
}

const PROVIDER_PREFIX: &str = "provider.";
const KBS: &str = "kbs";
const VERSION: &str = "0.1.0";
const A256GCM: &str = "A256GCM";

#[cfg(test)]
mod tests;
