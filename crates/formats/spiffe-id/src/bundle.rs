//! SPIFFE bundles as JSON (SPIFFE Trust Domain and Bundle section 4).

use std::time::Duration;

use jose::strict_json::{self, JsonError};
use jose::{Jwk, JwkError, JwkSet};
use serde::{Deserialize, Serialize};

use crate::certificate::View;
use crate::{CertificateError, TrustDomain, X509Bundle};

/// The longest bundle that is read.
pub const MAX_BUNDLE_BYTES: usize = 4 * 1024 * 1024;
const X509_SVID: &str = "x509-svid";
const JWT_SVID: &str = "jwt-svid";

/// The authorities of one trust domain: certificates for X.509-SVIDs, keys for JWT-SVIDs.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Bundle {
    x509: X509Bundle,
    // INVARIANT: each has a `kid`, no two the same.
    jwt: Vec<Jwk>,
    sequence: Option<u64>,
    refresh_hint: Option<Duration>,
}

/// Why a bundle cannot be made or read.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum BundleError {
    /// Fault: whoever sent it.
    #[error("the bundle is longer than {MAX_BUNDLE_BYTES} bytes")]
    TooLong,
    /// Fault: whoever wrote it.
    #[error("the bundle is not a JWK set in strict JSON")]
    Json(#[source] JsonError),
    /// Fault: whoever made the key.
    #[error("a certificate of the bundle is not accepted")]
    Certificate(#[source] CertificateError),
    /// Fault: whoever made the key.
    #[error("a key of the bundle is not accepted")]
    Key(#[source] JwkError),
    /// Fault: whoever wrote it.
    #[error("a key of the bundle is not that of its certificate")]
    OtherKey,
    /// Fault: whoever wrote it.
    #[error("a key for JWT-SVIDs has no `kid`")]
    NoKeyId,
    /// Fault: whoever wrote it.
    #[error("two keys of the bundle share the `kid` `{kid}`")]
    RepeatedKeyId {
        /// The id of both.
        kid: String,
    },
}

/// The members beside `keys`. Others may be there and mean nothing.
#[derive(Serialize, Deserialize)]
struct BundleJson {
    keys: Vec<Jwk>,
    #[serde(skip_serializing_if = "Option::is_none")]
    spiffe_sequence: Option<u64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    spiffe_refresh_hint: Option<u64>,
}

#[derive(Deserialize)]
struct HeadJson {
    spiffe_sequence: Option<u64>,
    spiffe_refresh_hint: Option<u64>,
}

impl Bundle {
    /// A bundle that trusts nobody yet.
    #[must_use]
    pub fn new(trust_domain: &TrustDomain) -> Self {
        Self {
            x509: X509Bundle::new(trust_domain),
            jwt: Vec::new(),
            sequence: None,
            refresh_hint: None,
        }
    }

    /// Adds a certificate (DER) for X.509-SVIDs; one that is there already changes nothing.
    ///
    /// # Errors
    /// When it is no certificate that signs others.
    pub fn with_x509_authority(self, der: &[u8]) -> Result<Self, BundleError> {
        let x509 = self
            .x509
            .with_authority(der)
            .map_err(BundleError::Certificate)?;
        Ok(Self { x509, ..self })
    }

    /// Adds a key for JWT-SVIDs, which has a `kid`.
    ///
    /// # Errors
    /// When the key has no `kid` or that of another.
    pub fn with_jwt_authority(mut self, key: Jwk) -> Result<Self, BundleError> {
        let kid = key
            .kid()
            .filter(|kid| !kid.is_empty())
            .ok_or(BundleError::NoKeyId)?;
        if self.jwt_authority(kid).is_some() {
            return Err(BundleError::RepeatedKeyId {
                kid: kid.chars().take(64).collect(),
            });
        }
        self.jwt.push(key.with_use(JWT_SVID));
        Ok(self)
    }

    /// The same bundle under a sequence number, which grows with every change.
    #[must_use]
    pub fn with_sequence(self, sequence: u64) -> Self {
        Self {
            sequence: Some(sequence),
            ..self
        }
    }

    /// The same bundle with advice on how often to look for a newer one; whole seconds count.
    #[must_use]
    pub fn with_refresh_hint(self, hint: Duration) -> Self {
        Self {
            refresh_hint: Some(Duration::from_secs(hint.as_secs())),
            ..self
        }
    }

    /// Reads the bundle of this trust domain, whose name the bundle itself does not hold. Keys of unknown
    /// kind or use are left out, as the document demands.
    ///
    /// # Errors
    /// When the bundle is malformed, or a key that is left in.
    pub fn parse(trust_domain: &TrustDomain, json: &str) -> Result<Self, BundleError> {
        if json.len() > MAX_BUNDLE_BYTES {
            return Err(BundleError::TooLong);
        }
        let head: HeadJson = strict_json::from_str(json).map_err(BundleError::Json)?;
        let set: JwkSet = strict_json::from_str(json).map_err(BundleError::Json)?;
        let bundle = Self {
            sequence: head.spiffe_sequence,
            refresh_hint: head.spiffe_refresh_hint.map(Duration::from_secs),
            ..Self::new(trust_domain)
        };
        set.keys
            .into_iter()
            .try_fold(bundle, |bundle, key| match key.usage() {
                Some(X509_SVID) => bundle.with_x509_jwk(&key),
                Some(JWT_SVID) => bundle.with_jwt_authority(key),
                _ => Ok(bundle),
            })
    }

    /// The bundle as a bundle endpoint serves it.
    ///
    /// # Errors
    /// When a certificate's key is of a kind that no JWK describes.
    pub fn to_json(&self) -> Result<String, BundleError> {
        let mut keys = self
            .x509
            .authorities()
            .map(x509_jwk)
            .collect::<Result<Vec<_>, _>>()?;
        keys.extend(self.jwt.iter().cloned());
        self.render(keys)
    }

    /// The keys for JWT-SVIDs alone, as the Workload API sends them.
    ///
    /// # Errors
    /// When a key cannot be written.
    pub fn jwt_json(&self) -> Result<String, BundleError> {
        self.render(self.jwt.clone())
    }

    /// Whose authorities these are.
    #[must_use]
    pub const fn trust_domain(&self) -> &TrustDomain {
        self.x509.trust_domain()
    }

    /// The authorities for X.509-SVIDs.
    #[must_use]
    pub const fn x509(&self) -> &X509Bundle {
        &self.x509
    }

    /// The keys for JWT-SVIDs.
    #[must_use]
    pub fn jwt_authorities(&self) -> &[Jwk] {
        &self.jwt
    }

    /// The key for JWT-SVIDs with this id.
    #[must_use]
    pub fn jwt_authority(&self, kid: &str) -> Option<&Jwk> {
        self.jwt.iter().find(|key| key.kid() == Some(kid))
    }

    /// The sequence number, if there is one.
    #[must_use]
    pub const fn sequence(&self) -> Option<u64> {
        self.sequence
    }

    /// How often to look for a newer bundle, if the bundle says so.
    #[must_use]
    pub const fn refresh_hint(&self) -> Option<Duration> {
        self.refresh_hint
    }

    /// Without `x5c` the key is left out; of several certificates the first counts (X509-SVID section 6.2).
    fn with_x509_jwk(self, key: &Jwk) -> Result<Self, BundleError> {
        let Some(der) = key.x5c().first() else {
            return Ok(self);
        };
        if x509_jwk(der)?.thumbprint() != key.thumbprint() {
            return Err(BundleError::OtherKey);
        }
        self.with_x509_authority(der)
    }

    fn render(&self, keys: Vec<Jwk>) -> Result<String, BundleError> {
        let json = BundleJson {
            keys,
            spiffe_sequence: self.sequence,
            spiffe_refresh_hint: self.refresh_hint.map(|hint| hint.as_secs()),
        };
        serde_json::to_string(&json)
            .map_err(|source| BundleError::Json(JsonError::Malformed { source }))
    }
}

fn x509_jwk(der: &[u8]) -> Result<Jwk, BundleError> {
    let spki = View::parse(der)
        .and_then(|view| view.spki())
        .map_err(BundleError::Certificate)?;
    let key = Jwk::from_spki_der(&spki).map_err(BundleError::Key)?;
    Ok(key.with_use(X509_SVID).with_x5c(vec![der.to_vec()]))
}
