//! A provider behind gRPC, plain or over TLS. Without `grpc-tls` the key crosses the connection in clear, as with others.

use std::error::Error;
use std::io;
use std::pin::Pin;

use hyper_util::rt::TokioIo;
use images::Kind;
use prost::Message;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::{TcpStream, UnixStream};
use tonic::codegen::http::uri::PathAndQuery;
use tonic::transport::{Channel, Endpoint, Uri};
use tonic::{Code, Request, Status};
use tonic_prost::ProstCodec;
use zeroize::Zeroizing;

use crate::address::Address;
use crate::config::Tls;
use crate::error::ProviderError;
use crate::protocol::Operation;
use crate::provider::LONGEST_ANSWER;
use crate::said::said;
use crate::tls;

/// The one message of both directions: the protocol's JSON.
#[derive(Clone, PartialEq, Message)]
pub(crate) struct Envelope {
    #[prost(bytes = "vec", tag = "1")]
    pub(crate) json: Vec<u8>,
}

/// The service's name, for ttrpc, too.
pub(crate) const SERVICE: &str = "keyprovider.KeyProviderService";

/// The method's name, for ttrpc, too.
pub(crate) const fn method(operation: Operation) -> &'static str {
    match operation {
        Operation::Wrap => "WrapKey",
        Operation::Unwrap => "UnWrapKey",
    }
}

/// Asks, on a connection of its own.
pub(crate) async fn ask(
    address: &Address,
    tls: Option<&Tls>,
    operation: Operation,
    question: &[u8],
    secrets: &[&[u8]],
) -> Result<Zeroizing<Vec<u8>>, ProviderError> {
    let unreachable = |source: io::Error| ProviderError::Unreachable {
        address: address.to_string(),
        source,
    };
    let channel = connect(address, tls).await.map_err(unreachable)?;
    let mut client = tonic::client::Grpc::new(channel)
        .max_decoding_message_size(LONGEST_ANSWER)
        .max_encoding_message_size(usize::MAX);
    let ready = client.ready().await;
    ready.map_err(|error| unreachable(io::Error::other(error)))?;
    let path = match operation {
        Operation::Wrap => "/keyprovider.KeyProviderService/WrapKey",
        Operation::Unwrap => "/keyprovider.KeyProviderService/UnWrapKey",
    };
    let message = Request::new(Envelope {
        json: question.to_vec(),
    });
    let codec: ProstCodec<Envelope, Envelope> = ProstCodec::default();
    let answer = client
        .unary(message, PathAndQuery::from_static(path), codec)
        .await;
    match answer {
        Ok(answer) => Ok(Zeroizing::new(answer.into_inner().json)),
        Err(status) => Err(refused(address, &status, secrets)),
    }
}

async fn connect(address: &Address, tls: Option<&Tls>) -> io::Result<Channel> {
    let endpoint =
        Endpoint::try_from(format!("http://{}", address.authority())).map_err(io::Error::other)?;
    // The connection is made here, so that what goes wrong with it is told in its own words.
    let mut stream = Some(TokioIo::new(dial(address, tls).await?));
    let connector = tower::service_fn(move |_: Uri| {
        let stream = stream.take();
        async move { stream.ok_or_else(|| io::Error::from(io::ErrorKind::ConnectionAborted)) }
    });
    let channel = endpoint.connect_with_connector(connector).await;
    channel.map_err(io::Error::other)
}

async fn dial(address: &Address, tls: Option<&Tls>) -> io::Result<Pin<Box<dyn Stream>>> {
    let plain: Pin<Box<dyn Stream>> = match address {
        Address::Tcp { host, port } => {
            let stream = TcpStream::connect((host.as_str(), *port)).await?;
            stream.set_nodelay(true)?;
            Box::pin(stream)
        }
        Address::Unix(path) => Box::pin(UnixStream::connect(path).await?),
    };
    match tls {
        Some(tls) => Ok(Box::pin(tls::protect(plain, tls, address.host()).await?)),
        None => Ok(plain),
    }
}

/// Bytes to and from a provider.
pub(crate) trait Stream: AsyncRead + AsyncWrite + Send {}

impl<S: AsyncRead + AsyncWrite + Send> Stream for S {}

/// A status that the transport made up is a broken connection, not the provider's word.
fn refused(address: &Address, status: &Status, secrets: &[&[u8]]) -> ProviderError {
    if status.code() == Code::OutOfRange && status.message().contains("too large") {
        return ProviderError::TooLong {
            limit: LONGEST_ANSWER,
        };
    }
    if status.source().is_some() {
        return ProviderError::Unreachable {
            address: address.to_string(),
            source: io::Error::other(said(status.message().as_bytes(), secrets)),
        };
    }
    ProviderError::Refused {
        code: format!("{:?}", status.code()),
        kind: kind(status.code()),
        said: said(status.message().as_bytes(), secrets),
    }
}

/// What a status means to whoever called.
pub(crate) const fn kind(code: Code) -> Kind {
    match code {
        Code::PermissionDenied | Code::Unauthenticated => Kind::Denied,
        Code::Unavailable | Code::DeadlineExceeded | Code::ResourceExhausted => Kind::Unavailable,
        _ => Kind::Failed,
    }
}
