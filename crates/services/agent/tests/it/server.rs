//! The server that is played. What it answers is real unless a test makes it lie.

use std::{
    sync::{
        Arc, Mutex,
        atomic::{AtomicU8, Ordering},
    },
    time::Duration,
};

use agent::ports::{
    Admission, AttestingLink, Clock, Connector, Directive, Hello, Identification, LinkError,
    Outcome, Reply, ServerLink,
};
use base64::{Engine, engine::general_purpose::STANDARD};
use estate::{Epoch, NodeName};
use evidence::{
    Action, AttestBinding, AttestedNode, Attestor, Challenge, Confirmation, Enrolled, Proof,
    Purpose, Session, SessionKeys, Statement, Verifier, WorkloadFacts,
    request::{Canonical, ExecRequest, Hand, IssueRequest, SvidRequest},
};
use jose::{EcdsaP256Key, Jwk};
use rcgen::{
    BasicConstraints, CertificateParams, CertifiedIssuer, ExtendedKeyUsagePurpose, IsCa, KeyPair,
    KeyUsagePurpose, SanType, SubjectPublicKeyInfo,
};
use spiffe_id::{Bundle, JwtClaims, TrustDomain, UnixTime};
use tokio::sync::watch;

use crate::{ledger::Log, node::FakeClock};

/// How the next answers lie.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Lie {
    None,
    /// The receipt is for another leaf.
    OtherLeaf,
    /// Leaf and receipt are those of the first answer.
    Replay,
    /// The receipt comes from a log that another key signs.
    OtherLog,
    /// Sealed where plain is due, and the other way round.
    OtherKind,
    /// A certificate for another key.
    OtherKey,
    /// A certificate for another node.
    OtherName,
}

pub(crate) struct State {
    pub(crate) log: Log,
    pub(crate) lie: Lie,
    pub(crate) denies: bool,
    pub(crate) lab: bool,
    pub(crate) says_trust_domain: String,
    pub(crate) down: bool,
    pub(crate) refuses: bool,
    pub(crate) epoch: u64,
    pub(crate) node: Option<AttestedNode>,
    /// Purpose, statement key, HPKE key of each admission.
    pub(crate) admissions: Vec<(String, Jwk, Confirmation)>,
    binding: Option<AttestBinding>,
    /// What each accepted statement named.
    pub(crate) accepted: Vec<(Action, Option<WorkloadFacts>)>,
    /// Why statements were rejected.
    pub(crate) rejected: Vec<String>,
    /// Whether each quote bound what it should.
    pub(crate) quotes: Vec<bool>,
    /// How long a release takes.
    pub(crate) takes: Duration,
    /// What was asked about hands inside containers.
    pub(crate) execs: Vec<ExecRequest>,
    /// What is answered to them: `probe`, `free` or `exposed`.
    pub(crate) exec_word: &'static str,
    /// How long such an answer takes, and how many questions came.
    pub(crate) exec_takes: Duration,
    pub(crate) execs_begun: usize,
}

pub(crate) struct FakeServer {
    pub(crate) state: Mutex<State>,
    pub(crate) directive: watch::Sender<Directive>,
    /// Rises when every connection breaks.
    broken: watch::Sender<u64>,
    clock: Arc<FakeClock>,
    trust_domain: TrustDomain,
    ca: CertifiedIssuer<'static, KeyPair>,
    jwt: EcdsaP256Key,
    verifier: Verifier,
    connections: AtomicU8,
}

impl FakeServer {
    pub(crate) fn new(clock: Arc<FakeClock>) -> Arc<Self> {
        let trust_domain: TrustDomain = "example.lab".parse().unwrap();
        let mut params = CertificateParams::default();
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        params.key_usages = vec![KeyUsagePurpose::KeyCertSign];
        let state = State {
            log: Log::new(1),
            lie: Lie::None,
            denies: false,
            lab: true,
            says_trust_domain: "example.lab".into(),
            down: false,
            refuses: false,
            epoch: 0,
            node: None,
            admissions: Vec::new(),
            binding: None,
            accepted: Vec::new(),
            rejected: Vec::new(),
            quotes: Vec::new(),
            takes: Duration::ZERO,
            execs: Vec::new(),
            exec_word: "free",
            exec_takes: Duration::ZERO,
            execs_begun: 0,
        };
        Arc::new(Self {
            state: Mutex::new(state),
            directive: watch::Sender::new(Directive {
                policy: 1,
                bundle: 1,
                ..Directive::default()
            }),
            broken: watch::Sender::new(0),
            clock,
            ca: CertifiedIssuer::self_signed(params, KeyPair::generate().unwrap()).unwrap(),
            jwt: EcdsaP256Key::generate().unwrap(),
            verifier: Verifier::new(trust_domain.clone()),
            trust_domain,
            connections: AtomicU8::new(0),
        })
    }

