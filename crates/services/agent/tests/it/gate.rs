//! The start gate that is played: in memory, and with every answer that a test wants.

use std::{
    collections::{BTreeSet, VecDeque},
    sync::{Arc, Mutex},
};

use agent::{
    GateOperation, GateQuestion,
    ports::{
        Claim, DecidedOn, Gate, GateError, GatedLayer, Hold, Holding, Inside, ProbeError, SeenHand,
        Starting,
    },
};
use estate::{Digest, ImageSetName};
use evidence::{
    ContainerRef, Interactive, Strength, WorkloadFacts,
    request::{Hand, Held, LayerUse, StartGate},
};

use crate::node::facts;

/// What the gate finds, and what was done with it.
pub(crate) struct State {
    pub(crate) is_gate: bool,
    pub(crate) coverage: StartGate,
    /// Whether files can be written.
    pub(crate) disk_works: bool,
    pub(crate) starting: Starting,
    pub(crate) inside: Inside,
    /// Hands come in right after a delivery was decided.
    pub(crate) touched_meanwhile: bool,
    pub(crate) claimed: BTreeSet<GatedLayer>,
    pub(crate) confirmed: usize,
    pub(crate) touched: Vec<(String, Hand)>,
    pub(crate) held: Vec<Holding>,
    pub(crate) probes: Vec<Vec<String>>,
    pub(crate) leases_forgotten: usize,
    pub(crate) hands: VecDeque<SeenHand>,
    pub(crate) reported: Vec<String>,
}

#[derive(Clone)]
pub(crate) struct FakeGate {
    state: Arc<Mutex<State>>,
    arrived: Arc<tokio::sync::Notify>,
}

impl Default for FakeGate {
    fn default() -> Self {
        let state = State {
            is_gate: true,
            coverage: StartGate::Everywhere,
            disk_works: true,
            starting: Starting {
                facts: untouched("one"),
                gated: BTreeSet::new(),
            },
            inside: Inside {
                facts: untouched("one"),
                images: BTreeSet::new(),
                held: Held::default(),
                healthcheck: None,
            },
            touched_meanwhile: false,
            claimed: BTreeSet::new(),
            confirmed: 0,
            touched: Vec::new(),
            held: Vec::new(),
            probes: Vec::new(),
            leases_forgotten: 0,
            hands: VecDeque::new(),
            reported: Vec::new(),
        };
        Self {
            state: Arc::new(Mutex::new(state)),
            arrived: Arc::default(),
        }
    }
}

impl FakeGate {
    pub(crate) fn with<T>(&self, change: impl FnOnce(&mut State) -> T) -> T {
        change(&mut self.state.lock().unwrap())
    }

    /// A hand comes in that nobody asked about.
    pub(crate) fn hand_comes(&self, id: &str) {
        self.sees(SeenHand::Unasked(container(id)));
    }

    pub(crate) fn sees(&self, hand: SeenHand) {
        self.with(|state| state.hands.push_back(hand));
        self.arrived.notify_one();
    }

    fn write(&self, write: impl FnOnce(&mut State)) -> Result<(), GateError> {
        self.with(|state| match state.disk_works {
            true => {
                write(state);
                Ok(())
            }
            false => Err(GateError("the disk is full".into())),
        })
    }
}

impl Gate for FakeGate {
    type Caller = ();
    async fn program(&self, _: &()) -> Result<Digest, ProbeError> {
        match self.with(|state| state.is_gate) {
            true => Ok(Digest::of("gate")),
            false => Err(ProbeError::Caller("it is no gate".into())),
        }
    }
    async fn coverage(&self) -> StartGate {
        self.with(|state| state.coverage)
    }
    async fn claim(&self, image: &ImageSetName, uses: &[LayerUse]) -> Result<Claim, GateError> {
        let layers: BTreeSet<GatedLayer> = uses
            .iter()
            .map(|usage| GatedLayer {
                chain: Digest::of(format!("chain of {}", usage.manifest)),
                config: usage.config,
                image: image.clone(),
            })
            .collect();
        self.write(|state| state.claimed.extend(layers.clone()))?;
        Ok(Claim(layers))
    }
    async fn withdraw(&self, claim: Claim) -> Result<(), GateError> {
        self.write(|state| state.claimed.retain(|layer| !claim.0.contains(layer)))
    }
    async fn confirm(&self, _: Claim) {
        self.with(|state| state.confirmed += 1);
    }
    async fn starting(&self, _: &(), _: &GateQuestion) -> Result<Starting, ProbeError> {
        Ok(self.with(|state| state.starting.clone()))
    }
    async fn inside(&self, _: &ContainerRef, _: &[Digest]) -> Result<Inside, ProbeError> {
        Ok(self.with(|state| state.inside.clone()))
    }
    async fn touch(
        &self,
        container: &ContainerRef,
        hand: Hand,
        _: &[String],
    ) -> Result<(), GateError> {
        self.write(|state| state.touched.push((container.id.clone(), hand)))
    }
    async fn hold(
        &self,
        _: &ContainerRef,
        what: Holding,
        decided: DecidedOn,
    ) -> Result<Hold, GateError> {
        if decided == DecidedOn::Untouched && self.with(|state| state.touched_meanwhile) {
            return Ok(Hold::TouchedMeanwhile);
        }
        self.write(|state| state.held.push(what))?;
        Ok(Hold::Written)
    }
    async fn forget_leases(&self, _: &ContainerRef) -> Result<(), GateError> {
        self.write(|state| state.leases_forgotten += 1)
    }
    async fn allow_probe(&self, _: &ContainerRef, argv: &[String]) -> Result<(), GateError> {
        self.write(|state| state.probes.push(argv.to_vec()))
    }
    async fn next_hand(&self) -> SeenHand {
        loop {
            if let Some(hand) = self.with(|state| state.hands.pop_front()) {
                return hand;
            }
            self.arrived.notified().await;
        }
    }
    async fn reported(&self, container: &ContainerRef) -> Result<(), GateError> {
        self.write(|state| state.reported.push(container.id.clone()))
    }
}

pub(crate) fn container(id: &str) -> ContainerRef {
    ContainerRef {
        runtime_namespace: "k8s.io".into(),
        id: id.into(),
    }
}

/// Facts of a container that is known to be untouched.
pub(crate) fn untouched(image: &str) -> WorkloadFacts {
    WorkloadFacts {
        interactive: Some(Interactive {
            yes: false,
            strength: Strength::Strong,
        }),
        uid: None,
        ..facts(image)
    }
}

pub(crate) fn layer(chain: &str, config: &str, image: &str) -> GatedLayer {
    GatedLayer {
        chain: Digest::of(chain),
        config: Digest::of(config),
        image: image.parse().unwrap(),
    }
}

pub(crate) fn question(operation: GateOperation, argv: &[&str]) -> GateQuestion {
    GateQuestion {
        operation,
        container: container("c1"),
        bundle: "/run/task/k8s.io/c1".into(),
        gated: Vec::new(),
        argv: argv.iter().map(|word| (*word).to_owned()).collect(),
    }
}
