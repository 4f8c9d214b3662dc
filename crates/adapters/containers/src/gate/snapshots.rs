//! What containerd says lies beneath a container, for a gate whose agent is away.

use std::collections::BTreeSet;
use std::path::Path;

use estate::Digest;
use evidence::ContainerRef;
use proto::containerd::services::containers::v1::GetContainerRequest;
use proto::containerd::services::snapshots::v1::{MountsRequest, StatSnapshotRequest};

use super::Beneath;
use crate::RuntimeError;
use crate::client::{Client, refused, unless_missing, within};

/// The chains of layers beneath a container, by the names of the snapshots that its own one rests on; `None` if that can't be
/// told, or if its root is another one than the mounts show. Needs a tokio run-time.
///
/// # Errors
/// [`RuntimeError`]
pub async fn layers_of_container(
    socket: &Path,
    container: &ContainerRef,
    beneath: &Beneath<'_>,
) -> Result<Option<BTreeSet<Digest>>, RuntimeError> {
    let client = Client::new(socket)?;
    let namespace = &container.runtime_namespace;
    let get = GetContainerRequest {
        id: container.id.clone(),
    };
    let found = client.containers().get(within(namespace, get)?).await;
    let Some(record) =
        unless_missing(found, "container")?.and_then(|answer| answer.into_inner().container)
    else {
        return Ok(None);
    };
    let mounts = MountsRequest {
        snapshotter: record.snapshotter.clone(),
        key: record.snapshot_key.clone(),
    };
    let mounts = client.snapshots().mounts(within(namespace, mounts)?).await;
    let mounts = mounts.map_err(refused("mounts"))?.into_inner().mounts;
    // A client may start a container over other mounts than its snapshot's.
    let is_root = |option: &String| {
        option
            .strip_prefix("upperdir=")
            .is_some_and(|upper| beneath.has_folder(Path::new(upper)))
    };
    if !mounts.iter().flat_map(|mount| &mount.options).any(is_root) {
        return Ok(None);
    }
    let mut chains = BTreeSet::new();
    let mut key = record.snapshot_key;
    for _ in 0..DEEPEST {
        let stat = StatSnapshotRequest {
            snapshotter: record.snapshotter.clone(),
            key,
        };
        let stat = client.snapshots().stat(within(namespace, stat)?).await;
        let info = stat.map_err(refused("snapshot"))?.into_inner().info;
        let Some(parent) = info.map(|info| info.parent) else {
            return Ok(None);
        };
        if parent.is_empty() {
            return Ok(Some(chains));
        }
        // One that is not named after its content may be anything.
        let Ok(chain) = parent.parse() else {
            return Ok(None);
        };
        chains.insert(chain);
        key = parent;
    }
    Ok(None)
}

/// More layers than a kernel stacks.
const DEEPEST: usize = 512;
