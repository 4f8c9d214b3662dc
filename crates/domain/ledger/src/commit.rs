//! The release path's third step: a verdict goes in, and only what is durable comes out as a proof.

mod distrust;
mod fields;

use std::sync::{Arc, OnceLock, PoisonError, RwLock};

use estate::{Digest, Epoch, SecretName, Timestamp};
use evidence::{NodeFacts, VerifiedAttestation, WorkloadFacts};
use policy::{Basis, ConnectionPermit, Denial, DenialReason, Kind, Permit, Subject, Verdict};

use self::fields::{basis_fields, node_fields, subject_fields};
use crate::{
    Commitment, Draft, Effect, Entropy, Entry, EntryId, Guard, Journal, JournalError, Written,
    rows::NodeRow,
};

/// The ledger of one tenant, over its journal.
pub struct Ledger<J> {
    journal: Arc<J>,
    entropy: Arc<dyn Entropy>,
    /// The estate in force, for acts; clones share it.
    basis: Arc<RwLock<Option<Basis>>>,
    /// Why nobody is answered by this ledger any more; clones share it.
    distrust: Arc<OnceLock<String>>,
}

impl<J> Clone for Ledger<J> {
    fn clone(&self) -> Self {
        Self {
            journal: Arc::clone(&self.journal),
            entropy: Arc::clone(&self.entropy),
            basis: Arc::clone(&self.basis),
            distrust: Arc::clone(&self.distrust),
        }
    }
}

/// A permit whose leaf is durable: the one ticket to anything secret. Only [`Ledger::commit`] makes one.
///
/// ```
/// fn used(logged: ledger::LoggedPermit<policy::Read>) { drop(logged) }
/// ```
/// ```compile_fail
/// fn used(logged: ledger::LoggedPermit<policy::Read>) { drop(logged.clone()) }
/// ```
/// Nor does one kind open the door of another:
/// ```
/// fn read(_: ledger::LoggedPermit<policy::Read>) {}
/// fn used(logged: ledger::LoggedPermit<policy::Read>) { read(logged) }
/// ```
/// ```compile_fail
/// fn read(_: ledger::LoggedPermit<policy::Read>) {}
/// fn used(logged: ledger::LoggedPermit<policy::Issue>) { read(logged) }
/// ```
#[derive(Debug)]
#[must_use]
pub struct LoggedPermit<K: Kind> {
    permit: Permit<K>,
    commitment: Commitment,
}

impl<K: Kind> LoggedPermit<K> {
    /// The permit.
    pub fn permit(&self) -> &Permit<K> {
        &self.permit
    }
    /// Leaf and receipt.
    pub fn commitment(&self) -> &Commitment {
        &self.commitment
    }
    /// Leaf and receipt, for the answer; the permit is spent.
    pub fn into_commitment(self) -> Commitment {
        self.commitment
    }
    /// What every sealed answer is bound to: the hash of the request and of the leaf.
    pub fn release_aad(&self) -> Vec<u8> {
        release_aad(self.permit.evidence().request(), &self.commitment.leaf)
    }
}

/// AAD of a sealed answer: SHA-256 of the canonical request ‖ SHA-256 of the leaf.
pub fn release_aad(request: Digest, leaf: &[u8]) -> Vec<u8> {
    [
        request.as_bytes().as_slice(),
        Digest::of(leaf).as_bytes().as_slice(),
    ]
    .concat()
}

/// A denial whose leaf is durable: the only denial that may be answered.
#[derive(Debug)]
pub struct LoggedDenial {
    /// What was denied, and why.
    pub denial: Denial,
    /// Leaf and receipt.
    pub commitment: Commitment,
}

/// An attestation whose leaf is durable: the ticket to a node certificate.
#[derive(Debug)]
#[must_use]
pub struct LoggedEnrolment {
    row: NodeRow,
    commitment: Commitment,
}

impl LoggedEnrolment {
    /// The node as recorded.
    pub fn row(&self) -> &NodeRow {
        &self.row
    }
    /// Leaf and receipt.
    pub fn commitment(&self) -> &Commitment {
        &self.commitment
    }
}

/// On which terms a node is admitted.
#[derive(Debug, Clone)]
pub struct EnrolmentTerms {
    /// Its new epoch.
    pub epoch: Epoch,
    /// Now, by the server's clock.
    pub now: Timestamp,
    /// End of its certificate.
    pub not_after: Timestamp,
    /// The estate that knows it.
    pub basis: Basis,
}

