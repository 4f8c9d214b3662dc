//! The one thread on which all network traffic of a registry runs, so that callers need no run-time of their own.

use std::future::Future;
use std::sync::mpsc;
use std::thread::JoinHandle;
use std::time::Duration;

use tokio::runtime::{Builder, Handle};
use tokio::sync::{mpsc as tokio_mpsc, oneshot};

use crate::error::RegistryError;

/// The thread; it ends with the value, after the clean-up of what was begun.
#[derive(Debug)]
pub(crate) struct NetworkThread {
    handle: Handle,
    stop: Option<oneshot::Sender<()>>,
    thread: Option<JoinHandle<()>>,
    busy: Option<Busy>,
}

/// As long as one of these lives, the thread waits a while before it ends.
#[derive(Debug, Clone)]
pub(crate) struct Busy(
    #[expect(dead_code, reason = "its drop is what counts")] tokio_mpsc::Sender<()>,
);

impl NetworkThread {
    pub(crate) fn start() -> Result<Self, RegistryError> {
        let runtime = Builder::new_current_thread()
            .enable_all()
            .build()
            .map_err(RegistryError::Thread)?;
        let handle = runtime.handle().clone();
        let (stop, stopped) = oneshot::channel();
        let (busy, mut idle) = tokio_mpsc::channel(1);
        let thread = std::thread::Builder::new()
            .name("registry".to_owned())
            .spawn(move || {
                runtime.block_on(async {
                    let _ = stopped.await;
                    let _ = tokio::time::timeout(CLEAN_UP, idle.recv()).await;
                });
            })
            .map_err(RegistryError::Thread)?;
        Ok(Self {
            handle,
            stop: Some(stop),
            thread: Some(thread),
            busy: Some(Busy(busy)),
        })
    }

    /// Runs `future` there and waits for what it gives.
    pub(crate) fn run<T: Send + 'static>(
        &self,
        future: impl Future<Output = Result<T, RegistryError>> + Send + 'static,
    ) -> Result<T, RegistryError> {
        let (answer, answered) = mpsc::sync_channel(1);
        self.handle.spawn(async move {
            let _ = answer.send(future.await);
        });
        answered.recv().map_err(|_| RegistryError::ThreadEnded)?
    }

    /// Lets `future` run there by itself.
    pub(crate) fn spawn(&self, future: impl Future<Output = ()> + Send + 'static) {
        self.handle.spawn(future);
    }

    pub(crate) fn busy(&self) -> Option<Busy> {
        self.busy.clone()
    }
}

impl Drop for NetworkThread {
    fn drop(&mut self) {
        self.busy = None;
        if let Some(stop) = self.stop.take() {
            let _ = stop.send(());
        }
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
    }
}

const CLEAN_UP: Duration = Duration::from_secs(5);
