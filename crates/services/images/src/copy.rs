//! Blobs that go over as they are.

use crate::error::ImageError;
use crate::hash::Hasher;
use crate::pipeline::Run;
use crate::ports::{BlobId, ImageSource, ImageTarget};

/// Writes bytes that are in memory.
pub(crate) fn bytes(target: &dyn ImageTarget, bytes: &[u8]) -> Result<(), ImageError> {
    let id = BlobId::of(bytes);
    if target.holds(&id).map_err(ImageError::Target)? {
        return Ok(());
    }
    let mut writer = target.write_blob().map_err(ImageError::Target)?;
    writer.write(bytes).map_err(ImageError::Target)?;
    writer.finish(&id.digest).map_err(ImageError::Target)
}

/// Carries a blob over and checks that it is the one.
pub(crate) fn blob(
    run: &Run<'_>,
    source: &dyn ImageSource,
    target: &dyn ImageTarget,
    id: BlobId,
) -> Result<(), ImageError> {
    if target.holds(&id).map_err(ImageError::Target)? {
        return Ok(());
    }
    let reader = source.blob(&id).map_err(ImageError::Source)?;
    let mut writer = target.write_blob().map_err(ImageError::Target)?;
    let mut hasher = Hasher::new();
    run.carry(
        reader,
        vec![Box::new(|piece| {
            hasher.update(piece);
            writer.write(piece).map_err(ImageError::Target)
        })],
    )?;
    if hasher.finish() != id {
        return Err(ImageError::WrongDigest { digest: id.digest });
    }
    writer.finish(&id.digest).map_err(ImageError::Target)
}
