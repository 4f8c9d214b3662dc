//! The node that is played: its clock, its keys, its processes, its disk.

use std::{
    sync::{
        Arc, Mutex,
        atomic::{AtomicBool, AtomicI64, Ordering},
    },
    time::Duration,
};

use agent::{
    Agent, AgentConfig, AgentStanding,
    ports::{
        CheckpointStore, CheckpointStoreError, Clock, Identification, NodeKeys, NodeKeysError,
        Probe, ProbeError,
    },
};
use aws_lc_rs::{
    digest::{Digest as Sha, SHA256},
    encoding::{AsDer, PublicKeyX509Der},
    signature::{ECDSA_P256_SHA256_ASN1_SIGNING, EcdsaKeyPair, KeyPair},
};
use estate::{Digest, Timestamp};
use evidence::{Confirmation, ContainerRef, ImageFacts, WorkloadFacts, request::LayerUse};
use hpke_xwing::{PrivateKey, Suite};
use tokio::sync::watch;
use zeroize::Zeroizing;

use crate::gate::FakeGate;
use crate::server::{FakeConnector, FakeServer};

pub(crate) struct FakeClock(AtomicI64);

impl FakeClock {
    pub(crate) fn forward(&self, by: Duration) {
        self.0.fetch_add(by.as_millis() as i64, Ordering::SeqCst);
    }
}

impl Clock for FakeClock {
    fn now(&self) -> Timestamp {
        Timestamp::from_millis(self.0.load(Ordering::SeqCst))
    }
}

/// A key in memory; a quote is the very bytes that it should bind.
pub(crate) struct FakeKeys {
    pair: EcdsaKeyPair,
}

impl NodeKeys for FakeKeys {
    fn identify(&self) -> Result<Identification, NodeKeysError> {
        Ok(Identification::Token("token".into()))
    }
    fn node_key_spki(&self) -> Vec<u8> {
        let der: PublicKeyX509Der<'_> = self.pair.public_key().as_der().unwrap();
        der.as_ref().to_vec()
    }
    fn sign_digest(&self, digest: &[u8; 32]) -> Result<Vec<u8>, NodeKeysError> {
        let digest = Sha::import_less_safe(digest, &SHA256).unwrap();
        Ok(self.pair.sign_digest(&digest).unwrap().as_ref().to_vec())
    }
    fn activate(&self, _: &[u8], _: &[u8]) -> Result<Zeroizing<Vec<u8>>, NodeKeysError> {
        Err(NodeKeysError("no TPM".into()))
    }
    fn certify(&self, _: &[u8; 32]) -> Result<(Vec<u8>, Vec<u8>), NodeKeysError> {
        Err(NodeKeysError("no TPM".into()))
    }
    fn quote(
        &self,
        qualifying: &[u8; 32],
        pcrs: &[u8],
    ) -> Result<(Vec<u8>, Vec<u8>), NodeKeysError> {
        Ok((qualifying.to_vec(), pcrs.to_vec()))
    }
    fn event_log(&self) -> Result<Vec<u8>, NodeKeysError> {
        Ok(Vec::new())
    }
}

/// One process, whose facts a test may change.
pub(crate) struct FakeProbe {
    pub(crate) facts: Arc<Mutex<WorkloadFacts>>,
    pub(crate) is_decoder: Arc<AtomicBool>,
    pub(crate) gate: Option<FakeGate>,
}

impl Probe for FakeProbe {
    type Caller = ();
    type Gate = FakeGate;
    fn gate(&self) -> Option<&FakeGate> {
        self.gate.as_ref()
    }
    async fn measure(&self, _: &()) -> Result<WorkloadFacts, ProbeError> {
        Ok(self.facts.lock().unwrap().clone())
    }
    async fn layer_uses(&self, layer: Digest) -> Result<Vec<LayerUse>, ProbeError> {
        Ok(vec![LayerUse {
            manifest: Digest::of("manifest"),
            config: layer,
            index: 0,
            of: 1,
            diff_id: None,
        }])
    }
    async fn decoder(&self, _: &()) -> Result<Digest, ProbeError> {
        match self.is_decoder.load(Ordering::SeqCst) {
            true => Ok(Digest::of("decoder")),
            false => Err(ProbeError::Caller("it is no decoder".into())),
        }
    }
}

#[derive(Default)]
pub(crate) struct Memory(Mutex<Option<String>>);

impl CheckpointStore for Memory {
    fn load(&self) -> Result<Option<String>, CheckpointStoreError> {
        Ok(self.0.lock().unwrap().clone())
    }
    fn save(&self, state: &str) -> Result<(), CheckpointStoreError> {
        *self.0.lock().unwrap() = Some(state.to_owned());
        Ok(())
    }
}

