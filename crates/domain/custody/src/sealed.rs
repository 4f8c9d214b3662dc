//! Sealing in the client's hands: what `secret put` sends, and what a requester opens.

use estate::{DataSetName, Digest, SecretName};
use hpke_xwing::{PrivateKey, PublicKey, Sealed};
use ledger::rows::SecretRow;
use serde::Serialize;
use zeroize::Zeroizing;

use crate::{KeyDocument, KeyDocumentError};

/// Nothing was sealed or opened.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum SealError {
    /// Fault: whoever gave the key document.
    #[error("the data set's key can't be used")]
    Key(#[from] KeyDocumentError),
    /// Fault: the caller.
    #[error("a secret has at most {MAX_SECRET} bytes, this one has {0}")]
    TooLarge(usize),
    /// Fault: this machine.
    #[error("sealing failed")]
    Failed,
    /// Fault: whoever answered: sealed to another key, for another request, or changed on the way.
    #[error("the answer does not open with the key of this request")]
    NotForUs,
}

/// Seals a secret to its data set's key. The plaintext never leaves the caller.
///
/// # Errors
/// See [`SealError`].
pub fn seal_secret(
    document: &KeyDocument,
    name: &SecretName,
    version: u64,
    value: &[u8],
    by: &str,
) -> Result<SecretRow, SealError> {
    if value.len() > MAX_SECRET {
        return Err(SealError::TooLarge(value.len()));
    }
    let key = document.public_key()?;
    let key_id = Digest::from_bytes(key.id());
    let info = secret_info(&document.authority, &document.suite, &document.dataset);
    let aad = secret_aad(name, version, &document.dataset, key_id);
    let Sealed { enc, ct } =
        hpke_xwing::seal(&key, &info, &aad, value).map_err(|_| SealError::Failed)?;
    Ok(SecretRow {
        name: name.clone(),
        version,
        dataset: document.dataset.clone(),
        suite: document.suite.clone(),
        key_id,
        enc,
        ct,
        by: by.to_owned(),
    })
}

/// Opens what was released to the requester's key.
///
/// # Errors
/// [`SealError::NotForUs`]
pub fn open_release(
    key: &PrivateKey,
    info: ReleaseInfo,
    request: &[u8],
    leaf: &[u8],
    enc: &[u8],
    ct: &[u8],
) -> Result<Zeroizing<Vec<u8>>, SealError> {
    let aad = ledger::commit::release_aad(Digest::of(request), leaf);
    hpke_xwing::open(key, enc, info.bytes(), &aad, ct).map_err(|_| SealError::NotForUs)
}

/// `info` of what is released, one per use.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ReleaseInfo {
    /// A secret, to a workload.
    Read,
    /// An image key, to a node's decoder.
    Open,
    /// The connection of a lease, to a workload.
    Lease,
}

impl ReleaseInfo {
    pub(crate) fn bytes(self) -> &'static [u8] {
        match self {
            Self::Read => b"bailiwick/release/v1",
            Self::Open => b"bailiwick/open/v1",
            Self::Lease => b"bailiwick/lease/v1",
        }
    }
}

pub(crate) fn seal_release(
    to: &PublicKey,
    info: ReleaseInfo,
    aad: &[u8],
    value: &[u8],
) -> Result<Sealed, SealError> {
    hpke_xwing::seal(to, info.bytes(), aad, value).map_err(|_| SealError::Failed)
}

pub(crate) fn secret_info(authority: &str, suite: &str, dataset: &DataSetName) -> Vec<u8> {
    format!("bailiwick/secret/v1\0{authority}\0{suite}\0{dataset}").into_bytes()
}

/// AAD of a secret at rest: JCS of name, version, data set and key. A sealed secret under another name does not open.
pub fn secret_aad(
    name: &SecretName,
    version: u64,
    dataset: &DataSetName,
    key_id: Digest,
) -> Vec<u8> {
    #[derive(Serialize)]
    #[serde(rename_all = "camelCase")]
    struct Bound<'a> {
        v: u8,
        name: &'a SecretName,
        version: u64,
        dataset: &'a DataSetName,
        key_id: Digest,
    }
    // Strings and small numbers always have a canonical form; an empty one would open nothing.
    serde_json_canonicalizer::to_vec(&Bound {
        v: 1,
        name,
        version,
        dataset,
        key_id,
    })
    .unwrap_or_default()
}

const MAX_SECRET: usize = 64 * 1024;
