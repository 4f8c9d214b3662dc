//! A lab's node without a TPM: a key file and a one-time token. It proves no boot state, and a server outside a lab
//! refuses it.

use std::{
    fs::{self, File},
    io::{self, Read},
    os::unix::fs::PermissionsExt,
    path::{Path, PathBuf},
};

use agent::ports::{Identification, NodeKeys, NodeKeysError};
use aws_lc_rs::{
    digest::{Digest, SHA256},
    encoding::{AsDer, PublicKeyX509Der},
    signature::{ECDSA_P256_SHA256_ASN1_SIGNING, EcdsaKeyPair, KeyPair},
};
use zeroize::Zeroizing;

use super::checkpoint_file::replace;

/// The key file can't be used.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum TokenKeysError {
    /// Fault: see the source.
    #[error("the node key `{}` can't be read or written", path.display())]
    File {
        /// The key file.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// Fault: whoever set the file's permissions.
    #[error("the node key `{}` can be read by others", .0.display())]
    Exposed(PathBuf),
    /// Fault: whoever wrote the file.
    #[error("the node key `{}` is no P-256 key in PKCS#8", .0.display())]
    Key(PathBuf),
    /// Fault: this machine.
    #[error("no node key could be made")]
    NotMade,
}

/// Node keys of a lab: the key in a file, the token in another one that is read anew at each attestation, so that a new
/// token can be put there.
pub struct FileNodeKeys {
    pair: EcdsaKeyPair,
    spki: Vec<u8>,
    token: PathBuf,
}

impl FileNodeKeys {
    /// The key at `key`, made if there is none, and the token in the file `token`.
    ///
    /// # Errors
    /// [`TokenKeysError`]
    pub fn open(key: &Path, token: impl Into<PathBuf>) -> Result<Self, TokenKeysError> {
        let io_error = |source| TokenKeysError::File {
            path: key.to_owned(),
            source,
        };
        let pair = match read_private(key)? {
            Some(pkcs8) => EcdsaKeyPair::from_pkcs8(&ECDSA_P256_SHA256_ASN1_SIGNING, &pkcs8)
                .map_err(|_| TokenKeysError::Key(key.to_owned()))?,
            None => {
                let pair = EcdsaKeyPair::generate(&ECDSA_P256_SHA256_ASN1_SIGNING)
                    .map_err(|_| TokenKeysError::NotMade)?;
                let pkcs8 = pair.to_pkcs8v1().map_err(|_| TokenKeysError::NotMade)?;
                replace(key, pkcs8.as_ref()).map_err(io_error)?;
                pair
            }
        };
        let spki: PublicKeyX509Der<'_> = pair
            .public_key()
            .as_der()
            .map_err(|_| TokenKeysError::NotMade)?;
        let spki = spki.as_ref().to_vec();
        Ok(Self {
            pair,
            spki,
            token: token.into(),
        })
    }
}

impl NodeKeys for FileNodeKeys {
    fn identify(&self) -> Result<Identification, NodeKeysError> {
        let token = fs::read_to_string(&self.token).map_err(|error| {
            NodeKeysError(format!(
                "the token `{}` can't be read: {error}",
                self.token.display()
            ))
        })?;
        Ok(Identification::Token(token.trim().to_owned()))
    }

    fn node_key_spki(&self) -> Vec<u8> {
        self.spki.clone()
    }

    fn sign_digest(&self, digest: &[u8; 32]) -> Result<Vec<u8>, NodeKeysError> {
        let failed = |_| NodeKeysError("the node key does not sign".into());
        let digest = Digest::import_less_safe(digest, &SHA256).map_err(failed)?;
        self.pair
            .sign_digest(&digest)
            .map(|signature| signature.as_ref().to_vec())
            .map_err(failed)
    }

    fn activate(&self, _: &[u8], _: &[u8]) -> Result<Zeroizing<Vec<u8>>, NodeKeysError> {
        Err(no_tpm())
    }

    fn certify(&self, _: &[u8; 32]) -> Result<(Vec<u8>, Vec<u8>), NodeKeysError> {
        Err(no_tpm())
    }

    fn quote(&self, _: &[u8; 32], _: &[u8]) -> Result<(Vec<u8>, Vec<u8>), NodeKeysError> {
        Err(no_tpm())
    }

    fn event_log(&self) -> Result<Vec<u8>, NodeKeysError> {
        Err(no_tpm())
    }
}

fn read_private(path: &Path) -> Result<Option<Zeroizing<Vec<u8>>>, TokenKeysError> {
    let io_error = |source| TokenKeysError::File {
        path: path.to_owned(),
        source,
    };
    let file = match File::open(path) {
        Ok(file) => file,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
        Err(error) => return Err(io_error(error)),
    };
    if file.metadata().map_err(io_error)?.permissions().mode() & 0o077 != 0 {
        return Err(TokenKeysError::Exposed(path.to_owned()));
    }
    let mut content = Zeroizing::new(Vec::with_capacity(MAX_KEY));
    file.take(MAX_KEY as u64)
        .read_to_end(&mut content)
        .map_err(io_error)?;
    Ok(Some(content))
}

fn no_tpm() -> NodeKeysError {
    NodeKeysError("this node has no TPM; it attests by token".into())
}

const MAX_KEY: usize = 4096;

#[cfg(test)]
mod tests {
    use aws_lc_rs::signature::{ECDSA_P256_SHA256_ASN1, UnparsedPublicKey};

    use super::*;

    #[test]
    fn the_key_survives_a_restart_and_signs_digests() {
        let home = tempfile::tempdir().unwrap();
        let (key, token) = (home.path().join("node.key"), home.path().join("token"));
        let first = FileNodeKeys::open(&key, &token).unwrap();
        let again = FileNodeKeys::open(&key, &token).unwrap();
        assert_eq!(first.node_key_spki(), again.node_key_spki());
        let signature = again
            .sign_digest(estate::Digest::of(b"message").as_bytes())
            .unwrap();
        let public =
            UnparsedPublicKey::new(&ECDSA_P256_SHA256_ASN1, first.pair.public_key().as_ref());
        public.verify(b"message", &signature).unwrap();
    }

    #[test]
    fn a_key_that_others_can_read_is_refused() {
        let home = tempfile::tempdir().unwrap();
        let key = home.path().join("node.key");
        FileNodeKeys::open(&key, home.path().join("token")).unwrap();
        fs::set_permissions(&key, fs::Permissions::from_mode(0o640)).unwrap();
        assert!(matches!(
            FileNodeKeys::open(&key, "token"),
            Err(TokenKeysError::Exposed(_))
        ));
    }

    #[test]
    fn a_new_token_is_seen_without_a_restart() {
        let home = tempfile::tempdir().unwrap();
        let token = home.path().join("token");
        let keys = FileNodeKeys::open(&home.path().join("node.key"), &token).unwrap();
        assert!(keys.identify().is_err());
        fs::write(&token, "abc\n").unwrap();
        assert!(matches!(keys.identify().unwrap(), Identification::Token(token) if token == "abc"));
    }
}
