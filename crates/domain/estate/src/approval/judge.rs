//! Whether a change is approved: the signatures, who made them, and whether they are enough.

use std::collections::BTreeSet;

use sshsig::SshSigError;

use super::reach::{self, OutOfReach};
use super::rules::Sides;
use super::signatures::{MAX_SIGNATURES, Signer, signers};
use super::{Missing, NOBODY_ALONE, Requirement};
use crate::{
    Change, ChangeId, ChangeRecord, Effect, Estate, Founders, ObjectKind, PersonId, PolicyVersion,
    Timestamp, diff,
};

/// A change may take effect. Only [`approve`] makes one; no `Clone`, no `Default`, no public constructor.
///
/// ```
/// fn used(change: estate::ApprovedChange) { drop(change) }
/// ```
/// ```compile_fail
/// fn used(change: estate::ApprovedChange) { drop(change.clone()) }
/// ```
#[derive(Debug)]
#[must_use]
pub struct ApprovedChange {
    record: ChangeRecord,
    approvers: BTreeSet<PersonId>,
}

impl ApprovedChange {
    /// What was approved.
    #[must_use]
    pub fn record(&self) -> &ChangeRecord {
        &self.record
    }

    /// Who signed it.
    #[must_use]
    pub fn approvers(&self) -> &BTreeSet<PersonId> {
        &self.approvers
    }
}

/// A change does not take effect.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum NotApproved {
    /// Fault: none; it waits for these.
    #[error("{}", in_words(.0))]
    Missing(Vec<Missing>),
    /// Fault: none; nobody signed in time.
    #[error("change {number} expired at {at}")]
    Expired {
        /// The change.
        number: ChangeId,
        /// When.
        at: Timestamp,
    },
    /// Fault: none, or whoever replays an old approval.
    #[error("change {number} starts from version {base}, but version {in_force} is in force")]
    OtherBase {
        /// The change.
        number: ChangeId,
        /// What it starts from.
        base: PolicyVersion,
        /// What it would start from.
        in_force: PolicyVersion,
    },
    /// Fault: whoever replays what was signed for another server.
    #[error("change {number} was submitted to the ledger `{found}`, this one is `{here}`")]
    OtherLedger {
        /// The change.
        number: ChangeId,
        /// The ledger in its record.
        found: String,
        /// The one that was asked.
        here: String,
    },
    /// Fault: whoever keeps the change: these are not the estates that were signed.
    #[error("change {number} was signed for another estate")]
    OtherEstate {
        /// The change.
        number: ChangeId,
    },
    /// Fault: whoever keeps the change: promotions were edited between two versions.
    #[error("{0}")]
    Promotions(String),
    /// Fault: whoever keeps the change: the signers were shown something else than what differs.
    #[error("change {number} does not list what differs")]
    OtherChanges {
        /// The change.
        number: ChangeId,
    },
    /// Fault: none; written by a program newer than this one.
    #[error("a change in format {0} is not understood")]
    Format(u8),
    /// Fault: whoever sent it.
    #[error("the signature of `{person}` is not valid")]
    Signature {
        /// Who is said to have signed.
        person: PersonId,
        /// Why not.
        source: SshSigError,
    },
    /// Fault: whoever sent it.
    #[error("the text is not an SSH signature")]
    Text {
        /// Why not.
        source: SshSigError,
    },
    /// Fault: whoever signed: the key is of nobody in the estate in force, or of somebody who was removed from it.
    #[error("the key {fingerprint} is of nobody who may sign")]
    Stranger {
        /// The key's fingerprint.
        fingerprint: String,
    },
    /// Fault: whoever sent it.
    #[error("the signature of `{claimed}` is made with a key of `{signer}`")]
    OtherSigner {
        /// Who is said to have signed.
        claimed: PersonId,
        /// Whose key it is.
        signer: PersonId,
    },
    /// Fault: whoever sent it. Robots submit and never approve.
    #[error("`{0}` is a robot, and robots do not approve")]
    Robot(PersonId),
    /// Fault: whoever sent them.
    #[error("more than {MAX_SIGNATURES} signatures")]
    TooMany,
    /// Fault: the writer of the change: what was sealed under the name is still there, and is not the new owner's.
    #[error(
        "{what} was of {whose} when it was removed, and what was sealed for it is kept: bring it back as it was, or choose another name"
    )]
    Reused {
        /// The data set or image set.
        what: String,
        /// Its owner, or its data set.
        whose: String,
    },
    /// Fault: the writer of the change: afterwards nobody could agree to anything any more.
    #[error("{0}")]
    OutOfReach(OutOfReach),
}

