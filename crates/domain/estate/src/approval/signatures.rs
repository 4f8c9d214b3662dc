//! The signatures of a change: whether they verify, and whose they are.

use std::collections::BTreeSet;

use sshsig::SshSignature;

use super::rules::Standing;
use super::{NotApproved, Requirement};
use crate::{ChangeRecord, ChangeSignature, Estate, Founders, PersonId, SshKey};

/// Whose key made a signature, by the estate in force; it isn't verified here.
#[must_use]
pub fn signer_of(signature: &SshSignature, old: &Estate, founders: &Founders) -> Option<PersonId> {
    Signer::of(signature, old, founders).map(|signer| signer.name().clone())
}

/// Reads and verifies one signature of a change, and says whose it is.
///
/// # Errors
/// [`NotApproved`]: not a signature, not of this change, of nobody who may sign, or of a robot.
pub fn check_signature(
    record: &ChangeRecord,
    armored: &str,
    old: &Estate,
    founders: &Founders,
) -> Result<ChangeSignature, NotApproved> {
    let signature = SshSignature::parse(armored).map_err(|source| NotApproved::Text { source })?;
    let signer = verified(&signature, record, old, founders)?;
    Ok(ChangeSignature {
        person: signer.name().clone(),
        signature: armored.to_owned(),
    })
}

/// Whose a key is. The two registers are apart: a founder's key is fixed for ever, a person's key is not, so the one
/// must not speak with the authority of the other.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Signer {
    Person(PersonId),
    Founder(PersonId),
    Both { person: PersonId, founder: PersonId },
}

impl Signer {
    fn of(signature: &SshSignature, old: &Estate, founders: &Founders) -> Option<Self> {
        let key = SshKey::from(signature.public_key().clone());
        let mut persons = old.people.persons.iter();
        let person = persons.find(|(_, person)| person.keys.contains(&key));
        let person = person.map(|(id, _)| id.clone());
        let founder = founders.with_key(key.public_key()).cloned();
        match (person, founder) {
            (Some(person), Some(founder)) => Some(Self::Both { person, founder }),
            (Some(person), None) => Some(Self::Person(person)),
            (None, founder) => founder.map(Self::Founder),
        }
    }

    pub(super) fn name(&self) -> &PersonId {
        match self {
            Self::Person(person) | Self::Both { person, .. } => person,
            Self::Founder(founder) => founder,
        }
    }

    pub(super) fn names(&self) -> impl Iterator<Item = &PersonId> {
        let (first, second) = match self {
            Self::Person(one) | Self::Founder(one) => (one, None),
            Self::Both { person, founder } => (person, Some(founder)),
        };
        [first].into_iter().chain(second)
    }

    /// Who counts for a requirement: founders for the founders', people of the estate for all others.
    pub(super) fn counts_for(&self, requirement: &Requirement) -> Option<&PersonId> {
        let founders = requirement.is_of_founders();
        let name = match self {
            Self::Person(person) => (!founders).then_some(person),
            Self::Founder(founder) => founders.then_some(founder),
            Self::Both { person, founder } => Some(if founders { founder } else { person }),
        };
        name.filter(|name| requirement.members.contains(*name))
    }

    pub(super) fn stands(&self, standing: &Standing) -> bool {
        let Standing {
            people, founders, ..
        } = standing;
        match self {
            Self::Person(person) => people.contains(person),
            Self::Founder(founder) => founders.contains(founder),
            Self::Both { person, founder } => people.contains(person) || founders.contains(founder),
        }
    }
}

fn verified(
    signature: &SshSignature,
    record: &ChangeRecord,
    old: &Estate,
    founders: &Founders,
) -> Result<Signer, NotApproved> {
    let signer = Signer::of(signature, old, founders).ok_or_else(|| NotApproved::Stranger {
        fingerprint: signature.public_key().fingerprint(),
    })?;
    let text = record.hash().to_string();
    let check = |text: &str| {
        signature.verify(
            signature.public_key(),
            ChangeRecord::NAMESPACE,
            text.as_bytes(),
        )
    };
    // `echo` ends the line, a program does not.
    check(&text)
        .or_else(|_| check(&format!("{text}\n")))
        .map_err(|source| NotApproved::Signature {
            person: signer.name().clone(),
            source,
        })?;
    let robot = |one: &&PersonId| old.people.persons.get(*one).is_some_and(|one| one.robot);
    let robot = signer.names().find(robot).cloned();
    robot.map_or(Ok(signer), |robot| Err(NotApproved::Robot(robot)))
}

/// Each signature must verify: one that is skipped would hide that somebody tampers.
pub(super) fn signers(
    record: &ChangeRecord,
    old: &Estate,
    founders: &Founders,
) -> Result<BTreeSet<Signer>, NotApproved> {
    if record.signatures.len() > MAX_SIGNATURES {
        return Err(NotApproved::TooMany);
    }
    let signer = |entry: &ChangeSignature| {
        let ChangeSignature { person, signature } = entry;
        let signature =
            SshSignature::parse(signature).map_err(|source| NotApproved::Signature {
                person: person.clone(),
                source,
            })?;
        let signer = verified(&signature, record, old, founders)?;
        if signer.name() != person {
            return Err(NotApproved::OtherSigner {
                claimed: person.clone(),
                signer: signer.name().clone(),
            });
        }
        Ok(signer)
    };
    record.signatures.iter().map(signer).collect()
}

/// More than any rule wants, and few enough to verify at each start.
pub(super) const MAX_SIGNATURES: usize = 64;
