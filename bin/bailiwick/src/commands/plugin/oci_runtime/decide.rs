//! What passes, what is marked and who is asked. Each mark is written before the runtime is called: killed at any step, the
//! gate leaves no container that runs without its mark, and no hand inside without one.

use std::path::{Path, PathBuf};

use agent::{GateOperation, GateQuestion};
use containers::gate::{
    ContainerMarks, Created, Gated, Gatedness, Making, MarksFolder, MountTable, Touch,
    containers_in_namespace, layers_of_container,
};
use estate::Digest;
use evidence::ContainerRef;
use rpc::gate_socket::{GateClient, GateSocketError, Passed};
use serde_json::{Map, Value};

use super::{
    arguments::{Command, Deed, Guarded},
    bundle::{Bundle, Process, bundle_of},
    config::GateConfig,
    refusal::Refusal,
};
use crate::{commands::trust, system::SystemClock};

/// The gate of this machine.
pub(super) struct Gate<'a> {
    config: &'a GateConfig,
    marks: MarksFolder,
}

/// A hand that is about to go into a container.
struct Hand<'a> {
    operation: GateOperation,
    /// As the mark calls it.
    name: &'static str,
    container: &'a ContainerRef,
    /// Of the container for which the gate was called.
    bundle: PathBuf,
    argv: Vec<String>,
    likeness: Likeness,
}

/// Whether nothing but the command was chosen. A probe with another environment, user or a terminal is no probe.
enum Likeness {
    /// More was.
    Unlike,
    /// The runtime takes everything else from the container.
    Same,
    /// If the container's own process is like this.
    If(Map<String, Value>),
}

impl<'a> Gate<'a> {
    pub(super) fn new(config: &'a GateConfig) -> Self {
        Self {
            config,
            marks: MarksFolder::new(&config.state),
        }
    }

    /// Returns if the runtime may be called.
    pub(super) fn judge(&self, call: &Guarded) -> Result<(), Refusal> {
        let Guarded {
            container,
            root,
            deed,
        } = call;
        match deed {
            Deed::Make { making, bundle } => {
                refuse_if_there(root, container)?;
                self.make(container, *making, bundle)
            }
            Deed::Exec(command) => {
                let (argv, likeness) = read_command(command)?;
                self.hand(
                    root,
                    Hand {
                        operation: GateOperation::Exec,
                        name: "exec",
                        container,
                        bundle: PathBuf::new(),
                        argv,
                        likeness,
                    },
                )
            }
            Deed::Checkpoint => self.hand(
                root,
                Hand {
                    operation: GateOperation::Checkpoint,
                    name: "checkpoint",
                    container,
                    bundle: PathBuf::new(),
                    argv: Vec::new(),
                    likeness: Likeness::Unlike,
                },
            ),
        }
    }

    fn make(
        &self,
        container: &ContainerRef,
        making: Making,
        bundle_path: &Path,
    ) -> Result<(), Refusal> {
        let bundle = Bundle::read(bundle_path)?;
        let marks = self.marks.make(container)?;
        for (space, kind) in &bundle.joined {
            self.join(container, bundle_path, space, kind)?;
        }
        let gatedness = self.gatedness(&bundle)?;
        let gated = match &gatedness {
            Gatedness::Gated(chains) => chains.clone(),
            Gatedness::NotGated | Gatedness::CannotTell => Vec::new(),
        };
        if making == Making::Restore {
            marks.touch(&touch("restore", Vec::new()))?;
        }
        marks.write_created(&Created {
            version: 1,
            at: SystemClock.timestamp(),
            making,
            bundle: bundle_path.to_owned(),
            spec: bundle.spec,
            gated: gated.clone(),
        })?;
        if gatedness == Gatedness::NotGated {
            return Ok(());
        }
        let question = GateQuestion {
            operation: match making {
                Making::Create | Making::Run => GateOperation::Create,
                Making::Restore => GateOperation::Restore,
            },
            container: container.clone(),
            bundle: bundle_path.to_owned(),
            gated,
            argv: Vec::new(),
        };
        let refusal = match self.ask(&question) {
            Ok(Ok(_)) => return Ok(()),
            Ok(Err(error))
                if error.is_agent_away()
                    && gatedness == Gatedness::CannotTell
                    && self.has_no_opened_layer(container, &bundle) =>
            {
                return Ok(());
            }
            Ok(Err(source)) => Refusal::Agent {
                what: "the container's start",
                source,
            },
            Err(refusal) => refusal,
        };
        // Nothing is made: another container of that name must not find the mark of this one.
        marks.remove_created()?;
        Err(refusal)
    }

