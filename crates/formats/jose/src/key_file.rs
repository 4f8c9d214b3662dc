//! Key files as people have them: PEM, DER or JSON. What is not understood is an error, never skipped.

use aws_lc_rs::agreement;
use aws_lc_rs::rsa::{KeyPair, KeyPairComponents, PublicKeyComponents};
use serde::Deserialize;
use zeroize::{Zeroize, Zeroizing};

use crate::base64url;
use crate::jwe::DecryptionKey;
use crate::jwk::{Curve, Jwk, JwkError};
use crate::key::PrivateKeyError;
use crate::strict_json;

/// Longest key file that is read.
pub const MAX_LEN: usize = 64 * 1024;

/// Why a key file was not accepted. It never quotes the file.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum KeyFileError {
    /// Fault: whoever named the file; it is longer than [`MAX_LEN`].
    #[error("key file has more than {MAX_LEN} bytes")]
    TooLong,
    /// Fault: whoever named the file; it is neither PEM nor DER nor JSON of a key.
    #[error("key file is neither PEM nor DER nor JWK of {wanted}")]
    NotUnderstood {
        /// What was wanted: a public or a private key.
        wanted: &'static str,
    },
    /// Fault: whoever named the file; it holds something else.
    #[error("key file holds `{found}`, not {wanted}")]
    WrongKind {
        /// The PEM label, cut to 64 characters.
        found: String,
        /// What was wanted: a public or a private key.
        wanted: &'static str,
    },
    /// Fault: whoever named the file; which of its keys is meant cannot be known.
    #[error("key file holds {count} keys")]
    Several {
        /// How many.
        count: usize,
    },
    /// Fault: none; encrypted private keys are not read yet.
    #[error("private key is encrypted, which is not supported")]
    Encrypted,
    /// Fault: whoever made the key.
    #[error("public key is not accepted")]
    Public {
        /// What is wrong with it.
        #[source]
        source: JwkError,
    },
    /// Fault: whoever made the key.
    #[error("private key is not accepted")]
    Private {
        /// What is wrong with it.
        #[source]
        source: PrivateKeyError,
    },
}

/// Reads a public key: PEM (`PUBLIC KEY`, `RSA PUBLIC KEY`), DER of a `SubjectPublicKeyInfo`, or a JWK.
pub fn parse_public(file: &[u8]) -> Result<Jwk, KeyFileError> {
    let wanted = "a public key";
    let accepted = |source| KeyFileError::Public { source };
    match Container::of(file, wanted)? {
        Container::Json(text) => {
            strict_json::from_slice(text).map_err(|_| KeyFileError::NotUnderstood { wanted })
        }
        Container::Der(der) => {
            Jwk::from_spki_der(der).map_err(|_| KeyFileError::NotUnderstood { wanted })
        }
        Container::Pem { label, der } => match label.as_str() {
            "PUBLIC KEY" => Jwk::from_spki_der(&der).map_err(accepted),
            "RSA PUBLIC KEY" => Jwk::from_pkcs1_der(&der).map_err(accepted),
            _ => Err(wrong_kind(&label, wanted)),
        },
    }
}

/// Reads a private key: PEM (`PRIVATE KEY`, `RSA PRIVATE KEY`, `EC PRIVATE KEY`), DER of the same, or a JWK.
pub fn parse_private(file: &[u8]) -> Result<DecryptionKey, KeyFileError> {
    let wanted = "a private key";
    match Container::of(file, wanted)? {
        Container::Json(text) => private_jwk(text).ok_or(KeyFileError::NotUnderstood { wanted }),
        Container::Der(der) => {
            DecryptionKey::from_der(der).map_err(|_| KeyFileError::NotUnderstood { wanted })
        }
        Container::Pem { label, der } => match label.as_str() {
            "PRIVATE KEY" | "RSA PRIVATE KEY" | "EC PRIVATE KEY" => {
                DecryptionKey::from_der(&der).map_err(|source| KeyFileError::Private { source })
            }
            "ENCRYPTED PRIVATE KEY" => Err(KeyFileError::Encrypted),
            _ => Err(wrong_kind(&label, wanted)),
        },
    }
}

