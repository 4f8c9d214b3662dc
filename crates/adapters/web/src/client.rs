//! A client for the table: the same rows that the server routes by tell the client where to ask, and whether an answer
//! must come with a receipt.

mod address;
mod error;

use base64::{Engine, engine::general_purpose::STANDARD as B64};
use http::{Request, StatusCode, header};
use http_body_util::{BodyExt, Full, Limited};
use hyper::{body::Bytes, client::conn::http1};
use hyper_util::rt::TokioIo;
use rustls::pki_types::{CertificateDer, PrivateKeyDer, ServerName, pem::PemObject};
use serde::{Serialize, de::DeserializeOwned};
use server::Code;
use tlog::VerifierKey;
use tokio::{
    io::{AsyncRead, AsyncWrite},
    net::{TcpStream, UnixStream},
    time::{Duration, timeout},
};
use tokio_rustls::TlsConnector;

use crate::{
    endpoints::{Call, Endpoint},
    tls, wire,
};

pub use self::{
    address::{Address, AddressError},
    error::{ClientError, ReceiptFault},
};

/// What a client shows and trusts over TLS.
pub struct Identity {
    /// Root certificate of the trust domain, PEM.
    pub root: Vec<u8>,
    /// A person's certificate and what it chains to, PEM; absent for public material.
    pub certificate: Option<Vec<u8>>,
    /// Its key, PKCS#8, PEM.
    pub key: Option<Vec<u8>>,
}

/// Asks a server.
pub struct Client {
    address: Address,
    tls: Option<TlsConnector>,
    ledger_key: Option<VerifierKey>,
}

/// What is asked, beside the row.
#[derive(Debug, Default)]
pub struct Question<'a> {
    /// Parameters of the path.
    pub path: &'a [(&'a str, &'a str)],
    /// Query parameters.
    pub query: &'a [(&'a str, String)],
}

impl Client {
    /// A client for `address`. With `ledger_key`, an answer without a valid receipt is refused.
    ///
    /// # Errors
    /// [`ClientError`]
    pub fn new(
        address: Address,
        identity: Option<Identity>,
        ledger_key: Option<VerifierKey>,
    ) -> Result<Self, ClientError> {
        let tls = match (&address, identity) {
            (Address::Unix(_), _) => None,
            (Address::Https { .. }, Some(identity)) => Some(connector(identity)?),
            (Address::Https { .. }, None) => return Err(ClientError::NoRoot { address }),
        };
        Ok(Self {
            address,
            tls,
            ledger_key,
        })
    }

    /// Asks without a body.
    ///
    /// # Errors
    /// [`ClientError`]
    pub async fn get<T: DeserializeOwned>(
        &self,
        call: Call,
        question: Question<'_>,
    ) -> Result<wire::Answer<T>, ClientError> {
        self.ask(call, question, Vec::new()).await
    }

    /// Asks with a JSON body.
    ///
    /// # Errors
    /// [`ClientError`]
    pub async fn send<T: DeserializeOwned>(
        &self,
        call: Call,
        question: Question<'_>,
        body: &impl Serialize,
    ) -> Result<wire::Answer<T>, ClientError> {
        let body = serde_json::to_vec(body).map_err(|error| ClientError::Broken(error.into()))?;
        self.ask(call, question, body).await
    }

    /// Fetches public bytes.
    ///
    /// # Errors
    /// [`ClientError`]
    pub async fn fetch(&self, call: Call, question: Question<'_>) -> Result<Vec<u8>, ClientError> {
        let endpoint = call.endpoint().ok_or(ClientError::NoCall)?;
        let (status, bytes) = self.exchange(endpoint, question, Vec::new()).await?;
        if status.is_success() {
            Ok(bytes.to_vec())
        } else {
            Err(refused(status, &bytes))
        }
    }

