//! An OCI layout with one image of one large layer, and what of it can be looked up afterwards.

use std::fs::{self, File};
use std::io::{self, BufWriter, Write};
use std::path::{Path, PathBuf};

use aws_lc_rs::{digest, rand};
use flate2::{Compression, write::GzEncoder};
use serde_json::{Value, json};

/// A layout on disk, its image tagged [`Layout::TAG`].
#[derive(Debug, Clone)]
pub struct Layout {
    folder: PathBuf,
}

/// Why a layout was not made or read.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum LayoutError {
    /// Fault: the machine's.
    #[error("`{}` could not be written or read", path.display())]
    Io {
        /// Where.
        path: PathBuf,
        /// What the system said.
        source: io::Error,
    },
    /// Fault: the tool's that wrote it.
    #[error("`{}` is no layout with one image of one layer", path.display())]
    Form {
        /// The layout.
        path: PathBuf,
    },
}

impl Layout {
    /// The image's tag.
    pub const TAG: &str = "1";

    /// The layout in this folder, whether it is there yet or not.
    pub fn at(folder: impl Into<PathBuf>) -> Self {
        Self {
            folder: folder.into(),
        }
    }

    /// Makes a plain image whose only layer is `mebibytes` of random bytes, packed as gzip that stores what it cannot press.
    ///
    /// # Errors
    /// [`LayoutError::Io`]
    pub fn random(folder: impl Into<PathBuf>, mebibytes: u64) -> Result<Self, LayoutError> {
        let this = Self::at(folder);
        let path = this.folder.clone();
        this.make(mebibytes)
            .map_err(|source| LayoutError::Io { path, source })?;
        Ok(this)
    }

    /// As tools name it: `oci:FOLDER:TAG`.
    pub fn transport(&self) -> String {
        format!("oci:{}:{}", self.folder.display(), Self::TAG)
    }

    /// The file of the only layer.
    ///
    /// # Errors
    /// [`LayoutError`]
    pub fn layer(&self) -> Result<PathBuf, LayoutError> {
        let index = self.json(&self.folder.join("index.json"))?;
        let manifest = self.json(&self.blob(index.pointer("/manifests/0/digest"))?)?;
        if manifest.pointer("/layers/1").is_some() {
            return Err(self.form());
        }
        self.blob(manifest.pointer("/layers/0/digest"))
    }

    /// Removes it with all that is in it, if it is there.
    ///
    /// # Errors
    /// [`LayoutError::Io`]
    pub fn remove(&self) -> Result<(), LayoutError> {
        match fs::remove_dir_all(&self.folder) {
            Err(source) if source.kind() != io::ErrorKind::NotFound => Err(LayoutError::Io {
                path: self.folder.clone(),
                source,
            }),
            _ => Ok(()),
        }
    }

    fn make(&self, mebibytes: u64) -> io::Result<()> {
        let blobs = self.folder.join(BLOBS);
        fs::create_dir_all(&blobs)?;
        let (layer, diff_id) = random_layer(&blobs, mebibytes)?;
        let config = json!({
            "architecture": "amd64", "os": "linux", "config": {},
            "rootfs": { "type": "layers", "diff_ids": [diff_id] },
        });
        let config = put(&blobs, "application/vnd.oci.image.config.v1+json", &config)?;
        let manifest = json!({
            "schemaVersion": 2, "mediaType": MANIFEST, "config": config, "layers": [layer],
        });
        let mut manifest = put(&blobs, MANIFEST, &manifest)?;
        if let Some(manifest) = manifest.as_object_mut() {
            let tag = json!({ "org.opencontainers.image.ref.name": Self::TAG });
            manifest.insert("annotations".to_owned(), tag);
        }
        let index = json!({ "schemaVersion": 2, "manifests": [manifest] });
        fs::write(self.folder.join("index.json"), index.to_string())?;
        fs::write(
            self.folder.join("oci-layout"),
            json!({ "imageLayoutVersion": "1.0.0" }).to_string(),
        )
    }

    fn json(&self, path: &Path) -> Result<Value, LayoutError> {
        let text = fs::read(path).map_err(|source| LayoutError::Io {
            path: path.to_owned(),
            source,
        })?;
        serde_json::from_slice(&text).map_err(|_| self.form())
    }

    fn blob(&self, digest: Option<&Value>) -> Result<PathBuf, LayoutError> {
        let hex = digest
            .and_then(Value::as_str)
            .and_then(|digest| digest.strip_prefix("sha256:"));
        hex.map(|hex| self.folder.join(BLOBS).join(hex))
            .ok_or_else(|| self.form())
    }

