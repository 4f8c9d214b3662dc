//! Manifests and indexes as we hold them: parsed where this room must look, raw everywhere else.

mod descriptor;

pub(crate) use descriptor::{Descriptor, platform_text};

use std::collections::HashMap;

use estate::Digest;
use serde::Deserialize;
use serde_json::value::RawValue;

use crate::error::ImageError;
use crate::json::RawObject;
use crate::media::{self, Document};
use crate::ports::{BlobId, ImageSource, MANIFEST_LIMIT};

/// A manifest or index exactly as it lies in the registry.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RawManifest {
    /// Its media type, as the registry or its descriptor tells it.
    pub media_type: String,
    /// Its bytes.
    pub bytes: Vec<u8>,
}

impl RawManifest {
    /// Digest and size of the bytes.
    #[must_use]
    pub fn id(&self) -> BlobId {
        BlobId::of(&self.bytes)
    }
}

/// What a name of an image stands for.
#[derive(Debug)]
pub(crate) enum Root {
    Manifest(Manifest),
    Index(Index),
}

impl Root {
    /// Reads a document whose digest somebody checked.
    pub(crate) fn parse(raw: &RawManifest) -> Result<Self, ImageError> {
        let members = object(raw)?;
        let announced = announced_type(raw, &members)?;
        match media::document(&announced) {
            Some(Document::Manifest) => {
                Manifest::from_members(members, announced, raw.id()).map(Self::Manifest)
            }
            Some(Document::Index) => Index::from_members(members, announced).map(Self::Index),
            None => Err(ImageError::UnknownDocument {
                media_type: announced,
            }),
        }
    }
}

/// An image manifest.
#[derive(Debug)]
pub(crate) struct Manifest {
    members: RawObject,
    media_type: String,
    /// Digest and size as it was read.
    pub(crate) id: BlobId,
    pub(crate) config: Descriptor,
    /// From the bottom up.
    pub(crate) layers: Vec<Descriptor>,
}

impl Manifest {
    fn from_members(
        members: RawObject,
        media_type: String,
        id: BlobId,
    ) -> Result<Self, ImageError> {
        let config: Box<RawValue> = required(&members, "config")?;
        let layers: Vec<Box<RawValue>> = required(&members, "layers")?;
        if layers.len() > LAYER_LIMIT {
            return Err(ImageError::TooManyLayers);
        }
        Ok(Self {
            config: Descriptor::parse(&config)?,
            layers: layers
                .iter()
                .map(|layer| Descriptor::parse(layer))
                .collect::<Result<_, _>>()?,
            members,
            media_type,
            id,
        })
    }

    /// Its media type as it was read.
    pub(crate) fn media_type(&self) -> &str {
        &self.media_type
    }

    /// Whether `entry` lists it as a builder's attestation beside the image, and nothing in it is a file system. Only an
    /// entry for the platform that no machine has is never run: one that tells no platform is run by readers that find no
    /// better, whatever its layers call themselves.
    pub(crate) fn is_attestation(&self, entry: &Descriptor) -> Result<bool, ImageError> {
        let listed = entry
            .annotation(REFERENCE_TYPE)?
            .is_some_and(|kind| kind == ATTESTATION);
        let runs = entry
            .platform()
            .is_none_or(|platform| platform != "unknown/unknown");
        let statements = self
            .layers
            .iter()
            .all(|layer| layer.media_type == media::IN_TOTO);
        Ok(listed && !runs && !self.layers.is_empty() && statements)
    }

    /// Says `value` under `name` in the annotations of the manifest itself.
    pub(crate) fn annotate(&mut self, name: &str, value: &str) -> Result<(), ImageError> {
        let annotations: Option<RawObject> = self
            .members
            .read("annotations")
            .map_err(ImageError::Malformed)?;
        let mut annotations = annotations.unwrap_or_default();
        set(&mut annotations, name, &value)?;
        set(&mut self.members, "annotations", &annotations)
    }

    /// The manifest in OCI's form, with the descriptors as they stand now and all else as it was.
    pub(crate) fn to_raw(&self) -> Result<RawManifest, ImageError> {
        let media_type = media::to_oci(&self.media_type).to_owned();
        let mut members = self.members.clone();
        retype(&mut members, &media_type)?;
        set(&mut members, "config", &self.config)?;
        set(&mut members, "layers", &self.layers)?;
        finished(&members, media_type)
    }
}

/// A list of manifests, one per platform.
#[derive(Debug)]
pub(crate) struct Index {
    members: RawObject,
    media_type: String,
    pub(crate) entries: Vec<Descriptor>,
}

