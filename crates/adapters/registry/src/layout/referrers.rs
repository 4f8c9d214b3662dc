//! Documents beside an image in a layout: entries of `index.json` without a name, as other tools put them there.

use estate::Digest;
use images::{About, BlobId, RawManifest, Referrer, subject_of};

use super::index::{Attached, LayoutIndex};
use crate::error::RegistryError;

/// The entry for a document; `None` where it needs none, since a layout is small enough to be searched.
pub(crate) fn attached(
    about: About,
    document: &RawManifest,
    artifact_type: &str,
) -> Option<Attached> {
    match about {
        About::Manifest(subject) => Some(Attached {
            media_type: document.media_type.clone(),
            id: document.id(),
            artifact_type: artifact_type.to_owned(),
            subject: Some(subject),
        }),
        About::Config(_) => None,
    }
}

/// The documents that speak of something; `read` gives a manifest of the layout. About a configuration there is no list:
/// all that lies there may speak of it.
pub(crate) fn find(
    index: &LayoutIndex,
    about: About,
    read: impl Fn(BlobId) -> Result<RawManifest, RegistryError>,
) -> Vec<Referrer> {
    let speaks = |(referrer, told): &(Referrer, Option<Digest>)| match (about, told) {
        (About::Config(_), _) => true,
        (About::Manifest(subject), Some(told)) => *told == subject,
        (About::Manifest(subject), None) => {
            read(referrer.id).is_ok_and(|raw| subject_of(&raw) == Some(subject))
        }
    };
    let found = index.documents().take(LIMIT).filter(speaks);
    found.map(|(referrer, _)| referrer).collect()
}

/// Most entries that are looked at.
const LIMIT: usize = 512;
