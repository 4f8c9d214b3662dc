//! Signatures in armor, as `ssh-keygen -Y sign` writes them.

use aws_lc_rs::digest::{SHA256, SHA512, digest};

use crate::armor::{self, Label};
use crate::key::{PublicKey, PublicKeyError};
use crate::proof::Proof;
use crate::wire::{Reader, put_string};

/// Why a text is not a signature, or not the one that was asked for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum SshSigError {
    /// Fault: whoever sent it.
    #[error("ssh signature is too large")]
    TooLarge,
    /// Fault: whoever sent it; one armor, nothing before or after.
    #[error("text is not exactly one armored ssh signature")]
    Armor,
    /// Fault: whoever sent it.
    #[error("ssh signature is malformed")]
    Malformed,
    /// Fault: none; made by a program newer than this one.
    #[error("ssh signature is of version {version}, only version 1 is known")]
    Version {
        /// What it says.
        version: u32,
    },
    /// Fault: whoever made it; a signature without a namespace could be carried over from elsewhere.
    #[error("namespace of the ssh signature is empty or not readable")]
    Namespace,
    /// Fault: none; made by a program newer than this one.
    #[error("reserved field of the ssh signature is not empty")]
    Reserved,
    /// Fault: whoever made it.
    #[error("ssh signature hashes with something else than sha256 or sha512")]
    HashAlgorithm,
    /// Fault: whoever made it; or a kind of signature that is not accepted here.
    #[error("algorithm of the ssh signature does not fit its key")]
    Algorithm,
    /// Fault: whoever made it; the program is too old or told to.
    #[error("ssh signature is an rsa signature over sha1")]
    Sha1,
    /// Fault: whoever made it.
    #[error("key in the ssh signature is not accepted")]
    Key(#[source] PublicKeyError),
    /// Fault: whoever made it, or somebody carried it over from another use.
    #[error("ssh signature was made for another namespace")]
    OtherNamespace,
    /// Fault: whoever sent it.
    #[error("ssh signature was made with another key")]
    OtherKey,
    /// Fault: whoever made it; the security key was not touched.
    #[error("security key was not touched for the ssh signature")]
    Untouched,
    /// Fault: whoever sent it; another text, or altered.
    #[error("ssh signature does not fit the text")]
    Invalid,
}

/// A signature that was read, not yet checked.
#[derive(Clone, Debug)]
pub struct SshSignature {
    key: PublicKey,
    namespace: String,
    hash: MessageHash,
    proof: Proof,
    blob: Vec<u8>,
}

impl SshSignature {
    /// Reads one armored signature.
    pub fn parse(armored: &str) -> Result<Self, SshSigError> {
        if armored.len() > LONGEST_TEXT {
            return Err(SshSigError::TooLarge);
        }
        let blob = armor::open(Label::Signature, armored).ok_or(SshSigError::Armor)?;
        Self::read(&blob)
    }

    /// Whose signature it claims to be. Proves nothing before `verify`.
    pub fn public_key(&self) -> &PublicKey {
        &self.key
    }

    /// What it was made for. Proves nothing before `verify`.
    pub fn namespace(&self) -> &str {
        &self.namespace
    }

    /// The text again, as `ssh-keygen` breaks its lines.
    pub fn armored(&self) -> String {
        armor::close(Label::Signature, &self.blob).to_string()
    }

    /// Whether `key` signed exactly this message, in exactly this namespace.
    pub fn verify(
        &self,
        key: &PublicKey,
        namespace: &str,
        message: &[u8],
    ) -> Result<(), SshSigError> {
        if self.key != *key {
            return Err(SshSigError::OtherKey);
        }
        if self.namespace != namespace {
            return Err(SshSigError::OtherNamespace);
        }
        let signed = signed_bytes(namespace, self.hash, message);
        self.proof.verify(key.material(), &signed)
    }

    /// Reads the bytes in the armor (PROTOCOL.sshsig section 2).
    pub(crate) fn read(blob: &[u8]) -> Result<Self, SshSigError> {
        let mut reader = Reader::new(blob);
        if reader.take(MAGIC.len()) != Some(MAGIC) {
            return Err(SshSigError::Malformed);
        }
        match reader.uint32().ok_or(SshSigError::Malformed)? {
            VERSION => {}
            version => return Err(SshSigError::Version { version }),
        }
        let [key, namespace, reserved, hash, proof] =
            five_strings(reader).ok_or(SshSigError::Malformed)?;
        let key = PublicKey::from_wire(key, "").map_err(SshSigError::Key)?;
        let namespace = read_namespace(namespace).ok_or(SshSigError::Namespace)?;
        if !reserved.is_empty() {
            return Err(SshSigError::Reserved);
        }
        let hash = MessageHash::read(hash).ok_or(SshSigError::HashAlgorithm)?;
        let proof = Proof::read(key.material(), proof)?;
        let blob = blob.to_vec();
        Ok(Self {
            key,
            namespace,
            hash,
            proof,
            blob,
        })
    }
}

/// The digest of the message.
#[derive(Clone, Copy, Debug)]
pub(crate) enum MessageHash {
    Sha256,
    Sha512,
}

impl MessageHash {
    fn read(name: &[u8]) -> Option<Self> {
        match name {
            b"sha256" => Some(Self::Sha256),
            b"sha512" => Some(Self::Sha512),
            _ => None,
        }
    }

    fn name(self) -> &'static str {
        match self {
            Self::Sha256 => "sha256",
            Self::Sha512 => "sha512",
        }
    }
}

/// What the key signs (PROTOCOL.sshsig section 3).
pub(crate) fn signed_bytes(namespace: &str, hash: MessageHash, message: &[u8]) -> Vec<u8> {
    let algorithm = match hash {
        MessageHash::Sha256 => &SHA256,
        MessageHash::Sha512 => &SHA512,
    };
    let mut out = MAGIC.to_vec();
    put_string(&mut out, namespace.as_bytes());
    put_string(&mut out, b"");
    put_string(&mut out, hash.name().as_bytes());
    put_string(&mut out, digest(algorithm, message).as_ref());
    out
}

/// The bytes in the armor.
pub(crate) fn blob(key: &PublicKey, namespace: &str, hash: MessageHash, proof: &[u8]) -> Vec<u8> {
    let mut out = MAGIC.to_vec();
    out.extend_from_slice(&VERSION.to_be_bytes());
    put_string(&mut out, &key.to_wire());
    put_string(&mut out, namespace.as_bytes());
    put_string(&mut out, b"");
    put_string(&mut out, hash.name().as_bytes());
    put_string(&mut out, proof);
    out
}

pub(crate) fn read_namespace(bytes: &[u8]) -> Option<String> {
    let text = str::from_utf8(bytes).ok()?;
    let fits =
        !text.is_empty() && text.len() <= LONGEST_NAMESPACE && !text.chars().any(char::is_control);
    fits.then(|| text.to_owned())
}

fn five_strings(mut reader: Reader<'_>) -> Option<[&[u8]; 5]> {
    let mut strings = [&[][..]; 5];
    for string in &mut strings {
        *string = reader.string()?;
    }
    reader.end()?;
    Some(strings)
}

const MAGIC: &[u8] = b"SSHSIG";
const VERSION: u32 = 1;
const LONGEST_NAMESPACE: usize = 255;
/// The largest signature of the largest key (RSA, 8192 bits) has about 3200 characters.
const LONGEST_TEXT: usize = 8192;
