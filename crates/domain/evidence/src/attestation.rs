//! Node attestation (DESIGN 5.2), the server's side: bytes and time come in, [`VerifiedAttestation`] comes out.

use std::collections::BTreeMap;

use base64::{Engine, engine::general_purpose::URL_SAFE_NO_PAD as B64};
use estate::{
    Assurance, BootProfileName, ClusterName, Digest, Epoch, LocationName, NodeName, Timestamp,
};
use jose::Jwk;
use serde::Serialize;
use spiffe_id::TrustDomain;
use tpm_quote::{
    PcrBank, PcrSelection, PcrValues, PublicArea, QuoteExpectation, verify_certify, verify_quote,
};

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

/// Why a node is not admitted. Each is a refusal on record; the fault is the node's unless said otherwise.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum AttestationError {
    /// Fault: the node, or whoever keeps the inventory.
    #[error("node `{0}` is not in the inventory")]
    NotEnrolled(NodeName),
    /// Fault: the node.
    #[error("node `{node}` must attest by `{expected}`")]
    OtherAttestor {
        /// The node.
        node: NodeName,
        /// What the inventory wants.
        expected: &'static str,
    },
    /// Fault: the node, or whoever keeps the inventory: it is not where it should be.
    #[error("address {remote} is not one of site `{site}`")]
    OtherNetwork {
        /// The site with the prefixes.
        site: LocationName,
        /// Where the connection comes from.
        remote: std::net::IpAddr,
    },
    /// Fault: the node.
    #[error("the `{what}` that the node sent can't be read")]
    Malformed {
        /// What.
        what: &'static str,
    },
    /// Fault: the node, or whoever keeps the inventory: another TPM.
    #[error("the endorsement key `{found}` is not the one enrolled for this node")]
    OtherEndorsementKey {
        /// Hash of the key that the node has.
        found: Digest,
    },
    /// Fault: the node: no TPM of a known manufacturer.
    #[error("the endorsement key has no certificate of a known manufacturer")]
    Certificate(#[source] tpm_quote::EkError),
    /// Fault: whoever configured the server.
    #[error("the server knows no TPM manufacturer")]
    NoManufacturer,
    /// Fault: the node: a key without the properties that it needs.
    #[error("the node's {key} is not fit for its use")]
    UnfitKey {
        /// Which key.
        key: &'static str,
        /// What it lacks.
        #[source]
        source: tpm_quote::UnfitKey,
    },
    /// Fault: the node: the attestation key is not in the TPM of the endorsement key.
    #[error("the node could not open the credential: its attestation key lives elsewhere")]
    NotActivated,
    /// Fault: the node: the node key is not in the TPM.
    #[error("the node key is not certified by the attestation key")]
    NotCertified(#[source] tpm_quote::QuoteError),
    /// Fault: the node.
    #[error("the quote is refused")]
    Quote(#[source] tpm_quote::QuoteError),
    /// Fault: the node: the event log does not lead to the quoted state.
    #[error("the boot state is not proven")]
    Boot(#[source] tpm_quote::BootError),
    /// Fault: the node, or whoever keeps its boot profile.
    #[error(
        "the boot state is not one that profile `{profile}` accepts: {differs} differ from the nearest accepted state"
    )]
    OtherBootState {
        /// The profile.
        profile: BootProfileName,
        /// Which PCRs, such as `PCR 4, PCR 9`.
        differs: String,
    },
    /// Fault: whoever keeps the inventory.
    #[error("node `{0}` has no boot profile")]
    NoBootProfile(NodeName),
    /// Fault: the node: its TPM was reset since, so the old keys are dead and it has to attest in full.
    #[error("the node was restarted meanwhile")]
    Restarted,
    /// Fault: the node: it does not hold the key that it names.
    #[error("the node does not hold the key that it asks a certificate for")]
    NoPossession,
    /// Fault: this machine.
    #[error("no challenge could be made")]
    Challenge(#[source] tpm_quote::CredentialError),
}

/// What both sides bind into the TPM's answers.
#[derive(Debug, Clone)]
pub struct AttestBinding {
    /// Trust domain.
    pub trust_domain: TrustDomain,
    /// The node.
    pub node: NodeName,
    /// `enrol`, `renew` or `quote`.
    pub purpose: Purpose,
    /// Name of the attestation key; empty without a TPM.
    pub ak_name: Vec<u8>,
    /// Name of the node key; without a TPM the SHA-256 of its SubjectPublicKeyInfo.
    pub node_key_name: Vec<u8>,
    /// Statement key.
    pub statement_key: Jwk,
    /// Node HPKE key.
    pub hpke_key: Confirmation,
    /// TLS exporter of the connection.
    pub exporter: [u8; 32],
}

/// Why a TPM is asked.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Purpose {
    /// First attestation of a session.
    Enrol,
    /// Attestation with new keys before the certificate ends.
    Renew,
    /// A fresh quote within a session.
    Quote,
}

impl Purpose {
    /// The name in the bound bytes.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Enrol => "enrol",
            Self::Renew => "renew",
            Self::Quote => "quote",
        }
    }
}

