//! Validating a JWT-SVID (JWT-SVID sections 2 to 4).

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use jose::strict_json::{self, JsonError};
use jose::{
    Expected, JwkError, VerifyError, VerifyingKey, decode_unverified_header, verify_compact,
};
use serde_json::{Map, Value};

use crate::{Bundle, IdError, SpiffeId, TrustDomain, UnixTime};

/// How far a token's `nbf` and `iat` may lie ahead.
const SKEW_SECONDS: u64 = 30;

/// A validated JWT-SVID: the trust domain's authority vouches for the claims.
#[derive(Debug)]
pub struct JwtSvid {
    id: SpiffeId,
    audience: Vec<String>,
    expires_at: UnixTime,
    claims: Map<String, Value>,
}

/// Why a JWT-SVID is not accepted.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum JwtSvidError {
    /// Fault: whoever made it, or who changed it.
    #[error("the JWT-SVID's form or signature is not accepted")]
    Signature(#[source] VerifyError),
    /// Fault: whoever made it.
    #[error("header `{name}` may not stand in a JWT-SVID")]
    Header {
        /// The header's name, cut to 64 characters.
        name: String,
    },
    /// Fault: whoever made it.
    #[error("the JWT-SVID does not say by which key it is signed")]
    NoKeyId,
    /// Fault: whoever made it.
    #[error("the JWT-SVID's claims are not strict JSON")]
    Json(#[source] JsonError),
    /// Fault: whoever made it.
    #[error("claim `{name}` is missing or malformed")]
    Claim {
        /// The claim's name.
        name: &'static str,
    },
    /// Fault: whoever made it.
    #[error("the JWT-SVID's subject is no SPIFFE id")]
    Subject(#[source] IdError),
    /// Fault: the caller, or none: the trust domain is not known here.
    #[error("there is no bundle for trust domain `{domain}`")]
    UnknownTrustDomain {
        /// The subject's trust domain.
        domain: TrustDomain,
    },
    /// Fault: whoever made it, or the bundle is older than the key.
    #[error("the trust domain has no key `{kid}` for JWT-SVIDs")]
    UnknownKey {
        /// The key's id, cut to 64 characters.
        kid: String,
    },
    /// Fault: whoever made it; the key does not make such signatures.
    #[error("the JWT-SVID's algorithm is not that of its key")]
    Algorithm(#[source] JwkError),
    /// Fault: whoever sent it here; it is for somebody else.
    #[error("the JWT-SVID is not for `{audience}`")]
    Audience {
        /// The audience asked for.
        audience: String,
    },
    /// Fault: whoever sent it; get a new one.
    #[error("the JWT-SVID has expired")]
    Expired,
    /// Fault: whoever sent it, or a clock.
    #[error("the JWT-SVID is not valid yet")]
    NotYetValid,
}

/// Validates a token for this audience against the bundle of its subject's own trust domain.
///
/// # Errors
/// When it is no valid JWT-SVID of one of the bundles, for this audience, at this time.
pub fn validate_jwt_svid(
    token: &str,
    audience: &str,
    bundles: &[&Bundle],
    now: UnixTime,
) -> Result<JwtSvid, JwtSvidError> {
    let key = choose_key(token, bundles)?;
    let verified = verify_compact(token, &key, &Expected::typ_absent_or(&["JWT", "JOSE"]))
        .map_err(JwtSvidError::Signature)?;
    let claims: Map<String, Value> =
        strict_json::from_slice(verified.payload()).map_err(JwtSvidError::Json)?;
    let id = subject(&claims)?;
    let values = audience_values(&claims)?;
    if !values.iter().any(|value| value == audience) {
        return Err(JwtSvidError::Audience {
            audience: audience.to_owned(),
        });
    }
    let expires_at = date(&claims, "exp")?.ok_or(JwtSvidError::Claim { name: "exp" })?;
    if now >= expires_at {
        return Err(JwtSvidError::Expired);
    }
    for name in ["nbf", "iat"] {
        if date(&claims, name)?.is_some_and(|from| from > now.plus_secs(SKEW_SECONDS)) {
            return Err(JwtSvidError::NotYetValid);
        }
    }
    Ok(JwtSvid {
        id,
        audience: values,
        expires_at,
        claims,
    })
}

impl JwtSvid {
    /// Whom the token identifies.
    #[must_use]
    pub const fn id(&self) -> &SpiffeId {
        &self.id
    }

    /// Everybody the token is for.
    #[must_use]
    pub fn audience(&self) -> &[String] {
        &self.audience
    }

    /// The first second at which the token is no longer valid.
    #[must_use]
    pub const fn expires_at(&self) -> UnixTime {
        self.expires_at
    }

    /// All claims.
    #[must_use]
    pub const fn claims(&self) -> &Map<String, Value> {
        &self.claims
    }
}

/// The header and the subject say which key to ask; what they say is believed only after that key agreed.
fn choose_key(token: &str, bundles: &[&Bundle]) -> Result<VerifyingKey, JwtSvidError> {
    let header = decode_unverified_header(token).map_err(JwtSvidError::Signature)?;
    if let Some(name) = header.others().first() {
        return Err(JwtSvidError::Header {
            name: name.chars().take(64).collect(),
        });
    }
    let kid = header.kid().ok_or(JwtSvidError::NoKeyId)?;
    let id = subject(&unverified_claims(token)?)?;
    let bundle = bundles
        .iter()
        .find(|bundle| bundle.trust_domain() == id.trust_domain());
    let unknown = || JwtSvidError::UnknownTrustDomain {
        domain: id.trust_domain().clone(),
    };
    let key = bundle.ok_or_else(unknown)?.jwt_authority(kid);
    let key = key.ok_or_else(|| JwtSvidError::UnknownKey {
        kid: kid.chars().take(64).collect(),
    })?;
    // RSA keys in bundles rarely name their algorithm. Every algorithm known here is asymmetric, so the
    // header can choose only between the RSA schemes.
    VerifyingKey::with_algorithm(key, header.alg()).map_err(JwtSvidError::Algorithm)
}

fn unverified_claims(token: &str) -> Result<Map<String, Value>, JwtSvidError> {
    let malformed = || JwtSvidError::Signature(VerifyError::Malformed { part: "payload" });
    let payload = token.split('.').nth(1).ok_or_else(malformed)?;
    let payload = URL_SAFE_NO_PAD.decode(payload).map_err(|_| malformed())?;
    strict_json::from_slice(&payload).map_err(JwtSvidError::Json)
}

fn subject(claims: &Map<String, Value>) -> Result<SpiffeId, JwtSvidError> {
    let subject = claims
        .get("sub")
        .and_then(Value::as_str)
        .ok_or(JwtSvidError::Claim { name: "sub" })?;
    subject.parse().map_err(JwtSvidError::Subject)
}

/// One text or a list of texts (RFC 7519 section 4.1.3).
fn audience_values(claims: &Map<String, Value>) -> Result<Vec<String>, JwtSvidError> {
    let text = |value: &Value| value.as_str().map(ToOwned::to_owned);
    let values = match claims.get("aud") {
        Some(Value::Array(values)) => values.iter().map(text).collect(),
        Some(value) => text(value).map(|value| vec![value]),
        None => None,
    };
    values
        .filter(|values| !values.is_empty())
        .ok_or(JwtSvidError::Claim { name: "aud" })
}

/// A `NumericDate`; fractions of seconds are cut off, so a token ends early rather than late.
fn date(claims: &Map<String, Value>, name: &'static str) -> Result<Option<UnixTime>, JwtSvidError> {
    let Some(value) = claims.get(name) else {
        return Ok(None);
    };
    let whole = value.as_u64().or_else(|| {
        let seconds = value
            .as_f64()
            .filter(|seconds| (0.0..9e15).contains(seconds));
        seconds.map(|seconds| seconds.trunc() as u64)
    });
    whole
        .map(|seconds| Some(UnixTime::from_secs(seconds)))
        .ok_or(JwtSvidError::Claim { name })
}
