//! The agent's side of the start gate: its port, over one containerd and the files that gate and agent share.

mod bundle;
mod claims;
mod inside;
mod keeping;
mod places;

use std::collections::BTreeSet;
use std::marker::PhantomData;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::Ordering;

use agent::GateQuestion;
use agent::ports::{
    Claim, DecidedOn, Gate, GateError, GatedLayer, Hold, Holding, Inside, ProbeError, SeenHand,
    Starting,
};
use estate::{Digest, ImageSetName};
use evidence::ContainerRef;
use evidence::request::{Hand, LayerUse, StartGate};

pub use keeping::GateConfig;
pub(crate) use keeping::{Keeping, Marked};

use crate::gate::{Gated, handlers};
use crate::measure;
use crate::probe::{runtime_failed, told};
use crate::{Containers, Subject};
use keeping::{Moved, failed};

/// The gate of one node.
pub struct NodeGate<S> {
    containers: Containers,
    keeping: Arc<Keeping>,
    callers: PhantomData<fn(S)>,
}

impl<S> NodeGate<S> {
    pub(crate) fn new(containers: Containers, keeping: Arc<Keeping>) -> Self {
        Self {
            containers,
            keeping,
            callers: PhantomData,
        }
    }
}

impl<S: Subject + 'static> Gate for NodeGate<S> {
    type Caller = S;

    /// A gate is root, and a program that is named as one. Its parent is a shim that anybody may have started, so its content
    /// counts alone.
    async fn program(&self, caller: &S) -> Result<Digest, ProbeError> {
        if caller.uid() != 0 {
            return Err(refused("only root may ask for the start gate"));
        }
        let exe = Path::new("/proc")
            .join(caller.pid().to_string())
            .join("exe");
        let digest = self
            .containers
            .digest_of(exe)
            .await
            .map_err(|error| refused(&format!("its program can't be read: {error}")))?
            .ok_or_else(|| refused("its program can't be told from others"))?;
        if !caller.still_alive() {
            return Err(refused("it has ended"));
        }
        match self
            .containers
            .is_one_of(digest, &self.keeping.config.programs)
            .await
        {
            true => Ok(digest),
            false => Err(refused(
                "its program is none of the gates that this node's agent is configured with",
            )),
        }
    }

    async fn coverage(&self) -> StartGate {
        if !self.keeping.served.load(Ordering::SeqCst) {
            return StartGate::Missing;
        }
        let keeping = Arc::clone(&self.keeping);
        let everywhere = tokio::task::spawn_blocking(move || is_everywhere(&keeping.config));
        match everywhere.await {
            Ok(true) => StartGate::Everywhere,
            _ => StartGate::Missing,
        }
    }

    async fn claim(&self, image: &ImageSetName, uses: &[LayerUse]) -> Result<Claim, GateError> {
        let layers = places::chains(&self.containers.client, image, uses)
            .await
            .map_err(|error| failed(&error))?;
        let keeping = Arc::clone(&self.keeping);
        let claimed = blocking(move || keeping.claims.claim(layers)).await?;
        claimed.map_err(|error| failed(&error))
    }

    async fn withdraw(&self, claim: Claim) -> Result<(), GateError> {
        let keeping = Arc::clone(&self.keeping);
        let withdrawn = blocking(move || keeping.claims.withdraw(claim)).await?;
        withdrawn.map_err(|error| failed(&error))
    }

    async fn confirm(&self, claim: Claim) {
        self.keeping.claims.confirm(claim);
    }

    async fn starting(&self, caller: &S, question: &GateQuestion) -> Result<Starting, ProbeError> {
        let unknown = Moved::Some(BTreeSet::new());
        find_places(&self.containers, &self.keeping, &unknown).await?;
        let measured =
            bundle::measure(&self.containers, &self.keeping, caller.pid(), question).await?;
        // Only now is it sure that everything was about this process.
        match caller.still_alive() {
            true => Ok(measured),
            false => Err(refused("it has ended")),
        }
    }

    async fn inside(
        &self,
        container: &ContainerRef,
        gated: &[Digest],
    ) -> Result<Inside, ProbeError> {
        inside::measure(&self.containers, &self.keeping, container, gated).await
    }

    async fn touch(
        &self,
        container: &ContainerRef,
        hand: Hand,
        argv: &[String],
    ) -> Result<(), GateError> {
        self.containers.marks.see(container);
        let (keeping, container, argv) =
            (Arc::clone(&self.keeping), container.clone(), argv.to_vec());
        let touched = blocking(move || keeping.mark_touched(&container, hand, &argv)).await?;
        touched.map_err(|error| failed(&error))
    }

    async fn hold(
        &self,
        container: &ContainerRef,
        what: Holding,
        decided: DecidedOn,
    ) -> Result<Hold, GateError> {
        if decided == DecidedOn::Untouched && self.containers.marks.saw(container) {
            return Ok(Hold::TouchedMeanwhile);
        }
        let (keeping, container) = (Arc::clone(&self.keeping), container.clone());
        let held = blocking(move || keeping.hold(&container, what, decided)).await?;
        held.map_err(|error| failed(&error))
    }

    async fn forget_leases(&self, container: &ContainerRef) -> Result<(), GateError> {
        let (keeping, container) = (Arc::clone(&self.keeping), container.clone());
        let changed =
            blocking(move || keeping.change_held(&container, |mark| mark.held.leases.clear()));
        changed.await?.map_err(|error| failed(&error))
    }

    async fn allow_probe(
        &self,
        container: &ContainerRef,
        argv: &[String],
    ) -> Result<(), GateError> {
        let (keeping, container, argv) =
            (Arc::clone(&self.keeping), container.clone(), argv.to_vec());
        let changed = blocking(move || {
            keeping.change_held(&container, |mark| {
                if mark.probes.len() < MOST_PROBES && !mark.probes.contains(&argv) {
                    mark.probes.push(argv);
                }
            })
        });
        changed.await?.map_err(|error| failed(&error))
    }

    async fn next_hand(&self) -> SeenHand {
        self.keeping.next_hand().await
    }

    async fn reported(&self, container: &ContainerRef) -> Result<(), GateError> {
        self.keeping
            .reported(container)
            .map_err(|error| failed(&error))?;
        let exists = measure::container(&self.containers, container).await;
        match exists.map_err(|error| failed(&error))? {
            Some(_) => Ok(()),
            None => self
                .keeping
                .forget(container)
                .map_err(|error| failed(&error)),
        }
    }
}

