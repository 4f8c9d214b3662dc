//! Node attestation (DESIGN 5.2), the server's side: bytes and time come in, [`VerifiedAttestation`] comes out.

mod binding;
mod checks;
mod error;

use std::collections::BTreeMap;

use estate::{BootProfileName, ClusterName, Digest, LocationName, NodeName, Timestamp};
use jose::Jwk;
use tpm_quote::{PcrSelection, PublicArea, verify_certify};

pub use binding::{AttestBinding, Purpose};
pub use error::AttestationError;

use self::checks::{check_certificate, check_keys, facts, judge, quoted_state, selection};
use crate::{Attestor, Confirmation, NodeFacts};

/// What the inventory says about a node.
#[derive(Debug, Clone)]
pub struct Enrolled {
    /// The node.
    pub node: NodeName,
    /// Its cluster.
    pub cluster: Option<ClusterName>,
    /// Its location.
    pub location: Option<LocationName>,
    /// The attestor that it must use.
    pub attestor: Attestor,
    /// SHA-256 of the endorsement key's SubjectPublicKeyInfo.
    pub ek: Option<Digest>,
    /// The boot profile it must meet, and the states that the profile accepts.
    pub boot: Option<(BootProfileName, Vec<PcrState>)>,
}

/// PCR index → value in the SHA-256 bank.
pub type PcrState = BTreeMap<u8, [u8; 32]>;

/// The TPM's public areas as the node sent them.
#[derive(Debug)]
pub struct TpmHello {
    /// EK certificate, then intermediates, DER.
    pub ek_chain: Vec<Vec<u8>>,
    /// Endorsement key.
    pub ek: PublicArea,
    /// Attestation key.
    pub ak: PublicArea,
    /// Node key.
    pub node_key: PublicArea,
}

/// What the node must open, and over which registers it must quote.
#[derive(Debug, Clone)]
pub struct Challenge {
    /// 32 random bytes.
    pub nonce: [u8; 32],
    /// First result of TPM2_MakeCredential.
    pub id_object: Vec<u8>,
    /// Second result of TPM2_MakeCredential.
    pub encrypted_secret: Vec<u8>,
    /// PCR indices of the SHA-256 bank.
    pub pcrs: Vec<u8>,
}

/// The node's answer to a challenge.
#[derive(Debug, Default)]
pub struct Proof {
    /// The opened credential.
    pub activated_secret: Vec<u8>,
    /// TPMS_ATTEST and TPMT_SIGNATURE of TPM2_Certify over the node key.
    pub certify: (Vec<u8>, Vec<u8>),
    /// TPMS_ATTEST and TPMT_SIGNATURE of TPM2_Quote.
    pub quote: (Vec<u8>, Vec<u8>),
    /// The event log.
    pub event_log: Vec<u8>,
}

/// A TPM attestation between challenge and proof.
#[derive(Debug)]
pub struct TpmAttestation {
    hello: TpmHello,
    binding: AttestBinding,
    enrolled: Enrolled,
    nonce: [u8; 32],
    secret: zeroize::Zeroizing<[u8; 32]>,
    selection: PcrSelection,
}

impl TpmAttestation {
    /// Checks what the node claims against inventory and manufacturers, and makes the challenge.
    ///
    /// # Errors
    /// [`AttestationError`]
    pub fn begin(
        hello: TpmHello,
        binding: AttestBinding,
        enrolled: Enrolled,
        roots: Option<&tpm_quote::ManufacturerRoots>,
        now: Timestamp,
        random: [[u8; 32]; 2],
    ) -> Result<(Self, Challenge), AttestationError> {
        if enrolled.attestor != Attestor::Tpm {
            return Err(AttestationError::OtherAttestor {
                node: enrolled.node,
                expected: "join-token",
            });
        }
        check_keys(&hello, &enrolled)?;
        check_certificate(&hello, roots, now)?;
        let selection = selection(&enrolled)?;
        let [nonce, secret] = random;
        let credential = tpm_quote::make_credential(&hello.ek, &hello.ak.name(), &secret)
            .map_err(AttestationError::Challenge)?;
        let challenge = Challenge {
            nonce,
            id_object: credential.id_object,
            encrypted_secret: credential.encrypted_secret,
            pcrs: selection.indices().collect(),
        };
        let binding = AttestBinding {
            ak_name: hello.ak.name().as_bytes().to_vec(),
            node_key_name: hello.node_key.name().as_bytes().to_vec(),
            ..binding
        };
        let secret = zeroize::Zeroizing::new(secret);
        Ok((
            Self {
                hello,
                binding,
                enrolled,
                nonce,
                secret,
                selection,
            },
            challenge,
        ))
    }

