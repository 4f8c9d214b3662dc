//! The runtime's events and specifications, as far as they tell of hands.

use estate::Digest;
use prost::Message as _;
use proto::containerd::events::{
    ContainerCreate, ContainerDelete, ContainerUpdate, TaskCheckpointed, TaskCreate, TaskExecAdded,
    TaskExecStarted,
};
use proto::containerd::services::events::v1::Envelope;

use super::ContainerRefKey;
use crate::locate::KUBERNETES;
use crate::spec::Spec;

#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Happened {
    Created(ContainerRefKey),
    /// Its record or its memory is another one.
    Changed(ContainerRefKey),
    /// Somebody got a process into it, or its memory out of it.
    Hand(ContainerRefKey),
    Removed(ContainerRefKey),
    /// A layer was unpacked somewhere, as the end of this chain.
    Unpacked(Digest),
}

/// containerd's event, as far as it is read.
#[derive(Clone, PartialEq, prost::Message)]
pub(super) struct SnapshotCommit {
    #[prost(string, tag = "2")]
    pub(super) name: String,
}

impl Happened {
    /// `None`: about something else.
    pub(super) fn read(event: &Envelope) -> Option<Self> {
        let value = event
            .event
            .as_ref()
            .map(|any| any.value.as_slice())
            .unwrap_or_default();
        let key = |id: String| (event.namespace.clone(), id);
        match event.topic.as_str() {
            "/containers/create" => {
                Some(Self::Created(key(ContainerCreate::decode(value).ok()?.id)))
            }
            "/containers/delete" => {
                Some(Self::Removed(key(ContainerDelete::decode(value).ok()?.id)))
            }
            // The kubelet changes limits in this way; nobody else has a reason to.
            "/containers/update" if event.namespace != KUBERNETES => {
                Some(Self::Changed(key(ContainerUpdate::decode(value).ok()?.id)))
            }
            "/tasks/create" => {
                let created = TaskCreate::decode(value).ok()?;
                // A restored process has the memory of another life.
                (!created.checkpoint.is_empty()).then(|| Self::Changed(key(created.container_id)))
            }
            "/tasks/exec-added" => Some(Self::Hand(key(TaskExecAdded::decode(value)
                .ok()?
                .container_id))),
            "/tasks/exec-started" => Some(Self::Hand(key(TaskExecStarted::decode(value)
                .ok()?
                .container_id))),
            "/tasks/checkpointed" => Some(Self::Hand(key(TaskCheckpointed::decode(value)
                .ok()?
                .container_id))),
            "/snapshot/commit" => {
                let name = SnapshotCommit::decode(value).ok()?.name;
                name.parse().ok().map(Self::Unpacked)
            }
            _ => None,
        }
    }
}

/// Whose process space a container joins.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Joined {
    None,
    /// That of this process.
    Of(u32),
    Unknown,
}

pub(super) fn joined(spec: &[u8]) -> Joined {
    let Ok(spec) = serde_json::from_slice::<Spec>(spec) else {
        return Joined::Unknown;
    };
    let mut paths = spec
        .linux
        .namespaces
        .iter()
        .filter(|namespace| namespace.kind == "pid" && !namespace.path.is_empty())
        .map(|namespace| namespace.path.as_str());
    let Some(path) = paths.next() else {
        return Joined::None;
    };
    let pid = path
        .strip_prefix("/proc/")
        .and_then(|rest| rest.strip_suffix("/ns/pid"))
        .and_then(|pid| pid.parse().ok());
    match (pid, paths.next()) {
        (Some(pid), None) => Joined::Of(pid),
        _ => Joined::Unknown,
    }
}
