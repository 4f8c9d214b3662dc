//! A blob on its way from us to a registry: one session, one stream, and the digest at its end. Where the stream breaks,
//! the session goes on from where it stands, or another begins.

use std::sync::Arc;
use std::sync::mpsc as std_mpsc;

use bytes::Bytes;
use estate::Digest;
use images::{BlobId, BlobWriter, PortError};
use reqwest::header::{CONTENT_LENGTH, CONTENT_TYPE, HeaderValue, LOCATION, RANGE};
use reqwest::{Body, Response, StatusCode, Url};
use tokio::sync::{mpsc, oneshot};

use super::client::Client;
use super::feed::Feed;
use super::thread::NetworkThread;
use crate::error::RegistryError;

/// The session. Dropped before its end, it is cancelled: nothing of the blob stays.
pub(super) struct Upload {
    chunks: Option<mpsc::Sender<Bytes>>,
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
        let (chunks, incoming) = mpsc::channel(AHEAD);
        let (digest, told) = oneshot::channel();
        let (answer, outcome) = std_mpsc::sync_channel(1);
        let client = Arc::clone(client);
        let busy = thread.busy();
        thread.spawn(async move {
            let _busy = busy;
            let feed = Feed::new(incoming);
            let carried = carry(&client, location, &feed, told).await;
            feed.close();
            let _ = answer.send(carried);
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
        if bytes.is_empty() {
            return Ok(());
        }
        let sent = match &self.chunks {
            Some(chunks) => chunks.blocking_send(Bytes::copy_from_slice(bytes)).is_ok(),
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
    feed: &Feed,
    told: oneshot::Receiver<Digest>,
) -> Result<(), RegistryError> {
    let location = send_all(client, location, feed).await?;
    let Ok(digest) = told.await else {
        cancel(client, &location).await;
        return Ok(());
    };
    let mut last = location;
    last.query_pairs_mut()
        .append_pair("digest", &digest.to_string());
    let answer = client
        .send(&last, |http| {
            http.put(last.clone()).header(CONTENT_LENGTH, 0)
        })
        .await?;
    if answer.status() == StatusCode::CREATED {
        return same_digest(&answer, digest);
    }
    // The session is gone when it was a former try whose answer got lost.
    let id = BlobId {
        digest,
        size: feed.end(),
    };
    if answer.status() == StatusCode::NOT_FOUND && super::target::lies_there(client, id).await? {
        return Ok(());
    }
    Err(client.failure(answer).await)
}

/// Sends all of the blob; after a failure the rest of it, as long as the registry gets further. Gives the address at
/// which the session is ended.
async fn send_all(client: &Client, mut location: Url, feed: &Feed) -> Result<Url, RegistryError> {
    let mut at = 0;
    let mut tried = 0;
    let mut furthest = 0;
    for _ in 0..RESUMPTIONS {
        let error = match send_from(client, &location, feed, at).await {
            Ok(next) => return Ok(next),
            Err(error) => error,
        };
        let passes = matches!(
            error,
            RegistryError::Broken { .. }
                | RegistryError::Unreachable { .. }
                | RegistryError::Overloaded { .. }
                // A token that ended on the way; the question where the registry stands gets a new one.
                | RegistryError::Denied { status: 401, .. }
        );
        if feed.end() > furthest {
            furthest = feed.end();
            tried = 0;
        }
        if !passes || !client.wait(tried, None).await {
            return Err(error);
        }
        tried += 1;
        (location, at) = match stands_at(client, &location).await {
            Some((location, at)) if feed.reaches(at) => (location, at),
            _ if feed.reaches(0) => (restart(client, &location).await?, 0),
            _ => return Err(error),
        };
    }
    Err(client.protocol("it breaks an upload again and again"))
}

async fn send_from(
    client: &Client,
    location: &Url,
    feed: &Feed,
    at: u64,
) -> Result<Url, RegistryError> {
    let request = client
        .http()
        .patch(location.clone())
        .header(CONTENT_TYPE, OCTETS)
        .body(Body::wrap_stream(feed.stream_from(at)));
    let answer = client.send_once(location, request).await?;
    match answer.status() {
        StatusCode::ACCEPTED | StatusCode::NO_CONTENT => self::location(client, location, &answer),
        _ => Err(client.failure(answer).await),
    }
}

/// How much of the blob the registry has, and where it wants the rest. `None` when it does not tell: `0-0` stands for
/// one byte and for none.
async fn stands_at(client: &Client, location: &Url) -> Option<(Url, u64)> {
    let answer = client
        .send(location, |http| http.get(location.clone()))
        .await
        .ok()
        .filter(|answer| answer.status().is_success())?;
    let stored = stored(answer.headers().get(RANGE)?)?;
    let next = self::location(client, location, &answer).unwrap_or_else(|_| location.clone());
    Some((next, stored))
}

/// How many bytes a range says to be there; only one that begins at the first byte says so.
fn stored(range: &HeaderValue) -> Option<u64> {
    let range = range.to_str().ok()?;
    let range = range.strip_prefix("bytes=").unwrap_or(range);
    let last = range.strip_prefix("0-")?;
    let is_number = last.bytes().all(|byte| byte.is_ascii_digit());
    let last: u64 = last.parse().ok().filter(|last| is_number && *last > 0)?;
    last.checked_add(1)
}

async fn restart(client: &Client, location: &Url) -> Result<Url, RegistryError> {
    cancel(client, location).await;
    open(client).await
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
pub(super) async fn cancel(client: &Client, location: &Url) {
    let _ = client
        .send_once(location, client.http().delete(location.clone()))
        .await;
}

pub(super) fn location(
    client: &Client,
    from: &Url,
    answer: &Response,
) -> Result<Url, RegistryError> {
    let text = answer
        .headers()
        .get(LOCATION)
        .and_then(|value| value.to_str().ok())
        .ok_or_else(|| client.protocol("it opens an upload and does not say where"))?;
    client.given_url(from, text)
}

const OCTETS: &str = "application/octet-stream";
const AHEAD: usize = 8;
/// A registry that gets a little further each time could go on for ever.
const RESUMPTIONS: usize = 64;

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn stored(text: &str) -> Option<u64> {
        super::stored(&HeaderValue::from_bytes(text.as_bytes()).ok()?)
    }

    #[test]
    fn a_range_says_how_much_is_there_or_nothing() {
        assert_eq!(stored("0-9"), Some(10));
        assert_eq!(stored("bytes=0-1"), Some(2));
        for wrong in [
            "0-0",
            "",
            "0-",
            "1-9",
            "0-+9",
            "0--9",
            "0-9/10",
            "0-9,20-30",
            "00-9",
            "0- 9",
            "bytes 0-9",
            "0-18446744073709551615",
            "0-99999999999999999999",
        ] {
            assert_eq!(stored(wrong), None, "{wrong}");
        }
    }

    proptest! {
        #[test]
        fn no_range_panics_or_says_more_than_its_number(text in "(bytes=)?(0-)?[-+0-9, ]{0,24}") {
            if let Some(count) = stored(&text) {
                let last = (count - 1).to_string();
                prop_assert!(text.ends_with(&last) && count > 1);
            }
        }
    }
}
