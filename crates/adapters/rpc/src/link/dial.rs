//! TCP, TLS, and one HTTP/2 connection over exactly that TLS.

use std::{
    fmt, io,
    str::FromStr,
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

use agent::ports::LinkError;
use evidence::session::EXPORTER_LABEL;
use hyper_util::rt::TokioIo;
use proto::bailiwick::node::v1::nodes_client::NodesClient;
use rustls::{ClientConfig, pki_types::ServerName};
use tokio::{
    io::{AsyncBufReadExt, BufReader},
    net::TcpStream,
    runtime::Handle,
    task::spawn_blocking,
    time::timeout,
};
use tokio_rustls::{TlsConnector, client::TlsStream};
use tonic::transport::{Channel, Endpoint};

/// Where a server listens: `host:port`; the host is also the name that its certificate must have.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ServerAddress {
    host: String,
    port: u16,
    name: ServerName<'static>,
}

/// A text is not the address of a server. Fault: whoever wrote it.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("`{}` is no address of a server: write it as `host:port`", .0.escape_debug())]
pub struct ServerAddressError(String);

impl FromStr for ServerAddress {
    type Err = ServerAddressError;

    fn from_str(text: &str) -> Result<Self, ServerAddressError> {
        let error = || ServerAddressError(text.chars().take(255).collect());
        let (host, port) = text.rsplit_once(':').ok_or_else(error)?;
        let host = host
            .strip_prefix('[')
            .and_then(|host| host.strip_suffix(']'))
            .unwrap_or(host);
        let name = ServerName::try_from(host.to_owned()).map_err(|_| error())?;
        let port = port
            .parse()
            .ok()
            .filter(|port| *port != 0)
            .ok_or_else(error)?;
        Ok(Self {
            host: host.to_owned(),
            port,
            name,
        })
    }
}

impl fmt::Display for ServerAddress {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.host.contains(':') {
            true => write!(out, "[{}]:{}", self.host, self.port),
            false => write!(out, "{}:{}", self.host, self.port),
        }
    }
}

/// What HTTP/2 runs over; it may hold the server's first words.
type Stream = BufReader<TlsStream<TcpStream>>;

/// A connection on which nothing was said yet.
pub(super) struct Dialled {
    pub(super) exporter: [u8; 32],
    pub(super) client: NodesClient<Channel>,
}

/// Connects to one server.
pub(super) async fn dial(
    server: &ServerAddress,
    config: Arc<ClientConfig>,
) -> Result<Dialled, LinkError> {
    let failed =
        |what: &str, why: String| LinkError::Unavailable(format!("`{server}` {what}: {why}"));
    let tcp = timeout(
        CONNECT_LIMIT,
        TcpStream::connect((server.host.as_str(), server.port)),
    )
    .await
    .map_err(|_| failed("does not answer", "the connection took too long".into()))?
    .map_err(|error| failed("can't be reached", error.to_string()))?;
    let _ = tcp.set_nodelay(true);
    let tls = handshake(server.name.clone(), tcp, config)
        .await
        .map_err(|error| failed("is refused", error.to_string()))?;
    let (_, connection) = tls.get_ref();
    if connection.alpn_protocol() != Some(b"h2") {
        return Err(failed("is refused", "it does not speak HTTP/2".into()));
    }
    let exporter = connection
        .export_keying_material([0; 32], EXPORTER_LABEL, None)
        .map_err(|error| failed("is refused", error.to_string()))?;
    let stream = verdict(tls).await?;
    let channel = channel(server, stream)
        .await
        .map_err(|error| failed("broke off", chain(&error)))?;
    let client = NodesClient::new(channel)
        .max_decoding_message_size(MAX_MESSAGE)
        .max_encoding_message_size(MAX_MESSAGE);
    Ok(Dialled { exporter, client })
}

