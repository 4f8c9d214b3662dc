//! A container that is about to start, measured before it has a process: from the bundle that the gate was called with, the
//! mounts that the gate sees, and the snapshot in the runtime's record.

use std::collections::BTreeSet;
use std::fs::{self, File};
use std::io::{self, Read as _};
use std::os::unix::fs::MetadataExt as _;
use std::path::{Component, Path, PathBuf};

use agent::ports::{ProbeError, Starting};
use agent::{GateOperation, GateQuestion};
use estate::Digest;
use evidence::{Interactive, Strength, WorkloadFacts};
use proto::containerd::services::containers::v1::Container;

use super::keeping::{Keeping, LARGEST_SPEC, is_bundle_of};
use super::{places, refused};
use crate::deviations::starts_own;
use crate::gate::{Gated, Gatedness, MountTable};
use crate::image::{self, Snapshot};
use crate::measure::{self, Around, NAMESPACES, Scene};
use crate::mountinfo::{self, Seen};
use crate::overlay::Root;
use crate::pod::Record;
use crate::spec::{Mount, Spec};
use crate::{Containers, power, probe::runtime_failed};

/// The bundle as the gate sees it.
struct Bundle {
    spec: Spec,
    /// The root as an absolute path.
    root: PathBuf,
    mountinfo: String,
    mounts: Vec<Seen>,
    /// Namespaces that the container will share with the gate, which runs on the host.
    shared: Vec<&'static str>,
}

pub(super) async fn measure(
    containers: &Containers,
    keeping: &Keeping,
    gate: u32,
    question: &GateQuestion,
) -> Result<Starting, ProbeError> {
    let name = &question.container;
    if !is_bundle_of(&question.bundle, name) {
        return Err(refused("the bundle is not that of the container"));
    }
    let bundle = Bundle::read(gate, &question.bundle)
        .map_err(|error| refused(&format!("the bundle can't be read: {error}")))?;
    let container = measure::container(containers, name)
        .await
        .map_err(runtime_failed)?
        .ok_or_else(|| refused("the runtime has no such container"))?;
    let record = Record::of(&name.runtime_namespace, &container);
    let hostname = measure::hostname();
    let platform = measure::platform(containers, &container, record.is_some(), &hostname);
    let marked = keeping.marked(name, &PathBuf::from(format!("/proc/{gate}/root")));
    let facts = WorkloadFacts {
        container: Some(name.clone()),
        interactive: Some(interactive(
            question.operation,
            &bundle.spec,
            marked.touched(),
        )),
        privileged: Some(power::is_privileged(
            &bundle.spec,
            &platform,
            &bundle.shared,
        )),
        pod: record.as_ref().and_then(|record| record.pod.clone()),
        ..measure::nothing()
    };
    let snapshot = image::snapshot(&containers.client, &name.runtime_namespace, &container)
        .await
        .map_err(runtime_failed)?
        .filter(|snapshot| bundle.is_rooted_in(snapshot));
    let gated = find_gated(
        containers,
        keeping,
        &bundle,
        &container,
        snapshot.as_ref(),
        question,
    );
    let gated = gated.await?;
    let scene = Scene {
        namespace: &name.runtime_namespace,
        container: &container,
        spec: &bundle.spec,
        platform,
        around: Around::Starting {
            mounts: &bundle.below_root(),
            shared: &bundle.shared,
        },
    };
    let judged = match &snapshot {
        Some(snapshot) => scene
            .recognise(containers, snapshot, record)
            .await
            .map_err(runtime_failed)?,
        None => None,
    };
    let Some(judged) = judged else {
        return Ok(Starting { facts, gated });
    };
    let facts = WorkloadFacts {
        image: Some(judged.image),
        deviations: Some(judged.deviations.into_iter().collect()),
        ..facts
    };
    Ok(Starting { facts, gated })
}

/// Opened layers below the root by the names of its snapshots, and below root and mounts by the folders that the kernel shows;
/// and those that the gate found.
async fn find_gated(
    containers: &Containers,
    keeping: &Keeping,
    bundle: &Bundle,
    container: &Container,
    snapshot: Option<&Snapshot>,
    question: &GateQuestion,
) -> Result<BTreeSet<agent::ports::GatedLayer>, ProbeError> {
    let listed = keeping
        .claims
        .read()
        .map_err(|error| super::unreadable(&error))?;
    let mut chains: BTreeSet<Digest> = question.gated.iter().copied().collect();
    if !listed.layers().is_empty() {
        if !container.snapshot_key.is_empty() {
            let below = places::ancestors(
                &containers.client,
                &question.container.runtime_namespace,
                &container.snapshotter,
                &container.snapshot_key,
            );
            chains.extend(below.await.map_err(runtime_failed)?);
        }
        chains.extend(bundle.chains(&listed, snapshot)?);
    }
    super::layers_of(&listed, &chains, &question.gated)
}

