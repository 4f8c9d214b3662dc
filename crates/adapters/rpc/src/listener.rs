//! The server's door for nodes: TLS 1.3 without a proxy, so that each connection's exporter is the node's own.

use std::{
    io,
    net::SocketAddr,
    pin::Pin,
    sync::Arc,
    task::{Context, Poll},
};

use estate::{NodeName, Timestamp};
use evidence::{Session, SessionKeys, session::EXPORTER_LABEL};
use rustls::{
    RootCertStore, ServerConfig,
    pki_types::{CertificateDer, PrivateKeyDer},
    server::WebPkiClientVerifier,
};
use spiffe_id::{TrustDomain, UnixTime, X509Bundle, verify_x509_svid};
use tokio::{
    io::{AsyncRead, AsyncWrite, ReadBuf},
    net::{TcpListener, TcpStream},
    sync::{OwnedSemaphorePermit, Semaphore, mpsc},
    time::{Duration, Sleep, sleep, timeout},
};
use tokio_rustls::{TlsAcceptor, server::TlsStream};
use tonic::transport::server::Connected;

/// A listener can't be made.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ListenError {
    /// Fault: see the source.
    #[error("TLS can't be configured")]
    Tls(#[source] rustls::Error),
    /// Fault: the authority's certificates.
    #[error("client certificates can't be verified")]
    Roots,
    /// Fault: the address, or whoever uses it already.
    #[error("can't listen on `{address}`")]
    Bind {
        /// The address.
        address: SocketAddr,
        /// Why.
        source: io::Error,
    },
}

/// Who may connect, and as whom.
pub struct Door {
    acceptor: TlsAcceptor,
    trust_domain: TrustDomain,
    bundle: X509Bundle,
    limits: Limits,
    now: Arc<dyn Fn() -> Timestamp + Send + Sync>,
}

/// What strangers may use up: connections in their handshake, and those without a client certificate.
#[derive(Debug, Clone, Copy)]
pub struct Limits {
    /// So many at once; one more waits for a place.
    pub strangers: usize,
    /// So long lives each: an attestation is over by then.
    pub life: Duration,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            strangers: 256,
            life: Duration::from_secs(90),
        }
    }
}

/// What is known of a connection before any request.
#[derive(Clone)]
pub struct Connection {
    /// The peer's address.
    pub remote: SocketAddr,
    /// TLS exporter.
    pub exporter: [u8; 32],
    /// The authenticated node's session; absent on a connection without a client certificate.
    pub session: Option<Arc<Session>>,
}

impl Door {
    /// TLS 1.3 only; a client certificate is asked for and may be absent: then only `Attest` is answered.
    ///
    /// # Errors
    /// [`ListenError`]
    pub fn new(
        trust_domain: TrustDomain,
        root_der: &[u8],
        chain: Vec<Vec<u8>>,
        key: PrivateKeyDer<'static>,
        now: Arc<dyn Fn() -> Timestamp + Send + Sync>,
    ) -> Result<Self, ListenError> {
        let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
        let mut roots = RootCertStore::empty();
        roots
            .add(CertificateDer::from(root_der.to_vec()))
            .map_err(ListenError::Tls)?;
        let clients =
            WebPkiClientVerifier::builder_with_provider(Arc::new(roots), Arc::clone(&provider))
                .allow_unauthenticated()
                .build()
                .map_err(|_| ListenError::Roots)?;
        let mut config = ServerConfig::builder_with_provider(provider)
            .with_protocol_versions(&[&rustls::version::TLS13])
            .map_err(ListenError::Tls)?
            .with_client_cert_verifier(clients)
            .with_single_cert(chain.into_iter().map(CertificateDer::from).collect(), key)
            .map_err(ListenError::Tls)?;
        config.alpn_protocols = vec![b"h2".to_vec()];
        // No resumption: each connection shows its certificate anew, so a ban or an end of validity is seen.
        config.send_tls13_tickets = 0;
        let bundle = X509Bundle::new(&trust_domain)
            .with_authority(root_der)
            .map_err(|_| ListenError::Roots)?;
        Ok(Self {
            acceptor: TlsAcceptor::from(Arc::new(config)),
            trust_domain,
            bundle,
            limits: Limits::default(),
            now,
        })
    }

    /// With other limits than the usual ones.
    #[must_use]
    pub fn with_limits(self, limits: Limits) -> Self {
        Self { limits, ..self }
    }

