//! Documents that speak of a manifest: the registry's own list where it keeps one, and otherwise an index under a tag.

use images::{About, MANIFEST_LIMIT, RawManifest, Referrer, media};
use reqwest::header::{ACCEPT, LINK};
use reqwest::{Response, StatusCode, Url};

use super::client::Client;
use super::source::manifest;
use super::target::put;
use crate::error::RegistryError;
use crate::layout::{Attached, LayoutIndex};
use crate::reference::Version;

/// The documents that speak of something.
//= distribution-spec/spec.md#listing-referrers
pub(super) async fn list(client: &Client, about: About) -> Result<Vec<Referrer>, RegistryError> {
    let own = match about {
        About::Manifest(digest) => own_list(client, &format!("referrers/{digest}")).await?,
        About::Config(_) => None,
    };
    match own {
        Some(listed) => Ok(listed),
        None => Ok(tagged(client, &about.tag())
            .await?
            .map_or_else(Vec::new, |index| {
                index.documents().map(|(referrer, _)| referrer).collect()
            })),
    }
}

/// Adds a document. Where the registry keeps no list, an index under a tag is read, changed and written.
///
/// Nothing keeps others from doing so at the same time, so it is read again until the document is in it; whoever writes
/// over it after that does not read it again either. A statement lies under two tags, and has to be lost in both.
//= distribution-spec/spec.md#pushing-manifests-with-subject
pub(super) async fn attach(
    client: &Client,
    about: About,
    document: &RawManifest,
    artifact_type: String,
) -> Result<(), RegistryError> {
    let id = document.id();
    let answer = put(client, &Version::Digest(id.digest), document).await?;
    let listed = answer.headers().get("oci-subject");
    if let About::Manifest(subject) = about
        && listed.is_some_and(|told| told.as_bytes() == subject.to_string().as_bytes())
    {
        return Ok(());
    }
    let entry = Attached {
        media_type: document.media_type.clone(),
        id,
        artifact_type,
        subject: None,
    };
    append(client, &about.tag(), &entry).await
}

async fn append(client: &Client, tag: &str, entry: &Attached) -> Result<(), RegistryError> {
    let malformed = |_| client.protocol("its list of documents can't be changed");
    for _ in 0..TRIES {
        let index = match tagged(client, tag).await? {
            Some(index) if index.lists(&entry.id.digest) => return Ok(()),
            Some(index) => Some(index),
            None => None,
        };
        let index = index.map_or_else(LayoutIndex::for_registry, Ok);
        let mut index = index.map_err(malformed)?;
        index.attach(None, entry).map_err(malformed)?;
        let raw = RawManifest {
            media_type: media::OCI_INDEX.to_owned(),
            bytes: index.to_bytes().map_err(malformed)?,
        };
        if raw.id().size > MANIFEST_LIMIT {
            return Err(RegistryError::TooLarge);
        }
        put(client, &version(client, tag)?, &raw).await?;
    }
    Err(client.protocol("others change its list of documents again and again"))
}

/// The index under a tag.
async fn tagged(client: &Client, tag: &str) -> Result<Option<LayoutIndex>, RegistryError> {
    let raw = match manifest(client, &version(client, tag)?).await {
        Ok(raw) => raw,
        Err(RegistryError::NoSuchImage(_)) => return Ok(None),
        Err(error) => return Err(error),
    };
    if raw.media_type != media::OCI_INDEX {
        return Err(client.protocol("its list of documents is no index"));
    }
    read(client, &raw.bytes).map(Some)
}

/// What the registry lists; `None` when it keeps no lists.
async fn own_list(client: &Client, path: &str) -> Result<Option<Vec<Referrer>>, RegistryError> {
    let mut next = Some(client.url(path)?);
    let mut found = Vec::new();
    for _ in 0..PAGES {
        let Some(url) = next.take() else { break };
        let answer = client
            .send(&url, |http| {
                http.get(url.clone()).header(ACCEPT, media::OCI_INDEX)
            })
            .await?;
        match answer.status() {
            StatusCode::OK => {}
            StatusCode::UNAUTHORIZED | StatusCode::TOO_MANY_REQUESTS => {
                return Err(client.failure(answer).await);
            }
            // Registries without lists say so in many ways.
            status if status.is_client_error() || status == StatusCode::NOT_IMPLEMENTED => {
                return Ok(None);
            }
            _ => return Err(client.failure(answer).await),
        }
        next = following(client, &url, &answer)?;
        let bytes = client.body(answer, MANIFEST_LIMIT).await?;
        let index = read(client, &bytes)?;
        found.extend(index.documents().map(|(referrer, _)| referrer));
    }
    Ok(Some(found))
}

/// The address of the next page (RFC 8288).
fn following(client: &Client, url: &Url, answer: &Response) -> Result<Option<Url>, RegistryError> {
    let link = answer
        .headers()
        .get(LINK)
        .and_then(|link| link.to_str().ok());
    let Some(link) = link.filter(|link| link.contains("rel=\"next\"")) else {
        return Ok(None);
    };
    let target = link
        .split_once('<')
        .and_then(|(_, rest)| rest.split_once('>'));
    match target {
        Some((target, _)) => client.given_url(url, target).map(Some),
        None => Err(client.protocol("it gave an address that is none")),
    }
}

fn read(client: &Client, bytes: &[u8]) -> Result<LayoutIndex, RegistryError> {
    LayoutIndex::parse(bytes).map_err(|_| client.protocol("its list of documents is malformed"))
}

fn version(client: &Client, tag: &str) -> Result<Version, RegistryError> {
    let tag = tag
        .parse()
        .map_err(|_| client.protocol("a tag can't be made"))?;
    Ok(Version::Tag(tag))
}

const TRIES: usize = 8;
const PAGES: usize = 8;
