//! The commands that attestation needs, one function each, on the typed commands of `tpm2-protocol`.

use tpm_quote::{Credential, PcrBank, PcrSelection, PcrSlot, PcrValues, PublicArea};
use tpm2_protocol::TpmUnmarshal;
use tpm2_protocol::basic::{TpmHandle, TpmInt32, TpmUint16, TpmUint32};
use tpm2_protocol::data::{
    Tpm2bAuth, Tpm2bData, Tpm2bDigest, Tpm2bEncryptedSecret, Tpm2bIdObject, Tpm2bNonce,
    Tpm2bPublic, Tpm2bSensitiveCreate, TpmAlgId, TpmCap, TpmRh, TpmSe, TpmSt, TpmaSession,
    TpmlDigestValues, TpmlPcrSelection, TpmsAuthCommand, TpmtSigScheme, TpmtSymDefObject,
    TpmtTkHashcheck,
};
use tpm2_protocol::frame::{
    TpmActivateCredentialCommand, TpmActivateCredentialResponse, TpmCertifyCommand,
    TpmCertifyResponse, TpmCreatePrimaryCommand, TpmCreatePrimaryResponse, TpmFlushContextCommand,
    TpmFlushContextResponse, TpmGetCapabilityCommand, TpmGetCapabilityResponse,
    TpmGetRandomCommand, TpmGetRandomResponse, TpmNvReadCommand, TpmNvReadPublicCommand,
    TpmNvReadPublicResponse, TpmNvReadResponse, TpmPcrExtendCommand, TpmPcrExtendResponse,
    TpmPcrReadCommand, TpmPcrReadResponse, TpmPolicySecretCommand, TpmPolicySecretResponse,
    TpmQuoteCommand, TpmQuoteResponse, TpmSignCommand, TpmSignResponse, TpmStartAuthSessionCommand,
    TpmStartAuthSessionResponse,
};
use zeroize::Zeroizing;

use crate::client::Tpm;
use crate::error::TpmError;

/// An object or session in the TPM's memory; leaves it when dropped.
#[derive(Debug)]
pub(crate) struct Loaded {
    pub(crate) tpm: Tpm,
    pub(crate) handle: u32,
}

impl Drop for Loaded {
    fn drop(&mut self) {
        // Nobody is left to tell; a connection that broke took its objects along.
        let _ = self.tpm.flush(self.handle);
    }
}

/// The bytes of a TPM's statement and of its signature.
pub(crate) struct Signed {
    pub(crate) attest: Vec<u8>,
    pub(crate) signature: Vec<u8>,
}

impl Tpm {
    /// 32 random bytes made by the TPM.
    ///
    /// # Errors
    /// When the TPM refuses or does not answer.
    pub fn random(&self) -> Result<Zeroizing<[u8; 32]>, TpmError> {
        let command = TpmGetRandomCommand {
            handles: [],
            bytes_requested: TpmUint16::from(32),
        };
        let mut answer = self.run::<_, TpmGetRandomResponse>("GetRandom", &command, &[])?;
        let bytes = answer
            .sized()?
            .first_chunk::<32>()
            .ok_or(TpmError::Protocol {
                command: "GetRandom",
            })?;
        Ok(Zeroizing::new(*bytes))
    }

    /// The values of the selected registers.
    ///
    /// # Errors
    /// When the TPM refuses, does not answer, or does not have the bank.
    pub fn pcr_read(&self, pcrs: &PcrSelection) -> Result<PcrValues, TpmError> {
        let what = "PCR_Read";
        let protocol = || TpmError::Protocol { command: what };
        let mut values = Vec::new();
        // A TPM returns eight values at most: ask for one after the other.
        for index in pcrs.indices() {
            let one = PcrSelection::new(pcrs.bank(), [index]).map_err(|_| protocol())?;
            let command = TpmPcrReadCommand {
                handles: [],
                pcr_selection_in: selection(what, &one)?,
            };
            let mut answer = self.run::<_, TpmPcrReadResponse>(what, &command, &[])?;
            answer.u32()?;
            if answer.take(one.to_bytes().len())? != one.to_bytes() || answer.u32()? != 1 {
                return Err(protocol());
            }
            values.push((index, answer.sized()?.to_vec()));
        }
        PcrValues::new(pcrs.bank(), values).map_err(|_| protocol())
    }

