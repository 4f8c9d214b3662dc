//! A blob on its way from a registry to us.

use std::sync::Arc;

use images::{BlobId, BlobReader, PortError};
use reqwest::StatusCode;
use tokio::sync::mpsc::{self, Receiver, Sender};

use super::client::Client;
use super::thread::NetworkThread;
use crate::error::RegistryError;

type Chunk = Result<bytes::Bytes, RegistryError>;

/// The stream; the network thread stays a few chunks ahead.
pub(super) struct Download {
    chunks: Receiver<Chunk>,
    current: bytes::Bytes,
    id: BlobId,
    left: u64,
}

impl Download {
    pub(super) fn begin(thread: &NetworkThread, client: &Arc<Client>, id: BlobId) -> Self {
        let (sender, chunks) = mpsc::channel(AHEAD);
        let client = Arc::clone(client);
        thread.spawn(async move {
            if let Err(error) = fetch(&client, id, &sender).await {
                let _ = sender.send(Err(error)).await;
            }
        });
        Self {
            chunks,
            current: bytes::Bytes::new(),
            id,
            left: id.size,
        }
    }

    fn wrong_size(&self) -> RegistryError {
        RegistryError::WrongSize {
            digest: self.id.digest,
            expected: self.id.size,
        }
    }

    /// The next chunk that holds something; `None` at the end.
    fn next(&mut self) -> Result<Option<bytes::Bytes>, RegistryError> {
        while let Some(chunk) = self.chunks.blocking_recv() {
            let chunk = chunk?;
            if !chunk.is_empty() {
                return Ok(Some(chunk));
            }
        }
        Ok(None)
    }
}

impl BlobReader for Download {
    fn read(&mut self, buffer: &mut [u8]) -> Result<usize, PortError> {
        if self.current.is_empty() {
            match self.next()? {
                Some(chunk) if chunk.len() as u64 <= self.left => {
                    self.left -= chunk.len() as u64;
                    self.current = chunk;
                }
                None if self.left == 0 => return Ok(0),
                Some(_) | None => return Err(self.wrong_size().into()),
            }
        }
        let count = self.current.len().min(buffer.len());
        let (target, _) = buffer.split_at_mut(count);
        target.copy_from_slice(&self.current.split_to(count));
        Ok(count)
    }
}

async fn fetch(client: &Client, id: BlobId, sender: &Sender<Chunk>) -> Result<(), RegistryError> {
    let url = client.url(&format!("blobs/{}", id.digest))?;
    let mut answer = client.send(&url, |http| http.get(url.clone())).await?;
    match answer.status() {
        StatusCode::OK => {}
        StatusCode::NOT_FOUND => return Err(RegistryError::NoSuchBlob(id.digest)),
        _ => return Err(client.failure(answer).await),
    }
    if answer
        .content_length()
        .is_some_and(|length| length != id.size)
    {
        return Err(RegistryError::WrongSize {
            digest: id.digest,
            expected: id.size,
        });
    }
    while let Some(chunk) = answer
        .chunk()
        .await
        .map_err(|source| client.network(source))?
    {
        if sender.send(Ok(chunk)).await.is_err() {
            return Ok(());
        }
    }
    Ok(())
}

const AHEAD: usize = 16;
