//! Statements against everything that a node, or whoever stole from one, may try.
#![expect(clippy::unwrap_used, reason = "test code")]

use estate::{Assurance, Digest, Epoch, NodeName, Timestamp};
use evidence::{
    AttestedNode, Attestor, Confirmation, NodeFacts, Rejected, Session, SessionKeys, Statement,
    StatementBuilder, VerifiedEvidence, Verifier, WorkloadFacts,
    request::{Canonical, ReadRequest, RequestError},
};
use hpke_xwing::{PrivateKey, Suite};
use jose::{EcdsaP256Key, Header, sign_compact};
use proptest::prelude::*;
use spiffe_id::TrustDomain;

struct Node {
    key: EcdsaP256Key,
    attested: AttestedNode,
    domain: TrustDomain,
    cnf: Confirmation,
}

const EXPORTER: [u8; 32] = [7; 32];

fn now() -> Timestamp {
    Timestamp::from_seconds(1_800_000_000)
}

fn node() -> Node {
    let key = EcdsaP256Key::generate().unwrap();
    let facts = NodeFacts {
        name: "n1".parse().unwrap(),
        cluster: None,
        location: None,
        assurance: Assurance::ENROLLED,
        attestor: Attestor::Tpm,
        boot: None,
        quoted_at: Some(now()),
        epoch: Epoch(3),
    };
    let attested = AttestedNode {
        facts,
        statement_key: key.public_jwk().clone(),
        banned: false,
    };
    let cnf = Confirmation::of(PrivateKey::generate(Suite::X25519).unwrap().public_key());
    Node {
        key,
        attested,
        domain: "td.lab".parse().unwrap(),
        cnf,
    }
}

fn request() -> Vec<u8> {
    ReadRequest {
        v: 1,
        secret: "db/one".parse().unwrap(),
    }
    .to_canonical()
    .unwrap()
}

fn session(node: &str) -> Session {
    Session::new(SessionKeys {
        node: node.parse().unwrap(),
        exporter: EXPORTER,
    })
}

impl Node {
    fn builder<'a>(&'a self, name: &'a NodeName, request: &'a [u8]) -> StatementBuilder<'a> {
        StatementBuilder {
            trust_domain: &self.domain,
            node: name,
            exporter: &EXPORTER,
            seq: 1,
            request,
            confirmation: self.cnf.clone(),
            measured_at: now(),
            workload: None,
        }
    }

    fn verify(&self, statement: &Statement, on: &Session) -> Result<VerifiedEvidence, Rejected> {
        Verifier::new(self.domain.clone()).verify(statement, &request(), on, &self.attested, now())
    }

    fn altered(
        &self,
        change: impl FnOnce(&mut StatementBuilder<'_>),
    ) -> Result<VerifiedEvidence, Rejected> {
        let (name, request) = (self.attested.facts.name.clone(), request());
        let mut builder = self.builder(&name, &request);
        change(&mut builder);
        self.verify(&builder.sign(&self.key).unwrap(), &session("n1"))
    }
}

#[test]
fn an_honest_statement_is_evidence() {
    let evidence = node().altered(|_| {}).unwrap();
    assert_eq!(evidence.request(), Digest::of(request()));
    assert_eq!(evidence.node().epoch, Epoch(3));
}

#[test]
fn a_statement_counts_once() {
    let node = node();
    let (name, request) = (node.attested.facts.name.clone(), request());
    let statement = node.builder(&name, &request).sign(&node.key).unwrap();
    let on = session("n1");
    assert!(node.verify(&statement, &on).is_ok());
    assert_eq!(node.verify(&statement, &on).err(), Some(Rejected::Replayed));
}

#[test]
fn a_statement_of_another_connection_is_refused() {
    assert_eq!(
        node().altered(|builder| builder.exporter = &[8; 32]).err(),
        Some(Rejected::OtherConnection)
    );
}

#[test]
fn a_statement_for_another_request_is_refused() {
    assert_eq!(
        node().altered(|builder| builder.request = b"{}").err(),
        Some(Rejected::OtherRequest)
    );
}

#[test]
fn a_statement_for_another_authority_is_refused() {
    let other: TrustDomain = "other.lab".parse().unwrap();
    let node = node();
    let (name, request) = (node.attested.facts.name.clone(), request());
    let mut builder = node.builder(&name, &request);
    builder.trust_domain = &other;
    let statement = builder.sign(&node.key).unwrap();
    assert_eq!(
        node.verify(&statement, &session("n1")).err(),
        Some(Rejected::OtherNode)
    );
}