    /// Extends a register in the given banks.
    ///
    /// # Errors
    /// When the TPM refuses or does not answer.
    pub fn pcr_extend(&self, pcr: PcrSlot, digests: &[(PcrBank, Vec<u8>)]) -> Result<(), TpmError> {
        let what = "PCR_Extend";
        let mut list = u32::try_from(digests.len())
            .unwrap_or(u32::MAX)
            .to_be_bytes()
            .to_vec();
        for (bank, digest) in digests {
            list.extend_from_slice(&bank.algorithm().id().to_be_bytes());
            list.extend_from_slice(digest);
        }
        let command = TpmPcrExtendCommand {
            handles: [TpmHandle::new(pcr.index().into())],
            digests: whole::<TpmlDigestValues>(what, &list)?,
        };
        self.run::<_, TpmPcrExtendResponse>(what, &command, &[password()])?;
        Ok(())
    }

    /// Makes the primary key that `template` describes.
    pub(crate) fn create_primary(
        &self,
        hierarchy: TpmRh,
        template: &[u8],
    ) -> Result<(Loaded, PublicArea), TpmError> {
        let what = "CreatePrimary";
        let protocol = || TpmError::Protocol { command: what };
        let mut sized = u16::try_from(template.len())
            .map_err(|_| protocol())?
            .to_be_bytes()
            .to_vec();
        sized.extend_from_slice(template);
        let command = TpmCreatePrimaryCommand {
            handles: [TpmHandle::new(hierarchy.value())],
            in_sensitive: Tpm2bSensitiveCreate::default(),
            in_public: whole::<Tpm2bPublic>(what, &sized)?,
            outside_info: Tpm2bData::default(),
            creation_pcr: TpmlPcrSelection::default(),
        };
        let mut answer = self.run::<_, TpmCreatePrimaryResponse>(what, &command, &[password()])?;
        let loaded = Loaded {
            tpm: self.clone(),
            handle: answer.handle.ok_or_else(protocol)?,
        };
        let public = PublicArea::parse(answer.sized()?).map_err(|_| protocol())?;
        Ok((loaded, public))
    }

    /// The content of an NV index that anybody may read, or nothing where there is no such index.
    pub(crate) fn nv_read(&self, index: u32) -> Result<Option<Vec<u8>>, TpmError> {
        let what = "NV_ReadPublic";
        let command = TpmNvReadPublicCommand {
            handles: [TpmHandle::new(index)],
        };
        let mut answer = match self.run::<_, TpmNvReadPublicResponse>(what, &command, &[]) {
            // A handle without an object: no such index.
            Err(TpmError::Refused { code: 0x18b, .. }) => return Ok(None),
            other => other?,
        };
        // The size of the content is the last field of the public part.
        let public = answer.sized()?;
        let tail = public
            .last_chunk::<2>()
            .ok_or(TpmError::Protocol { command: what })?;
        let size = u16::from_be_bytes(*tail);
        let mut content = Vec::with_capacity(size.into());
        for offset in (0..size).step_by(NV_CHUNK.into()) {
            let command = TpmNvReadCommand {
                handles: [TpmHandle::new(index), TpmHandle::new(index)],
                size: TpmUint16::from(NV_CHUNK.min(size - offset)),
                offset: TpmUint16::from(offset),
            };
            let mut answer =
                self.run::<_, TpmNvReadResponse>("NV_Read", &command, &[password()])?;
            content.extend_from_slice(answer.sized()?);
        }
        Ok(Some(content))
    }