/// Nothing is released.
#[derive(Debug, thiserror::Error)]
pub enum NotReleased {
    /// Fault: none; somebody decided no, and it is on record.
    #[error("denied: {}", .0.denial.reason)]
    Denied(Box<LoggedDenial>),
    /// Fault: the store. Nothing was decided; try again.
    #[error("the release could not be recorded")]
    Unavailable(#[from] JournalError),
}

impl<J: Journal> Ledger<J> {
    /// A ledger over `journal`.
    pub fn new(journal: Arc<J>, entropy: Arc<dyn Entropy>) -> Self {
        Self {
            journal,
            entropy,
            basis: Arc::default(),
            distrust: Arc::default(),
        }
    }

    /// From now on acts carry this version of the estate.
    pub fn set_basis(&self, basis: Basis) {
        *self.basis.write().unwrap_or_else(PoisonError::into_inner) = Some(basis);
    }

    /// Adds the version of the estate that was in force when somebody acted.
    pub(crate) fn on_basis(&self, draft: Draft) -> Draft {
        let basis = self.basis.read().unwrap_or_else(PoisonError::into_inner);
        match basis.as_ref() {
            Some(basis) => basis_fields(draft, basis, self.entropy()),
            None => draft,
        }
    }

    /// Writes the verdict, with `effects` if it is a yes, and waits until it is durable.
    ///
    /// # Errors
    /// [`NotReleased`]: a denial on record, or no record at all.
    pub async fn commit<K: Kind>(
        &self,
        verdict: Verdict<K>,
        effects: Vec<Effect>,
    ) -> Result<LoggedPermit<K>, NotReleased> {
        self.trusted()?;
        match verdict {
            Verdict::Denied(denial) => self.deny(denial).await,
            Verdict::Permitted(permit) => self.grant(permit, effects).await,
        }
    }

    async fn grant<K: Kind>(
        &self,
        permit: Permit<K>,
        effects: Vec<Effect>,
    ) -> Result<LoggedPermit<K>, NotReleased> {
        let node = permit.evidence().node();
        let guards = vec![
            Guard::NodeEpoch(node.name.clone(), node.epoch),
            Guard::Policy(permit.basis().policy),
        ];
        let entry = Entry {
            id: EntryId::new(self.entropy()),
            granted: self.permit_draft(&permit, "granted"),
            refused: self.permit_draft(&permit, "superseded"),
            effects,
            guards,
        };
        match self.journal.append(entry).await? {
            Written::Granted(commitment) => Ok(LoggedPermit { permit, commitment }),
            Written::Refused(commitment, guard) => {
                let denial =
                    permit.into_denial(DenialReason::Superseded(guard.failure().to_owned()));
                Err(NotReleased::Denied(Box::new(LoggedDenial {
                    denial,
                    commitment,
                })))
            }
        }
    }

    async fn deny<K: Kind>(&self, denial: Denial) -> Result<LoggedPermit<K>, NotReleased> {
        let draft = self.denial_draft(&denial);
        let entry = Entry {
            id: EntryId::new(self.entropy()),
            granted: draft.clone(),
            refused: draft,
            effects: Vec::new(),
            guards: Vec::new(),
        };
        match self.journal.append(entry).await? {
            Written::Granted(commitment) | Written::Refused(commitment, _) => {
                Err(NotReleased::Denied(Box::new(LoggedDenial {
                    denial,
                    commitment,
                })))
            }
        }
    }

    /// Records that a release was permitted and logged but could not be delivered.
    ///
    /// # Errors
    /// [`JournalError`]
    pub async fn undelivered<K: Kind>(
        &self,
        logged: &LoggedPermit<K>,
        why: &str,
    ) -> Result<(), JournalError> {
        let draft = Draft::new("undelivered", self.entropy())
            .with("leaf", logged.commitment.index, self.entropy())
            .with("reason", why, self.entropy());
        self.append_plain(draft, Vec::new(), Vec::new())
            .await
            .map(drop)
    }