    /// Listens on `address`.
    ///
    /// # Errors
    /// [`ListenError::Bind`]
    pub async fn listen(address: SocketAddr) -> Result<TcpListener, ListenError> {
        TcpListener::bind(address)
            .await
            .map_err(|source| ListenError::Bind { address, source })
    }

    /// Accepts for ever; connections that pass the handshake come out of the receiver.
    pub fn accept(self, listener: TcpListener) -> mpsc::Receiver<io::Result<NodeStream>> {
        let (sender, receiver) = mpsc::channel(64);
        let room = Arc::new(Semaphore::new(self.limits.strangers));
        let door = Arc::new(self);
        tokio::spawn(async move {
            while !sender.is_closed() {
                // Whoever waits for a place waits in the kernel's queue and costs no descriptor.
                let Ok(place) = Arc::clone(&room).acquire_owned().await else {
                    return;
                };
                match listener.accept().await {
                    Ok((stream, remote)) => {
                        let (door, sender) = (Arc::clone(&door), sender.clone());
                        tokio::spawn(async move {
                            if let Some(stream) = door.handshake(stream, remote, place).await {
                                let _ = sender.send(Ok(stream)).await;
                            }
                        });
                    }
                    // Out of descriptors, or a connection that was gone already: neither ends the server.
                    Err(error) => {
                        tracing::warn!(%error, "a connection was not accepted");
                        tokio::time::sleep(Duration::from_millis(50)).await;
                    }
                }
            }
        });
        receiver
    }

    async fn handshake(
        &self,
        stream: TcpStream,
        remote: SocketAddr,
        place: OwnedSemaphorePermit,
    ) -> Option<NodeStream> {
        let _ = stream.set_nodelay(true);
        let tls = match timeout(HANDSHAKE_LIMIT, self.acceptor.accept(stream)).await {
            Ok(Ok(tls)) => tls,
            Ok(Err(error)) => {
                tracing::info!(%remote, %error, "handshake failed");
                return None;
            }
            Err(_) => {
                tracing::info!(%remote, "handshake took too long");
                return None;
            }
        };
        let mut exporter = [0; 32];
        let (_, connection) = tls.get_ref();
        connection
            .export_keying_material(&mut exporter, EXPORTER_LABEL, None)
            .ok()?;
        let session = match connection.peer_certificates() {
            None => None,
            Some(chain) => match self.node(chain) {
                Some(node) => Some(Arc::new(Session::new(SessionKeys { node, exporter }))),
                None => {
                    tracing::info!(%remote, "a client certificate is not a node's");
                    return None;
                }
            },
        };
        // A node that showed its certificate is no stranger: its place is free again.
        let stranger = session.is_none().then(|| Stranger {
            _place: place,
            end: Box::pin(sleep(self.limits.life)),
        });
        Some(NodeStream {
            tls,
            stranger,
            connection: Connection {
                remote,
                exporter,
                session,
            },
        })
    }

    /// The node that a certificate chain names, by our own SPIFFE verifier.
    fn node(&self, chain: &[CertificateDer<'_>]) -> Option<NodeName> {
        let now = UnixTime::from_secs((self.now)().as_seconds().try_into().ok()?);
        let svid = verify_x509_svid(chain, &[&self.bundle], now).ok()?;
        if !svid.id().is_member_of(&self.trust_domain) {
            return None;
        }
        svid.id().path().strip_prefix("/node/")?.parse().ok()
    }
}

/// An accepted connection.
pub struct NodeStream {
    tls: TlsStream<TcpStream>,
    stranger: Option<Stranger>,
    connection: Connection,
}

/// The place of a connection without a client certificate, and its end.
struct Stranger {
    _place: OwnedSemaphorePermit,
    end: Pin<Box<Sleep>>,
}

impl Connected for NodeStream {
    type ConnectInfo = Connection;
    fn connect_info(&self) -> Connection {
        self.connection.clone()
    }
}

impl AsyncRead for NodeStream {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        if let Some(stranger) = &mut self.stranger
            && stranger.end.as_mut().poll(cx).is_ready()
        {
            return Poll::Ready(Err(io::ErrorKind::TimedOut.into()));
        }
        Pin::new(&mut self.tls).poll_read(cx, buf)
    }
}

impl AsyncWrite for NodeStream {
    fn poll_write(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &[u8],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.tls).poll_write(cx, buf)
    }
    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.tls).poll_flush(cx)
    }
    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.tls).poll_shutdown(cx)
    }
}

const HANDSHAKE_LIMIT: Duration = Duration::from_secs(10);
