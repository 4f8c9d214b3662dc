//! Keys that a text is encrypted to, and keys that open it.

use aws_lc_rs::agreement;
use aws_lc_rs::encoding::{AsDer as _, Pkcs8V1Der};
use aws_lc_rs::rsa::{self, PrivateDecryptingKey};
use aws_lc_rs::signature::KeyPair as _;

use crate::jwk::{Curve, Jwk, JwkError, Material};
use crate::key::PrivateKeyError;

/// How the content key is encrypted to a recipient (RFC 7518 section 4.1). PKCS#1 v1.5, passwords and direct keys do not exist here.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[expect(missing_docs, reason = "each name is the specification's own")]
pub enum KeyManagement {
    RsaOaep,
    RsaOaep256,
    EcdhEsA128Kw,
    EcdhEsA192Kw,
    EcdhEsA256Kw,
}

impl KeyManagement {
    /// All of them.
    pub const ALL: [Self; 5] = [
        Self::RsaOaep,
        Self::RsaOaep256,
        Self::EcdhEsA128Kw,
        Self::EcdhEsA192Kw,
        Self::EcdhEsA256Kw,
    ];

    /// The name in a header's `alg`.
    pub fn name(self) -> &'static str {
        match self {
            Self::RsaOaep => "RSA-OAEP",
            Self::RsaOaep256 => "RSA-OAEP-256",
            Self::EcdhEsA128Kw => "ECDH-ES+A128KW",
            Self::EcdhEsA192Kw => "ECDH-ES+A192KW",
            Self::EcdhEsA256Kw => "ECDH-ES+A256KW",
        }
    }

    pub(super) fn from_name(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|known| known.name() == name)
    }

    /// Length of the key that wraps the content key; none for RSA.
    pub(super) fn wrap_len(self) -> Option<usize> {
        match self {
            Self::RsaOaep | Self::RsaOaep256 => None,
            Self::EcdhEsA128Kw => Some(16),
            Self::EcdhEsA192Kw => Some(24),
            Self::EcdhEsA256Kw => Some(32),
        }
    }
}

/// A public key with the way to use it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct EncryptionKey {
    pub(super) jwk: Jwk,
    pub(super) management: KeyManagement,
}

impl EncryptionKey {
    /// Uses the key as its `alg` says; without one RSA-OAEP or ECDH-ES+A256KW, which every reader knows.
    pub fn from_jwk(jwk: &Jwk) -> Result<Self, JwkError> {
        let is_ec = jwk.ec_point().is_some();
        let management = match jwk.alg() {
            None if is_ec => KeyManagement::EcdhEsA256Kw,
            None => KeyManagement::RsaOaep,
            Some(alg) => {
                KeyManagement::from_name(alg).ok_or_else(|| JwkError::unknown("alg", alg))?
            }
        };
        if management.wrap_len().is_some() != is_ec {
            return Err(JwkError::unknown("alg", management.name()));
        }
        Ok(Self {
            jwk: jwk.clone(),
            management,
        })
    }

    /// How the content key will be encrypted.
    pub fn management(&self) -> KeyManagement {
        self.management
    }

    /// The key.
    pub fn jwk(&self) -> &Jwk {
        &self.jwk
    }
}

/// A private key that opens texts. It cannot be shown, copied or written.
pub struct DecryptionKey {
    pub(super) secret: Secret,
    public: Jwk,
}

/// The private half, inside the library.
pub(super) enum Secret {
    Rsa(PrivateDecryptingKey),
    Ec(Curve, agreement::PrivateKey),
}

impl DecryptionKey {
    /// A new EC key from the system's randomness.
    pub fn generate_ec(curve: Curve) -> Result<Self, PrivateKeyError> {
        let key = agreement::PrivateKey::generate(curve.agreement())
            .map_err(|_| PrivateKeyError::NotMade)?;
        Self::from_ec(curve, key)
    }

    /// A key from DER: PKCS#8 (RSA or EC), PKCS#1 (RSA) or SEC 1 (EC), unencrypted.
    pub fn from_der(der: &[u8]) -> Result<Self, PrivateKeyError> {
        let rsa = rsa::KeyPair::from_pkcs8(der).or_else(|_| rsa::KeyPair::from_der(der));
        if let Ok(pair) = rsa {
            return Self::from_rsa(&pair);
        }
        let ec = |curve: Curve| {
            Some((
                curve,
                agreement::PrivateKey::from_private_key_der(curve.agreement(), der).ok()?,
            ))
        };
        let (curve, key) = Curve::ALL.into_iter().find_map(ec).ok_or(REJECTED)?;
        Self::from_ec(curve, key)
    }

    /// The public half.
    pub fn public_jwk(&self) -> &Jwk {
        &self.public
    }

    /// The RSA key inside, for schemes beside JOSE that use the same key; none of a key of another kind.
    pub fn expose_rsa(&self) -> Option<&PrivateDecryptingKey> {
        match &self.secret {
            Secret::Rsa(key) => Some(key),
            Secret::Ec(..) => None,
        }
    }

    pub(crate) fn from_rsa(pair: &rsa::KeyPair) -> Result<Self, PrivateKeyError> {
        let public = Jwk::from_pkcs1_der(pair.public_key().as_ref()).map_err(|_| REJECTED)?;
        let der: Pkcs8V1Der<'static> = pair.as_der().map_err(|_| REJECTED)?;
        let key = PrivateDecryptingKey::from_pkcs8(der.as_ref()).map_err(|_| REJECTED)?;
        Ok(Self {
            secret: Secret::Rsa(key),
            public,
        })
    }

    pub(crate) fn from_ec(
        curve: Curve,
        key: agreement::PrivateKey,
    ) -> Result<Self, PrivateKeyError> {
        let point = key.compute_public_key().map_err(|_| REJECTED)?;
        let public = Jwk::from_ec_point(curve, point.as_ref()).map_err(|_| REJECTED)?;
        Ok(Self {
            secret: Secret::Ec(curve, key),
            public,
        })
    }

    pub(crate) fn is_for(&self, public: &Jwk) -> bool {
        let material: &Material = self.public.material();
        material == public.material()
    }
}

pub(crate) const REJECTED: PrivateKeyError = PrivateKeyError::Rejected {
    kind: "RSA (2048 to 8192 bits) or EC (P-256, P-384, P-521)",
};
