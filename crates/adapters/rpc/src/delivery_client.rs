//! The workload's side of the agent's socket: makes the key that the answer is sealed to, verifies the receipt, opens.

use std::{
    io,
    path::{Path, PathBuf},
    sync::{Arc, Mutex, PoisonError},
};

use custody::ReleaseInfo;
use estate::{CredentialName, SecretName};
use evidence::request::{Canonical, LeaseRequest, ReadRequest};
use futures::{Stream, StreamExt};
use hpke_xwing::{PrivateKey, Suite};
use hyper_util::rt::TokioIo;
use proto::{
    bailiwick::workload::v1::{self as wire, delivery_client},
    spiffe::{
        JwtsvidRequest, X509svidRequest, X509svidResponse,
        spiffe_workload_api_client::SpiffeWorkloadApiClient,
    },
};
use tokio::net::UnixStream;
use tonic::{
    Code, Request, Status,
    metadata::MetadataValue,
    transport::{Channel, Endpoint},
};
use zeroize::Zeroizing;

use crate::{
    released::{OnRecord, SealedAnswer, Trust, Untrusted},
    workload::SECURITY_HEADER,
};

/// The agent did not give what was asked for.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum DeliveryError {
    /// Fault: this node: no agent listens, or its socket is not in this container.
    #[error("no agent answers on `{}`", .path.display())]
    NoAgent {
        /// The socket.
        path: PathBuf,
        /// Why.
        #[source]
        source: io::Error,
    },
    /// Fault: none; policy said no, and that is on record.
    #[error("denied: {reason}")]
    Denied {
        /// Stable code.
        code: String,
        /// A sentence.
        reason: String,
    },
    /// Fault: the agent or its server. Retried.
    #[error("not available now: {0}")]
    Unavailable(String),
    /// Fault: the caller.
    #[error("the agent refused: {0}")]
    Refused(String),
    /// Fault: whoever answered. Not retried.
    #[error("the answer is not used")]
    Untrusted(#[source] Untrusted),
    /// Fault: this machine.
    #[error("no key could be made")]
    NoKey,
}

impl DeliveryError {
    /// Whether the same request may succeed later.
    pub fn is_passing(&self) -> bool {
        matches!(self, Self::NoAgent { .. } | Self::Unavailable(_))
    }
}

/// A connection to the agent of this node.
pub struct DeliveryClient {
    channel: Channel,
    trust: Trust,
}

impl DeliveryClient {
    /// Connects to the agent's socket.
    ///
    /// # Errors
    /// [`DeliveryError::NoAgent`]
    pub async fn connect(socket: &Path, trust: Trust) -> Result<Self, DeliveryError> {
        Ok(Self {
            channel: connect(socket).await?,
            trust,
        })
    }

    /// Reads a secret.
    ///
    /// # Errors
    /// [`DeliveryError`]
    pub async fn read(&mut self, secret: &SecretName) -> Result<Zeroizing<Vec<u8>>, DeliveryError> {
        let key = PrivateKey::generate(Suite::XWing).map_err(|_| DeliveryError::NoKey)?;
        let (suite, public) = named(&key);
        let request = wire::ReadRequest {
            secret: secret.to_string(),
            suite,
            key: public,
        };
        let expected = ReadRequest {
            v: 1,
            secret: secret.clone(),
        }
        .to_canonical();
        let answer = self
            .delivery()
            .read(signed_off(request))
            .await
            .map_err(failure)?;
        self.open(answer.into_inner(), &key, ReleaseInfo::Read, expected.ok())
    }

    /// Leases a credential for the password of this SCRAM verifier; gives the connection as JSON.
    ///
    /// # Errors
    /// [`DeliveryError`]
    pub async fn lease(
        &mut self,
        credential: &CredentialName,
        scram_verifier: &str,
    ) -> Result<Zeroizing<Vec<u8>>, DeliveryError> {
        let key = PrivateKey::generate(Suite::XWing).map_err(|_| DeliveryError::NoKey)?;
        let (suite, public) = named(&key);
        let verifier = scram_verifier.to_owned();
        let request = wire::LeaseRequest {
            credential: credential.to_string(),
            scram_verifier: verifier.clone(),
            suite,
            key: public,
        };
        let expected = LeaseRequest {
            v: 1,
            credential: credential.clone(),
            verifier,
        }
        .to_canonical();
        let answer = self
            .delivery()
            .lease(signed_off(request))
            .await
            .map_err(failure)?;
        self.open(answer.into_inner(), &key, ReleaseInfo::Lease, expected.ok())
    }

    /// What the agent measured of this process, as JSON.
    ///
    /// # Errors
    /// [`DeliveryError`]
    pub async fn explain(&mut self) -> Result<Vec<u8>, DeliveryError> {
        let answer = self
            .delivery()
            .explain(signed_off(wire::ExplainRequest {}))
            .await
            .map_err(failure)?;
        Ok(answer.into_inner().facts)
    }

