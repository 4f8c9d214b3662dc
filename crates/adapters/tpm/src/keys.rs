//! The keys of an attested node: the endorsement key that its maker vouches for, the attestation key that speaks for
//! the TPM, and the node key that speaks for the node.
//!
//! All are primary keys: made again from a template at each start, so the TPM stores nothing for us.

use tpm_quote::{Credential, Name, PcrSelection, PublicArea, template};
use tpm2_protocol::data::TpmRh;
use zeroize::Zeroizing;

use crate::client::Tpm;
use crate::commands::{EkAuthorization, Loaded, Signed};
use crate::error::TpmError;

/// The standard endorsement keys.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum EkKind {
    /// RSA 2048, low range.
    Rsa2048,
    /// P-256, low range.
    P256,
    /// P-384, high range.
    P384,
}

impl EkKind {
    /// All, in the order in which they are looked for.
    pub const ALL: [Self; 3] = [Self::Rsa2048, Self::P256, Self::P384];

    fn template(self) -> Vec<u8> {
        match self {
            Self::Rsa2048 => template::ek_rsa2048(),
            Self::P256 => template::ek_p256(),
            Self::P384 => template::ek_p384(),
        }
    }

    /// Where the TPM's maker left the certificate.
    const fn certificate_index(self) -> u32 {
        match self {
            Self::Rsa2048 => 0x01c0_0002,
            Self::P256 => 0x01c0_000a,
            Self::P384 => 0x01c0_0016,
        }
    }

    const fn authorization(self) -> EkAuthorization {
        match self {
            Self::Rsa2048 | Self::P256 => EkAuthorization::Policy,
            Self::P384 => EkAuthorization::Password,
        }
    }
}

/// What a TPM states, and its signature: `TPMS_ATTEST` and `TPMT_SIGNATURE`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Attestation {
    /// The statement.
    pub attest: Vec<u8>,
    /// The signature.
    pub signature: Vec<u8>,
}

impl From<Signed> for Attestation {
    fn from(Signed { attest, signature }: Signed) -> Self {
        Self { attest, signature }
    }
}

/// An endorsement key, loaded.
#[derive(Debug)]
pub struct EndorsementKey {
    kind: EkKind,
    loaded: Loaded,
    public: PublicArea,
}

impl EndorsementKey {
    /// Makes the endorsement key of this kind.
    ///
    /// # Errors
    /// When the TPM refuses or does not answer.
    pub fn make(tpm: &Tpm, kind: EkKind) -> Result<Self, TpmError> {
        let (loaded, public) = tpm.create_primary(TpmRh::Endorsement, &kind.template())?;
        Ok(Self {
            kind,
            loaded,
            public,
        })
    }

    /// Makes the first kind of endorsement key that has a certificate; RSA 2048 where none has.
    ///
    /// # Errors
    /// When the TPM refuses or does not answer.
    pub fn find(tpm: &Tpm) -> Result<Self, TpmError> {
        for kind in EkKind::ALL {
            if tpm.nv_read(kind.certificate_index())?.is_some() {
                return Self::make(tpm, kind);
            }
        }
        Self::make(tpm, EkKind::Rsa2048)
    }

    /// Which kind this is.
    #[must_use]
    pub const fn kind(&self) -> EkKind {
        self.kind
    }

    /// The public area.
    #[must_use]
    pub const fn public(&self) -> &PublicArea {
        &self.public
    }

    /// The maker's certificate (DER), where the TPM carries one.
    ///
    /// # Errors
    /// When the TPM refuses or does not answer.
    pub fn certificate(&self) -> Result<Option<Vec<u8>>, TpmError> {
        let content = self.loaded.tpm.nv_read(self.kind.certificate_index())?;
        Ok(content.map(without_padding))
    }

    /// Opens a credential that was made for this key and the name of `ak`.
    ///
    /// # Errors
    /// When the TPM refuses: the credential is for another TPM or another attestation key.
    pub fn activate(
        &self,
        ak: &AttestationKey,
        credential: &Credential,
    ) -> Result<Zeroizing<Vec<u8>>, TpmError> {
        self.loaded.tpm.activate(
            &ak.loaded,
            &self.loaded,
            credential,
            self.kind.authorization(),
        )
    }
}

/// An attestation key, loaded: P-256, restricted, in the endorsement hierarchy. The same in each start of a TPM.
#[derive(Debug)]
pub struct AttestationKey {
    loaded: Loaded,
    public: PublicArea,
}

impl AttestationKey {
    /// Makes the attestation key.
    ///
    /// # Errors
    /// When the TPM refuses or does not answer.
    pub fn make(tpm: &Tpm) -> Result<Self, TpmError> {
        let (loaded, public) =
            tpm.create_primary(TpmRh::Endorsement, &template::attestation_key(AK_SEED))?;
        Ok(Self { loaded, public })
    }

    /// The public area.
    #[must_use]
    pub const fn public(&self) -> &PublicArea {
        &self.public
    }

    /// The name.
    #[must_use]
    pub fn name(&self) -> Name {
        self.public.name()
    }

    /// States the selected registers.
    ///
    /// # Errors
    /// When the TPM refuses or does not answer.
    pub fn quote(
        &self,
        qualifying_data: &[u8; 32],
        pcrs: &PcrSelection,
    ) -> Result<Attestation, TpmError> {
        self.loaded
            .tpm
            .quote(&self.loaded, qualifying_data, pcrs)
            .map(Attestation::from)
    }

