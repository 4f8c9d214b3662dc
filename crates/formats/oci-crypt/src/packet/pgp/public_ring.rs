//! Public keys, and which of their parts messages are encrypted to.

use pgp::composed::{Deserializable as _, SignedPublicKey};
use pgp::crypto::sym::SymmetricKeyAlgorithm;
use pgp::packet::{
    PublicKey, PublicKeyEncryptedSessionKey, PublicSubkey, Signature, SignatureType, SubpacketData,
};
use pgp::types::{
    Duration, EncryptionKey, KeyDetails, KeyVersion, PublicParams, SignedUser, Tag, Timestamp,
};
use rand::rngs::OsRng;

use super::key_file::{KeyFile, PgpKeyError, fenced};
use super::key_id::PgpKeyId;
use super::rsa::modulus_len;
use super::user_id;

/// Smallest RSA key that is encrypted to, in bytes.
const MIN_RSA_LEN: usize = 256;

/// Public keys, as a file or GnuPG's `--export` gives them. Keys that are not understood are left out where others are.
pub struct PgpPublicRing {
    keys: Vec<SignedPublicKey>,
}

/// One who can open what is encrypted to him: the part of his key that decrypts.
#[derive(Clone)]
pub struct PgpRecipient {
    part: Part,
}

#[derive(Clone)]
enum Part {
    Primary(PublicKey),
    Subkey(PublicSubkey),
}

impl PgpPublicRing {
    /// Reads all keys of a file, armoured or binary.
    pub fn parse(file: &[u8]) -> Result<Self, PgpKeyError> {
        let file = KeyFile::read(file)?;
        let found = file.keys()?;
        let mut public = found.iter().filter(|key| !key.is_secret).peekable();
        if public.peek().is_none() {
            return Err(PgpKeyError::NoPublicKey);
        }
        let keys: Vec<SignedPublicKey> = public
            .filter_map(|key| fenced(|| SignedPublicKey::from_bytes(key.bytes).ok()))
            .collect();
        match keys.is_empty() {
            true => Err(PgpKeyError::NotUnderstood),
            false => Ok(Self { keys }),
        }
    }

    /// The holder of the one key in here, at `now` in seconds since 1970.
    pub fn only(&self, now: u64) -> Result<PgpRecipient, PgpKeyError> {
        match self.keys.as_slice() {
            [key] => recipient(key, at(now)),
            keys => Err(PgpKeyError::Several {
                fingerprints: keys.iter().map(fingerprint).collect(),
            }),
        }
    }

    /// The holder of the one usable key with this e-mail address, name or fingerprint, at `now` in seconds since 1970.
    pub fn find(&self, name: &str, now: u64) -> Result<PgpRecipient, PgpKeyError> {
        let mut usable = Vec::new();
        let mut unusable = None;
        for key in self.keys.iter().filter(|key| is_of(key, name)) {
            match recipient(key, at(now)) {
                Ok(recipient) => usable.push((fingerprint(key), recipient)),
                Err(error) => unusable = Some(error),
            }
        }
        match (usable.pop(), usable.len()) {
            (None, _) => Err(unusable.unwrap_or(PgpKeyError::NotFound)),
            (Some((_, recipient)), 0) => Ok(recipient),
            (Some((last, _)), _) => Err(PgpKeyError::Several {
                fingerprints: usable
                    .into_iter()
                    .map(|(fingerprint, _)| fingerprint)
                    .chain([last])
                    .collect(),
            }),
        }
    }
}

impl PgpRecipient {
    /// How packets name the key.
    pub fn key_id(&self) -> PgpKeyId {
        let id = match &self.part {
            Part::Primary(key) => key.legacy_key_id(),
            Part::Subkey(key) => key.legacy_key_id(),
        };
        key_id(id)
    }

    /// The session key of AES-256, for this recipient.
    pub(super) fn wrap(&self, session_key: &[u8]) -> Option<PublicKeyEncryptedSessionKey> {
        match &self.part {
            Part::Primary(key) => wrap(key, session_key),
            Part::Subkey(key) => wrap(key, session_key),
        }
    }
}

