//! The keys of all layers of an image, wrapped together: key services are asked at the same time, not layer by layer.

use oci_crypt::{KeyPacket, PacketWrapper, PrivateOptions, SealError};

use crate::error::ImageError;
use crate::parallel;
use crate::pipeline::Run;
use crate::services::{MOST_AT_ONCE, not_sealed};

/// A layer, 0 at the bottom, and its key.
pub(crate) type LayerKey<'k> = (usize, &'k PrivateOptions);

/// Wraps each key for every recipient. For each key its packets, in the order of the recipients; if one of them can't be
/// made, there are none at all.
pub(crate) fn wrap_all(
    run: &Run<'_>,
    keys: &[LayerKey<'_>],
    wrappers: &[Box<dyn PacketWrapper>],
) -> Result<Vec<Vec<KeyPacket>>, ImageError> {
    let pairs: Vec<_> = keys
        .iter()
        .flat_map(|key| wrappers.iter().map(move |wrapper| (*key, &**wrapper)))
        .collect();
    let packets = parallel::among(run, pairs.len(), MOST_AT_ONCE, |number| {
        let ((index, key), wrapper) = pairs.get(number).ok_or(ImageError::Interrupted)?;
        if run.progress.cancelled() {
            return Err(ImageError::Cancelled);
        }
        let packet = wrapper.wrap(key);
        packet.map_err(|source| not_sealed(*index, SealError::Wrap { source }))
    })?;
    let mut packets = packets.into_iter();
    Ok(keys
        .iter()
        .map(|_| packets.by_ref().take(wrappers.len()).collect())
        .collect())
}
