//! One measurement, from a held process to facts.

use std::fs::{self, File};
use std::io::{self, Read as _};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::SystemTime;

use evidence::{ContainerRef, ExeFacts, ImageFacts, Interactive, Strength, WorkloadFacts};
use prost::Message as _;
use proto::containerd::runc::v1::Options;
use proto::containerd::services::containers::v1::{Container, GetContainerRequest};
use proto::containerd::v1::types::Process as Task;

use crate::client::{Client, unless_missing, within};
use crate::deviations::{self, Platform, RuntimeIsKnown, starts_own};
use crate::image::{self, Candidate, Judged, Snapshot};
use crate::locate::{self, Located};
use crate::mountinfo::{self, Seen};
use crate::overlay::Layers;
use crate::pod::Record;
use crate::power;
use crate::spec::Spec;
use crate::start::{Keeping, Marked};
use crate::users::Users;
use crate::{Config, Containers, MeasureError, RuntimeError, Subject, exe};

pub(crate) async fn measure(
    containers: &Containers,
    subject: &dyn Subject,
) -> Result<WorkloadFacts, MeasureError> {
    let unreadable = |source| MeasureError::Unreadable { source };
    let cgroup = subject.cgroup().map_err(|error| gone_or(subject, error))?;
    let kernel = Kernel::read(subject.pid()).map_err(|error| gone_or(subject, error))?;
    let facts = async {
        match locate::locate(&containers.client, &cgroup, subject.pid()).await? {
            Some(located) => in_container(containers, located, &kernel).await,
            None => Ok((nothing(), None)),
        }
    };
    let (mut facts, layers) = facts
        .await
        .map_err(|source| MeasureError::Runtime { source })?;
    facts.uid = Some(subject.uid());
    facts.exe = executable(containers, kernel, layers)
        .await
        .map_err(unreadable)?;
    // Only now is it sure that everything was about this process.
    if !subject.still_alive() {
        return Err(MeasureError::Gone);
    }
    Ok(facts)
}

fn gone_or(subject: &dyn Subject, source: io::Error) -> MeasureError {
    if subject.still_alive() {
        MeasureError::Unreadable { source }
    } else {
        MeasureError::Gone
    }
}

pub(crate) fn nothing() -> WorkloadFacts {
    WorkloadFacts {
        container: None,
        image: None,
        exe: None,
        deviations: None,
        interactive: None,
        privileged: None,
        uid: None,
        pod: None,
    }
}

/// What the kernel shows of the process.
pub(crate) struct Kernel {
    pub(crate) pid: u32,
    pub(crate) proc: PathBuf,
    pub(crate) mounts: Vec<Seen>,
    /// Namespaces that it shares with this program, which runs on the host.
    pub(crate) shared: Vec<&'static str>,
}

impl Kernel {
    pub(crate) fn read(pid: u32) -> io::Result<Self> {
        let proc = PathBuf::from(format!("/proc/{pid}"));
        let mut text = String::new();
        File::open(proc.join("mountinfo"))?
            .take(LARGEST_MOUNTINFO)
            .read_to_string(&mut text)?;
        let mounts = mountinfo::parse(&text).ok_or(io::ErrorKind::InvalidData)?;
        let mut shared = Vec::new();
        for (name, file) in NAMESPACES {
            let own = fs::read_link(Path::new("/proc/self/ns").join(file))?;
            if fs::read_link(proc.join("ns").join(file))? == own {
                shared.push(name);
            }
        }
        Ok(Self {
            pid,
            proc,
            mounts,
            shared,
        })
    }
}

const LARGEST_MOUNTINFO: u64 = 8 << 20;
/// Kinds as specifications call them, and their files.
pub(crate) const NAMESPACES: [(&str, &str); 5] = [
    ("pid", "pid"),
    ("ipc", "ipc"),
    ("uts", "uts"),
    ("mount", "mnt"),
    ("network", "net"),
];