impl Index {
    fn from_members(members: RawObject, media_type: String) -> Result<Self, ImageError> {
        let entries: Vec<Box<RawValue>> = required(&members, "manifests")?;
        if entries.len() > ENTRY_LIMIT {
            return Err(ImageError::TooManyPlatforms);
        }
        Ok(Self {
            entries: entries
                .iter()
                .map(|layer| Descriptor::parse(layer))
                .collect::<Result<_, _>>()?,
            members,
            media_type,
        })
    }

    /// The index in OCI's form, with the entries as they stand now and all else as it was.
    pub(crate) fn to_raw(&self) -> Result<RawManifest, ImageError> {
        let media_type = media::to_oci(&self.media_type).to_owned();
        let mut members = self.members.clone();
        retype(&mut members, &media_type)?;
        set(&mut members, "manifests", &self.entries)?;
        finished(&members, media_type)
    }
}

/// Reads the document that an entry names and checks that it is the one.
pub(crate) fn fetch_raw(
    source: &dyn ImageSource,
    entry: &Descriptor,
) -> Result<RawManifest, ImageError> {
    if entry.id.size > MANIFEST_LIMIT {
        return Err(ImageError::TooLarge {
            digest: entry.id.digest,
        });
    }
    let raw = source.manifest(&entry.id).map_err(ImageError::Source)?;
    if raw.id() != entry.id {
        return Err(ImageError::WrongDigest {
            digest: entry.id.digest,
        });
    }
    Ok(RawManifest {
        media_type: entry.media_type.clone(),
        ..raw
    })
}

/// The document with its `subject` naming what became of the manifest that it named; `None` where that did not change.
pub(crate) fn with_subject(
    raw: &RawManifest,
    names: &HashMap<Digest, BlobId>,
) -> Result<Option<RawManifest>, ImageError> {
    let mut members = object(raw)?;
    let subject: Option<Box<RawValue>> = members.read("subject").map_err(ImageError::Malformed)?;
    let Some(subject) = subject else {
        return Ok(None);
    };
    // What can't be read is nobody's name that changed.
    let Ok(mut subject) = Descriptor::parse(&subject) else {
        return Ok(None);
    };
    let Some(new) = names.get(&subject.id.digest).copied() else {
        return Ok(None);
    };
    let media_type = media::to_oci(&subject.media_type).to_owned();
    subject.describe(&media_type, new)?;
    set(&mut members, "subject", &subject)?;
    finished(&members, raw.media_type.clone()).map(Some)
}

/// A document as an object; anything else is not an image.
fn object(raw: &RawManifest) -> Result<RawObject, ImageError> {
    if raw.id().size > MANIFEST_LIMIT {
        return Err(ImageError::TooLarge {
            digest: raw.id().digest,
        });
    }
    let members: RawObject = serde_json::from_slice(&raw.bytes).map_err(ImageError::Malformed)?;
    match members
        .read::<u64>("schemaVersion")
        .map_err(ImageError::Malformed)?
    {
        Some(2) => {}
        _ => return Err(ImageError::UnknownSchema),
    }
    // A manifest that is also an index would be one thing to us and another to a runtime.
    if members.has("manifests") && (members.has("layers") || members.has("config")) {
        return Err(ImageError::Ambiguous);
    }
    Ok(members)
}

/// The document's own media type where it has one, which then must be the one it is served under.
fn announced_type(raw: &RawManifest, members: &RawObject) -> Result<String, ImageError> {
    let own: Option<String> = members.read("mediaType").map_err(ImageError::Malformed)?;
    match own {
        Some(own) if own == raw.media_type || media::document(&raw.media_type).is_none() => Ok(own),
        Some(_) => Err(ImageError::Ambiguous),
        None => Ok(raw.media_type.clone()),
    }
}

fn required<T: for<'de> Deserialize<'de>>(
    members: &RawObject,
    name: &'static str,
) -> Result<T, ImageError> {
    members
        .read(name)
        .map_err(ImageError::Malformed)?
        .ok_or(ImageError::Missing { member: name })
}

fn set(
    members: &mut RawObject,
    name: &str,
    value: &impl serde::Serialize,
) -> Result<(), ImageError> {
    members.set(name, value).map_err(ImageError::Malformed)
}

/// Docker's documents name their type; OCI's may leave it out, and then it stays out.
fn retype(members: &mut RawObject, media_type: &str) -> Result<(), ImageError> {
    if members.has("mediaType") {
        set(members, "mediaType", &media_type)?;
    }
    Ok(())
}

fn finished(members: &RawObject, media_type: String) -> Result<RawManifest, ImageError> {
    let bytes = serde_json::to_vec(members).map_err(ImageError::Malformed)?;
    let raw = RawManifest { media_type, bytes };
    if raw.id().size > MANIFEST_LIMIT {
        return Err(ImageError::TooLarge {
            digest: raw.id().digest,
        });
    }
    Ok(raw)
}

