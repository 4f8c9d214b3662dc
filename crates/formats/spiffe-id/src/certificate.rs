//! The few things about a certificate that SPIFFE has rules for.

use x509_cert::Certificate;
use x509_cert::der::asn1::ObjectIdentifier;
use x509_cert::der::{Decode as _, Encode as _, Reader as _, SliceReader};
use x509_cert::ext::Extension;
use x509_cert::ext::pkix::name::GeneralName;
use x509_cert::ext::pkix::{BasicConstraints, ExtendedKeyUsage, KeyUsage, SubjectAltName};

use crate::UnixTime;

/// The longest certificate that is read.
const MAX_CERTIFICATE_BYTES: usize = 64 * 1024;
const SERVER_AUTH: ObjectIdentifier = ObjectIdentifier::new_unwrap("1.3.6.1.5.5.7.3.1");
const CLIENT_AUTH: ObjectIdentifier = ObjectIdentifier::new_unwrap("1.3.6.1.5.5.7.3.2");

/// Why a certificate cannot be read. Fault: whoever made it.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum CertificateError {
    /// Fault: whoever made it.
    #[error("the certificate is not one X.509 certificate in DER")]
    Malformed,
    /// Fault: whoever made it.
    #[error("the certificate is longer than {MAX_CERTIFICATE_BYTES} bytes")]
    TooLong,
    /// Fault: whoever made it.
    #[error("the certificate has extension {oid} twice")]
    RepeatedExtension {
        /// The extension's object identifier.
        oid: String,
    },
    /// Fault: whoever made it.
    #[error("the certificate's extension {oid} is malformed")]
    Extension {
        /// The extension's object identifier.
        oid: String,
    },
    /// Fault: whoever made it; not a certificate that signs others.
    #[error("the certificate is not for signing certificates")]
    NotAuthority,
}

/// The value of the extension with this dotted object identifier. The certificate is not verified.
///
/// # Errors
/// When the certificate cannot be read.
pub fn extension_value(certificate: &[u8], oid: &str) -> Result<Option<Vec<u8>>, CertificateError> {
    Ok(View::parse(certificate)?.extension(oid).map(<[u8]>::to_vec))
}

/// Takes certificates apart that stand one behind the other, as the Workload API sends them.
///
/// # Errors
/// When the bytes are not a sequence of DER values.
pub fn split_der_chain(bytes: &[u8]) -> Result<Vec<&[u8]>, CertificateError> {
    let mut rest = bytes;
    let mut certificates = Vec::new();
    while !rest.is_empty() {
        let first = |bytes| SliceReader::new(bytes)?.tlv_bytes();
        let certificate = first(rest).map_err(|_| CertificateError::Malformed)?;
        certificates.push(certificate);
        rest = rest.get(certificate.len()..).unwrap_or_default();
    }
    Ok(certificates)
}

/// A certificate, read once.
#[derive(Debug, Clone)]
pub(crate) struct View {
    certificate: Certificate,
    basic_constraints: Option<BasicConstraints>,
    key_usage: Option<KeyUsage>,
    extended_key_usage: Option<ExtendedKeyUsage>,
    uris: Vec<String>,
}

impl View {
    pub(crate) fn parse(der: &[u8]) -> Result<Self, CertificateError> {
        if der.len() > MAX_CERTIFICATE_BYTES {
            return Err(CertificateError::TooLong);
        }
        let certificate = Certificate::from_der(der).map_err(|_| CertificateError::Malformed)?;
        let extensions = extensions(&certificate);
        let mut oids: Vec<_> = extensions
            .iter()
            .map(|extension| extension.extn_id)
            .collect();
        oids.sort_unstable();
        if let Some([oid, _]) = oids.windows(2).find(|pair| pair.first() == pair.last()) {
            return Err(CertificateError::RepeatedExtension {
                oid: oid.to_string(),
            });
        }
        let names: Option<SubjectAltName> = decode(extensions)?;
        let uris = names
            .map(|names| names.0)
            .unwrap_or_default()
            .into_iter()
            .filter_map(|name| match name {
                GeneralName::UniformResourceIdentifier(uri) => Some(uri.to_string()),
                _ => None,
            });
        Ok(Self {
            basic_constraints: decode(extensions)?,
            key_usage: decode(extensions)?,
            extended_key_usage: decode(extensions)?,
            uris: uris.collect(),
            certificate,
        })
    }