fn wrap(key: &impl EncryptionKey, session_key: &[u8]) -> Option<PublicKeyEncryptedSessionKey> {
    fenced(|| {
        PublicKeyEncryptedSessionKey::from_session_key_v3(
            OsRng,
            &session_key.into(),
            SymmetricKeyAlgorithm::AES256,
            key,
        )
        .ok()
    })
}

pub(super) fn key_id(id: pgp::types::KeyId) -> PgpKeyId {
    let bytes = id.as_ref().first_chunk().copied().unwrap_or_default();
    PgpKeyId::new(bytes)
}

/// Whole, so that a person can compare it: an id is short enough to be forged.
fn fingerprint(key: &SignedPublicKey) -> String {
    hex::encode_upper(key.fingerprint().as_bytes())
}

/// Only names that the key's holder put there count.
fn is_of(key: &SignedPublicKey, name: &str) -> bool {
    let fingerprint = fingerprint(key);
    let wanted = name.strip_prefix("0x").unwrap_or(name);
    if fingerprint.eq_ignore_ascii_case(wanted) {
        return true;
    }
    key.details.users.iter().any(|user| {
        let text = String::from_utf8_lossy(user.id.id());
        user_id::is_of(&text, name) && is_certified(key, user)
    })
}

fn is_certified(key: &SignedPublicKey, user: &SignedUser) -> bool {
    let newest = newest(own(key, &user.signatures), |signature| {
        signature.is_certification() && certifies(key, user, signature)
    });
    newest.is_some_and(|newest| newest.typ() != Some(SignatureType::CertRevocation))
}

fn certifies(key: &SignedPublicKey, user: &SignedUser, signature: &Signature) -> bool {
    let primary = &key.primary_key;
    fenced(|| {
        signature
            .verify_certification(primary, Tag::UserId, &user.id)
            .ok()
    })
    .is_some()
}

/// The part of a key that messages are encrypted to: the newest subkey that may and can, or the primary key.
fn recipient(key: &SignedPublicKey, now: Timestamp) -> Result<PgpRecipient, PgpKeyError> {
    let unusable = |reason| PgpKeyError::Unusable {
        fingerprint: fingerprint(key),
        reason,
    };
    let own = own_signature(key, now).map_err(unusable)?;
    let mut problem = "it has no part that encrypts";
    let mut best: Option<&PublicSubkey> = None;
    for subkey in &key.public_subkeys {
        match subkey_is_good(key, &subkey.key, &subkey.signatures, now) {
            Ok(()) if best.is_none_or(|best| best.created_at() <= subkey.key.created_at()) => {
                best = Some(&subkey.key);
            }
            Ok(()) => {}
            Err(reason) => problem = reason,
        }
    }
    let part = match best {
        Some(subkey) => Part::Subkey(subkey.clone()),
        None if may_encrypt(&key.primary_key, own) && is_strong(&key.primary_key) => {
            Part::Primary(key.primary_key.clone())
        }
        None => return Err(unusable(problem)),
    };
    let recipient = PgpRecipient { part };
    // Tried once, so that a kind of key which the library lacks is refused here, by name.
    match recipient.wrap(&[0; 32]) {
        Some(_) => Ok(recipient),
        None => Err(unusable("its kind is not written here")),
    }
}

/// What the holder last said of his primary key: it has to be there, and neither revoked nor expired.
fn own_signature(key: &SignedPublicKey, now: Timestamp) -> Result<&Signature, &'static str> {
    let primary = &key.primary_key;
    if primary.version() != KeyVersion::V4 {
        return Err("only keys of version 4 are read by peers");
    }
    let on_key = |signature: &&Signature| fenced(|| signature.verify_key(primary).ok()).is_some();
    if key
        .details
        .revocation_signatures
        .iter()
        .any(|one| on_key(&one))
    {
        return Err("it is revoked");
    }
    let direct = key.details.direct_signatures.iter().filter(on_key);
    let certifications = key.details.users.iter().flat_map(|user| {
        own(key, &user.signatures).filter(move |signature| {
            signature.is_certification()
                && signature.typ() != Some(SignatureType::CertRevocation)
                && certifies(key, user, signature)
        })
    });
    let newest = newest(direct.chain(certifications), |signature| {
        is_in_force(signature, now)
    })
    .ok_or("its holder has signed nothing about it")?;
    match is_expired(primary, newest, now) {
        true => Err("it has expired"),
        false => Ok(newest),
    }
}

