//! Nodes: attestation, fresh quotes, tokens, bans. The proofs come from `evidence`; this is the order of steps.

mod acts;
mod known;
mod quotes;
mod refusals;

use std::{collections::BTreeMap, net::IpAddr, sync::PoisonError, time::Duration};

use estate::{Attest, Digest, Epoch, NodeName, Timestamp};
use evidence::{
    AttestBinding, AttestationError, AttestedNode, Attestor, Challenge, Confirmation, Enrolled,
    NodeFacts, Proof, Purpose, TpmAttestation, TpmHello, VerifiedAttestation, verify_fresh_quote,
    verify_join,
};
use jose::Jwk;
use ledger::{
    Act, ActKind, Actor, Commitment, Effect, EnrolmentTerms, Guard, LoggedEnrolment, NotRecorded,
    NotReleased, TokenRow, rows::NodeRow,
};

use crate::{
    ports::{DatabaseAccounts, Store, StoreError},
    server::Server,
    witnesses::Distrusted,
};

/// A quote that was asked for.
#[derive(Debug, Clone, Copy)]
pub(crate) struct PendingQuote {
    pub(crate) nonce: [u8; 32],
    pub(crate) asked: Timestamp,
}

/// What a node says first, parsed.
pub struct Hello {
    /// The node.
    pub node: NodeName,
    /// Enrol or renew.
    pub purpose: Purpose,
    /// Statement key.
    pub statement_key: Jwk,
    /// Node HPKE key.
    pub hpke_key: Confirmation,
    /// TLS exporter of the connection.
    pub exporter: [u8; 32],
    /// Where the connection comes from.
    pub remote: IpAddr,
    /// How it proves itself.
    pub means: Means,
}

/// How a node proves itself.
pub enum Means {
    /// By its TPM.
    Tpm(Box<TpmHello>),
    /// By a token and its key; lab.
    Token {
        /// The token.
        token: String,
        /// SPKI of the node key.
        node_key_spki: Vec<u8>,
    },
}

/// An attestation between challenge and proof. Lives as long as its stream.
pub struct Attesting {
    node: NodeName,
    purpose: Purpose,
    previous: Option<Epoch>,
    stage: Stage,
}

enum Stage {
    Tpm(Box<TpmAttestation>),
    Token {
        enrolled: Box<Enrolled>,
        binding: Box<AttestBinding>,
        nonce: [u8; 32],
        token: Digest,
        spki: Vec<u8>,
    },
}

/// A node that was admitted.
pub struct Admitted {
    /// Node certificate, then the issuing CA, DER.
    pub chain: Vec<Vec<u8>>,
    /// Its epoch.
    pub epoch: Epoch,
    /// Leaf and receipt.
    pub commitment: Commitment,
}

