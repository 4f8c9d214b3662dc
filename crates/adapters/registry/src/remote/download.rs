//! A blob on its way from a registry to us; a broken connection is taken up again where it broke.

use std::sync::Arc;

use bytes::Bytes;
use images::{BlobId, BlobReader, PortError};
use reqwest::header::{CONTENT_RANGE, HeaderValue, RANGE};
use reqwest::{StatusCode, Url};
use tokio::sync::mpsc::{self, Receiver, Sender};

use super::client::Client;
use super::thread::NetworkThread;
use crate::error::RegistryError;

type Chunk = Result<Bytes, RegistryError>;

/// The stream; the network thread stays a few chunks ahead.
pub(super) struct Download {
    chunks: Receiver<Chunk>,
    current: Bytes,
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
            current: Bytes::new(),
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
    fn next(&mut self) -> Result<Option<Bytes>, RegistryError> {
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

/// Fetches the blob; after a broken connection the rest of it. Whoever reads digests the whole, however it came.
async fn fetch(client: &Client, id: BlobId, sender: &Sender<Chunk>) -> Result<(), RegistryError> {
    let url = client.url(&format!("blobs/{}", id.digest))?;
    let mut got = 0;
    let mut tried = 0;
    for _ in 0..RESUMPTIONS {
        let before = got;
        let broken = match fetch_from(client, &url, id, &mut got, sender).await {
            Err(error @ (RegistryError::Broken { .. } | RegistryError::Unreachable { .. })) => {
                error
            }
            ended => return ended,
        };
        if got > before {
            tried = 0;
        }
        if got >= id.size {
            return Ok(());
        }
        if !client.wait(tried, None).await {
            return Err(broken);
        }
        tried += 1;
    }
    Err(client.protocol("it breaks a download again and again"))
}

async fn fetch_from(
    client: &Client,
    url: &Url,
    id: BlobId,
    got: &mut u64,
    sender: &Sender<Chunk>,
) -> Result<(), RegistryError> {
    let from = *got;
    let answer = client
        .send(url, |http| match from {
            0 => http.get(url.clone()),
            _ => http
                .get(url.clone())
                .header(RANGE, format!("bytes={from}-")),
        })
        .await?;
    let (mut answer, mut skip) = match answer.status() {
        // It does not know ranges, and begins anew.
        StatusCode::OK => (answer, from),
        StatusCode::PARTIAL_CONTENT
            if from > 0 && continues(answer.headers().get(CONTENT_RANGE), from, id.size) =>
        {
            (answer, 0)
        }
        StatusCode::PARTIAL_CONTENT if from > 0 => {
            return Err(client.protocol("it goes on with a blob at another place"));
        }
        StatusCode::NOT_FOUND => return Err(RegistryError::NoSuchBlob(id.digest)),
        _ => return Err(client.failure(answer).await),
    };
    let expected = id.size - (from - skip);
    if answer
        .content_length()
        .is_some_and(|length| length != expected)
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
        let chunk = unknown(chunk, &mut skip);
        *got = got.saturating_add(chunk.len() as u64);
        if sender.send(Ok(chunk)).await.is_err() {
            return Ok(());
        }
    }
    Ok(())
}

/// What is new of a chunk, when the next `skip` bytes are known already.
fn unknown(mut chunk: Bytes, skip: &mut u64) -> Bytes {
    let known = usize::try_from(*skip).map_or(chunk.len(), |skip| skip.min(chunk.len()));
    *skip -= known as u64;
    chunk.split_off(known)
}

/// Whether an answer with this range holds exactly the rest of the blob (RFC 9110 section 14.4).
fn continues(range: Option<&HeaderValue>, from: u64, size: u64) -> bool {
    let wanted = format!("bytes {from}-{}/{size}", size.saturating_sub(1));
    range.is_some_and(|range| range.as_bytes() == wanted.as_bytes())
}

const AHEAD: usize = 16;
/// A registry that gets a little further each time could go on for ever.
const RESUMPTIONS: usize = 64;

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn continues(text: &str, from: u64, size: u64) -> bool {
        let range = HeaderValue::from_bytes(text.as_bytes());
        range.is_ok_and(|range| super::continues(Some(&range), from, size))
    }

    #[test]
    fn only_the_very_rest_continues_a_blob() {
        assert!(continues("bytes 5-9/10", 5, 10));
        for wrong in [
            "bytes 5-9/*",
            "bytes 5-8/10",
            "bytes 4-9/10",
            "bytes 6-9/10",
            "bytes 5-9/11",
            "bytes 5-10/10",
            "bytes */10",
            "bytes=5-9/10",
            "bytes 05-9/10",
            "bytes 5-9/10, bytes 5-9/10",
            "Bytes 5-9/10 ",
            "",
        ] {
            assert!(!continues(wrong, 5, 10), "{wrong}");
        }
        assert!(!super::continues(None, 5, 10));
    }

    proptest! {
        #[test]
        fn a_range_is_believed_where_all_of_it_is_right(
            (from, size) in (1..20_u64, 0..20_u64),
            (first, last, whole) in (0..20_u64, 0..20_u64, 0..20_u64),
        ) {
            let right = first == from && last == size.saturating_sub(1) && whole == size;
            let text = format!("bytes {first}-{last}/{whole}");
            prop_assert_eq!(continues(&text, from, size), right);
            let rest = format!("bytes {from}-{}/{size}", size.max(1) - 1);
            prop_assert!(continues(&rest, from, size));
        }

        #[test]
        fn no_header_panics(
            text in "(bytes )?[-0-9*/ ,a-z]{0,40}",
            from in any::<u64>(),
            size in any::<u64>(),
        ) {
            let exact = format!("bytes {from}-{}/{size}", size.saturating_sub(1));
            prop_assert_eq!(continues(&text, from, size), text == exact);
        }

        #[test]
        fn what_is_known_is_passed_over_however_it_comes(
            blob in proptest::collection::vec(any::<u8>(), 0..200),
            sizes in proptest::collection::vec(1..30_usize, 1..20),
            known in any::<prop::sample::Index>(),
        ) {
            let known = known.index(blob.len() + 1);
            let (mut skip, mut rest, mut found) = (known as u64, blob.as_slice(), Vec::new());
            for size in sizes.iter().cycle() {
                let (chunk, after) = rest.split_at((*size).min(rest.len()));
                found.extend_from_slice(&unknown(Bytes::copy_from_slice(chunk), &mut skip));
                rest = after;
                if rest.is_empty() {
                    break;
                }
            }
            prop_assert_eq!((skip, found.as_slice()), (0, &blob[known..]));
        }
    }
}
