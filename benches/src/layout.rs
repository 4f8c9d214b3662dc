//! An OCI layout with one image to measure with, and what of it can be looked up afterwards.

use std::fs::{self, File};
use std::io::{self, BufWriter, Write};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};

use aws_lc_rs::{digest, rand};
use flate2::{Compression, write::GzEncoder};
use serde_json::{Value, json};

/// What a layer holds.
#[derive(Debug, Clone)]
pub enum Content {
    /// So many random bytes, packed as gzip that stores what it cannot press.
    Random(u64),
    /// Files of this machine, as a tar archive in gzip of the usual level.
    Files(Vec<PathBuf>),
}

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

    /// The layers' files, from the bottom.
    ///
    /// # Errors
    /// [`LayoutError`]
    pub fn layers(&self) -> Result<Vec<PathBuf>, LayoutError> {
        let index = self.json(&self.folder.join("index.json"))?;
        let manifest = self.json(&self.blob(index.pointer("/manifests/0/digest"))?)?;
        let layers = manifest.get("layers").and_then(Value::as_array);
        let layers = layers.filter(|layers| !layers.is_empty());
        let layers = layers.ok_or_else(|| self.form())?.iter();
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

impl Content {
    /// Answers the layer's descriptor and the digest of what it unpacks to.
    fn write(&self, blobs: &Path) -> io::Result<(Value, String)> {
        let written = blobs.join("being-written");
        let level = match self {
            Self::Random(_) => Compression::none(),
            Self::Files(_) => Compression::default(),
        };
        let packed = Hashing::new(BufWriter::new(File::create(&written)?));
        let mut gzip = Hashing::new(GzEncoder::new(packed, level));
        match self {
            Self::Random(length) => random(*length, &mut gzip)?,
            Self::Files(files) => archive(files, &mut gzip)?,
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
}

fn random(length: u64, to: &mut impl Write) -> io::Result<()> {
    let mut piece = vec![0; 1024 * 1024];
    let mut left = length;
    while left > 0 {
        let count = usize::try_from(left).map_or(piece.len(), |left| left.min(piece.len()));
        let piece = piece.get_mut(..count).unwrap_or_default();
        rand::fill(piece).map_err(|_| io::Error::other("no random bytes could be had"))?;
        to.write_all(piece)?;
        left -= count as u64;
    }
    Ok(())
}

fn archive(files: &[PathBuf], to: &mut impl Write) -> io::Result<()> {
    let mut tar = Command::new("tar");
    tar.args(["--create", "--absolute-names", "--file=-", "--"])
        .args(files)
        .stdout(Stdio::piped());
    let mut tar: Child = tar.spawn()?;
    if let Some(mut archive) = tar.stdout.take() {
        io::copy(&mut archive, to)?;
    }
    match tar.wait()?.success() {
        true => Ok(()),
        false => Err(io::Error::other("tar could not read all files")),
    }
}

/// Files of `/usr` that this machine really runs, in `count` layers of about `length` bytes each before they are packed.
///
/// # Errors
/// The system's, when there are not enough of them.
pub fn system_layers(count: usize, length: u64) -> io::Result<Vec<Content>> {
    let mut files = Vec::new();
    for folder in ["/usr/bin", "/usr/lib", "/usr/share"] {
        collect(Path::new(folder), &mut files)?;
    }
    let mut files = files.into_iter();
    let mut layers = Vec::new();
    while layers.len() < count {
        let (mut layer, mut size) = (Vec::new(), 0);
        while size < length {
            let too_few = || io::Error::other("there are too few files in /usr");
            let (file, more) = files.next().ok_or_else(too_few)?;
            layer.push(file);
            size += more;
        }
        layers.push(Content::Files(layer));
    }
    Ok(layers)
}

/// Regular files and their sizes, by name. No single one of them fills a layer.
fn collect(folder: &Path, files: &mut Vec<(PathBuf, u64)>) -> io::Result<()> {
    let mut entries = fs::read_dir(folder)?.collect::<io::Result<Vec<_>>>()?;
    entries.sort_by_key(std::fs::DirEntry::file_name);
    for entry in entries {
        let metadata = entry.metadata()?;
        if metadata.is_dir() {
            collect(&entry.path(), files)?;
        } else if metadata.is_file() && metadata.len() < 16 * 1024 * 1024 {
            files.push((entry.path(), metadata.len()));
        }
    }
    Ok(())
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
    fn layers_are_named_by_their_digests_and_unpack_to_their_diff_ids() {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("file");
        fs::write(&file, "content").unwrap();
        let contents = [Content::Random(2_000_001), Content::Files(vec![file])];
        let layout = Layout::of(folder.path().join("image"), &contents).unwrap();
        let layers = layout.layers().unwrap();
        assert_eq!(layers.len(), 2);
        let mut sizes = Vec::new();
        let mut diff_ids = String::new();
        for layer in layers {
            let packed = fs::read(&layer).unwrap();
            assert_eq!(layer.file_name().unwrap(), sha256(&packed).as_str());
            let mut plain = Vec::new();
            GzDecoder::new(packed.as_slice())
                .read_to_end(&mut plain)
                .unwrap();
            sizes.push(plain.len());
            diff_ids.push_str(&format!("\"sha256:{}\",", sha256(&plain)));
        }
        assert_eq!(sizes, [2_000_001, 10_240]);
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
        let layers = system_layers(2, 1024 * 1024).unwrap();
        assert!(matches!(&layers[..], [Content::Files(one), Content::Files(two)] if one != two));
        assert!(system_layers(1, u64::MAX).is_err());
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