    pub(crate) fn with<T>(&self, change: impl FnOnce(&mut State) -> T) -> T {
        change(&mut self.state.lock().unwrap())
    }

    pub(crate) fn tell(&self, change: impl FnOnce(&mut Directive)) {
        self.directive.send_modify(change);
    }

    pub(crate) fn break_connections(&self) {
        self.broken.send_modify(|broken| *broken += 1);
    }

    fn exporter(&self) -> Result<[u8; 32], LinkError> {
        match self.with(|state| state.down) {
            true => Err(LinkError::Unavailable("down".into())),
            false => Ok([self.connections.fetch_add(1, Ordering::SeqCst) + 1; 32]),
        }
    }

    fn bundle(&self) -> Vec<u8> {
        let key = self.jwt.public_jwk().clone().with_kid("k1");
        let bundle = Bundle::new(&self.trust_domain)
            .with_x509_authority(self.ca.der())
            .unwrap();
        bundle
            .with_jwt_authority(key)
            .unwrap()
            .to_json()
            .unwrap()
            .into_bytes()
    }

    fn certificate(&self, id: &str, spki: &[u8]) -> Vec<Vec<u8>> {
        let now = self.clock.now().as_seconds();
        let at = |seconds| time::OffsetDateTime::from_unix_timestamp(seconds).unwrap();
        let mut params = CertificateParams::default();
        params.is_ca = IsCa::ExplicitNoCa;
        params.key_usages = vec![KeyUsagePurpose::DigitalSignature];
        params.extended_key_usages = vec![
            ExtendedKeyUsagePurpose::ServerAuth,
            ExtendedKeyUsagePurpose::ClientAuth,
        ];
        params.subject_alt_names = vec![SanType::URI(id.try_into().unwrap())];
        params.not_before = at(now - 30);
        params.not_after = at(now + 3600);
        let key = SubjectPublicKeyInfo::from_der(spki).unwrap();
        vec![params.signed_by(&key, &self.ca).unwrap().der().to_vec()]
    }
}

pub(crate) struct FakeConnector(pub(crate) Arc<FakeServer>);

impl Connector for FakeConnector {
    type Attesting = FakeAttesting;
    type Link = FakeLink;

    async fn attesting(&self) -> Result<FakeAttesting, LinkError> {
        let exporter = self.0.exporter()?;
        Ok(FakeAttesting {
            server: Arc::clone(&self.0),
            exporter,
            hello: None,
        })
    }

    async fn mutual(&self, chain: Vec<Vec<u8>>) -> Result<FakeLink, LinkError> {
        assert!(!chain.is_empty());
        let exporter = self.0.exporter()?;
        let node: NodeName = "n1".parse().unwrap();
        Ok(FakeLink {
            session: Session::new(SessionKeys { node, exporter }),
            exporter,
            directives: tokio::sync::Mutex::new({
                let mut receiver = self.0.directive.subscribe();
                receiver.mark_changed();
                receiver
            }),
            broken: tokio::sync::Mutex::new(self.0.broken.subscribe()),
            server: Arc::clone(&self.0),
        })
    }
}

pub(crate) struct FakeAttesting {
    server: Arc<FakeServer>,
    exporter: [u8; 32],
    hello: Option<Hello>,
}

const NONCE: [u8; 32] = [7; 32];
const NODE: &str = "spiffe://example.lab/node/n1";

impl AttestingLink for FakeAttesting {
    fn exporter(&self) -> [u8; 32] {
        self.exporter
    }

    async fn hello(&mut self, hello: Hello) -> Result<Challenge, LinkError> {
        assert!(matches!(hello.identification, Identification::Token(_)));
        self.hello = Some(hello);
        Ok(Challenge {
            nonce: NONCE,
            id_object: Vec::new(),
            encrypted_secret: Vec::new(),
            pcrs: Vec::new(),
        })
    }

