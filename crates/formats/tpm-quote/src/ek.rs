//! Certificates of endorsement keys (TCG EK Credential Profile): a manufacturer's word that a TPM is one of its own.

use std::fmt;

use rustls_pki_types::pem::PemObject;
use rustls_pki_types::{CertificateDer, TrustAnchor, UnixTime};
use webpki::{EndEntityCert, KeyUsage, anchor_from_trusted_cert};
use x509_cert::Certificate;
use x509_cert::der::asn1::{Any, ObjectIdentifier, PrintableStringRef, Utf8StringRef};
use x509_cert::der::{Decode, Tag, Tagged};
use x509_cert::ext::pkix::name::GeneralName;
use x509_cert::ext::pkix::{ExtendedKeyUsage, SubjectAltName};

use crate::hash::sha256;
use crate::public::{PublicArea, UnfitKey};

/// Why an endorsement key is not believed.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum EkError {
    /// Fault: whoever sent the public area.
    #[error("the key is no endorsement key")]
    UnfitKey {
        /// What it lacks.
        #[source]
        source: UnfitKey,
    },
    /// Fault: whoever sent the certificate, or its manufacturer.
    #[error("the endorsement key's certificate is malformed")]
    Malformed,
    /// Fault: the manufacturer, whose certificate does not follow the TCG's profile, or whoever sent another kind.
    #[error("the certificate does not name a TPM: {what} is missing")]
    NotOfTpm {
        /// What is missing.
        what: &'static str,
    },
    /// Fault: whoever sent the certificate, or whoever configured the manufacturers' roots.
    #[error("the certificate does not chain to a configured manufacturer: {reason}")]
    Untrusted {
        /// The verifier's word for it.
        reason: String,
    },
    /// Fault: whoever sent the certificate: it is that of another TPM.
    #[error("the certificate is for another key")]
    OtherKey,
    /// Fault: whoever configured the manufacturers' roots.
    #[error("the manufacturers' certificates can't be used")]
    Roots,
}

/// The certificates of the manufacturers that are trusted: roots, and intermediates that TPMs do not carry.
#[derive(Clone)]
pub struct ManufacturerRoots {
    anchors: Vec<Anchor>,
    intermediates: Vec<CertificateDer<'static>>,
}

#[derive(Clone)]
struct Anchor {
    anchor: TrustAnchor<'static>,
    fingerprint: [u8; 32],
}

impl ManufacturerRoots {
    /// Reads PEM text. Self-issued certificates are roots, others are intermediates.
    ///
    /// # Errors
    /// When a certificate can't be read, or no root is among them.
    pub fn from_pem(pem: &[u8]) -> Result<Self, EkError> {
        let certificates = CertificateDer::pem_slice_iter(pem)
            .collect::<Result<Vec<_>, _>>()
            .map_err(|_| EkError::Roots)?;
        Self::from_der(certificates.iter().map(AsRef::as_ref))
    }

    /// Reads DER certificates. Self-issued certificates are roots, others are intermediates.
    ///
    /// # Errors
    /// When a certificate can't be read, or no root is among them.
    pub fn from_der<'a>(certificates: impl IntoIterator<Item = &'a [u8]>) -> Result<Self, EkError> {
        let mut roots = Self {
            anchors: Vec::new(),
            intermediates: Vec::new(),
        };
        for der in certificates {
            let parsed = Certificate::from_der(der).map_err(|_| EkError::Roots)?;
            let owned = CertificateDer::from(der.to_vec());
            let certificate = parsed.tbs_certificate();
            if certificate.subject() == certificate.issuer() {
                let anchor = anchor_from_trusted_cert(&owned)
                    .map_err(|_| EkError::Roots)?
                    .to_owned();
                roots.anchors.push(Anchor {
                    anchor,
                    fingerprint: sha256(der),
                });
            } else {
                roots.intermediates.push(owned);
            }
        }
        match roots.anchors.is_empty() {
            true => Err(EkError::Roots),
            false => Ok(roots),
        }
    }

    /// SHA-256 fingerprints of the roots.
    pub fn fingerprints(&self) -> impl Iterator<Item = [u8; 32]> {
        self.anchors.iter().map(|anchor| anchor.fingerprint)
    }
}

impl fmt::Debug for ManufacturerRoots {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            out,
            "ManufacturerRoots({} roots, {} others)",
            self.anchors.len(),
            self.intermediates.len()
        )
    }
}

/// What the certificate says about the TPM. The words are the manufacturer's.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TpmModel {
    /// The vendor's identifier in the TCG's registry, such as `id:494E5443`.
    pub manufacturer: String,
    /// The model.
    pub model: String,
    /// The version of the firmware at manufacture.
    pub version: String,
}

/// An endorsement key that a trusted manufacturer certified. Made only by [`verify_ek_certificate`].
#[derive(Debug, PartialEq, Eq)]
pub struct CertifiedEk {
    spki_sha256: [u8; 32],
    model: TpmModel,
    root: [u8; 32],
}

impl CertifiedEk {
    /// The EK hash: SHA-256 of the key's `SubjectPublicKeyInfo`.
    #[must_use]
    pub const fn spki_sha256(&self) -> &[u8; 32] {
        &self.spki_sha256
    }

    /// What the certificate says about the TPM.
    #[must_use]
    pub const fn model(&self) -> &TpmModel {
        &self.model
    }

    /// SHA-256 fingerprint of the root that the chain ended in: it tells which manufacturer's word this is.
    #[must_use]
    pub const fn root(&self) -> &[u8; 32] {
        &self.root
    }
}

