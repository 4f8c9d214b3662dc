//! The connection to containerd: a Unix socket, a namespace in each request, bounded answers.

use std::path::Path;
use std::time::Duration;

use estate::Digest;
use proto::containerd::services::containers::v1::containers_client::ContainersClient;
use proto::containerd::services::content::v1::content_client::ContentClient;
use proto::containerd::services::content::v1::{Info, ListContentRequest, ReadContentRequest};
use proto::containerd::services::events::v1::events_client::EventsClient;
use proto::containerd::services::images::v1::images_client::ImagesClient;
use proto::containerd::services::namespaces::v1::ListNamespacesRequest;
use proto::containerd::services::namespaces::v1::namespaces_client::NamespacesClient;
use proto::containerd::services::snapshots::v1::snapshots_client::SnapshotsClient;
use proto::containerd::services::tasks::v1::tasks_client::TasksClient;
use tonic::metadata::MetadataValue;
use tonic::transport::{Channel, Endpoint};
use tonic::{Code, Request, Status};

use crate::RuntimeError;

/// Larger ones are no manifest or configuration.
pub(crate) const LARGEST_DOCUMENT: i64 = 4 << 20;

#[derive(Clone)]
pub(crate) struct Client {
    questions: Channel,
    /// Without a time limit: the first event may be long in coming.
    events: Channel,
}

impl Client {
    pub(crate) fn new(socket: &Path) -> Result<Self, RuntimeError> {
        let address = |source| RuntimeError::Address {
            socket: socket.to_owned(),
            source,
        };
        let endpoint =
            Endpoint::try_from(format!("unix://{}", socket.display())).map_err(address)?;
        Ok(Self {
            questions: endpoint.clone().timeout(LONGEST_ANSWER).connect_lazy(),
            events: endpoint.connect_lazy(),
        })
    }

    pub(crate) fn containers(&self) -> ContainersClient<Channel> {
        ContainersClient::new(self.questions.clone())
    }

    pub(crate) fn tasks(&self) -> TasksClient<Channel> {
        TasksClient::new(self.questions.clone())
    }

    pub(crate) fn snapshots(&self) -> SnapshotsClient<Channel> {
        SnapshotsClient::new(self.questions.clone())
    }

    pub(crate) fn images(&self) -> ImagesClient<Channel> {
        ImagesClient::new(self.questions.clone())
    }

    pub(crate) fn events(&self) -> EventsClient<Channel> {
        EventsClient::new(self.events.clone())
    }

    pub(crate) async fn namespaces(&self) -> Result<Vec<String>, RuntimeError> {
        let list = NamespacesClient::new(self.questions.clone())
            .list(ListNamespacesRequest::default())
            .await
            .map_err(refused("namespaces"))?;
        let namespaces = list.into_inner().namespaces;
        Ok(namespaces
            .into_iter()
            .map(|namespace| namespace.name)
            .collect())
    }

    /// Descriptions of content for which one of the filters holds.
    pub(crate) async fn content(
        &self,
        namespace: &str,
        filters: Vec<String>,
    ) -> Result<Vec<Info>, RuntimeError> {
        let mut stream = ContentClient::new(self.questions.clone())
            .list(within(namespace, ListContentRequest { filters })?)
            .await
            .map_err(refused("content"))?
            .into_inner();
        let mut all = Vec::new();
        while let Some(part) = stream.message().await.map_err(refused("content"))? {
            all.extend(part.info);
        }
        Ok(all)
    }

    /// A document, if it is there and is what its digest says.
    pub(crate) async fn document(
        &self,
        namespace: &str,
        digest: Digest,
    ) -> Result<Option<Vec<u8>>, RuntimeError> {
        let request = ReadContentRequest {
            digest: digest.to_string(),
            offset: 0,
            // One more than allowed tells an over-long one.
            size: 0,
        };
        let stream = ContentClient::new(self.questions.clone())
            .read(within(namespace, request)?)
            .await;
        let Some(stream) = unless_missing(stream, "read")? else {
            return Ok(None);
        };
        let mut stream = stream.into_inner();
        let mut bytes = Vec::new();
        loop {
            match unless_missing(stream.message().await, "read")? {
                Some(Some(part)) => bytes.extend_from_slice(&part.data),
                Some(None) => break,
                None => return Ok(None),
            }
            if bytes.len() as u64 > LARGEST_DOCUMENT.unsigned_abs() {
                return Ok(None);
            }
        }
        Ok((Digest::of(&bytes) == digest).then_some(bytes))
    }
}

/// The same request, in one of containerd's namespaces.
pub(crate) fn within<T>(namespace: &str, message: T) -> Result<Request<T>, RuntimeError> {
    let namespace = MetadataValue::try_from(namespace)
        .map_err(|_| RuntimeError::Malformed { what: "namespaces" })?;
    let mut request = Request::new(message);
    request
        .metadata_mut()
        .insert("containerd-namespace", namespace);
    Ok(request)
}

pub(crate) fn refused(what: &'static str) -> impl Fn(Status) -> RuntimeError {
    move |status| RuntimeError::Refused {
        what,
        source: Box::new(status),
    }
}

/// "There is none" and "it does not run" are answers.
pub(crate) fn unless_missing<T>(
    answer: Result<T, Status>,
    what: &'static str,
) -> Result<Option<T>, RuntimeError> {
    match answer {
        Ok(found) => Ok(Some(found)),
        Err(status) if matches!(status.code(), Code::NotFound | Code::FailedPrecondition) => {
            Ok(None)
        }
        Err(status) => Err(refused(what)(status)),
    }
}

const LONGEST_ANSWER: Duration = Duration::from_secs(10);
