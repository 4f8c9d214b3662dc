//! From a container's snapshot to the image's configuration, by content.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Mutex, PoisonError};

use estate::Digest;
use evidence::{Deviation, ImageFacts};
use proto::containerd::services::containers::v1::Container;
use proto::containerd::services::images::v1::GetImageRequest;
use proto::containerd::services::snapshots::v1::{MountsRequest, StatSnapshotRequest};
use serde::Deserialize;

use crate::RuntimeError;
use crate::client::{Client, unless_missing, within};
use crate::overlay::Root;
use crate::spec::ImageConfig;

/// What a container was made from; fixed when it was made.
pub(crate) struct Snapshot {
    pub(crate) chain_id: Digest,
    pub(crate) root: Root,
}

/// An image that may be the one: its diff ids give the chain id.
#[derive(Clone)]
pub(crate) struct Candidate {
    pub(crate) digest: Digest,
    pub(crate) config: ImageConfig,
}

/// Images that were recognised before. The runtime throws a configuration away when no name leads to it any more, while
/// containers of it go on; what was computed from content stays true.
#[derive(Default)]
pub(crate) struct SeenImages {
    by_chain: Mutex<BTreeMap<Digest, BTreeMap<Digest, ImageConfig>>>,
}

impl SeenImages {
    /// Adds what is there now, and gives all that ever was.
    pub(crate) fn with(&self, chain_id: Digest, present: Vec<Candidate>) -> Vec<Candidate> {
        let mut by_chain = self.by_chain.lock().unwrap_or_else(PoisonError::into_inner);
        if by_chain.len() >= MOST_CHAINS && !by_chain.contains_key(&chain_id) {
            by_chain.pop_first();
        }
        let seen = by_chain.entry(chain_id).or_default();
        for Candidate { digest, config } in present {
            if seen.len() < MOST_CANDIDATES || seen.contains_key(&digest) {
                seen.insert(digest, config);
            }
        }
        seen.iter()
            .map(|(digest, config)| Candidate {
                digest: *digest,
                config: config.clone(),
            })
            .collect()
    }
}

/// A candidate and how the container differs from it.
pub(crate) struct Judged {
    pub(crate) image: ImageFacts,
    pub(crate) deviations: BTreeSet<Deviation>,
}

/// `None`: the container has no image below it, or a snapshotter for which a chain id is only a name.
pub(crate) async fn snapshot(
    client: &Client,
    namespace: &str,
    container: &Container,
) -> Result<Option<Snapshot>, RuntimeError> {
    let (snapshotter, key) = (
        container.snapshotter.clone(),
        container.snapshot_key.clone(),
    );
    if !SNAPSHOTTERS.contains(&snapshotter.as_str()) || key.is_empty() {
        return Ok(None);
    }
    let stat = StatSnapshotRequest {
        snapshotter: snapshotter.clone(),
        key: key.clone(),
    };
    let stat = client.snapshots().stat(within(namespace, stat)?).await;
    let mounts = client
        .snapshots()
        .mounts(within(namespace, MountsRequest { snapshotter, key })?)
        .await;
    let (Some(stat), Some(mounts)) = (
        unless_missing(stat, "snapshot")?,
        unless_missing(mounts, "mounts")?,
    ) else {
        return Ok(None);
    };
    let parent = stat
        .into_inner()
        .info
        .and_then(|info| info.parent.parse().ok());
    let root = Root::of_snapshot(&mounts.into_inner().mounts);
    Ok(parent
        .zip(root)
        .map(|(chain_id, root)| Snapshot { chain_id, root }))
}

/// Configurations that the runtime unpacked to this chain id, each hashed and computed again.
pub(crate) async fn candidates(
    client: &Client,
    namespace: &str,
    snapshotter: &str,
    chain_id: Digest,
) -> Result<Vec<Candidate>, RuntimeError> {
    let filter = format!("labels.\"containerd.io/gc.ref.snapshot.{snapshotter}\"==\"{chain_id}\"");
    let mut found = Vec::new();
    for info in client.content(namespace, vec![filter]).await? {
        let Ok(digest) = info.digest.parse() else {
            continue;
        };
        let Some(config) = client
            .document(namespace, digest)
            .await?
            .and_then(|bytes| ImageConfig::parse(&bytes))
        else {
            continue;
        };
        if config.chain_id() == Some(chain_id) {
            found.push(Candidate { digest, config });
        }
        if found.len() == MOST_CANDIDATES {
            break;
        }
    }
    Ok(found)
}

