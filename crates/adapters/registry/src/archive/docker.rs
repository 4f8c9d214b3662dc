//! What `docker save` writes, as an OCI image: its list names a configuration and the tars of the layers, and the
//! manifest that a registry would hold is made from them.

use std::collections::HashMap;

use aws_lc_rs::digest::{Context, SHA256};
use estate::Digest;
use images::{BlobId, BlobReader, ImageSource, PortError, RawManifest, RawObject, media};
use serde::Serialize;
use serde::de::Error as _;
use serde_json::value::RawValue;

use super::Archive;
use super::tar::{Entry, Extent};
use crate::error::RegistryError;
use crate::reference::{ArchiveReference, LayoutTag};

/// An image that `docker save`, podman or skopeo wrote to a file.
#[derive(Debug)]
pub struct DockerArchiveSource {
    archive: Archive,
    root: RawManifest,
    blobs: HashMap<Digest, Extent>,
}

impl DockerArchiveSource {
    /// Opens the file and finds the image.
    ///
    /// # Errors
    /// When it is no such archive, holds no such image, or its list names what is not there.
    pub fn open(reference: &ArchiveReference) -> Result<Self, RegistryError> {
        let path = reference.file();
        let archive = Archive::open(path)?
            .ok_or_else(|| RegistryError::NoSuchImage(path.display().to_string()))?;
        let list = archive
            .index
            .file(LIST)
            .ok_or_else(|| RegistryError::NotADockerArchive(path.to_owned()))?;
        let image = Listed::find(
            &archive.small(list)?,
            reference.tag().map(LayoutTag::as_str),
        )
        .map_err(|source| archive.malformed(source))?
        .ok_or_else(|| match reference.tag() {
            Some(tag) => RegistryError::NoSuchImage(tag.as_str().to_owned()),
            None => RegistryError::NotOneImage,
        })?;
        let (root, blobs) = convert(&archive, &image)?;
        Ok(Self {
            archive,
            root,
            blobs,
        })
    }
}

impl ImageSource for DockerArchiveSource {
    fn root(&self) -> Result<RawManifest, PortError> {
        Ok(self.root.clone())
    }

    fn manifest(&self, id: &BlobId) -> Result<RawManifest, PortError> {
        Err(RegistryError::NoSuchBlob(id.digest).into())
    }

    fn blob(&self, id: &BlobId) -> Result<Box<dyn BlobReader + '_>, PortError> {
        let extent = *self
            .blobs
            .get(&id.digest)
            .ok_or(RegistryError::NoSuchBlob(id.digest))?;
        if extent.size != id.size {
            return Err(RegistryError::WrongSize {
                digest: id.digest,
                expected: id.size,
            }
            .into());
        }
        Ok(Box::new(self.archive.reader(extent)?))
    }
}

/// An entry of `manifest.json`.
#[derive(Debug)]
struct Listed {
    config: String,
    layers: Vec<String>,
}

impl Listed {
    /// The image with this name; without a name, the only one. `None` when none or several have it.
    fn find(bytes: &[u8], tag: Option<&str>) -> Result<Option<Self>, serde_json::Error> {
        let entries: Vec<Box<RawValue>> = serde_json::from_slice(bytes)?;
        let mut found = None;
        for entry in &entries {
            let members: RawObject = serde_json::from_str(entry.get())?;
            let tags: Vec<String> = members.read("RepoTags")?.unwrap_or_default();
            if tag.is_some_and(|tag| !tags.iter().any(|known| known == tag)) {
                continue;
            }
            let missing = || serde_json::Error::custom("an image has no configuration or layers");
            let image = Self {
                config: members.read("Config")?.ok_or_else(missing)?,
                layers: members.read("Layers")?.ok_or_else(missing)?,
            };
            if found.replace(image).is_some() {
                return Ok(None);
            }
        }
        Ok(found)
    }
}

