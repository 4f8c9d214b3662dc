//! What a writer gave for an upload, the last of it kept: a broken upload goes on from where the registry stands.

use std::collections::VecDeque;
use std::io;
use std::pin::Pin;
use std::sync::{Arc, Mutex, PoisonError};
use std::task::{Context, Poll, ready};

use bytes::Bytes;
use tokio::sync::mpsc::Receiver;
use tokio_stream::Stream;

/// The bytes on their way. Memory is bounded by the window and the writer's queue.
#[derive(Clone)]
pub(super) struct Feed(Arc<Mutex<Inside>>);

struct Inside {
    incoming: Receiver<Bytes>,
    /// The last pieces that were given out.
    window: VecDeque<Bytes>,
    /// Where in the blob the window begins and ends.
    start: u64,
    end: u64,
    /// Streams of former attempts get nothing any more.
    attempt: u64,
}

impl Feed {
    pub(super) fn new(incoming: Receiver<Bytes>) -> Self {
        Self(Arc::new(Mutex::new(Inside {
            incoming,
            window: VecDeque::new(),
            start: 0,
            end: 0,
            attempt: 0,
        })))
    }

    /// All bytes from `at` on, to the end of the blob.
    pub(super) fn stream_from(&self, at: u64) -> Attempt {
        let mut inside = self.lock();
        inside.attempt += 1;
        Attempt {
            number: inside.attempt,
            at,
            feed: self.clone(),
        }
    }

    /// Whether the bytes from `at` on are still there.
    pub(super) fn reaches(&self, at: u64) -> bool {
        let inside = self.lock();
        (inside.start..=inside.end).contains(&at)
    }

    /// How many bytes the writer gave so far.
    pub(super) fn end(&self) -> u64 {
        self.lock().end
    }

    /// The writer's next piece will be refused.
    pub(super) fn close(&self) {
        self.lock().incoming.close();
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, Inside> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Inside {
    /// The rest of the piece in which `at` lies; none at the end of the window.
    fn kept(&self, at: u64) -> Option<Bytes> {
        let mut begins = self.start;
        for piece in &self.window {
            let ends = begins + piece.len() as u64;
            if (begins..ends).contains(&at) {
                return Some(piece.slice(usize::try_from(at - begins).ok()?..));
            }
            begins = ends;
        }
        None
    }

    fn keep(&mut self, piece: Bytes) {
        self.end += piece.len() as u64;
        self.window.push_back(piece);
        while self.end - self.start > WINDOW {
            let Some(oldest) = self.window.pop_front() else {
                return;
            };
            self.start += oldest.len() as u64;
        }
    }
}

/// The body of one request.
pub(super) struct Attempt {
    feed: Feed,
    number: u64,
    at: u64,
}

impl Stream for Attempt {
    type Item = Result<Bytes, io::Error>;

    fn poll_next(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        let this = self.get_mut();
        let mut inside = this.feed.lock();
        if inside.attempt != this.number {
            return Poll::Ready(Some(Err(io::ErrorKind::BrokenPipe.into())));
        }
        let piece = match inside.kept(this.at) {
            Some(piece) => piece,
            None => match ready!(inside.incoming.poll_recv(context)) {
                Some(piece) => {
                    inside.keep(piece.clone());
                    piece
                }
                None => return Poll::Ready(None),
            },
        };
        this.at += piece.len() as u64;
        Poll::Ready(Some(Ok(piece)))
    }
}

/// More than lies in the buffers between us and the registry's disk.
const WINDOW: u64 = 8 * 1024 * 1024;

#[cfg(test)]
mod tests {
    use tokio::sync::mpsc;
    use tokio_stream::StreamExt;

    use super::*;

    #[tokio::test]
    async fn a_later_attempt_gets_what_the_former_lost() {
        let (sender, receiver) = mpsc::channel(4);
        let feed = Feed::new(receiver);
        let mut first = feed.stream_from(0);
        for text in ["abc", "def"] {
            sender
                .send(Bytes::from_static(text.as_bytes()))
                .await
                .unwrap();
            assert_eq!(first.next().await.unwrap().unwrap(), text);
        }
        let mut second = feed.stream_from(2);
        assert!(first.next().await.unwrap().is_err());
        sender.send(Bytes::from_static(b"g")).await.unwrap();
        drop(sender);
        for text in ["c", "def", "g"] {
            assert_eq!(second.next().await.unwrap().unwrap(), text);
        }
        assert!(second.next().await.is_none());
        assert!(feed.reaches(0) && feed.reaches(7) && !feed.reaches(8));
    }

    #[tokio::test]
    async fn what_is_long_gone_is_not_kept() {
        let (sender, receiver) = mpsc::channel(1);
        let feed = Feed::new(receiver);
        let mut stream = feed.stream_from(0);
        for _ in 0..3 {
            sender.send(Bytes::from(vec![0; 4 << 20])).await.unwrap();
            stream.next().await.unwrap().unwrap();
        }
        assert!(!feed.reaches(0) && feed.reaches(4 << 20) && feed.end() == 12 << 20);
    }
}
