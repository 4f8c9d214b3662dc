//! The release path for node and workload: verify, decide, commit, release. There is no second one.

mod error;
mod judged;

use std::sync::{Arc, MutexGuard, PoisonError};

use custody::{OpenedPacket, Released, Undelivered};
use estate::{IdentityFacts, NodeName, Timestamp};
use evidence::{
    AttestedNode, Session, Statement, VerifiedEvidence,
    request::{Canonical, IssueRequest, OpenRequest, ReadRequest, StartRequest, SvidRequest},
};
use ledger::{
    Act, ActKind, Actor, Commitment, Effect, LoggedPermit, NotRecorded, NotReleased, SerialRow,
};
use oci_crypt::{SeenDescriptor, SeenPlace};
use policy::{Denial, DenialReason, Issue, Kind, Open, Read, Request, Start, Subject, Verdict};
use spiffe_id::SpiffeId;

pub use self::error::ReleaseError;
use self::judged::{check_binding, identity, ungated};
use crate::{
    budget::{DenialBudget, StrangerBudget},
    ports::{DatabaseAccounts, Store},
    server::Server,
    world::World,
};

/// What leaves the server: always with leaf and receipt.
#[derive(Debug)]
pub struct Answer {
    /// Leaf and receipt.
    pub commitment: Commitment,
    /// What was released.
    pub payload: Payload,
}

/// What was released.
#[derive(Debug)]
pub enum Payload {
    /// Sealed to the requester's key.
    Sealed {
        /// HPKE suite.
        suite: String,
        /// Encapsulated key.
        enc: Vec<u8>,
        /// Ciphertext.
        ct: Vec<u8>,
    },
    /// Public: a certificate chain, a token.
    Plain(Vec<Vec<u8>>),
}

/// What a release is judged by: taken once, so that the whole release sees one world.
pub(crate) struct Circumstances {
    pub(crate) world: Arc<World>,
    pub(crate) node: AttestedNode,
    pub(crate) now: Timestamp,
}

impl<S: Store, A: DatabaseAccounts> Server<S, A> {
    pub(crate) async fn circumstances(&self, on: &Session) -> Result<Circumstances, ReleaseError> {
        self.trusted()?;
        if !self.budget().admits(on.node(), self.now()) {
            return Err(ReleaseError::Busy);
        }
        let (node, not_after) = self
            .attested_until(on.node())
            .await?
            .ok_or(ReleaseError::NotAttested)?;
        let now = self.now();
        // A connection was made with a certificate that was good then: it does not outlive the attestation behind it.
        if now >= not_after {
            return Err(ReleaseError::NotAttested);
        }
        Ok(Circumstances {
            world: self.world(),
            node,
            now,
        })
    }

    /// The one way of this service into the ledger: what was denied counts against the node's budget.
    pub(crate) async fn commit<K: Kind>(
        &self,
        verdict: Verdict<K>,
        effects: Vec<Effect>,
    ) -> Result<LoggedPermit<K>, ReleaseError> {
        match self.ledger.commit(verdict, effects).await {
            Err(NotReleased::Denied(denied)) => {
                self.spend(&denied.denial.subject.node.name);
                Err(ReleaseError::Denied(denied))
            }
            other => Ok(other?),
        }
    }

    /// A denial that is on record counts against its node.
    pub(crate) fn spend(&self, node: &NodeName) {
        self.budget().spend(node, self.now());
    }

