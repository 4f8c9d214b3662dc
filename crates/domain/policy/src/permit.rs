//! Mints [`Permit`]: the proof that policy said yes to one request on verified evidence.

use std::sync::Arc;

use estate::{
    ChangeId, DataSetName, DatabaseName, Digest, EstateHash, PersonId, PolicyVersion, RuleId,
    SecretName, Timestamp,
};
use evidence::{Action, NodeFacts, Rejected, VerifiedEvidence, WorkloadFacts};

use crate::{
    DeniedBy, Policies,
    kinds::{Kind, PrincipalKind, Request},
};

/// Policy said yes. Only [`Policies::decide`] makes one; no `Clone`, no `Default`, no public constructor.
///
/// ```
/// fn used(permit: policy::Permit<policy::Issue>) { drop(permit) }
/// ```
/// ```compile_fail
/// fn used(permit: policy::Permit<policy::Issue>) { drop(permit.clone()) }
/// ```
#[derive(Debug)]
#[must_use]
pub struct Permit<K: Kind> {
    evidence: VerifiedEvidence,
    request: Request<K>,
    rules: Vec<RuleId>,
    basis: Basis,
}

/// The version of the estate that a decision was made by.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Basis {
    /// Its number.
    pub policy: PolicyVersion,
    /// Its hash.
    pub estate: EstateHash,
    /// The change that brought it into force; 0 where none did.
    pub change: ChangeId,
    /// Who signed that change.
    pub approvers: Arc<[PersonId]>,
}

impl<K: Kind> Permit<K> {
    /// The evidence it rests on.
    pub fn evidence(&self) -> &VerifiedEvidence {
        &self.evidence
    }
    /// What was asked.
    pub fn request(&self) -> &Request<K> {
        &self.request
    }
    /// The rules that decided.
    pub fn rules(&self) -> &[RuleId] {
        &self.rules
    }
    /// The estate that decided.
    pub fn basis(&self) -> &Basis {
        &self.basis
    }
}

/// Policy, or a check before it, said no.
#[derive(Debug)]
#[must_use]
pub struct Denial {
    /// What was asked for.
    pub action: Action,
    /// The thing asked for, as a person reads it.
    pub target: String,
    /// Who asked, as far as it was verified or authenticated.
    pub subject: Subject,
    /// Why not.
    pub reason: DenialReason,
    /// The estate that decided.
    pub basis: Basis,
    /// SHA-256 of the request, when it could be read.
    pub request: Option<Digest>,
}

/// Who asked. A rejected statement leaves only the node that TLS authenticated.
#[derive(Debug, Clone)]
pub struct Subject {
    /// The node.
    pub node: NodeFacts,
    /// The workload as measured; absent when the statement was rejected or the node asked for itself.
    pub workload: Option<WorkloadFacts>,
}

/// Why a request was denied.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum DenialReason {
    /// The statement is no evidence.
    #[error("{0}")]
    Rejected(Rejected),
    /// Policy said no.
    #[error("{0}")]
    Policy(DeniedBy),
    /// A workload's action asked with a node's statement, or the reverse.
    #[error("`{0}` is asked by the wrong kind of principal")]
    Principal(&'static str),
    /// The layer or packet does not match what it is bound to.
    #[error("{0}")]
    Binding(String),
    /// The requested thing does not exist, or the requester may not know that it does.
    #[error("no such {0}")]
    Unknown(&'static str),
    /// The node can start containers that nobody was asked about.
    #[error(
        "data set `{0}` is confidential, and not every way in which this node makes containers leads through the start gate: \
         `bailiwick doctor containerd` says which"
    )]
    Ungated(DataSetName),
    /// What the guard of the transaction found: something changed between decision and commit.
    #[error("{0}")]
    Superseded(String),
}

/// Not a `Result`: `?` would answer a denial that no leaf holds.
#[derive(Debug)]
#[must_use]
pub enum Verdict<K: Kind> {
    /// Yes.
    Permitted(Permit<K>),
    /// No.
    Denied(Denial),
}