    /// A hand goes into every container whose process or mount space is joined.
    fn join(
        &self,
        joiner: &ContainerRef,
        bundle: &Path,
        space: &Path,
        kind: &'static str,
    ) -> Result<(), Refusal> {
        let ids = containers_in_namespace(space, kind).map_err(|source| Refusal::Joined {
            path: space.to_owned(),
            source,
        })?;
        let marked = self.marks.containers()?;
        for id in ids.iter().filter(|id| **id != joiner.id) {
            let mut targets: Vec<ContainerRef> = marked
                .iter()
                .filter(|marked| marked.id == *id)
                .cloned()
                .collect();
            if targets.is_empty() {
                targets.push(ContainerRef {
                    runtime_namespace: joiner.runtime_namespace.clone(),
                    id: id.clone(),
                });
            }
            for target in &targets {
                // Its bundle is in its own mark; where it has none, nobody can tell.
                self.hand(
                    Path::new(NOWHERE),
                    Hand {
                        operation: GateOperation::Join,
                        name: "join",
                        container: target,
                        bundle: bundle.to_owned(),
                        argv: Vec::new(),
                        likeness: Likeness::Unlike,
                    },
                )?;
            }
        }
        Ok(())
    }

    fn hand(&self, runc_root: &Path, hand: Hand<'_>) -> Result<(), Refusal> {
        let Hand {
            operation,
            name,
            container,
            bundle: called_for,
            argv,
            likeness,
        } = hand;
        let marks = self.marks.make(container)?;
        let created = marks.created()?;
        let bundle = created
            .as_ref()
            .map(|created| created.bundle.clone())
            .or_else(|| bundle_of(runc_root, &container.id));
        let gatedness = self.gatedness_now(created.as_ref(), bundle.as_deref())?;
        let what = touch(name, argv.clone());
        // First: a probe is no hand, whether anything is held yet or not.
        if marks.held()?.allows(&argv) && likeness.holds(bundle.as_deref()) {
            return Ok(());
        }
        if gatedness == Gatedness::NotGated && free(&marks, &what)? {
            return Ok(());
        }
        let may_be_probe = likeness.holds(bundle.as_deref());
        let gated = match gatedness {
            Gatedness::Gated(chains) => chains,
            Gatedness::NotGated | Gatedness::CannotTell => Vec::new(),
        };
        let bundle = match operation {
            GateOperation::Join => called_for,
            _ => bundle.unwrap_or_default(),
        };
        let question = GateQuestion {
            operation,
            container: container.clone(),
            bundle,
            gated,
            argv,
        };
        let passed = self.ask(&question)?.map_err(|source| Refusal::Agent {
            what: "a hand inside the container",
            source,
        })?;
        match (passed.is_probe(), may_be_probe) {
            (true, true) => Ok(()),
            // What was put on record is a probe, and this is none.
            (true, false) => Err(Refusal::NoProbe),
            (false, _) => Ok(marks.touch(&what)?),
        }
    }

    fn gatedness(&self, bundle: &Bundle) -> Result<Gatedness, Refusal> {
        let gated = Gated::read(&self.config.gated)?;
        if gated.layers().is_empty() {
            return Ok(Gatedness::NotGated);
        }
        let table = MountTable::own().map_err(Refusal::Mounts)?;
        let beneath = table.beneath(&bundle.root, bundle.sources.iter().map(PathBuf::as_path));
        Ok(match gated.chains_under(&beneath) {
            Gatedness::NotGated if bundle.is_unclear => Gatedness::CannotTell,
            gatedness => gatedness,
        })
    }

