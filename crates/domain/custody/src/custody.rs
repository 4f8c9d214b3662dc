//! The keys in memory, and the one door to what they open.

use std::collections::BTreeMap;

use estate::{Digest, ImageSetName};
use hpke_xwing::{PrivateKey, PublicKey, Sealed};
use ledger::{Commitment, LoggedAct, LoggedConnection, LoggedPermit, rows::SecretRow};
use oci_crypt::{BailiwickPacket, Bound, KeyId, KeyRecord, Opening, PrivateOptions};
use policy::{Kind, Lease, Open, Read};
use zeroize::Zeroizing;

use crate::sealed::{ReleaseInfo, seal_release, secret_aad, secret_info};

/// What a held key is for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum KeyPurpose {
    /// Opens image keys of one image set.
    Image,
    /// Opens secrets of one data set.
    Dataset,
}

/// Private keys by purpose and key id. Neither shown nor copied.
pub struct Custody {
    authority: String,
    keys: BTreeMap<(KeyPurpose, Digest), Held>,
}

struct Held {
    name: String,
    key: PrivateKey,
}

/// Something can't be opened or sealed.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum CustodyError {
    /// Fault: whoever sealed it, to another authority or a removed key.
    #[error("no key of this authority opens it")]
    NoKey,
    /// Fault: whoever made or changed it.
    #[error("it is malformed, or was changed")]
    Malformed,
    /// Fault: the caller: another secret or packet than the permit names.
    #[error("the permit is for something else")]
    OtherTarget,
    /// Fault: this machine.
    #[error("sealing failed")]
    Failed,
}

/// A logged release that could not be delivered: the caller writes an `undelivered` leaf.
#[derive(Debug)]
pub struct Undelivered<K: Kind> {
    /// The spent permit.
    pub logged: Box<LoggedPermit<K>>,
    /// Why.
    pub error: CustodyError,
}

/// What leaves: sealed to the requester's key, with its receipt.
#[derive(Debug)]
pub struct Released {
    /// HPKE suite.
    pub suite: String,
    /// The sealed bytes.
    pub sealed: Sealed,
    /// Leaf and receipt.
    pub commitment: Commitment,
}

/// An image key packet opened to look at its binding; the key inside leaves only through the door.
pub struct OpenedPacket {
    packet: Digest,
    options: PrivateOptions,
}

impl OpenedPacket {
    /// What the layer's key is bound to.
    pub fn bound(&self) -> &Bound {
        self.options.bound()
    }
}

impl Custody {
    /// An empty custody for `spiffe://TD`.
    pub fn new(authority: String) -> Self {
        Self {
            authority,
            keys: BTreeMap::new(),
        }
    }

    /// Takes a private key of an image set or data set.
    pub fn hold(&mut self, purpose: KeyPurpose, name: String, key: PrivateKey) {
        let id = Digest::from_bytes(key.public_key().id());
        self.keys.insert((purpose, id), Held { name, key });
    }

    /// Whether this is the public half of the key that is held for `name`.
    pub fn holds(&self, purpose: KeyPurpose, name: &str, public: &PublicKey) -> bool {
        let id = Digest::from_bytes(public.id());
        self.keys.get(&(purpose, id)).is_some_and(|held| {
            held.name == name && held.key.public_key().suite() == public.suite()
        })
    }

    /// Whether a sealed secret can be opened: asked before the ledger is, so that nothing fails after the leaf.
    pub fn holds_key_of(&self, secret: &SecretRow) -> bool {
        self.dataset_key(secret).is_ok()
    }

    /// The door for secrets.
    ///
    /// # Errors
    /// [`Undelivered`]
    pub fn release(
        &self,
        logged: LoggedPermit<Read>,
        secret: &SecretRow,
    ) -> Result<Released, Undelivered<Read>> {
        let named = logged.permit().request().secret() == &secret.name;
        let opened = if named {
            self.open_secret(secret)
        } else {
            Err(CustodyError::OtherTarget)
        };
        match opened {
            Ok(value) => deliver(logged, ReleaseInfo::Read, &value),
            Err(error) => Err(Undelivered {
                logged: Box::new(logged),
                error,
            }),
        }
    }

