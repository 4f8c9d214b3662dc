//! PKCS#11 packets as Go's ocicrypt writes and reads them: the options under RSA-OAEP, once for each holder of a key in a
//! hardware module. Nothing lies between the RSA operation and the options, so the key's size says how much of the binding
//! has room: [`PrivateOptions::expose_within`] gives each recipient the fullest form that fits.

use aws_lc_rs::rsa::{
    OAEP_SHA1_MGF1SHA1, OAEP_SHA256_MGF1SHA256, OaepAlgorithm, OaepPublicEncryptingKey,
    PublicEncryptingKey,
};
use jose::{Jwk, strict_json};
use serde::{Deserialize, Serialize};
use zeroize::Zeroizing;

use super::{KeyPacket, Opening, PacketError, PacketOpener, PacketWrapper, WrapError};
use crate::base64;
use crate::options::{BOUND_BY_HASH_LEN, PrivateOptions, UNBOUND_LEN};

/// The hash of RSA-OAEP, which is MGF1's, too. The label is empty.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default)]
pub enum OaepHash {
    /// SHA-1: what old packets mean that name no hash, and all that some modules know.
    Sha1,
    /// SHA-256, which ocicrypt writes by default.
    #[default]
    Sha256,
}

impl OaepHash {
    /// Its name in a packet.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Sha1 => "sha1",
            Self::Sha256 => "sha256",
        }
    }

    fn of_packet(name: Option<&str>) -> Result<Self, PacketError> {
        match name.unwrap_or_default() {
            "" | "sha1" => Ok(Self::Sha1),
            "sha256" => Ok(Self::Sha256),
            other => Err(PacketError::Unsupported {
                what: "the hash",
                found: other.chars().take(32).collect(),
            }),
        }
    }

    /// How many bytes an RSA key of this length wraps (RFC 8017 section 7.1.1).
    const fn room(self, modulus_len: usize) -> usize {
        let hash_len = match self {
            Self::Sha1 => 20,
            Self::Sha256 => 32,
        };
        modulus_len.saturating_sub(2 * hash_len + 2)
    }

    fn algorithm(self) -> &'static OaepAlgorithm {
        match self {
            Self::Sha1 => &OAEP_SHA1_MGF1SHA1,
            Self::Sha256 => &OAEP_SHA256_MGF1SHA256,
        }
    }
}

/// One for whom a packet is, as far as the packet tells.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Pkcs11Recipient {
    /// The size of the RSA key.
    pub bits: usize,
    /// The hash of RSA-OAEP.
    pub hash: OaepHash,
    /// Whether the key is large enough for a binding; where it is not, its holder opens the layer wherever it lies.
    pub has_room_for_binding: bool,
}

/// For whom a packet is, in its order.
pub fn pkcs11_recipients(packet: &[u8]) -> Result<Vec<Pkcs11Recipient>, PacketError> {
    let wrapped = parse(packet)?;
    Ok(wrapped.iter().map(Wrapped::recipient).collect())
}

/// A private key that stays where it is: in a hardware module, or in a service that stands for one.
pub trait TokenKey: Send + Sync {
    /// Decrypts RSA-OAEP with an empty label.
    fn decrypt(
        &self,
        hash: OaepHash,
        ciphertext: &[u8],
    ) -> Result<Zeroizing<Vec<u8>>, TokenKeyError>;
}

/// Why a token's key did not decrypt.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum TokenKeyError {
    /// Fault: none; the ciphertext is another key's, or was altered.
    #[error("ciphertext is not for this key")]
    NotForThisKey,
    /// Fault: the token, or the way to it.
    #[error("token's key `{key}` was not used")]
    Token {
        /// How its owner calls it.
        key: String,
        /// What came of it.
        #[source]
        source: Box<dyn std::error::Error + Send + Sync>,
    },
}

/// Opens PKCS#11 packets by trying keys: packets name none.
pub struct Pkcs11Opener {
    keys: Vec<Box<dyn TokenKey>>,
}

impl Pkcs11Opener {
    /// An opener with these keys, tried in this order.
    pub fn new(keys: Vec<Box<dyn TokenKey>>) -> Self {
        Self { keys }
    }
}

impl PacketOpener for Pkcs11Opener {
    fn open(&self, packet: &KeyPacket) -> Opening {
        let KeyPacket::Pkcs11(bytes) = packet else {
            return Opening::NotOurs;
        };
        if self.keys.is_empty() {
            return Opening::NotOurs;
        }
        let mut wrapped = match parse(bytes) {
            Ok(wrapped) => wrapped,
            Err(error) => return Opening::Failed(error),
        };
        // Larger keys have room for more: who holds two gets the fuller binding.
        wrapped.sort_by_key(|wrapped| std::cmp::Reverse(wrapped.room()));
        let mut outcome = Opening::NotOurs;
        for Wrapped { blob, hash } in &wrapped {
            for key in &self.keys {
                match key.decrypt(*hash, blob) {
                    Ok(plaintext) => return Opening::of_plaintext(&plaintext),
                    Err(TokenKeyError::NotForThisKey) => {}
                    Err(TokenKeyError::Token { key, source }) => {
                        let service = key;
                        outcome = Opening::Failed(PacketError::Service { service, source });
                    }
                }
            }
        }
        outcome
    }
}

/// The public half of a key that lies in a token.
#[derive(Clone)]
pub struct Pkcs11Key {
    key: PublicEncryptingKey,
    hash: OaepHash,
}

