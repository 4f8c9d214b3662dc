//! The statement: what a node measured, signed, bound to one request on one connection (DESIGN 5.3).

use base64::{Engine, engine::general_purpose::URL_SAFE_NO_PAD as B64};
use estate::{Digest, NodeName, Timestamp};
use jose::{
    Expected, Header, Jwk, SignError, Signer, VerifyError, VerifyingKey, sign_compact,
    verify_compact,
};
use serde::{Deserialize, Serialize};
use spiffe_id::TrustDomain;

use crate::{NodeFacts, Session, WorkloadFacts};

/// A compact JWS as it arrived; nothing about it is trusted.
#[derive(Debug, Clone)]
pub struct Statement(String);

impl Statement {
    /// Wraps what a peer sent.
    pub fn from_wire(compact: String) -> Self {
        Self(compact)
    }

    /// The compact JWS.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

/// The requester's HPKE key: whatever is released is sealed to it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Confirmation {
    /// Name of the HPKE suite.
    pub suite: String,
    /// The serialised public key, base64url.
    pub key: String,
}

impl Confirmation {
    /// Names a public key.
    pub fn of(key: &hpke_xwing::PublicKey) -> Self {
        Self {
            suite: key.suite().to_string(),
            key: B64.encode(key.to_bytes()),
        }
    }

    /// The key, parsed.
    pub fn public_key(&self) -> Option<hpke_xwing::PublicKey> {
        let suite = self.suite.parse().ok()?;
        hpke_xwing::PublicKey::from_bytes(suite, &B64.decode(&self.key).ok()?).ok()
    }

    /// SHA-256 of suite and key, for the leaf.
    pub fn thumbprint(&self) -> Digest {
        Digest::of(format!("{}\0{}", self.suite, self.key).as_bytes())
    }
}

#[derive(Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
struct Claims {
    iss: String,
    aud: String,
    #[serde(rename = "eat_nonce")]
    eat_nonce: String,
    seq: u64,
    req: String,
    cnf: Confirmation,
    measured_at: i64,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    workload: Option<WorkloadFacts>,
}

/// What has to be the same in statement and session.
pub const TYPE: &str = "bailiwick-measurement+jwt";

/// The node's side: what a statement says, before it is signed.
#[derive(Debug, Clone)]
pub struct StatementBuilder<'a> {
    /// Trust domain of node and server.
    pub trust_domain: &'a TrustDomain,
    /// The node that signs.
    pub node: &'a NodeName,
    /// TLS exporter of the connection that the statement will travel on.
    pub exporter: &'a [u8; 32],
    /// Rising per connection, first 1.
    pub seq: u64,
    /// The canonical request.
    pub request: &'a [u8],
    /// The requester's HPKE key.
    pub confirmation: Confirmation,
    /// When it was measured.
    pub measured_at: Timestamp,
    /// The workload; absent for a request of the node itself.
    pub workload: Option<WorkloadFacts>,
}

impl StatementBuilder<'_> {
    /// Signs the statement with the node's statement key.
    ///
    /// # Errors
    /// The signer's error.
    pub fn sign(self, signer: &dyn Signer) -> Result<Statement, SignError> {
        let claims = Claims {
            iss: node_id(self.trust_domain, self.node),
            aud: authority(self.trust_domain),
            eat_nonce: B64.encode(self.exporter),
            seq: self.seq,
            req: B64.encode(Digest::of(self.request).as_bytes()),
            cnf: self.confirmation,
            measured_at: self.measured_at.as_millis(),
            workload: self.workload,
        };
        let payload = serde_json::to_vec(&claims).map_err(|_| SignError::Failed {
            signer: "statement",
        })?;
        let header = Header::new(signer.algorithm()).with_typ(TYPE);
        sign_compact(&header, &payload, signer).map(Statement)
    }
}

/// SPIFFE id of a node.
pub fn node_id(trust_domain: &TrustDomain, node: &NodeName) -> String {
    format!("spiffe://{trust_domain}/node/{node}")
}

/// SPIFFE id of the authority that releases.
pub fn authority(trust_domain: &TrustDomain) -> String {
    format!("spiffe://{trust_domain}")
}

/// A node as its attestation left it: facts from server and inventory, keys from the proof.
#[derive(Debug, Clone)]
pub struct AttestedNode {
    /// What is known of it.
    pub facts: NodeFacts,
    /// Key and algorithm of its statements; a statement's own header chooses neither.
    pub statement_key: Jwk,
    /// Whether it was banned since.
    pub banned: bool,
}

/// Checks statements against the connection they came on.
#[derive(Debug, Clone)]
pub struct Verifier {
    trust_domain: TrustDomain,
}

/// Evidence that passed every check. Only [`Verifier::verify`] makes one.
///
/// ```
/// fn facts(evidence: evidence::VerifiedEvidence) -> evidence::NodeFacts { evidence.node().clone() }
/// ```
/// ```compile_fail
/// fn facts(evidence: evidence::VerifiedEvidence) -> evidence::NodeFacts { evidence.clone().node().clone() }
/// ```
#[derive(Debug)]
#[must_use]
pub struct VerifiedEvidence {
    node: NodeFacts,
    workload: Option<WorkloadFacts>,
    confirmation: Confirmation,
    request: Digest,
    statement: Digest,
    measured_at: Timestamp,
}