/// Several images may share all layers and differ in their configuration. CRI's record, where there is one, decides. Else
/// an only candidate; else the one from which the container does not differ; else the one that its image name stands for.
///
/// A name proves nothing, and need not: whichever is chosen, all differences from it are reported, so a container passes as
/// an image only by running exactly what that image ships.
pub(crate) fn choose(
    mut judged: Vec<Judged>,
    recorded: Option<Digest>,
    named: &[Digest],
) -> Option<Judged> {
    if let Some(recorded) = recorded {
        return judged.into_iter().find(|one| one.image.config == recorded);
    }
    if judged.iter().any(|one| one.deviations.is_empty()) {
        judged.retain(|one| one.deviations.is_empty());
    }
    if judged.len() > 1 {
        judged.retain(|one| named.contains(&one.image.config));
    }
    if judged.len() > 1 {
        return None;
    }
    judged.pop()
}

/// Configurations that an image name stands for now.
pub(crate) async fn named(
    client: &Client,
    namespace: &str,
    name: &str,
) -> Result<Vec<Digest>, RuntimeError> {
    let request = GetImageRequest {
        name: name.to_owned(),
    };
    let image = unless_missing(
        client.images().get(within(namespace, request)?).await,
        "image",
    )?;
    let target = image
        .and_then(|image| image.into_inner().image?.target)
        .and_then(|target| target.digest.parse().ok());
    let Some(target) = target else {
        return Ok(Vec::new());
    };
    let Some(top) = document(client, namespace, target).await? else {
        return Ok(Vec::new());
    };
    let mut configs: Vec<Digest> = top.config().into_iter().collect();
    for manifest in top.manifests.iter().take(MOST_CANDIDATES) {
        if let Ok(digest) = manifest.digest.parse() {
            configs.extend(
                document(client, namespace, digest)
                    .await?
                    .and_then(|manifest| manifest.config()),
            );
        }
    }
    Ok(configs)
}

/// A chain id of these is computed while unpacking; a remote snapshotter takes it from whoever says so.
const SNAPSHOTTERS: &[&str] = &["native", "overlayfs"];
const MOST_CANDIDATES: usize = 64;
const MOST_CHAINS: usize = 4096;

/// A manifest or an index.
#[derive(Deserialize)]
struct Document {
    #[serde(default)]
    config: Option<Reference>,
    #[serde(default)]
    manifests: Vec<Reference>,
}

#[derive(Deserialize)]
struct Reference {
    digest: String,
}

impl Document {
    fn config(&self) -> Option<Digest> {
        self.config.as_ref()?.digest.parse().ok()
    }
}

async fn document(
    client: &Client,
    namespace: &str,
    digest: Digest,
) -> Result<Option<Document>, RuntimeError> {
    let bytes = client.document(namespace, digest).await?;
    Ok(bytes.and_then(|bytes| serde_json::from_slice(&bytes).ok()))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn judged(name: &str, deviates: bool) -> Judged {
        Judged {
            image: ImageFacts {
                config: Digest::of(name),
                chain_id: Digest::of("chain"),
            },
            deviations: deviates
                .then(|| Deviation::Cwd { value: "/x".into() })
                .into_iter()
                .collect(),
        }
    }

    fn chosen(judged: Vec<Judged>, recorded: Option<&str>, named: &[&str]) -> Option<Digest> {
        let named: Vec<_> = named.iter().map(Digest::of).collect();
        choose(judged, recorded.map(Digest::of), &named).map(|one| one.image.config)
    }

    #[test]
    fn what_cri_recorded_wins_and_must_be_there() {
        let both = || vec![judged("a", false), judged("b", true)];
        assert_eq!(chosen(both(), Some("b"), &["a"]), Some(Digest::of("b")));
        assert_eq!(chosen(both(), Some("c"), &["a"]), None);
    }

    #[test]
    fn an_image_that_is_run_as_shipped_wins_over_a_name() {
        let both = || vec![judged("a", false), judged("b", true)];
        assert_eq!(chosen(both(), None, &["b"]), Some(Digest::of("a")));
        assert_eq!(chosen(both(), None, &[]), Some(Digest::of("a")));
    }

    #[test]
    fn between_equals_the_name_decides_or_nothing_does() {
        let both = || vec![judged("a", true), judged("b", true)];
        assert_eq!(chosen(both(), None, &["b", "c"]), Some(Digest::of("b")));
        assert_eq!(chosen(both(), None, &[]), None);
        assert_eq!(chosen(both(), None, &["a", "b"]), None);
        assert_eq!(
            chosen(vec![judged("a", true)], None, &[]),
            Some(Digest::of("a"))
        );
    }
}
