//! TLS 1.3 for both ends, and what a client certificate says of a person.

use std::{sync::Arc, time::Duration};

use estate::{PersonId, Timestamp};
use rustls::{
    ClientConfig, RootCertStore, ServerConfig,
    pki_types::{CertificateDer, PrivateKeyDer, UnixTime},
    server::WebPkiClientVerifier,
    time_provider::TimeProvider,
};
use x509_cert::{
    Certificate,
    der::Decode,
    ext::pkix::{SubjectAltName, name::GeneralName},
};

use crate::{access::Caller, doors::ListenError};

/// The server's own clock judges certificates, as it judges everything else.
struct ServerTime(Arc<dyn Fn() -> Timestamp + Send + Sync>);

impl std::fmt::Debug for ServerTime {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("ServerTime")
    }
}

impl TimeProvider for ServerTime {
    fn current_time(&self) -> Option<UnixTime> {
        let seconds = u64::try_from((self.0)().as_seconds()).ok()?;
        Some(UnixTime::since_unix_epoch(Duration::from_secs(seconds)))
    }
}

/// The server's end: a client certificate may be absent, and then only public material is to be had.
pub(crate) fn server_config(
    root_der: &[u8],
    chain: Vec<Vec<u8>>,
    key: PrivateKeyDer<'static>,
    now: Arc<dyn Fn() -> Timestamp + Send + Sync>,
) -> Result<Arc<ServerConfig>, ListenError> {
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
    let mut config = ServerConfig::builder_with_details(provider, Arc::new(ServerTime(now)))
        .with_protocol_versions(&[&rustls::version::TLS13])
        .map_err(ListenError::Tls)?
        .with_client_cert_verifier(clients)
        .with_single_cert(chain.into_iter().map(CertificateDer::from).collect(), key)
        .map_err(ListenError::Tls)?;
    config.alpn_protocols = vec![b"http/1.1".to_vec()];
    // No resumption: each connection shows its certificate anew.
    config.send_tls13_tickets = 0;
    Ok(Arc::new(config))
}

/// A client's end: the server must chain to `root`, and nothing else counts.
pub(crate) fn client_config(
    root: CertificateDer<'static>,
    identity: Option<(Vec<CertificateDer<'static>>, PrivateKeyDer<'static>)>,
) -> Result<Arc<ClientConfig>, rustls::Error> {
    let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    let mut roots = RootCertStore::empty();
    roots.add(root)?;
    let config = ClientConfig::builder_with_provider(provider)
        .with_protocol_versions(&[&rustls::version::TLS13])?
        .with_root_certificates(roots);
    let mut config = match identity {
        Some((chain, key)) => config.with_client_auth_cert(chain, key)?,
        None => config.with_no_client_auth(),
    };
    config.alpn_protocols = vec![b"http/1.1".to_vec()];
    Ok(Arc::new(config))
}

/// The person that a verified certificate names: exactly one rfc822Name and no other name, so that no SVID of a node or
/// workload passes for a person.
pub(crate) fn person(certificate: &CertificateDer<'_>) -> Option<Caller> {
    let certificate = Certificate::from_der(certificate).ok()?;
    let body = certificate.tbs_certificate();
    let (_, names): (bool, SubjectAltName) = body.get_extension().ok()??;
    let [GeneralName::Rfc822Name(name)] = names.0.as_slice() else {
        return None;
    };
    let id: PersonId = name.as_str().parse().ok()?;
    let not_after = body.validity().not_after.to_unix_duration();
    Some(Caller::Person {
        id,
        not_after: Timestamp::from_seconds(i64::try_from(not_after.as_secs()).ok()?),
    })
}
