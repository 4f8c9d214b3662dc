//! What is said about a layer's encryption: openly in an annotation, and secretly inside the wrapped keys.

use std::collections::BTreeMap;

use jose::strict_json;
use serde::Deserialize;
use serde::de::IgnoredAny;
use serde_json::{Map, Value};
use zeroize::{Zeroize, Zeroizing};

use crate::base64;
use crate::binding::{Binding, Bound};
use crate::digest::Digest;

/// The one cipher that peers know: AES-256-CTR, then HMAC-SHA256 over the ciphertext, both under the same key.
pub const CIPHER: &str = "AES_256_CTR_HMAC_SHA256";
/// Longest private options that are read.
pub(crate) const MAX_PRIVATE_LEN: usize = 16 * 1024;
/// Length of the options of a layer without a binding, as everybody writes them.
pub(crate) const UNBOUND_LEN: usize = 193;
/// Length where the binding's hash stands for it.
pub(crate) const BOUND_BY_HASH_LEN: usize = UNBOUND_LEN + r#","bailiwick":"v1.""#.len() + 43;

/// Why options were not accepted. None of them quotes what it refuses: private options are secret.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum OptionsError {
    /// Fault: whoever encrypted; not JSON of the right shape, or a member stands twice, or one is unknown.
    #[error("{which} options are not the expected JSON")]
    Malformed {
        /// `public` or `private`.
        which: &'static str,
    },
    /// Fault: whoever encrypted; a cipher that is not known here.
    #[error("layer's cipher is not `{CIPHER}`")]
    Cipher,
    /// Fault: whoever altered the manifest; a public nonce would replace the secret one, and nothing authenticates it.
    #[error("public options carry a nonce")]
    PublicNonce,
    /// Fault: whoever altered the manifest; public cipher options would replace the secret ones.
    #[error("public options carry cipher options")]
    PublicCipherOptions,
    /// Fault: whoever encrypted; key, nonce or HMAC is missing or has the wrong length.
    #[error("{member} is missing or has the wrong length")]
    Length {
        /// `key`, `nonce` or `hmac`.
        member: &'static str,
    },
    /// Fault: whoever encrypted; the binding is malformed or of an unknown version.
    #[error("layer's binding is malformed or of an unknown version")]
    Binding,
}

/// The secret of one layer. Only [`crate::LayerSealer`] and the parser of private options make one.
pub struct LayerKey {
    key: Zeroizing<[u8; 32]>,
    nonce: Zeroizing<[u8; 16]>,
}

impl LayerKey {
    pub(crate) fn new(key: Zeroizing<[u8; 32]>, nonce: Zeroizing<[u8; 16]>) -> Self {
        Self { key, nonce }
    }

    /// The key, for cipher and HMAC alike.
    pub fn expose_key(&self) -> &[u8; 32] {
        &self.key
    }

    /// The first counter block.
    pub fn expose_nonce(&self) -> &[u8; 16] {
        &self.nonce
    }
}

/// What key packets wrap: the layer's key, the plain layer's digest, and the binding.
///
/// Secret: it can be read through methods that say so, and cannot be shown or copied by accident.
///
/// ```
/// fn has<T: Send>() {}
/// has::<oci_crypt::PrivateOptions>();
/// ```
///
/// ```compile_fail,E0277
/// fn has<T: std::fmt::Debug>() {}
/// has::<oci_crypt::PrivateOptions>();
/// ```
///
/// ```compile_fail,E0277
/// fn has<T: Clone>() {}
/// has::<oci_crypt::PrivateOptions>();
/// ```
pub struct PrivateOptions {
    key: LayerKey,
    digest: Option<String>,
    bound: Bound,
    text: Zeroizing<Vec<u8>>,
}

#[derive(Deserialize, Zeroize)]
struct PrivateJson {
    symkey: String,
    #[serde(default)]
    digest: Option<String>,
    cipheroptions: CipherOptions,
    #[serde(default, deserialize_with = "present")]
    #[zeroize(skip)]
    bailiwick: Option<Value>,
}

/// A member that is there is kept even when it is `null`, so that it can be refused.
fn present<'de, D: serde::Deserializer<'de>>(parser: D) -> Result<Option<Value>, D::Error> {
    Value::deserialize(parser).map(Some)
}

/// Whether a member is spelt as peers read one of ours, and we do not: Go's take no notice of case. The nonce, which no HMAC
/// covers, would be one here and another one there, and the layer two texts.
fn has_second_spelling(text: &[u8]) -> bool {
    // `ſ` and the sign for Kelvin are the letters beyond ASCII that stand for one of it.
    let folded = |name: &str| {
        let plain = name.replace('\u{17f}', "s").replace('\u{212a}', "k");
        plain.to_ascii_lowercase()
    };
    let names: Option<BTreeMap<String, IgnoredAny>> = serde_json::from_slice(text).ok();
    let mut names = names.iter().flatten().map(|(name, _)| name.as_str());
    names.any(|name| !MEMBERS.contains(&name) && MEMBERS.contains(&folded(name).as_str()))
}

/// What private options consist of.
const MEMBERS: [&str; 4] = ["symkey", "digest", "cipheroptions", "bailiwick"];

#[derive(Deserialize, Zeroize)]
struct CipherOptions {
    nonce: String,
}

impl PrivateOptions {
    /// Options for a freshly sealed layer; `digest` is the plain layer's.
    pub fn new(key: LayerKey, digest: Digest, bound: Bound) -> Self {
        Self::build(key, Some(digest.to_string()), bound)
    }