/// Layers of the list whose chains these are. One that somebody else found must be in it.
fn layers_of(
    listed: &Gated,
    chains: &BTreeSet<Digest>,
    must_be_known: &[Digest],
) -> Result<BTreeSet<GatedLayer>, ProbeError> {
    let is_known = |chain: &Digest| listed.layers().iter().any(|layer| layer.chain == *chain);
    if !must_be_known.iter().all(is_known) {
        return Err(refused(
            "the gate found a layer that is not in the agent's list",
        ));
    }
    let found = listed
        .layers()
        .iter()
        .filter(|layer| chains.contains(&layer.chain));
    Ok(found
        .map(|layer| GatedLayer {
            chain: layer.chain,
            config: layer.config,
            image: layer.image.clone(),
        })
        .collect())
}

/// Completes the list of opened layers with where their files lie: of these, or of those that were not found yet.
async fn find_places(
    containers: &Containers,
    keeping: &Arc<Keeping>,
    moved: &Moved,
) -> Result<(), ProbeError> {
    let listed = keeping.claims.read().map_err(|error| unreadable(&error))?;
    let is_wanted = |layer: &&crate::gate::GatedLayer| match moved {
        Moved::All => true,
        Moved::Some(chains) => layer.places.is_none() || chains.contains(&layer.chain),
    };
    let layers = listed.layers().iter().filter(is_wanted);
    let wanted: BTreeSet<Digest> = layers.map(|layer| layer.chain).collect();
    if wanted.is_empty() {
        return Ok(());
    }
    let made = keeping.claims.made();
    let found = places::find(&containers.client, wanted)
        .await
        .map_err(runtime_failed)?;
    let keeping = Arc::clone(keeping);
    let placed = blocking(move || keeping.claims.place(&found, made)).await;
    let placed = placed.map_err(|error| ProbeError::Runtime(error.to_string()))?;
    placed.map_err(|error| unreadable(&error))
}

/// Keeps list and marks as the runtime's state wants them, for ever.
pub(crate) async fn keep(containers: &Containers, keeping: &Arc<Keeping>) {
    loop {
        let moved = keeping.moved().await;
        if let Err(error) = find_places(containers, keeping, &moved).await {
            tracing::warn!(%error, "where opened layers lie is not known");
        }
        if moved == Moved::All
            && let Err(error) = forget_the_gone(containers, keeping).await
        {
            tracing::warn!(%error, "marks of containers that are gone could not be removed");
        }
    }
}

/// Marks without a container. The marks are listed first: what was made meanwhile stays.
async fn forget_the_gone(containers: &Containers, keeping: &Keeping) -> Result<(), ProbeError> {
    let marked = keeping.containers().map_err(|error| unreadable(&error))?;
    for container in marked {
        let exists = measure::container(containers, &container).await;
        if exists.map_err(runtime_failed)?.is_none() {
            keeping
                .forget(&container)
                .map_err(|error| unreadable(&error))?;
        }
    }
    Ok(())
}

/// Whether each of the runtime's handlers is wrapped.
fn is_everywhere(config: &GateConfig) -> bool {
    match handlers::read(&config.containerd_config, &config.programs) {
        Ok(found) => handlers::is_everywhere(&found),
        Err(error) => {
            tracing::warn!(
                error = told(&error),
                "whether every container starts through the gate is not known"
            );
            false
        }
    }
}

/// Files in memory are quick, but a lock may be waited for.
async fn blocking<T: Send + 'static>(
    work: impl FnOnce() -> T + Send + 'static,
) -> Result<T, GateError> {
    tokio::task::spawn_blocking(work)
        .await
        .map_err(|_| GateError("the work on them ended early".to_owned()))
}

fn refused(why: &str) -> ProbeError {
    ProbeError::Caller(why.to_owned())
}

/// What gate and agent share can't be read: nothing is said about any container.
fn unreadable(error: &dyn std::error::Error) -> ProbeError {
    ProbeError::Runtime(told(error))
}

impl Marked {
    fn touched(self) -> bool {
        match self {
            Self::ByGate { touched } | Self::Otherwise { touched } => touched,
        }
    }
}

/// More commands than a health check and the probes of a pod.
const MOST_PROBES: usize = 64;
