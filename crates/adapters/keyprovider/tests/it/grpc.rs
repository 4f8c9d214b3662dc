//! Providers behind gRPC: plain, over TLS with and without a client's certificate, and on a Unix socket.

use std::convert::Infallible;
use std::future::{Ready, ready};
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;
use std::{fs, thread};

use images::{KeyService, Kind};
use prost::Message;
use rcgen::{BasicConstraints, CertificateParams, CertifiedIssuer, IsCa, KeyPair};
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::server::WebPkiClientVerifier;
use rustls::{RootCertStore, ServerConfig};
use tokio::io::{AsyncRead, AsyncWrite, DuplexStream, copy_bidirectional, duplex};
use tokio::net::{TcpListener, UnixListener};
use tokio::sync::mpsc;
use tokio_rustls::TlsAcceptor;
use tokio_stream::wrappers::ReceiverStream;
use tonic::body::Body;
use tonic::codegen::http::{Request as HttpRequest, Response as HttpResponse};
use tonic::server::{NamedService, UnaryService};
use tonic::{Request, Response, Status};

use crate::{PATIENT, fails, provider, wrap};

#[derive(Clone, PartialEq, Message)]
struct Envelope {
    #[prost(bytes = "vec", tag = "1")]
    json: Vec<u8>,
}

/// What a fake provider does with the method's name and the question.
type Answer = fn(&str, &str) -> Result<String, Status>;

#[derive(Clone)]
struct Fake(Answer);

impl NamedService for Fake {
    const NAME: &'static str = "keyprovider.KeyProviderService";
}

impl tower::Service<HttpRequest<Body>> for Fake {
    type Response = HttpResponse<Body>;
    type Error = Infallible;
    type Future = Pin<Box<dyn Future<Output = Result<HttpResponse<Body>, Infallible>> + Send>>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), Infallible>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, request: HttpRequest<Body>) -> Self::Future {
        let method = request.uri().path().rsplit('/').next().unwrap().to_owned();
        let unary = Unary(self.0, method);
        Box::pin(async move {
            let codec = tonic_prost::ProstCodec::default();
            let mut server = tonic::server::Grpc::new(codec);
            Ok(server.unary(unary, request).await)
        })
    }
}

struct Unary(Answer, String);

impl UnaryService<Envelope> for Unary {
    type Response = Envelope;
    type Future = Ready<Result<Response<Envelope>, Status>>;

    fn call(&mut self, request: Request<Envelope>) -> Self::Future {
        let asked = String::from_utf8(request.into_inner().json).unwrap();
        let answer = (self.0)(&self.1, &asked);
        ready(answer.map(|json| {
            Response::new(Envelope {
                json: json.into_bytes(),
            })
        }))
    }
}

