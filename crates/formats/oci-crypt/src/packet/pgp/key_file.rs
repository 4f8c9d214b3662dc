//! Files with OpenPGP keys: armoured or binary, one key or a ring of many, cut into keys before the library sees them.

use std::borrow::Cow;
use std::panic::{AssertUnwindSafe, catch_unwind};

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use zeroize::Zeroizing;

use super::framing::Packets;
use super::key_id::PgpKeyId;

/// Longest file or ring of OpenPGP keys that is read.
pub const MAX_PGP_RING_LEN: usize = 16 * 1024 * 1024;

/// Why an OpenPGP key is not used.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum PgpKeyError {
    /// Fault: whoever named the file.
    #[error("file has more than {MAX_PGP_RING_LEN} bytes")]
    TooLong,
    /// Fault: whoever made the file: it is no OpenPGP key, or cut, or of a kind that is not read here.
    #[error("OpenPGP key is not understood")]
    NotUnderstood,
    /// Fault: the caller; the file holds secret keys alone, or none.
    #[error("file holds no OpenPGP public key")]
    NoPublicKey,
    /// Fault: the caller; the file holds public keys alone.
    #[error("file holds no OpenPGP secret key")]
    NoSecretKey,
    /// Fault: the caller; which key is meant is not told.
    #[error("more than one OpenPGP key fits: {}", fingerprints.join(", "))]
    Several {
        /// The keys that fit.
        fingerprints: Vec<String>,
    },
    /// Fault: the caller.
    #[error("no OpenPGP key has this e-mail address or name")]
    NotFound,
    /// Fault: whoever holds the key, and should publish another.
    #[error("nothing is encrypted to the OpenPGP key {fingerprint}: {reason}")]
    Unusable {
        /// The key.
        fingerprint: String,
        /// What is wrong with it.
        reason: &'static str,
    },
    /// Fault: the caller; the secrets are elsewhere, such as on a smart card, or none of them decrypts.
    #[error("file holds no secret that decrypts, only stubs or keys that sign")]
    NothingDecrypts,
    /// Fault: the caller.
    #[error("OpenPGP secret key is encrypted, and no password is given")]
    PasswordMissing,
    /// Fault: the caller.
    #[error("password opens none of the OpenPGP secret keys: {}", ids(keys))]
    PasswordWrong {
        /// The keys.
        keys: Vec<PgpKeyId>,
    },
}

fn ids(keys: &[PgpKeyId]) -> String {
    let ids: Vec<String> = keys.iter().map(ToString::to_string).collect();
    ids.join(", ")
}

/// Whether a file looks like OpenPGP keys. No other key file begins as binary packets do.
pub fn is_pgp_key_file(file: &[u8]) -> bool {
    file.first().is_some_and(|first| first & 0x80 != 0) || find(file, ARMOR).is_some()
}

/// Keys in binary form, one after the other.
pub(super) struct KeyFile<'a>(Vec<Cow<'a, [u8]>>);

impl<'a> KeyFile<'a> {
    pub(super) fn read(file: &'a [u8]) -> Result<Self, PgpKeyError> {
        if file.len() > MAX_PGP_RING_LEN {
            return Err(PgpKeyError::TooLong);
        }
        match file.first() {
            Some(first) if first & 0x80 != 0 => Ok(Self(vec![Cow::Borrowed(file)])),
            _ => Ok(Self(dearmored(file).ok_or(PgpKeyError::NotUnderstood)?)),
        }
    }

    /// The keys, each from its primary key to the next one. What stands before the first is no key, and the library
    /// would stop at it.
    pub(super) fn keys(&self) -> Result<Vec<OneKey<'_>>, PgpKeyError> {
        let mut keys: Vec<OneKey<'_>> = Vec::new();
        for binary in &self.0 {
            let mut packets = Packets::new(binary);
            let (mut at, mut start) = (0, None);
            while let Some(packet) = packets.next().map_err(|_| PgpKeyError::NotUnderstood)? {
                if let SECRET_KEY | PUBLIC_KEY = packet.tag {
                    keys.extend(one(binary, start, at));
                    start = Some((at, packet.tag == SECRET_KEY));
                }
                at += packet.whole.len();
            }
            keys.extend(one(binary, start, at));
        }
        Ok(keys)
    }
}

/// Armoured secrets leave no copy behind.
impl Drop for KeyFile<'_> {
    fn drop(&mut self) {
        for part in &mut self.0 {
            if let Cow::Owned(part) = part {
                zeroize::Zeroize::zeroize(part);
            }
        }
    }
}

/// The packets of one key.
pub(super) struct OneKey<'a> {
    pub(super) is_secret: bool,
    pub(super) bytes: &'a [u8],
}

fn one(bytes: &[u8], start: Option<(usize, bool)>, end: usize) -> Option<OneKey<'_>> {
    let (start, is_secret) = start?;
    let bytes = bytes.get(start..end)?;
    Some(OneKey { is_secret, bytes })
}

/// What the library makes of bytes that others wrote. It means never to panic, and nobody has shown that it never does: a
/// stranger's key in a ring, or a packet in an image, must not end a node's service.
pub(super) fn fenced<T>(work: impl FnOnce() -> Option<T>) -> Option<T> {
    catch_unwind(AssertUnwindSafe(work)).ok().flatten()
}

/// The binary content of each armoured block (RFC 9580 section 6.2). The optional checksum is against transmission errors
/// and is not looked at.
fn dearmored(mut file: &[u8]) -> Option<Vec<Cow<'_, [u8]>>> {
    let mut blocks = Vec::new();
    while let Some(start) = find(file, ARMOR) {
        let block = file.get(start..)?;
        let length = find(block, END)?;
        blocks.push(Cow::Owned(block_content(block.get(..length)?)?));
        file = block.get(length + END.len()..)?;
    }
    (!blocks.is_empty()).then_some(blocks)
}

fn block_content(block: &[u8]) -> Option<Vec<u8>> {
    let mut digits = Zeroizing::new(Vec::with_capacity(block.len()));
    let mut lines = block.split(|byte| *byte == b'\n').map(<[u8]>::trim_ascii);
    let first = lines.next()?;
    if !KINDS.contains(&first) {
        return None;
    }
    // Headers end with an empty line, which some writers leave out.
    let mut is_header = true;
    for line in lines {
        if is_header && (line.is_empty() || line.contains(&b':')) {
            is_header = !line.is_empty();
            continue;
        }
        is_header = false;
        match line.first() {
            None => {}
            Some(b'=') => break,
            Some(_) => digits.extend_from_slice(line),
        }
    }
    STANDARD.decode(&*digits).ok()
}

fn find(bytes: &[u8], wanted: &[u8]) -> Option<usize> {
    bytes
        .windows(wanted.len())
        .position(|window| window == wanted)
}

const SECRET_KEY: u8 = 5;
const PUBLIC_KEY: u8 = 6;
const ARMOR: &[u8] = b"-----BEGIN PGP ";
const END: &[u8] = b"-----END PGP ";
const KINDS: [&[u8]; 2] = [
    b"-----BEGIN PGP PUBLIC KEY BLOCK-----",
    b"-----BEGIN PGP PRIVATE KEY BLOCK-----",
];
