//! Root and issuing certificate authority of one trust domain.

use std::time::Duration;

use estate::Timestamp;
use jose::{EcdsaP256Key, Jwk};
use ledger::LoggedEnrolment;
use rcgen::{
    BasicConstraints, CertificateParams, CertifiedIssuer, DistinguishedName, DnType,
    ExtendedKeyUsagePurpose, IsCa, Issuer, KeyPair, KeyUsagePurpose, SanType, SerialNumber,
    SubjectPublicKeyInfo,
};
use rustls_pki_types::{CertificateDer, PrivatePkcs8KeyDer};
use spiffe_id::TrustDomain;
use time::OffsetDateTime;

/// Nothing was issued.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum IssueError {
    /// Fault: whoever asked: not a public key that a certificate can hold.
    #[error("the public key can't be certified")]
    PublicKey,
    /// Fault: the store: the authority's own key or certificate does not fit.
    #[error("the authority's key can't be used")]
    AuthorityKey,
    /// Fault: whoever wrote the estate.
    #[error("`{0}` is not a SPIFFE id of this trust domain")]
    Identity(String),
    /// Fault: this machine.
    #[error("signing failed")]
    Failed,
}

/// A certificate serial: 16 random bytes from the caller.
#[derive(Debug, Clone, Copy)]
pub struct Serial(pub [u8; 16]);

impl Serial {
    pub(crate) fn number(self) -> SerialNumber {
        let mut bytes = self.0;
        // Positive and without leading zeros, RFC 5280 section 4.1.2.2.
        bytes[0] = (bytes[0] & 0x7f) | 0x40;
        SerialNumber::from_slice(&bytes)
    }

    /// As it stands in the store.
    pub fn to_hex(self) -> String {
        self.number()
            .to_bytes()
            .iter()
            .map(|byte| format!("{byte:02x}"))
            .collect()
    }
}

/// What a new authority consists of: private keys as PKCS#8, certificates as DER.
pub struct AuthorityKeys {
    /// Root key; signs the issuing CA and key documents.
    pub root_pkcs8: Vec<u8>,
    /// Root certificate.
    pub root_der: Vec<u8>,
    /// Issuing CA's key.
    pub ca_pkcs8: Vec<u8>,
    /// Issuing CA's certificate.
    pub ca_der: Vec<u8>,
}

impl AuthorityKeys {
    /// Makes root and issuing CA.
    ///
    /// # Errors
    /// [`IssueError::Failed`]
    pub fn create(
        trust_domain: &TrustDomain,
        serials: [Serial; 2],
        now: Timestamp,
    ) -> Result<Self, IssueError> {
        let [root_serial, ca_serial] = serials;
        let root_key = KeyPair::generate().map_err(|_| IssueError::Failed)?;
        let ca_key = KeyPair::generate().map_err(|_| IssueError::Failed)?;
        let (root_pkcs8, ca_pkcs8) = (root_key.serialize_der(), ca_key.serialize_der());
        let root_params = ca_params(trust_domain, "root", root_serial, now, ROOT_LIFE);
        let root =
            CertifiedIssuer::self_signed(root_params, root_key).map_err(|_| IssueError::Failed)?;
        let ca = ca_params(trust_domain, "issuing", ca_serial, now, CA_LIFE)
            .signed_by(&ca_key, &root)
            .map_err(|_| IssueError::Failed)?;
        Ok(Self {
            root_pkcs8,
            root_der: root.der().to_vec(),
            ca_pkcs8,
            ca_der: ca.der().to_vec(),
        })
    }
}

fn ca_params(
    trust_domain: &TrustDomain,
    role: &str,
    serial: Serial,
    now: Timestamp,
    life: Duration,
) -> CertificateParams {
    let mut params = CertificateParams::default();
    params.distinguished_name = DistinguishedName::new();
    params
        .distinguished_name
        .push(DnType::OrganizationName, "bailiwick");
    params
        .distinguished_name
        .push(DnType::CommonName, format!("{trust_domain} {role}"));
    params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    params.key_usages = vec![
        KeyUsagePurpose::KeyCertSign,
        KeyUsagePurpose::CrlSign,
        KeyUsagePurpose::DigitalSignature,
    ];
    // SPIFFE X509-SVID section 3.2: a signing certificate may carry the trust domain's own id.
    if let Ok(uri) = format!("spiffe://{trust_domain}").try_into() {
        params.subject_alt_names = vec![SanType::URI(uri)];
    }
    params.serial_number = Some(serial.number());
    validity(&mut params, now, life);
    params
}

pub(crate) fn validity(params: &mut CertificateParams, now: Timestamp, life: Duration) {
    params.not_before = at(now.minus(BACKDATE));
    params.not_after = at(now.plus(life));
}

fn at(time: Timestamp) -> OffsetDateTime {
    OffsetDateTime::from_unix_timestamp(time.as_seconds()).unwrap_or(OffsetDateTime::UNIX_EPOCH)
}

/// The authority of one trust domain, ready to sign.
pub struct Authority {
    trust_domain: TrustDomain,
    ca: Issuer<'static, KeyPair>,
    ca_der: Vec<u8>,
    root_der: Vec<u8>,
    pub(crate) jwt: EcdsaP256Key,
    pub(crate) jwt_kid: String,
}