    /// Admits an attested node: its row replaces the one of `previous`, and a token is used up with it.
    ///
    /// # Errors
    /// [`NotReleased`]
    pub async fn enrol(
        &self,
        attestation: VerifiedAttestation,
        terms: EnrolmentTerms,
        guards: Vec<Guard>,
        mut effects: Vec<Effect>,
    ) -> Result<LoggedEnrolment, NotReleased> {
        self.trusted()?;
        let EnrolmentTerms {
            epoch,
            now,
            not_after,
            basis,
        } = terms;
        let facts = attestation.facts().clone();
        let row = NodeRow::admitted(&attestation, epoch, not_after, now);
        effects.push(Effect::Node(Box::new(row.clone())));
        let entropy = self.entropy();
        let draft = |outcome: &'static str| {
            let draft = node_fields(Draft::new("enrol", entropy), &facts, entropy)
                .with("outcome", outcome, entropy)
                .with("epoch", row.epoch.0, entropy);
            basis_fields(draft, &basis, entropy)
        };
        let entry = Entry {
            id: EntryId::new(entropy),
            granted: draft("granted"),
            refused: draft("superseded"),
            effects,
            guards,
        };
        match self.journal.append(entry).await? {
            Written::Granted(commitment) => Ok(LoggedEnrolment { row, commitment }),
            Written::Refused(commitment, guard) => {
                let denial = Denial {
                    action: evidence::Action::Issue,
                    target: format!("node `{}`", facts.name),
                    subject: Subject {
                        node: facts,
                        workload: None,
                    },
                    reason: DenialReason::Superseded(guard.failure().to_owned()),
                    basis,
                    request: None,
                };
                Err(NotReleased::Denied(Box::new(LoggedDenial {
                    denial,
                    commitment,
                })))
            }
        }
    }

    pub(crate) async fn append_plain(
        &self,
        draft: Draft,
        effects: Vec<Effect>,
        guards: Vec<Guard>,
    ) -> Result<Written, JournalError> {
        let refused = draft.clone().with("refused", true, self.entropy());
        // Said in both: a disclosure can be removed, and its absence must not turn a refusal into an act.
        let granted = match guards.is_empty() {
            true => draft,
            false => draft.with("done", true, self.entropy()),
        };
        let entry = Entry {
            id: EntryId::new(self.entropy()),
            granted,
            refused,
            effects,
            guards,
        };
        self.journal.append(entry).await
    }

    pub(crate) fn entropy(&self) -> &dyn Entropy {
        self.entropy.as_ref()
    }

    fn permit_draft<K: Kind>(&self, permit: &Permit<K>, outcome: &'static str) -> Draft {
        let entropy = self.entropy();
        let evidence = permit.evidence();
        let rules: Vec<String> = permit.rules().iter().map(ToString::to_string).collect();
        let draft = Draft::new(K::ACTION.as_str(), entropy)
            .with("outcome", outcome, entropy)
            .with("target", permit.request().target().to_string(), entropy)
            .with("rules", rules, entropy)
            .with("request", evidence.request().to_string(), entropy)
            .with("statement", evidence.statement().to_string(), entropy)
            .with(
                "cnf",
                evidence.confirmation().thumbprint().to_string(),
                entropy,
            )
            .with("measuredAt", evidence.measured_at().to_string(), entropy);
        let draft = subject_fields(draft, evidence.node(), evidence.workload(), entropy);
        basis_fields(draft, permit.basis(), entropy)
    }

    fn denial_draft(&self, denial: &Denial) -> Draft {
        let entropy = self.entropy();
        let draft = Draft::new(denial.action.as_str(), entropy)
            .with("outcome", "denied", entropy)
            .with("target", denial.target.clone(), entropy)
            .with("reason", denial.reason.to_string(), entropy)
            .with_some(
                "request",
                denial.request.map(|request| request.to_string()),
                entropy,
            );
        let draft = subject_fields(
            draft,
            &denial.subject.node,
            denial.subject.workload.as_ref(),
            entropy,
        );
        basis_fields(draft, &denial.basis, entropy)
    }
}

/// The server's use of a connection secret, on record. Only [`Ledger::commit_connection`] makes one.
#[derive(Debug)]
#[must_use]
pub struct LoggedConnection {
    permit: ConnectionPermit,
}

impl LoggedConnection {
    /// The secret that may be opened.
    pub fn secret(&self) -> &SecretName {
        self.permit.secret()
    }
}

impl<J: Journal> Ledger<J> {
    /// Records the server's use of a connection secret, with its reason.
    ///
    /// # Errors
    /// [`JournalError`]
    pub async fn commit_connection(
        &self,
        permit: ConnectionPermit,
        why: String,
    ) -> Result<LoggedConnection, JournalError> {
        let entropy = self.entropy();
        let draft = Draft::new("connection-use", entropy)
            .with("actor", "authority", entropy)
            .with("database", permit.database().to_string(), entropy)
            .with("target", format!("secret `{}`", permit.secret()), entropy)
            .with("reason", why, entropy);
        let draft = basis_fields(draft, permit.basis(), entropy);
        self.append_plain(draft, Vec::new(), Vec::new()).await?;
        Ok(LoggedConnection { permit })
    }
}