/// Why nothing can be wrapped for a key.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum Pkcs11KeyError {
    /// Fault: the caller; PKCS#11 packets know RSA alone.
    #[error("key is not RSA of 2048 to 8192 bits")]
    NotRsa,
    /// Fault: the caller.
    #[error("RSA-{bits} with {} has no room for a layer's key", .hash.name())]
    NoRoom {
        /// The size of the key.
        bits: usize,
        /// The hash of RSA-OAEP, which takes of the room.
        hash: OaepHash,
    },
}

impl Pkcs11Key {
    /// A key to wrap for, if it has room for a layer's key.
    pub fn new(key: &Jwk, hash: OaepHash) -> Result<Self, Pkcs11KeyError> {
        let der = key.to_spki_der().map_err(|_| Pkcs11KeyError::NotRsa)?;
        let key = PublicEncryptingKey::from_der(&der).map_err(|_| Pkcs11KeyError::NotRsa)?;
        let bits = key.key_size_bits();
        match hash.room(key.key_size_bytes()) < UNBOUND_LEN {
            true => Err(Pkcs11KeyError::NoRoom { bits, hash }),
            false => Ok(Self { key, hash }),
        }
    }

    /// What packets will tell of it.
    pub fn recipient(&self) -> Pkcs11Recipient {
        described(self.key.key_size_bytes(), self.hash)
    }

    fn wrap(&self, options: &PrivateOptions) -> Option<WrappedJson> {
        let text = options.expose_within(self.hash.room(self.key.key_size_bytes()))?;
        let key = OaepPublicEncryptingKey::new(self.key.clone()).ok()?;
        let mut blob = vec![0; key.ciphertext_size()];
        let algorithm = self.hash.algorithm();
        let length = key.encrypt(algorithm, &text, &mut blob, None).ok()?.len();
        blob.truncate(length);
        Some(WrappedJson {
            version: 0,
            blob: base64::encode(blob),
            hash: Some(self.hash.name().to_owned()),
        })
    }
}

/// Wraps for all its recipients in one packet.
#[derive(Clone)]
pub struct Pkcs11Wrapper {
    recipients: Vec<Pkcs11Key>,
}

impl Pkcs11Wrapper {
    /// A wrapper for these recipients.
    pub fn new(recipients: Vec<Pkcs11Key>) -> Self {
        Self { recipients }
    }
}

impl PacketWrapper for Pkcs11Wrapper {
    fn wrap(&self, options: &PrivateOptions) -> Result<KeyPacket, WrapError> {
        let recipients = self.recipients.iter().map(|key| key.wrap(options));
        let recipients: Vec<_> = recipients.collect::<Option<_>>().ok_or(WrapError::Pkcs11)?;
        if recipients.is_empty() || recipients.len() > MOST_RECIPIENTS {
            return Err(WrapError::Pkcs11);
        }
        let packet = PacketJson {
            version: 0,
            recipients,
        };
        serde_json::to_vec(&packet)
            .map(KeyPacket::Pkcs11)
            .map_err(|_| WrapError::Pkcs11)
    }
}

/// One recipient's copy.
struct Wrapped {
    blob: Vec<u8>,
    hash: OaepHash,
}

impl Wrapped {
    fn room(&self) -> usize {
        self.hash.room(self.blob.len())
    }

    fn recipient(&self) -> Pkcs11Recipient {
        described(self.blob.len(), self.hash)
    }
}

fn described(modulus_len: usize, hash: OaepHash) -> Pkcs11Recipient {
    Pkcs11Recipient {
        bits: modulus_len * 8,
        hash,
        has_room_for_binding: hash.room(modulus_len) >= BOUND_BY_HASH_LEN,
    }
}

/// Unknown members are left alone, as Go does; a member that stands twice is refused.
#[derive(Serialize, Deserialize)]
struct PacketJson {
    #[serde(default)]
    version: u64,
    recipients: Vec<WrappedJson>,
}

#[derive(Serialize, Deserialize)]
struct WrappedJson {
    #[serde(default)]
    version: u64,
    blob: String,
    hash: Option<String>,
}

fn parse(packet: &[u8]) -> Result<Vec<Wrapped>, PacketError> {
    let malformed = |part| PacketError::Malformed { part };
    let PacketJson {
        version,
        recipients,
    } = strict_json::from_slice(packet).map_err(|_| malformed("structure"))?;
    if version != 0 || recipients.iter().any(|one| one.version != 0) {
        return Err(malformed("version"));
    }
    // Each one costs an operation of each token at hand.
    if recipients.is_empty() || recipients.len() > MOST_RECIPIENTS {
        return Err(malformed("recipients"));
    }
    let wrapped = recipients
        .into_iter()
        .map(|WrappedJson { blob, hash, .. }| {
            let blob = base64::decode(&blob).filter(|blob| MODULUS_LENS.contains(&blob.len()));
            Ok(Wrapped {
                blob: blob.ok_or(malformed("blob"))?,
                hash: OaepHash::of_packet(hash.as_deref())?,
            })
        });
    wrapped.collect()
}

const MOST_RECIPIENTS: usize = 64;
/// RSA of 1024 to 16384 bits.
const MODULUS_LENS: std::ops::RangeInclusive<usize> = 128..=2048;

#[cfg(test)]
mod tests;
