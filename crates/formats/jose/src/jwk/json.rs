//! The JSON shapes of keys and sets, before anything is checked.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde::de::IgnoredAny;
use serde::{Deserialize, Serialize};

use super::{Curve, Jwk, JwkError, JwkSet, Material};
use crate::base64url;

/// Unknown members are ignored, as RFC 7517 section 4 demands; private ones are not.
#[derive(Default, Serialize, Deserialize)]
#[serde(default)]
pub(crate) struct JwkJson {
    kty: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    crv: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    x: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    y: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    n: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    e: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    kid: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    alg: Option<String>,
    #[serde(rename = "use", skip_serializing_if = "Option::is_none")]
    usage: Option<String>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    x5c: Vec<String>,
    #[serde(skip_serializing)]
    d: Option<IgnoredAny>,
}

impl JwkJson {
    /// Whether the key's owner says that it is for signatures.
    pub(crate) fn is_for_signatures(&self) -> bool {
        self.usage.as_deref() == Some("sig")
    }

    /// The kind of a key that is neither EC nor RSA on curves known here.
    pub(crate) fn unusual_kind(&self) -> Option<&str> {
        match (self.kty.as_str(), self.crv.as_deref()) {
            ("RSA", _) | ("EC", None) => None,
            ("EC", Some(crv)) => Curve::from_name(crv).is_err().then_some(crv),
            ("OKP", Some(crv)) => Some(crv),
            (kty, _) => Some(kty),
        }
    }
}

#[derive(Deserialize)]
pub(super) struct JwkSetJson {
    keys: Vec<JwkJson>,
}

impl TryFrom<JwkJson> for Jwk {
    type Error = JwkError;

    fn try_from(json: JwkJson) -> Result<Self, JwkError> {
        let JwkJson {
            kty,
            crv,
            x,
            y,
            n,
            e,
            kid,
            alg,
            usage,
            x5c,
            d,
        } = json;
        if d.is_some() {
            return Err(JwkError::Private);
        }
        let key = match kty.as_str() {
            "EC" => ec(crv, x, y)?,
            "RSA" => Jwk::from_rsa(&bytes("n", n)?, &bytes("e", e)?)?,
            _ => return Err(JwkError::unknown("kty", &kty)),
        };
        let x5c = x5c
            .iter()
            .map(|certificate| {
                STANDARD
                    .decode(certificate)
                    .map_err(|_| JwkError::Member { member: "x5c" })
            })
            .collect::<Result<_, _>>()?;
        Ok(Self {
            material: key.material,
            kid,
            alg,
            usage,
            x5c,
        })
    }
}

fn ec(crv: Option<String>, x: Option<String>, y: Option<String>) -> Result<Jwk, JwkError> {
    let curve = Curve::from_name(&crv.ok_or(JwkError::Member { member: "crv" })?)?;
    let (x, y) = (bytes("x", x)?, bytes("y", y)?);
    for (member, coordinate) in [("x", &x), ("y", &y)] {
        if coordinate.len() != curve.coordinate_len() {
            return Err(JwkError::Member { member });
        }
    }
    Jwk::from_ec_point(curve, &[&[4], x.as_slice(), y.as_slice()].concat())
}

fn bytes(member: &'static str, text: Option<String>) -> Result<Vec<u8>, JwkError> {
    text.and_then(base64url::decode)
        .ok_or(JwkError::Member { member })
}

impl From<Jwk> for JwkJson {
    fn from(key: Jwk) -> Self {
        let (x, y) = key.coordinates();
        let shared = Self {
            kid: key.kid,
            alg: key.alg,
            usage: key.usage,
            x5c: key
                .x5c
                .iter()
                .map(|certificate| STANDARD.encode(certificate))
                .collect(),
            ..Self::default()
        };
        match key.material {
            Material::Ec { curve, .. } => Self {
                kty: "EC".to_owned(),
                crv: Some(curve.name().to_owned()),
                x: Some(x),
                y: Some(y),
                ..shared
            },
            Material::Rsa { n, e } => Self {
                kty: "RSA".to_owned(),
                n: Some(base64url::encode(n)),
                e: Some(base64url::encode(e)),
                ..shared
            },
        }
    }
}

impl TryFrom<JwkSetJson> for JwkSet {
    type Error = JwkError;

    fn try_from(json: JwkSetJson) -> Result<Self, JwkError> {
        let known = |key: JwkJson| match Jwk::try_from(key) {
            Err(JwkError::Unknown {
                member: "kty" | "crv",
                ..
            }) => None,
            checked => Some(checked),
        };
        json.keys
            .into_iter()
            .filter_map(known)
            .collect::<Result<_, _>>()
            .map(|keys| Self { keys })
    }
}