impl Authority {
    /// From unwrapped keys.
    ///
    /// # Errors
    /// [`IssueError::AuthorityKey`]
    pub fn new(
        trust_domain: TrustDomain,
        root_der: Vec<u8>,
        ca_der: Vec<u8>,
        ca_pkcs8: &[u8],
        jwt_pkcs8: &[u8],
    ) -> Result<Self, IssueError> {
        let unusable = |_| IssueError::AuthorityKey;
        let der = PrivatePkcs8KeyDer::from(ca_pkcs8.to_vec());
        let key = KeyPair::from_pkcs8_der_and_sign_algo(&der, &rcgen::PKCS_ECDSA_P256_SHA256)
            .map_err(unusable)?;
        let ca = Issuer::from_ca_cert_der(&CertificateDer::from(ca_der.clone()), key)
            .map_err(unusable)?;
        let jwt = EcdsaP256Key::from_pkcs8(jwt_pkcs8).map_err(|_| IssueError::AuthorityKey)?;
        let jwt_kid = jwt.public_jwk().thumbprint().to_string();
        Ok(Self {
            trust_domain,
            ca,
            ca_der,
            root_der,
            jwt,
            jwt_kid,
        })
    }

    /// The trust domain.
    pub fn trust_domain(&self) -> &TrustDomain {
        &self.trust_domain
    }

    /// The root certificate, DER.
    pub fn root_der(&self) -> &[u8] {
        &self.root_der
    }

    /// The JWT keys' public half, with its `kid`.
    pub fn jwt_key(&self) -> Jwk {
        self.jwt.public_jwk().clone().with_kid(self.jwt_kid.clone())
    }

    /// A node certificate of at most an hour, URI SAN `spiffe://TD/node/<name>`, over the attested node key.
    ///
    /// # Errors
    /// [`IssueError`]
    pub fn node_certificate(
        &self,
        logged: &LoggedEnrolment,
        serial: Serial,
        now: Timestamp,
    ) -> Result<Vec<Vec<u8>>, IssueError> {
        let row = logged.row();
        let id = format!("spiffe://{}/node/{}", self.trust_domain, row.name);
        let mut params = leaf_params(
            row.name.as_str(),
            serial,
            now,
            row.not_after.since(now).unwrap_or_default(),
        );
        params.subject_alt_names = vec![uri(&id)?];
        params.extended_key_usages = BOTH_ENDS.to_vec();
        self.sign(&params, &row.node_key_spki)
    }

    /// The server's TLS certificate for the names that it is reached by, URI SAN `spiffe://TD/server`.
    ///
    /// # Errors
    /// [`IssueError`]
    pub fn server_certificate(
        &self,
        names: &[String],
        spki: &[u8],
        serial: Serial,
        now: Timestamp,
    ) -> Result<Vec<Vec<u8>>, IssueError> {
        let mut params = leaf_params("server", serial, now, SERVER_LIFE);
        params.subject_alt_names = vec![uri(&format!("spiffe://{}/server", self.trust_domain))?];
        for name in names {
            params.subject_alt_names.push(match name.parse() {
                Ok(address) => SanType::IpAddress(address),
                Err(_) => SanType::DnsName(
                    name.as_str()
                        .try_into()
                        .map_err(|_| IssueError::Identity(name.clone()))?,
                ),
            });
        }
        params.extended_key_usages = BOTH_ENDS.to_vec();
        self.sign(&params, spki)
    }

    /// A person's client certificate; the person is the one rfc822Name, and there is no URI: it is no SVID.
    ///
    /// # Errors
    /// [`IssueError`]
    pub fn person_certificate(
        &self,
        person: &str,
        spki: &[u8],
        serial: Serial,
        now: Timestamp,
    ) -> Result<Vec<Vec<u8>>, IssueError> {
        let mut params = leaf_params(person, serial, now, PERSON_LIFE);
        let name = person
            .try_into()
            .map_err(|_| IssueError::Identity(person.to_owned()))?;
        params.subject_alt_names = vec![SanType::Rfc822Name(name)];
        params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ClientAuth];
        self.sign(&params, spki)
    }

    pub(crate) fn sign(
        &self,
        params: &CertificateParams,
        spki: &[u8],
    ) -> Result<Vec<Vec<u8>>, IssueError> {
        let key = SubjectPublicKeyInfo::from_der(spki).map_err(|_| IssueError::PublicKey)?;
        let leaf = params
            .signed_by(&key, &self.ca)
            .map_err(|_| IssueError::Failed)?;
        Ok(vec![leaf.der().to_vec(), self.ca_der.clone()])
    }
}

pub(crate) fn leaf_params(
    common_name: &str,
    serial: Serial,
    now: Timestamp,
    life: Duration,
) -> CertificateParams {
    let mut params = CertificateParams::default();
    params.distinguished_name = DistinguishedName::new();
    params
        .distinguished_name
        .push(DnType::OrganizationName, "bailiwick");
    params.distinguished_name.push(
        DnType::CommonName,
        common_name.chars().take(64).collect::<String>(),
    );
    params.is_ca = IsCa::ExplicitNoCa;
    params.key_usages = vec![KeyUsagePurpose::DigitalSignature];
    params.serial_number = Some(serial.number());
    params.use_authority_key_identifier_extension = true;
    validity(&mut params, now, life);
    params
}

pub(crate) fn uri(id: &str) -> Result<SanType, IssueError> {
    id.try_into()
        .map(SanType::URI)
        .map_err(|_| IssueError::Identity(id.to_owned()))
}

/// SPIFFE X509-SVID section 4.4: where key usages are extended, both ends are named.
pub(crate) const BOTH_ENDS: [ExtendedKeyUsagePurpose; 2] = [
    ExtendedKeyUsagePurpose::ServerAuth,
    ExtendedKeyUsagePurpose::ClientAuth,
];
const BACKDATE: Duration = Duration::from_secs(30);
const ROOT_LIFE: Duration = Duration::from_secs(10 * 365 * 86_400);
const CA_LIFE: Duration = Duration::from_secs(2 * 365 * 86_400);
const SERVER_LIFE: Duration = Duration::from_secs(90 * 86_400);
const PERSON_LIFE: Duration = Duration::from_secs(30 * 86_400);