impl AttestBinding {
    /// SHA-256(`"bailiwick/attest/v1\0"` ‖ nonce ‖ SHA-256(JCS{td, node, purpose, akName, nodeKeyName, statementKey,
    /// hpkeKey, tlsExporter})), DESIGN 5.2 step 3.
    pub fn qualifying_data(&self, nonce: &[u8; 32]) -> [u8; 32] {
        #[derive(Serialize)]
        #[serde(rename_all = "camelCase")]
        struct Bound<'a> {
            td: String,
            node: &'a NodeName,
            purpose: &'static str,
            ak_name: String,
            node_key_name: String,
            statement_key: String,
            hpke_key: &'a Confirmation,
            tls_exporter: String,
        }
        let bound = Bound {
            td: self.trust_domain.to_string(),
            node: &self.node,
            purpose: self.purpose.as_str(),
            ak_name: hex::encode(&self.ak_name),
            node_key_name: hex::encode(&self.node_key_name),
            statement_key: B64.encode(self.statement_key.thumbprint().as_bytes()),
            hpke_key: &self.hpke_key,
            tls_exporter: B64.encode(self.exporter),
        };
        // A struct of strings always has a canonical form; were it not so, the empty one matches nothing that a TPM signed.
        let inner = serde_json_canonicalizer::to_vec(&bound).unwrap_or_default();
        let whole = [
            b"bailiwick/attest/v1\0".as_slice(),
            nonce,
            Digest::of(inner).as_bytes(),
        ]
        .concat();
        *Digest::of(whole).as_bytes()
    }
}

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

struct Quoted {
    values: PcrValues,
    reset_count: u32,
}

fn quoted_state(
    ak: &PublicArea,
    quote: &(Vec<u8>, Vec<u8>),
    event_log: &[u8],
    selection: &PcrSelection,
    qualifying: &[u8; 32],
) -> Result<Quoted, AttestationError> {
    let expect = QuoteExpectation {
        qualifying_data: qualifying,
        pcrs: selection,
    };
    let quote = verify_quote(ak, &quote.0, &quote.1, &expect).map_err(AttestationError::Quote)?;
    let log = tpm_quote::EventLog::parse(event_log)
        .map_err(|_| AttestationError::Malformed { what: "event log" })?;
    let boot = quote.prove_log(&log).map_err(AttestationError::Boot)?;
    Ok(Quoted {
        values: boot.values().clone(),
        reset_count: quote.reset_count(),
    })
}

fn check_keys(hello: &TpmHello, enrolled: &Enrolled) -> Result<(), AttestationError> {
    let found = Digest::from_bytes(hello.ek.spki_sha256());
    if enrolled.ek != Some(found) {
        return Err(AttestationError::OtherEndorsementKey { found });
    }
    let unfit = |key| move |source| AttestationError::UnfitKey { key, source };
    hello.ek.require_ek().map_err(unfit("endorsement key"))?;
    hello.ak.require_ak().map_err(unfit("attestation key"))?;
    hello.node_key.require_node_key().map_err(unfit("node key"))
}

fn check_certificate(
    hello: &TpmHello,
    roots: Option<&tpm_quote::ManufacturerRoots>,
    now: Timestamp,
) -> Result<(), AttestationError> {
    let roots = roots.ok_or(AttestationError::NoManufacturer)?;
    let (certificate, chain) = hello
        .ek_chain
        .split_first()
        .ok_or(AttestationError::Malformed {
            what: "endorsement key certificate",
        })?;
    let seconds = u64::try_from(now.as_seconds()).unwrap_or_default();
    tpm_quote::verify_ek_certificate(certificate, chain, roots, &hello.ek, seconds)
        .map(drop)
        .map_err(AttestationError::Certificate)
}

/// The registers that a profile speaks of. All its states must speak of the same ones.
fn selection(enrolled: &Enrolled) -> Result<PcrSelection, AttestationError> {
    let none = || AttestationError::NoBootProfile(enrolled.node.clone());
    let (_, states) = enrolled.boot.as_ref().ok_or_else(none)?;
    let first = states.first().ok_or_else(none)?;
    PcrSelection::new(PcrBank::Sha256, first.keys().copied()).map_err(|_| none())
}

fn judge(enrolled: &Enrolled, values: &PcrValues) -> Result<BootProfileName, AttestationError> {
    let (profile, states) = enrolled
        .boot
        .as_ref()
        .ok_or_else(|| AttestationError::NoBootProfile(enrolled.node.clone()))?;
    let quoted: BTreeMap<u8, &[u8]> = values.iter().collect();
    let differs = |state: &BTreeMap<u8, [u8; 32]>| -> Vec<u8> {
        let missing = state
            .keys()
            .filter(|index| !quoted.contains_key(index))
            .copied();
        let other = quoted
            .iter()
            .filter(|(index, value)| state.get(index).map(<[u8; 32]>::as_slice) != Some(value))
            .map(|(index, _)| *index);
        missing.chain(other).collect()
    };
    let nearest = states
        .iter()
        .map(differs)
        .min_by_key(Vec::len)
        .unwrap_or_default();
    if nearest.is_empty() && !states.is_empty() {
        return Ok(profile.clone());
    }
    let differs = nearest
        .iter()
        .map(|index| format!("PCR {index}"))
        .collect::<Vec<_>>()
        .join(", ");
    Err(AttestationError::OtherBootState {
        profile: profile.clone(),
        differs,
    })
}

fn facts(
    enrolled: &Enrolled,
    attestor: Attestor,
    boot: Option<BootProfileName>,
    quoted_at: Option<Timestamp>,
) -> NodeFacts {
    let assurance = match attestor {
        Attestor::Tpm => Assurance::ENROLLED,
        Attestor::JoinToken => Assurance::OWN_WORD,
    };
    NodeFacts {
        name: enrolled.node.clone(),
        cluster: enrolled.cluster.clone(),
        location: enrolled.location.clone(),
        assurance,
        attestor,
        boot,
        quoted_at,
        epoch: Epoch(0),
    }
}