const REFERENCE_TYPE: &str = "vnd.docker.reference.type";
const ATTESTATION: &str = "attestation-manifest";
/// No builder comes near; overlay file systems end at 500.
const LAYER_LIMIT: usize = 1024;
const ENTRY_LIMIT: usize = 256;

#[cfg(test)]
mod tests {
    use super::*;

    fn raw(media_type: &str, text: &str) -> RawManifest {
        RawManifest {
            media_type: media_type.to_owned(),
            bytes: text.as_bytes().to_vec(),
        }
    }

    fn descriptor(media_type: &str) -> String {
        let id = BlobId::of(b"x");
        format!(
            r#"{{"digest":"{}","size":1,"mediaType":"{media_type}","zz":[1.0]}}"#,
            id.digest
        )
    }

    #[test]
    fn what_we_do_not_know_stays() {
        let text = format!(
            r#"{{"schemaVersion":2,"mediaType":"{}","artifactType":"a/b","config":{},"layers":[{}],"subject":{{"x":1e2}},"annotations":{{"b":"1","a":"2"}}}}"#,
            media::OCI_MANIFEST,
            descriptor(media::OCI_CONFIG),
            descriptor("a/layer"),
        );
        let Root::Manifest(manifest) = Root::parse(&raw(media::OCI_MANIFEST, &text)).unwrap()
        else {
            panic!("a manifest")
        };
        assert_eq!(
            String::from_utf8(manifest.to_raw().unwrap().bytes).unwrap(),
            text
        );
    }

    #[test]
    fn dockers_types_become_ocis() {
        let text = format!(
            r#"{{"schemaVersion":2,"mediaType":"{}","manifests":[]}}"#,
            media::DOCKER_LIST
        );
        let Root::Index(index) = Root::parse(&raw(media::DOCKER_LIST, &text)).unwrap() else {
            panic!("an index")
        };
        let written = index.to_raw().unwrap();
        assert_eq!(written.media_type, media::OCI_INDEX);
        assert!(
            String::from_utf8(written.bytes)
                .unwrap()
                .contains(media::OCI_INDEX)
        );
    }

    #[test]
    fn two_faces_are_refused() {
        let both = r#"{"schemaVersion":2,"manifests":[],"layers":[]}"#;
        assert!(matches!(
            Root::parse(&raw(media::OCI_INDEX, both)),
            Err(ImageError::Ambiguous)
        ));
        let other = format!(
            r#"{{"schemaVersion":2,"mediaType":"{}","manifests":[]}}"#,
            media::OCI_INDEX
        );
        assert!(matches!(
            Root::parse(&raw(media::OCI_MANIFEST, &other)),
            Err(ImageError::Ambiguous)
        ));
    }

    #[test]
    fn a_descriptor_has_one_spelling_of_each_member() {
        for more in [
            r#""Platform":{"os":"linux","architecture":"amd64"}"#,
            r#""platform":{"OS":"linux","architecture":"amd64"}"#,
            r#""platform":"linux/amd64""#,
            r#""Digest":"sha256:00""#,
            r#""anno\u0054ations":{}"#,
            r#""Data":"""#,
            r#""URLs":[]"#,
        ] {
            let entry = descriptor(media::OCI_MANIFEST).replace(r#""zz":[1.0]"#, more);
            let text = format!(r#"{{"schemaVersion":2,"manifests":[{entry}]}}"#);
            assert!(
                matches!(
                    Root::parse(&raw(media::OCI_INDEX, &text)),
                    Err(ImageError::Malformed(_))
                ),
                "{more}"
            );
        }
    }

    #[test]
    fn schema_one_is_refused() {
        let old = raw(
            "application/vnd.docker.distribution.manifest.v1+json",
            r#"{"schemaVersion":1}"#,
        );
        assert!(matches!(Root::parse(&old), Err(ImageError::UnknownSchema)));
    }

    proptest::proptest! {
        #[test]
        fn no_bytes_panic(bytes in proptest::collection::vec(proptest::num::u8::ANY, 0..512)) {
            let _ = Root::parse(&RawManifest { media_type: media::OCI_MANIFEST.to_owned(), bytes });
        }

        #[test]
        fn no_json_panics(text in r#"\{"schemaVersion":2,"(layers|manifests|config)":(\[\]|\{\}|null|[0-9]{1,40}|"[a-z\\]{0,8}"|\[\{"digest":"[a-z0-9:]{0,80}"\}\])\}"#) {
            for media_type in [media::OCI_MANIFEST, media::OCI_INDEX, "text/plain"] {
                let _ = Root::parse(&raw(media_type, &text));
            }
        }
    }
}
