//! The two doors: a socket for root of this host, and TLS for people. Both serve the same table; they differ in how a
//! caller becomes known.

use std::{
    io,
    net::SocketAddr,
    os::unix::fs::{FileTypeExt, PermissionsExt},
    path::{Path, PathBuf},
    sync::{Arc, atomic::Ordering},
    time::Duration,
};

use axum::{Router, body::Body};
use estate::Timestamp;
use http::Request;
use hyper::{body::Incoming, server::conn::http1, service::service_fn};
use hyper_util::rt::{TokioIo, TokioTimer};
use rustls::pki_types::PrivateKeyDer;
use server::ports::{DatabaseAccounts, Store};
use tokio::{
    io::{AsyncRead, AsyncWrite},
    net::{TcpListener, TcpStream, UnixListener, UnixStream},
    sync::Semaphore,
    time::timeout,
};
use tokio_rustls::TlsAcceptor;
use tower::Service;

use crate::{access::Caller, router::Api, tls};

/// A door can't be opened.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ListenError {
    /// Fault: the operator, or whoever uses the address already.
    #[error("can't listen on `{place}`")]
    Bind {
        /// Address or path.
        place: String,
        /// What the system said.
        source: io::Error,
    },
    /// Fault: the operator: another server is alive there.
    #[error("`{}` is in use", .path.display())]
    InUse {
        /// The socket.
        path: PathBuf,
    },
    /// Fault: the operator: something that is no socket is in the way.
    #[error("`{}` exists and is no socket", .path.display())]
    InTheWay {
        /// What is in the way.
        path: PathBuf,
    },
    /// Fault: the authority's certificates.
    #[error("TLS can't be configured")]
    Tls(#[source] rustls::Error),
    /// Fault: the authority's root.
    #[error("client certificates can't be verified")]
    Roots,
}

/// How many connections at once, each door for itself.
#[derive(Debug, Clone, Copy)]
pub struct Limits {
    /// Connections.
    pub connections: usize,
}

impl Default for Limits {
    fn default() -> Self {
        Self { connections: 256 }
    }
}

/// The socket of the host's root.
#[derive(Debug)]
pub struct LocalDoor {
    listener: UnixListener,
    path: PathBuf,
    uid: u32,
}

/// TLS 1.3 for people; whoever has no certificate gets public material only.
pub struct RemoteDoor {
    listener: TcpListener,
    acceptor: TlsAcceptor,
}

impl LocalDoor {
    /// Makes the socket, for its owner only. A socket that nobody answers on is replaced.
    ///
    /// # Errors
    /// [`ListenError`]
    pub async fn bind(path: &Path) -> Result<Self, ListenError> {
        Self::bind_for(path, 0).await
    }

    /// As [`LocalDoor::bind`], for another user than root: for tests, which are nobody special.
    ///
    /// # Errors
    /// [`ListenError`]
    pub async fn bind_for(path: &Path, uid: u32) -> Result<Self, ListenError> {
        make_room(path).await?;
        let failed = |source| ListenError::Bind {
            place: path.display().to_string(),
            source,
        };
        let listener = UnixListener::bind(path).map_err(failed)?;
        // Between these two lines the socket may be open to others: the peer's uid is what counts, the mode is comfort.
        std::fs::set_permissions(path, std::fs::Permissions::from_mode(0o600)).map_err(failed)?;
        Ok(Self {
            listener,
            path: path.to_owned(),
            uid,
        })
    }

    /// Serves for ever.
    pub async fn serve<S: Store, A: DatabaseAccounts + 'static>(
        self,
        api: Arc<Api<S, A>>,
        limits: Limits,
    ) {
        let router = api.router();
        let permits = Arc::new(Semaphore::new(limits.connections));
        loop {
            let Ok(permit) = Arc::clone(&permits).acquire_owned().await else {
                return;
            };
            match self.listener.accept().await {
                Ok((stream, _)) => {
                    let (caller, router) = (self.caller(&stream), router.clone());
                    tokio::spawn(async move {
                        serve_connection(stream, router, caller).await;
                        drop(permit);
                    });
                }
                Err(error) => pause(&error).await,
            }
        }
    }

    /// Who connected, by SO_PEERCRED: what the kernel knew at `connect`.
    fn caller(&self, stream: &UnixStream) -> Caller {
        match stream.peer_cred() {
            Ok(peer) if peer.uid() == self.uid => Caller::LocalRoot,
            _ => Caller::Unknown,
        }
    }
}

impl Drop for LocalDoor {
    fn drop(&mut self) {
        // A socket that stays is replaced at the next start.
        let _ = std::fs::remove_file(&self.path);
    }
}

