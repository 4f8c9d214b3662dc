//! An image in an OCI layout, opened for reading and forging: nothing here knows the code under test.

use std::fs;
use std::path::{Path, PathBuf};

use estate::Digest;
use fixture::Layout;
use serde_json::{Value, json};

/// An image in a layout's folder.
#[derive(Clone, Debug)]
pub struct Image {
    folder: PathBuf,
    tag: String,
}

/// A blob as manifests name it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Descriptor {
    /// `sha256:…`.
    pub digest: String,
    /// Bytes.
    pub size: u64,
}

impl From<&Layout> for Image {
    fn from(layout: &Layout) -> Self {
        Self::at(&layout.folder, &layout.tag)
    }
}

impl Image {
    /// The image of this tag in this folder; it may not be there yet.
    #[must_use]
    pub fn at(folder: impl Into<PathBuf>, tag: &str) -> Self {
        Self {
            folder: folder.into(),
            tag: tag.to_owned(),
        }
    }

    /// As image tools name it.
    #[must_use]
    pub fn transport(&self) -> String {
        format!("oci:{}:{}", self.folder.display(), self.tag)
    }

    /// As the fixture names it.
    #[must_use]
    pub fn layout(&self) -> Layout {
        Layout {
            folder: self.folder.clone(),
            tag: self.tag.clone(),
        }
    }

    /// A copy to forge.
    #[must_use]
    pub fn copy_to(&self, folder: &Path) -> Self {
        copy_folder(&self.folder, folder);
        Self::at(folder, &self.tag)
    }

    /// The manifest.
    #[must_use]
    pub fn manifest(&self) -> Value {
        let index = self.index();
        let entry = index["manifests"]
            .as_array()
            .unwrap()
            .iter()
            .find(|entry| entry["annotations"]["org.opencontainers.image.ref.name"] == *self.tag)
            .unwrap_or_else(|| panic!("no `{}` in {index}", self.tag));
        self.json(entry["digest"].as_str().unwrap())
    }

    /// Replaces the manifest.
    pub fn set_manifest(&self, manifest: &Value) {
        let blob = self.put(manifest.to_string().as_bytes());
        let index = json!({ "schemaVersion": 2, "manifests": [{
            "mediaType": "application/vnd.oci.image.manifest.v1+json", "digest": blob.digest, "size": blob.size,
            "annotations": { "org.opencontainers.image.ref.name": self.tag },
        }] });
        fs::write(self.folder.join("index.json"), index.to_string()).unwrap();
    }

    /// The configuration.
    #[must_use]
    pub fn config(&self) -> Value {
        self.json(&self.config_digest())
    }

    /// The configuration's digest: the image's identity.
    #[must_use]
    pub fn config_digest(&self) -> String {
        text(&self.manifest()["config"]["digest"])
    }

    /// The digests of the layers, bottom first.
    #[must_use]
    pub fn layers(&self) -> Vec<String> {
        let manifest = self.manifest();
        let layers = manifest["layers"].as_array().unwrap();
        layers.iter().map(|layer| text(&layer["digest"])).collect()
    }

    /// A blob.
    #[must_use]
    pub fn blob(&self, digest: &str) -> Vec<u8> {
        fs::read(self.blob_path(digest)).unwrap()
    }

    /// A blob's file.
    #[must_use]
    pub fn blob_path(&self, digest: &str) -> PathBuf {
        let hex = digest.strip_prefix("sha256:").unwrap();
        self.folder.join("blobs/sha256").join(hex)
    }

    /// Adds a blob.
    pub fn put(&self, bytes: &[u8]) -> Descriptor {
        let digest = Digest::of(bytes).to_string();
        fs::write(self.blob_path(&digest), bytes).unwrap();
        let size = bytes.len() as u64;
        Descriptor { digest, size }
    }

    fn index(&self) -> Value {
        serde_json::from_slice(&fs::read(self.folder.join("index.json")).unwrap()).unwrap()
    }

    fn json(&self, digest: &str) -> Value {
        serde_json::from_slice(&self.blob(digest)).unwrap()
    }
}

fn text(value: &Value) -> String {
    value.as_str().unwrap().to_owned()
}

fn copy_folder(from: &Path, to: &Path) {
    fs::create_dir_all(to).unwrap();
    for entry in fs::read_dir(from).unwrap() {
        let entry = entry.unwrap();
        let target = to.join(entry.file_name());
        match entry.file_type().unwrap().is_dir() {
            true => copy_folder(&entry.path(), &target),
            false => drop(fs::copy(entry.path(), target).unwrap()),
        }
    }
}
