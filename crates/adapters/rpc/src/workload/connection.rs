//! A workload's connection: the process at its other end is named by the kernel, once, when it connects.

use std::{
    collections::HashMap,
    io,
    pin::Pin,
    sync::Arc,
    task::{Context, Poll},
};

use peer::Peer;
use tokio::{
    io::{AsyncRead, AsyncWrite, ReadBuf},
    net::{UnixListener, UnixStream},
    sync::{OwnedSemaphorePermit, Semaphore, mpsc},
};
use tonic::transport::server::Connected;

use crate::unix;

/// The process behind a request.
pub struct CallerOf<T>(pub Arc<T>);

impl<T> Clone for CallerOf<T> {
    fn clone(&self) -> Self {
        Self(Arc::clone(&self.0))
    }
}

/// An accepted connection.
pub(super) struct WorkloadStream<T> {
    stream: UnixStream,
    caller: Arc<T>,
    _room: [OwnedSemaphorePermit; 2],
}

/// Room for connections: for all of them, and for those of one control group, so that no container keeps the others out.
struct Rooms {
    all: Arc<Semaphore>,
    groups: HashMap<String, Arc<Semaphore>>,
    per_group: usize,
}

impl Rooms {
    fn new(all: usize, per_group: usize) -> Self {
        Self {
            all: Arc::new(Semaphore::new(all)),
            groups: HashMap::new(),
            per_group,
        }
    }

    fn enter(&mut self, group: String) -> Option<[OwnedSemaphorePermit; 2]> {
        let room = Arc::clone(&self.all).try_acquire_owned().ok()?;
        let per_group = self.per_group;
        if !self.groups.contains_key(&group) {
            self.groups
                .retain(|_, taken| taken.available_permits() < per_group);
        }
        let share = self
            .groups
            .entry(group)
            .or_insert_with(|| Arc::new(Semaphore::new(per_group)));
        Some([room, Arc::clone(share).try_acquire_owned().ok()?])
    }
}

/// Accepts until nobody listens to the receiver any more. Beyond a limit, new connections are closed at once: workloads
/// must not use up the descriptors of their agent.
pub(super) fn accept<T, M>(
    listener: UnixListener,
    make_caller: M,
) -> mpsc::Receiver<io::Result<WorkloadStream<T>>>
where
    T: Send + Sync + 'static,
    M: Fn(Peer) -> T + Send + Sync + 'static,
{
    let (sender, receiver) = mpsc::channel(16);
    let mut rooms = Rooms::new(MOST_CONNECTIONS, MOST_PER_GROUP);
    tokio::spawn(async move {
        loop {
            let stream = tokio::select! {
                () = sender.closed() => return,
                stream = unix::accept(&listener) => stream,
            };
            let peer = match Peer::of(&stream) {
                Ok(peer) => peer,
                Err(error) => {
                    tracing::debug!(%error, "a caller was gone before it was seen");
                    continue;
                }
            };
            let group = peer.process().cgroup();
            let group = group.map_or_else(|_| String::new(), |group| group.path().to_owned());
            let Some(room) = rooms.enter(group) else {
                tracing::warn!(pid = peer.pid(), "too many connections of workloads");
                continue;
            };
            let stream = WorkloadStream {
                stream,
                caller: Arc::new(make_caller(peer)),
                _room: room,
            };
            if sender.send(Ok(stream)).await.is_err() {
                return;
            }
        }
    });
    receiver
}

impl<T: Send + Sync + 'static> Connected for WorkloadStream<T> {
    type ConnectInfo = CallerOf<T>;

    fn connect_info(&self) -> CallerOf<T> {
        CallerOf(Arc::clone(&self.caller))
    }
}

impl<T> AsyncRead for WorkloadStream<T> {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_read(cx, buf)
    }
}

impl<T> AsyncWrite for WorkloadStream<T> {
    fn poll_write(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &[u8],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.stream).poll_write(cx, buf)
    }
    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_flush(cx)
    }
    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_shutdown(cx)
    }
}

const MOST_CONNECTIONS: usize = 16 * 1024;
const MOST_PER_GROUP: usize = 256;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_container_can_not_keep_the_others_out() {
        let mut rooms = Rooms::new(4, 2);
        let enter = |rooms: &mut Rooms, group: &str| rooms.enter(group.to_owned());
        let held: Vec<_> = (0..3).map(|_| enter(&mut rooms, "/greedy")).collect();
        assert!(held[0].is_some() && held[1].is_some() && held[2].is_none());
        let _other = enter(&mut rooms, "/other").unwrap();
        assert!(enter(&mut rooms, "/greedy").is_none());
        drop(held);
        assert!(enter(&mut rooms, "/greedy").is_some());
    }

    #[test]
    fn groups_that_are_gone_are_forgotten_and_all_share_one_limit() {
        let mut rooms = Rooms::new(2, 2);
        for number in 0..100 {
            assert!(rooms.enter(format!("/{number}")).is_some());
        }
        assert_eq!(rooms.groups.len(), 1);
        let _held = [rooms.enter("/a".to_owned()), rooms.enter("/b".to_owned())];
        assert!(rooms.enter("/c".to_owned()).is_none());
    }
}
