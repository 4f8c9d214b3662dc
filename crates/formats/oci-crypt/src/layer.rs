//! One layer from end to end: annotations made from options and wrappers, options found with openers.

use std::collections::BTreeMap;

use crate::annotations::{AnnotationError, LayerAnnotations, PREFIX};
use crate::binding::Extent;
use crate::options::{PrivateOptions, PublicOptions};
use crate::packet::{
    KeyPacket, Opening, PacketError, PacketOpener, PacketWrapper, Scheme, WrapError,
};

/// Why the key of a layer was not found.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum OpenError {
    /// Fault: whoever wrote or altered the manifest.
    #[error("annotations of layer `{layer}` are refused")]
    Annotations {
        /// The layer, as the caller calls it.
        layer: String,
        /// What is wrong with them.
        #[source]
        source: AnnotationError,
    },
    /// Fault: whoever made or altered the packet: it is for a key at hand, did not open, and no other packet did.
    #[error("key packet of scheme `{scheme}` of layer `{layer}` did not open")]
    Packet {
        /// The layer, as the caller calls it.
        layer: String,
        /// The packet's scheme.
        scheme: Scheme,
        /// What came of it.
        #[source]
        source: PacketError,
    },
    /// Fault: none; the layer is encrypted to others.
    #[error("no key at hand opens layer `{layer}`, which has packets of {schemes}")]
    NoKey {
        /// The layer, as the caller calls it.
        layer: String,
        /// The schemes of its packets.
        schemes: String,
    },
}

/// Why the annotations of a layer were not made.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum SealError {
    /// Fault: a recipient's key, or this machine.
    #[error("layer's key could not be wrapped")]
    Wrap {
        /// What came of it.
        #[source]
        source: WrapError,
    },
    /// Fault: the caller; no recipient, or too many.
    #[error("layer's annotations could not be made")]
    Annotations {
        /// What came of it.
        #[source]
        source: AnnotationError,
    },
}

/// Wraps the private options for everybody and makes the layer's annotations.
pub fn seal_annotations(
    public: &PublicOptions,
    private: &PrivateOptions,
    wrappers: &[&dyn PacketWrapper],
) -> Result<BTreeMap<String, String>, SealError> {
    let packets = wrappers
        .iter()
        .map(|wrapper| wrapper.wrap(private))
        .collect::<Result<Vec<_>, _>>();
    annotations_of(
        public,
        packets.map_err(|source| SealError::Wrap { source })?,
    )
}

/// Makes the layer's annotations from packets that exist: to add, drop or replace recipients.
pub fn annotations_of(
    public: &PublicOptions,
    packets: Vec<KeyPacket>,
) -> Result<BTreeMap<String, String>, SealError> {
    LayerAnnotations::new(public.clone(), packets)
        .and_then(|annotations| annotations.to_map())
        .map_err(|source| SealError::Annotations { source })
}

/// Finds the layer's options: every packet meets every opener until one opens it. `layer` is for errors only.
///
/// PKCS#11 packets may have had no room for the binding, so that the others are tried, too: the fuller binding counts.
pub fn open_layer_key(
    layer: &str,
    annotations: &BTreeMap<String, String>,
    openers: &[&dyn PacketOpener],
) -> Result<(PrivateOptions, PublicOptions), OpenError> {
    let annotations =
        LayerAnnotations::parse(annotations).map_err(|source| OpenError::Annotations {
            layer: layer.to_owned(),
            source,
        })?;
    let mut first_failure = None;
    let mut shortened: Option<PrivateOptions> = None;
    for packet in annotations.packets() {
        for opener in openers {
            match opener.open(packet) {
                Opening::NotOurs => {}
                Opening::Failed(source) => {
                    first_failure.get_or_insert((packet.scheme(), source));
                }
                Opening::Opened(private) => {
                    let may_be_short =
                        shortened.is_some() || matches!(packet, KeyPacket::Pkcs11(_));
                    let extent = private.bound().extent();
                    if !may_be_short || extent == Extent::Full {
                        return Ok((private, annotations.public_options().clone()));
                    }
                    let known = shortened.as_ref().map(|known| known.bound().extent());
                    if known.is_none_or(|known| known < extent) {
                        shortened = Some(private);
                    }
                }
            }
        }
    }
    if let Some(private) = shortened {
        return Ok((private, annotations.public_options().clone()));
    }
    let layer = layer.to_owned();
    Err(match first_failure {
        Some((scheme, source)) => OpenError::Packet {
            layer,
            scheme,
            source,
        },
        None => OpenError::NoKey {
            layer,
            schemes: annotations.schemes(),
        },
    })
}

/// The annotations of the layer once it is decrypted: all that are not about encryption.
pub fn without_encryption(annotations: &BTreeMap<String, String>) -> BTreeMap<String, String> {
    let is_kept = |(name, _): &(&String, &String)| !name.starts_with(PREFIX);
    annotations
        .iter()
        .filter(is_kept)
        .map(|(name, value)| (name.clone(), value.clone()))
        .collect()
}
