//! Marks of containers as the agent reads and writes them, and hands that nobody asked about.

use std::collections::{BTreeSet, VecDeque};
use std::fs::File;
use std::io::Read as _;
use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use agent::ports::{DecidedOn, GateError, Hold, Holding, SeenHand};
use estate::{Digest, Timestamp};
use evidence::ContainerRef;
use evidence::request::{Hand, Held};
use prost::Message as _;
use proto::containerd::runc::v1::Options;
use proto::containerd::services::containers::v1::Container;
use tokio::sync::Notify;

use super::claims::Claims;
use crate::gate::{Created, Gated, HeldMark, MarkError, MarksFolder, Touch, handlers};

/// Where gate and agent meet.
#[derive(Debug, Clone)]
pub struct GateConfig {
    /// Folder of the marks, in memory.
    pub state: PathBuf,
    /// The list of opened layers.
    pub gated: PathBuf,
    /// Programs that are the gate, told by their content.
    pub programs: Vec<PathBuf>,
    /// containerd's configuration.
    pub containerd_config: PathBuf,
}

/// What the agent keeps for the gate.
pub(crate) struct Keeping {
    pub(super) config: GateConfig,
    pub(super) claims: Claims,
    /// Whether the gate's questions are answered.
    pub(super) served: AtomicBool,
    /// Chains whose files lie elsewhere than the list says, perhaps. LOCK: for moments.
    moved: Mutex<Moved>,
    stirred: Notify,
    marks: MarksFolder,
    /// Containers with a hand that is not on record yet; a folder each.
    unreported: MarksFolder,
    /// LOCK: for moments.
    hands: Mutex<VecDeque<SeenHand>>,
    arrived: Notify,
}

/// Which chains are looked for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Moved {
    /// All: it is not known what was unpacked meanwhile.
    All,
    /// These.
    Some(BTreeSet<Digest>),
}

/// What the marks say of a container.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Marked {
    /// The gate was asked before it was made. Whether a hand was seen since.
    ByGate { touched: bool },
    /// It was made in another way, or under another mark. Whether a hand was seen since.
    Otherwise { touched: bool },
}

impl Keeping {
    pub(crate) fn new(config: GateConfig) -> Arc<Self> {
        let mut beside = config.state.clone().into_os_string();
        beside.push(".unreported");
        let keeping = Self {
            claims: Claims::new(config.gated.clone()),
            marks: MarksFolder::new(&config.state),
            unreported: MarksFolder::new(beside),
            config,
            served: AtomicBool::new(false),
            moved: Mutex::new(Moved::All),
            stirred: Notify::new(),
            hands: Mutex::default(),
            arrived: Notify::new(),
        };
        keeping.resume();
        Arc::new(keeping)
    }

    /// Hands that an agent before this one saw and did not report.
    fn resume(&self) {
        match self.unreported.containers() {
            Ok(containers) => {
                for container in containers {
                    if let Err(error) = self.mark_touched(&container, Hand::Seen, &[]) {
                        tracing::warn!(%error, "a hand inside a container can't be marked");
                    }
                    self.announce(SeenHand::Unasked(container));
                }
            }
            Err(error) => tracing::warn!(%error, "hands that were not reported can't be listed"),
        }
    }

    pub(crate) fn serves(&self) {
        self.served.store(true, Ordering::SeqCst);
    }

    /// Nobody watched for a while: all chains are looked for.
    pub(crate) fn lost_sight(&self) {
        *self.moved.lock().unwrap_or_else(PoisonError::into_inner) = Moved::All;
        self.stirred.notify_one();
    }

    /// A chain was unpacked; if it is an opened one, it is looked for.
    pub(crate) fn saw_unpacked(&self, chain: Digest) {
        let is_listed = |gated: Gated| gated.layers().iter().any(|layer| layer.chain == chain);
        if self.claims.read().is_ok_and(|gated| !is_listed(gated)) {
            return;
        }
        if let Moved::Some(chains) = &mut *self.moved.lock().unwrap_or_else(PoisonError::into_inner)
        {
            chains.insert(chain);
        }
        self.stirred.notify_one();
    }

    /// Waits until there is something to look for.
    pub(super) async fn moved(&self) -> Moved {
        self.stirred.notified().await;
        let mut moved = self.moved.lock().unwrap_or_else(PoisonError::into_inner);
        std::mem::replace(&mut *moved, Moved::Some(BTreeSet::new()))
    }