fn subkey_is_good(
    key: &SignedPublicKey,
    subkey: &PublicSubkey,
    signatures: &[Signature],
    now: Timestamp,
) -> Result<(), &'static str> {
    let holds = |signature: &&Signature| {
        fenced(|| {
            signature
                .verify_subkey_binding(&key.primary_key, subkey)
                .ok()
        })
        .is_some()
    };
    let of = |kind| {
        signatures
            .iter()
            .filter(move |one| one.typ() == Some(kind))
            .filter(holds)
    };
    if of(SignatureType::SubkeyRevocation).next().is_some() {
        return Err("its part that encrypts is revoked");
    }
    let binding = newest(of(SignatureType::SubkeyBinding), |signature| {
        is_in_force(signature, now)
    });
    let binding = binding.ok_or("its holder has not signed the part that encrypts")?;
    if !may_encrypt(subkey, binding) {
        return Err("it has no part that encrypts");
    }
    if subkey.created_at() > now || is_expired(subkey, binding, now) {
        return Err("its part that encrypts has expired");
    }
    match is_strong(subkey) {
        true => Ok(()),
        false => Err("its RSA has less than 2048 bits"),
    }
}

/// Signatures of the holder himself, as far as they tell; those of others are not worth a verification.
fn own<'k>(
    key: &SignedPublicKey,
    signatures: &'k [Signature],
) -> impl Iterator<Item = &'k Signature> {
    let id = key.primary_key.legacy_key_id();
    signatures.iter().filter(move |signature| {
        let issuers = signature.issuer_key_id();
        issuers.is_empty() || issuers.contains(&&id)
    })
}

fn newest<'k>(
    signatures: impl Iterator<Item = &'k Signature>,
    is_good: impl Fn(&Signature) -> bool,
) -> Option<&'k Signature> {
    signatures
        .filter(|signature| is_good(signature))
        .max_by_key(|signature| signature.created().map(Timestamp::as_secs))
}

fn is_in_force(signature: &Signature, now: Timestamp) -> bool {
    signature.created().is_some_and(|created| {
        created <= now && !is_past(created, signature.signature_expiration_time(), now)
    })
}

fn is_expired(key: &impl KeyDetails, about: &Signature, now: Timestamp) -> bool {
    is_past(key.created_at(), about.key_expiration_time(), now)
}

/// Whether something that lasts so long, or for ever, has ended.
fn is_past(start: Timestamp, lasts: Option<Duration>, now: Timestamp) -> bool {
    let lasts = lasts.map_or(0, Duration::as_secs);
    lasts != 0 && u64::from(start.as_secs()) + u64::from(lasts) <= u64::from(now.as_secs())
}

/// Keys whose holder never said what they are for are for all that they can, as GnuPG has it.
fn may_encrypt(key: &impl KeyDetails, about: &Signature) -> bool {
    let says = about.config().is_some_and(|config| {
        config
            .hashed_subpackets()
            .any(|part| matches!(part.data, SubpacketData::KeyFlags(_)))
    });
    let flags = about.key_flags();
    key.algorithm().can_encrypt() && (!says || flags.encrypt_comms() || flags.encrypt_storage())
}

fn is_strong(key: &impl KeyDetails) -> bool {
    match key.public_params() {
        PublicParams::RSA(params) => modulus_len(params) >= MIN_RSA_LEN,
        _ => true,
    }
}

/// OpenPGP's clock ends in 2106.
fn at(now: u64) -> Timestamp {
    Timestamp::from_secs(u32::try_from(now).unwrap_or(u32::MAX))
}
