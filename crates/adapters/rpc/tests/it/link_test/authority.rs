//! A certificate authority for tests.

use rcgen::{
    BasicConstraints, CertificateParams, CertifiedIssuer, ExtendedKeyUsagePurpose, IsCa, KeyPair,
    KeyUsagePurpose, PublicKeyData, SanType, SubjectPublicKeyInfo,
};
use rustls::pki_types::PrivateKeyDer;

/// A chain and its key.
pub(crate) type Certified = (Vec<Vec<u8>>, PrivateKeyDer<'static>);

/// One root that signs everything.
pub(crate) struct Authority(CertifiedIssuer<'static, KeyPair>);

impl Authority {
    pub(crate) fn new() -> Self {
        let mut params = CertificateParams::default();
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        params.key_usages = vec![KeyUsagePurpose::KeyCertSign];
        Self(CertifiedIssuer::self_signed(params, KeyPair::generate().unwrap()).unwrap())
    }

    pub(crate) fn root(&self) -> Vec<u8> {
        self.0.der().to_vec()
    }

    /// A server's certificate for `127.0.0.1`.
    pub(crate) fn server(&self, id: &str) -> Certified {
        self.server_named(id, "127.0.0.1")
    }

    pub(crate) fn server_named(&self, id: &str, name: &str) -> Certified {
        let key = KeyPair::generate().unwrap();
        let name = match name.parse() {
            Ok(address) => SanType::IpAddress(address),
            Err(_) => SanType::DnsName(name.try_into().unwrap()),
        };
        let chain = self.sign(vec![SanType::URI(id.try_into().unwrap()), name], &key);
        (chain, PrivateKeyDer::try_from(key.serialize_der()).unwrap())
    }

    pub(crate) fn node(&self, name: &str, spki: &[u8]) -> Vec<Vec<u8>> {
        let id = format!("spiffe://example.lab/node/{name}");
        let key = SubjectPublicKeyInfo::from_der(spki).unwrap();
        self.sign(vec![SanType::URI(id.as_str().try_into().unwrap())], &key)
    }

    fn sign(&self, names: Vec<SanType>, key: &impl PublicKeyData) -> Vec<Vec<u8>> {
        let mut params = CertificateParams::default();
        params.is_ca = IsCa::ExplicitNoCa;
        params.key_usages = vec![KeyUsagePurpose::DigitalSignature];
        params.extended_key_usages = vec![
            ExtendedKeyUsagePurpose::ServerAuth,
            ExtendedKeyUsagePurpose::ClientAuth,
        ];
        params.subject_alt_names = names;
        vec![params.signed_by(key, &self.0).unwrap().der().to_vec()]
    }
}
