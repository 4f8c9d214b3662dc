//! `server init`: the keys of a trust domain come into being, once, and those who sign its first version are fixed.

use std::sync::Arc;

use custody::{Kek, RootPin};
use estate::Founders;
use issuer::{AuthorityKeys, Serial};
use jose::EcdsaP256Key;
use ledger::{Act, ActKind, Actor, Entropy, Ledger, NotRecorded};
use spiffe_id::TrustDomain;

use crate::{
    keyring::{self, KeyringError, wrapped},
    logged::VerifiedLeaf,
    ports::{Clock, Store},
    world::WorldError,
};

/// What `init` prints: nothing of it is secret.
#[derive(Debug, Clone)]
pub struct Genesis {
    /// Fingerprint of the root, for clients to pin.
    pub pin: RootPin,
}

/// The trust domain could not begin.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum GenesisError {
    /// Fault: see the source.
    #[error("keys could not be made")]
    Keys(#[from] KeyringError),
    /// Fault: this machine.
    #[error("certificates could not be made")]
    Certificates(#[from] issuer::IssueError),
    /// Fault: the store.
    #[error("the first leaf could not be written")]
    Ledger(#[from] NotRecorded),
    /// Fault: this machine.
    #[error("a key could not be made")]
    Key,
}

/// The checkpoint signing key's seed, made and wrapped before there is a log.
///
/// # Errors
/// [`GenesisError`]
pub fn log_key(
    kek: &Kek,
    entropy: &dyn Entropy,
    clock: &dyn Clock,
) -> Result<(crate::ports::KeyRow, zeroize::Zeroizing<[u8; 32]>), GenesisError> {
    let mut seed = zeroize::Zeroizing::new([0; 32]);
    entropy.fill(seed.as_mut_slice());
    let row = wrapped(
        kek,
        (keyring::LOG, ""),
        "ed25519",
        Vec::new(),
        seed.as_slice(),
        clock.now(),
    )?;
    Ok((row, seed))
}

/// Makes root, CA and JWT keys and writes the first leaf, which names the founders for ever.
///
/// # Errors
/// [`GenesisError`]
pub async fn begin<S: Store>(
    store: Arc<S>,
    kek: &Kek,
    log_key: crate::ports::KeyRow,
    trust_domain: &TrustDomain,
    founders: &Founders,
    entropy: Arc<dyn Entropy>,
    clock: &dyn Clock,
) -> Result<Genesis, GenesisError> {
    let now = clock.now();
    let serial = || {
        let mut bytes = [0; 16];
        entropy.fill(&mut bytes);
        Serial(bytes)
    };
    let keys = AuthorityKeys::create(trust_domain, [serial(), serial()], now)?;
    let jwt = EcdsaP256Key::generate().map_err(|_| GenesisError::Key)?;
    let jwt_pkcs8 = jwt.to_pkcs8().map_err(|_| GenesisError::Key)?;
    let root = EcdsaP256Key::from_pkcs8(&keys.root_pkcs8).map_err(|_| GenesisError::Key)?;
    let pin = RootPin::of(root.public_jwk()).map_err(|_| GenesisError::Key)?;
    let rows = [
        log_key,
        wrapped(
            kek,
            (keyring::ROOT, ""),
            "ES256",
            keys.root_der,
            &keys.root_pkcs8,
            now,
        )?,
        wrapped(
            kek,
            (keyring::CA, ""),
            "ES256",
            keys.ca_der,
            &keys.ca_pkcs8,
            now,
        )?,
        wrapped(
            kek,
            (keyring::JWT, ""),
            "ES256",
            Vec::new(),
            &jwt_pkcs8,
            now,
        )?,
    ];
    for row in rows {
        store.put_key(row).await.map_err(KeyringError::from)?;
    }
    let act = Act::new(ActKind::Genesis, Actor::LocalRoot)
        .field("trustDomain", trust_domain.to_string())
        .field("root", pin.to_string())
        // Texts alone: it can't fail.
        .field(
            "founders",
            serde_json::to_value(founders.listed()).unwrap_or_default(),
        )
        .field("quorum", founders.quorum);
    let _logged = Ledger::new(store, entropy).record(act).await?;
    Ok(Genesis { pin })
}

/// The founders as the first leaf of the signed log names them.
///
/// # Errors
/// [`WorldError::Founders`] when the log's key did not sign that leaf, or it does not name any.
pub async fn founders<S: Store>(store: &S, ledger_key: &str) -> Result<Founders, WorldError> {
    let key = ledger_key.parse().map_err(|_| WorldError::Founders)?;
    let leaf = VerifiedLeaf::read(store, 0, &key).await?;
    let leaf = leaf.filter(|leaf| leaf.says("kind", ActKind::Genesis.as_str()));
    leaf.and_then(|leaf| named(&leaf))
        .ok_or(WorldError::Founders)
}

fn named(leaf: &VerifiedLeaf) -> Option<Founders> {
    let listed = serde_json::from_value(leaf.value("founders")?.clone()).ok()?;
    let quorum = usize::try_from(leaf.value("quorum")?.as_u64()?).ok()?;
    Founders::from_listed(listed, quorum).ok()
}