    /// Opens a packet of the set `image` to look at its binding. Nothing of the key can be had from the result.
    ///
    /// # Errors
    /// [`CustodyError`]
    pub fn open_packet(
        &self,
        packet: &[u8],
        image: &ImageSetName,
    ) -> Result<OpenedPacket, CustodyError> {
        let parsed = BailiwickPacket::parse(packet).map_err(|_| CustodyError::Malformed)?;
        let id = Digest::from_bytes(*parsed.key_id().as_bytes());
        let held = self
            .keys
            .get(&(KeyPurpose::Image, id))
            .ok_or(CustodyError::NoKey)?;
        if held.name != image.as_str() || parsed.resource() != image.as_str() {
            return Err(CustodyError::NoKey);
        }
        let record = KeyRecord {
            authority: self.authority.clone(),
            key_id: KeyId::of(held.key.public_key()),
            suite: held.key.public_key().suite(),
            resource: held.name.clone(),
        };
        match parsed.open_with(&record, &held.key) {
            Opening::Opened(options) => Ok(OpenedPacket {
                packet: Digest::of(packet),
                options,
            }),
            Opening::NotOurs => Err(CustodyError::NoKey),
            Opening::Failed(_) => Err(CustodyError::Malformed),
        }
    }

    /// The door for image keys.
    ///
    /// # Errors
    /// [`Undelivered`]
    pub fn open_image_key(
        &self,
        logged: LoggedPermit<Open>,
        opened: &OpenedPacket,
    ) -> Result<Released, Undelivered<Open>> {
        if logged.permit().request().body().packet != opened.packet {
            return Err(Undelivered {
                logged: Box::new(logged),
                error: CustodyError::OtherTarget,
            });
        }
        deliver(logged, ReleaseInfo::Open, &opened.options.to_bytes())
    }

    /// The door for leases: only once the role's grant is on record, too.
    ///
    /// # Errors
    /// [`Undelivered`]
    pub fn deliver_lease(
        &self,
        logged: LoggedPermit<Lease>,
        _granted: &LoggedAct,
        connection: &[u8],
    ) -> Result<Released, Undelivered<Lease>> {
        deliver(logged, ReleaseInfo::Lease, connection)
    }

    /// The door for the server's own use of a connection secret, with principal `Authority`.
    ///
    /// # Errors
    /// [`CustodyError`]
    pub fn open_connection(
        &self,
        logged: LoggedConnection,
        secret: &SecretRow,
    ) -> Result<Zeroizing<Vec<u8>>, CustodyError> {
        if logged.secret() != &secret.name {
            return Err(CustodyError::OtherTarget);
        }
        self.open_secret(secret)
    }

    fn dataset_key(&self, secret: &SecretRow) -> Result<&PrivateKey, CustodyError> {
        let held = self
            .keys
            .get(&(KeyPurpose::Dataset, secret.key_id))
            .ok_or(CustodyError::NoKey)?;
        let fits = held.name == secret.dataset.as_str()
            && held.key.public_key().suite().to_string() == secret.suite;
        if fits {
            Ok(&held.key)
        } else {
            Err(CustodyError::NoKey)
        }
    }

    fn open_secret(&self, secret: &SecretRow) -> Result<Zeroizing<Vec<u8>>, CustodyError> {
        let SecretRow {
            name,
            version,
            dataset,
            suite,
            key_id,
            enc,
            ct,
            by: _,
        } = secret;
        let key = self.dataset_key(secret)?;
        let info = secret_info(&self.authority, suite, dataset);
        let aad = secret_aad(name, *version, dataset, *key_id);
        hpke_xwing::open(key, enc, &info, &aad, ct).map_err(|_| CustodyError::Malformed)
    }
}

fn deliver<K: Kind>(
    logged: LoggedPermit<K>,
    info: ReleaseInfo,
    value: &[u8],
) -> Result<Released, Undelivered<K>> {
    let confirmation = logged.permit().evidence().confirmation();
    let suite = confirmation.suite.clone();
    let sealed = confirmation
        .public_key()
        .and_then(|key| seal_release(&key, info, &logged.release_aad(), value).ok());
    match sealed {
        Some(sealed) => Ok(Released {
            suite,
            sealed,
            commitment: logged.into_commitment(),
        }),
        None => Err(Undelivered {
            logged: Box::new(logged),
            error: CustodyError::Failed,
        }),
    }
}
