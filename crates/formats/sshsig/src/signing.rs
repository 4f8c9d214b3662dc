//! Private keys in OpenSSH's own format (PROTOCOL.key), and signing with them.

use aws_lc_rs::rand::SystemRandom;
use aws_lc_rs::signature::{
    ECDSA_P256_SHA256_FIXED_SIGNING, EcdsaKeyPair, Ed25519KeyPair, KeyPair as _,
};
use zeroize::{Zeroize as _, Zeroizing};

use crate::armor::{self, Label};
use crate::key::{KeyKind, PublicKey, PublicKeyError};
use crate::material::Material;
use crate::signature::{MessageHash, SshSignature, blob, read_namespace, signed_bytes};
use crate::wire::{Reader, put_padded, put_positive, put_string};

/// Why a text is not a private key that signs here, or why it did not sign.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum SigningKeyError {
    /// Fault: none; `ssh-keygen` or an agent can sign with it.
    #[error("ssh key is encrypted with a passphrase")]
    Encrypted,
    /// Fault: none; `ssh-keygen` can sign with it while the device is there.
    #[error("ssh key is in a security key")]
    HardwareKey,
    /// Fault: none; `ssh-keygen` can sign with it.
    #[error("ssh key is of kind `{kind}`, only ed25519 and ecdsa p256 sign here")]
    OtherKind {
        /// Its kind.
        kind: KeyKind,
    },
    /// Fault: none; `ssh-keygen` reads it.
    #[error("private key is not in the format of openssh")]
    OtherFormat,
    /// Fault: none; `ssh-keygen` can sign with it if an agent has the private half.
    #[error("text is a public ssh key")]
    PublicHalf,
    /// Fault: the caller.
    #[error("text is not exactly one private key in the format of openssh")]
    Armor,
    /// Fault: the caller.
    #[error("private ssh key is too large")]
    TooLarge,
    /// Fault: whoever wrote the file.
    #[error("private ssh key is malformed")]
    Malformed,
    /// Fault: whoever wrote the file: the public key in it is another one's.
    #[error("private and public half of the ssh key do not fit")]
    Inconsistent,
    /// Fault: whoever made the key.
    #[error("public half of the ssh key is not accepted")]
    Public(#[source] PublicKeyError),
    /// Fault: the caller.
    #[error("namespace to sign for is empty or not readable")]
    Namespace,
    /// Fault: this machine; its cryptographic library refused.
    #[error("ssh key did not sign")]
    NotSigned,
}

impl SigningKeyError {
    /// Whether `ssh-keygen -Y sign` can try what this crate can't: the text looks like a key of another sort.
    pub fn is_for_ssh_keygen(&self) -> bool {
        matches!(
            self,
            Self::Encrypted
                | Self::HardwareKey
                | Self::OtherKind { .. }
                | Self::OtherFormat
                | Self::PublicHalf
        )
    }
}

/// A private key that signs: Ed25519 or ECDSA P-256. Wiped when dropped.
pub struct SigningKey {
    secret: Secret,
    public: PublicKey,
}

impl SigningKey {
    /// Reads an unencrypted private key file.
    pub fn parse(text: &str) -> Result<Self, SigningKeyError> {
        if text.len() > LONGEST_TEXT {
            return Err(SigningKeyError::TooLarge);
        }
        let bytes = armor::open(Label::PrivateKey, text).ok_or_else(|| other_text(text))?;
        let file = File::read(&bytes).ok_or(SigningKeyError::Malformed)?;
        let public = PublicKey::from_wire(file.public, "").map_err(SigningKeyError::Public)?;
        // The public half stands in clear even if the rest does not.
        if public.kind().is_hardware() {
            return Err(SigningKeyError::HardwareKey);
        }
        if file.cipher != NONE {
            return Err(SigningKeyError::Encrypted);
        }
        if file.derivation != NONE || !file.options.is_empty() {
            return Err(SigningKeyError::Malformed);
        }
        Self::read_private(&public, file.private)
    }

    /// The Ed25519 key of this seed, which must come from a good source of randomness.
    pub fn generate_ed25519(mut seed: [u8; 32], comment: &str) -> Result<Self, SigningKeyError> {
        let secret = Secret::from_seed(&seed);
        seed.zeroize();
        let Some(Secret::Ed25519(both)) = secret else {
            return Err(SigningKeyError::Malformed);
        };
        let (_, key) = both.split_at(32);
        let mut wire = Vec::new();
        put_string(&mut wire, KeyKind::Ed25519.name().as_bytes());
        put_string(&mut wire, key);
        let public = PublicKey::from_wire(&wire, comment).map_err(SigningKeyError::Public)?;
        let secret = Secret::Ed25519(both);
        Ok(Self { secret, public })
    }

