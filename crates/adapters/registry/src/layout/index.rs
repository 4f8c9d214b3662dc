//! `index.json`: which images a layout holds, and under which names.

use std::path::Path;

use estate::Digest;
use images::{BlobId, RawManifest, RawObject, Referrer};
use serde::de::Error as _;
use serde::{Deserialize, Serialize};
use serde_json::value::RawValue;

use super::{INDEX, read_small};
use crate::error::RegistryError;

/// The list of images. Members and entries that we do not know are kept as they are.
#[derive(Debug)]
pub(crate) struct LayoutIndex {
    members: RawObject,
    entries: Vec<Box<RawValue>>,
}

/// What an entry says, as far as we need it.
#[derive(Debug)]
pub(crate) struct Entry {
    pub(crate) media_type: String,
    pub(crate) id: BlobId,
}

impl LayoutIndex {
    /// A layout without images.
    pub(crate) fn empty() -> Result<Self, serde_json::Error> {
        let mut members = RawObject::default();
        members.set("schemaVersion", &2)?;
        Ok(Self {
            members,
            entries: Vec::new(),
        })
    }

    /// Reads the list of a layout.
    pub(super) fn read(directory: &Path) -> Result<Self, RegistryError> {
        let path = directory.join(INDEX);
        let bytes =
            read_small(&path)?.ok_or_else(|| RegistryError::NotALayout(directory.to_owned()))?;
        Self::parse(&bytes).map_err(|source| RegistryError::MalformedFile { path, source })
    }

    /// Reads the content of the file.
    pub(crate) fn parse(bytes: &[u8]) -> Result<Self, serde_json::Error> {
        let members: RawObject = serde_json::from_slice(bytes)?;
        let entries: Vec<Box<RawValue>> = members
            .read(MANIFESTS)?
            .ok_or_else(|| serde_json::Error::custom("no member `manifests`"))?;
        if entries.len() > ENTRY_LIMIT {
            return Err(serde_json::Error::custom("too many images"));
        }
        for entry in &entries {
            Parsed::of(entry)?;
        }
        Ok(Self { members, entries })
    }

    /// The image with this name; without a name, the only one.
    pub(crate) fn find(&self, tag: Option<&str>) -> Result<Entry, RegistryError> {
        let mut found = self
            .entries
            .iter()
            .filter_map(|raw| Parsed::of(raw).ok())
            .filter(|entry| match tag {
                None => !entry.is_document(),
                Some(_) => entry.name() == tag,
            });
        let first = found
            .next()
            .ok_or_else(|| RegistryError::NoSuchImage(tag.unwrap_or("in that place").to_owned()))?;
        // Two entries under one name would let the order of a file decide which image is meant.
        if found.next().is_some() {
            return Err(RegistryError::NotOneImage);
        }
        Ok(Entry {
            media_type: first.media_type,
            id: BlobId {
                digest: first.digest,
                size: first.size,
            },
        })
    }

    /// Lets `tag` stand for `root` from now on. An image without a name replaces the former one without a name.
    pub(crate) fn replace(
        &mut self,
        tag: Option<&str>,
        root: &RawManifest,
    ) -> Result<(), serde_json::Error> {
        let id = root.id();
        let entry = serde_json::value::to_raw_value(&Parsed {
            media_type: root.media_type.clone(),
            digest: id.digest,
            size: id.size,
            artifact_type: None,
            annotations: tag.map(Annotations::of_image),
        })?;
        let mut stays = false;
        self.entries.retain(|raw| {
            let former = Parsed::of(raw).ok();
            let replaced = former.filter(|former| !former.is_document() && former.name() == tag);
            stays |= replaced
                .as_ref()
                .is_some_and(|former| former.digest == id.digest);
            replaced.is_none()
        });
        if !stays {
            // What spoke of the former image under this name goes with it.
            self.entries
                .retain(|raw| Parsed::of(raw).is_ok_and(|other| !other.accompanies(tag)));
        }
        self.entries.push(entry);
        Ok(())
    }