/// Wraps and opens one packet.
fn good(method: &str, asked: &str) -> Result<String, Status> {
    match method {
        "WrapKey" if asked.contains(r#""kms":["RW5hYmxlZA=="]"#) => {
            Ok(r#"{"keywrapresults":{"annotation":"AQID"}}"#.to_owned())
        }
        "UnWrapKey" if asked.contains(r#""annotation":"AQID""#) => {
            Ok(r#"{"keyunwrapresults":{"optsdata":"e30="}}"#.to_owned())
        }
        _ => Err(Status::invalid_argument(format!("{method}: {asked}"))),
    }
}

/// Serves on a thread of its own until the test's process ends.
fn serve(answer: Answer, streams: mpsc::Receiver<Result<DuplexStream, Infallible>>) {
    thread::spawn(move || {
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .build();
        runtime.unwrap().block_on(async move {
            let server = tonic::transport::Server::builder().add_service(Fake(answer));
            server
                .serve_with_incoming(ReceiverStream::new(streams))
                .await
                .unwrap();
        });
    });
}

/// gRPC's server knows pipes; whatever comes in is carried over one.
async fn carry<S>(mut outside: S, to: mpsc::Sender<Result<DuplexStream, Infallible>>)
where
    S: AsyncRead + AsyncWrite + Unpin + Send + 'static,
{
    let (mut inside, server) = duplex(64 * 1024);
    to.send(Ok(server)).await.unwrap();
    let _ = copy_bidirectional(&mut outside, &mut inside).await;
}

fn start(answer: Answer, tls: Option<ServerConfig>) -> SocketAddr {
    let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    listener.set_nonblocking(true).unwrap();
    let address = listener.local_addr().unwrap();
    let (tell, streams) = mpsc::channel(8);
    serve(answer, streams);
    thread::spawn(move || {
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .build();
        runtime.unwrap().block_on(async move {
            let listener = TcpListener::from_std(listener).unwrap();
            let acceptor = tls.map(|config| TlsAcceptor::from(Arc::new(config)));
            loop {
                let (stream, _) = listener.accept().await.unwrap();
                let (tell, acceptor) = (tell.clone(), acceptor.clone());
                tokio::spawn(async move {
                    match acceptor {
                        None => carry(stream, tell).await,
                        Some(acceptor) => {
                            if let Ok(stream) = acceptor.accept(stream).await {
                                carry(stream, tell).await;
                            }
                        }
                    }
                });
            }
        });
    });
    address
}

fn plain(answer: Answer) -> Arc<dyn KeyService> {
    provider(&format!(r#"{{"grpc":"{}"}}"#, start(answer, None)), PATIENT)
}

fn does_its_part(kms: &dyn KeyService) {
    assert_eq!(wrap(kms).unwrap(), [1, 2, 3]);
    assert_eq!(*kms.unwrap(&[], &[1, 2, 3]).unwrap(), *b"{}");
}

#[test]
fn it_wraps_and_opens() {
    does_its_part(&*plain(good));
}

#[test]
fn it_listens_on_a_unix_socket() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("kms.sock");
    let (tell, streams) = mpsc::channel(8);
    serve(good, streams);
    let listener = std::os::unix::net::UnixListener::bind(&path).unwrap();
    listener.set_nonblocking(true).unwrap();
    thread::spawn(move || {
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .build();
        runtime.unwrap().block_on(async move {
            let listener = UnixListener::from_std(listener).unwrap();
            loop {
                let (stream, _) = listener.accept().await.unwrap();
                tokio::spawn(carry(stream, tell.clone()));
            }
        });
    });
    let entry = format!(r#"{{"grpc":"unix://{}"}}"#, path.display());
    does_its_part(&*provider(&entry, PATIENT));
}

#[test]
fn a_status_is_a_refusal_with_its_own_exit_code_and_without_the_key() {
    let kms = plain(|_, _| Err(Status::permission_denied("not\u{1b}you")));
    fails(wrap(&*kms), Kind::Denied, "PermissionDenied");
    let kms = plain(|_, asked| Err(Status::internal(asked.to_owned())));
    fails(wrap(&*kms), Kind::Failed, "withheld");
}

#[test]
fn huge_and_malformed_answers_and_other_operations_are_refused() {
    let kms = plain(|_, _| Ok(" ".repeat(6_000_000)));
    fails(wrap(&*kms), Kind::Failed, "longer than");
    let kms = plain(|_, _| Ok("{".to_owned()));
    fails(wrap(&*kms), Kind::Failed, "answer is");
    let kms = plain(|_, _| Ok(r#"{"keyunwrapresults":{"optsdata":"e30="}}"#.to_owned()));
    fails(wrap(&*kms), Kind::Failed, "another question");
}

#[test]
fn who_says_nothing_or_is_not_there_is_unavailable() {
    let silent = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let entry = format!(r#"{{"grpc":"{}"}}"#, silent.local_addr().unwrap());
    let kms = provider(&entry, Duration::from_millis(500));
    fails(wrap(&*kms), Kind::Unavailable, "did not answer");
    drop(silent);
    let kms = provider(&entry, PATIENT);
    fails(wrap(&*kms), Kind::Unavailable, "can't be spoken to");
}

/// Certificates of one authority, in files.
struct Certificates {
    folder: tempfile::TempDir,
    authority: String,
    server: (String, String),
}

impl Certificates {
    fn make() -> Self {
        let folder = tempfile::tempdir().unwrap();
        let mut params = CertificateParams::new(Vec::new()).unwrap();
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        let issuer = CertifiedIssuer::self_signed(params, KeyPair::generate().unwrap()).unwrap();
        let issue = |name: &str| {
            let key = KeyPair::generate().unwrap();
            let params = CertificateParams::new(vec![name.to_owned()]).unwrap();
            let certificate = params.signed_by(&key, &issuer).unwrap();
            (certificate.pem(), key.serialize_pem())
        };
        let client = issue("client.example");
        let this = Self {
            authority: issuer.pem(),
            server: issue("kms.example"),
            folder,
        };
        for (name, pem) in [
            ("ca", &this.authority),
            ("cert", &client.0),
            ("key", &client.1),
        ] {
            fs::write(this.path(name), pem).unwrap();
        }
        this
    }

    fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(format!("{name}.pem"))
    }

    fn server(&self, clients: bool) -> ServerConfig {
        let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
        let certificate = |pem: &str| CertificateDer::from_pem_slice(pem.as_bytes()).unwrap();
        let builder = ServerConfig::builder_with_provider(Arc::clone(&provider))
            .with_safe_default_protocol_versions()
            .unwrap();
        let builder = match clients {
            false => builder.with_no_client_auth(),
            true => {
                let mut roots = RootCertStore::empty();
                roots.add(certificate(&self.authority)).unwrap();
                let clients =
                    WebPkiClientVerifier::builder_with_provider(Arc::new(roots), provider);
                builder.with_client_cert_verifier(clients.build().unwrap())
            }
        };
        let key = PrivateKeyDer::from_pem_slice(self.server.1.as_bytes()).unwrap();
        let mut config = builder
            .with_single_cert(vec![certificate(&self.server.0)], key)
            .unwrap();
        config.alpn_protocols = vec![b"h2".to_vec()];
        config
    }
}

fn over_tls(address: SocketAddr, members: &[(&str, &Path)]) -> Arc<dyn KeyService> {
    let members: Vec<String> = members
        .iter()
        .map(|(name, value)| format!("{name:?}:{value:?}"))
        .collect();
    let members = members.join(",");
    provider(
        &format!(r#"{{"grpc":"{address}","grpc-tls":{{{members}}}}}"#),
        PATIENT,
    )
}

#[test]
fn tls_verifies_the_server_by_its_root_and_its_name() {
    let (ours, theirs) = (Certificates::make(), Certificates::make());
    let address = start(good, Some(ours.server(false)));
    let (root, other) = (ours.path("ca"), theirs.path("ca"));
    let name = Path::new("kms.example");
    does_its_part(&*over_tls(
        address,
        &[("root-ca-file", &root), ("server-name", name)],
    ));
    for members in [
        &[("root-ca-file", root.as_path())][..],
        &[
            ("root-ca-file", &root),
            ("server-name", Path::new("other.example")),
        ],
        &[("root-ca-file", &other), ("server-name", name)],
        &[
            ("root-ca-file", Path::new("/nonexistent/ca.pem")),
            ("server-name", name),
        ],
        &[("root-ca-file", &ours.path("key")), ("server-name", name)],
    ] {
        fails(
            wrap(&*over_tls(address, members)),
            Kind::Unavailable,
            "can't be spoken to",
        );
    }
    // Neither side falls back to an open connection.
    fails(
        wrap(&*over_tls(start(good, None), &[("root-ca-file", &root)])),
        Kind::Unavailable,
        "",
    );
    let kms = provider(&format!(r#"{{"grpc":"{address}"}}"#), PATIENT);
    fails(wrap(&*kms), Kind::Unavailable, "");
}

#[test]
fn tls_shows_the_clients_certificate() {
    let ours = Certificates::make();
    let address = start(good, Some(ours.server(true)));
    let (root, certificate, key) = (ours.path("ca"), ours.path("cert"), ours.path("key"));
    let name = Path::new("kms.example");
    let anonymous = [("root-ca-file", root.as_path()), ("server-name", name)];
    fails(wrap(&*over_tls(address, &anonymous)), Kind::Unavailable, "");
    let known = [
        anonymous[0],
        anonymous[1],
        ("cert-file", &certificate),
        ("key-file", &key),
    ];
    does_its_part(&*over_tls(address, &known));
}