/// Everything about the container; the layers are those of a recognised image.
pub(crate) async fn in_container(
    containers: &Containers,
    located: Located,
    kernel: &Kernel,
) -> Result<(WorkloadFacts, Option<Layers>), RuntimeError> {
    let mut facts = nothing();
    let Located {
        container: name,
        task,
    } = located;
    let came_from_first = locate::descends(kernel.pid, task.pid);
    facts.container = Some(name.clone());
    let Some(container) = container(containers, &name).await? else {
        return Ok((facts, None));
    };
    let record = Record::of(&name.runtime_namespace, &container);
    // What it was started with, as the gate saw it: the record can be changed afterwards, and Kubernetes' limits are.
    let started = containers
        .keeping
        .as_ref()
        .and_then(|keeping| keeping.specification(&name, &root_of_runtime(task.pid)));
    let recorded = || Some(container.spec.as_ref()?.value.clone());
    let spec = started
        .or_else(recorded)
        .and_then(|spec| serde_json::from_slice::<Spec>(&spec).ok());
    let open = !came_from_first || lies_open(spec.as_ref(), &task);
    facts.interactive = Some(interactive(containers, &name, &container, &task, open).await);
    facts.pod = record.as_ref().and_then(|record| record.pod.clone());
    let Some(spec) = spec else {
        return Ok((facts, None));
    };
    let hostname = hostname();
    let platform = platform(containers, &container, record.is_some(), &hostname);
    facts.privileged = Some(power::is_privileged(&spec, &platform, &kernel.shared));
    let scene = Scene {
        namespace: &name.runtime_namespace,
        container: &container,
        spec: &spec,
        platform,
        around: Around::Running(kernel),
    };
    let mut layers = None;
    if let Some(snapshot) =
        image::snapshot(&containers.client, &name.runtime_namespace, &container).await?
        && kernel.mounts.iter().any(|mount| snapshot.root.is(mount))
        && let Some(judged) = scene.recognise(containers, &snapshot, record).await?
    {
        facts.image = Some(judged.image);
        facts.deviations = Some(judged.deviations.into_iter().collect());
        layers = snapshot.root.into_layers();
    }
    Ok((facts, layers))
}

/// This node's name, which a container in the host's network gets.
pub(crate) fn hostname() -> String {
    let uname = rustix::system::uname();
    uname.nodename().to_str().unwrap_or_default().to_owned()
}

/// What this platform adds to the container.
pub(crate) fn platform<'a>(
    containers: &'a Containers,
    container: &Container,
    cri: bool,
    hostname: &'a str,
) -> Platform<'a> {
    Platform {
        cri,
        mounts: &containers.config.platform_mounts,
        hostname,
        runtime: runtime(container, &containers.config, containers.keeping.as_deref()),
    }
}

pub(crate) async fn container(
    containers: &Containers,
    name: &ContainerRef,
) -> Result<Option<Container>, RuntimeError> {
    record(&containers.client, name).await
}

/// The runtime's record of a container.
pub(crate) async fn record(
    client: &Client,
    name: &ContainerRef,
) -> Result<Option<Container>, RuntimeError> {
    let request = GetContainerRequest {
        id: name.id.clone(),
    };
    let request = within(&name.runtime_namespace, request)?;
    let answer = client.containers().get(request).await;
    Ok(unless_missing(answer, "container")?.and_then(|answer| answer.into_inner().container))
}

/// Everything that is compared with an image.
pub(crate) struct Scene<'a> {
    pub(crate) namespace: &'a str,
    pub(crate) container: &'a Container,
    pub(crate) spec: &'a Spec,
    pub(crate) platform: Platform<'a>,
    pub(crate) around: Around<'a>,
}

/// What is seen beside the specification.
pub(crate) enum Around<'a> {
    /// The first process, or the one that asks.
    Running(&'a Kernel),
    /// Nothing runs yet: mounts that will show in the container's root, and namespaces that it will share with the host.
    Starting {
        mounts: &'a [Seen],
        shared: &'a [&'static str],
    },
}

impl Scene<'_> {
    /// Which image it is, and how the container differs from it.
    pub(crate) async fn recognise(
        &self,
        containers: &Containers,
        snapshot: &Snapshot,
        record: Option<Record>,
    ) -> Result<Option<Judged>, RuntimeError> {
        let client = &containers.client;
        let snapshotter = &self.container.snapshotter;
        let present =
            image::candidates(client, self.namespace, snapshotter, snapshot.chain_id).await?;
        let candidates = containers.seen.with(snapshot.chain_id, present);
        let users = users(snapshot);
        let judged: Vec<Judged> = candidates
            .into_iter()
            .map(|candidate| self.judge(candidate, snapshot, &users))
            .collect();
        let named = if judged.len() > 1 {
            image::named(client, self.namespace, &self.container.image).await?
        } else {
            Vec::new()
        };
        Ok(image::choose(
            judged,
            record.and_then(|record| record.config),
            &named,
        ))
    }

    fn judge(&self, candidate: Candidate, snapshot: &Snapshot, users: &Users) -> Judged {
        let mut found = deviations::from_spec(self.spec, &candidate.config, users, &self.platform);
        found.extend(match self.around {
            Around::Running(kernel) => {
                deviations::from_kernel(self.spec, &snapshot.root, &kernel.mounts, &kernel.shared)
            }
            Around::Starting { mounts, shared } => deviations::before_start(mounts, shared),
        });
        Judged {
            image: ImageFacts {
                config: candidate.digest,
                chain_id: snapshot.chain_id,
            },
            deviations: found,
        }
    }
}

