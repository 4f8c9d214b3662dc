//! TLS to a database: always verified, 1.3 only, and bound to the login.
//!
//! The login is bound to the server's certificate (`tls-server-end-point`, RFC 5929), so even a certificate of the same authority in
//! wrong hands cannot stand between us and the database.

use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};

use aws_lc_rs::digest;
use rustls::{ClientConfig, RootCertStore};
use rustls_pki_types::pem::PemObject;
use rustls_pki_types::{CertificateDer, ServerName};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio_postgres::tls::{ChannelBinding, MakeTlsConnect, TlsConnect, TlsStream};
use tokio_rustls::client;
use x509_cert::der::Decode;
use x509_cert::der::asn1::ObjectIdentifier;

/// The authority's certificates cannot be used.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum AuthorityError {
    /// Fault: whoever configured the database.
    #[error("the database's authority is no list of PEM certificates")]
    Pem,
    /// Fault: whoever configured the database.
    #[error("the database's authority has no certificate")]
    Empty,
    /// Fault: this build's; it has no TLS 1.3.
    #[error("TLS 1.3 is not available")]
    Protocol,
}

/// Makes verified connections to databases whose certificates one authority signed.
#[derive(Clone)]
pub(crate) struct Tls {
    config: Arc<ClientConfig>,
}

/// A connection to one named server.
pub(crate) struct Handshake {
    config: Arc<ClientConfig>,
    name: ServerName<'static>,
}

/// An open connection.
pub(crate) struct Encrypted<S>(client::TlsStream<S>);

impl Tls {
    /// Trusts these certificates and no others.
    pub(crate) fn trusting(pem: &[u8]) -> Result<Self, AuthorityError> {
        let mut roots = RootCertStore::empty();
        for certificate in CertificateDer::pem_slice_iter(pem) {
            let certificate = certificate.map_err(|_| AuthorityError::Pem)?;
            roots.add(certificate).map_err(|_| AuthorityError::Pem)?;
        }
        if roots.is_empty() {
            return Err(AuthorityError::Empty);
        }
        let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
        let versions = ClientConfig::builder_with_provider(provider)
            .with_protocol_versions(&[&rustls::version::TLS13]);
        let versions = versions.map_err(|_| AuthorityError::Protocol)?;
        let mut config = versions.with_root_certificates(roots).with_no_client_auth();
        // No other service of that authority can be mistaken for the database.
        config.alpn_protocols = vec![b"postgresql".to_vec()];
        Ok(Self {
            config: Arc::new(config),
        })
    }
}

impl<S> MakeTlsConnect<S> for Tls
where
    S: AsyncRead + AsyncWrite + Unpin + Send + 'static,
{
    type Stream = Encrypted<S>;
    type TlsConnect = Handshake;
    type Error = rustls_pki_types::InvalidDnsNameError;

    fn make_tls_connect(&mut self, domain: &str) -> Result<Handshake, Self::Error> {
        Ok(Handshake {
            config: Arc::clone(&self.config),
            name: ServerName::try_from(domain.to_owned())?,
        })
    }
}

impl<S> TlsConnect<S> for Handshake
where
    S: AsyncRead + AsyncWrite + Unpin + Send + 'static,
{
    type Stream = Encrypted<S>;
    type Error = io::Error;
    type Future = Pin<Box<dyn Future<Output = io::Result<Encrypted<S>>> + Send>>;

    fn connect(self, stream: S) -> Self::Future {
        let Self { config, name } = self;
        Box::pin(async move {
            tokio_rustls::TlsConnector::from(config)
                .connect(name, stream)
                .await
                .map(Encrypted)
        })
    }
}

impl<S: AsyncRead + AsyncWrite + Unpin> TlsStream for Encrypted<S> {
    fn channel_binding(&self) -> ChannelBinding {
        let certificate = self
            .0
            .get_ref()
            .1
            .peer_certificates()
            .and_then(<[_]>::first);
        certificate
            .and_then(|certificate| end_point(certificate))
            .map_or_else(ChannelBinding::none, ChannelBinding::tls_server_end_point)
    }
}

/// RFC 5929 section 4.1: the certificate, hashed as its own signature hashes. `None` where the RFC defines no hash.
fn end_point(certificate: &[u8]) -> Option<Vec<u8>> {
    let parsed = x509_cert::Certificate::from_der(certificate).ok()?;
    let oid = parsed.signature_algorithm().oid;
    let (_, algorithm) = HASHES
        .iter()
        .find(|(name, _)| ObjectIdentifier::new(name).is_ok_and(|name| name == oid))?;
    Some(digest::digest(algorithm, certificate).as_ref().to_vec())
}