    async fn ask<T: DeserializeOwned>(
        &self,
        call: Call,
        question: Question<'_>,
        body: Vec<u8>,
    ) -> Result<wire::Answer<T>, ClientError> {
        let endpoint = call.endpoint().ok_or(ClientError::NoCall)?;
        let (status, bytes) = self.exchange(endpoint, question, body).await?;
        if !status.is_success() {
            return Err(refused(status, &bytes));
        }
        let answer: wire::Answer<T> =
            serde_json::from_slice(&bytes).map_err(|_| ClientError::Malformed {
                status: status.as_u16(),
            })?;
        self.check_receipt(endpoint, answer.receipt.as_ref())?;
        Ok(answer)
    }

    fn check_receipt(
        &self,
        endpoint: &Endpoint,
        receipt: Option<&wire::Receipt>,
    ) -> Result<(), ClientError> {
        let Some(key) = &self.ledger_key else {
            return Ok(());
        };
        match receipt {
            Some(receipt) => verify(receipt, key).map_err(ClientError::BadReceipt),
            None if endpoint.ledger.is_none() || WITHOUT_RECEIPT.contains(&endpoint.call) => Ok(()),
            None => Err(ClientError::NoReceipt),
        }
    }

    async fn exchange(
        &self,
        endpoint: &Endpoint,
        question: Question<'_>,
        body: Vec<u8>,
    ) -> Result<(StatusCode, Bytes), ClientError> {
        let request = self.request(endpoint, question, body)?;
        let exchanged = async {
            let unreachable = |source| ClientError::Unreachable {
                address: self.address.clone(),
                source,
            };
            match &self.address {
                Address::Unix(path) => {
                    send(
                        UnixStream::connect(path).await.map_err(unreachable)?,
                        request,
                    )
                    .await
                }
                Address::Https { host, port } => {
                    let stream = TcpStream::connect((host.as_str(), *port))
                        .await
                        .map_err(unreachable)?;
                    let no_root = || ClientError::NoRoot {
                        address: self.address.clone(),
                    };
                    let tls = self.tls.as_ref().ok_or_else(no_root)?;
                    let name = ServerName::try_from(host.clone())
                        .map_err(|error| unreachable(std::io::Error::other(error)))?;
                    send(
                        tls.connect(name, stream).await.map_err(unreachable)?,
                        request,
                    )
                    .await
                }
            }
        };
        timeout(PATIENCE, exchanged)
            .await
            .map_err(|_| ClientError::Slow(self.address.clone()))?
    }

    fn request(
        &self,
        endpoint: &Endpoint,
        question: Question<'_>,
        body: Vec<u8>,
    ) -> Result<Request<Full<Bytes>>, ClientError> {
        let host = match &self.address {
            Address::Unix(_) => "localhost".to_owned(),
            Address::Https { host, port } if host.contains(':') => format!("[{host}]:{port}"),
            Address::Https { host, port } => format!("{host}:{port}"),
        };
        Request::builder()
            .method(endpoint.method.as_str())
            .uri(target(endpoint, &question))
            .header(header::HOST, host)
            .header(header::CONTENT_TYPE, "application/json")
            .body(Full::new(Bytes::from(body)))
            .map_err(|error| ClientError::Broken(error.into()))
    }
}

fn connector(identity: Identity) -> Result<TlsConnector, ClientError> {
    let pem = |what| move |source| ClientError::Pem { what, source };
    let Identity {
        root,
        certificate,
        key,
    } = identity;
    let root = CertificateDer::from_pem_slice(&root).map_err(pem("root certificate"))?;
    let person = match (certificate, key) {
        (Some(certificate), Some(key)) => {
            let chain = CertificateDer::pem_slice_iter(&certificate)
                .collect::<Result<Vec<_>, _>>()
                .map_err(pem("client certificate"))?;
            Some((
                chain,
                PrivateKeyDer::from_pem_slice(&key).map_err(pem("client key"))?,
            ))
        }
        _ => None,
    };
    tls::client_config(root, person)
        .map(TlsConnector::from)
        .map_err(ClientError::Tls)
}