#[test]
fn stale_and_future_statements_are_refused() {
    let seconds = std::time::Duration::from_secs;
    let node = node();
    assert_eq!(
        node.altered(|b| b.measured_at = now().minus(seconds(61)))
            .err(),
        Some(Rejected::Stale)
    );
    assert_eq!(
        node.altered(|b| b.measured_at = now().plus(seconds(31)))
            .err(),
        Some(Rejected::Stale)
    );
    assert!(
        node.altered(|b| b.measured_at = now().minus(seconds(59)))
            .is_ok()
    );
}

#[test]
fn a_key_of_another_node_or_session_is_refused() {
    let (honest, thief) = (node(), node());
    let (name, request) = (honest.attested.facts.name.clone(), request());
    let statement = honest.builder(&name, &request).sign(&thief.key).unwrap();
    assert_eq!(
        honest.verify(&statement, &session("n1")).err(),
        Some(Rejected::Signature)
    );
}

#[test]
fn a_statement_sent_by_another_node_is_refused() {
    let node = node();
    let (name, request) = (node.attested.facts.name.clone(), request());
    let statement = node.builder(&name, &request).sign(&node.key).unwrap();
    assert_eq!(
        node.verify(&statement, &session("n2")).err(),
        Some(Rejected::OtherNode)
    );
}

#[test]
fn a_banned_node_has_no_evidence() {
    let mut node = node();
    node.attested.banned = true;
    assert_eq!(node.altered(|_| {}).err(), Some(Rejected::Banned));
}

#[test]
fn a_confirmation_that_is_no_key_is_refused() {
    let broken = |cnf: &mut Confirmation| cnf.key = "AAAA".to_owned();
    assert_eq!(
        node().altered(|b| broken(&mut b.confirmation)).err(),
        Some(Rejected::Confirmation)
    );
    let unknown = |cnf: &mut Confirmation| cnf.suite = "none".to_owned();
    assert_eq!(
        node().altered(|b| unknown(&mut b.confirmation)).err(),
        Some(Rejected::Confirmation)
    );
}

#[test]
fn another_type_of_token_by_the_same_key_is_refused() {
    let node = node();
    let header = Header::new(jose::Algorithm::Es256).with_typ("JWT");
    let token = sign_compact(&header, b"{}", &node.key).unwrap();
    let statement = Statement::from_wire(token);
    assert_eq!(
        node.verify(&statement, &session("n1")).err(),
        Some(Rejected::Signature)
    );
}

#[test]
fn an_unknown_claim_or_fact_is_refused() {
    let node = node();
    let header = Header::new(jose::Algorithm::Es256).with_typ("bailiwick-measurement+jwt");
    let token = sign_compact(&header, br#"{"iss":"x","surprise":1}"#, &node.key).unwrap();
    assert_eq!(
        node.verify(&Statement::from_wire(token), &session("n1"))
            .err(),
        Some(Rejected::Malformed)
    );
    assert!(serde_json::from_str::<WorkloadFacts>(r#"{"asShipped":true}"#).is_err());
}

#[test]
fn a_fact_that_was_not_measured_is_absent() {
    let facts: WorkloadFacts = serde_json::from_str("{}").unwrap();
    assert_eq!(
        (facts.privileged, facts.interactive, facts.deviations),
        (None, None, None)
    );
}

#[test]
fn only_the_canonical_form_of_a_request_is_read() {
    let spaced = br#"{"secret": "db/one","v":1}"#;
    assert!(matches!(
        ReadRequest::from_canonical(spaced),
        Err(RequestError::NotCanonical)
    ));
    let doubled = br#"{"secret":"db/one","secret":"db/two","v":1}"#;
    assert!(matches!(
        ReadRequest::from_canonical(doubled),
        Err(RequestError::Malformed(_))
    ));
    let newer = br#"{"secret":"db/one","v":2}"#;
    assert!(matches!(
        ReadRequest::from_canonical(newer),
        Err(RequestError::Version { version: 2 })
    ));
}

proptest! {
    #[test]
    fn hostile_statements_are_rejected(text in ".{0,300}") {
        let node = node();
        prop_assert!(node.verify(&Statement::from_wire(text), &session("n1")).is_err());
    }

    #[test]
    fn hostile_requests_are_errors(bytes: Vec<u8>) {
        prop_assert!(ReadRequest::from_canonical(&bytes).is_err());
    }

    #[test]
    fn a_changed_byte_is_noticed(at in 0usize..600, bit in 0u8..8) {
        let node = node();
        let (name, request) = (node.attested.facts.name.clone(), request());
        let honest = node.builder(&name, &request).sign(&node.key).unwrap();
        let mut bytes = honest.as_str().as_bytes().to_vec();
        let at = at % bytes.len();
        if let Some(byte) = bytes.get_mut(at) {
            *byte ^= 1 << bit;
        }
        if let Ok(text) = String::from_utf8(bytes) {
            prop_assert!(node.verify(&Statement::from_wire(text), &session("n1")).is_err());
        }
    }
}