    pub(crate) fn quote(
        &self,
        ak: &Loaded,
        data: &[u8; 32],
        pcrs: &PcrSelection,
    ) -> Result<Signed, TpmError> {
        let what = "Quote";
        let command = TpmQuoteCommand {
            handles: [TpmHandle::new(ak.handle)],
            qualifying_data: buffer::<Tpm2bData>(what, data)?,
            in_scheme: TpmtSigScheme::default(),
            pcr_select: selection(what, pcrs)?,
        };
        let mut answer = self.run::<_, TpmQuoteResponse>(what, &command, &[password()])?;
        Ok(Signed {
            attest: answer.sized()?.to_vec(),
            signature: answer.rest().to_vec(),
        })
    }

    pub(crate) fn certify(
        &self,
        ak: &Loaded,
        subject: &Loaded,
        data: &[u8; 32],
    ) -> Result<Signed, TpmError> {
        let what = "Certify";
        let command = TpmCertifyCommand {
            handles: [TpmHandle::new(subject.handle), TpmHandle::new(ak.handle)],
            qualifying_data: buffer::<Tpm2bData>(what, data)?,
            in_scheme: TpmtSigScheme::default(),
        };
        let mut answer =
            self.run::<_, TpmCertifyResponse>(what, &command, &[password(), password()])?;
        Ok(Signed {
            attest: answer.sized()?.to_vec(),
            signature: answer.rest().to_vec(),
        })
    }

    /// Signs a digest; returns the two numbers of an ECDSA signature.
    pub(crate) fn sign(
        &self,
        key: &Loaded,
        digest: &[u8; 32],
    ) -> Result<(Vec<u8>, Vec<u8>), TpmError> {
        let what = "Sign";
        let validation = TpmtTkHashcheck {
            tag: TpmSt::HashCheck,
            hierarchy: TpmRh::Null,
            digest: Tpm2bDigest::default(),
        };
        let command = TpmSignCommand {
            handles: [TpmHandle::new(key.handle)],
            digest: buffer::<Tpm2bDigest>(what, digest)?,
            in_scheme: TpmtSigScheme::default(),
            validation,
        };
        let mut answer = self.run::<_, TpmSignResponse>(what, &command, &[password()])?;
        if answer.u16()? != TpmAlgId::Ecdsa.value() || answer.u16()? != TpmAlgId::Sha256.value() {
            return Err(TpmError::Protocol { command: what });
        }
        let r = answer.sized()?.to_vec();
        let s = answer.sized()?.to_vec();
        Ok((r, s))
    }

    /// Opens a credential made for `ek` and `ak`. `policy` says whether the endorsement key wants its policy.
    pub(crate) fn activate(
        &self,
        ak: &Loaded,
        ek: &Loaded,
        credential: &Credential,
        policy: EkAuthorization,
    ) -> Result<Zeroizing<Vec<u8>>, TpmError> {
        let what = "ActivateCredential";
        let command = TpmActivateCredentialCommand {
            handles: [TpmHandle::new(ak.handle), TpmHandle::new(ek.handle)],
            credential_blob: whole::<Tpm2bIdObject>(what, &credential.id_object)?,
            secret: whole::<Tpm2bEncryptedSecret>(what, &credential.encrypted_secret)?,
        };
        let session = match policy {
            EkAuthorization::Password => None,
            EkAuthorization::Policy => Some(self.endorsement_session()?),
        };
        let ek_auth = session
            .as_ref()
            .map_or_else(password, |session| in_session(session.handle));
        let mut answer =
            self.run::<_, TpmActivateCredentialResponse>(what, &command, &[password(), ek_auth])?;
        Ok(Zeroizing::new(answer.sized()?.to_vec()))
    }