/// The manifest, and where its blobs lie.
fn convert(
    archive: &Archive,
    image: &Listed,
) -> Result<(RawManifest, HashMap<Digest, Extent>), RegistryError> {
    let malformed = |source| archive.malformed(source);
    let extent = file(archive, &image.config)?;
    let config = archive.small(extent)?;
    let diff_ids = diff_ids(&config).map_err(malformed)?;
    if diff_ids.len() != image.layers.len() || diff_ids.len() > LAYER_LIMIT {
        return Err(malformed(serde_json::Error::custom(
            "its list and its configuration name different layers, or too many",
        )));
    }
    let id = BlobId::of(&config);
    let mut blobs = HashMap::from([(id.digest, extent)]);
    let mut layers = Vec::with_capacity(diff_ids.len());
    for (name, diff_id) in image.layers.iter().zip(diff_ids) {
        let extent = file(archive, name)?;
        let (media_type, digest) = layer(archive, name, extent, diff_id)?;
        blobs.entry(digest).or_insert(extent);
        layers.push(Descriptor {
            media_type,
            digest,
            size: extent.size,
        });
    }
    let manifest = Manifest {
        schema_version: 2,
        media_type: media::OCI_MANIFEST,
        config: Descriptor {
            media_type: OCI_CONFIG,
            digest: id.digest,
            size: id.size,
        },
        layers,
    };
    let root = RawManifest {
        media_type: media::OCI_MANIFEST.to_owned(),
        bytes: serde_json::to_vec(&manifest).map_err(malformed)?,
    };
    Ok((root, blobs))
}

/// What a layer is, and its digest. For a plain tar that is what the configuration says it unpacks to, and whoever
/// reads the layer checks it; only a packed one has to be read here.
fn layer(
    archive: &Archive,
    name: &str,
    extent: Extent,
    diff_id: Digest,
) -> Result<(&'static str, Digest), RegistryError> {
    let mut start = [0; 4];
    let reader = archive.reader(Extent {
        size: extent.size.min(4),
        ..extent
    })?;
    read_into(reader, &mut start)?;
    let media_type = match start {
        [0x1f, 0x8b, ..] => "application/vnd.oci.image.layer.v1.tar+gzip",
        [0x28, 0xb5, 0x2f, 0xfd] => "application/vnd.oci.image.layer.v1.tar+zstd",
        _ => return Ok(("application/vnd.oci.image.layer.v1.tar", diff_id)),
    };
    // Newer writers name a layer by its digest, which is checked like any other by whoever reads it.
    let named = name.strip_prefix("blobs/sha256/");
    let named = named.and_then(|hex| format!("sha256:{hex}").parse().ok());
    let digest = match named {
        Some(digest) => digest,
        None => digest_of(archive, extent)?,
    };
    Ok((media_type, digest))
}

fn read_into(mut reader: super::ExtentReader<'_>, buffer: &mut [u8]) -> Result<(), RegistryError> {
    let mut rest = buffer;
    loop {
        let count = reader.fill(rest)?;
        if count == 0 {
            return Ok(());
        }
        rest = rest.split_at_mut(count).1;
    }
}

fn digest_of(archive: &Archive, extent: Extent) -> Result<Digest, RegistryError> {
    let mut reader = archive.reader(extent)?;
    let mut hasher = Context::new(&SHA256);
    let mut buffer = vec![0; 256 * 1024];
    loop {
        let count = reader.fill(&mut buffer)?;
        match buffer.get(..count) {
            Some(piece) if !piece.is_empty() => hasher.update(piece),
            _ => break,
        }
    }
    let mut digest = [0; 32];
    digest.copy_from_slice(hasher.finish().as_ref());
    Ok(Digest::from_bytes(digest))
}

/// The file that the list names. Older dockers write a layer that is there already as a link to it: a link stands for
/// another entry of the archive, and only for a file.
fn file(archive: &Archive, name: &str) -> Result<Extent, RegistryError> {
    let found = match archive.index.entry(name) {
        Some(Entry::File(extent)) => Some(*extent),
        Some(Entry::Link(target)) => archive.index.file(target),
        Some(Entry::Directory) | None => None,
    };
    found.ok_or_else(|| {
        let name = name.chars().take(128).flat_map(char::escape_debug);
        RegistryError::NotInArchive {
            path: archive.path.clone(),
            name: name.collect(),
        }
    })
}

fn diff_ids(config: &[u8]) -> Result<Vec<Digest>, serde_json::Error> {
    let members: RawObject = serde_json::from_slice(config)?;
    let rootfs: RawObject = members
        .read("rootfs")?
        .ok_or_else(|| serde_json::Error::custom("its configuration has no `rootfs`"))?;
    Ok(rootfs.read("diff_ids")?.unwrap_or_default())
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Manifest {
    schema_version: u8,
    media_type: &'static str,
    config: Descriptor,
    layers: Vec<Descriptor>,
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Descriptor {
    media_type: &'static str,
    digest: Digest,
    size: u64,
}

const OCI_CONFIG: &str = "application/vnd.oci.image.config.v1+json";
const LIST: &str = "manifest.json";
/// As many as `images` reads.
const LAYER_LIMIT: usize = 1024;
