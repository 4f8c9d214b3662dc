//! The node's side of TLS: TLS 1.3 alone, a server that is `spiffe://<trust domain>/server` under pinned roots, and a
//! client key that never leaves the node's TPM.

use std::{fmt, sync::Arc};

use agent::ports::NodeKeys;
use estate::Digest;
use rustls::{
    CertificateError, ClientConfig, DigitallySignedStruct, Error, PeerIncompatible, RootCertStore,
    SignatureAlgorithm, SignatureScheme,
    client::{
        ResolvesClientCert, Resumption, WebPkiServerVerifier,
        danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier},
    },
    crypto::{CryptoProvider, aws_lc_rs},
    pki_types::{CertificateDer, ServerName, UnixTime},
    sign::{CertifiedKey, Signer, SigningKey},
};
use spiffe_id::{SpiffeId, TrustDomain, X509Bundle, verify_x509_svid};

/// TLS can't be set up. Fault: the configuration.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum TlsClientError {
    /// Fault: whoever configured the roots.
    #[error("a pinned root certificate can't be used")]
    Root,
    /// Fault: the configuration.
    #[error("there is no pinned root certificate")]
    NoRoot,
    /// Fault: the trust domain's name.
    #[error("the server's identity can't be named")]
    Identity(#[source] spiffe_id::IdError),
    /// Fault: this build.
    #[error("TLS can't be configured")]
    Tls(#[source] Error),
}

/// Whom to trust as a server.
#[derive(Clone)]
pub struct ServerTrust {
    verifier: Arc<SpiffeServerVerifier>,
    provider: Arc<CryptoProvider>,
}

impl ServerTrust {
    /// Servers of `trust_domain` under the pinned `roots` (DER).
    ///
    /// # Errors
    /// [`TlsClientError`]
    pub fn new(trust_domain: &TrustDomain, roots: &[Vec<u8>]) -> Result<Self, TlsClientError> {
        let mut store = RootCertStore::empty();
        let mut bundle = X509Bundle::new(trust_domain);
        for root in roots {
            store
                .add(CertificateDer::from(root.as_slice()))
                .map_err(|_| TlsClientError::Root)?;
            bundle = bundle
                .with_authority(root)
                .map_err(|_| TlsClientError::Root)?;
        }
        let provider = Arc::new(provider());
        let webpki =
            WebPkiServerVerifier::builder_with_provider(Arc::new(store), Arc::clone(&provider))
                .build()
                .map_err(|_| TlsClientError::NoRoot)?;
        let id = trust_domain
            .join("/server")
            .map_err(TlsClientError::Identity)?;
        Ok(Self {
            verifier: Arc::new(SpiffeServerVerifier { webpki, bundle, id }),
            provider,
        })
    }

    /// A configuration without a client certificate.
    ///
    /// # Errors
    /// [`TlsClientError::Tls`]
    pub fn anonymous(&self) -> Result<ClientConfig, TlsClientError> {
        let builder = ClientConfig::builder_with_provider(Arc::clone(&self.provider))
            .with_protocol_versions(&[&rustls::version::TLS13])
            .map_err(TlsClientError::Tls)?
            .dangerous()
            .with_custom_certificate_verifier(
                Arc::clone(&self.verifier) as Arc<dyn ServerCertVerifier>
            );
        Ok(finish(builder.with_no_client_auth()))
    }

    /// A configuration with the node certificate `chain` (leaf first, DER), whose key `keys` hold.
    ///
    /// # Errors
    /// [`TlsClientError::Tls`]
    pub fn mutual(
        &self,
        chain: Vec<Vec<u8>>,
        keys: Arc<dyn NodeKeys>,
    ) -> Result<ClientConfig, TlsClientError> {
        let chain = chain.into_iter().map(CertificateDer::from).collect();
        let key = Arc::new(CertifiedKey::new(chain, Arc::new(NodeKey(keys))));
        let mut config = self.anonymous()?;
        config.client_auth_cert_resolver = Arc::new(NodeCertificate(key));
        Ok(config)
    }
}

/// The crypto of every connection: the hybrid key exchange first, so that recorded traffic stays closed.
fn provider() -> CryptoProvider {
    let mut provider = aws_lc_rs::default_provider();
    provider.kx_groups = vec![
        aws_lc_rs::kx_group::X25519MLKEM768,
        aws_lc_rs::kx_group::X25519,
    ];
    provider
}

fn finish(mut config: ClientConfig) -> ClientConfig {
    config.alpn_protocols = vec![b"h2".to_vec()];
    // Each connection is a handshake of its own: certificates are shown anew, and no two share an exporter.
    config.resumption = Resumption::disabled();
    config.enable_early_data = false;
    config
}

/// The usual check of path and name, and then the one URI: a node's or a workload's certificate is no server's.
#[derive(Debug)]
struct SpiffeServerVerifier {
    webpki: Arc<WebPkiServerVerifier>,
    bundle: X509Bundle,
    id: SpiffeId,
}

impl ServerCertVerifier for SpiffeServerVerifier {
    fn verify_server_cert(
        &self,
        end_entity: &CertificateDer<'_>,
        intermediates: &[CertificateDer<'_>],
        server_name: &ServerName<'_>,
        ocsp_response: &[u8],
        now: UnixTime,
    ) -> Result<ServerCertVerified, Error> {
        self.webpki.verify_server_cert(
            end_entity,
            intermediates,
            server_name,
            ocsp_response,
            now,
        )?;
        let refused = Error::InvalidCertificate(CertificateError::ApplicationVerificationFailure);
        let chain: Vec<&CertificateDer<'_>> =
            std::iter::once(end_entity).chain(intermediates).collect();
        let now = spiffe_id::UnixTime::from_secs(now.as_secs());
        match verify_x509_svid(&chain, &[&self.bundle], now) {
            Ok(svid) if *svid.id() == self.id => Ok(ServerCertVerified::assertion()),
            _ => Err(refused),
        }
    }

    fn verify_tls12_signature(
        &self,
        _: &[u8],
        _: &CertificateDer<'_>,
        _: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        Err(PeerIncompatible::ServerDoesNotSupportTls12Or13.into())
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signed: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        self.webpki
            .verify_tls13_signature(message, certificate, signed)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.webpki.supported_verify_schemes()
    }
}

#[derive(Debug)]
struct NodeCertificate(Arc<CertifiedKey>);

impl ResolvesClientCert for NodeCertificate {
    fn resolve(&self, _: &[&[u8]], schemes: &[SignatureScheme]) -> Option<Arc<CertifiedKey>> {
        schemes.contains(&SCHEME).then(|| Arc::clone(&self.0))
    }

    fn has_certs(&self) -> bool {
        true
    }
}

/// The node key as TLS sees it. Signing blocks: handshakes run off the async threads.
#[derive(Clone)]
struct NodeKey(Arc<dyn NodeKeys>);

impl fmt::Debug for NodeKey {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.write_str("NodeKey")
    }
}

impl SigningKey for NodeKey {
    fn choose_scheme(&self, offered: &[SignatureScheme]) -> Option<Box<dyn Signer>> {
        offered
            .contains(&SCHEME)
            .then(|| Box::new(self.clone()) as Box<dyn Signer>)
    }

    fn algorithm(&self) -> SignatureAlgorithm {
        SignatureAlgorithm::ECDSA
    }
}

impl Signer for NodeKey {
    fn sign(&self, message: &[u8]) -> Result<Vec<u8>, Error> {
        self.0
            .sign_digest(Digest::of(message).as_bytes())
            .map_err(|error| Error::General(error.to_string()))
    }

    fn scheme(&self) -> SignatureScheme {
        SCHEME
    }
}

const SCHEME: SignatureScheme = SignatureScheme::ECDSA_NISTP256_SHA256;