impl<K: Kind> Verdict<K> {
    /// The statement was rejected: a denial like any other.
    pub fn rejected(
        why: Rejected,
        node: NodeFacts,
        request: &Request<K>,
        policies: &Policies,
    ) -> Self {
        Self::Denied(Denial {
            action: K::ACTION,
            target: request.target().to_string(),
            subject: Subject {
                node,
                workload: None,
            },
            reason: DenialReason::Rejected(why),
            basis: policies.basis(),
            request: None,
        })
    }

    /// Turns a yes into a no, for a check that policy can't make (binding, existence). A no stays what it was.
    pub fn refuse_if(self, refusal: Option<DenialReason>) -> Self {
        match (self, refusal) {
            (Self::Permitted(permit), Some(reason)) => Self::Denied(permit.into_denial(reason)),
            (verdict, _) => verdict,
        }
    }
}

impl<K: Kind> Permit<K> {
    /// Gives the permit up, as when a guard of the transaction failed.
    pub fn into_denial(self, reason: DenialReason) -> Denial {
        denial::<K>(self.evidence, &self.request, reason, self.basis)
    }
}

impl Policies {
    /// Decides one request on verified evidence.
    pub fn decide<K: Kind>(
        &self,
        evidence: VerifiedEvidence,
        request: Request<K>,
        now: Timestamp,
    ) -> Verdict<K> {
        let asked_by = if evidence.workload().is_some() {
            PrincipalKind::Workload
        } else {
            PrincipalKind::Node
        };
        if asked_by != K::PRINCIPAL {
            let reason = DenialReason::Principal(K::ACTION.as_str());
            return Verdict::Denied(denial::<K>(evidence, &request, reason, self.basis()));
        }
        let facts = self.facts_of(&evidence, now);
        match self
            .evaluate(&facts, K::ACTION, request.target(), now)
            .outcome()
        {
            Ok(rules) => Verdict::Permitted(Permit {
                evidence,
                request,
                rules,
                basis: self.basis(),
            }),
            Err(why) => Verdict::Denied(denial::<K>(
                evidence,
                &request,
                DenialReason::Policy(why),
                self.basis(),
            )),
        }
    }
}

fn denial<K: Kind>(
    evidence: VerifiedEvidence,
    request: &Request<K>,
    reason: DenialReason,
    basis: Basis,
) -> Denial {
    Denial {
        action: K::ACTION,
        target: request.target().to_string(),
        subject: Subject {
            node: evidence.node().clone(),
            workload: evidence.workload().cloned(),
        },
        reason,
        basis,
        request: Some(evidence.request()),
    }
}

/// The server may use a database's connection secret for itself. Only [`Policies::decide_connection`] makes one.
#[derive(Debug)]
#[must_use]
pub struct ConnectionPermit {
    database: DatabaseName,
    secret: SecretName,
    basis: Basis,
}

impl ConnectionPermit {
    /// The database.
    pub fn database(&self) -> &DatabaseName {
        &self.database
    }
    /// The secret with its login.
    pub fn secret(&self) -> &SecretName {
        &self.secret
    }
    /// The estate that decided.
    pub fn basis(&self) -> &Basis {
        &self.basis
    }
}

impl Policies {
    /// Decides the server's own use of a connection secret, with principal `Authority`: exactly the secret that the
    /// estate names as the database's login, and only for the data set that the secret belongs to. Else whoever owns
    /// another data set could name our login beside an address of their own, and have it sent there.
    pub fn decide_connection(
        &self,
        database: &DatabaseName,
        secret_dataset: &DataSetName,
        for_dataset: &DataSetName,
    ) -> Option<ConnectionPermit> {
        let secret = self.login_of(database)?.clone();
        (secret_dataset == for_dataset).then(|| ConnectionPermit {
            database: database.clone(),
            secret,
            basis: self.basis(),
        })
    }
}