    async fn prove(&mut self, _: Proof, possession: Vec<u8>) -> Result<Admission, LinkError> {
        let hello = self.hello.take().unwrap();
        if self.server.with(|state| state.refuses) {
            return Err(LinkError::Refused("the token was used".into()));
        }
        let statement_key: Jwk = serde_json::from_slice(&hello.statement_key).unwrap();
        let binding = AttestBinding {
            trust_domain: self.server.trust_domain.clone(),
            node: hello.node.parse().unwrap(),
            purpose: if hello.purpose == "renew" {
                Purpose::Renew
            } else {
                Purpose::Enrol
            },
            ak_name: Vec::new(),
            node_key_name: estate::Digest::of(&hello.node_key_spki).as_bytes().to_vec(),
            statement_key: statement_key.clone(),
            hpke_key: hello.hpke.clone(),
            exporter: self.exporter,
        };
        let enrolled = Enrolled {
            node: hello.node.parse().unwrap(),
            cluster: None,
            location: None,
            attestor: Attestor::JoinToken,
            ek: None,
            boot: None,
        };
        let verified = evidence::verify_join(
            binding.clone(),
            &enrolled,
            &hello.node_key_spki,
            &NONCE,
            &possession,
        )
        .unwrap();
        let lie = self.server.with(|state| state.lie);
        let other = EcdsaP256Key::generate()
            .unwrap()
            .public_jwk()
            .to_spki_der()
            .unwrap();
        let chain = match lie {
            Lie::OtherKey => self.server.certificate(NODE, &other),
            Lie::OtherName => self
                .server
                .certificate("spiffe://example.lab/node/n2", &hello.node_key_spki),
            _ => self.server.certificate(NODE, &hello.node_key_spki),
        };
        let bundle = self.server.bundle();
        let admission = self.server.with(|state| {
            state.epoch += 1;
            let mut facts = verified.facts().clone();
            facts.epoch = Epoch(state.epoch);
            state.node = Some(AttestedNode {
                facts,
                statement_key: statement_key.clone(),
                banned: false,
            });
            state.binding = Some(binding);
            state
                .admissions
                .push((hello.purpose.to_owned(), statement_key, hello.hpke));
            Admission {
                chain,
                bundle,
                trust_domain: state.says_trust_domain.clone(),
                epoch: state.epoch,
                lab: state.lab,
                ledger_key: state.log.key(),
                receipt: state
                    .log
                    .append(format!("{{\"enrol\":{}}}", state.epoch).into_bytes()),
            }
        });
        self.server
            .tell(|directive| directive.node_epoch = admission.epoch);
        Ok(admission)
    }
}

pub(crate) struct FakeLink {
    server: Arc<FakeServer>,
    exporter: [u8; 32],
    session: Session,
    directives: tokio::sync::Mutex<watch::Receiver<Directive>>,
    broken: tokio::sync::Mutex<watch::Receiver<u64>>,
}

impl ServerLink for FakeLink {
    fn exporter(&self) -> [u8; 32] {
        self.exporter
    }

    async fn release(
        &self,
        action: Action,
        body: Vec<u8>,
        statement: Statement,
        _: Vec<u8>,
    ) -> Result<Reply, LinkError> {
        let takes = self.server.with(|state| state.takes);
        tokio::time::sleep(takes).await;
        let now = self.server.clock.now();
        let node = self.server.with(|state| state.node.clone()).unwrap();
        let verified = self
            .server
            .verifier
            .verify(&statement, &body, &self.session, &node, now);
        let outcome = match &verified {
            Ok(_) => self.outcome(action, &body),
            Err(why) => Outcome::Denied {
                code: "denied".into(),
                reason: why.to_string(),
            },
        };
        self.server.with(|state| {
            match verified {
                Ok(evidence) => state.accepted.push((action, evidence.workload().cloned())),
                Err(why) => state.rejected.push(why.to_string()),
            }
            let answer = format!("{{\"answer\":{}}}", state.log.leaves.len()).into_bytes();
            let (mut leaf, mut proof) = state.log.append(answer);
            match state.lie {
                Lie::OtherLeaf => leaf.push(b' '),
                Lie::Replay => {
                    leaf = state.log.leaves[1].clone();
                    proof = state.log.receipt(1);
                }
                Lie::OtherLog => (leaf, proof) = Log::new(9).append(leaf),
                _ => {}
            }
            let denied = || Outcome::Denied {
                code: "denied".into(),
                reason: "DPIA-2026-014".into(),
            };
            Ok(Reply {
                leaf,
                proof,
                outcome: if state.denies { denied() } else { outcome },
            })
        })
    }

