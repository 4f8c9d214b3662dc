//! Reading an image from a registry.

use std::sync::Arc;

use images::{
    About, BlobId, BlobReader, ImageSource, MANIFEST_LIMIT, PortError, RawManifest, Referrer, media,
};
use reqwest::StatusCode;
use reqwest::header::{ACCEPT, CONTENT_TYPE};

use super::Options;
use super::client::Client;
use super::download::Download;
use super::referrers;
use super::thread::NetworkThread;
use crate::error::RegistryError;
use crate::reference::{RemoteReference, Version};

/// A registry that an image is read from.
///
/// Its methods wait for the network; call them from a thread that no asynchronous run-time drives.
pub struct RemoteSource {
    client: Arc<Client>,
    thread: NetworkThread,
    reference: RemoteReference,
}

impl RemoteSource {
    /// Prepares to read; asks nothing yet.
    ///
    /// # Errors
    /// When credentials or authorities can't be read, or the client can't be made.
    pub fn open(reference: &RemoteReference, options: &Options) -> Result<Self, RegistryError> {
        Ok(Self {
            client: Arc::new(Client::new(reference, options)?),
            thread: NetworkThread::start()?,
            reference: reference.clone(),
        })
    }

    fn fetch(&self, version: Version) -> Result<RawManifest, RegistryError> {
        let client = Arc::clone(&self.client);
        self.thread
            .run(async move { manifest(&client, &version).await })
    }
}

impl ImageSource for RemoteSource {
    fn root(&self) -> Result<RawManifest, PortError> {
        Ok(self.fetch(self.reference.version().clone())?)
    }

    fn manifest(&self, id: &BlobId) -> Result<RawManifest, PortError> {
        Ok(self.fetch(Version::Digest(id.digest))?)
    }

    fn blob(&self, id: &BlobId) -> Result<Box<dyn BlobReader + '_>, PortError> {
        Ok(Box::new(Download::begin(&self.thread, &self.client, *id)))
    }

    fn referrers(&self, about: About) -> Result<Vec<Referrer>, PortError> {
        let client = Arc::clone(&self.client);
        let listed = self
            .thread
            .run(async move { referrers::list(&client, about).await });
        Ok(listed?)
    }

    fn tagged(&self, tag: &str) -> Result<Option<RawManifest>, PortError> {
        let version = Version::Tag(
            tag.parse()
                .map_err(|_| self.client.protocol("a tag can't be made"))?,
        );
        match self.fetch(version) {
            Ok(manifest) => Ok(Some(manifest)),
            Err(RegistryError::NoSuchImage(_)) => Ok(None),
            Err(error) => Err(error.into()),
        }
    }
}

pub(super) async fn manifest(
    client: &Client,
    version: &Version,
) -> Result<RawManifest, RegistryError> {
    let url = client.url(&format!("manifests/{version}"))?;
    let answer = client
        .send(&url, |http| {
            http.get(url.clone()).header(ACCEPT, ACCEPTED.join(", "))
        })
        .await?;
    match answer.status() {
        StatusCode::OK => {}
        StatusCode::NOT_FOUND => return Err(RegistryError::NoSuchImage(client.name_of(version))),
        _ => return Err(client.failure(answer).await),
    }
    let media_type = answer
        .headers()
        .get(CONTENT_TYPE)
        .and_then(|value| value.to_str().ok())
        .and_then(|value| value.split(';').next())
        .unwrap_or_default()
        .trim()
        .to_owned();
    let bytes = client.body(answer, MANIFEST_LIMIT).await?;
    let manifest = RawManifest { media_type, bytes };
    match version {
        Version::Digest(digest) if manifest.id().digest != *digest => {
            Err(RegistryError::WrongDigest(*digest))
        }
        Version::Digest(_) | Version::Tag(_) => Ok(manifest),
    }
}

const ACCEPTED: [&str; 4] = [
    media::OCI_INDEX,
    media::OCI_MANIFEST,
    media::DOCKER_LIST,
    media::DOCKER_MANIFEST,
];