    /// The URIs among the subject's alternative names.
    pub(crate) fn uris(&self) -> &[String] {
        &self.uris
    }

    pub(crate) fn is_ca(&self) -> bool {
        self.basic_constraints
            .as_ref()
            .is_some_and(|constraints| constraints.ca)
    }

    /// The key usage, when it is there and critical.
    pub(crate) fn critical_key_usage(&self) -> Option<&KeyUsage> {
        self.key_usage
            .as_ref()
            .filter(|_| self.is_critical::<KeyUsage>())
    }

    /// Whether the certificate may sign others: `cA` and `keyCertSign`.
    pub(crate) fn is_authority(&self) -> bool {
        self.is_ca() && self.key_usage.as_ref().is_some_and(KeyUsage::key_cert_sign)
    }

    /// Whether the extended key usage is absent or names both sides of TLS.
    pub(crate) fn serves_both_sides(&self) -> bool {
        let both = |usage: &ExtendedKeyUsage| {
            usage.0.contains(&SERVER_AUTH) && usage.0.contains(&CLIENT_AUTH)
        };
        self.extended_key_usage.as_ref().is_none_or(both)
    }

    /// A certificate without subject is named by its alternative names only, which must then be critical.
    pub(crate) fn is_named(&self) -> bool {
        !self.certificate.tbs_certificate().subject().is_empty()
            || self.is_critical::<SubjectAltName>()
    }

    pub(crate) fn not_before(&self) -> UnixTime {
        let validity = self.certificate.tbs_certificate().validity();
        UnixTime::from_secs(validity.not_before.to_unix_duration().as_secs())
    }

    /// The last second at which the certificate is valid.
    pub(crate) fn not_after(&self) -> UnixTime {
        let validity = self.certificate.tbs_certificate().validity();
        UnixTime::from_secs(validity.not_after.to_unix_duration().as_secs())
    }

    pub(crate) fn is_valid_at(&self, now: UnixTime) -> bool {
        self.not_before() <= now && now <= self.not_after()
    }

    /// The subject's public key as `SubjectPublicKeyInfo` in DER.
    pub(crate) fn spki(&self) -> Result<Vec<u8>, CertificateError> {
        let spki = self.certificate.tbs_certificate().subject_public_key_info();
        spki.to_der().map_err(|_| CertificateError::Malformed)
    }

    pub(crate) fn serial(&self) -> &[u8] {
        self.certificate
            .tbs_certificate()
            .serial_number()
            .as_bytes()
    }

    pub(crate) fn extension(&self, oid: &str) -> Option<&[u8]> {
        let oid = ObjectIdentifier::new(oid).ok()?;
        let found = extensions(&self.certificate)
            .iter()
            .find(|extension| extension.extn_id == oid);
        found.map(|extension| extension.extn_value.as_bytes())
    }

    fn is_critical<T: x509_cert::der::oid::AssociatedOid>(&self) -> bool {
        extensions(&self.certificate)
            .iter()
            .any(|extension| extension.extn_id == T::OID && extension.critical)
    }
}

fn extensions(certificate: &Certificate) -> &[Extension] {
    certificate
        .tbs_certificate()
        .extensions()
        .map(Vec::as_slice)
        .unwrap_or_default()
}

fn decode<T>(extensions: &[Extension]) -> Result<Option<T>, CertificateError>
where
    T: x509_cert::der::oid::AssociatedOid + for<'a> x509_cert::der::Decode<'a>,
{
    let Some(extension) = extensions
        .iter()
        .find(|extension| extension.extn_id == T::OID)
    else {
        return Ok(None);
    };
    let value = T::from_der(extension.extn_value.as_bytes());
    value.map(Some).map_err(|_| CertificateError::Extension {
        oid: T::OID.to_string(),
    })
}
