//! Documents beside an image that speak of it, such as statements and signatures: how they are found and read.
//!
//! Nothing here is believed: whoever can write beside the image can put anything there, in any number. So both are
//! bounded, and what can't be used is told with its reason instead of being passed over.

use estate::Digest;
use serde::Serialize;
use serde_json::value::RawValue;

use crate::error::Kind;
use crate::json::RawObject;
use crate::manifest::RawManifest;
use crate::media;
use crate::ports::{BlobId, BlobReader, ImageSource, PortError};

/// What a document speaks of, which is how it is found.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum About {
    /// A manifest or index, which the document names as its `subject`.
    Manifest(Digest),
    /// The configuration of an image: found whatever became of its manifest, since encryption and recipients change
    /// the manifest only.
    Config(Digest),
}

impl About {
    /// The tag of the index that lists the documents, where a registry keeps no list of its own.
    ///
    /// For a manifest it is the one of the distribution specification. For a configuration it is ours: registries that
    /// know subjects collect what names a subject that is no manifest, and nobody but us looks there.
    //= distribution-spec/spec.md#referrers-tag-schema
    #[must_use]
    pub fn tag(&self) -> String {
        match self {
            Self::Manifest(digest) => format!("sha256-{}", digest.to_hex()),
            Self::Config(digest) => format!("sha256-{}.bailiwick", digest.to_hex()),
        }
    }
}

/// An entry of such a list.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Referrer {
    /// Digest and size of the document's manifest.
    pub id: BlobId,
    /// What the list says it is.
    pub artifact_type: Option<String>,
}

/// What a manifest names as its `subject`; `None` when it names nothing, or can't be read.
#[must_use]
pub fn subject_of(manifest: &RawManifest) -> Option<Digest> {
    let members: RawObject = serde_json::from_slice(&manifest.bytes).ok()?;
    let subject: RawObject = members.read("subject").ok()??;
    subject.read("digest").ok()?
}