/// The node key signs in a TPM, which blocks: the handshake has a thread of its own.
async fn handshake(
    name: ServerName<'static>,
    tcp: TcpStream,
    config: Arc<ClientConfig>,
) -> io::Result<TlsStream<TcpStream>> {
    let handle = Handle::current();
    let shaken = spawn_blocking(move || {
        handle.block_on(timeout(
            HANDSHAKE_LIMIT,
            TlsConnector::from(config).connect(name, tcp),
        ))
    });
    match shaken.await {
        Ok(Ok(tls)) => tls,
        Ok(Err(_)) => Err(io::Error::new(
            io::ErrorKind::TimedOut,
            "the handshake took too long",
        )),
        Err(_) => Err(io::Error::other("the handshake broke off")),
    }
}

/// TLS 1.3 lets a client finish before the server has judged its certificate. A server that goes on speaks first, as
/// HTTP/2 allows; one that refuses sends an alert, and whoever writes meanwhile may lose it.
async fn verdict(tls: TlsStream<TcpStream>) -> Result<Stream, LinkError> {
    let mut stream = BufReader::new(tls);
    match timeout(VERDICT_LIMIT, stream.fill_buf()).await {
        Ok(Err(error)) if is_alert(&error) => Err(LinkError::Refused(error.to_string())),
        Ok(Err(error)) => Err(LinkError::Unavailable(error.to_string())),
        Ok(Ok([])) => Err(LinkError::Unavailable(
            "the server closed the connection".into(),
        )),
        Ok(Ok(_)) | Err(_) => Ok(stream),
    }
}

fn is_alert(error: &io::Error) -> bool {
    let inner = error.get_ref().and_then(|inner| inner.downcast_ref());
    matches!(inner, Some(rustls::Error::AlertReceived(_)))
}

/// gRPC over this stream and no other: asked for a second one, the connector has none, and the channel fails for good.
async fn channel(
    server: &ServerAddress,
    stream: Stream,
) -> Result<Channel, tonic::transport::Error> {
    let slot = Arc::new(Mutex::new(Some(TokioIo::new(stream))));
    let once = tower::service_fn(move |_| {
        let stream = slot.lock().unwrap_or_else(PoisonError::into_inner).take();
        async move { stream.ok_or_else(gone) }
    });
    // `http` as TLS is done already.
    Endpoint::from_shared(format!("http://{server}"))?
        .http2_keep_alive_interval(KEEP_ALIVE)
        .keep_alive_timeout(KEEP_ALIVE)
        .keep_alive_while_idle(true)
        .connect_with_connector(once)
        .await
}

fn gone() -> io::Error {
    io::Error::new(io::ErrorKind::NotConnected, "the connection is gone")
}

/// An error with its causes, on one line.
pub(super) fn chain(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut cause = error.source();
    while let Some(error) = cause {
        text.push_str(": ");
        text.push_str(&error.to_string());
        cause = error.source();
    }
    text
}

const CONNECT_LIMIT: Duration = Duration::from_secs(5);
/// A server that waits for the client's first word is not waited for long.
const VERDICT_LIMIT: Duration = Duration::from_secs(2);
const HANDSHAKE_LIMIT: Duration = Duration::from_secs(10);
const KEEP_ALIVE: Duration = Duration::from_secs(10);
const MAX_MESSAGE: usize = 4 * 1024 * 1024;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses_have_host_and_port() {
        for text in ["server.example:8443", "127.0.0.1:1", "[::1]:8443"] {
            assert_eq!(text.parse::<ServerAddress>().unwrap().to_string(), text);
        }
        for text in [
            "",
            "server",
            ":1",
            "server:",
            "server:0",
            "server:99999",
            "a b:1",
            "spiffe://x:1",
        ] {
            assert!(text.parse::<ServerAddress>().is_err(), "{text}");
        }
    }

    proptest::proptest! {
        #[test]
        fn an_address_is_refused_or_written_as_it_is_read(text in "\\PC{0,40}|[a-z0-9.:-]{0,20}:[0-9]{1,6}") {
            if let Ok(address) = text.parse::<ServerAddress>() {
                let again: ServerAddress = address.to_string().parse().unwrap();
                proptest::prop_assert_eq!(again, address);
            }
        }
    }
}