async fn send<T>(
    stream: T,
    request: Request<Full<Bytes>>,
) -> Result<(StatusCode, Bytes), ClientError>
where
    T: AsyncRead + AsyncWrite + Unpin + Send + 'static,
{
    let broken = |error: hyper::Error| ClientError::Broken(error.into());
    let (mut sender, connection) = http1::handshake(TokioIo::new(stream))
        .await
        .map_err(broken)?;
    let driver = tokio::spawn(connection);
    let response = sender.send_request(request).await.map_err(broken)?;
    let status = response.status();
    let body = Limited::new(response.into_body(), MAX_ANSWER)
        .collect()
        .await
        .map_err(ClientError::Broken)?;
    driver.abort();
    Ok((status, body.to_bytes()))
}

fn target(endpoint: &Endpoint, question: &Question<'_>) -> String {
    let mut path = endpoint.path.to_owned();
    for (name, value) in question.path {
        path = path.replace(&format!("{{*{name}}}"), &encode(value, "/"));
        path = path.replace(&format!("{{{name}}}"), &encode(value, ""));
    }
    let query: Vec<String> = question
        .query
        .iter()
        .map(|(name, value)| format!("{name}={}", encode(value, "")))
        .collect();
    if query.is_empty() {
        path
    } else {
        format!("{path}?{}", query.join("&"))
    }
}

//= RFC 3986 section 2.3: all but the unreserved characters are percent-encoded
fn encode(text: &str, also: &str) -> String {
    text.bytes()
        .map(|byte| match char::from(byte) {
            plain
                if plain.is_ascii_alphanumeric()
                    || "-._~".contains(plain)
                    || also.contains(plain) =>
            {
                plain.to_string()
            }
            _ => format!("%{byte:02X}"),
        })
        .collect()
}

fn refused(status: StatusCode, bytes: &[u8]) -> ClientError {
    let refusal: Option<wire::Refusal> = serde_json::from_slice(bytes).ok();
    let known = refusal.and_then(|refusal| Some((Code::named(&refusal.code)?, refusal)));
    match known {
        Some((code, refusal)) => ClientError::Refused {
            code,
            message: refusal.message,
            leaf: refusal.receipt.map(|receipt| receipt.index),
        },
        None => ClientError::Malformed {
            status: status.as_u16(),
        },
    }
}

fn verify(receipt: &wire::Receipt, key: &VerifierKey) -> Result<(), ReceiptFault> {
    let leaf = B64.decode(&receipt.leaf).map_err(|_| ReceiptFault::Leaf)?;
    let verified = tlog::Receipt::parse(&receipt.proof)?.verify(tlog::leaf_hash(&leaf), key)?;
    if verified.index() == receipt.index {
        Ok(())
    } else {
        Err(ReceiptFault::OtherLeaf {
            proved: verified.index(),
            claimed: receipt.index,
        })
    }
}

/// Calls whose answer has no room for a receipt: raw bytes. The list may only shrink.
pub const WITHOUT_RECEIPT: [Call; 1] = [Call::Entries];

const PATIENCE: Duration = Duration::from_secs(60);
const MAX_ANSWER: usize = 64 << 20;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_can_not_climb_out_of_their_place_in_a_path() {
        let at = |call: Call, name, value| {
            target(
                call.endpoint().unwrap(),
                &Question {
                    path: &[(name, value)],
                    query: &[],
                },
            )
        };
        assert_eq!(
            at(Call::Secret, "name", "db/pg/admin"),
            "/v1/secrets/db/pg/admin"
        );
        assert_eq!(
            at(Call::Node, "name", "a/ban?x#y"),
            "/v1/nodes/a%2Fban%3Fx%23y"
        );
        let query = [("field", "kind:node ban&x".to_owned())];
        let question = Question {
            path: &[],
            query: &query,
        };
        assert_eq!(
            target(Call::Search.endpoint().unwrap(), &question),
            "/v1/audit/search?field=kind%3Anode%20ban%26x"
        );
    }
}