    /// The public half, with the comment of the file.
    pub fn public_key(&self) -> &PublicKey {
        &self.public
    }

    /// The file, unencrypted, as `ssh-keygen` reads it.
    pub fn to_openssh(&self) -> Zeroizing<String> {
        let public = self.public.to_wire();
        let mut out = Zeroizing::new(Vec::with_capacity(LONGEST_TEXT));
        out.extend_from_slice(MAGIC);
        put_string(&mut out, NONE);
        put_string(&mut out, NONE);
        put_string(&mut out, b"");
        out.extend_from_slice(&1u32.to_be_bytes());
        put_string(&mut out, &public);
        put_string(&mut out, &self.private_part(&public));
        armor::close(Label::PrivateKey, &out)
    }

    /// Signs the message for this namespace, with SHA-512 as `ssh-keygen` does.
    pub fn sign(&self, namespace: &str, message: &[u8]) -> Result<SshSignature, SigningKeyError> {
        let namespace = read_namespace(namespace.as_bytes()).ok_or(SigningKeyError::Namespace)?;
        let signed = signed_bytes(&namespace, MessageHash::Sha512, message);
        let mut proof = Vec::new();
        put_string(&mut proof, self.public.kind().name().as_bytes());
        put_string(
            &mut proof,
            &self
                .secret
                .sign(&signed)
                .ok_or(SigningKeyError::NotSigned)?,
        );
        let blob = blob(&self.public, &namespace, MessageHash::Sha512, &proof);
        SshSignature::read(&blob).map_err(|_| SigningKeyError::NotSigned)
    }

    fn read_private(public: &PublicKey, private: &[u8]) -> Result<Self, SigningKeyError> {
        let mut reader = Reader::new(private);
        let secret = Secret::read(public, &mut reader)?;
        let comment = reader.text().ok_or(SigningKeyError::Malformed)?;
        if !is_padding(reader.rest()) || !private.len().is_multiple_of(BLOCK) {
            return Err(SigningKeyError::Malformed);
        }
        let public = PublicKey::from_wire(&public.to_wire(), comment);
        let public = public.map_err(SigningKeyError::Public)?;
        Ok(Self { secret, public })
    }

    fn private_part(&self, public: &[u8]) -> Zeroizing<Vec<u8>> {
        let mut out = Zeroizing::new(Vec::with_capacity(LONGEST_TEXT));
        // Two equal numbers show that decryption worked. Nothing is encrypted here, so they need not be random.
        out.extend_from_slice(&[0; 8]);
        out.extend_from_slice(public);
        self.secret.write(&mut out);
        put_string(&mut out, self.public.comment().as_bytes());
        let missing = out.len().next_multiple_of(BLOCK) - out.len();
        out.extend((1..).take(missing));
        out
    }
}

/// INVARIANT: it is the private half of the public key beside it.
enum Secret {
    /// Seed and public half, as the file has them.
    Ed25519(Zeroizing<[u8; 64]>),
    /// Scalar, and the point uncompressed.
    EcdsaP256(Zeroizing<[u8; 32]>, [u8; 65]),
}

impl Secret {
    fn from_seed(seed: &[u8; 32]) -> Option<Self> {
        let pair = Ed25519KeyPair::from_seed_unchecked(seed).ok()?;
        let mut both = Zeroizing::new([0; 64]);
        let (front, back) = both.split_at_mut(32);
        front.copy_from_slice(seed);
        back.copy_from_slice(pair.public_key().as_ref());
        Some(Self::Ed25519(both))
    }

    /// Two checkints, the public key once more, then `string seed ‖ public` or `mpint scalar`.
    fn read(public: &PublicKey, reader: &mut Reader<'_>) -> Result<Self, SigningKeyError> {
        if !matches!(public.kind(), KeyKind::Ed25519 | KeyKind::EcdsaP256) {
            let kind = public.kind();
            return Err(SigningKeyError::OtherKind { kind });
        }
        let checks = (reader.uint32(), reader.uint32());
        if checks.0.is_none() || checks.0 != checks.1 {
            return Err(SigningKeyError::Malformed);
        }
        let wire = public.to_wire();
        if reader.take(wire.len()) != Some(&wire) {
            return Err(SigningKeyError::Inconsistent);
        }
        let secret = Self::read_numbers(public.material(), reader);
        let secret = secret.ok_or(SigningKeyError::Malformed)?;
        secret.check(public.material())?;
        Ok(secret)
    }

