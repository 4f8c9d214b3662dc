//! X.509-SVIDs (X509-SVID section 5): path validation by webpki, SPIFFE's own rules here.

use std::time::Duration;

use rustls_pki_types::{CertificateDer, SignatureVerificationAlgorithm};
use webpki::aws_lc_rs as algorithms;

use crate::certificate::View;
use crate::{CertificateError, IdError, SpiffeId, TrustDomain, UnixTime, X509Bundle};

/// The longest chain that is read, leaf included.
pub const MAX_CHAIN: usize = 8;

/// A verified X.509-SVID: the trust domain's authority vouches for the id and the key.
#[derive(Debug)]
pub struct X509Svid {
    id: SpiffeId,
    spki: Vec<u8>,
    leaf: View,
}

/// Why an X.509-SVID is not accepted.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum X509SvidError {
    /// Fault: whoever sent it.
    #[error("an SVID is a chain of 1 to {MAX_CHAIN} certificates")]
    ChainLength,
    /// Fault: whoever made it.
    #[error("a certificate of the SVID cannot be read")]
    Certificate(#[source] CertificateError),
    /// Fault: whoever made it.
    #[error("an SVID has exactly one URI among its names, not {found}")]
    UriCount {
        /// How many there are.
        found: usize,
    },
    /// Fault: whoever made it.
    #[error("the SVID's URI is no SPIFFE id")]
    Id(#[source] IdError),
    /// Fault: whoever made it; the id of a trust domain identifies no workload.
    #[error("the SVID's id has no path")]
    NoPath,
    /// Fault: whoever made it; an authority's certificate authenticates nobody.
    #[error("the SVID is a signing certificate")]
    SigningCertificate,
    /// Fault: whoever made it.
    #[error("the SVID's key usage must be critical and be for digital signatures only")]
    KeyUsage,
    /// Fault: whoever made it.
    #[error("the SVID's extended key usage does not serve both sides of TLS")]
    ExtendedKeyUsage,
    /// Fault: whoever made it.
    #[error("the SVID has no subject and its alternative names are not critical")]
    Unnamed,
    /// Fault: whoever made it; an intermediate certificate breaks the rules for signing certificates.
    #[error("an intermediate certificate may not sign SVIDs")]
    Intermediate,
    /// Fault: the caller, or none: the trust domain is not known here.
    #[error("there is no bundle for trust domain `{domain}`")]
    UnknownTrustDomain {
        /// The id's trust domain.
        domain: TrustDomain,
    },
    /// Fault: whoever made it, or time: expired, or not led to a valid authority of its trust domain.
    #[error("the SVID does not lead to an authority of its trust domain")]
    Path(#[source] webpki::Error),
}

/// Verifies a chain, leaf first, against the bundle of the leaf's own trust domain.
///
/// # Errors
/// When it is no valid X.509-SVID of one of the bundles at this time.
pub fn verify_x509_svid<C: AsRef<[u8]>>(
    chain: &[C],
    bundles: &[&X509Bundle],
    now: UnixTime,
) -> Result<X509Svid, X509SvidError> {
    let (leaf, intermediates) = chain.split_first().ok_or(X509SvidError::ChainLength)?;
    if chain.len() > MAX_CHAIN {
        return Err(X509SvidError::ChainLength);
    }
    let view = View::parse(leaf.as_ref()).map_err(X509SvidError::Certificate)?;
    let id = check_leaf(&view)?;
    // A domain's authorities vouch for its own ids only: the choice of bundle is the check.
    let bundle = bundles
        .iter()
        .find(|bundle| bundle.trust_domain() == id.trust_domain());
    let unknown = || X509SvidError::UnknownTrustDomain {
        domain: id.trust_domain().clone(),
    };
    check_path(
        leaf.as_ref(),
        intermediates,
        bundle.ok_or_else(unknown)?,
        now,
    )?;
    let spki = view.spki().map_err(X509SvidError::Certificate)?;
    Ok(X509Svid {
        id,
        spki,
        leaf: view,
    })
}

impl X509Svid {
    /// Whom the certificate identifies.
    #[must_use]
    pub const fn id(&self) -> &SpiffeId {
        &self.id
    }

    /// The leaf's public key, as `SubjectPublicKeyInfo` in DER.
    #[must_use]
    pub fn spki_der(&self) -> &[u8] {
        &self.spki
    }

    /// The leaf's serial number, big-endian.
    #[must_use]
    pub fn serial(&self) -> &[u8] {
        self.leaf.serial()
    }

    /// When the leaf's validity begins.
    #[must_use]
    pub fn not_before(&self) -> UnixTime {
        self.leaf.not_before()
    }

    /// The leaf's last second of validity.
    #[must_use]
    pub fn not_after(&self) -> UnixTime {
        self.leaf.not_after()
    }

    /// The value of the leaf's extension with this dotted object identifier.
    #[must_use]
    pub fn extension(&self, oid: &str) -> Option<&[u8]> {
        self.leaf.extension(oid)
    }
}

/// The rules for a leaf (sections 2, 4 and 5.2).
fn check_leaf(leaf: &View) -> Result<SpiffeId, X509SvidError> {
    let [uri] = leaf.uris() else {
        return Err(X509SvidError::UriCount {
            found: leaf.uris().len(),
        });
    };
    let id: SpiffeId = uri.parse().map_err(X509SvidError::Id)?;
    if id.path().is_empty() {
        return Err(X509SvidError::NoPath);
    }
    if leaf.is_ca() {
        return Err(X509SvidError::SigningCertificate);
    }
    let usage = leaf.critical_key_usage().ok_or(X509SvidError::KeyUsage)?;
    if usage.key_cert_sign() || usage.crl_sign() {
        return Err(X509SvidError::SigningCertificate);
    }
    if !usage.digital_signature() {
        return Err(X509SvidError::KeyUsage);
    }
    if !leaf.serves_both_sides() {
        return Err(X509SvidError::ExtendedKeyUsage);
    }
    if !leaf.is_named() {
        return Err(X509SvidError::Unnamed);
    }
    Ok(id)
}

/// RFC 5280's path validation, and the rules for signing certificates (section 3.2) on the path found.
fn check_path<C: AsRef<[u8]>>(
    leaf: &[u8],
    intermediates: &[C],
    bundle: &X509Bundle,
    now: UnixTime,
) -> Result<(), X509SvidError> {
    let leaf = CertificateDer::from(leaf);
    let leaf = webpki::EndEntityCert::try_from(&leaf).map_err(X509SvidError::Path)?;
    let intermediates: Vec<_> = intermediates
        .iter()
        .map(|certificate| CertificateDer::from(certificate.as_ref()))
        .collect();
    let anchors = bundle.anchors(now);
    let time = rustls_pki_types::UnixTime::since_unix_epoch(Duration::from_secs(now.as_secs()));
    let usage = webpki::KeyUsage::client_auth();
    let path = leaf
        .verify_for_usage(
            ALGORITHMS,
            &anchors,
            &intermediates,
            time,
            usage,
            None,
            None,
        )
        .map_err(X509SvidError::Path)?;
    for intermediate in path.intermediate_certificates() {
        let view = View::parse(&intermediate.der()).map_err(X509SvidError::Certificate)?;
        let with_path = |uri: &String| {
            uri.parse::<SpiffeId>()
                .is_ok_and(|id| !id.path().is_empty())
        };
        if !view.is_authority() || view.uris().len() > 1 || view.uris().iter().any(with_path) {
            return Err(X509SvidError::Intermediate);
        }
    }
    Ok(())
}

static ALGORITHMS: &[&dyn SignatureVerificationAlgorithm] = &[
    algorithms::ECDSA_P256_SHA256,
    algorithms::ECDSA_P256_SHA384,
    algorithms::ECDSA_P384_SHA256,
    algorithms::ECDSA_P384_SHA384,
    algorithms::ECDSA_P521_SHA512,
    algorithms::ED25519,
    algorithms::RSA_PKCS1_2048_8192_SHA256,
    algorithms::RSA_PKCS1_2048_8192_SHA384,
    algorithms::RSA_PKCS1_2048_8192_SHA512,
    algorithms::RSA_PSS_2048_8192_SHA256_LEGACY_KEY,
    algorithms::RSA_PSS_2048_8192_SHA384_LEGACY_KEY,
    algorithms::RSA_PSS_2048_8192_SHA512_LEGACY_KEY,
];