    /// What is marked; `root` is the root folder of a process of the runtime, to find the bundle in. What can't be read is
    /// touched, and not the gate's.
    pub(crate) fn marked(&self, container: &ContainerRef, root: &Path) -> Marked {
        let read = || -> Result<Marked, MarkError> {
            let Some(marks) = self.marks.of(container)? else {
                return Ok(Marked::Otherwise { touched: false });
            };
            let touched = marks.touched()?;
            let created = marks.created()?;
            let is_valid =
                created.is_some_and(|created| specification(&created, container, root).is_some());
            Ok(match is_valid {
                true => Marked::ByGate { touched },
                false => Marked::Otherwise { touched },
            })
        };
        read().unwrap_or_else(|error| {
            tracing::warn!(%error, container = container.id, "a container's marks can't be read");
            Marked::Otherwise { touched: true }
        })
    }

    /// What the gate let the container start with; `None` if it came another way. The runtime's record can be changed later.
    pub(crate) fn specification(&self, container: &ContainerRef, root: &Path) -> Option<Vec<u8>> {
        let created = self.marks.of(container).ok()??.created().ok()??;
        specification(&created, container, root)
    }

    /// Chains that the gate found when the container was made.
    pub(super) fn found_by_gate(&self, container: &ContainerRef) -> Result<Vec<Digest>, MarkError> {
        let marks = self.marks.of(container)?;
        let created = marks.map(|marks| marks.created()).transpose()?.flatten();
        Ok(created.map(|created| created.gated).unwrap_or_default())
    }

    pub(super) fn held(&self, container: &ContainerRef) -> Result<Held, MarkError> {
        let marks = self.marks.of(container)?;
        marks.map_or(Ok(Held::default()), |marks| Ok(marks.held()?.held))
    }

    /// Writes a delivery down, unless a hand came in since it was decided.
    pub(super) fn hold(
        &self,
        container: &ContainerRef,
        what: Holding,
        decided: DecidedOn,
    ) -> Result<Hold, MarkError> {
        let marks = self.marks.make(container)?;
        // The gate lets a hand in without asking where nothing is held: it must not look between these two.
        let _lock = marks.lock()?;
        if decided == DecidedOn::Untouched && marks.touched()? {
            return Ok(Hold::TouchedMeanwhile);
        }
        let mut mark = marks.held()?;
        if add(&mut mark.held, what) {
            marks.write_held(&mark)?;
        }
        Ok(Hold::Written)
    }

    pub(super) fn change_held(
        &self,
        container: &ContainerRef,
        change: impl FnOnce(&mut HeldMark),
    ) -> Result<(), MarkError> {
        let marks = self.marks.make(container)?;
        let _lock = marks.lock()?;
        let before = marks.held()?;
        let mut mark = before.clone();
        change(&mut mark);
        match mark == before {
            true => Ok(()),
            false => marks.write_held(&mark),
        }
    }

    /// Marks a hand.
    pub(super) fn mark_touched(
        &self,
        container: &ContainerRef,
        hand: Hand,
        argv: &[String],
    ) -> Result<(), MarkError> {
        let marks = self.marks.make(container)?;
        let _lock = marks.lock()?;
        marks.touch(&touch(hand, argv))
    }

    /// A hand that was seen and that the gate was not asked about: marked, and told of once.
    pub(crate) fn saw_hand(&self, container: &ContainerRef) -> Result<(), MarkError> {
        let marks = self.marks.make(container)?;
        {
            let _lock = marks.lock()?;
            if marks.touched()? {
                return Ok(());
            }
            // In this order: an agent that ends here goes on with it.
            self.unreported.make(container)?;
            marks.touch(&touch(Hand::Seen, &[]))?;
        }
        self.announce(SeenHand::Unasked(container.clone()));
        Ok(())
    }

    /// Something was changed about the container that makes what is measured of it doubtful.
    pub(crate) fn saw_change(&self, container: &ContainerRef) -> Result<(), MarkError> {
        match self.marks.of(container)? {
            Some(marks) if !marks.touched()? => {
                let _lock = marks.lock()?;
                marks.touch(&touch(Hand::Seen, &[]))
            }
            _ => Ok(()),
        }
    }

    /// A hand that the gate let in by itself, or after asking.
    pub(crate) fn saw_entry(&self, container: &ContainerRef) -> Result<(), MarkError> {
        // A refused one, a probe, or one that the gate has yet to judge leaves no mark.
        if let Some(marks) = self.marks.of(container)?
            && marks.touched()?
        {
            self.announce(SeenHand::LetIn(container.clone()));
        }
        Ok(())
    }

    fn announce(&self, hand: SeenHand) {
        let mut hands = self.hands.lock().unwrap_or_else(PoisonError::into_inner);
        if !hands.contains(&hand) {
            hands.push_back(hand);
        }
        drop(hands);
        self.arrived.notify_one();
    }

