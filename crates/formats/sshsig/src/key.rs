//! Public keys as they stand in `authorized_keys` and `.pub` files.

use std::cmp::Ordering;
use std::fmt;
use std::hash::{Hash, Hasher};
use std::str::FromStr;

use aws_lc_rs::digest::{SHA256, digest};
use base64::Engine as _;
use base64::engine::general_purpose::{STANDARD, STANDARD_NO_PAD};

use crate::material::Material;

/// Why a text is not a public key.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum PublicKeyError {
    /// Fault: whoever wrote the key; DSA, certificates and unknown kinds, or options before the key.
    #[error("ssh key is of no kind that is accepted here")]
    Kind,
    /// Fault: whoever wrote the key.
    #[error("ssh key is malformed")]
    Malformed,
    /// Fault: whoever wrote the key; a comment is one line of readable text.
    #[error("comment of the ssh key is not one line of readable text")]
    Comment,
    /// Fault: whoever made the key.
    #[error("rsa key has less than 2048 bits")]
    Short,
    /// Fault: whoever made the key.
    #[error("ssh key is larger than any that is accepted here")]
    TooLarge,
    /// Fault: whoever made the key, and on purpose: others could sign with it, too.
    #[error("ssh key is one with which anybody could sign")]
    Weak,
}

/// The kinds of keys.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum KeyKind {
    /// `ssh-ed25519`
    Ed25519,
    /// `ecdsa-sha2-nistp256`
    EcdsaP256,
    /// `ecdsa-sha2-nistp384`
    EcdsaP384,
    /// `ecdsa-sha2-nistp521`
    EcdsaP521,
    /// `ssh-rsa`, 2048 to 8192 bits
    Rsa,
    /// `sk-ssh-ed25519@openssh.com`, a security key
    SkEd25519,
    /// `sk-ecdsa-sha2-nistp256@openssh.com`, a security key
    SkEcdsaP256,
}

impl KeyKind {
    /// All of them.
    pub const ALL: [Self; 7] = [
        Self::Ed25519,
        Self::EcdsaP256,
        Self::EcdsaP384,
        Self::EcdsaP521,
        Self::Rsa,
        Self::SkEd25519,
        Self::SkEcdsaP256,
    ];

    /// OpenSSH's name.
    pub fn name(self) -> &'static str {
        match self {
            Self::Ed25519 => "ssh-ed25519",
            Self::EcdsaP256 => "ecdsa-sha2-nistp256",
            Self::EcdsaP384 => "ecdsa-sha2-nistp384",
            Self::EcdsaP521 => "ecdsa-sha2-nistp521",
            Self::Rsa => "ssh-rsa",
            Self::SkEd25519 => "sk-ssh-ed25519@openssh.com",
            Self::SkEcdsaP256 => "sk-ecdsa-sha2-nistp256@openssh.com",
        }
    }

    /// Whether the private key stays in a device that wants to be touched.
    pub fn is_hardware(self) -> bool {
        matches!(self, Self::SkEd25519 | Self::SkEcdsaP256)
    }

    pub(crate) fn from_name(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|kind| kind.name() == name)
    }
}

impl fmt::Display for KeyKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

/// A public key. Two are equal when their material is: the comment is only shown.
#[derive(Clone)]
pub struct PublicKey {
    material: Material,
    comment: String,
}

impl PublicKey {
    /// Its kind.
    pub fn kind(&self) -> KeyKind {
        self.material.kind()
    }

    /// `SHA256:…`, as `ssh-keygen -l` prints it.
    pub fn fingerprint(&self) -> String {
        let hash = digest(&SHA256, &self.material.to_wire());
        format!("SHA256:{}", STANDARD_NO_PAD.encode(hash))
    }

    /// `KIND BASE64`, without the comment.
    pub fn key_text(&self) -> String {
        format!(
            "{} {}",
            self.kind(),
            STANDARD.encode(self.material.to_wire())
        )
    }

    /// What its owner wrote beside it; may be empty.
    pub fn comment(&self) -> &str {
        &self.comment
    }

    pub(crate) fn from_wire(blob: &[u8], comment: &str) -> Result<Self, PublicKeyError> {
        if comment.len() > LONGEST_COMMENT || comment.chars().any(char::is_control) {
            return Err(PublicKeyError::Comment);
        }
        Ok(Self {
            material: Material::read(blob)?,
            comment: comment.to_owned(),
        })
    }

    pub(crate) fn material(&self) -> &Material {
        &self.material
    }

    pub(crate) fn to_wire(&self) -> Vec<u8> {
        self.material.to_wire()
    }
}

impl FromStr for PublicKey {
    type Err = PublicKeyError;

    /// Reads `KIND BASE64 [comment]`: one line, which may end with a line's end, as `.pub` files do.
    fn from_str(text: &str) -> Result<Self, Self::Err> {
        if text.len() > LONGEST_TEXT {
            return Err(PublicKeyError::TooLarge);
        }
        let line = text.strip_suffix('\n').unwrap_or(text);
        let line = line.strip_suffix('\r').unwrap_or(line);
        let (name, rest) = line.split_once(' ').unwrap_or((line, ""));
        let (encoded, comment) = rest.split_once(' ').unwrap_or((rest, ""));
        let kind = KeyKind::from_name(name).ok_or(PublicKeyError::Kind)?;
        let blob = STANDARD
            .decode(encoded)
            .map_err(|_| PublicKeyError::Malformed)?;
        let key = Self::from_wire(&blob, comment.trim_matches(' '))?;
        if key.kind() != kind {
            return Err(PublicKeyError::Malformed);
        }
        Ok(key)
    }
}

impl fmt::Display for PublicKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.key_text())?;
        if self.comment.is_empty() {
            return Ok(());
        }
        write!(f, " {}", self.comment)
    }
}

impl fmt::Debug for PublicKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "PublicKey({self})")
    }
}

impl PartialEq for PublicKey {
    fn eq(&self, other: &Self) -> bool {
        self.material == other.material
    }
}

impl Eq for PublicKey {}

impl PartialOrd for PublicKey {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

impl Ord for PublicKey {
    fn cmp(&self, other: &Self) -> Ordering {
        self.material.cmp(&other.material)
    }
}

impl Hash for PublicKey {
    fn hash<H: Hasher>(&self, state: &mut H) {
        self.material.hash(state);
    }
}

const LONGEST_TEXT: usize = 8192;
const LONGEST_COMMENT: usize = 1024;
