//! Key files in PEM: exactly one key each. What is not understood is an error, never skipped.

use pem::{EncodeConfig, LineEnding, Pem};
use zeroize::{Zeroize as _, Zeroizing};

/// Why a key file was not accepted. It never quotes the file.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum KeyFileError {
    /// Fault: whoever named the file.
    #[error("the key file has more than {MAX_LEN} bytes")]
    TooLong,
    /// Fault: whoever named the file; it is no PEM, or holds not exactly one block.
    #[error("the key file is not PEM with exactly one {wanted}")]
    NotPem {
        /// What was wanted: a public or a private key.
        wanted: &'static str,
    },
    /// Fault: whoever named the file.
    #[error("the key file holds `{}`, not a {wanted}", found.escape_debug())]
    WrongKind {
        /// The PEM label, cut to 64 characters.
        found: String,
        /// What was wanted: a public or a private key.
        wanted: &'static str,
    },
    /// Fault: none; nothing here asks for a password.
    #[error("the private key is encrypted")]
    Encrypted,
    /// Fault: none; only cosign decrypts its keys, and it gives none of them out.
    #[error("the private key is encrypted by cosign, which nothing but cosign opens")]
    EncryptedByCosign,
    /// Fault: whoever made the key.
    #[error("the key is not of a kind that counts here: P-256, Ed25519, and for verifying RSA")]
    UnknownKey,
    /// Fault: whoever made the key; its point is not on the curve, or the RSA key is shorter than 2048 bits.
    #[error("the key is no point of its curve, or too short")]
    Rejected,
}

/// The DER in a public key file.
pub(crate) fn public_der(text: &str) -> Result<Vec<u8>, KeyFileError> {
    let wanted = "public key";
    let block = one_block(text, wanted)?;
    match block.tag() {
        "PUBLIC KEY" => Ok(block.into_contents()),
        found => Err(wrong_kind(found, wanted)),
    }
}

/// The DER in a private key file.
pub(crate) fn private_der(text: &str) -> Result<Zeroizing<Vec<u8>>, KeyFileError> {
    let wanted = "private key";
    let block = one_block(text, wanted)?;
    let tag = block.tag().to_owned();
    let headers = block.headers().iter().count();
    let der = Zeroizing::new(block.into_contents());
    match tag.as_str() {
        // The old way to encrypt is told by headers inside the block (RFC 1421).
        "PRIVATE KEY" | "EC PRIVATE KEY" if headers == 0 => Ok(der),
        "PRIVATE KEY" | "EC PRIVATE KEY" | "ENCRYPTED PRIVATE KEY" => Err(KeyFileError::Encrypted),
        "ENCRYPTED SIGSTORE PRIVATE KEY" | "ENCRYPTED COSIGN PRIVATE KEY" => {
            Err(KeyFileError::EncryptedByCosign)
        }
        found => Err(wrong_kind(found, wanted)),
    }
}

/// A private key file.
pub(crate) fn private_pem(der: &[u8]) -> Zeroizing<String> {
    let config = EncodeConfig::new().set_line_ending(LineEnding::LF);
    let mut copy = der.to_vec();
    let text = Zeroizing::new(pem::encode_config(
        &Pem::new("PRIVATE KEY", copy.clone()),
        config,
    ));
    copy.zeroize();
    text
}

fn one_block(text: &str, wanted: &'static str) -> Result<Pem, KeyFileError> {
    if text.len() > MAX_LEN {
        return Err(KeyFileError::TooLong);
    }
    let mut blocks = pem::parse_many(text).map_err(|_| KeyFileError::NotPem { wanted })?;
    // OpenSSL puts the curve's name in a block of its own before the key, which names it too.
    blocks.retain(|block| block.tag() != "EC PARAMETERS");
    match (blocks.pop(), blocks.len()) {
        (Some(block), 0) => Ok(block),
        _ => Err(KeyFileError::NotPem { wanted }),
    }
}

fn wrong_kind(label: &str, wanted: &'static str) -> KeyFileError {
    KeyFileError::WrongKind {
        found: label.chars().take(64).collect(),
        wanted,
    }
}