/// Verifies that `certificate` (DER) is a manufacturer's word for the endorsement key `ek`, at `unix_seconds`.
///
/// `chain` may hold intermediates that the TPM carried. Revocation lists are not consulted.
///
/// # Errors
/// When the key is no endorsement key, the certificate is of another key, does not follow the profile, or does not
/// chain to one of `roots` at that time.
pub fn verify_ek_certificate(
    certificate: &[u8],
    chain: &[Vec<u8>],
    roots: &ManufacturerRoots,
    ek: &PublicArea,
    unix_seconds: u64,
) -> Result<CertifiedEk, EkError> {
    ek.require_ek()
        .map_err(|source| EkError::UnfitKey { source })?;
    if certificate.len() > MAX_CERTIFICATE || chain.len() > MAX_CHAIN {
        return Err(EkError::Malformed);
    }
    let parsed = Certificate::from_der(certificate).map_err(|_| EkError::Malformed)?;
    // Vendors write RSA keys with different algorithm identifiers; the key itself has one spelling.
    let spki = parsed.tbs_certificate().subject_public_key_info();
    if spki.subject_public_key.as_bytes() != Some(&ek.subject_public_key()) {
        return Err(EkError::OtherKey);
    }
    require_usage(&parsed)?;
    let model = tpm_model(&parsed)?;
    let root = verify_chain(certificate, chain, roots, unix_seconds)?;
    Ok(CertifiedEk {
        spki_sha256: ek.spki_sha256(),
        model,
        root,
    })
}

fn verify_chain(
    certificate: &[u8],
    chain: &[Vec<u8>],
    roots: &ManufacturerRoots,
    unix_seconds: u64,
) -> Result<[u8; 32], EkError> {
    let untrusted = |error: webpki::Error| EkError::Untrusted {
        reason: error.to_string(),
    };
    let der = CertificateDer::from(certificate);
    let leaf = EndEntityCert::try_from(&der).map_err(untrusted)?;
    let mut intermediates: Vec<CertificateDer<'_>> = chain
        .iter()
        .map(|der| CertificateDer::from(der.as_slice()))
        .collect();
    intermediates.extend(roots.intermediates.iter().cloned());
    let time = UnixTime::since_unix_epoch(std::time::Duration::from_secs(unix_seconds));
    let anchors: Vec<TrustAnchor<'static>> = roots
        .anchors
        .iter()
        .map(|anchor| anchor.anchor.clone())
        .collect();
    let path = leaf
        .verify_for_usage(
            webpki::ALL_VERIFICATION_ALGS,
            &anchors,
            &intermediates,
            time,
            // Many issuing certificates name no usage; the leaf must, see `require_usage`.
            KeyUsage::required_if_present(&EK_CERTIFICATE_USAGE),
            None,
            None,
        )
        .map_err(untrusted)?;
    let found = roots
        .anchors
        .iter()
        .find(|anchor| anchor.anchor == *path.anchor());
    found.map(|anchor| anchor.fingerprint).ok_or(EkError::Roots)
}

fn require_usage(certificate: &Certificate) -> Result<(), EkError> {
    let usage = certificate
        .tbs_certificate()
        .get_extension::<ExtendedKeyUsage>()
        .map_err(|_| EkError::Malformed)?;
    match usage {
        Some((_, usage)) if usage.0.contains(&EK_CERTIFICATE) => Ok(()),
        _ => Err(EkError::NotOfTpm {
            what: "the key usage",
        }),
    }
}

/// The TPM's attributes in a directory name of the subject's alternative names (profile 3.1.2).
fn tpm_model(certificate: &Certificate) -> Result<TpmModel, EkError> {
    let names = certificate
        .tbs_certificate()
        .get_extension::<SubjectAltName>()
        .map_err(|_| EkError::Malformed)?;
    let (_, SubjectAltName(names)) = names.ok_or(EkError::NotOfTpm {
        what: "the alternative name",
    })?;
    let attribute = |oid: ObjectIdentifier, what| {
        let directory = names.iter().filter_map(|name| match name {
            GeneralName::DirectoryName(name) => Some(name),
            _ => None,
        });
        let mut values = directory
            .flat_map(|name| name.iter())
            .filter(|attribute| attribute.oid == oid);
        match (values.next(), values.next()) {
            (Some(attribute), None) => text(&attribute.value).ok_or(EkError::Malformed),
            (None, _) => Err(EkError::NotOfTpm { what }),
            (Some(_), Some(_)) => Err(EkError::Malformed),
        }
    };
    Ok(TpmModel {
        manufacturer: attribute(TPM_MANUFACTURER, "the manufacturer")?,
        model: attribute(TPM_MODEL, "the model")?,
        version: attribute(TPM_VERSION, "the version")?,
    })
}

fn text(value: &Any) -> Option<String> {
    match value.tag() {
        Tag::Utf8String => value
            .decode_as::<Utf8StringRef<'_>>()
            .ok()
            .map(|text| text.as_str().to_owned()),
        Tag::PrintableString => value
            .decode_as::<PrintableStringRef<'_>>()
            .ok()
            .map(|text| text.as_str().to_owned()),
        _ => None,
    }
}

const TPM_MANUFACTURER: ObjectIdentifier = ObjectIdentifier::new_unwrap("2.23.133.2.1");
const TPM_MODEL: ObjectIdentifier = ObjectIdentifier::new_unwrap("2.23.133.2.2");
const TPM_VERSION: ObjectIdentifier = ObjectIdentifier::new_unwrap("2.23.133.2.3");
/// `tcg-kp-EKCertificate`.
const EK_CERTIFICATE: ObjectIdentifier = ObjectIdentifier::new_unwrap("2.23.133.8.1");
/// The same in DER, without tag and length.
const EK_CERTIFICATE_USAGE: [u8; 5] = [0x67, 0x81, 0x05, 0x08, 0x01];
const MAX_CERTIFICATE: usize = 8192;
const MAX_CHAIN: usize = 8;
