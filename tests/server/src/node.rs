//! A node that attested by token, with its statement key: whatever it states goes through the whole release path.

use std::{
    net::Ipv4Addr,
    sync::atomic::{AtomicU64, Ordering},
};

use estate::{Digest, NodeName, Timestamp};
use evidence::{
    AttestBinding, Confirmation, ContainerRef, ExeFacts, ImageFacts, Interactive, Proof, Purpose,
    Session, SessionKeys, Statement, StatementBuilder, Strength, WorkloadFacts,
    request::{Canonical, LeaseRequest, ReadRequest},
};
use hpke_xwing::{PrivateKey, Suite};
use jose::{EcdsaP256Key, Signer};
use ledger::Actor;
use server::{
    Answer, ReleaseError,
    nodes::{Hello, Means, NodeError},
    ports::Clock,
};

use crate::TestServer;

/// A node with a session of its own.
pub struct TestNode {
    /// Its name.
    pub name: NodeName,
    /// Signs its statements.
    pub statement_key: EcdsaP256Key,
    /// The key that answers are sealed to.
    pub requester: PrivateKey,
    /// Its connection.
    pub session: Session,
    /// Its certificate, then the issuing CA, DER.
    pub chain: Vec<Vec<u8>>,
    /// The key of its certificate.
    pub node_key: EcdsaP256Key,
    exporter: [u8; 32],
    seq: AtomicU64,
}

/// The image of the estate's set.
pub const IMAGE: &str = "sha256:3b1f0c52d0a84c27b3a6c1f44b5d9e0aa1f27c8d55e1b0f6e6d7a0c9b8f71234";

/// What an honest agent measures of the set's image, running as shipped.
pub fn as_shipped() -> WorkloadFacts {
    WorkloadFacts {
        container: Some(ContainerRef {
            runtime_namespace: "k8s.io".into(),
            id: "c1".into(),
        }),
        image: Some(ImageFacts {
            config: IMAGE.parse().unwrap(),
            chain_id: Digest::of("chain"),
        }),
        exe: Some(ExeFacts {
            digest: Digest::of("exe"),
            from_image: Some(true),
        }),
        deviations: Some(Vec::new()),
        interactive: Some(Interactive {
            yes: false,
            strength: Strength::Strong,
        }),
        privileged: Some(false),
        uid: Some(1000),
        pod: None,
    }
}

impl TestNode {
    /// Attests by a fresh token.
    pub async fn join(house: &TestServer, name: &str) -> Self {
        let name: NodeName = name.parse().unwrap();
        let (token, _) = house.server.token(&name, Actor::LocalRoot).await.unwrap();
        Self::join_with(house, name.as_str(), &token, Purpose::Enrol)
            .await
            .unwrap()
    }

    /// Attests by this token.
    pub async fn join_with(
        house: &TestServer,
        name: &str,
        token: &str,
        purpose: Purpose,
    ) -> Result<Self, NodeError> {
        let name: NodeName = name.parse().unwrap();
        let (node_key, statement_key) = (
            EcdsaP256Key::generate().unwrap(),
            EcdsaP256Key::generate().unwrap(),
        );
        let hpke_key = Confirmation::of(PrivateKey::generate(Suite::X25519).unwrap().public_key());
        let exporter = *Digest::of(token).as_bytes();
        let spki = node_key.public_jwk().to_spki_der().unwrap();
        let hello = Hello {
            node: name.clone(),
            purpose,
            statement_key: statement_key.public_jwk().clone(),
            hpke_key: hpke_key.clone(),
            exporter,
            remote: Ipv4Addr::LOCALHOST.into(),
            means: Means::Token {
                token: token.to_owned(),
                node_key_spki: spki.clone(),
            },
        };
        let (attesting, challenge) = house.server.challenge(hello).await?;
        let binding = AttestBinding {
            trust_domain: house.server.trust_domain().clone(),
            node: name.clone(),
            purpose,
            ak_name: Vec::new(),
            node_key_name: Digest::of(spki).as_bytes().to_vec(),
            statement_key: statement_key.public_jwk().clone(),
            hpke_key,
            exporter,
        };
        let possession = node_key
            .sign(&binding.qualifying_data(&challenge.nonce))
            .unwrap();
        let admitted = house
            .server
            .admit(attesting, &Proof::default(), &possession)
            .await?;
        Ok(Self {
            chain: admitted.chain,
            node_key,
            session: Session::new(SessionKeys {
                node: name.clone(),
                exporter,
            }),
            name,
            statement_key,
            requester: PrivateKey::generate(Suite::XWing).unwrap(),
            exporter,
            seq: AtomicU64::new(0),
        })
    }

    /// A statement over a canonical request.
    pub fn state(
        &self,
        house: &TestServer,
        request: &[u8],
        workload: Option<WorkloadFacts>,
    ) -> Statement {
        let now: Timestamp = house.clock.now();
        let builder = StatementBuilder {
            trust_domain: house.server.trust_domain(),
            node: &self.name,
            exporter: &self.exporter,
            seq: self.seq.fetch_add(1, Ordering::Relaxed) + 1,
            request,
            confirmation: Confirmation::of(self.requester.public_key()),
            measured_at: now,
            workload,
        };
        builder.sign(&self.statement_key).unwrap()
    }

    /// Leases the estate's credential for a workload.
    pub async fn lease(
        &self,
        house: &TestServer,
        workload: WorkloadFacts,
    ) -> Result<Answer, ReleaseError> {
        self.lease_of(house, "postgresql/records", workload).await
    }

    /// Leases a credential for a workload.
    pub async fn lease_of(
        &self,
        house: &TestServer,
        credential: &str,
        workload: WorkloadFacts,
    ) -> Result<Answer, ReleaseError> {
        let request = LeaseRequest {
            v: 1,
            credential: credential.parse().unwrap(),
            verifier: "SCRAM-SHA-256$4096:c2FsdA==$a:b".into(),
        };
        let request = request.to_canonical().unwrap();
        let statement = self.state(house, &request, Some(workload));
        house
            .server
            .lease(&self.session, &statement, &request)
            .await
    }

    /// Reads a secret for a workload.
    pub async fn read(
        &self,
        house: &TestServer,
        secret: &str,
        workload: WorkloadFacts,
    ) -> Result<(Vec<u8>, Answer), ReleaseError> {
        let request = ReadRequest {
            v: 1,
            secret: secret.parse().unwrap(),
        }
        .to_canonical()
        .unwrap();
        let statement = self.state(house, &request, Some(workload));
        let answer = house
            .server
            .read(&self.session, &statement, &request)
            .await?;
        Ok((request, answer))
    }
}