    pub(super) async fn next_hand(&self) -> SeenHand {
        loop {
            let next = self
                .hands
                .lock()
                .unwrap_or_else(PoisonError::into_inner)
                .pop_front();
            match next {
                Some(hand) => return hand,
                None => self.arrived.notified().await,
            }
        }
    }

    pub(super) fn reported(&self, container: &ContainerRef) -> Result<(), MarkError> {
        self.unreported.remove(container)
    }

    /// The container's record is gone: so are its marks, once everything about it is on record.
    pub(crate) fn forget(&self, container: &ContainerRef) -> Result<(), MarkError> {
        match self.unreported.of(container)? {
            Some(_) => Ok(()),
            None => self.marks.remove(container),
        }
    }

    /// Every container that has marks.
    pub(crate) fn containers(&self) -> Result<Vec<ContainerRef>, MarkError> {
        self.marks.containers()
    }

    /// Whether the gate is called for each hand in this container: its record names the gate as its runtime's binary, and the
    /// gate was called when it was made.
    pub(crate) fn is_asked_about(&self, name: &ContainerRef, container: &Container) -> bool {
        self.runs(container) && self.was_asked(name)
    }

    /// Whether the gate was called when the container was made; all that can be told while the runtime is silent.
    pub(crate) fn was_asked(&self, name: &ContainerRef) -> bool {
        let marks = self.marks.of(name).ok().flatten();
        marks.is_some_and(|marks| matches!(marks.created(), Ok(Some(_))))
    }

    /// Whether the container's record names the gate as its runtime's binary.
    pub(crate) fn runs(&self, container: &Container) -> bool {
        let options = container
            .runtime
            .as_ref()
            .and_then(|runtime| runtime.options.as_ref())
            .filter(|any| any.type_url == "containerd.runc.v1.Options");
        let binary = options
            .and_then(|any| Options::decode(any.value.as_slice()).ok())
            .map(|options| options.binary_name);
        binary.is_some_and(|binary| self.is_gate(&binary))
    }

    /// Whether a runtime's binary is the gate.
    pub(crate) fn is_gate(&self, binary: &str) -> bool {
        handlers::is_gate(Path::new(binary), &self.config.programs)
    }
}

/// The bundle's specification, if the mark was written for the task that is there now: marks outlive tasks, ids come again.
fn specification(created: &Created, container: &ContainerRef, root: &Path) -> Option<Vec<u8>> {
    if !is_bundle_of(&created.bundle, container) {
        return None;
    }
    let inner = created.bundle.strip_prefix("/").unwrap_or(&created.bundle);
    let path = root.join(inner).join("config.json");
    let read = || {
        let file = File::open(path)?;
        let found = file.metadata()?;
        let mut bytes = Vec::new();
        file.take(LARGEST_SPEC).read_to_end(&mut bytes)?;
        std::io::Result::Ok((found.mtime() * 1000 + found.mtime_nsec() / 1_000_000, bytes))
    };
    let (written, bytes) = read().ok()?;
    (written <= created.at.as_millis() && Digest::of(&bytes) == created.spec).then_some(bytes)
}

/// containerd's bundles end in `<namespace>/<id>`.
pub(super) fn is_bundle_of(bundle: &Path, container: &ContainerRef) -> bool {
    bundle.is_absolute()
        && bundle.file_name() == Some(container.id.as_ref())
        && bundle.parent().and_then(Path::file_name) == Some(container.runtime_namespace.as_ref())
}

fn add(held: &mut Held, what: Holding) -> bool {
    match what {
        Holding::Secret(name) if !held.secrets.contains(&name) => held.secrets.push(name),
        Holding::Lease(id) if !held.leases.contains(&id) => held.leases.push(id),
        _ => return false,
    }
    true
}

fn touch(hand: Hand, argv: &[String]) -> Touch {
    Touch {
        at: now(),
        hand: match hand {
            Hand::Exec => "exec",
            Hand::Join => "join",
            Hand::Checkpoint => "checkpoint",
            Hand::Seen => "seen",
        },
        argv: argv.to_vec(),
    }
}

#[expect(
    clippy::disallowed_methods,
    reason = "a mark says when it was written, for whoever looks; nothing is decided by it"
)]
fn now() -> Timestamp {
    let since = SystemTime::now()
        .duration_since(UNIX_EPOCH)
        .unwrap_or(Duration::ZERO);
    Timestamp::from_millis(i64::try_from(since.as_millis()).unwrap_or(i64::MAX))
}

/// A mark or list as the agent's port tells it.
pub(super) fn failed(error: &dyn std::error::Error) -> GateError {
    GateError(crate::probe::told(error))
}

pub(super) const LARGEST_SPEC: u64 = 16 << 20;

#[cfg(test)]
mod tests;
