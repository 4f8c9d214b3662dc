//! Key files as people have them: PEM, DER or JSON, encrypted or not. What is not understood is an error, never skipped.
//!
//! | container | public | private |
//! |---|---|---|
//! | PEM, DER | `PUBLIC KEY`, `RSA PUBLIC KEY`, `CERTIFICATE` | `PRIVATE KEY`, `RSA PRIVATE KEY`, `EC PRIVATE KEY` |
//! | encrypted PKCS#8 | | PBES2: PBKDF2 with SHA-1, SHA-256, SHA-384, SHA-512, or scrypt; AES-CBC, 3DES-CBC |
//! | encrypted old PEM | | `DEK-Info`: AES-CBC, 3DES-CBC |
//! | JSON | JWK, JWK set | JWK, JWK set |

use zeroize::Zeroizing;

use self::pbes2::EncryptedKey;
use self::pem_text::Block;
use self::shape::Shape;
use crate::jwe::DecryptionKey;
use crate::jwk::{Jwk, JwkError};
use crate::key::PrivateKeyError;

mod cipher;
mod json;
mod legacy;
mod pbes2;
mod pem_text;
mod shape;

/// Longest key file that is read.
pub const MAX_LEN: usize = 64 * 1024;
/// Longest password that is tried.
pub const MAX_PASSWORD_LEN: usize = 4096;

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
    /// Fault: whoever made the key; no other tool would open what is encrypted to it.
    #[error(
        "key is of the kind `{found}`; images are encrypted to RSA keys and to EC keys on P-256, P-384 and P-521"
    )]
    UnsupportedKey {
        /// The kind, cut to 64 characters.
        found: String,
    },
    /// Fault: whoever made the set; one of its keys is not accepted, and none is left out in silence.
    #[error("key {number} of the set is not accepted")]
    InSet {
        /// Its place, from 1.
        number: usize,
        /// What is wrong with it.
        #[source]
        source: Box<KeyFileError>,
    },
    /// Fault: whoever named the file; the set has no key that is for encryption.
    #[error("set holds no key for encryption")]
    EmptySet,
    /// Fault: the caller; the key is encrypted and no password was given.
    #[error("private key is encrypted and no password was given")]
    Encrypted,
    /// Fault: the caller, most likely; a damaged file looks the same.
    #[error("password is wrong, or the private key is damaged")]
    WrongPassword,
    /// Fault: the caller; the password is longer than [`MAX_PASSWORD_LEN`].
    #[error("password has more than {MAX_PASSWORD_LEN} bytes")]
    LongPassword,
    /// Fault: whoever encrypted the key.
    #[error("private key is encrypted with `{found}`, which is not supported")]
    UnsupportedEncryption {
        /// The scheme, cut to 64 characters.
        found: String,
    },
    /// Fault: whoever encrypted the key; a part is missing or contradicts another.
    #[error("private key's encryption is malformed at {part}")]
    MalformedEncryption {
        /// Which part.
        part: &'static str,
    },
    /// Fault: whoever encrypted the key; a file must not buy minutes of work or gigabytes of memory.
    #[error("private key's encryption demands too many {demand}")]
    ExcessiveWork {
        /// Of what it demands too much.
        demand: &'static str,
    },
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

impl KeyFileError {
    fn wrong_kind(found: &str, wanted: &'static str) -> Self {
        Self::WrongKind {
            found: cut(found),
            wanted,
        }
    }

    fn unsupported_key(found: &str) -> Self {
        Self::UnsupportedKey { found: cut(found) }
    }

    fn unsupported_encryption(found: &str) -> Self {
        Self::UnsupportedEncryption { found: cut(found) }
    }
}

/// Reads the one public key of a file: PEM, DER or JWK, also a certificate's.
pub fn parse_public(file: &[u8]) -> Result<Jwk, KeyFileError> {
    only(parse_public_keys(file)?)
}

