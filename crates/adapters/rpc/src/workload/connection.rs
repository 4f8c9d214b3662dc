//! A workload's connection: the process at its other end is named by the kernel, once, when it connects.

use std::{
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
    _room: OwnedSemaphorePermit,
}

/// Accepts until nobody listens to the receiver any more. Beyond the limit, new connections are closed at once: workloads
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
    let room = Arc::new(Semaphore::new(MOST_CONNECTIONS));
    tokio::spawn(async move {
        loop {
            let stream = tokio::select! {
                () = sender.closed() => return,
                stream = unix::accept(&listener) => stream,
            };
            let Ok(permit) = Arc::clone(&room).try_acquire_owned() else {
                tracing::warn!(
                    limit = MOST_CONNECTIONS,
                    "too many connections of workloads"
                );
                continue;
            };
            match Peer::of(&stream) {
                Ok(peer) => {
                    let stream = WorkloadStream {
                        stream,
                        caller: Arc::new(make_caller(peer)),
                        _room: permit,
                    };
                    if sender.send(Ok(stream)).await.is_err() {
                        return;
                    }
                }
                Err(error) => tracing::debug!(%error, "a caller was gone before it was seen"),
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
