//! What a layer key is bound to: without it a layer can be moved, swapped or transplanted and still opens.

use std::fmt;

use aws_lc_rs::constant_time::verify_slices_are_equal;
use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use serde::{Deserialize, Serialize};
use serde_json::Value;

use crate::digest::Digest;
use crate::media_type;
use crate::options::OptionsError;

/// The one place where a layer belongs. It travels inside the wrapped key, so whoever can read it can trust it as far
/// as whoever encrypted; peers ignore it and keep it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, try_from = "BindingJson", into = "BindingJson")]
pub struct Binding {
    /// Digest of the encrypted layer.
    pub ciphertext: Digest,
    /// Size of the encrypted layer in bytes.
    pub size: u64,
    /// OCI type of the *plain* layer.
    pub media_type: String,
    /// The layer's diff id in the config; none where the config has no rootfs (artifacts).
    pub diff_id: Option<Digest>,
    /// Position among all layers of the manifest, 0 at the bottom, whether these are encrypted or not.
    pub index: u32,
    /// How many layers the manifest has.
    pub of: u32,
    /// Digest of the config of the same manifest.
    pub config: Digest,
}

#[derive(Clone, Serialize, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "camelCase")]
struct BindingJson {
    v: u32,
    ciphertext: Digest,
    size: u64,
    media_type: String,
    #[serde(deserialize_with = "Option::deserialize")]
    diff_id: Option<Digest>,
    index: u32,
    of: u32,
    config: Digest,
}

/// What is known of a layer by looking at its descriptor.
#[derive(Debug, Clone, Copy)]
pub struct SeenDescriptor<'a> {
    /// Digest in the descriptor, which is the ciphertext's.
    pub digest: Digest,
    /// Size in the descriptor.
    pub size: u64,
    /// Media type in the descriptor, with its suffix.
    pub media_type: &'a str,
}

/// What is known of a layer by looking at the whole manifest and its config.
#[derive(Debug, Clone, Copy)]
pub struct SeenPlace {
    /// Position among all layers.
    pub index: u32,
    /// How many layers there are.
    pub of: u32,
    /// Digest of the config.
    pub config: Digest,
    /// Diff id in the config, if it has a rootfs.
    pub diff_id: Option<Digest>,
}

/// A layer is not where its key belongs.
///
/// Fault: whoever assembled the image.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("layer is bound to {member} `{bound}` and found with `{found}`")]
pub struct BindingMismatch {
    /// Which member of the binding differs.
    pub member: &'static str,
    /// What the key is bound to.
    pub bound: String,
    /// What was found.
    pub found: String,
}

/// How far a layer key is bound.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Bound {
    /// Not at all: made by a peer, or wrapped by something that had no room.
    Unbound,
    /// By the binding itself.
    Full(Box<Binding>),
    /// By the binding's hash alone, where there was no room for more.
    Hash([u8; 32]),
}

/// How much a layer key says of its place; more is greater.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Extent {
    Nothing,
    Hash,
    Full,
}

impl Binding {
    /// Compares with what is seen: the descriptor always, the place in the image where it is known.
    pub fn check(
        &self,
        layer: &SeenDescriptor<'_>,
        place: Option<&SeenPlace>,
    ) -> Result<(), BindingMismatch> {
        let Self {
            ciphertext,
            size,
            media_type,
            diff_id,
            index,
            of,
            config,
        } = self;
        let SeenDescriptor {
            digest,
            size: seen_size,
            media_type: seen_type,
        } = layer;
        let seen_type = media_type::plain(seen_type).unwrap_or_else(|_| (*seen_type).to_owned());
        same("ciphertext", ciphertext, digest)?;
        same("size", size, seen_size)?;
        same("mediaType", media_type, &seen_type)?;
        let Some(place) = place else { return Ok(()) };
        same("config", config, &place.config)?;
        same("of", of, &place.of)?;
        same("index", index, &place.index)?;
        same("diffId", &Shown(*diff_id), &Shown(place.diff_id))
    }

    /// SHA-256 of the canonical JSON (RFC 8785).
    pub fn hash(&self) -> [u8; 32] {
        *Digest::of(&self.to_json()).as_bytes()
    }

    /// The canonical JSON (RFC 8785).
    pub fn to_json(&self) -> Vec<u8> {
        // Serializing a struct of strings and integers cannot fail; an empty text would bind to nothing that exists.
        serde_json_canonicalizer::to_vec(&BindingJson::from(self.clone())).unwrap_or_default()
    }
}