/// A node is not admitted, or its quote not accepted.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum NodeError {
    /// Fault: the node, or whoever keeps the inventory. On record with its receipt.
    #[error("{}", chain(.error))]
    Refused {
        /// Why.
        error: AttestationError,
        /// Leaf and receipt.
        commitment: Box<Commitment>,
    },
    /// Fault: none: a guard of the transaction. On record.
    #[error("{0}")]
    NotReleased(#[from] NotReleased),
    /// Fault: the node: no quote was asked for, or too long ago.
    #[error("no quote was asked for")]
    NotAsked,
    /// Fault: the node, or an operator: two sessions with one endorsement key. Both ended, on record.
    #[error("another live session has the same endorsement key; both are ended")]
    TwoSessions,
    /// Fault: an operator.
    #[error("the node is banned")]
    Banned,
    /// Fault: strangers: too many attestations were refused in too short a time; this one is counted, not recorded.
    #[error("refused; too many attestations were refused: try again in a minute")]
    Busy,
    /// Fault: whoever put an old database back.
    #[error(transparent)]
    Distrusted(#[from] Distrusted),
    /// Fault: the store.
    #[error("the store can't be read")]
    Store(#[from] StoreError),
    /// Fault: the store.
    #[error("the act could not be recorded")]
    NotRecorded(#[from] NotRecorded),
    /// Fault: this machine.
    #[error("no certificate could be made")]
    Certificate(#[from] issuer::IssueError),
    /// Fault: the caller.
    #[error("there is no node `{0}`")]
    Unknown(NodeName),
}

/// An error with its causes, on one line.
pub fn chain(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut cause = error.source();
    while let Some(error) = cause {
        text.push_str(": ");
        text.push_str(&error.to_string());
        cause = error.source();
    }
    text
}

impl<S: Store, A: DatabaseAccounts> Server<S, A> {
    /// Second message of an attestation: the challenge.
    ///
    /// # Errors
    /// [`NodeError`]
    pub async fn challenge(&self, hello: Hello) -> Result<(Attesting, Challenge), NodeError> {
        let Hello {
            node,
            purpose,
            statement_key,
            hpke_key,
            exporter,
            remote,
            means,
        } = hello;
        self.trusted()?;
        let row = self.store.node(&node).await?;
        if row.as_ref().is_some_and(|row| row.banned) {
            return Err(NodeError::Banned);
        }
        let binding = AttestBinding {
            trust_domain: self.trust_domain.clone(),
            node: node.clone(),
            purpose,
            ak_name: Vec::new(),
            node_key_name: Vec::new(),
            statement_key,
            hpke_key,
            exporter,
        };
        let stage = match self.enrolled(&node) {
            Some(enrolled) => self
                .check_origin(&enrolled, remote)
                .and_then(|()| self.stage(means, binding, enrolled)),
            None => Err(AttestationError::NotEnrolled(node.clone())),
        };
        match stage {
            Ok((stage, challenge)) => {
                let previous = row.map(|row| row.epoch);
                Ok((
                    Attesting {
                        node,
                        purpose,
                        previous,
                        stage,
                    },
                    challenge,
                ))
            }
            Err(error) => Err(self.refuse_stranger(&node, error).await?),
        }
    }

    /// Source prefixes of the node's site, where the inventory has any: a cheap second opinion on the place.
    fn check_origin(&self, enrolled: &Enrolled, remote: IpAddr) -> Result<(), AttestationError> {
        let world = self.world();
        let Some(location) = &enrolled.location else {
            return Ok(());
        };
        let mut sites = world
            .estate
            .ancestors(location)
            .filter(|place| !place.prefixes.is_empty());
        match sites.next() {
            Some(site) if !site.prefixes.iter().any(|prefix| prefix.contains(remote)) => {
                Err(AttestationError::OtherNetwork {
                    site: site.name.clone(),
                    remote,
                })
            }
            _ => Ok(()),
        }
    }

    fn stage(
        &self,
        means: Means,
        binding: AttestBinding,
        enrolled: Enrolled,
    ) -> Result<(Stage, Challenge), AttestationError> {
        match means {
            Means::Tpm(hello) => {
                let random = [self.random(), self.random()];
                let (session, challenge) = TpmAttestation::begin(
                    *hello,
                    binding,
                    enrolled,
                    self.manufacturers.as_ref(),
                    self.now(),
                    random,
                )?;
                Ok((Stage::Tpm(Box::new(session)), challenge))
            }
            Means::Token { .. } if !self.lab => Err(AttestationError::OtherAttestor {
                node: enrolled.node,
                expected: "tpm",
            }),
            Means::Token {
                token,
                node_key_spki,
            } => {
                let nonce = self.random();
                let challenge = Challenge {
                    nonce,
                    id_object: Vec::new(),
                    encrypted_secret: Vec::new(),
                    pcrs: Vec::new(),
                };
                let stage = Stage::Token {
                    enrolled: Box::new(enrolled),
                    binding: Box::new(binding),
                    nonce,
                    token: Digest::of(token),
                    spki: node_key_spki,
                };
                Ok((stage, challenge))
            }
        }
    }

    /// Fourth message of an attestation: the node certificate.
    ///
    /// # Errors
    /// [`NodeError`]
    pub async fn admit(
        &self,
        attesting: Attesting,
        proof: &Proof,
        possession: &[u8],
    ) -> Result<Admitted, NodeError> {
        let Attesting {
            node,
            purpose,
            previous,
            stage,
        } = attesting;
        self.trusted()?;
        let now = self.now();
        let mut guards = vec![Guard::NodeAt(node.clone(), previous)];
        let mut effects = Vec::new();
        let verified = match stage {
            Stage::Tpm(session) => session.finish(proof, now),
            Stage::Token {
                enrolled,
                binding,
                nonce,
                token,
                spki,
            } => {
                guards.push(Guard::TokenUnused(token, node.clone(), now));
                effects.push(Effect::TokenUsed(token));
                verify_join(*binding, &enrolled, &spki, &nonce, possession)
            }
        };
        let attestation = match verified {
            Ok(attestation) => attestation,
            Err(error) => return Err(self.refuse_stranger(&node, error).await?),
        };
        // Only now: whoever proves nothing ends nobody's session.
        if purpose == Purpose::Enrol {
            self.end_twins(&node, &guards).await?;
        }
        let logged = self
            .enrol(attestation, previous, now, guards, effects)
            .await?;
        let chain = self
            .keyring
            .authority
            .node_certificate(&logged, self.serial(), now)?;
        self.announce();
        Ok(Admitted {
            chain,
            epoch: logged.row().epoch,
            commitment: logged.commitment().clone(),
        })
    }

    async fn enrol(
        &self,
        attestation: VerifiedAttestation,
        previous: Option<Epoch>,
        now: Timestamp,
        guards: Vec<Guard>,
        effects: Vec<Effect>,
    ) -> Result<LoggedEnrolment, NotReleased> {
        let epoch = previous.unwrap_or(Epoch(0)).next();
        let basis = self.world().policies.basis();
        let terms = EnrolmentTerms {
            epoch,
            now,
            not_after: now.plus(CERTIFICATE_LIFE),
            basis,
        };
        self.ledger.enrol(attestation, terms, guards, effects).await
    }

    /// Ends every live session of a node that attests as if it had none.
    async fn end_twins(&self, node: &NodeName, guards: &[Guard]) -> Result<(), NodeError> {
        let live = self
            .streams
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .get(node)
            .copied()
            .unwrap_or(0);
        if live == 0 {
            return Ok(());
        }
        let mut act = Act::new(ActKind::NodeRefused, Actor::Node(node.to_string()))
            .field("node", node.to_string())
            .field("reason", "two live sessions with one endorsement key")
            .effect(Effect::EpochRaised(node.clone()));
        act.guards = guards.to_vec();
        match self.ledger.record(act).await {
            Ok(_) => {}
            // A token that is not good is no proof either: the enrolment fails by the same guard.
            Err(NotRecorded::Refused(_)) => return Ok(()),
            Err(error) => return Err(error.into()),
        }
        self.announce();
        Err(NodeError::TwoSessions)
    }
}

const CERTIFICATE_LIFE: Duration = Duration::from_secs(3600);
