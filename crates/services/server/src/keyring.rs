//! The server's keys: made once, wrapped by the KEK, unwrapped into memory at start.

use custody::{Custody, Kek, KekError, KeyDocument, KeyDocumentError, KeyPurpose, KeyUse};
use estate::{Estate, Timestamp};
use hpke_xwing::{PrivateKey, PublicKey, Suite};
use issuer::{Authority, IssueError};
use jose::EcdsaP256Key;
use spiffe_id::TrustDomain;
use x509_cert::{
    Certificate,
    der::{Decode, Encode},
};
use zeroize::Zeroizing;

use crate::ports::{KeyRow, Store, StoreError};

/// Keys that exist once per server.
pub struct Keyring {
    /// Signs SVIDs.
    pub authority: Authority,
    /// Signs key documents; its fingerprint is what clients pin.
    pub root: EcdsaP256Key,
}

/// A key can't be made, stored or unwrapped.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum KeyringError {
    /// Fault: whoever removed it: a key that should exist is never made silently.
    #[error("the server's `{0}` key is missing")]
    Missing(&'static str),
    /// Fault: whoever configured the KEK provider.
    #[error("the server's `{purpose}` key does not unwrap")]
    Kek {
        /// Which key.
        purpose: String,
        /// Why.
        source: KekError,
    },
    /// Fault: the store.
    #[error("the server's `{0}` key is damaged")]
    Damaged(String),
    /// Fault: this machine.
    #[error("a key could not be made")]
    NotMade,
    /// Fault: the store.
    #[error("keys can't be read or written")]
    Store(#[from] StoreError),
    /// Fault: the store.
    #[error("the authority can't be loaded")]
    Authority(#[from] IssueError),
    /// Fault: this machine.
    #[error("a key document can't be signed")]
    Document(#[from] KeyDocumentError),
}

/// Purposes of single keys.
pub const ROOT: &str = "root";
/// Issuing CA.
pub const CA: &str = "ca";
/// JWT-SVID signing key.
pub const JWT: &str = "jwt";
/// Checkpoint signing key: an Ed25519 seed.
pub const LOG: &str = "log";
/// HPKE key of an image set.
pub const IMAGE: &str = "image";
/// HPKE key of a data set.
pub const DATASET: &str = "dataset";

impl Keyring {
    /// Unwraps root, CA and JWT keys.
    ///
    /// # Errors
    /// [`KeyringError`]
    pub async fn load<S: Store>(
        store: &S,
        kek: &Kek,
        trust_domain: &TrustDomain,
    ) -> Result<Self, KeyringError> {
        let (root_row, root) = single(store, kek, ROOT).await?;
        let (ca_row, ca) = single(store, kek, CA).await?;
        let (_, jwt) = single(store, kek, JWT).await?;
        for (row, key) in [(&root_row, &root), (&ca_row, &ca)] {
            check_certificate(row, key)?;
        }
        let authority = Authority::new(
            trust_domain.clone(),
            root_row.public,
            ca_row.public,
            &ca,
            &jwt,
        )?;
        let root =
            EcdsaP256Key::from_pkcs8(&root).map_err(|_| KeyringError::Damaged(ROOT.to_owned()))?;
        Ok(Self { authority, root })
    }
}

/// The public half stands in the store unwrapped: only what belongs to the private half is believed, or whoever edits the
/// database would put an authority of their own in its place.
fn check_certificate(row: &KeyRow, private: &[u8]) -> Result<(), KeyringError> {
    let damaged = || KeyringError::Damaged(row.purpose.clone());
    let certificate = Certificate::from_der(&row.public).map_err(|_| damaged())?;
    let named = certificate
        .tbs_certificate()
        .subject_public_key_info()
        .to_der()
        .map_err(|_| damaged())?;
    let key = EcdsaP256Key::from_pkcs8(private).map_err(|_| damaged())?;
    match key.public_jwk().to_spki_der() {
        Ok(own) if own == named => Ok(()),
        _ => Err(damaged()),
    }
}

/// Unwraps the one key of a purpose.
///
/// # Errors
/// [`KeyringError`]
pub async fn single<S: Store>(
    store: &S,
    kek: &Kek,
    purpose: &'static str,
) -> Result<(KeyRow, Zeroizing<Vec<u8>>), KeyringError> {
    let row = store
        .key(purpose, "")
        .await?
        .ok_or(KeyringError::Missing(purpose))?;
    let key = unwrap(kek, &row)?;
    Ok((row, key))
}

fn unwrap(kek: &Kek, row: &KeyRow) -> Result<Zeroizing<Vec<u8>>, KeyringError> {
    kek.unwrap(&row.purpose, &row.name, &row.wrapped)
        .map_err(|source| KeyringError::Kek {
            purpose: row.purpose.clone(),
            source,
        })
}

/// Wraps a key into a row.
///
/// # Errors
/// [`KeyringError`]
pub fn wrapped(
    kek: &Kek,
    (purpose, name): (&str, &str),
    algorithm: &str,
    public: Vec<u8>,
    private: &[u8],
    created: Timestamp,
) -> Result<KeyRow, KeyringError> {
    let wrapped = kek
        .wrap(purpose, name, private)
        .map_err(|source| KeyringError::Kek {
            purpose: purpose.to_owned(),
            source,
        })?;
    Ok(KeyRow {
        purpose: purpose.to_owned(),
        name: name.to_owned(),
        algorithm: algorithm.to_owned(),
        public,
        wrapped,
        created,
    })
}

/// Makes the keys that image sets and data sets of `estate` still lack, and holds all of them.
///
/// # Errors
/// [`KeyringError`]
pub async fn hold_all<S: Store>(
    store: &S,
    kek: &Kek,
    authority: String,
    estate: &Estate,
    now: Timestamp,
) -> Result<Custody, KeyringError> {
    for set in estate.image_sets() {
        ensure(store, kek, IMAGE, set.name.as_str(), now).await?;
    }
    for dataset in estate.datasets() {
        ensure(store, kek, DATASET, dataset.name.as_str(), now).await?;
    }
    let mut custody = Custody::new(authority);
    for row in store.keys().await? {
        let purpose = match row.purpose.as_str() {
            IMAGE => KeyPurpose::Image,
            DATASET => KeyPurpose::Dataset,
            _ => continue,
        };
        let suite: Suite = row
            .algorithm
            .parse()
            .map_err(|_| KeyringError::Damaged(row.name.clone()))?;
        let key = PrivateKey::from_bytes(suite, &unwrap(kek, &row)?)
            .map_err(|_| KeyringError::Damaged(row.name.clone()))?;
        custody.hold(purpose, row.name, key);
    }
    Ok(custody)
}

async fn ensure<S: Store>(
    store: &S,
    kek: &Kek,
    purpose: &'static str,
    name: &str,
    now: Timestamp,
) -> Result<(), KeyringError> {
    if store.key(purpose, name).await?.is_some() {
        return Ok(());
    }
    let key = PrivateKey::generate(Suite::XWing).map_err(|_| KeyringError::NotMade)?;
    let public = key.public_key().to_bytes().to_vec();
    let row = wrapped(
        kek,
        (purpose, name),
        &Suite::XWing.to_string(),
        public,
        &key.expose_bytes(),
        now,
    )?;
    store
        .put_key(row)
        .await
        .map(drop)
        .map_err(KeyringError::from)
}

/// What the key document of an image set or data set says, unsigned.
///
/// # Errors
/// [`KeyringError`]
pub fn document(
    keyring: &Keyring,
    custody: &Custody,
    row: &KeyRow,
    dataset: &estate::DataSetName,
    now: Timestamp,
) -> Result<(KeyUse, KeyDocument), KeyringError> {
    let damaged = || KeyringError::Damaged(row.name.clone());
    let suite: Suite = row.algorithm.parse().map_err(|_| damaged())?;
    let key = PublicKey::from_bytes(suite, &row.public).map_err(|_| damaged())?;
    let (usage, purpose) = if row.purpose == IMAGE {
        (KeyUse::Image, KeyPurpose::Image)
    } else {
        (KeyUse::Dataset, KeyPurpose::Dataset)
    };
    // The public half stands in the store unwrapped: signed is only what belongs to a private half that is held.
    if !custody.holds(purpose, &row.name, &key) {
        return Err(damaged());
    }
    let authority = format!("spiffe://{}", keyring.authority.trust_domain());
    let nbf = now.as_seconds() - 60;
    let document = KeyDocument::new(
        &authority,
        &row.name,
        dataset,
        &key,
        nbf,
        nbf + DOCUMENT_LIFE_SECONDS,
    );
    Ok((usage, document))
}

const DOCUMENT_LIFE_SECONDS: i64 = 30 * 86_400;
