//! The claims of a JWT-SVID that is to be signed (JWT-SVID section 3).

use jose::{Header, SignError, Signer, sign_compact};
use serde_json::{Map, Value};

use crate::{SpiffeId, UnixTime};

/// The claims that [`JwtClaims::new`] sets and nobody else.
const OWN: [&str; 5] = ["sub", "aud", "exp", "iat", "nbf"];

/// What a JWT-SVID says.
#[derive(Debug, Clone, PartialEq)]
pub struct JwtClaims(Map<String, Value>);

/// Why a JWT-SVID is not made.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ClaimsError {
    /// Fault: the caller.
    #[error("a JWT-SVID has an audience and none of its values is empty")]
    Audience,
    /// Fault: the caller.
    #[error("a JWT-SVID expires after it was issued")]
    Expiry,
    /// Fault: the caller.
    #[error("claim `{name}` is already set")]
    Claim {
        /// The claim's name.
        name: String,
    },
    /// Fault: see the source.
    #[error("the JWT-SVID could not be signed")]
    Sign(#[source] SignError),
}

impl JwtClaims {
    /// Claims for the workload with this id.
    ///
    /// # Errors
    /// When there is no audience, or no time between the two points.
    pub fn new<A: Into<String>>(
        id: SpiffeId,
        audience: impl IntoIterator<Item = A>,
        issued_at: UnixTime,
        expires_at: UnixTime,
    ) -> Result<Self, ClaimsError> {
        let mut audience: Vec<String> = audience.into_iter().map(Into::into).collect();
        if audience.is_empty() || audience.iter().any(String::is_empty) {
            return Err(ClaimsError::Audience);
        }
        if expires_at <= issued_at {
            return Err(ClaimsError::Expiry);
        }
        audience.dedup();
        let claims = [
            ("sub", Value::from(String::from(id))),
            ("aud", Value::from(audience)),
            ("iat", Value::from(issued_at.as_secs())),
            ("exp", Value::from(expires_at.as_secs())),
        ];
        Ok(Self(
            claims
                .map(|(name, value)| (name.to_owned(), value))
                .into_iter()
                .collect(),
        ))
    }

    /// Adds a claim that is no one else's.
    ///
    /// # Errors
    /// When the claim is there already, or is one that SPIFFE has rules for.
    pub fn with_claim(mut self, name: &str, value: Value) -> Result<Self, ClaimsError> {
        if OWN.contains(&name) || self.0.contains_key(name) {
            return Err(ClaimsError::Claim {
                name: name.to_owned(),
            });
        }
        self.0.insert(name.to_owned(), value);
        Ok(self)
    }

    /// Signs the claims with the trust domain's key of this id. The header says `alg`, `kid` and `typ`.
    ///
    /// # Errors
    /// When the signer fails.
    pub fn sign(&self, kid: &str, signer: &dyn Signer) -> Result<String, ClaimsError> {
        let header = Header::new(signer.algorithm())
            .with_kid(kid)
            .with_typ("JWT");
        let claims = Value::Object(self.0.clone()).to_string();
        sign_compact(&header, claims.as_bytes(), signer).map_err(ClaimsError::Sign)
    }
}