/// Signature algorithms and their hashes: RSA PKCS#1 and ECDSA. For MD5 and SHA-1 the RFC says SHA-256.
const HASHES: [(&str, &digest::Algorithm); 9] = [
    ("1.2.840.113549.1.1.4", &digest::SHA256),
    ("1.2.840.113549.1.1.5", &digest::SHA256),
    ("1.2.840.113549.1.1.11", &digest::SHA256),
    ("1.2.840.113549.1.1.12", &digest::SHA384),
    ("1.2.840.113549.1.1.13", &digest::SHA512),
    ("1.2.840.10045.4.1", &digest::SHA256),
    ("1.2.840.10045.4.3.2", &digest::SHA256),
    ("1.2.840.10045.4.3.3", &digest::SHA384),
    ("1.2.840.10045.4.3.4", &digest::SHA512),
];

impl<S: AsyncRead + AsyncWrite + Unpin> AsyncRead for Encrypted<S> {
    fn poll_read(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        Pin::new(&mut self.0).poll_read(context, buffer)
    }
}

impl<S: AsyncRead + AsyncWrite + Unpin> AsyncWrite for Encrypted<S> {
    fn poll_write(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.0).poll_write(context, bytes)
    }

    fn poll_flush(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.0).poll_flush(context)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.0).poll_shutdown(context)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn certificate(algorithm: &'static rcgen::SignatureAlgorithm) -> Vec<u8> {
        let key = rcgen::KeyPair::generate_for(algorithm).unwrap();
        rcgen::CertificateParams::new(["db".to_owned()])
            .unwrap()
            .self_signed(&key)
            .unwrap()
            .der()
            .to_vec()
    }

    #[test]
    fn the_end_point_is_hashed_as_its_signature_hashes() {
        for (algorithm, length) in [
            (&rcgen::PKCS_ECDSA_P256_SHA256, 32),
            (&rcgen::PKCS_ECDSA_P384_SHA384, 48),
        ] {
            assert_eq!(end_point(&certificate(algorithm)).unwrap().len(), length);
        }
    }

    #[test]
    fn a_signature_without_a_hash_has_no_end_point() {
        assert_eq!(end_point(&certificate(&rcgen::PKCS_ED25519)), None);
    }

    /// A handshake with a server that has a certificate for `db`, by a client that means `name`.
    async fn handshake(name: &str) -> io::Result<Encrypted<tokio::io::DuplexStream>> {
        let key = rcgen::KeyPair::generate().unwrap();
        let certificate = rcgen::CertificateParams::new(["db".to_owned()])
            .unwrap()
            .self_signed(&key)
            .unwrap();
        let private = rustls_pki_types::PrivateKeyDer::try_from(key.serialize_der()).unwrap();
        let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
        let server = rustls::ServerConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()
            .unwrap();
        let server = server
            .with_no_client_auth()
            .with_single_cert(vec![certificate.der().clone()], private)
            .unwrap();
        let (ours, theirs) = tokio::io::duplex(1 << 16);
        tokio::spawn(async move {
            tokio_rustls::TlsAcceptor::from(Arc::new(server))
                .accept(theirs)
                .await
        });
        let mut tls = Tls::trusting(certificate.pem().as_bytes()).unwrap();
        let connector: Handshake =
            MakeTlsConnect::<tokio::io::DuplexStream>::make_tls_connect(&mut tls, name).unwrap();
        connector.connect(ours).await
    }

    #[tokio::test]
    async fn a_certificate_for_another_name_is_refused() {
        assert!(handshake("db").await.is_ok());
        let refused = handshake("other").await.err().unwrap();
        assert!(
            refused
                .get_ref()
                .is_some_and(|inner| inner.is::<rustls::Error>()),
            "{refused:?}"
        );
    }

    #[test]
    fn an_authority_without_certificates_is_refused() {
        assert_eq!(Tls::trusting(b"").err(), Some(AuthorityError::Empty));
        let pem = b"-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n";
        assert_eq!(Tls::trusting(pem).err(), Some(AuthorityError::Pem));
        let open = b"-----BEGIN CERTIFICATE-----\nAAAA\n";
        assert!(Tls::trusting(open).is_err());
    }

    proptest! {
        #[test]
        fn any_bytes_are_an_answer(bytes in proptest::collection::vec(any::<u8>(), 0..600)) {
            prop_assert!(Tls::trusting(&bytes).is_err());
            prop_assert_eq!(end_point(&bytes), None);
        }
    }
}