impl Bound {
    /// How much it says.
    pub(crate) fn extent(&self) -> Extent {
        match self {
            Self::Unbound => Extent::Nothing,
            Self::Hash(_) => Extent::Hash,
            Self::Full(_) => Extent::Full,
        }
    }

    /// Whether there is any binding.
    pub fn is_bound(&self) -> bool {
        !matches!(self, Self::Unbound)
    }

    /// Compares with what is seen. A hash can be compared only where the place is known; where it is not, the layer
    /// counts as not matching, because nothing was checked.
    pub fn check(
        &self,
        layer: &SeenDescriptor<'_>,
        place: Option<&SeenPlace>,
    ) -> Result<(), BindingMismatch> {
        match self {
            Self::Unbound => Ok(()),
            Self::Full(binding) => binding.check(layer, place),
            Self::Hash(hash) => {
                let found = place.map(|place| seen_binding(layer, place).hash());
                if found.is_some_and(|found| verify_slices_are_equal(&found, hash).is_ok()) {
                    return Ok(());
                }
                let found = found.map_or_else(|| "an unknown place".to_owned(), hex::encode);
                Err(BindingMismatch {
                    member: "hash",
                    bound: hex::encode(hash),
                    found,
                })
            }
        }
    }

    /// Reads the member `bailiwick` of private options.
    pub(crate) fn parse(member: Option<Value>) -> Result<Self, OptionsError> {
        match member {
            None => Ok(Self::Unbound),
            Some(Value::String(text)) => {
                let hash = text
                    .strip_prefix("v1.")
                    .and_then(|hash| URL_SAFE_NO_PAD.decode(hash).ok());
                let hash = hash
                    .and_then(|hash| hash.try_into().ok())
                    .ok_or(OptionsError::Binding)?;
                Ok(Self::Hash(hash))
            }
            Some(object) => {
                let binding = serde_json::from_value(object).map_err(|_| OptionsError::Binding)?;
                Ok(Self::Full(Box::new(binding)))
            }
        }
    }

    /// The member `bailiwick`, in JSON; none when unbound.
    pub(crate) fn to_member(&self) -> Option<String> {
        match self {
            Self::Unbound => None,
            Self::Full(binding) => Some(String::from_utf8_lossy(&binding.to_json()).into_owned()),
            Self::Hash(hash) => Some(format!("\"v1.{}\"", URL_SAFE_NO_PAD.encode(hash))),
        }
    }
}

impl TryFrom<BindingJson> for Binding {
    type Error = OptionsError;

    fn try_from(json: BindingJson) -> Result<Self, OptionsError> {
        let BindingJson {
            v,
            ciphertext,
            size,
            media_type,
            diff_id,
            index,
            of,
            config,
        } = json;
        if v != 1 || index >= of {
            return Err(OptionsError::Binding);
        }
        Ok(Self {
            ciphertext,
            size,
            media_type,
            diff_id,
            index,
            of,
            config,
        })
    }
}

impl From<Binding> for BindingJson {
    fn from(binding: Binding) -> Self {
        let Binding {
            ciphertext,
            size,
            media_type,
            diff_id,
            index,
            of,
            config,
        } = binding;
        Self {
            v: 1,
            ciphertext,
            size,
            media_type,
            diff_id,
            index,
            of,
            config,
        }
    }
}

fn seen_binding(layer: &SeenDescriptor<'_>, place: &SeenPlace) -> Binding {
    Binding {
        ciphertext: layer.digest,
        size: layer.size,
        media_type: media_type::plain(layer.media_type)
            .unwrap_or_else(|_| layer.media_type.to_owned()),
        diff_id: place.diff_id,
        index: place.index,
        of: place.of,
        config: place.config,
    }
}

fn same<T: PartialEq + fmt::Display>(
    member: &'static str,
    bound: &T,
    found: &T,
) -> Result<(), BindingMismatch> {
    if bound == found {
        return Ok(());
    }
    let short = |value: &T| value.to_string().chars().take(128).collect();
    Err(BindingMismatch {
        member,
        bound: short(bound),
        found: short(found),
    })
}

#[derive(PartialEq)]
struct Shown(Option<Digest>);

impl fmt::Display for Shown {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.0 {
            Some(digest) => digest.fmt(f),
            None => f.write_str("null"),
        }
    }
}

#[cfg(test)]
mod tests;