    /// Of a container that is there already: as it was made, and as the list is now.
    fn gatedness_now(
        &self,
        created: Option<&Created>,
        bundle: Option<&Path>,
    ) -> Result<Gatedness, Refusal> {
        let before: Vec<Digest> = created
            .map(|created| created.gated.clone())
            .unwrap_or_default();
        let gated = Gated::read(&self.config.gated)?;
        let now = if gated.layers().is_empty() {
            Gatedness::NotGated
        } else {
            match bundle.map(Bundle::read) {
                Some(Ok(bundle)) => self.gatedness(&bundle)?,
                Some(Err(_)) | None => Gatedness::CannotTell,
            }
        };
        Ok(match now {
            Gatedness::Gated(mut chains) => {
                chains.extend(before);
                chains.sort_unstable();
                chains.dedup();
                Gatedness::Gated(chains)
            }
            _ if !before.is_empty() => Gatedness::Gated(before),
            now => now,
        })
    }

    fn ask(&self, question: &GateQuestion) -> Result<Result<Passed, GateSocketError>, Refusal> {
        let GateConfig {
            ledger_key,
            allow_lab,
            socket,
            ..
        } = self.config;
        let trust = trust::trust_in(ledger_key.as_deref(), *allow_lab).map_err(Refusal::Trust)?;
        Ok(GateClient::new(socket).ask(question, &trust))
    }

    /// Whether containerd can say, while the agent is away, that no opened layer lies beneath.
    fn has_no_opened_layer(&self, container: &ContainerRef, bundle: &Bundle) -> bool {
        let Ok(gated) = Gated::read(&self.config.gated) else {
            return false;
        };
        let Ok(table) = MountTable::own() else {
            return false;
        };
        let sources = bundle.sources.iter().map(PathBuf::as_path);
        let beneath = table.beneath(&bundle.root, sources);
        if bundle.is_unclear || beneath.is_unclear() || beneath.mounts_layers() {
            return false;
        }
        let Ok(runtime) = tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .build()
        else {
            return false;
        };
        let chains = runtime.block_on(layers_of_container(
            &self.config.containerd,
            container,
            &beneath,
        ));
        chains.is_ok_and(|chains| {
            chains.is_some_and(|chains| {
                gated
                    .layers()
                    .iter()
                    .all(|layer| !chains.contains(&layer.chain))
            })
        })
    }
}

impl Likeness {
    fn holds(&self, bundle: Option<&Path>) -> bool {
        match self {
            Self::Unlike => false,
            Self::Same => true,
            Self::If(process) => bundle
                .and_then(|bundle| Bundle::read(bundle).ok())
                .is_some_and(|bundle| bundle.surroundings == *process),
        }
    }
}

/// The runtime would refuse it; but by then the mark of the container that is there would be another one's.
fn refuse_if_there(runc_root: &Path, container: &ContainerRef) -> Result<(), Refusal> {
    let has_state =
        |folder: &Path| std::fs::read_dir(folder).is_ok_and(|mut entries| entries.next().is_some());
    if has_state(&runc_root.join(&container.id)) {
        Err(Refusal::Exists {
            id: container.id.clone(),
        })
    } else {
        Ok(())
    }
}

fn read_command(command: &Command) -> Result<(Vec<String>, Likeness), Refusal> {
    let (argv, likeness) = match command {
        Command::Typed {
            argv,
            is_plain: true,
        } => (argv.clone(), Likeness::Same),
        Command::Typed {
            argv,
            is_plain: false,
        } => (argv.clone(), Likeness::Unlike),
        Command::File(file) => {
            let Process {
                argv,
                terminal,
                surroundings,
            } = Process::read(file)?;
            let likeness = match terminal {
                true => Likeness::Unlike,
                false => Likeness::If(surroundings),
            };
            (argv, likeness)
        }
    };
    Ok((argv, likeness))
}

/// Whether nothing was delivered into the container; then the hand is marked at once. The agent does the reverse under the
/// same lock, so that one of them sees the other.
fn free(marks: &ContainerMarks, hand: &Touch) -> Result<bool, Refusal> {
    let _lock = marks.lock()?;
    if !marks.held()?.is_empty() {
        return Ok(false);
    }
    marks.touch(hand)?;
    Ok(true)
}

fn touch(hand: &'static str, argv: Vec<String>) -> Touch {
    Touch {
        at: SystemClock.timestamp(),
        hand,
        argv,
    }
}

/// No runtime keeps containers there.
const NOWHERE: &str = "/nonexistent";