enum Container<'a> {
    Json(&'a [u8]),
    Der(&'a [u8]),
    Pem {
        label: String,
        der: Zeroizing<Vec<u8>>,
    },
}

impl<'a> Container<'a> {
    fn of(file: &'a [u8], wanted: &'static str) -> Result<Self, KeyFileError> {
        if file.len() > MAX_LEN {
            return Err(KeyFileError::TooLong);
        }
        match file.trim_ascii().first() {
            Some(b'{') => Ok(Self::Json(file.trim_ascii())),
            // DER of every key begins with a SEQUENCE; PEM may have text before it, which never begins so.
            Some(0x30) if !is_pem(file) => Ok(Self::Der(file)),
            _ if is_pem(file) => Self::of_pem(file, wanted),
            _ => Err(KeyFileError::NotUnderstood { wanted }),
        }
    }

    fn of_pem(file: &[u8], wanted: &'static str) -> Result<Self, KeyFileError> {
        let mut blocks =
            pem::parse_many(file).map_err(|_| KeyFileError::NotUnderstood { wanted })?;
        // OpenSSL puts the curve's name in a block of its own before the key, which names it too.
        blocks.retain(|block| block.tag() != "EC PARAMETERS");
        let count = blocks.len();
        match (blocks.pop(), count) {
            (Some(block), 1) if block.headers().get("Proc-Type").is_some() => {
                Err(KeyFileError::Encrypted)
            }
            (Some(block), 1) => {
                let label = block.tag().to_owned();
                Ok(Self::Pem {
                    label,
                    der: Zeroizing::new(block.into_contents()),
                })
            }
            (None, _) => Err(KeyFileError::NotUnderstood { wanted }),
            (Some(_), count) => Err(KeyFileError::Several { count }),
        }
    }
}

fn is_pem(file: &[u8]) -> bool {
    file.windows(11).any(|window| window == b"-----BEGIN ")
}

fn wrong_kind(label: &str, wanted: &'static str) -> KeyFileError {
    KeyFileError::WrongKind {
        found: label.chars().take(64).collect(),
        wanted,
    }
}

/// A private JWK (RFC 7518 sections 6.2.2 and 6.3.2). RSA keys must bring their primes, as all tools write them.
#[derive(Default, Deserialize, Zeroize)]
#[serde(default)]
struct PrivateJwk {
    kty: String,
    crv: String,
    x: String,
    y: String,
    n: String,
    e: String,
    d: String,
    p: String,
    q: String,
    dp: String,
    dq: String,
    qi: String,
}

fn private_jwk(text: &[u8]) -> Option<DecryptionKey> {
    let json: Zeroizing<PrivateJwk> = Zeroizing::new(strict_json::from_slice(text).ok()?);
    let secret = |text: &str| base64url::decode(text).map(Zeroizing::new);
    match json.kty.as_str() {
        "EC" => {
            let curve = Curve::from_name(&json.crv).ok()?;
            let key = agreement::PrivateKey::from_private_key(curve.agreement(), &secret(&json.d)?)
                .ok()?;
            let point = [
                vec![4],
                base64url::decode(&json.x)?,
                base64url::decode(&json.y)?,
            ]
            .concat();
            let key = DecryptionKey::from_ec(curve, key).ok()?;
            key.is_for(&Jwk::from_ec_point(curve, &point).ok()?)
                .then_some(key)
        }
        "RSA" => {
            let components = KeyPairComponents {
                public_key: PublicKeyComponents {
                    n: base64url::decode(&json.n)?,
                    e: base64url::decode(&json.e)?,
                },
                d: secret(&json.d)?,
                p: secret(&json.p)?,
                q: secret(&json.q)?,
                dP: secret(&json.dp)?,
                dQ: secret(&json.dq)?,
                qInv: secret(&json.qi)?,
            };
            DecryptionKey::from_rsa(&KeyPair::from_components(&components).ok()?).ok()
        }
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::key::EcdsaP256Key;

    fn pkcs8_pem() -> String {
        let der = EcdsaP256Key::generate().unwrap().to_pkcs8().unwrap();
        pem::encode(&pem::Pem::new("PRIVATE KEY", der.to_vec()))
    }

    #[test]
    fn a_curve_named_before_the_key_is_passed_over() {
        let parameters = pem::encode(&pem::Pem::new("EC PARAMETERS", [6, 0]));
        assert!(parse_private(format!("a remark\n{parameters}{}", pkcs8_pem()).as_bytes()).is_ok());
        assert!(matches!(
            parse_private(parameters.as_bytes()),
            Err(KeyFileError::NotUnderstood { .. })
        ));
    }

    #[test]
    fn several_keys_in_a_file_are_refused() {
        let several = format!("{}{}", pkcs8_pem(), pkcs8_pem());
        assert!(matches!(
            parse_private(several.as_bytes()),
            Err(KeyFileError::Several { count: 2 })
        ));
    }

    #[test]
    fn encrypted_keys_are_named_as_such() {
        let new = pem::encode(&pem::Pem::new("ENCRYPTED PRIVATE KEY", [1, 2]));
        let old = "-----BEGIN EC PRIVATE KEY-----\nProc-Type: 4,ENCRYPTED\nDEK-Info: AES-128-CBC,00\n\nAAAA\n-----END EC PRIVATE KEY-----\n";
        for file in [new.as_str(), old] {
            assert!(matches!(
                parse_private(file.as_bytes()),
                Err(KeyFileError::Encrypted)
            ));
        }
    }

    #[test]
    fn other_labels_are_named_in_the_refusal() {
        let certificate = pem::encode(&pem::Pem::new("CERTIFICATE", [1, 2]));
        let refused = parse_public(certificate.as_bytes()).unwrap_err();
        assert_eq!(
            refused.to_string(),
            "key file holds `CERTIFICATE`, not a public key"
        );
        assert!(matches!(
            parse_public(pkcs8_pem().as_bytes()),
            Err(KeyFileError::WrongKind { .. })
        ));
    }

    #[test]
    fn long_files_are_refused_unread() {
        assert!(matches!(
            parse_private(&[b'-'; MAX_LEN + 1]),
            Err(KeyFileError::TooLong)
        ));
    }

    #[test]
    fn a_private_jwk_whose_halves_do_not_match_is_refused() {
        let jwk = |name: &str| {
            let vectors: serde_json::Value =
                serde_json::from_str(include_str!("../tests/vectors/go-jose.json")).unwrap();
            vectors["keys"][name]["jwk"].clone()
        };
        let mut mixed = jwk("p256");
        mixed["d"] = serde_json::to_value("AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAE").unwrap();
        assert!(parse_private(mixed.to_string().as_bytes()).is_err());
        let mut mixed = jwk("rsa");
        mixed["d"] = mixed["p"].clone();
        assert!(parse_private(mixed.to_string().as_bytes()).is_err());
    }
}