    fn form(&self) -> LayoutError {
        LayoutError::Form {
            path: self.folder.clone(),
        }
    }
}

/// Answers the layer's descriptor and the digest of what it unpacks to.
fn random_layer(blobs: &Path, mebibytes: u64) -> io::Result<(Value, String)> {
    let written = blobs.join("being-written");
    let packed = Hashing::new(BufWriter::new(File::create(&written)?));
    let mut gzip = Hashing::new(GzEncoder::new(packed, Compression::none()));
    let mut piece = vec![0; 1024 * 1024];
    for _ in 0..mebibytes {
        rand::fill(&mut piece).map_err(|_| io::Error::other("no random bytes could be had"))?;
        gzip.write_all(&piece)?;
    }
    let (gzip, diff_id, _) = gzip.finish();
    let (mut file, digest, size) = gzip.finish()?.finish();
    file.flush()?;
    fs::rename(&written, blobs.join(&digest))?;
    let descriptor = json!({
        "mediaType": "application/vnd.oci.image.layer.v1.tar+gzip",
        "digest": format!("sha256:{digest}"), "size": size,
    });
    Ok((descriptor, format!("sha256:{diff_id}")))
}

fn put(blobs: &Path, media_type: &str, content: &Value) -> io::Result<Value> {
    let content = content.to_string();
    let digest = hex::encode(digest::digest(&digest::SHA256, content.as_bytes()));
    fs::write(blobs.join(&digest), &content)?;
    let digest = format!("sha256:{digest}");
    Ok(json!({ "mediaType": media_type, "digest": digest, "size": content.len() }))
}

/// Digests what passes by.
struct Hashing<W> {
    inner: W,
    digest: digest::Context,
    size: u64,
}

impl<W> Hashing<W> {
    fn new(inner: W) -> Self {
        Self {
            inner,
            digest: digest::Context::new(&digest::SHA256),
            size: 0,
        }
    }

    fn finish(self) -> (W, String, u64) {
        let Self {
            inner,
            digest,
            size,
        } = self;
        (inner, hex::encode(digest.finish()), size)
    }
}

impl<W: Write> Write for Hashing<W> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let written = self.inner.write(bytes)?;
        self.digest.update(bytes.get(..written).unwrap_or_default());
        self.size += written as u64;
        Ok(written)
    }

    fn flush(&mut self) -> io::Result<()> {
        self.inner.flush()
    }
}

const BLOBS: &str = "blobs/sha256";
const MANIFEST: &str = "application/vnd.oci.image.manifest.v1+json";

#[cfg(test)]
mod tests {
    use std::io::Read;

    use flate2::read::GzDecoder;

    use super::*;

    fn sha256(bytes: &[u8]) -> String {
        hex::encode(digest::digest(&digest::SHA256, bytes))
    }

    #[test]
    fn the_layer_is_named_by_its_digest_and_unpacks_to_its_diff_id() {
        let folder = tempfile::tempdir().unwrap();
        let layout = Layout::random(folder.path().join("image"), 2).unwrap();
        let layer = layout.layer().unwrap();
        let packed = fs::read(&layer).unwrap();
        assert_eq!(layer.file_name().unwrap(), sha256(&packed).as_str());
        let mut plain = Vec::new();
        GzDecoder::new(packed.as_slice())
            .read_to_end(&mut plain)
            .unwrap();
        assert_eq!(plain.len(), 2 * 1024 * 1024);
        let configs = fs::read_dir(folder.path().join("image").join(BLOBS)).unwrap();
        let diff_id = format!("sha256:{}", sha256(&plain));
        let named = |path: PathBuf| {
            fs::read(path).is_ok_and(|text| String::from_utf8_lossy(&text).contains(&diff_id))
        };
        assert_eq!(
            configs
                .filter(|blob| named(blob.as_ref().unwrap().path()))
                .count(),
            1
        );
    }

    #[test]
    fn what_is_no_layout_is_named() {
        let folder = tempfile::tempdir().unwrap();
        let layout = Layout::at(folder.path().join("none"));
        assert!(matches!(layout.layer(), Err(LayoutError::Io { .. })));
        fs::create_dir(folder.path().join("none")).unwrap();
        fs::write(folder.path().join("none/index.json"), "{}").unwrap();
        assert!(matches!(layout.layer(), Err(LayoutError::Form { .. })));
        layout.remove().unwrap();
        layout.remove().unwrap();
    }
}
