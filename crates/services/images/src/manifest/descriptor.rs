//! Descriptors: what a manifest says about a blob.

use estate::Digest;
use serde::de::IgnoredAny;
use serde::{Serialize, Serializer};
use serde_json::value::RawValue;

use crate::error::ImageError;
use crate::json::RawObject;
use crate::ports::BlobId;

/// Media type, digest, size and annotations; members that we do not know are kept.
#[derive(Debug, Clone)]
pub(crate) struct Descriptor {
    members: RawObject,
    annotations: RawObject,
    pub(crate) media_type: String,
    pub(crate) id: BlobId,
}

impl Descriptor {
    pub(super) fn parse(raw: &RawValue) -> Result<Self, ImageError> {
        let members: RawObject = serde_json::from_str(raw.get()).map_err(ImageError::Malformed)?;
        let digest: String = super::required(&members, "digest")?;
        let digest = digest
            .parse::<Digest>()
            .map_err(|source| ImageError::UnknownDigest { source })?;
        check_spellings(&members).map_err(ImageError::Malformed)?;
        Ok(Self {
            annotations: members
                .read("annotations")
                .map_err(ImageError::Malformed)?
                .unwrap_or_default(),
            media_type: super::required(&members, "mediaType")?,
            id: BlobId {
                digest,
                size: super::required(&members, "size")?,
            },
            members,
        })
    }

    /// The annotations with their names; a value that is not a text is an error.
    pub(crate) fn annotations(&self) -> Result<Vec<(String, String)>, ImageError> {
        let all = self.annotations.read_all::<String>();
        let all = all.map_err(ImageError::Malformed)?.into_iter();
        Ok(all
            .map(|(name, value)| (name, value.unwrap_or_default()))
            .collect())
    }

    /// The value of one annotation.
    pub(crate) fn annotation(&self, name: &str) -> Result<Option<String>, ImageError> {
        self.annotations.read(name).map_err(ImageError::Malformed)
    }

    /// Says `value` under `name`.
    pub(crate) fn annotate(&mut self, name: &str, value: &str) -> Result<(), ImageError> {
        super::set(&mut self.annotations, name, &value)?;
        super::set(&mut self.members, "annotations", &self.annotations)
    }

    /// Takes one annotation away.
    pub(crate) fn remove_annotation(&mut self, name: &str) -> Result<(), ImageError> {
        self.annotations.remove(name);
        super::set(&mut self.members, "annotations", &self.annotations)
    }

    /// Takes every annotation away whose name begins with `prefix`.
    pub(crate) fn strip_annotations(&mut self, prefix: &str) -> Result<(), ImageError> {
        self.annotations.remove_all(prefix);
        if self.annotations.names().next().is_none() {
            self.members.remove("annotations");
            return Ok(());
        }
        super::set(&mut self.members, "annotations", &self.annotations)
    }

    /// Describes other bytes from now on. Addresses of the former bytes, and the bytes themselves where they were
    /// embedded, go: they would be a second truth, and after encryption the plain one.
    pub(crate) fn describe(&mut self, media_type: &str, id: BlobId) -> Result<(), ImageError> {
        super::set(&mut self.members, "mediaType", &media_type)?;
        super::set(&mut self.members, "digest", &id.digest)?;
        super::set(&mut self.members, "size", &id.size)?;
        if id != self.id {
            self.members.remove("urls");
            self.members.remove("data");
        }
        media_type.clone_into(&mut self.media_type);
        self.id = id;
        Ok(())
    }

    /// A member that the platform of an index entry is written in, as text for people.
    pub(crate) fn platform(&self) -> Option<String> {
        let platform: RawObject = self.members.read("platform").ok()??;
        platform_text(&platform)
    }
}

/// A member in another spelling would be nothing here and something to a reader that does not mind case: a platform that
/// it sees and we do not makes an image of what counts as a document beside one.
fn check_spellings(members: &RawObject) -> Result<(), serde_json::Error> {
    for name in ["urls", "data", "artifactType"] {
        members.read::<IgnoredAny>(name)?;
    }
    let platform: RawObject = members.read("platform")?.unwrap_or_default();
    for name in ["os", "architecture", "variant"] {
        platform.read::<String>(name)?;
    }
    Ok(())
}

/// Operating system, architecture and variant of an object that has one of the first two; the other is empty then.
pub(crate) fn platform_text(platform: &RawObject) -> Option<String> {
    let part = |name: &str| platform.read::<String>(name).ok().flatten();
    let (os, architecture) = (part("os"), part("architecture"));
    if os.is_none() && architecture.is_none() {
        return None;
    }
    let [os, architecture] = [os, architecture].map(Option::unwrap_or_default);
    let mut text = format!("{os}/{architecture}");
    if let Some(variant) = part("variant").filter(|variant| !variant.is_empty()) {
        text.push('/');
        text.push_str(&variant);
    }
    Some(text)
}

impl Serialize for Descriptor {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        self.members.serialize(serializer)
    }
}