/// Reads the public keys of a file: one, or those of a JWK set, whose keys for signatures (`use`) are left out.
pub fn parse_public_keys(file: &[u8]) -> Result<Vec<Jwk>, KeyFileError> {
    match Container::of(file, PUBLIC)? {
        Container::Json(text) => json::public_keys(text),
        Container::Der(der) => one(public_der(Shape::of(der), der)),
        Container::Pem(block) => one(public_der(public_label(&block)?, &block.contents)),
    }
}

/// Reads the one private key of a file that is not encrypted.
pub fn parse_private(file: &[u8]) -> Result<DecryptionKey, KeyFileError> {
    only(parse_private_keys(file, None)?)
}

/// Reads the private keys of a file: one, or those of a JWK set, whose keys for signatures (`use`) are left out.
/// The password is not looked at when the file is not encrypted.
pub fn parse_private_keys(
    file: &[u8],
    password: Option<&[u8]>,
) -> Result<Vec<DecryptionKey>, KeyFileError> {
    match Container::of(file, PRIVATE)? {
        Container::Json(text) => json::private_keys(text),
        container => one(private_key(&container.private_der(password)?)),
    }
}

/// The DER of the private key in a PEM or DER file, decrypted and otherwise unchecked: PKCS#8, PKCS#1 or SEC 1.
/// For schemes that use keys in other ways than JWE.
pub fn private_der(
    file: &[u8],
    password: Option<&[u8]>,
) -> Result<Zeroizing<Vec<u8>>, KeyFileError> {
    match Container::of(file, PRIVATE)? {
        Container::Json(_) => Err(KeyFileError::wrong_kind("JWK", "PEM or DER")),
        container => container.private_der(password),
    }
}

/// Whether a file's private key needs a password. Files that are not understood need none: reading them says why.
pub fn is_encrypted(file: &[u8]) -> bool {
    match Container::of(file, PRIVATE) {
        Ok(Container::Der(der)) => Shape::of(der) == Shape::EncryptedPrivateKey,
        Ok(Container::Pem(block)) => block.label == ENCRYPTED || block.is_encrypted(),
        Ok(Container::Json(_)) | Err(_) => false,
    }
}

