//! Keys and certificates as people and servers have them, made by the server itself.

use ledger::Actor;
use rustls_pki_types::{PrivateKeyDer, PrivatePkcs8KeyDer};

use crate::TestServer;

/// A person's certificate and key, PEM.
#[derive(Debug, Clone)]
pub struct Person {
    /// Certificate, then the issuing CA.
    pub certificate: String,
    /// Key, PKCS#8.
    pub key: String,
}

/// A server's certificate chain and key.
#[derive(Debug)]
pub struct TlsIdentity {
    /// DER, the server's own first.
    pub chain: Vec<Vec<u8>>,
    /// Its key.
    pub key: PrivateKeyDer<'static>,
}

impl TlsIdentity {
    /// As a client would show it, PEM.
    pub fn as_person(&self) -> Person {
        let certificate = self
            .chain
            .iter()
            .map(|der| pem("CERTIFICATE", der))
            .collect();
        Person {
            certificate,
            key: pem("PRIVATE KEY", self.key.secret_der()),
        }
    }
}

impl TestServer {
    /// A person of the estate with a certificate.
    pub async fn person(&self, id: &str) -> Person {
        let key = rcgen::KeyPair::generate().unwrap();
        let (person, spki) = (
            id.parse().unwrap(),
            rcgen::PublicKeyData::subject_public_key_info(&key),
        );
        let (chain, _) = self
            .server
            .person_certificate(&person, &spki, Actor::LocalRoot)
            .await
            .unwrap();
        let certificate = chain.iter().map(|der| pem("CERTIFICATE", der)).collect();
        Person {
            certificate,
            key: key.serialize_pem(),
        }
    }

    /// A public key that somebody wants certified, SubjectPublicKeyInfo.
    pub fn public_key(&self) -> Vec<u8> {
        rcgen::PublicKeyData::subject_public_key_info(&rcgen::KeyPair::generate().unwrap())
    }

    /// A certificate for a server that is reached at `name`.
    pub fn tls(&self, name: &str) -> TlsIdentity {
        let key = rcgen::KeyPair::generate().unwrap();
        let spki = rcgen::PublicKeyData::subject_public_key_info(&key);
        let chain = self
            .server
            .server_certificate(&[name.to_owned()], &spki)
            .unwrap();
        TlsIdentity {
            chain,
            key: PrivateKeyDer::Pkcs8(PrivatePkcs8KeyDer::from(key.serialize_der())),
        }
    }
}

pub(crate) fn pem(tag: &str, der: &[u8]) -> String {
    pem::encode(&pem::Pem::new(tag, der))
}