impl Bundle {
    fn read(gate: u32, path: &Path) -> io::Result<Self> {
        let proc = PathBuf::from(format!("/proc/{gate}"));
        let inner = path.strip_prefix("/").map_err(io::Error::other)?;
        let text = read(
            &proc.join("root").join(inner).join("config.json"),
            LARGEST_SPEC,
        )?;
        let spec: Spec = serde_json::from_str(&text)?;
        let mountinfo = read(&proc.join("mountinfo"), LARGEST_MOUNTINFO)?;
        let mounts = mountinfo::parse(&mountinfo).ok_or(io::ErrorKind::InvalidData)?;
        let root = path.join(&spec.root.path);
        if root.components().any(|part| part == Component::ParentDir) {
            return Err(io::ErrorKind::InvalidInput.into());
        }
        let shared = shared(&spec, &proc)?;
        Ok(Self {
            spec,
            root,
            mountinfo,
            mounts,
            shared,
        })
    }

    /// Whether the uppermost mount at the root is this snapshot.
    fn is_rooted_in(&self, snapshot: &Snapshot) -> bool {
        let point = self.root.to_string_lossy();
        let at_root = self.mounts.iter().rev().find(|mount| mount.point == point);
        at_root.is_some_and(|mount| snapshot.root.is_at(&point, mount))
    }

    /// Mounts that the root carries into the container.
    fn below_root(&self) -> Vec<Seen> {
        let below = |mount: &&Seen| {
            let point = Path::new(&mount.point);
            point != self.root && point.starts_with(&self.root)
        };
        self.mounts.iter().filter(below).cloned().collect()
    }

    fn chains(
        &self,
        listed: &Gated,
        snapshot: Option<&Snapshot>,
    ) -> Result<Vec<Digest>, ProbeError> {
        let table = MountTable::parse(&self.mountinfo)
            .ok_or_else(|| refused("the gate's mounts can't be read"))?;
        let sources = self.spec.mounts.iter().filter_map(source);
        let beneath = table.beneath(&self.root, sources);
        // A copy of the layers' files is known by the name of its snapshot alone, and a mount of one by nothing.
        let is_copy = snapshot.is_some_and(|snapshot| matches!(snapshot.root, Root::Copy(_)));
        if beneath.is_unclear() && (beneath.mounts_layers() || !is_copy) {
            return Err(refused("what lies beneath the container can't be told"));
        }
        Ok(match listed.chains_under(&beneath) {
            Gatedness::Gated(chains) => chains,
            // What has no place yet was not unpacked when it was looked for a moment ago.
            Gatedness::NotGated | Gatedness::CannotTell => Vec::new(),
        })
    }
}

/// A folder or file of the host.
fn source(mount: &Mount) -> Option<&Path> {
    let source = Path::new(&mount.source);
    source.is_absolute().then_some(source)
}

fn interactive(operation: GateOperation, spec: &Spec, touched: bool) -> Interactive {
    Interactive {
        yes: operation == GateOperation::Restore
            || touched
            || spec.process.terminal
            || !starts_own(spec, "pid"),
        strength: Strength::Strong,
    }
}

/// Namespaces of the host that the container will be in: those that it does not name, and those that it joins there.
fn shared(spec: &Spec, gate: &Path) -> io::Result<Vec<&'static str>> {
    let mut shared = Vec::new();
    for (kind, file) in NAMESPACES {
        let named = spec
            .linux
            .namespaces
            .iter()
            .find(|named| named.kind == kind);
        let is_host = match named {
            None => true,
            Some(named) if named.path.is_empty() => false,
            Some(named) => {
                let identity = |path: &Path| fs::metadata(path).map(|at| (at.dev(), at.ino()));
                let inner = named.path.strip_prefix('/').unwrap_or(&named.path);
                let joined = identity(&gate.join("root").join(inner));
                // One that is gone is nobody's; the runtime will refuse it.
                joined.ok() == Some(identity(&Path::new("/proc/self/ns").join(file))?)
            }
        };
        if is_host {
            shared.push(kind);
        }
    }
    Ok(shared)
}

fn read(path: &Path, limit: u64) -> io::Result<String> {
    let mut text = String::new();
    let length = File::open(path)?
        .take(limit + 1)
        .read_to_string(&mut text)?;
    match u64::try_from(length) {
        Ok(length) if length <= limit => Ok(text),
        _ => Err(io::ErrorKind::FileTooLarge.into()),
    }
}

const LARGEST_MOUNTINFO: u64 = 32 << 20;

#[cfg(test)]
mod tests;