    /// A policy session in which the endorsement hierarchy's secret was shown: "PolicyA" of the EK templates.
    fn endorsement_session(&self) -> Result<Loaded, TpmError> {
        let what = "StartAuthSession";
        let command = TpmStartAuthSessionCommand {
            handles: [
                TpmHandle::new(TpmRh::Null.value()),
                TpmHandle::new(TpmRh::Null.value()),
            ],
            nonce_caller: buffer::<Tpm2bNonce>(what, self.random()?.as_slice())?,
            encrypted_salt: Tpm2bEncryptedSecret::default(),
            session_type: TpmSe::Policy,
            symmetric: TpmtSymDefObject::default(),
            auth_hash: TpmAlgId::Sha256,
        };
        let answer = self.run::<_, TpmStartAuthSessionResponse>(what, &command, &[])?;
        let handle = answer.handle.ok_or(TpmError::Protocol { command: what })?;
        let session = Loaded {
            tpm: self.clone(),
            handle,
        };
        let command = TpmPolicySecretCommand {
            handles: [
                TpmHandle::new(TpmRh::Endorsement.value()),
                TpmHandle::new(handle),
            ],
            nonce_tpm: Tpm2bNonce::default(),
            cp_hash_a: Tpm2bDigest::default(),
            policy_ref: Tpm2bNonce::default(),
            expiration: TpmInt32::from(0),
        };
        self.run::<_, TpmPolicySecretResponse>("PolicySecret", &command, &[password()])?;
        Ok(session)
    }

    fn flush(&self, handle: u32) -> Result<(), TpmError> {
        let command = TpmFlushContextCommand {
            handles: [],
            flush_handle: TpmHandle::new(handle),
        };
        self.run::<_, TpmFlushContextResponse>("FlushContext", &command, &[])?;
        Ok(())
    }

    /// Removes all transient objects and loaded sessions.
    pub(crate) fn flush_leftovers(&self) -> Result<(), TpmError> {
        let what = "GetCapability";
        for first in [FIRST_TRANSIENT, FIRST_LOADED_SESSION] {
            let command = TpmGetCapabilityCommand {
                handles: [],
                cap: TpmCap::Handles,
                property: TpmUint32::from(first),
                property_count: TpmUint32::from(64),
            };
            let mut answer = self.run::<_, TpmGetCapabilityResponse>(what, &command, &[])?;
            // More data?, then the capability asked for, then the list.
            answer.take(1)?;
            answer.u32()?;
            for _ in 0..answer.u32()?.min(64) {
                self.flush(answer.u32()?)?;
            }
        }
        Ok(())
    }
}

/// How the use of an endorsement key is authorised: that depends on its template.
#[derive(Debug, Clone, Copy)]
pub(crate) enum EkAuthorization {
    /// High range: the empty authorisation value.
    Password,
    /// Low range: the endorsement hierarchy's secret, in a policy session.
    Policy,
}

/// The empty authorisation value.
fn password() -> TpmsAuthCommand {
    in_session(TpmRh::Pw.value())
}

fn in_session(handle: u32) -> TpmsAuthCommand {
    TpmsAuthCommand {
        session_handle: TpmHandle::new(handle),
        nonce: Tpm2bNonce::default(),
        session_attributes: TpmaSession::CONTINUE_SESSION,
        hmac: Tpm2bAuth::default(),
    }
}

/// A buffer type of the protocol with this content.
fn buffer<'a, T: TryFrom<&'a [u8]>>(what: &'static str, bytes: &'a [u8]) -> Result<T, TpmError> {
    T::try_from(bytes).map_err(|_| TpmError::Protocol { command: what })
}

/// A type of the protocol that is written as exactly these bytes.
fn whole<T: TpmUnmarshal>(what: &'static str, bytes: &[u8]) -> Result<T, TpmError> {
    match T::unmarshal(bytes) {
        Ok((value, [])) => Ok(value),
        _ => Err(TpmError::Protocol { command: what }),
    }
}

fn selection(what: &'static str, pcrs: &PcrSelection) -> Result<TpmlPcrSelection, TpmError> {
    whole(what, &pcrs.to_bytes())
}

const FIRST_TRANSIENT: u32 = 0x8000_0000;
const FIRST_LOADED_SESSION: u32 = 0x0200_0000;
/// Every TPM reads this much at once.
const NV_CHUNK: u16 = 256;
