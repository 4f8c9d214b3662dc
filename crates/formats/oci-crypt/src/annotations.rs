//! The annotations of an encrypted layer's descriptor, read whole or refused.

use std::collections::BTreeMap;

use crate::base64;
use crate::options::{OptionsError, PublicOptions};
use crate::packet::{KeyPacket, PacketError, Scheme};

/// What all annotations of encryption begin with; everything under it goes when a layer is decrypted.
pub const PREFIX: &str = "org.opencontainers.image.enc.";
/// What annotations with key packets begin with; the rest is the scheme.
pub const KEYS_PREFIX: &str = "org.opencontainers.image.enc.keys.";
/// The annotation with the public options.
pub const PUBOPTS: &str = "org.opencontainers.image.enc.pubopts";
/// Longest annotation that is read or written.
pub const MAX_ANNOTATION_LEN: usize = 1024 * 1024;
/// Most key packets of a layer that are read or written.
pub const MAX_PACKETS: usize = 64;

/// Why the annotations of a layer were refused.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum AnnotationError {
    /// Fault: whoever wrote the manifest; an annotation is longer than [`MAX_ANNOTATION_LEN`].
    #[error("annotation `{name}` has {len} bytes, more than {MAX_ANNOTATION_LEN}")]
    TooLong {
        /// Its name, cut to 128 characters.
        name: String,
        /// Its length.
        len: usize,
    },
    /// Fault: whoever wrote the manifest; more than [`MAX_PACKETS`] key packets.
    #[error("layer has more than {MAX_PACKETS} key packets")]
    TooManyPackets,
    /// Fault: whoever wrote the manifest; the layer says nothing about its cipher.
    #[error("annotation `{PUBOPTS}` is missing")]
    NoPublicOptions,
    /// Fault: whoever wrote the manifest; the layer has no key packet, so nobody can open it.
    #[error("layer has no key packet")]
    NoPackets,
    /// Fault: whoever wrote the manifest; an annotation is not canonical base64 in a comma-separated list.
    #[error("annotation `{name}` is not base64 at element {element}")]
    Base64 {
        /// Its name, cut to 128 characters.
        name: String,
        /// Which element of the list, from 0.
        element: usize,
    },
    /// Fault: whoever wrote or altered the manifest.
    #[error("public options are refused")]
    Options {
        /// What is wrong with them.
        #[source]
        source: OptionsError,
    },
    /// Fault: whoever made the packet.
    #[error("key packet {element} of scheme `{scheme}` is refused")]
    Packet {
        /// The scheme, cut to 128 characters.
        scheme: String,
        /// Which element of the list, from 0.
        element: usize,
        /// What is wrong with it.
        #[source]
        source: PacketError,
    },
}

/// The encryption annotations of one layer.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LayerAnnotations {
    public: PublicOptions,
    packets: Vec<KeyPacket>,
}

impl LayerAnnotations {
    /// Reads them; annotations that are not about encryption are left alone.
    pub fn parse(annotations: &BTreeMap<String, String>) -> Result<Self, AnnotationError> {
        for (name, value) in annotations
            .iter()
            .filter(|(name, _)| name.starts_with(PREFIX))
        {
            if value.len() > MAX_ANNOTATION_LEN {
                return Err(AnnotationError::TooLong {
                    name: cut(name),
                    len: value.len(),
                });
            }
        }
        let public = annotations
            .get(PUBOPTS)
            .ok_or(AnnotationError::NoPublicOptions)?;
        let public = base64::decode(public).ok_or_else(|| AnnotationError::Base64 {
            name: PUBOPTS.to_owned(),
            element: 0,
        })?;
        let public =
            PublicOptions::parse(&public).map_err(|source| AnnotationError::Options { source })?;
        let packets = parse_packets(annotations)?;
        if packets.is_empty() {
            return Err(AnnotationError::NoPackets);
        }
        Ok(Self { public, packets })
    }

    /// Puts together what a sealed layer needs.
    pub fn new(public: PublicOptions, packets: Vec<KeyPacket>) -> Result<Self, AnnotationError> {
        match packets.len() {
            0 => Err(AnnotationError::NoPackets),
            len if len > MAX_PACKETS => Err(AnnotationError::TooManyPackets),
            _ => Ok(Self { public, packets }),
        }
    }

    /// Writes them.
    pub fn to_map(&self) -> Result<BTreeMap<String, String>, AnnotationError> {
        let mut map = BTreeMap::from([(PUBOPTS.to_owned(), base64::encode(self.public.to_json()))]);
        for packet in &self.packets {
            let list = map
                .entry(format!("{KEYS_PREFIX}{}", packet.scheme()))
                .or_default();
            if !list.is_empty() {
                list.push(',');
            }
            list.push_str(&base64::encode(packet.to_bytes()));
        }
        match map
            .iter()
            .find(|(_, value)| value.len() > MAX_ANNOTATION_LEN)
        {
            Some((name, value)) => Err(AnnotationError::TooLong {
                name: cut(name),
                len: value.len(),
            }),
            None => Ok(map),
        }
    }

    /// The public options.
    pub fn public_options(&self) -> &PublicOptions {
        &self.public
    }

    /// The key packets: schemes in the order of their names, each as it stands in its list.
    pub fn packets(&self) -> &[KeyPacket] {
        &self.packets
    }

    /// The schemes, each once, for people to read.
    pub fn schemes(&self) -> String {
        let mut schemes: Vec<String> = self
            .packets
            .iter()
            .map(|packet| packet.scheme().to_string())
            .collect();
        schemes.dedup();
        schemes.join(", ")
    }
}

fn parse_packets(
    annotations: &BTreeMap<String, String>,
) -> Result<Vec<KeyPacket>, AnnotationError> {
    let mut packets = Vec::new();
    for (name, list) in annotations {
        let Some(scheme_name) = name.strip_prefix(KEYS_PREFIX) else {
            continue;
        };
        let refused = |element, source| AnnotationError::Packet {
            scheme: cut(scheme_name),
            element,
            source,
        };
        let scheme: Scheme = scheme_name.parse().map_err(|source| refused(0, source))?;
        for (element, text) in list.split(',').enumerate() {
            if packets.len() == MAX_PACKETS {
                return Err(AnnotationError::TooManyPackets);
            }
            let bytes = base64::decode(text)
                .filter(|bytes| !bytes.is_empty())
                .ok_or_else(|| AnnotationError::Base64 {
                    name: cut(name),
                    element,
                })?;
            packets
                .push(KeyPacket::parse(&scheme, bytes).map_err(|source| refused(element, source))?);
        }
    }
    Ok(packets)
}

fn cut(name: &str) -> String {
    name.chars().take(128).collect()
}
