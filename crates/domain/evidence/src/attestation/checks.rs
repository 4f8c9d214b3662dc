//! The single checks of an attestation: keys, certificate, quote, boot state. Each says no by name.

use std::collections::BTreeMap;

use estate::{Assurance, BootProfileName, Digest, Epoch, Timestamp};
use tpm_quote::{PcrBank, PcrSelection, PcrValues, PublicArea, QuoteExpectation, verify_quote};

use super::{AttestationError, Enrolled, TpmHello};
use crate::{Attestor, NodeFacts};

pub(super) struct Quoted {
    pub(super) values: PcrValues,
    pub(super) reset_count: u32,
}

pub(super) fn quoted_state(
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

pub(super) fn check_keys(hello: &TpmHello, enrolled: &Enrolled) -> Result<(), AttestationError> {
    let found = Digest::from_bytes(hello.ek.spki_sha256());
    if enrolled.ek != Some(found) {
        return Err(AttestationError::OtherEndorsementKey { found });
    }
    let unfit = |key| move |source| AttestationError::UnfitKey { key, source };
    hello.ek.require_ek().map_err(unfit("endorsement key"))?;
    hello.ak.require_ak().map_err(unfit("attestation key"))?;
    hello.node_key.require_node_key().map_err(unfit("node key"))
}

pub(super) fn check_certificate(
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
pub(super) fn selection(enrolled: &Enrolled) -> Result<PcrSelection, AttestationError> {
    let none = || AttestationError::NoBootProfile(enrolled.node.clone());
    let (_, states) = enrolled.boot.as_ref().ok_or_else(none)?;
    let first = states.first().ok_or_else(none)?;
    PcrSelection::new(PcrBank::Sha256, first.keys().copied()).map_err(|_| none())
}

pub(super) fn judge(
    enrolled: &Enrolled,
    values: &PcrValues,
) -> Result<BootProfileName, AttestationError> {
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

pub(super) fn facts(
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