/// The image's own user files, from its layers.
fn users(snapshot: &Snapshot) -> Users {
    let read = |path: &str| {
        let mut text = String::new();
        let file = snapshot
            .root
            .layers()
            .and_then(|layers| layers.shipped(Path::new(path)));
        let read = file.map(|file| file.take(1 << 20).read_to_string(&mut text));
        if matches!(read, Some(Ok(_))) {
            text
        } else {
            String::new()
        }
    };
    Users {
        passwd: read("/etc/passwd"),
        group: read("/etc/group"),
    }
}

/// An open input, or a process space shared with others.
fn lies_open(spec: Option<&Spec>, task: &Task) -> bool {
    let has_input = task.terminal || !task.stdin.is_empty();
    has_input || !spec.is_some_and(|spec| starts_own(spec, "pid"))
}

/// Whether a hand may have been inside, and how well that is known.
async fn interactive(
    containers: &Containers,
    name: &ContainerRef,
    container: &Container,
    task: &Task,
    open: bool,
) -> Interactive {
    let marked = containers
        .keeping
        .as_ref()
        .map(|keeping| keeping.marked(name, &root_of_runtime(task.pid)));
    let seen = open || containers.marks.saw(name);
    match marked {
        // Nothing gets in without a mark or an event; when events began to be watched does not matter.
        Some(Marked::ByGate { touched }) => Interactive {
            yes: seen || touched,
            strength: Strength::Strong,
        },
        Some(Marked::Otherwise { touched: true }) => weakly(true),
        Some(Marked::Otherwise { touched: false }) | None => {
            let created = container
                .created_at
                .and_then(|time| SystemTime::try_from(time).ok());
            weakly(seen || containers.marks.touched(name, created).await)
        }
    }
}

fn weakly(yes: bool) -> Interactive {
    Interactive {
        yes,
        strength: Strength::Weak,
    }
}

/// The root folder as the runtime's shim sees it, which is the first process's parent; bundles are found there.
fn root_of_runtime(first: u32) -> PathBuf {
    match locate::parent(first) {
        Some(shim) if shim > 1 => PathBuf::from(format!("/proc/{shim}/root")),
        _ => PathBuf::from("/"),
    }
}

/// runc through its usual shim, with nothing told to it but the usual; or the start gate, which calls it.
fn runtime(container: &Container, config: &Config, gate: Option<&Keeping>) -> RuntimeIsKnown {
    let Some(runtime) = &container.runtime else {
        return RuntimeIsKnown::No;
    };
    let usual = |options: &Options| {
        let binary = &options.binary_name;
        (binary.is_empty()
            || binary == "runc"
            || config.runtime_binaries.contains(binary)
            || gate.is_some_and(|gate| gate.is_gate(binary)))
            && options.root.is_empty()
            && options.criu_path.is_empty()
            && options.criu_image_path.is_empty()
            && options.criu_work_path.is_empty()
    };
    let known = match &runtime.options {
        None => true,
        Some(any) if any.type_url == "containerd.runc.v1.Options" => {
            Options::decode(any.value.as_slice()).is_ok_and(|options| usual(&options))
        }
        Some(_) => false,
    };
    if runtime.name == "io.containerd.runc.v2" && known {
        RuntimeIsKnown::Yes
    } else {
        RuntimeIsKnown::No
    }
}

/// Reading a large file takes a while, so it happens on a thread of its own.
async fn executable(
    containers: &Containers,
    kernel: Kernel,
    layers: Option<Layers>,
) -> io::Result<Option<ExeFacts>> {
    let hashes = Arc::clone(&containers.hashes);
    tokio::task::spawn_blocking(move || {
        exe::measure(&kernel.proc, layers.as_ref(), &kernel.mounts, &hashes)
    })
    .await
    .map_err(io::Error::other)?
}

#[cfg(test)]
mod tests;