/// Why a document beside an image was not used.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Unusable {
    /// Fault: the place where it lies.
    #[error("it can't be read")]
    Unreadable(#[source] PortError),
    /// Fault: whoever put it there.
    #[error("it is larger than is read")]
    TooLarge,
    /// Fault: the place where it lies.
    #[error("other bytes came than were asked for")]
    WrongDigest,
    /// Fault: whoever put it there.
    #[error("its manifest is malformed")]
    Malformed(#[source] serde_json::Error),
    /// Fault: whoever put it there, or the registry.
    #[error("it was listed under one subject and names another")]
    OtherSubject,
    /// Fault: whoever put it there.
    #[error("its manifest lists {count} layers")]
    Layers {
        /// How many.
        count: usize,
    },
}

/// One layer of a document.
pub(crate) struct Part {
    pub(crate) media_type: String,
    pub(crate) id: BlobId,
    pub(crate) annotations: RawObject,
}

/// The manifest of a document.
pub(crate) struct Artifact {
    pub(crate) artifact_type: Option<String>,
    pub(crate) parts: Vec<Part>,
}

impl Artifact {
    /// Reads the document that a list names, and checks that it speaks of what it was listed under.
    pub(crate) fn fetch(
        source: &dyn ImageSource,
        referrer: &Referrer,
        about: About,
    ) -> Result<Self, Unusable> {
        if referrer.id.size > ARTIFACT_LIMIT {
            return Err(Unusable::TooLarge);
        }
        let raw = source
            .manifest(&referrer.id)
            .map_err(Unusable::Unreadable)?;
        if raw.id() != referrer.id {
            return Err(Unusable::WrongDigest);
        }
        match about {
            About::Manifest(digest) if subject_of(&raw) != Some(digest) => {
                Err(Unusable::OtherSubject)
            }
            About::Manifest(_) | About::Config(_) => Self::parse(&raw),
        }
    }

    /// Reads a manifest.
    pub(crate) fn parse(raw: &RawManifest) -> Result<Self, Unusable> {
        if raw.id().size > ARTIFACT_LIMIT {
            return Err(Unusable::TooLarge);
        }
        let members: RawObject = serde_json::from_slice(&raw.bytes).map_err(Unusable::Malformed)?;
        let layers: Option<Vec<Box<RawValue>>> =
            members.read("layers").map_err(Unusable::Malformed)?;
        let layers = layers.unwrap_or_default();
        if !(1..=PART_LIMIT).contains(&layers.len()) {
            let count = layers.len();
            return Err(Unusable::Layers { count });
        }
        let parts = layers.iter().map(|layer| Part::parse(layer));
        Ok(Self {
            artifact_type: members.read("artifactType").map_err(Unusable::Malformed)?,
            parts: parts
                .collect::<Result<_, _>>()
                .map_err(Unusable::Malformed)?,
        })
    }

    /// The only layer.
    pub(crate) fn only(&self) -> Result<&Part, Unusable> {
        match self.parts.as_slice() {
            [part] => Ok(part),
            parts => Err(Unusable::Layers { count: parts.len() }),
        }
    }
}

impl Part {
    fn parse(raw: &RawValue) -> Result<Self, serde_json::Error> {
        use serde::de::Error as _;
        let members: RawObject = serde_json::from_str(raw.get())?;
        let missing = || serde_json::Error::custom("a layer without type, digest or size");
        Ok(Self {
            media_type: members.read("mediaType")?.ok_or_else(missing)?,
            id: BlobId {
                digest: members.read("digest")?.ok_or_else(missing)?,
                size: members.read("size")?.ok_or_else(missing)?,
            },
            annotations: members.read("annotations")?.unwrap_or_default(),
        })
    }

    /// The bytes of the layer, checked against its digest.
    pub(crate) fn fetch(&self, source: &dyn ImageSource) -> Result<Vec<u8>, Unusable> {
        if self.id.size > PAYLOAD_LIMIT {
            return Err(Unusable::TooLarge);
        }
        let mut reader = source.blob(&self.id).map_err(Unusable::Unreadable)?;
        let bytes = read_all(reader.as_mut(), self.id.size).map_err(Unusable::Unreadable)?;
        match BlobId::of(&bytes) == self.id {
            true => Ok(bytes),
            false => Err(Unusable::WrongDigest),
        }
    }

    /// An annotation; one that is no text reads as absent, and so signs nothing.
    pub(crate) fn annotation(&self, name: &str) -> Option<String> {
        self.annotations.read(name).ok().flatten()
    }
}

impl Unusable {
    /// Whether asking again later may end better: then nothing is known about what lies there.
    pub(crate) fn is_passing(&self) -> bool {
        matches!(self, Self::Unreadable(error) if error.kind() == Kind::Unavailable)
    }
}

/// Manifest of a document with one layer, as artifacts have it.
//= image-spec/manifest.md#guidelines-for-artifact-usage
pub(crate) fn artifact(
    artifact_type: &'static str,
    layer_type: &'static str,
    layer: BlobId,
    subject: Option<(&str, BlobId)>,
) -> Result<RawManifest, serde_json::Error> {
    let manifest = Written {
        schema_version: 2,
        media_type: media::OCI_MANIFEST,
        artifact_type,
        config: WrittenDescriptor::of(EMPTY_TYPE, BlobId::of(EMPTY)),
        layers: [WrittenDescriptor::of(layer_type, layer)],
        subject: subject.map(|(media_type, id)| WrittenDescriptor::of(media_type, id)),
    };
    Ok(RawManifest {
        media_type: media::OCI_MANIFEST.to_owned(),
        bytes: serde_json::to_vec(&manifest)?,
    })
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Written<'a> {
    schema_version: u8,
    media_type: &'static str,
    artifact_type: &'static str,
    config: WrittenDescriptor<'a>,
    layers: [WrittenDescriptor<'a>; 1],
    #[serde(skip_serializing_if = "Option::is_none")]
    subject: Option<WrittenDescriptor<'a>>,
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct WrittenDescriptor<'a> {
    media_type: &'a str,
    digest: Digest,
    size: u64,
}

impl<'a> WrittenDescriptor<'a> {
    const fn of(media_type: &'a str, id: BlobId) -> Self {
        Self {
            media_type,
            digest: id.digest,
            size: id.size,
        }
    }
}

fn read_all(reader: &mut dyn BlobReader, size: u64) -> Result<Vec<u8>, PortError> {
    let mut bytes = Vec::new();
    let mut buffer = vec![0; 64 * 1024];
    loop {
        let count = reader.read(&mut buffer)?;
        match buffer.get(..count) {
            Some(piece) if !piece.is_empty() => bytes.extend_from_slice(piece),
            _ => return Ok(bytes),
        }
        if bytes.len() as u64 > size {
            return Ok(bytes);
        }
    }
}

/// The configuration of a document that needs none.
pub(crate) const EMPTY: &[u8] = b"{}";
const EMPTY_TYPE: &str = "application/vnd.oci.empty.v1+json";
/// Most documents of one list that are looked at.
pub(crate) const DOCUMENT_LIMIT: usize = 64;
/// Largest manifest of a document.
const ARTIFACT_LIMIT: u64 = 256 * 1024;
/// Largest layer of a document.
const PAYLOAD_LIMIT: u64 = 256 * 1024;
/// Cosign adds a layer to one manifest with each signature.
const PART_LIMIT: usize = 64;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_written_is_read() {
        let (layer, subject) = (BlobId::of(b"x"), BlobId::of(b"y"));
        let written = artifact("a/b", "c/d", layer, Some(("e/f", subject))).unwrap();
        assert_eq!(subject_of(&written), Some(subject.digest));
        let read = Artifact::parse(&written).unwrap();
        assert_eq!(read.artifact_type.as_deref(), Some("a/b"));
        assert_eq!(read.only().unwrap().id, layer);
        let free = artifact("a/b", "c/d", layer, None).unwrap();
        assert_eq!(subject_of(&free), None);
    }

    #[test]
    fn tags_are_those_of_the_specification_and_ours() {
        let digest = Digest::of("x");
        let hex = digest.to_hex();
        assert_eq!(About::Manifest(digest).tag(), format!("sha256-{hex}"));
        assert_eq!(
            About::Config(digest).tag(),
            format!("sha256-{hex}.bailiwick")
        );
    }

    proptest::proptest! {
        #[test]
        fn no_bytes_panic(bytes in proptest::collection::vec(proptest::num::u8::ANY, 0..256)) {
            let raw = RawManifest { media_type: String::new(), bytes };
            let _ = (Artifact::parse(&raw).is_ok(), subject_of(&raw));
        }

        #[test]
        fn no_json_panics(text in r#"\{("(layers|subject|artifactType|Subject)":(\[\]|\{\}|null|[0-9]{1,30}|\[\{"digest":"[a-z0-9:]{0,80}","size":-?[0-9]{1,25}\}\]),?){0,4}\}?"#) {
            let raw = RawManifest { media_type: String::new(), bytes: text.into_bytes() };
            let _ = (Artifact::parse(&raw).is_ok(), subject_of(&raw));
        }
    }
}