    /// Checks the node's answer.
    ///
    /// # Errors
    /// [`AttestationError`]
    pub fn finish(
        self,
        proof: &Proof,
        now: Timestamp,
    ) -> Result<VerifiedAttestation, AttestationError> {
        // Both are random and of one use, so a difference in time tells nothing that helps a second try.
        if aws_lc_rs::constant_time::verify_slices_are_equal(
            &proof.activated_secret,
            self.secret.as_slice(),
        )
        .is_err()
        {
            return Err(AttestationError::NotActivated);
        }
        let qualifying = self.binding.qualifying_data(&self.nonce);
        let ak = &self.hello.ak;
        let (attest, signature) = &proof.certify;
        let certified = verify_certify(ak, attest, signature, &self.hello.node_key, &qualifying)
            .map_err(AttestationError::NotCertified)?;
        let quoted = quoted_state(
            ak,
            &proof.quote,
            &proof.event_log,
            &self.selection,
            &qualifying,
        )?;
        if certified.clock().reset_count != quoted.reset_count {
            return Err(AttestationError::Restarted);
        }
        let boot = judge(&self.enrolled, &quoted.values)?;
        let facts = facts(&self.enrolled, Attestor::Tpm, Some(boot), Some(now));
        Ok(VerifiedAttestation {
            facts,
            keys: NodeKeys {
                ek: self.enrolled.ek,
                ak_public: ak.as_bytes().to_vec(),
                node_key_spki: self.hello.node_key.spki_der(),
                node_key_name: self.binding.node_key_name.clone(),
                statement_key: self.binding.statement_key,
                hpke_key: self.binding.hpke_key,
                reset_count: quoted.reset_count,
            },
        })
    }
}

/// A lab's attestation: a one-time token and proof that the node holds its key. Proves no boot state and no place
/// beyond the inventory's word, so its assurance is 0. That the token is unused is a guard of the transaction.
///
/// # Errors
/// [`AttestationError`]
pub fn verify_join(
    binding: AttestBinding,
    enrolled: &Enrolled,
    node_key_spki: &[u8],
    nonce: &[u8; 32],
    possession: &[u8],
) -> Result<VerifiedAttestation, AttestationError> {
    if enrolled.attestor != Attestor::JoinToken {
        return Err(AttestationError::OtherAttestor {
            node: enrolled.node.clone(),
            expected: "tpm",
        });
    }
    let name = Digest::of(node_key_spki).as_bytes().to_vec();
    let binding = AttestBinding {
        ak_name: Vec::new(),
        node_key_name: name,
        ..binding
    };
    let key = Jwk::from_spki_der(node_key_spki)
        .and_then(|jwk| jose::VerifyingKey::from_jwk(&jwk))
        .map_err(|_| AttestationError::Malformed { what: "node key" })?;
    if !key.verifies(&binding.qualifying_data(nonce), possession) {
        return Err(AttestationError::NoPossession);
    }
    Ok(VerifiedAttestation {
        facts: facts(enrolled, Attestor::JoinToken, None, None),
        keys: NodeKeys {
            ek: None,
            ak_public: Vec::new(),
            node_key_spki: node_key_spki.to_vec(),
            node_key_name: binding.node_key_name,
            statement_key: binding.statement_key,
            hpke_key: binding.hpke_key,
            reset_count: 0,
        },
    })
}

/// Keys that an attestation bound to the node.
#[derive(Debug, Clone)]
pub struct NodeKeys {
    /// Hash of the endorsement key.
    pub ek: Option<Digest>,
    /// Public area of the attestation key.
    pub ak_public: Vec<u8>,
    /// Node key.
    pub node_key_spki: Vec<u8>,
    /// The node key's name in its TPM.
    pub node_key_name: Vec<u8>,
    /// Statement key.
    pub statement_key: Jwk,
    /// Node HPKE key.
    pub hpke_key: Confirmation,
    /// The TPM's reset count.
    pub reset_count: u32,
}

/// An attestation that passed every check. Only this module makes one.
#[derive(Debug)]
#[must_use]
pub struct VerifiedAttestation {
    facts: NodeFacts,
    keys: NodeKeys,
}

impl VerifiedAttestation {
    /// The node's facts; the epoch is set when it is recorded.
    pub fn facts(&self) -> &NodeFacts {
        &self.facts
    }
    /// The node's keys.
    pub fn keys(&self) -> &NodeKeys {
        &self.keys
    }
}

/// A fresh quote within a session that passed every check.
#[derive(Debug)]
#[must_use]
pub struct VerifiedQuote {
    node: NodeName,
    reset_count: u32,
    at: Timestamp,
}

impl VerifiedQuote {
    /// The node.
    pub fn node(&self) -> &NodeName {
        &self.node
    }
    /// The TPM's reset count.
    pub fn reset_count(&self) -> u32 {
        self.reset_count
    }
    /// When it was checked.
    pub fn at(&self) -> Timestamp {
        self.at
    }
}

/// Checks a fresh quote by the attestation key of the current session.
///
/// # Errors
/// [`AttestationError`]; a new reset count is for the caller to judge: it is a reboot.
pub fn verify_fresh_quote(
    enrolled: &Enrolled,
    binding: &AttestBinding,
    ak_public: &[u8],
    nonce: &[u8; 32],
    proof: &Proof,
    now: Timestamp,
) -> Result<VerifiedQuote, AttestationError> {
    let ak = PublicArea::parse(ak_public).map_err(|_| AttestationError::Malformed {
        what: "attestation key",
    })?;
    let selection = selection(enrolled)?;
    let qualifying = binding.qualifying_data(nonce);
    let quoted = quoted_state(&ak, &proof.quote, &proof.event_log, &selection, &qualifying)?;
    judge(enrolled, &quoted.values)?;
    Ok(VerifiedQuote {
        node: enrolled.node.clone(),
        reset_count: quoted.reset_count,
        at: now,
    })
}
