//! TLS to a provider: its certificate is verified by the named roots, or by the system's, and never waved through.

use std::io;
use std::path::Path;
use std::pin::Pin;
use std::sync::Arc;

use rustls::crypto::aws_lc_rs;
use rustls::{ClientConfig, RootCertStore};
use rustls_pki_types::pem::PemObject;
use rustls_pki_types::{CertificateDer, PrivateKeyDer, ServerName};
use tokio_rustls::TlsConnector;
use tokio_rustls::client::TlsStream;

use crate::config::Tls;
use crate::grpc::Stream;

/// Shakes hands over `plain` with the server that is named in `tls`, or `host`.
pub(crate) async fn protect(
    plain: Pin<Box<dyn Stream>>,
    tls: &Tls,
    host: &str,
) -> io::Result<TlsStream<Pin<Box<dyn Stream>>>> {
    let name = tls.server_name.as_deref().unwrap_or(host).to_owned();
    let name = ServerName::try_from(name).map_err(io::Error::other)?;
    let connector = TlsConnector::from(Arc::new(client(tls)?));
    connector.connect(name, plain).await
}

fn client(tls: &Tls) -> io::Result<ClientConfig> {
    let roots = match &tls.roots {
        Some(file) => roots([file.as_path()])?,
        None => roots(
            SYSTEM
                .iter()
                .map(Path::new)
                .filter(|file| file.exists())
                .take(1),
        )?,
    };
    let builder = ClientConfig::builder_with_provider(Arc::new(aws_lc_rs::default_provider()))
        .with_safe_default_protocol_versions()
        .map_err(io::Error::other)?
        .with_root_certificates(roots);
    let mut config = match &tls.identity {
        None => builder.with_no_client_auth(),
        Some((certificate, key)) => {
            let key = PrivateKeyDer::from_pem_slice(&read(key)?).map_err(io::Error::other)?;
            let chain = certificates(certificate)?;
            let own = builder.with_client_auth_cert(chain, key);
            own.map_err(io::Error::other)?
        }
    };
    config.alpn_protocols = vec![b"h2".to_vec()];
    Ok(config)
}

/// No certificate at all is a wrong file, not an empty list of roots.
fn roots<'a>(files: impl IntoIterator<Item = &'a Path>) -> io::Result<RootCertStore> {
    let mut roots = RootCertStore::empty();
    for file in files {
        roots.add_parsable_certificates(certificates(file)?);
    }
    match roots.is_empty() {
        true => Err(io::Error::other(
            "there is no root certificate to verify the server with",
        )),
        false => Ok(roots),
    }
}

fn certificates(file: &Path) -> io::Result<Vec<CertificateDer<'static>>> {
    let pem = read(file)?;
    let found: Result<Vec<_>, _> = CertificateDer::pem_slice_iter(&pem).collect();
    found.map_err(|error| io::Error::other(format!("`{}`: {error}", file.display())))
}

fn read(file: &Path) -> io::Result<zeroize::Zeroizing<Vec<u8>>> {
    let read = std::fs::read(file).map(zeroize::Zeroizing::new);
    read.map_err(|error| io::Error::new(error.kind(), format!("`{}`: {error}", file.display())))
}

/// Where distributions keep the roots that the machine's owner trusts; the first that exists counts.
const SYSTEM: [&str; 5] = [
    "/etc/ssl/certs/ca-certificates.crt",
    "/etc/pki/tls/certs/ca-bundle.crt",
    "/etc/ssl/ca-bundle.pem",
    "/etc/pki/ca-trust/extracted/pem/tls-ca-bundle.pem",
    "/etc/ssl/cert.pem",
];
