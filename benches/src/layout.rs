//! An OCI layout with one image to measure with, and what of it can be looked up afterwards.

mod content;

use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use aws_lc_rs::digest;
use serde_json::{Value, json};

pub use content::{Content, Packing, system_layers};

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
    #[error("`{}` is no layout with one image", path.display())]
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

    /// Makes a plain image of these layers.
    ///
    /// # Errors
    /// [`LayoutError::Io`]
    pub fn of(folder: impl Into<PathBuf>, layers: &[Content]) -> Result<Self, LayoutError> {
        let this = Self::at(folder);
        let path = this.folder.clone();
        this.make(layers)
            .map_err(|source| LayoutError::Io { path, source })?;
        Ok(this)
    }

    /// As tools name it: `oci:FOLDER:TAG`.
    pub fn transport(&self) -> String {
        format!("oci:{}:{}", self.folder.display(), Self::TAG)
    }

    /// The layers' descriptors, from the bottom; there is at least one.
    ///
    /// # Errors
    /// [`LayoutError`]
    pub fn descriptors(&self) -> Result<Vec<Value>, LayoutError> {
        let index = self.json(&self.folder.join("index.json"))?;
        let manifest = self.json(&self.blob(index.pointer("/manifests/0/digest"))?)?;
        let layers = manifest.get("layers").and_then(Value::as_array);
        let layers = layers.filter(|layers| !layers.is_empty());
        layers.cloned().ok_or_else(|| self.form())
    }

    /// The layers' files, from the bottom.
    ///
    /// # Errors
    /// [`LayoutError`]
    pub fn layers(&self) -> Result<Vec<PathBuf>, LayoutError> {
        let layers = self.descriptors()?;
        let layers = layers.iter();
        layers.map(|layer| self.blob(layer.get("digest"))).collect()
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

    fn make(&self, layers: &[Content]) -> io::Result<()> {
        let blobs = self.folder.join(BLOBS);
        fs::create_dir_all(&blobs)?;
        let layers = layers.iter().map(|content| content.write(&blobs));
        let (layers, diff_ids): (Vec<_>, Vec<_>) =
            layers.collect::<io::Result<Vec<_>>>()?.into_iter().unzip();
        let config = json!({
            "architecture": "amd64", "os": "linux", "config": {},
            "rootfs": { "type": "layers", "diff_ids": diff_ids },
        });
        let config = put(&blobs, "application/vnd.oci.image.config.v1+json", &config)?;
        let manifest = json!({
            "schemaVersion": 2, "mediaType": MANIFEST, "config": config, "layers": layers,
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

fn put(blobs: &Path, media_type: &str, content: &Value) -> io::Result<Value> {
    let content = content.to_string();
    let digest = hex::encode(digest::digest(&digest::SHA256, content.as_bytes()));
    fs::write(blobs.join(&digest), &content)?;
    let digest = format!("sha256:{digest}");
    Ok(json!({ "mediaType": media_type, "digest": digest, "size": content.len() }))
}

const BLOBS: &str = "blobs/sha256";
const MANIFEST: &str = "application/vnd.oci.image.manifest.v1+json";

#[cfg(test)]
mod tests {
    use std::io::Read;
    use std::process::Command;

    use flate2::read::GzDecoder;

    use super::*;

    fn sha256(bytes: &[u8]) -> String {
        hex::encode(digest::digest(&digest::SHA256, bytes))
    }

    fn unpack(packed: &[u8]) -> Vec<u8> {
        if packed.starts_with(&[0x28, 0xb5, 0x2f, 0xfd]) {
            return zstd::decode_all(packed).unwrap();
        }
        let mut plain = Vec::new();
        GzDecoder::new(packed).read_to_end(&mut plain).unwrap();
        plain
    }

    /// What `tar` lists, with sizes.
    fn listed(folder: &Path, archive: &[u8]) -> String {
        let path = folder.join("archive");
        fs::write(&path, archive).unwrap();
        let list = ["--list", "--verbose", "--absolute-names", "--file"];
        let output = Command::new("tar").args(list).arg(path).output().unwrap();
        assert!(output.status.success(), "{output:?}");
        String::from_utf8(output.stdout).unwrap()
    }

    #[test]
    fn layers_are_named_by_their_digests_and_unpack_to_their_diff_ids() {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("file");
        fs::write(&file, "content").unwrap();
        let contents = [
            Content::Random(2_000_001),
            Content::Files(vec![file.clone()], Packing::Gzip),
            Content::Files(vec![file], Packing::Zstd),
        ];
        let layout = Layout::of(folder.path().join("image"), &contents).unwrap();
        let layers = layout.layers().unwrap();
        let types = layout.descriptors().unwrap();
        let types = types.iter().map(|layer| layer["mediaType"].as_str());
        let types: Vec<_> = types.map(|name| name.unwrap().rsplit_once('+')).collect();
        assert_eq!(types.len(), 3);
        let packings = types.iter().map(|name| name.unwrap().1);
        assert_eq!(packings.collect::<Vec<_>>(), ["gzip", "gzip", "zstd"]);
        let (mut lists, mut diff_ids) = (Vec::new(), String::new());
        for layer in layers {
            let packed = fs::read(&layer).unwrap();
            assert_eq!(layer.file_name().unwrap(), sha256(&packed).as_str());
            let plain = unpack(&packed);
            lists.push(listed(folder.path(), &plain));
            diff_ids.push_str(&format!("\"sha256:{}\",", sha256(&plain)));
        }
        let wanted = [("2000001", "random"), ("7", "file"), ("7", "file")];
        for (list, (size, name)) in lists.iter().zip(wanted) {
            assert!(list.contains(&format!(" {size} ")), "{list}");
            assert!(list.trim_end().ends_with(name), "{list}");
            assert_eq!(list.lines().count(), 1, "{list}");
        }
        let configs = fs::read_dir(folder.path().join("image").join(BLOBS)).unwrap();
        let wanted = diff_ids.trim_end_matches(',');
        let named = |path: PathBuf| {
            fs::read(path).is_ok_and(|text| String::from_utf8_lossy(&text).contains(wanted))
        };
        let found = configs.filter(|blob| named(blob.as_ref().unwrap().path()));
        assert_eq!(found.count(), 1);
    }

    #[test]
    fn this_machine_has_files_for_a_real_image() {
        let layers = system_layers(2, 1024 * 1024, Packing::Gzip).unwrap();
        assert!(
            matches!(&layers[..], [Content::Files(one, _), Content::Files(two, _)] if one != two)
        );
        assert!(system_layers(1, u64::MAX, Packing::Gzip).is_err());
    }

    #[test]
    fn what_is_no_layout_is_named() {
        let folder = tempfile::tempdir().unwrap();
        let layout = Layout::at(folder.path().join("none"));
        assert!(matches!(layout.layers(), Err(LayoutError::Io { .. })));
        fs::create_dir(folder.path().join("none")).unwrap();
        fs::write(folder.path().join("none/index.json"), "{}").unwrap();
        assert!(matches!(layout.layers(), Err(LayoutError::Form { .. })));
        layout.remove().unwrap();
        layout.remove().unwrap();
    }
}