    pub(crate) fn strangers(&self) -> MutexGuard<'_, StrangerBudget> {
        self.strangers
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
    }

    fn budget(&self) -> MutexGuard<'_, DenialBudget> {
        self.budget.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Writes one leaf for each node whose denials went beyond its budget.
    pub(crate) async fn aggregate_denials(&self) -> Result<(), NotRecorded> {
        let overdue = self.budget().overdue(self.now());
        for (node, count) in overdue {
            let act = Act::new(ActKind::DenialsAggregated, Actor::Authority)
                .field("node", node.to_string())
                .field("count", count);
            let _logged = self.ledger.record(act).await?;
        }
        let strangers = self.strangers().overdue(self.now());
        if let Some(count) = strangers {
            let act = Act::new(ActKind::DenialsAggregated, Actor::Authority)
                .field("what", "attestations")
                .field("count", count);
            let _logged = self.ledger.record(act).await?;
        }
        Ok(())
    }

    /// Verified evidence, then policy: the verdict that the ledger will hold.
    pub(crate) fn verdict<K: Kind>(
        &self,
        at: &Circumstances,
        on: &Session,
        statement: &Statement,
        canonical: &[u8],
        request: Request<K>,
    ) -> Verdict<K> {
        match self
            .verifier
            .verify(statement, canonical, on, &at.node, at.now)
        {
            Ok(evidence) => at.world.policies.decide(evidence, request, at.now),
            Err(why) => Verdict::rejected(why, at.node.facts.clone(), &request, &at.world.policies),
        }
    }

    /// A denial for something that does not exist: recorded like any other, and it does not tell more than "no such".
    pub(crate) fn unknown<K: Kind>(
        &self,
        at: &Circumstances,
        what: &'static str,
        target: String,
    ) -> Verdict<K> {
        Verdict::Denied(Denial {
            action: K::ACTION,
            target,
            subject: Subject {
                node: at.node.facts.clone(),
                workload: None,
            },
            reason: DenialReason::Unknown(what),
            basis: at.world.policies.basis(),
            request: None,
        })
    }

    /// Reads a secret.
    ///
    /// # Errors
    /// [`ReleaseError`]
    pub async fn read(
        &self,
        on: &Session,
        statement: &Statement,
        canonical: &[u8],
    ) -> Result<Answer, ReleaseError> {
        let body = ReadRequest::from_canonical(canonical)?;
        let at = self.circumstances(on).await?;
        // The ciphertext is no secret: fetched before the ledger is asked, so that nothing can fail after the leaf.
        let Some(secret) = self.store.secret(&body.secret).await? else {
            let verdict = self.unknown::<Read>(&at, "secret", format!("secret `{}`", body.secret));
            return Err(self.denied(verdict).await);
        };
        let custody = self.custody();
        let no_key = (!custody.holds_key_of(&secret))
            .then_some(DenialReason::Unknown("key for this secret"));
        let request = Request::read(body, secret.dataset.clone());
        let verdict = self
            .verdict(&at, on, statement, canonical, request)
            .refuse_if(no_key);
        let logged = self.commit(verdict, Vec::new()).await?;
        self.deliver(custody.release(logged, &secret)).await
    }

    /// Opens an image key for a node.
    ///
    /// # Errors
    /// [`ReleaseError`]
    pub async fn open(
        &self,
        on: &Session,
        statement: &Statement,
        canonical: &[u8],
        packet: &[u8],
    ) -> Result<Answer, ReleaseError> {
        let body = OpenRequest::from_canonical(canonical)?;
        let at = self.circumstances(on).await?;
        let custody = self.custody();
        let opened = custody.open_packet(packet, &body.image);
        let refusal = match &opened {
            Ok(opened) => check_binding(&body, opened).err(),
            Err(error) => Some(format!("the key packet is refused: {error}")),
        };
        let known = at.world.estate.image_set(&body.image).is_some();
        let ungated = ungated(&at.world, &body);
        let request = Request::open(body);
        let verdict = match known {
            true => self.verdict(&at, on, statement, canonical, request),
            false => self.unknown(&at, "image set", request.target().to_string()),
        };
        let verdict = verdict
            .refuse_if(ungated)
            .refuse_if(refusal.map(DenialReason::Binding));
        let logged: LoggedPermit<Open> = self.commit(verdict, Vec::new()).await?;
        match opened {
            Ok(opened) => self.deliver(custody.open_image_key(logged, &opened)).await,
            Err(error) => {
                let logged = Box::new(logged);
                self.deliver(Err(Undelivered { logged, error })).await
            }
        }
    }

    /// Permits a workload to start from a fenced image.
    ///
    /// # Errors
    /// [`ReleaseError`]
    pub async fn start(
        &self,
        on: &Session,
        statement: &Statement,
        canonical: &[u8],
    ) -> Result<Answer, ReleaseError> {
        let body = StartRequest::from_canonical(canonical)?;
        let at = self.circumstances(on).await?;
        let verdict = self.verdict(&at, on, statement, canonical, Request::start(body));
        let logged: LoggedPermit<Start> = self.commit(verdict, Vec::new()).await?;
        Ok(Answer {
            commitment: logged.into_commitment(),
            payload: Payload::Plain(Vec::new()),
        })
    }

    /// Issues an identity.
    ///
    /// # Errors
    /// [`ReleaseError`]
    pub async fn issue(
        &self,
        on: &Session,
        statement: &Statement,
        canonical: &[u8],
    ) -> Result<Answer, ReleaseError> {
        let body = IssueRequest::from_canonical(canonical)?;
        let at = self.circumstances(on).await?;
        let svid = body.svid.clone();
        let serial = self.serial();
        let verdict = self.verdict(&at, on, statement, canonical, Request::issue(body));
        let effects = match &verdict {
            Verdict::Permitted(permit) => vec![self.issued(&at, permit.evidence(), &svid, serial)],
            Verdict::Denied(_) => Vec::new(),
        };
        let logged: LoggedPermit<Issue> = self.commit(verdict, effects).await?;
        match self.sign(&at, &logged, &svid, serial) {
            Ok(parts) => Ok(Answer {
                commitment: logged.commitment().clone(),
                payload: Payload::Plain(parts),
            }),
            Err(error) => {
                self.ledger.undelivered(&logged, &error).await?;
                Err(ReleaseError::Undelivered(error))
            }
        }
    }

    /// What is about to be issued, as the store will know it.
    fn issued(
        &self,
        at: &Circumstances,
        evidence: &VerifiedEvidence,
        svid: &SvidRequest,
        serial: issuer::Serial,
    ) -> Effect {
        let (path, ttl) = identity(at, evidence, svid);
        Effect::Serial(SerialRow {
            serial: serial.to_hex(),
            subject: format!("spiffe://{}{path}", self.trust_domain),
            node: evidence.node().name.clone(),
            not_after: at.now.plus(ttl),
        })
    }

    fn sign(
        &self,
        at: &Circumstances,
        logged: &LoggedPermit<Issue>,
        svid: &SvidRequest,
        serial: issuer::Serial,
    ) -> Result<Vec<Vec<u8>>, String> {
        let (path, ttl) = identity(at, logged.permit().evidence(), svid);
        let id: SpiffeId = format!("spiffe://{}{path}", self.trust_domain)
            .parse()
            .map_err(|_| "identity path".to_owned())?;
        let authority = &self.keyring.authority;
        match svid {
            SvidRequest::X509 { spki } => {
                use base64::{Engine, engine::general_purpose::STANDARD};
                let spki = STANDARD
                    .decode(spki)
                    .map_err(|_| "public key is not base64".to_owned())?;
                authority
                    .x509_svid(logged, &id, &spki, serial, at.now, ttl)
                    .map_err(|error| error.to_string())
            }
            SvidRequest::Jwt { audience } => authority
                .jwt_svid(logged, &id, audience, at.now, ttl)
                .map(|token| vec![token.into_bytes()])
                .map_err(|error| error.to_string()),
        }
    }

    pub(crate) async fn deliver<K: Kind>(
        &self,
        released: Result<Released, Undelivered<K>>,
    ) -> Result<Answer, ReleaseError> {
        match released {
            Ok(Released {
                suite,
                sealed,
                commitment,
            }) => {
                let payload = Payload::Sealed {
                    suite,
                    enc: sealed.enc,
                    ct: sealed.ct,
                };
                Ok(Answer {
                    commitment,
                    payload,
                })
            }
            Err(Undelivered { logged, error }) => {
                self.ledger.undelivered(&logged, &error.to_string()).await?;
                Err(ReleaseError::Undelivered(error.to_string()))
            }
        }
    }

    /// Commits a verdict that is a denial by construction.
    pub(crate) async fn denied<K: Kind>(&self, verdict: Verdict<K>) -> ReleaseError {
        match self.commit(verdict, Vec::new()).await {
            Err(error) => error,
            Ok(_) => ReleaseError::Undelivered("a denial was recorded as a permit".to_owned()),
        }
    }
}