/// A node and its server.
pub(crate) struct Node {
    pub(crate) server: Arc<FakeServer>,
    pub(crate) agent: Arc<Agent<FakeConnector, FakeProbe>>,
    pub(crate) clock: Arc<FakeClock>,
    pub(crate) facts: Arc<Mutex<WorkloadFacts>>,
    pub(crate) is_decoder: Arc<AtomicBool>,
    pub(crate) disk: Arc<Memory>,
    pub(crate) life: tokio::task::JoinHandle<()>,
    standing: watch::Receiver<AgentStanding>,
}

impl Node {
    pub(crate) fn start() -> Self {
        Self::start_with(|_| {}, |_| {})
    }

    pub(crate) fn start_with(
        configure: impl FnOnce(&mut AgentConfig),
        server: impl FnOnce(&FakeServer),
    ) -> Self {
        let clock = Arc::new(FakeClock(AtomicI64::new(1_795_478_400_000)));
        let played = FakeServer::new(Arc::clone(&clock));
        server(&played);
        Self::start_on(played, clock, Arc::default(), configure, None)
    }

    /// A node with a start gate.
    pub(crate) fn start_gated() -> (Self, FakeGate) {
        Self::start_gated_with(|_| {})
    }

    pub(crate) fn start_gated_with(configure: impl FnOnce(&mut AgentConfig)) -> (Self, FakeGate) {
        let clock = Arc::new(FakeClock(AtomicI64::new(1_795_478_400_000)));
        let server = FakeServer::new(Arc::clone(&clock));
        let gate = FakeGate::default();
        let node = Self::start_on(server, clock, Arc::default(), configure, Some(gate.clone()));
        (node, gate)
    }

    /// The same machine after a restart of its agent.
    pub(crate) fn restart(self) -> Self {
        self.life.abort();
        Self::start_on(self.server, self.clock, self.disk, |_| {}, None)
    }

    fn start_on(
        server: Arc<FakeServer>,
        clock: Arc<FakeClock>,
        disk: Arc<Memory>,
        configure: impl FnOnce(&mut AgentConfig),
        gate: Option<FakeGate>,
    ) -> Self {
        let mut config = AgentConfig {
            node: "n1".parse().unwrap(),
            trust_domain: "example.lab".parse().unwrap(),
            ledger_key: None,
            allow_lab: true,
            max_offline: Duration::from_secs(600),
        };
        configure(&mut config);
        let facts = Arc::new(Mutex::new(facts("one")));
        let is_decoder = Arc::new(AtomicBool::new(true));
        let probe = FakeProbe {
            facts: Arc::clone(&facts),
            is_decoder: Arc::clone(&is_decoder),
            gate,
        };
        let pair = EcdsaKeyPair::generate(&ECDSA_P256_SHA256_ASN1_SIGNING).unwrap();
        let agent = Agent::build(
            config,
            FakeConnector(Arc::clone(&server)),
            probe,
            Arc::new(FakeKeys { pair }),
            Arc::clone(&clock) as Arc<dyn Clock>,
            Arc::clone(&disk) as Arc<dyn CheckpointStore>,
        );
        let life = tokio::spawn(Arc::clone(&agent).run_forever());
        let standing = agent.standing();
        Self {
            server,
            agent,
            clock,
            facts,
            is_decoder,
            disk,
            life,
            standing,
        }
    }

    /// Waits until the standing is as a test wants it.
    pub(crate) async fn stands(
        &mut self,
        wanted: impl FnMut(&AgentStanding) -> bool,
    ) -> AgentStanding {
        let waited =
            tokio::time::timeout(Duration::from_secs(30), self.standing.wait_for(wanted)).await;
        waited.unwrap().unwrap().clone()
    }

    pub(crate) async fn up(&mut self) -> AgentStanding {
        self.stands(|standing| standing.attested).await
    }

    pub(crate) async fn read(&self) -> Result<agent::Delivered, agent::AgentError> {
        self.agent
            .read(&(), "db-password".parse().unwrap(), key())
            .await
    }
}

/// A caller's key.
pub(crate) fn key() -> Confirmation {
    Confirmation::of(PrivateKey::generate(Suite::X25519).unwrap().public_key())
}

/// Facts of a container of this image.
pub(crate) fn facts(image: &str) -> WorkloadFacts {
    WorkloadFacts {
        container: Some(ContainerRef {
            runtime_namespace: "k8s.io".into(),
            id: "c1".into(),
        }),
        image: Some(ImageFacts {
            config: Digest::of(image),
            chain_id: Digest::of("chain"),
        }),
        exe: None,
        deviations: Some(Vec::new()),
        interactive: None,
        privileged: Some(false),
        uid: Some(1000),
        pod: None,
    }
}