const MAX_LEN: usize = 64 * 1024;

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{SigningKey, VerifyingKey};

    fn block(label: &str) -> String {
        format!("-----BEGIN {label}-----\nAAAA\n-----END {label}-----\n")
    }

    #[test]
    fn keys_survive_their_files() {
        for key in [
            SigningKey::generate_p256().unwrap(),
            SigningKey::generate_ed25519().unwrap(),
        ] {
            let again = SigningKey::from_pem(&key.to_pem().unwrap()).unwrap();
            let public = VerifyingKey::from_pem(&key.verifying_key().to_pem()).unwrap();
            assert_eq!(again.verifying_key(), public);
            let signature = again.sign(b"message").unwrap();
            assert!(public.verifies(b"message", &signature));
            assert!(!public.verifies(b"massage", &signature));
        }
    }

    #[test]
    fn encrypted_keys_are_named_as_such() {
        let old = "-----BEGIN EC PRIVATE KEY-----\nProc-Type: 4,ENCRYPTED\nDEK-Info: AES-128-CBC,00\n\nAAAA\n-----END EC PRIVATE KEY-----\n";
        let refused = |text: &str| SigningKey::from_pem(text).err().unwrap();
        assert_eq!(refused(old), KeyFileError::Encrypted);
        assert_eq!(
            refused(&block("ENCRYPTED PRIVATE KEY")),
            KeyFileError::Encrypted
        );
        for label in [
            "ENCRYPTED SIGSTORE PRIVATE KEY",
            "ENCRYPTED COSIGN PRIVATE KEY",
        ] {
            assert_eq!(refused(&block(label)), KeyFileError::EncryptedByCosign);
        }
    }

    #[test]
    fn other_files_are_no_keys() {
        let key = SigningKey::generate_p256().unwrap();
        let (public, private) = (key.verifying_key().to_pem(), key.to_pem().unwrap());
        assert!(matches!(
            VerifyingKey::from_pem(&private).unwrap_err(),
            KeyFileError::WrongKind { .. }
        ));
        assert!(matches!(
            SigningKey::from_pem(&public).err().unwrap(),
            KeyFileError::WrongKind { .. }
        ));
        for text in [
            String::new(),
            "hello".to_owned(),
            format!("{public}{public}"),
        ] {
            assert!(
                matches!(
                    VerifyingKey::from_pem(&text).unwrap_err(),
                    KeyFileError::NotPem { .. }
                ),
                "{text}"
            );
        }
        assert_eq!(
            VerifyingKey::from_pem(&block("PUBLIC KEY")).unwrap_err(),
            KeyFileError::UnknownKey
        );
        assert_eq!(
            SigningKey::from_pem(&block("PRIVATE KEY")).err().unwrap(),
            KeyFileError::UnknownKey
        );
        assert_eq!(
            VerifyingKey::from_pem(&" ".repeat(MAX_LEN + 1)).unwrap_err(),
            KeyFileError::TooLong
        );
    }

    #[test]
    fn a_point_beside_the_curve_is_refused() {
        let pem = SigningKey::generate_p256()
            .unwrap()
            .verifying_key()
            .to_pem();
        let mut spki = public_der(&pem).unwrap();
        *spki.last_mut().unwrap() ^= 1;
        assert_eq!(
            VerifyingKey::from_spki(&spki).unwrap_err(),
            KeyFileError::Rejected
        );
    }

    proptest::proptest! {
        #[test]
        fn no_file_panics(text in "(-----(BEGIN|END) (EC |ENCRYPTED )?(PUBLIC|PRIVATE) KEY-----\n?|[A-Za-z0-9+/=\n]{0,40}){0,6}") {
            proptest::prop_assert!(VerifyingKey::from_pem(&text).is_err());
            proptest::prop_assert!(SigningKey::from_pem(&text).is_err());
        }

        #[test]
        fn no_key_info_panics(prefix in proptest::sample::select(vec![&[][..], &super::super::key::P256_PREFIX[..], &super::super::key::EDWARDS_PREFIX[..]]), rest in proptest::collection::vec(proptest::num::u8::ANY, 0..80)) {
            let _ = VerifyingKey::from_spki(&[prefix, &rest].concat());
        }
    }
}
