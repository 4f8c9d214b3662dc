//! The signature proper: read for a key, so that algorithm and key fit, and checked against the bytes that it covers.

use aws_lc_rs::digest::{SHA256, digest};
use aws_lc_rs::signature::{RSA_PKCS1_2048_8192_SHA256, RSA_PKCS1_2048_8192_SHA512, RsaParameters};

use crate::key::KeyKind;
use crate::material::{Curve, Material};
use crate::signature::SshSigError;
use crate::wire::{Reader, put_padded};

/// In the form that the library checks: 64 bytes for Ed25519, `r ‖ s` for ECDSA, the modulus' length for RSA.
#[derive(Clone, Debug)]
pub(crate) struct Proof {
    bytes: Vec<u8>,
    rsa: RsaDigest,
    touch: Option<Touch>,
}

/// What a security key adds (PROTOCOL.u2f, "SSH U2F Signatures").
#[derive(Clone, Copy, Debug)]
struct Touch {
    flags: u8,
    counter: u32,
}

/// Says nothing for keys that are not RSA.
#[derive(Clone, Copy, Debug)]
enum RsaDigest {
    Sha256,
    Sha512,
}

impl Proof {
    pub(crate) fn read(key: &Material, blob: &[u8]) -> Result<Self, SshSigError> {
        let mut reader = Reader::new(blob);
        let name = reader.text().ok_or(SshSigError::Malformed)?;
        let rsa = algorithm(key.kind(), name)?;
        let proof = Self::read_rest(key, rsa, &mut reader).ok_or(SshSigError::Malformed)?;
        reader.end().ok_or(SshSigError::Malformed)?;
        Ok(proof)
    }

    fn read_rest(key: &Material, rsa: RsaDigest, reader: &mut Reader<'_>) -> Option<Self> {
        let value = reader.string()?;
        let bytes = match key {
            Material::Ed25519(_) | Material::SkEd25519 { .. } => {
                (value.len() == 64).then(|| value.to_vec())
            }
            Material::Rsa { n, .. } => (value.len() == n.len()).then(|| value.to_vec()),
            Material::Ecdsa { curve, .. } => fixed(*curve, value),
            Material::SkEcdsa { .. } => fixed(Curve::P256, value),
        }?;
        let touch = match key.kind().is_hardware() {
            false => None,
            true => Some(Touch {
                flags: reader.byte()?,
                counter: reader.uint32()?,
            }),
        };
        Some(Self { bytes, rsa, touch })
    }

    /// `signed` is the blob that PROTOCOL.sshsig says is signed.
    pub(crate) fn verify(&self, key: &Material, signed: &[u8]) -> Result<(), SshSigError> {
        let parsed = key
            .parsed(self.rsa.parameters())
            .ok_or(SshSigError::Invalid)?;
        let covered = self.covered(key, signed).ok_or(SshSigError::Invalid)?;
        parsed
            .verify_sig(&covered, &self.bytes)
            .map_err(|_| SshSigError::Invalid)?;
        // Without a touch, malware at the keyboard's other end could have signed by itself.
        if self
            .touch
            .is_some_and(|touch| touch.flags & USER_PRESENT == 0)
        {
            return Err(SshSigError::Untouched);
        }
        Ok(())
    }

    /// A security key signs a digest, the application's digest in front of it, and what it says about the touch.
    fn covered(&self, key: &Material, signed: &[u8]) -> Option<Vec<u8>> {
        let application = match key {
            Material::SkEd25519 { application, .. } | Material::SkEcdsa { application, .. } => {
                application
            }
            Material::Ed25519(_) | Material::Ecdsa { .. } | Material::Rsa { .. } => {
                return Some(signed.to_vec());
            }
        };
        let Touch { flags, counter } = self.touch?;
        let mut covered = digest(&SHA256, application.as_bytes()).as_ref().to_vec();
        covered.push(flags);
        covered.extend_from_slice(&counter.to_be_bytes());
        covered.extend_from_slice(digest(&SHA256, signed).as_ref());
        Some(covered)
    }
}

impl RsaDigest {
    fn parameters(self) -> &'static RsaParameters {
        match self {
            Self::Sha256 => &RSA_PKCS1_2048_8192_SHA256,
            Self::Sha512 => &RSA_PKCS1_2048_8192_SHA512,
        }
    }
}

/// The name must be the key's own; for RSA it must be one of RFC 8332's (`ssh-rsa` means SHA-1).
fn algorithm(kind: KeyKind, name: &str) -> Result<RsaDigest, SshSigError> {
    match (kind, name) {
        (KeyKind::Rsa, "rsa-sha2-256") => Ok(RsaDigest::Sha256),
        (KeyKind::Rsa, "rsa-sha2-512") => Ok(RsaDigest::Sha512),
        (KeyKind::Rsa, "ssh-rsa") => Err(SshSigError::Sha1),
        (KeyKind::Rsa, _) => Err(SshSigError::Algorithm),
        (kind, name) if name == kind.name() => Ok(RsaDigest::Sha256),
        _ => Err(SshSigError::Algorithm),
    }
}

/// RFC 5656 section 3.1.2: `mpint r`, `mpint s`.
fn fixed(curve: Curve, value: &[u8]) -> Option<Vec<u8>> {
    let mut reader = Reader::new(value);
    let (r, s) = (reader.positive()?, reader.positive()?);
    reader.end()?;
    let mut bytes = Vec::with_capacity(2 * curve.width());
    put_padded(&mut bytes, r, curve.width())?;
    put_padded(&mut bytes, s, curve.width())?;
    Some(bytes)
}

/// CTAP's flag "user present".
const USER_PRESENT: u8 = 0x01;