    fn delivery(&self) -> delivery_client::DeliveryClient<Channel> {
        delivery_client::DeliveryClient::new(self.channel.clone())
    }

    fn open(
        &self,
        answer: wire::Released,
        key: &PrivateKey,
        info: ReleaseInfo,
        expected: Option<Vec<u8>>,
    ) -> Result<Zeroizing<Vec<u8>>, DeliveryError> {
        if !answer.denied_code.is_empty() {
            return Err(DeliveryError::Denied {
                code: answer.denied_code,
                reason: answer.denied_reason,
            });
        }
        let wire::Released {
            request,
            leaf,
            proof,
            ledger_key,
            lab,
            enc,
            ct,
            ..
        } = answer;
        let answer = SealedAnswer {
            record: OnRecord {
                request,
                leaf,
                proof,
                ledger_key,
                lab,
            },
            enc,
            ct,
        };
        answer
            .open(&self.trust, key, info, |request| {
                expected.as_deref() == Some(request)
            })
            .map_err(DeliveryError::Untrusted)
    }
}

/// A connection to any SPIFFE Workload API on a Unix socket.
pub struct WorkloadClient {
    spiffe: SpiffeWorkloadApiClient<Channel>,
}

impl WorkloadClient {
    /// Connects to the socket.
    ///
    /// # Errors
    /// [`DeliveryError::NoAgent`]
    pub async fn connect(socket: &Path) -> Result<Self, DeliveryError> {
        Ok(Self {
            spiffe: SpiffeWorkloadApiClient::new(connect(socket).await?),
        })
    }

    /// X.509-SVIDs and bundles: the whole state now and after each change.
    ///
    /// # Errors
    /// [`DeliveryError`]
    pub async fn x509_svids(
        &mut self,
    ) -> Result<impl Stream<Item = Result<X509svidResponse, DeliveryError>> + use<>, DeliveryError>
    {
        let stream = self
            .spiffe
            .fetch_x509svid(signed_off(X509svidRequest {}))
            .await
            .map_err(failure)?;
        Ok(stream.into_inner().map(|message| message.map_err(failure)))
    }

    /// JWT-SVIDs: SPIFFE ID and token.
    ///
    /// # Errors
    /// [`DeliveryError`]
    pub async fn jwt_svids(
        &mut self,
        audience: Vec<String>,
    ) -> Result<Vec<(String, String)>, DeliveryError> {
        let request = JwtsvidRequest {
            audience,
            spiffe_id: String::new(),
        };
        let answer = self
            .spiffe
            .fetch_jwtsvid(signed_off(request))
            .await
            .map_err(failure)?;
        Ok(answer
            .into_inner()
            .svids
            .into_iter()
            .map(|svid| (svid.spiffe_id, svid.svid))
            .collect())
    }
}

async fn connect(socket: &Path) -> Result<Channel, DeliveryError> {
    let path = socket.to_owned();
    // Made here, so that the error is the kernel's own; a later reconnect makes another.
    let first = UnixStream::connect(socket)
        .await
        .map_err(|source| DeliveryError::NoAgent {
            path: path.clone(),
            source,
        })?;
    let first = Arc::new(Mutex::new(Some(first)));
    let connector = tower::service_fn(move |_| {
        let path = path.clone();
        let made = first.lock().unwrap_or_else(PoisonError::into_inner).take();
        async move {
            match made {
                Some(stream) => Ok(TokioIo::new(stream)),
                None => UnixStream::connect(path).await.map(TokioIo::new),
            }
        }
    });
    // The address is never looked up: the connector knows where to go.
    Endpoint::from_static("http://agent.invalid")
        .connect_with_connector(connector)
        .await
        .map_err(|error| DeliveryError::Unavailable(error.to_string()))
}

fn named(key: &PrivateKey) -> (String, Vec<u8>) {
    let public = key.public_key();
    (public.suite().to_string(), public.to_bytes().to_vec())
}

fn signed_off<T>(message: T) -> Request<T> {
    let mut request = Request::new(message);
    request
        .metadata_mut()
        .insert(SECURITY_HEADER, MetadataValue::from_static("true"));
    request
}

fn failure(status: Status) -> DeliveryError {
    let said = status.message().to_owned();
    match status.code() {
        Code::PermissionDenied => {
            let reason = said.strip_prefix("denied: ").unwrap_or(&said).to_owned();
            DeliveryError::Denied {
                code: "denied".to_owned(),
                reason,
            }
        }
        Code::Unavailable | Code::DeadlineExceeded | Code::ResourceExhausted | Code::Cancelled => {
            DeliveryError::Unavailable(said)
        }
        Code::Unknown => DeliveryError::Unavailable(said),
        _ => DeliveryError::Refused(said),
    }
}