/// Judges a change of the estate in force. `changes` is what differs, as the caller computed it from the two estates.
///
/// # Errors
/// [`NotApproved`]; [`NotApproved::Missing`] when nothing is wrong but signatures are wanting.
pub fn approve(
    record: &ChangeRecord,
    changes: &[Change],
    old: &Estate,
    old_version: PolicyVersion,
    new: &Estate,
    founders: &Founders,
    at: Timestamp,
) -> Result<ApprovedChange, NotApproved> {
    let number = record.number;
    if record.v != ChangeRecord::FORMAT {
        return Err(NotApproved::Format(record.v));
    }
    check_base(record, old, old_version)?;
    if record.result != new.hash() {
        return Err(NotApproved::OtherEstate { number });
    }
    if record.changes != changes || !refines(changes, &diff(old, new)) {
        return Err(NotApproved::OtherChanges { number });
    }
    if at >= record.expires {
        let at = record.expires;
        return Err(NotApproved::Expired { number, at });
    }
    reach::check(old, new).map_err(NotApproved::OutOfReach)?;
    // No signature of the change covers promotions, so a chain of versions is checked for edits between them here.
    new.check_promotions_follow(old)
        .map_err(|error| NotApproved::Promotions(error.to_string()))?;
    let sides = Sides { old, new, founders };
    let signers = signers(record, old, founders)?;
    let missing = missing(record, &sides, &signers);
    if !missing.is_empty() {
        return Err(NotApproved::Missing(missing));
    }
    Ok(ApprovedChange {
        record: record.clone(),
        approvers: signers.iter().map(|signer| signer.name().clone()).collect(),
    })
}

/// An estate may come back, so its hash alone is no base: an approval would count each time.
fn check_base(
    record: &ChangeRecord,
    old: &Estate,
    old_version: PolicyVersion,
) -> Result<(), NotApproved> {
    let (number, base, in_force) = (record.number, record.base_version, old_version);
    if base != in_force {
        return Err(NotApproved::OtherBase {
            number,
            base,
            in_force,
        });
    }
    // Before the first version there is nothing; an estate without a version was brought by no change.
    let contradictory = old_version == PolicyVersion(0) && *old != Estate::default();
    if record.base != old.hash() || contradictory {
        return Err(NotApproved::OtherEstate { number });
    }
    Ok(())
}

/// Whether `changes` are those of the estates; only the rules of a file may be known better than its text tells.
fn refines(changes: &[Change], found: &[Change]) -> bool {
    let same = |(one, other): (&Change, &Change)| {
        let refined = one.kind == ObjectKind::Policy && other.effect == Effect::Widening;
        (one.kind, &one.name, one.verb) == (other.kind, &other.name, other.verb)
            && (one.effect == other.effect || refined)
    };
    changes.len() == found.len() && changes.iter().zip(found).all(same)
}

fn missing(record: &ChangeRecord, sides: &Sides<'_>, signers: &BTreeSet<Signer>) -> Vec<Missing> {
    let first = record.base_version == PolicyVersion(0);
    let required = sides.requirements(&record.changes);
    let mut missing: Vec<Missing> = required
        .iter()
        .filter_map(|requirement| unmet(requirement, signers))
        .collect();
    let submitter = record.submitter.as_ref();
    let founds = submitter.is_some_and(|one| sides.founders.people.contains_key(one));
    let may_be_alone = first && !(founds && sides.founders.quorum > 1);
    if !required.is_empty() && !may_be_alone {
        missing.extend(nobody_alone(record, sides, signers));
    }
    if !first {
        missing.extend(unanswered_for(record, sides, signers));
    }
    missing
}

fn unmet(requirement: &Requirement, signers: &BTreeSet<Signer>) -> Option<Missing> {
    let counted = signers.iter().filter_map(|one| one.counts_for(requirement));
    // A set of persons: two keys of one are one.
    let signed: BTreeSet<PersonId> = counted.cloned().collect();
    (signed.len() < requirement.wanted).then(|| Missing {
        requirement: requirement.clone(),
        signed,
    })
}

/// Narrowing objects for which neither the submitter nor anybody who signed stands.
fn unanswered_for(
    record: &ChangeRecord,
    sides: &Sides<'_>,
    signers: &BTreeSet<Signer>,
) -> Vec<Missing> {
    let submitter = record.submitter.as_ref();
    let submitter = submitter.filter(|one| !sides.is_robot(one));
    let narrows = |change: &&Change| {
        change.effect == Effect::Narrowing && change.kind != ObjectKind::Promotion
    };
    let unanswered = |change: &Change| {
        let standing = sides.standing(change);
        let submits = submitter
            .is_some_and(|one| standing.people.contains(one) || standing.founders.contains(one));
        let answered = submits || signers.iter().any(|signer| signer.stands(&standing));
        (!answered).then(|| Missing {
            requirement: standing.in_words(change),
            signed: BTreeSet::new(),
        })
    };
    record
        .changes
        .iter()
        .filter(narrows)
        .filter_map(unanswered)
        .collect()
}

/// Whoever submits what widens needs somebody else, whatever the rules say.
fn nobody_alone(
    record: &ChangeRecord,
    sides: &Sides<'_>,
    signers: &BTreeSet<Signer>,
) -> Option<Missing> {
    let submitter = record.submitter.as_ref()?;
    if signers
        .iter()
        .any(|signer| signer.names().all(|name| name != submitter))
    {
        return None;
    }
    let mut members = sides.known();
    members.remove(submitter);
    Some(Missing {
        requirement: Requirement {
            rule: NOBODY_ALONE.to_owned(),
            team: format!("all but {submitter}"),
            wanted: 1,
            members,
        },
        signed: BTreeSet::new(),
    })
}

fn in_words(missing: &[Missing]) -> String {
    let texts: Vec<String> = missing.iter().map(ToString::to_string).collect();
    texts.join("; ")
}
