//! A blob on its way from us to a registry: one session, one stream, and the digest at its end.

use std::io;
use std::sync::Arc;
use std::sync::mpsc as std_mpsc;

use bytes::Bytes;
use estate::Digest;
use images::{BlobWriter, PortError};
use reqwest::header::{CONTENT_LENGTH, CONTENT_TYPE, LOCATION};
use reqwest::{Body, Response, StatusCode, Url};
use tokio::sync::{mpsc, oneshot};
use tokio_stream::wrappers::ReceiverStream;

use super::client::Client;
use super::thread::NetworkThread;
use crate::error::RegistryError;

/// The session. Dropped before its end, it is cancelled: nothing of the blob stays.
pub(super) struct Upload {
    chunks: Option<mpsc::Sender<Result<Bytes, io::Error>>>,
    digest: Option<oneshot::Sender<Digest>>,
    outcome: std_mpsc::Receiver<Result<(), RegistryError>>,
}

impl Upload {
    pub(super) fn begin(
        thread: &NetworkThread,
        client: &Arc<Client>,
    ) -> Result<Self, RegistryError> {
        let opener = Arc::clone(client);
        let location = thread.run(async move { open(&opener).await })?;
        let (chunks, stream) = mpsc::channel(AHEAD);
        let (digest, told) = oneshot::channel();
        let (answer, outcome) = std_mpsc::sync_channel(1);
        let client = Arc::clone(client);
        let busy = thread.busy();
        thread.spawn(async move {
            let _busy = busy;
            let _ = answer.send(carry(&client, location, stream, told).await);
        });
        Ok(Self {
            chunks: Some(chunks),
            digest: Some(digest),
            outcome,
        })
    }

    /// Why the session ended before we did.
    fn early_end(&self) -> RegistryError {
        match self.outcome.recv() {
            Ok(Err(error)) => error,
            Ok(Ok(())) | Err(_) => RegistryError::ThreadEnded,
        }
    }
}

impl BlobWriter for Upload {
    fn write(&mut self, bytes: &[u8]) -> Result<(), PortError> {
        let sent = match &self.chunks {
            Some(chunks) => chunks
                .blocking_send(Ok(Bytes::copy_from_slice(bytes)))
                .is_ok(),
            None => false,
        };
        if sent {
            Ok(())
        } else {
            Err(self.early_end().into())
        }
    }

    fn finish(mut self: Box<Self>, digest: &Digest) -> Result<(), PortError> {
        // The digest is told first: a stream that ends without one is a cancelled session.
        let told = self
            .digest
            .take()
            .is_some_and(|sender| sender.send(*digest).is_ok());
        self.chunks = None;
        if !told {
            return Err(self.early_end().into());
        }
        Ok(self
            .outcome
            .recv()
            .map_err(|_| RegistryError::ThreadEnded)??)
    }
}

async fn open(client: &Client) -> Result<Url, RegistryError> {
    let url = client.url("blobs/uploads/")?;
    let answer = client
        .send(&url, |http| {
            http.post(url.clone()).header(CONTENT_LENGTH, 0)
        })
        .await?;
    if answer.status() != StatusCode::ACCEPTED {
        return Err(client.failure(answer).await);
    }
    location(client, &url, &answer)
}

async fn carry(
    client: &Client,
    location: Url,
    stream: mpsc::Receiver<Result<Bytes, io::Error>>,
    told: oneshot::Receiver<Digest>,
) -> Result<(), RegistryError> {
    let request = client
        .http()
        .patch(location.clone())
        .header(CONTENT_TYPE, OCTETS)
        .body(Body::wrap_stream(ReceiverStream::new(stream)));
    let answer = client.send_once(&location, request).await;
    let accepted = |answer: &Response| {
        matches!(
            answer.status(),
            StatusCode::ACCEPTED | StatusCode::NO_CONTENT
        )
    };
    let answer = match answer {
        Ok(answer) if accepted(&answer) => answer,
        // The writer may still be writing; it learns the reason when it meets the closed stream.
        Ok(answer) => return Err(client.failure(answer).await),
        Err(error) => return Err(error),
    };
    let Ok(digest) = told.await else {
        cancel(client, &location).await;
        return Ok(());
    };
    let mut last = self::location(client, &location, &answer)?;
    last.query_pairs_mut()
        .append_pair("digest", &digest.to_string());
    let answer = client
        .send(&last, |http| {
            http.put(last.clone()).header(CONTENT_LENGTH, 0)
        })
        .await?;
    if answer.status() != StatusCode::CREATED {
        return Err(client.failure(answer).await);
    }
    same_digest(&answer, digest)
}

/// The registry may have stored other bytes than it was sent; one that says so is believed.
pub(super) fn same_digest(answer: &Response, digest: Digest) -> Result<(), RegistryError> {
    match answer.headers().get("docker-content-digest") {
        Some(told) if told.as_bytes() != digest.to_string().as_bytes() => {
            Err(RegistryError::WrongDigest(digest))
        }
        Some(_) | None => Ok(()),
    }
}

/// Nobody waits for the answer: a session that stays is ended by the registry some day.
async fn cancel(client: &Client, location: &Url) {
    let _ = client
        .send(location, |http| http.delete(location.clone()))
        .await;
}

fn location(client: &Client, from: &Url, answer: &Response) -> Result<Url, RegistryError> {
    let text = answer
        .headers()
        .get(LOCATION)
        .and_then(|value| value.to_str().ok())
        .ok_or_else(|| client.protocol("it opens an upload and does not say where"))?;
    client.given_url(from, text)
}

const OCTETS: &str = "application/octet-stream";
const AHEAD: usize = 8;
