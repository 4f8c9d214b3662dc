//! Signature algorithms of RFC 7518 section 3 that are safe with public keys.

use std::fmt;
use std::str::FromStr;

use crate::jwk::{Curve, Jwk, JwkError, Material};

/// A JWS signature algorithm. `none` and the MACs do not exist here, so they cannot be chosen.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[expect(missing_docs, reason = "each name is the specification's own")]
pub enum Algorithm {
    Es256,
    Es384,
    Es512,
    Rs256,
    Rs384,
    Rs512,
    Ps256,
    Ps384,
    Ps512,
}

impl Algorithm {
    /// All of them, in the order of RFC 7518.
    pub const ALL: [Self; 9] = [
        Self::Rs256,
        Self::Rs384,
        Self::Rs512,
        Self::Es256,
        Self::Es384,
        Self::Es512,
        Self::Ps256,
        Self::Ps384,
        Self::Ps512,
    ];

    /// The name in a header's `alg`.
    pub fn name(self) -> &'static str {
        match self {
            Self::Es256 => "ES256",
            Self::Es384 => "ES384",
            Self::Es512 => "ES512",
            Self::Rs256 => "RS256",
            Self::Rs384 => "RS384",
            Self::Rs512 => "RS512",
            Self::Ps256 => "PS256",
            Self::Ps384 => "PS384",
            Self::Ps512 => "PS512",
        }
    }

    /// The one algorithm that a key stands for: by its curve, or by its own `alg` member when it is RSA.
    pub fn of(jwk: &Jwk) -> Result<Self, JwkError> {
        match (jwk.material(), jwk.alg()) {
            (Material::Ec { curve, .. }, None) => Ok(Self::of_curve(*curve)),
            (_, Some(alg)) => {
                let alg = alg.parse()?;
                Self::fits(alg, jwk)
            }
            (Material::Rsa { .. }, None) => Err(JwkError::NoAlgorithm),
        }
    }

    fn of_curve(curve: Curve) -> Self {
        match curve {
            Curve::P256 => Self::Es256,
            Curve::P384 => Self::Es384,
            Curve::P521 => Self::Es512,
        }
    }

    pub(crate) fn fits(self, jwk: &Jwk) -> Result<Self, JwkError> {
        let is_ec = matches!(self, Self::Es256 | Self::Es384 | Self::Es512);
        let fits = match jwk.material() {
            Material::Ec { curve, .. } => Self::of_curve(*curve) == self,
            Material::Rsa { .. } => !is_ec,
        };
        if fits {
            Ok(self)
        } else {
            Err(JwkError::WrongAlgorithm { algorithm: self })
        }
    }
}

impl fmt::Display for Algorithm {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

impl FromStr for Algorithm {
    type Err = JwkError;

    fn from_str(name: &str) -> Result<Self, JwkError> {
        Self::ALL
            .into_iter()
            .find(|algorithm| algorithm.name() == name)
            .ok_or_else(|| JwkError::unknown("alg", name))
    }
}