    /// Lists a document that speaks of a manifest beside the image under `tag`.
    pub(crate) fn attach(
        &mut self,
        tag: Option<&str>,
        attached: &Attached,
    ) -> Result<(), serde_json::Error> {
        let listed = |raw: &RawValue| {
            Parsed::of(raw)
                .is_ok_and(|other| other.digest == attached.id.digest && other.accompanies(tag))
        };
        if self.entries.iter().any(|raw| listed(raw)) {
            return Ok(());
        }
        if self.entries.len() >= ENTRY_LIMIT {
            return Err(serde_json::Error::custom("too many documents"));
        }
        let Attached {
            media_type,
            id,
            artifact_type,
            subject,
        } = attached;
        let annotations = subject.map(|subject| Annotations {
            subject: Some(subject),
            beside: Some(tag.unwrap_or_default().to_owned()),
            ..Annotations::default()
        });
        self.entries.push(serde_json::value::to_raw_value(&Parsed {
            media_type: media_type.clone(),
            digest: id.digest,
            size: id.size,
            artifact_type: Some(artifact_type.clone()),
            annotations,
        })?);
        Ok(())
    }

    /// Entries that may be documents beside an image, with the subject where the entry tells it.
    pub(crate) fn documents(&self) -> impl Iterator<Item = (Referrer, Option<Digest>)> {
        let entries = self.entries.iter().filter_map(|raw| Parsed::of(raw).ok());
        entries.filter(|entry| entry.name().is_none()).map(|entry| {
            let subject = entry
                .annotations
                .and_then(|annotations| annotations.subject);
            let id = BlobId {
                digest: entry.digest,
                size: entry.size,
            };
            let artifact_type = entry.artifact_type;
            (Referrer { id, artifact_type }, subject)
        })
    }

    /// The digests of all that is listed.
    pub(crate) fn digests(&self) -> impl Iterator<Item = Digest> {
        let entries = self.entries.iter().filter_map(|raw| Parsed::of(raw).ok());
        entries.map(|entry| entry.digest)
    }

    /// Whether a manifest is listed, under whatever name.
    pub(crate) fn lists(&self, digest: &Digest) -> bool {
        let entries = self.entries.iter().filter_map(|raw| Parsed::of(raw).ok());
        entries.into_iter().any(|entry| entry.digest == *digest)
    }

    /// An index that lists documents for a registry that keeps no list of its own.
    pub(crate) fn for_registry() -> Result<Self, serde_json::Error> {
        let mut index = Self::empty()?;
        index.members.set("mediaType", &images::media::OCI_INDEX)?;
        Ok(index)
    }

    /// How many images it lists.
    pub(crate) fn len(&self) -> usize {
        let entries = self.entries.iter().filter_map(|raw| Parsed::of(raw).ok());
        entries.filter(|entry| !entry.is_document()).count()
    }

    /// The file's content.
    pub(crate) fn to_bytes(&self) -> Result<Vec<u8>, serde_json::Error> {
        let mut members = self.members.clone();
        members.set(MANIFESTS, &self.entries)?;
        serde_json::to_vec(&members)
    }
}

#[derive(Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
struct Parsed {
    media_type: String,
    digest: Digest,
    size: u64,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    artifact_type: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    annotations: Option<Annotations>,
}

/// A document that is listed.
#[derive(Debug, Clone)]
pub(crate) struct Attached {
    pub(crate) media_type: String,
    pub(crate) id: BlobId,
    pub(crate) artifact_type: String,
    /// The manifest that it speaks of; `None` where the list itself is about one.
    pub(crate) subject: Option<Digest>,
}

impl Parsed {
    fn of(raw: &RawValue) -> Result<Self, serde_json::Error> {
        // Another spelling of a member would be one image here and another one to a reader that does not mind case.
        let members: RawObject = serde_json::from_str(raw.get())?;
        for name in ["mediaType", "digest", "size", "artifactType", "annotations"] {
            members.read::<serde::de::IgnoredAny>(name)?;
        }
        serde_json::from_str(raw.get())
    }

    fn name(&self) -> Option<&str> {
        self.annotations.as_ref()?.tag.as_deref()
    }

    /// Whether it is one of the documents that we list: no image, though it has no name.
    fn is_document(&self) -> bool {
        self.name().is_none()
            && self
                .annotations
                .as_ref()
                .is_some_and(|own| own.beside.is_some())
    }

    /// Whether it is such a document beside the image under `tag`.
    fn accompanies(&self, tag: Option<&str>) -> bool {
        let beside = self
            .annotations
            .as_ref()
            .and_then(|own| own.beside.as_deref());
        self.name().is_none() && beside == Some(tag.unwrap_or_default())
    }
}

#[derive(Default, Serialize, Deserialize)]
struct Annotations {
    #[serde(
        rename = "org.opencontainers.image.ref.name",
        default,
        skip_serializing_if = "Option::is_none"
    )]
    tag: Option<String>,
    /// The manifest that a document speaks of, so that nobody has to read it to know.
    #[serde(
        rename = "dev.bailiwick.subject",
        default,
        skip_serializing_if = "Option::is_none"
    )]
    subject: Option<Digest>,
    /// The name of the image that a document lies beside; empty for the image without a name.
    #[serde(
        rename = "dev.bailiwick.beside",
        default,
        skip_serializing_if = "Option::is_none"
    )]
    beside: Option<String>,
}