    /// Reads options. Members that are not known are kept for [`Self::expose_bytes`], as peers do with ours.
    pub fn parse(text: &[u8]) -> Result<Self, OptionsError> {
        let malformed = OptionsError::Malformed { which: "private" };
        if text.len() > MAX_PRIVATE_LEN {
            return Err(malformed);
        }
        let mut json: Zeroizing<PrivateJson> =
            Zeroizing::new(strict_json::from_slice(text).map_err(|_| malformed)?);
        if has_second_spelling(text) {
            return Err(malformed);
        }
        let key =
            base64::decode_array(&json.symkey).ok_or(OptionsError::Length { member: "key" })?;
        let nonce = base64::decode_array(&json.cipheroptions.nonce)
            .ok_or(OptionsError::Length { member: "nonce" })?;
        let bound = Bound::parse(json.bailiwick.take())?;
        let digest = json.digest.take();
        Ok(Self {
            key: LayerKey::new(key, nonce),
            digest,
            bound,
            text: Zeroizing::new(text.to_vec()),
        })
    }

    /// The bytes that a packet wraps: exactly those that were read, or the canonical ones of new options.
    pub fn expose_bytes(&self) -> &[u8] {
        &self.text
    }

    /// [`Self::expose_bytes`], owned, for sealing again elsewhere.
    pub fn to_bytes(&self) -> Zeroizing<Vec<u8>> {
        self.text.clone()
    }

    /// The fullest form of at most `room` bytes: as it is; bound by the binding's hash alone; unbound. Forms that had to
    /// be shortened leave unknown members behind. `None` where even the shortest is too long.
    pub fn expose_within(&self, room: usize) -> Option<Zeroizing<Vec<u8>>> {
        let shorter = |bound: &Bound| write(&self.key, self.digest.as_deref(), bound);
        let by_hash = match &self.bound {
            Bound::Full(binding) => Bound::Hash(binding.hash()),
            other => other.clone(),
        };
        let fits = |text: &Zeroizing<Vec<u8>>| text.len() <= room;
        Some(self.text.clone())
            .filter(fits)
            .or_else(|| Some(shorter(&by_hash)).filter(fits))
            .or_else(|| Some(shorter(&Bound::Unbound)).filter(fits))
    }

    /// The layer's key.
    pub fn key(&self) -> &LayerKey {
        &self.key
    }

    /// What the encryptor says is the plain layer's digest. Peers never check it.
    pub fn digest(&self) -> Option<&str> {
        self.digest.as_deref()
    }

    /// How far the key is bound.
    pub fn bound(&self) -> &Bound {
        &self.bound
    }

    /// The same key bound to another place: a layer that moves to another manifest. Unknown members are left behind.
    pub fn rebound(self, binding: Binding) -> Self {
        Self::build(self.key, self.digest, Bound::Full(Box::new(binding)))
    }

    fn build(key: LayerKey, digest: Option<String>, bound: Bound) -> Self {
        let text = write(&key, digest.as_deref(), &bound);
        Self {
            key,
            digest,
            bound,
            text,
        }
    }
}

/// The canonical JSON of private options.
fn write(key: &LayerKey, digest: Option<&str>, bound: &Bound) -> Zeroizing<Vec<u8>> {
    let symkey = base64::encode_secret(key.expose_key());
    let nonce = base64::encode_secret(key.expose_nonce());
    let digest_member = digest.map(|digest| format!(r#","digest":{}"#, Value::from(digest)));
    let binding = bound
        .to_member()
        .map(|binding| format!(r#","bailiwick":{binding}"#));
    let pieces = [
        r#"{"symkey":""#,
        &symkey,
        r#"""#,
        digest_member.as_deref().unwrap_or_default(),
        r#","cipheroptions":{"nonce":""#,
        &nonce,
        r#""}"#,
        binding.as_deref().unwrap_or_default(),
        "}",
    ];
    // One allocation of the right size: growing would leave copies of the key behind.
    let length = pieces.iter().map(|piece| piece.len()).sum();
    let mut text = Zeroizing::new(Vec::with_capacity(length));
    pieces
        .iter()
        .for_each(|piece| text.extend_from_slice(piece.as_bytes()));
    text
}

/// What everybody may read: the cipher's name and the HMAC of the ciphertext.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PublicOptions {
    hmac: [u8; 32],
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct PublicJson {
    cipher: String,
    hmac: String,
    #[serde(default)]
    cipheroptions: Option<Map<String, Value>>,
}

impl PublicOptions {
    /// Options of a sealed layer.
    pub const fn new(hmac: [u8; 32]) -> Self {
        Self { hmac }
    }

    /// Reads options. Anything that could override what is secret is refused.
    pub fn parse(text: &[u8]) -> Result<Self, OptionsError> {
        let PublicJson {
            cipher,
            hmac,
            cipheroptions,
        } = strict_json::from_slice(text)
            .map_err(|_| OptionsError::Malformed { which: "public" })?;
        if cipher != CIPHER {
            return Err(OptionsError::Cipher);
        }
        // Peers let a public option win over the wrapped one, and the HMAC covers neither.
        let options = cipheroptions.unwrap_or_default();
        if options
            .keys()
            .any(|name| name.eq_ignore_ascii_case("nonce"))
        {
            return Err(OptionsError::PublicNonce);
        }
        if !options.is_empty() {
            return Err(OptionsError::PublicCipherOptions);
        }
        let hmac = base64::decode_array(&hmac).ok_or(OptionsError::Length { member: "hmac" })?;
        Ok(Self { hmac: *hmac })
    }

    /// The JSON of the annotation, before base64.
    pub fn to_json(&self) -> String {
        format!(
            r#"{{"cipher":"{CIPHER}","hmac":"{}","cipheroptions":{{}}}}"#,
            base64::encode(self.hmac)
        )
    }

    /// HMAC-SHA256 of the ciphertext.
    pub fn hmac(&self) -> &[u8; 32] {
        &self.hmac
    }
}

#[cfg(test)]
mod tests;