    async fn exec(&self, body: Vec<u8>, statement: Statement) -> Result<Reply, LinkError> {
        let takes = self.server.with(|state| {
            state.execs_begun += 1;
            state.exec_takes
        });
        tokio::time::sleep(takes).await;
        let now = self.server.clock.now();
        let node = self.server.with(|state| state.node.clone()).unwrap();
        let verified = self
            .server
            .verifier
            .verify(&statement, &body, &self.session, &node, now);
        let request = ExecRequest::from_canonical(&body).unwrap();
        Ok(self.server.with(|state| {
            let answer = format!("{{\"exec\":{}}}", state.log.leaves.len()).into_bytes();
            let (leaf, proof) = state.log.append(answer);
            let denied = |reason: String| Outcome::Denied {
                code: "denied".into(),
                reason,
            };
            let outcome = match verified {
                Err(why) => {
                    state.rejected.push(why.to_string());
                    denied(why.to_string())
                }
                Ok(_) if state.denies && request.hand != Hand::Seen => denied("exec".into()),
                Ok(_) => Outcome::Plain(vec![state.exec_word.as_bytes().to_vec()]),
            };
            state.execs.push(request);
            Reply {
                leaf,
                proof,
                outcome,
            }
        }))
    }

    async fn quote(&self, nonce: [u8; 32], proof: Proof) -> Result<(), LinkError> {
        self.server.with(|state| {
            let binding = AttestBinding {
                purpose: Purpose::Quote,
                exporter: self.exporter,
                ..state.binding.clone().unwrap()
            };
            state
                .quotes
                .push(proof.quote == (binding.qualifying_data(&nonce).to_vec(), vec![0, 7]));
        });
        Ok(())
    }

    async fn bundle(&self) -> Result<(Vec<u8>, u64), LinkError> {
        Ok((self.server.bundle(), self.server.directive.borrow().bundle))
    }

    async fn consistency(&self, old_size: u64) -> Result<(Vec<[u8; 32]>, String), LinkError> {
        self.server.with(|state| {
            let proof = state.log.consistency(old_size);
            let proof = proof
                .ok_or_else(|| LinkError::Request("the log has no tree of that size".into()))?;
            Ok((proof, state.log.checkpoint()))
        })
    }

    async fn next_directive(&self, _: &str) -> Result<Directive, LinkError> {
        let (mut directives, mut broken) = (self.directives.lock().await, self.broken.lock().await);
        tokio::select! {
            _ = broken.changed() => Err(LinkError::Unavailable("the connection broke".into())),
            changed = directives.changed() => {
                changed.unwrap();
                Ok(directives.borrow_and_update().clone())
            }
        }
    }
}

impl FakeLink {
    fn outcome(&self, action: Action, body: &[u8]) -> Outcome {
        let lie = self.server.with(|state| state.lie);
        let sealed = || Outcome::Sealed {
            suite: "x25519".into(),
            enc: vec![1],
            ct: vec![2],
        };
        match action {
            Action::Issue if lie != Lie::OtherKind => Outcome::Plain(self.issue(body, lie)),
            Action::Issue => sealed(),
            Action::Start => Outcome::Plain(vec![b"{}".to_vec()]),
            _ if lie == Lie::OtherKind => Outcome::Plain(Vec::new()),
            _ => sealed(),
        }
    }

    fn issue(&self, body: &[u8], lie: Lie) -> Vec<Vec<u8>> {
        let id = "spiffe://example.lab/image/medrec";
        match IssueRequest::from_canonical(body).unwrap().svid {
            SvidRequest::X509 { spki } => {
                let other = EcdsaP256Key::generate()
                    .unwrap()
                    .public_jwk()
                    .to_spki_der()
                    .unwrap();
                let spki = if lie == Lie::OtherKey {
                    other
                } else {
                    STANDARD.decode(spki).unwrap()
                };
                self.server.certificate(id, &spki)
            }
            SvidRequest::Jwt { audience } => {
                let now = UnixTime::from_secs(self.server.clock.now().as_seconds() as u64);
                let claims =
                    JwtClaims::new(id.parse().unwrap(), audience, now, now.plus_secs(300)).unwrap();
                vec![claims.sign("k1", &self.server.jwt).unwrap().into_bytes()]
            }
        }
    }
}
