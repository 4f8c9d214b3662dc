//! The server's own TLS key and certificate, for its doors to nodes and to people.

use accounts::EstateAccounts;
use rcgen::KeyPair;
use rustls_pki_types::{PrivateKeyDer, PrivatePkcs8KeyDer};
use server::Server;
use store::SqliteStore;

use crate::config::ServerConfig;

/// A fresh key for each start; its certificate names what `names` says and the server's SPIFFE id.
pub(crate) fn of_server(
    config: &ServerConfig,
    server: &Server<SqliteStore, EstateAccounts>,
) -> anyhow::Result<(Vec<Vec<u8>>, PrivateKeyDer<'static>)> {
    let key = KeyPair::generate()?;
    let spki = jose::Jwk::from_ec_point(jose::Curve::P256, key.public_key_raw())?.to_spki_der()?;
    let chain = server.server_certificate(&config.names, &spki)?;
    Ok((
        chain,
        PrivateKeyDer::from(PrivatePkcs8KeyDer::from(key.serialize_der())),
    ))
}
