//! The configuration of an image: what it says about its layers, and what it tells everybody.

use estate::Digest;
use serde::Deserialize;

use crate::error::ImageError;
use crate::json::RawObject;
use crate::manifest::{Manifest, platform_text};
use crate::media;
use crate::ports::{ImageSource, MANIFEST_LIMIT};

/// The configuration of one image, checked against the digest in its manifest.
#[derive(Debug)]
pub(crate) struct Config {
    /// Exactly as it lies there; it is never changed, so its digest is the same for the plain and the encrypted image.
    pub(crate) bytes: Vec<u8>,
    /// What each layer unpacks to, from the bottom up; `None` when the configuration describes no root file system.
    pub(crate) diff_ids: Option<Vec<Digest>>,
}

impl Config {
    /// Reads the configuration of `manifest`.
    pub(crate) fn fetch(source: &dyn ImageSource, manifest: &Manifest) -> Result<Self, ImageError> {
        let bytes = read(source, manifest)?;
        let diff_ids = if media::describes_rootfs(&manifest.config.media_type) {
            Some(diff_ids(&bytes, manifest.layers.len())?)
        } else {
            None
        };
        Ok(Self { bytes, diff_ids })
    }

    /// What layer `index` unpacks to.
    pub(crate) fn diff_id(&self, index: usize) -> Option<Digest> {
        self.diff_ids.as_ref()?.get(index).copied()
    }

    /// The operating system and the architecture that it is for, as an index would list them.
    pub(crate) fn platform(&self) -> Option<String> {
        let config: RawObject = serde_json::from_slice(&self.bytes).ok()?;
        platform_text(&config)
    }

    /// What the configuration tells everybody who can read the registry.
    pub(crate) fn public(&self) -> Public {
        serde_json::from_slice(&self.bytes).unwrap_or_default()
    }
}

/// The members of a configuration in which people leave secrets.
#[derive(Debug, Default, Deserialize)]
#[serde(default)]
pub(crate) struct Public {
    pub(crate) config: Option<PublicRun>,
    pub(crate) history: Option<Vec<PublicStep>>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default, rename_all = "PascalCase")]
pub(crate) struct PublicRun {
    pub(crate) env: Option<Vec<String>>,
    pub(crate) labels: Option<std::collections::BTreeMap<String, String>>,
    pub(crate) entrypoint: Option<Vec<String>>,
    pub(crate) cmd: Option<Vec<String>>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default)]
pub(crate) struct PublicStep {
    pub(crate) created_by: Option<String>,
}

fn read(source: &dyn ImageSource, manifest: &Manifest) -> Result<Vec<u8>, ImageError> {
    let id = manifest.config.id;
    if id.size > MANIFEST_LIMIT {
        return Err(ImageError::TooLarge { digest: id.digest });
    }
    let mut reader = source.blob(&id).map_err(ImageError::Source)?;
    let mut bytes = Vec::new();
    let mut buffer = vec![0; 64 * 1024];
    loop {
        let count = reader.read(&mut buffer).map_err(ImageError::Source)?;
        let Some(piece) = buffer.get(..count).filter(|piece| !piece.is_empty()) else {
            break;
        };
        bytes.extend_from_slice(piece);
        if bytes.len() as u64 > id.size {
            break;
        }
    }
    if crate::ports::BlobId::of(&bytes) != id {
        return Err(ImageError::WrongDigest { digest: id.digest });
    }
    Ok(bytes)
}

fn diff_ids(bytes: &[u8], layers: usize) -> Result<Vec<Digest>, ImageError> {
    // Every object on the way is read so that a doubled member is an error: a runtime might take the other one.
    let config: RawObject = serde_json::from_slice(bytes).map_err(ImageError::Malformed)?;
    let rootfs: Option<RawObject> = config.read("rootfs").map_err(ImageError::Malformed)?;
    let diff_ids: Option<Vec<Digest>> = match rootfs {
        Some(rootfs) => rootfs.read("diff_ids").map_err(ImageError::Malformed)?,
        None => None,
    };
    let diff_ids = diff_ids.unwrap_or_default();
    if diff_ids.len() != layers {
        return Err(ImageError::DiffIdCount {
            found: diff_ids.len(),
            expected: layers,
        });
    }
    Ok(diff_ids)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn doubled_lists_are_refused() {
        let digest = Digest::of("x");
        let good = format!(r#"{{"rootfs":{{"type":"layers","diff_ids":["{digest}"]}}}}"#);
        assert_eq!(diff_ids(good.as_bytes(), 1).unwrap(), [digest]);
        assert!(matches!(
            diff_ids(good.as_bytes(), 2),
            Err(ImageError::DiffIdCount {
                found: 1,
                expected: 2
            })
        ));
        for bad in [
            format!(r#"{{"rootfs":{{"diff_ids":["{digest}"],"diff_ids":[]}}}}"#),
            format!(r#"{{"rootfs":{{"diff_ids":["{digest}"]}},"rootfs":{{}}}}"#),
            r#"{"rootfs":[]}"#.to_owned(),
            "[]".to_owned(),
        ] {
            assert!(
                matches!(diff_ids(bad.as_bytes(), 1), Err(ImageError::Malformed(_))),
                "{bad}"
            );
        }
    }

    proptest::proptest! {
        #[test]
        fn no_bytes_panic(bytes in proptest::collection::vec(proptest::num::u8::ANY, 0..256)) {
            let _ = diff_ids(&bytes, 0);
        }
    }
}