impl VerifiedEvidence {
    /// The node that measured.
    pub fn node(&self) -> &NodeFacts {
        &self.node
    }
    /// The workload that asks; absent when the node asks for itself.
    pub fn workload(&self) -> Option<&WorkloadFacts> {
        self.workload.as_ref()
    }
    /// The key that an answer is sealed to.
    pub fn confirmation(&self) -> &Confirmation {
        &self.confirmation
    }
    /// SHA-256 of the canonical request.
    pub fn request(&self) -> Digest {
        self.request
    }
    /// SHA-256 of the signed statement.
    pub fn statement(&self) -> Digest {
        self.statement
    }
    /// When the node says it measured.
    pub fn measured_at(&self) -> Timestamp {
        self.measured_at
    }
}

/// Why a statement is no evidence. Each is a denial that the ledger records.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum Rejected {
    /// Fault: the node.
    #[error("the statement is malformed")]
    Malformed,
    /// Fault: the node. Wrong key, algorithm or type, or changed on the way.
    #[error("the statement's signature does not match the attested node")]
    Signature,
    /// Fault: the node. Signed by one node, sent by another.
    #[error("the statement was issued by another node")]
    OtherNode,
    /// Fault: the node.
    #[error("the statement is meant for another authority")]
    OtherAudience,
    /// Fault: the node. Made for another connection: a replay.
    #[error("the statement belongs to another connection")]
    OtherConnection,
    /// Fault: the node. A sequence number used before.
    #[error("the statement was used before")]
    Replayed,
    /// Fault: the node.
    #[error("the statement was made for another request")]
    OtherRequest,
    /// Fault: the node. Older than 60 s by the server's clock, or from the future.
    #[error("the statement is not fresh")]
    Stale,
    /// Fault: the node.
    #[error("the statement's confirmation key is not a key of a known suite")]
    Confirmation,
    /// Fault: nobody; an operator banned the node.
    #[error("the node is banned")]
    Banned,
}

impl Verifier {
    /// A verifier for one trust domain.
    pub fn new(trust_domain: TrustDomain) -> Self {
        Self { trust_domain }
    }

    /// Verifies `statement` for the canonical `request` on the connection `on`, received at `now`.
    ///
    /// # Errors
    /// [`Rejected`]; the sequence number counts as used once the signature holds.
    pub fn verify(
        &self,
        statement: &Statement,
        request: &[u8],
        on: &Session,
        node: &AttestedNode,
        now: Timestamp,
    ) -> Result<VerifiedEvidence, Rejected> {
        if node.banned {
            return Err(Rejected::Banned);
        }
        if &node.facts.name != on.node() {
            return Err(Rejected::OtherNode);
        }
        let claims = self.signed_claims(statement, node)?;
        self.check_session(&claims, on)?;
        let request = Digest::of(request);
        if claims.req != B64.encode(request.as_bytes()) {
            return Err(Rejected::OtherRequest);
        }
        let measured_at = Timestamp::from_millis(claims.measured_at);
        check_fresh(measured_at, now)?;
        claims.cnf.public_key().ok_or(Rejected::Confirmation)?;
        Ok(VerifiedEvidence {
            node: node.facts.clone(),
            workload: claims.workload,
            confirmation: claims.cnf,
            request,
            statement: Digest::of(statement.0.as_bytes()),
            measured_at,
        })
    }

    fn signed_claims(
        &self,
        statement: &Statement,
        node: &AttestedNode,
    ) -> Result<Claims, Rejected> {
        if statement.0.len() > MAX_STATEMENT {
            return Err(Rejected::Malformed);
        }
        let key = VerifyingKey::from_jwk(&node.statement_key).map_err(|_| Rejected::Signature)?;
        let verified = verify_compact(&statement.0, &key, &Expected::typ(TYPE)).map_err(
            |error| match error {
                VerifyError::BadSignature
                | VerifyError::WrongAlgorithm { .. }
                | VerifyError::WrongType { .. } => Rejected::Signature,
                _ => Rejected::Malformed,
            },
        )?;
        let claims: Claims =
            jose::strict_json::from_slice(verified.payload()).map_err(|_| Rejected::Malformed)?;
        let named = |facts: &WorkloadFacts| facts.has_names_of_usual_length();
        match claims.workload.as_ref().is_none_or(named) {
            true => Ok(claims),
            false => Err(Rejected::Malformed),
        }
    }

    fn check_session(&self, claims: &Claims, on: &Session) -> Result<(), Rejected> {
        if claims.iss != node_id(&self.trust_domain, on.node()) {
            return Err(Rejected::OtherNode);
        }
        if claims.aud != authority(&self.trust_domain) {
            return Err(Rejected::OtherAudience);
        }
        if claims.eat_nonce != B64.encode(on.exporter()) {
            return Err(Rejected::OtherConnection);
        }
        if !on.take(claims.seq) {
            return Err(Rejected::Replayed);
        }
        Ok(())
    }
}

fn check_fresh(measured_at: Timestamp, now: Timestamp) -> Result<(), Rejected> {
    let age = now.as_millis().saturating_sub(measured_at.as_millis());
    if (-MAX_AHEAD_MS..=MAX_AGE_MS).contains(&age) {
        Ok(())
    } else {
        Err(Rejected::Stale)
    }
}

const MAX_AGE_MS: i64 = 60_000;
const MAX_AHEAD_MS: i64 = 30_000;
const MAX_STATEMENT: usize = 512 * 1024;