    /// States that `key` lives in this TPM.
    ///
    /// # Errors
    /// When the TPM refuses or does not answer; also when `key` is in another TPM.
    pub fn certify(
        &self,
        key: &NodeKey,
        qualifying_data: &[u8; 32],
    ) -> Result<Attestation, TpmError> {
        self.loaded
            .tpm
            .certify(&self.loaded, &key.loaded, qualifying_data)
            .map(Attestation::from)
    }
}

/// A node key, loaded: P-256, signing, not restricted. Threads may share it.
#[derive(Debug)]
pub struct NodeKey {
    loaded: Loaded,
    public: PublicArea,
    seed: [u8; 32],
}

impl NodeKey {
    /// Makes a new node key.
    ///
    /// # Errors
    /// When the TPM refuses or does not answer.
    pub fn make(tpm: &Tpm) -> Result<Self, TpmError> {
        let seed = *tpm.random()?;
        Self::from_seed(tpm, seed)
    }

    /// Makes the key again that [`NodeKey::state`] was saved of.
    ///
    /// # Errors
    /// When the state is malformed, was made by another TPM or before this one was cleared, or the TPM fails.
    pub fn restore(tpm: &Tpm, state: &[u8]) -> Result<Self, TpmError> {
        let rest = state.strip_prefix(STATE_MAGIC).ok_or(TpmError::State)?;
        let (seed, public) = rest.split_first_chunk::<32>().ok_or(TpmError::State)?;
        let public = PublicArea::parse_sized(public).map_err(|_| TpmError::State)?;
        let key = Self::from_seed(tpm, *seed)?;
        match key.public == public {
            true => Ok(key),
            false => Err(TpmError::OtherTpm),
        }
    }

    /// What must be saved to make this key again in the same TPM. Not secret, and useless in any other TPM.
    #[must_use]
    pub fn state(&self) -> Vec<u8> {
        [STATE_MAGIC, self.seed.as_slice(), &self.public.to_sized()].concat()
    }

    /// The public area.
    #[must_use]
    pub const fn public(&self) -> &PublicArea {
        &self.public
    }

    /// Signs a SHA-256 digest; the signature is ECDSA in DER, as TLS and X.509 want it.
    ///
    /// # Errors
    /// When the TPM refuses or does not answer.
    pub fn sign(&self, digest: &[u8; 32]) -> Result<Vec<u8>, TpmError> {
        let (r, s) = self.loaded.tpm.sign(&self.loaded, digest)?;
        der_signature(&r, &s).ok_or(TpmError::Protocol { command: "Sign" })
    }

    fn from_seed(tpm: &Tpm, seed: [u8; 32]) -> Result<Self, TpmError> {
        // In the owner's hierarchy: clearing the TPM for its next owner ends the key.
        let (loaded, public) = tpm.create_primary(TpmRh::Owner, &template::node_key(&seed))?;
        Ok(Self {
            loaded,
            public,
            seed,
        })
    }
}

/// `SEQUENCE { INTEGER r, INTEGER s }` of two P-256 numbers.
fn der_signature(r: &[u8], s: &[u8]) -> Option<Vec<u8>> {
    let content = [der_integer(r)?, der_integer(s)?].concat();
    Some(
        [
            &[0x30, u8::try_from(content.len()).ok()?],
            content.as_slice(),
        ]
        .concat(),
    )
}

fn der_integer(number: &[u8]) -> Option<Vec<u8>> {
    let zeros = number.iter().take_while(|byte| **byte == 0).count();
    let digits = number.get(zeros..)?;
    let first = *digits.first()?;
    let sign: &[u8] = if first < 0x80 { &[] } else { &[0] };
    let size = u8::try_from(sign.len() + digits.len())
        .ok()
        .filter(|size| *size <= 33)?;
    Some([&[0x02, size], sign, digits].concat())
}

/// Some makers fill the NV index behind the certificate.
fn without_padding(mut content: Vec<u8>) -> Vec<u8> {
    if let Some([0x30, 0x82, high, low]) = content.first_chunk::<4>() {
        content.truncate(usize::from(u16::from_be_bytes([*high, *low])) + 4);
    }
    content
}

/// Makes our attestation key another one than that of other software. Not secret.
const AK_SEED: &[u8; 32] = b"bailiwick attestation key, v1\0\0\0";
const STATE_MAGIC: &[u8] = b"bailiwick-node-key-v1\0";

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn signatures_are_shortest_der() {
        let r = [&[0_u8, 0][..], &[0x80; 30]].concat();
        let der = der_signature(&r, &[1]).unwrap();
        assert_eq!(der[..5], [0x30, 36, 0x02, 31, 0]);
        assert_eq!(der[35..], [0x02, 1, 1]);
        assert!(der_signature(&[0; 32], &[1]).is_none());
        assert!(der_signature(&[1; 40], &[1]).is_none());
    }

    #[test]
    fn padding_behind_a_certificate_is_cut() {
        let mut content = vec![0x30, 0x82, 0x01, 0x00];
        content.extend([7; 256]);
        let exact = content.clone();
        content.extend([0xff; 40]);
        assert_eq!(without_padding(content), exact);
        assert_eq!(without_padding(vec![1, 2]), [1, 2]);
    }
}
