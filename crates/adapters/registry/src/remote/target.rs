//! Writing an image to a registry.

use std::sync::Arc;

use images::{About, BlobId, BlobWriter, ImageTarget, PortError, RawManifest};
use reqwest::header::{CONTENT_LENGTH, CONTENT_TYPE};
use reqwest::{Response, StatusCode};

use super::Options;
use super::client::Client;
use super::referrers;
use super::thread::NetworkThread;
use super::upload::{Upload, cancel, location, same_digest};
use crate::error::RegistryError;
use crate::reference::{Host, RemoteReference, Repository, Version};

/// A registry that an image is written to. The tag changes last, in one request.
///
/// Its methods wait for the network; call them from a thread that no asynchronous run-time drives.
pub struct RemoteTarget {
    client: Arc<Client>,
    thread: NetworkThread,
    host: Host,
    repository: Repository,
    tag: Version,
    /// Another repository of the registry, whose blobs need no journey.
    neighbour: Option<Repository>,
}

impl RemoteTarget {
    /// Prepares to write; asks nothing yet.
    ///
    /// # Errors
    /// When the name is a digest, credentials or authorities can't be read, or the client can't be made.
    pub fn open(reference: &RemoteReference, options: &Options) -> Result<Self, RegistryError> {
        let tag = match reference.version() {
            tag @ Version::Tag(_) => tag.clone(),
            Version::Digest(_) => return Err(RegistryError::DigestAsTarget),
        };
        Ok(Self {
            client: Arc::new(Client::new(reference, options)?),
            thread: NetworkThread::start()?,
            host: reference.host().clone(),
            repository: reference.repository().clone(),
            tag,
            neighbour: None,
        })
    }

    /// Lets the registry itself carry over what already lies in `source`, if that is another repository of it.
    #[must_use]
    pub fn mounting_from(mut self, source: &RemoteReference) -> Self {
        let near = *source.host() == self.host && *source.repository() != self.repository;
        self.neighbour = near.then(|| source.repository().clone());
        self
    }

    fn put(&self, version: Version, manifest: &RawManifest) -> Result<(), RegistryError> {
        let client = Arc::clone(&self.client);
        let manifest = manifest.clone();
        self.thread
            .run(async move { put(&client, &version, &manifest).await.map(drop) })
    }
}

impl ImageTarget for RemoteTarget {
    fn holds(&self, id: &BlobId) -> Result<bool, PortError> {
        let client = Arc::clone(&self.client);
        let id = *id;
        let neighbour = self.neighbour.clone();
        Ok(self.thread.run(async move {
            match neighbour {
                _ if lies_there(&client, id).await? => Ok(true),
                Some(neighbour) => mount(&client, id, &neighbour).await,
                None => Ok(false),
            }
        })?)
    }

    fn write_blob(&self) -> Result<Box<dyn BlobWriter + '_>, PortError> {
        Ok(Box::new(Upload::begin(&self.thread, &self.client)?))
    }

    fn write_manifest(&self, manifest: &RawManifest) -> Result<(), PortError> {
        Ok(self.put(Version::Digest(manifest.id().digest), manifest)?)
    }

    fn publish(&self, root: &RawManifest) -> Result<(), PortError> {
        Ok(self.put(self.tag.clone(), root)?)
    }

    fn attach(
        &self,
        about: About,
        document: &RawManifest,
        artifact_type: &str,
    ) -> Result<(), PortError> {
        let client = Arc::clone(&self.client);
        let (document, artifact_type) = (document.clone(), artifact_type.to_owned());
        let attached = self
            .thread
            .run(async move { referrers::attach(&client, about, &document, artifact_type).await });
        Ok(attached?)
    }
}

/// Asks the registry to take a blob over from another of its repositories. One that declines gets it sent.
async fn mount(client: &Client, id: BlobId, neighbour: &Repository) -> Result<bool, RegistryError> {
    let mut url = client.url("blobs/uploads/")?;
    url.query_pairs_mut()
        .append_pair("mount", &id.digest.to_string())
        .append_pair("from", neighbour.as_str());
    let sent = client
        .send(&url, |http| {
            http.post(url.clone()).header(CONTENT_LENGTH, 0)
        })
        .await;
    let answer = match sent {
        Ok(answer) => answer,
        Err(RegistryError::Denied { .. }) => return Ok(false),
        Err(error) => return Err(error),
    };
    match answer.status() {
        // Some say so without having done it.
        StatusCode::CREATED => lies_there(client, id).await,
        StatusCode::ACCEPTED => {
            // It opened an upload instead, which nobody will use.
            if let Ok(session) = location(client, &url, &answer) {
                cancel(client, &session).await;
            }
            Ok(false)
        }
        _ => Ok(false),
    }
}

pub(super) async fn lies_there(client: &Client, id: BlobId) -> Result<bool, RegistryError> {
    let url = client.url(&format!("blobs/{}", id.digest))?;
    let answer = client.send(&url, |http| http.head(url.clone())).await?;
    match answer.status() {
        StatusCode::OK => {
            let size = answer.headers().get(CONTENT_LENGTH);
            Ok(size.is_some_and(|size| size.as_bytes() == id.size.to_string().as_bytes()))
        }
        StatusCode::NOT_FOUND => Ok(false),
        _ => Err(client.failure(answer).await),
    }
}

pub(super) async fn put(
    client: &Client,
    version: &Version,
    manifest: &RawManifest,
) -> Result<Response, RegistryError> {
    let url = client.url(&format!("manifests/{version}"))?;
    let answer = client
        .send(&url, |http| {
            http.put(url.clone())
                .header(CONTENT_TYPE, &manifest.media_type)
                .body(manifest.bytes.clone())
        })
        .await?;
    if !matches!(
        answer.status(),
        StatusCode::CREATED | StatusCode::OK | StatusCode::ACCEPTED
    ) {
        return Err(client.failure(answer).await);
    }
    same_digest(&answer, manifest.id().digest)?;
    Ok(answer)
}