impl RemoteDoor {
    /// Listens with the server's certificate chain and key; people's certificates must chain to `root_der`.
    ///
    /// # Errors
    /// [`ListenError`]
    pub async fn bind(
        address: SocketAddr,
        root_der: &[u8],
        chain: Vec<Vec<u8>>,
        key: PrivateKeyDer<'static>,
        now: Arc<dyn Fn() -> Timestamp + Send + Sync>,
    ) -> Result<Self, ListenError> {
        let acceptor = TlsAcceptor::from(tls::server_config(root_der, chain, key, now)?);
        let listener = TcpListener::bind(address)
            .await
            .map_err(|source| ListenError::Bind {
                place: address.to_string(),
                source,
            })?;
        Ok(Self { listener, acceptor })
    }

    /// The address, with the port that was given for 0.
    ///
    /// # Errors
    /// The system's.
    pub fn address(&self) -> io::Result<SocketAddr> {
        self.listener.local_addr()
    }

    /// Serves for ever.
    pub async fn serve<S: Store, A: DatabaseAccounts + 'static>(
        self,
        api: Arc<Api<S, A>>,
        limits: Limits,
    ) {
        let router = api.router();
        let permits = Arc::new(Semaphore::new(limits.connections));
        loop {
            let Ok(permit) = Arc::clone(&permits).acquire_owned().await else {
                return;
            };
            match self.listener.accept().await {
                Ok((stream, remote)) => {
                    let (acceptor, router, api) =
                        (self.acceptor.clone(), router.clone(), Arc::clone(&api));
                    tokio::spawn(async move {
                        match handshake(&acceptor, stream).await {
                            Ok((stream, caller)) => serve_connection(stream, router, caller).await,
                            Err(why) => {
                                api.counters.handshakes.fetch_add(1, Ordering::Relaxed);
                                tracing::info!(%remote, why, "a connection was refused");
                            }
                        }
                        drop(permit);
                    });
                }
                Err(error) => pause(&error).await,
            }
        }
    }
}

async fn handshake(
    acceptor: &TlsAcceptor,
    stream: TcpStream,
) -> Result<(tokio_rustls::server::TlsStream<TcpStream>, Caller), &'static str> {
    // Answers are small: waiting for more of them would only delay.
    let _ = stream.set_nodelay(true);
    let stream = match timeout(HANDSHAKE_TIME, acceptor.accept(stream)).await {
        Ok(Ok(stream)) => stream,
        Ok(Err(_)) => return Err("the handshake failed"),
        Err(_) => return Err("the handshake took too long"),
    };
    let (_, connection) = stream.get_ref();
    let caller = match connection
        .peer_certificates()
        .and_then(|chain| chain.first())
    {
        None => Caller::Unknown,
        Some(certificate) => {
            tls::person(certificate).ok_or("a client certificate is not a person's")?
        }
    };
    Ok((stream, caller))
}

async fn serve_connection<T>(stream: T, router: Router, caller: Caller)
where
    T: AsyncRead + AsyncWrite + Unpin + Send + 'static,
{
    let service = service_fn(move |mut request: Request<Incoming>| {
        request.extensions_mut().insert(caller.clone());
        let mut router = router.clone();
        async move { router.call(request.map(Body::new)).await }
    });
    let served = http1::Builder::new()
        .timer(TokioTimer::new())
        .header_read_timeout(HEADER_TIME)
        .max_buf_size(HEADER_BYTES)
        .serve_connection(TokioIo::new(stream), service);
    if let Err(error) = served.await {
        tracing::debug!(%error, "a connection ended");
    }
}

/// Out of descriptors, or a connection that was gone already: neither ends the server.
async fn pause(error: &io::Error) {
    tracing::warn!(%error, "a connection was not accepted");
    tokio::time::sleep(Duration::from_millis(50)).await;
}

async fn make_room(path: &Path) -> Result<(), ListenError> {
    let Ok(metadata) = std::fs::symlink_metadata(path) else {
        return Ok(());
    };
    if !metadata.file_type().is_socket() {
        return Err(ListenError::InTheWay {
            path: path.to_owned(),
        });
    }
    if UnixStream::connect(path).await.is_ok() {
        return Err(ListenError::InUse {
            path: path.to_owned(),
        });
    }
    std::fs::remove_file(path).map_err(|source| ListenError::Bind {
        place: path.display().to_string(),
        source,
    })
}

const HANDSHAKE_TIME: Duration = Duration::from_secs(10);
/// Also the longest silence between two requests.
const HEADER_TIME: Duration = Duration::from_secs(30);
const HEADER_BYTES: usize = 64 * 1024;