    fn read_numbers(public: &Material, reader: &mut Reader<'_>) -> Option<Self> {
        if let Material::Ecdsa { point, .. } = public {
            let mut padded = Zeroizing::new(Vec::with_capacity(32));
            put_padded(&mut padded, reader.positive()?, 32)?;
            let scalar = Zeroizing::new(padded.as_slice().try_into().ok()?);
            return Some(Self::EcdsaP256(scalar, point.as_slice().try_into().ok()?));
        }
        let both = reader.string()?.try_into().ok()?;
        Some(Self::Ed25519(Zeroizing::new(both)))
    }

    /// The library refuses a pair whose halves do not fit; signing with one would give the private half away.
    fn check(&self, public: &Material) -> Result<(), SigningKeyError> {
        let fits = match (self, public) {
            (Self::Ed25519(both), Material::Ed25519(key)) => {
                both.ends_with(key) && ed25519(both).is_some()
            }
            (Self::EcdsaP256(scalar, point), _) => ecdsa(scalar, point).is_some(),
            (Self::Ed25519(_), _) => false,
        };
        fits.then_some(()).ok_or(SigningKeyError::Inconsistent)
    }

    fn write(&self, out: &mut Vec<u8>) {
        match self {
            Self::Ed25519(both) => put_string(out, &**both),
            Self::EcdsaP256(scalar, _) => put_positive(out, &**scalar),
        }
    }

    /// In SSH's form: 64 bytes, or `mpint r`, `mpint s`.
    fn sign(&self, message: &[u8]) -> Option<Vec<u8>> {
        match self {
            Self::Ed25519(both) => Some(ed25519(both)?.try_sign(message).ok()?.as_ref().to_vec()),
            Self::EcdsaP256(scalar, point) => {
                let pair = ecdsa(scalar, point)?;
                let signature = pair.sign(&SystemRandom::new(), message).ok()?;
                let (r, s) = signature.as_ref().split_at_checked(32)?;
                let mut out = Vec::new();
                put_positive(&mut out, r);
                put_positive(&mut out, s);
                Some(out)
            }
        }
    }
}

fn ed25519(both: &[u8; 64]) -> Option<Ed25519KeyPair> {
    let (seed, public) = both.split_at_checked(32)?;
    Ed25519KeyPair::from_seed_and_public_key(seed, public).ok()
}

fn ecdsa(scalar: &[u8; 32], point: &[u8; 65]) -> Option<EcdsaKeyPair> {
    let algorithm = &ECDSA_P256_SHA256_FIXED_SIGNING;
    EcdsaKeyPair::from_private_key_and_public_key(algorithm, scalar, point).ok()
}

/// What the text is instead, so that the caller knows whether another program can use it.
fn other_text(text: &str) -> SigningKeyError {
    let first = text.lines().next().unwrap_or_default();
    let is_pem = first.starts_with("-----BEGIN ") && first.ends_with("PRIVATE KEY-----");
    if is_pem && first != Label::PrivateKey.first_line() {
        return SigningKeyError::OtherFormat;
    }
    match text.parse::<PublicKey>() {
        Ok(_) => SigningKeyError::PublicHalf,
        Err(_) => SigningKeyError::Armor,
    }
}

/// What stands in the armor.
struct File<'a> {
    cipher: &'a [u8],
    derivation: &'a [u8],
    options: &'a [u8],
    public: &'a [u8],
    private: &'a [u8],
}

impl<'a> File<'a> {
    fn read(bytes: &'a [u8]) -> Option<Self> {
        let mut reader = Reader::new(bytes);
        if reader.take(MAGIC.len())? != MAGIC {
            return None;
        }
        let (cipher, derivation, options) = (reader.string()?, reader.string()?, reader.string()?);
        if reader.uint32()? != 1 {
            return None;
        }
        let (public, private) = (reader.string()?, reader.string()?);
        // Behind an encrypted part some ciphers put their tag; there is none without a cipher.
        if cipher == NONE {
            reader.end()?;
        }
        Some(Self {
            cipher,
            derivation,
            options,
            public,
            private,
        })
    }
}

/// 1, 2, 3 … up to the next block.
fn is_padding(bytes: &[u8]) -> bool {
    bytes.len() < BLOCK
        && (1..)
            .zip(bytes)
            .all(|(wanted, byte): (u8, _)| wanted == *byte)
}

const MAGIC: &[u8] = b"openssh-key-v1\0";
const NONE: &[u8] = b"none";
/// The block size of the cipher `none`.
const BLOCK: usize = 8;
/// An RSA key of 8192 bits has about 8600 characters; it is told apart, not used.
const LONGEST_TEXT: usize = 16384;