impl Annotations {
    fn of_image(tag: &str) -> Self {
        Self {
            tag: Some(tag.to_owned()),
            ..Self::default()
        }
    }
}

const MANIFESTS: &str = "manifests";
const ENTRY_LIMIT: usize = 4096;

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn manifest(text: &str) -> RawManifest {
        RawManifest {
            media_type: "a/b".to_owned(),
            bytes: text.as_bytes().to_vec(),
        }
    }

    #[test]
    fn a_name_stands_for_the_last_image_written() {
        let mut index = LayoutIndex::empty().unwrap();
        for (tag, text) in [
            (Some("a"), "1"),
            (Some("b"), "2"),
            (None, "3"),
            (Some("a"), "4"),
            (None, "5"),
        ] {
            index.replace(tag, &manifest(text)).unwrap();
        }
        let index = LayoutIndex::parse(&index.to_bytes().unwrap()).unwrap();
        assert_eq!(index.find(Some("a")).unwrap().id, manifest("4").id());
        assert_eq!(index.find(Some("b")).unwrap().id, manifest("2").id());
        assert!(matches!(index.find(None), Err(RegistryError::NotOneImage)));
        assert!(matches!(
            index.find(Some("c")),
            Err(RegistryError::NoSuchImage(_))
        ));
        assert_eq!(index.entries.len(), 3);
    }

    #[test]
    fn entries_of_others_stay_as_written() {
        let id = manifest("x").id();
        let other = format!(
            r#"{{"size":1,"digest":"{}","mediaType":"x","more":1.0}}"#,
            id.digest
        );
        let text =
            format!(r#"{{"schemaVersion":2,"manifests":[{other}],"annotations":{{"z":"1"}}}}"#);
        let mut index = LayoutIndex::parse(text.as_bytes()).unwrap();
        index.replace(Some("new"), &manifest("y")).unwrap();
        let written = String::from_utf8(index.to_bytes().unwrap()).unwrap();
        assert!(
            written.contains(&other) && written.ends_with(r#""annotations":{"z":"1"}}"#),
            "{written}"
        );
    }

    #[test]
    fn hostile_lists_are_refused() {
        let digest = manifest("x").id().digest;
        for bad in [
            "[]".to_owned(),
            "{}".to_owned(),
            r#"{"manifests":null}"#.to_owned(),
            r#"{"manifests":[],"manifests":[]}"#.to_owned(),
            r#"{"manifests":[{}]}"#.to_owned(),
            format!(r#"{{"manifests":[{{"mediaType":"a","digest":"{digest}","size":-1}}]}}"#),
            r#"{"manifests":[{"mediaType":"a","digest":"sha256:../../x","size":1}]}"#.to_owned(),
            format!(
                r#"{{"manifests":[{{"mediaType":"a","digest":"{digest}","digest":"{digest}","size":1}}]}}"#
            ),
            format!(
                r#"{{"manifests":[{{"mediaType":"a","digest":"{digest}","Digest":"{digest}","size":1}}]}}"#
            ),
            format!("{{\"manifests\":{}{}}}", "[".repeat(4000), "]".repeat(4000)),
        ] {
            assert!(
                LayoutIndex::parse(bad.as_bytes()).is_err(),
                "{}",
                bad.get(..80).unwrap_or(&bad)
            );
        }
    }

    #[test]
    fn one_name_for_two_images_is_refused() {
        let mut index = LayoutIndex::empty().unwrap();
        index.replace(Some("a"), &manifest("1")).unwrap();
        let doubled = index.entries.first().unwrap().clone();
        index.entries.push(doubled);
        assert!(matches!(
            index.find(Some("a")),
            Err(RegistryError::NotOneImage)
        ));
    }

    proptest! {
        #[test]
        fn no_bytes_panic(bytes in proptest::collection::vec(any::<u8>(), 0..256)) {
            let _ = LayoutIndex::parse(&bytes);
        }

        #[test]
        fn no_json_panics(text in r#"\{"manifests":\[(\{"(mediaType|digest|size|annotations)":("[a-z0-9:]{0,80}"|[0-9]{1,30}|\{\}|null)\},?){0,3}\]\}"#) {
            if let Ok(index) = LayoutIndex::parse(text.as_bytes()) {
                let _ = index.find(None);
            }
        }
    }
}
