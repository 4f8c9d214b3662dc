//! The X.509 authorities of one trust domain.

use rustls_pki_types::{CertificateDer, TrustAnchor};

use crate::certificate::View;
use crate::{CertificateError, TrustDomain, UnixTime, split_der_chain};

/// A trust domain and the certificates that its X.509-SVIDs lead to.
#[derive(Debug, Clone)]
pub struct X509Bundle {
    trust_domain: TrustDomain,
    authorities: Vec<Authority>,
}

#[derive(Debug, Clone)]
struct Authority {
    der: CertificateDer<'static>,
    view: View,
}

impl X509Bundle {
    /// A bundle that trusts nobody yet.
    #[must_use]
    pub fn new(trust_domain: &TrustDomain) -> Self {
        Self {
            trust_domain: trust_domain.clone(),
            authorities: Vec::new(),
        }
    }

    /// Reads authorities that stand one behind the other, as the Workload API sends them.
    ///
    /// # Errors
    /// When one of them is no certificate that signs others.
    pub fn from_der_chain(
        trust_domain: &TrustDomain,
        bytes: &[u8],
    ) -> Result<Self, CertificateError> {
        split_der_chain(bytes)?
            .into_iter()
            .try_fold(Self::new(trust_domain), Self::with_authority)
    }

    /// Adds a certificate; one that is there already changes nothing.
    ///
    /// # Errors
    /// When it is no certificate that signs others.
    pub fn with_authority(mut self, der: &[u8]) -> Result<Self, CertificateError> {
        let view = View::parse(der)?;
        if !view.is_authority() {
            return Err(CertificateError::NotAuthority);
        }
        let der = CertificateDer::from(der.to_vec());
        webpki::anchor_from_trusted_cert(&der).map_err(|_| CertificateError::Malformed)?;
        if self.authorities.iter().all(|known| known.der != der) {
            self.authorities.push(Authority { der, view });
        }
        Ok(self)
    }

    /// Whose authorities these are.
    #[must_use]
    pub const fn trust_domain(&self) -> &TrustDomain {
        &self.trust_domain
    }

    /// The certificates in DER.
    pub fn authorities(&self) -> impl Iterator<Item = &[u8]> {
        self.authorities
            .iter()
            .map(|authority| authority.der.as_ref())
    }

    /// The certificates one behind the other, as the Workload API sends them.
    #[must_use]
    pub fn to_der_chain(&self) -> Vec<u8> {
        self.authorities().flatten().copied().collect()
    }

    /// What to verify against now. Path validation itself does not ask whether a root is still valid.
    pub(crate) fn anchors(&self, now: UnixTime) -> Vec<TrustAnchor<'_>> {
        let valid = self
            .authorities
            .iter()
            .filter(|authority| authority.view.is_valid_at(now));
        valid
            .filter_map(|authority| webpki::anchor_from_trusted_cert(&authority.der).ok())
            .collect()
    }
}

impl PartialEq for X509Bundle {
    fn eq(&self, other: &Self) -> bool {
        self.trust_domain == other.trust_domain && self.authorities().eq(other.authorities())
    }
}

impl Eq for X509Bundle {}