enum Container<'a> {
    Json(&'a [u8]),
    Der(&'a [u8]),
    Pem(Block),
}

impl<'a> Container<'a> {
    fn of(file: &'a [u8], wanted: &'static str) -> Result<Self, KeyFileError> {
        if file.len() > MAX_LEN {
            return Err(KeyFileError::TooLong);
        }
        match file.trim_ascii().first() {
            Some(b'{') => Ok(Self::Json(file.trim_ascii())),
            // DER of every key begins with a SEQUENCE; PEM may have text before it, which never begins so.
            Some(0x30) if !pem_text::is_pem(file) => Ok(Self::Der(file)),
            _ if pem_text::is_pem(file) => Self::of_pem(file, wanted),
            _ => Err(KeyFileError::NotUnderstood { wanted }),
        }
    }

    fn of_pem(file: &[u8], wanted: &'static str) -> Result<Self, KeyFileError> {
        let mut blocks = pem_text::blocks(file).ok_or(KeyFileError::NotUnderstood { wanted })?;
        // OpenSSL puts the curve's name in a block of its own before the key, which names it too.
        blocks.retain(|block| block.label != "EC PARAMETERS");
        let count = blocks.len();
        match (blocks.pop(), count) {
            (Some(block), 1) => Ok(Self::Pem(block)),
            (None, _) => Err(KeyFileError::NotUnderstood { wanted }),
            (Some(_), count) => Err(KeyFileError::Several { count }),
        }
    }

    fn private_der(self, password: Option<&[u8]>) -> Result<Zeroizing<Vec<u8>>, KeyFileError> {
        if password.is_some_and(|password| password.len() > MAX_PASSWORD_LEN) {
            return Err(KeyFileError::LongPassword);
        }
        let password = password.ok_or(KeyFileError::Encrypted);
        match self {
            Self::Json(_) => Err(KeyFileError::NotUnderstood { wanted: PRIVATE }),
            Self::Der(der) => match Shape::of(der) {
                Shape::EncryptedPrivateKey => decrypt(der, password?),
                Shape::PrivateKey => Ok(Zeroizing::new(der.to_vec())),
                Shape::Unknown => Err(KeyFileError::NotUnderstood { wanted: PRIVATE }),
                other => Err(KeyFileError::wrong_kind(other.label(), PRIVATE)),
            },
            Self::Pem(block) => match block.label.as_str() {
                ENCRYPTED => decrypt(&block.contents, password?),
                "PRIVATE KEY" | "RSA PRIVATE KEY" | "EC PRIVATE KEY" if block.is_encrypted() => {
                    checked(legacy::decrypt(&block, password?)?)
                }
                "PRIVATE KEY" | "RSA PRIVATE KEY" | "EC PRIVATE KEY" => Ok(block.contents),
                other => Err(KeyFileError::wrong_kind(other, PRIVATE)),
            },
        }
    }
}

fn decrypt(der: &[u8], password: &[u8]) -> Result<Zeroizing<Vec<u8>>, KeyFileError> {
    let part = "EncryptedPrivateKeyInfo";
    let malformed = KeyFileError::MalformedEncryption { part };
    checked(
        EncryptedKey::parse(der)
            .ok_or(malformed)?
            .decrypt(password)?,
    )
}

/// One wrong password in 256 leaves a padding that looks right, and garbage before it.
fn checked(opened: Zeroizing<Vec<u8>>) -> Result<Zeroizing<Vec<u8>>, KeyFileError> {
    match Shape::of(&opened) {
        Shape::PrivateKey => Ok(opened),
        _ => Err(KeyFileError::WrongPassword),
    }
}

fn private_key(der: &[u8]) -> Result<DecryptionKey, KeyFileError> {
    match shape::unusual_kind_of_pkcs8(der) {
        Some(kind) => Err(KeyFileError::unsupported_key(&kind)),
        None => DecryptionKey::from_der(der).map_err(|source| KeyFileError::Private { source }),
    }
}

fn public_label(block: &Block) -> Result<Shape, KeyFileError> {
    match block.label.as_str() {
        "PUBLIC KEY" => Ok(Shape::PublicKey),
        "RSA PUBLIC KEY" => Ok(Shape::RsaPublicKey),
        "CERTIFICATE" | "X509 CERTIFICATE" => Ok(Shape::Certificate),
        other => Err(KeyFileError::wrong_kind(other, PUBLIC)),
    }
}

fn public_der(shape: Shape, der: &[u8]) -> Result<Jwk, KeyFileError> {
    let read = match shape {
        Shape::PublicKey => Jwk::from_spki_der(der),
        Shape::RsaPublicKey => Jwk::from_pkcs1_der(der),
        Shape::Certificate => shape::key_of_certificate(der),
        Shape::Unknown => return Err(KeyFileError::NotUnderstood { wanted: PUBLIC }),
        other => return Err(KeyFileError::wrong_kind(other.label(), PUBLIC)),
    };
    read.map_err(|source| match source {
        JwkError::Unknown { value, .. } => KeyFileError::UnsupportedKey { found: value },
        source => KeyFileError::Public { source },
    })
}

fn one<K>(key: Result<K, KeyFileError>) -> Result<Vec<K>, KeyFileError> {
    key.map(|key| vec![key])
}

fn only<K>(mut keys: Vec<K>) -> Result<K, KeyFileError> {
    let count = keys.len();
    match (keys.pop(), count) {
        (Some(key), 1) => Ok(key),
        _ => Err(KeyFileError::Several { count }),
    }
}

fn cut(text: &str) -> String {
    text.chars().take(64).collect()
}

const PUBLIC: &str = "a public key";
const PRIVATE: &str = "a private key";
const ENCRYPTED: &str = "ENCRYPTED PRIVATE KEY";

#[cfg(test)]
mod tests;
