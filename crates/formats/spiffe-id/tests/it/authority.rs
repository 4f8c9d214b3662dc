//! A trust domain's authority, and the leaves that it signs.

use rcgen::{
    BasicConstraints, CertificateParams, CustomExtension, DistinguishedName, DnType,
    ExtendedKeyUsagePurpose, IsCa, Issuer, KeyPair, KeyUsagePurpose, SanType, date_time_ymd,
};
use spiffe_id::{TrustDomain, UnixTime, X509Bundle};

/// 2026-01-15T00:00:00Z, in the middle of every certificate's validity.
pub(crate) const NOW: UnixTime = UnixTime::from_secs(1_768_435_200);
/// 2026-02-01T00:00:00Z, the last second of it.
pub(crate) const END: UnixTime = UnixTime::from_secs(1_769_904_000);
/// 2026-01-01T00:00:00Z, the first second of it.
pub(crate) const START: UnixTime = UnixTime::from_secs(1_767_225_600);

pub(crate) fn domain() -> TrustDomain {
    "prod.example".parse().unwrap()
}

/// A certificate with its key, able to sign others whether or not it may.
pub(crate) struct Authority {
    pub(crate) issuer: Issuer<'static, KeyPair>,
    pub(crate) der: Vec<u8>,
}

impl Authority {
    pub(crate) fn root() -> Self {
        let (params, key) = (
            ca("root", "spiffe://prod.example"),
            KeyPair::generate().unwrap(),
        );
        let der = params.self_signed(&key).unwrap().der().to_vec();
        Self {
            issuer: Issuer::new(params, key),
            der,
        }
    }

    pub(crate) fn sub(&self, params: CertificateParams) -> Self {
        let key = KeyPair::generate().unwrap();
        let der = params.signed_by(&key, &self.issuer).unwrap().der().to_vec();
        Self {
            issuer: Issuer::new(params, key),
            der,
        }
    }

    pub(crate) fn sign(&self, params: &CertificateParams) -> Vec<u8> {
        params
            .signed_by(&KeyPair::generate().unwrap(), &self.issuer)
            .unwrap()
            .der()
            .to_vec()
    }

    pub(crate) fn bundle(&self) -> X509Bundle {
        X509Bundle::new(&domain())
            .with_authority(&self.der)
            .unwrap()
    }
}

/// A signing certificate as the document wants it.
pub(crate) fn ca(name: &str, id: &str) -> CertificateParams {
    let mut params = base();
    params.distinguished_name = DistinguishedName::new();
    params.distinguished_name.push(DnType::CommonName, name);
    params.subject_alt_names = vec![uri(id)];
    params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    params.key_usages = vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::CrlSign];
    params
}

/// A leaf as the document wants it.
pub(crate) fn leaf() -> CertificateParams {
    let mut params = base();
    params.subject_alt_names = vec![uri("spiffe://prod.example/records/reader")];
    params.is_ca = IsCa::ExplicitNoCa;
    params.key_usages = vec![KeyUsagePurpose::DigitalSignature];
    params.extended_key_usages = vec![
        ExtendedKeyUsagePurpose::ServerAuth,
        ExtendedKeyUsagePurpose::ClientAuth,
    ];
    params
}

pub(crate) fn uri(text: &str) -> SanType {
    SanType::URI(text.try_into().unwrap())
}

/// The measured facts' place: a UUID in seven parts under Microsoft's arc, as Go's x509 can read it.
pub(crate) const FACTS: [u64; 14] = [
    1, 2, 840, 113_556, 1, 8000, 2554, 47_511, 2_863, 21_114, 18_307, 42_141, 5_046_903, 14_310_289,
];

pub(crate) fn facts_oid() -> String {
    FACTS.map(|arc| arc.to_string()).join(".")
}

pub(crate) fn facts(value: &[u8]) -> CustomExtension {
    CustomExtension::from_oid_content(&FACTS, value.to_vec())
}

fn base() -> CertificateParams {
    let mut params = CertificateParams::default();
    params.distinguished_name = DistinguishedName::new();
    params.not_before = date_time_ymd(2026, 1, 1);
    params.not_after = date_time_ymd(2026, 2, 1);
    params
}
