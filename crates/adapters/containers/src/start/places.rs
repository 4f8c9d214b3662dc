//! Which chains a layer's uses make, and where the files of a chain lie: asked of containerd, computed from content.

use std::collections::{BTreeMap, BTreeSet};
use std::path::PathBuf;
use std::sync::atomic::{AtomicU64, Ordering};

use agent::ports::GatedLayer;
use estate::{Digest, ImageSetName};
use evidence::request::LayerUse;
use proto::containerd::services::snapshots::v1::{
    ListSnapshotsRequest, RemoveSnapshotRequest, StatSnapshotRequest, ViewSnapshotRequest,
};
use proto::containerd::types::Mount;

use crate::RuntimeError;
use crate::client::{Client, refused, unless_missing, within};
use crate::spec::ImageConfig;

/// The chains that end in the layer, one for each use that unpacks it.
pub(super) async fn chains(
    client: &Client,
    image: &ImageSetName,
    uses: &[LayerUse],
) -> Result<BTreeSet<GatedLayer>, RuntimeError> {
    let namespaces = client.namespaces().await?;
    let mut found = BTreeSet::new();
    for usage in uses {
        // An artifact has no root file system: nothing is made of it.
        let Some(diff_id) = usage.diff_id else {
            continue;
        };
        let config = config(client, &namespaces, usage.config).await?;
        let chain = chain_of(&config, usage.index, diff_id)
            .ok_or(RuntimeError::Malformed { what: "content" })?;
        found.insert(GatedLayer {
            chain,
            config: usage.config,
            image: image.clone(),
        });
    }
    Ok(found)
}

async fn config(
    client: &Client,
    namespaces: &[String],
    digest: Digest,
) -> Result<ImageConfig, RuntimeError> {
    for namespace in namespaces {
        let bytes = client.document(namespace, digest).await?;
        if let Some(config) = bytes.and_then(|bytes| ImageConfig::parse(&bytes)) {
            return Ok(config);
        }
    }
    Err(RuntimeError::Malformed { what: "content" })
}

/// The chain of the layer at `index`; `None` unless the layer there is the expected one.
fn chain_of(config: &ImageConfig, index: u32, diff_id: Digest) -> Option<Digest> {
    let index = usize::try_from(index).ok()?;
    let below = config.rootfs.diff_ids.get(..=index)?;
    (below.last() == Some(&diff_id)).then_some(())?;
    chain_id(below)
}

/// OCI image specification, "Layer ChainID"; `None` for no layers.
fn chain_id(diff_ids: &[Digest]) -> Option<Digest> {
    diff_ids
        .iter()
        .copied()
        .reduce(|chain, diff| Digest::of(format!("{chain} {diff}")))
}

/// What was found out about chains. One that is in neither part is being unpacked, or its place is not understood.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct Found {
    /// Where files of chains lie.
    pub(super) places: BTreeMap<Digest, Vec<PathBuf>>,
    /// Chains that are unpacked nowhere.
    pub(super) nowhere: BTreeSet<Digest>,
}

/// Where a chain lies in one of containerd's namespaces.
enum Place {
    Nowhere,
    At(PathBuf),
    NotUnderstood,
}

/// Where the files of these chains lie now.
pub(super) async fn find(
    client: &Client,
    chains: impl IntoIterator<Item = Digest>,
) -> Result<Found, RuntimeError> {
    let namespaces = client.namespaces().await?;
    // First: one that is committed between the two looks is seen by the second.
    let mut unfinished = Vec::new();
    for namespace in &namespaces {
        unfinished.extend(active(client, namespace).await?);
    }
    let mut found = Found::default();
    for chain in chains {
        let mut places = Vec::new();
        let mut is_known = true;
        for namespace in &namespaces {
            match place(client, namespace, chain).await? {
                Place::Nowhere => {}
                Place::NotUnderstood => is_known = false,
                Place::At(place) if places.contains(&place) => {}
                Place::At(place) => places.push(place),
            }
        }
        let name = chain.to_string();
        if !is_known || places.is_empty() && unfinished.iter().any(|key| key.contains(&name)) {
            continue;
        }
        match places.is_empty() {
            true => drop(found.nowhere.insert(chain)),
            false => drop(found.places.insert(chain, places)),
        }
    }
    Ok(found)
}

/// Names of snapshots that can be written. containerd's unpacking names one `extract-… <chain>` until it is complete.
async fn active(client: &Client, namespace: &str) -> Result<Vec<String>, RuntimeError> {
    let request = ListSnapshotsRequest {
        snapshotter: OVERLAY.to_owned(),
        filters: vec!["kind==active".to_owned()],
    };
    let listed = client.snapshots().list(within(namespace, request)?).await;
    let mut stream = listed.map_err(refused("snapshots"))?.into_inner();
    let mut names = Vec::new();
    while let Some(part) = stream.message().await.map_err(refused("snapshots"))? {
        names.extend(part.info.into_iter().map(|info| info.name));
    }
    Ok(names)
}

/// The folder of a chain's uppermost layer: a view of the chain shows it first.
async fn place(client: &Client, namespace: &str, chain: Digest) -> Result<Place, RuntimeError> {
    let stat = StatSnapshotRequest {
        snapshotter: OVERLAY.to_owned(),
        key: chain.to_string(),
    };
    let stat = client.snapshots().stat(within(namespace, stat)?).await;
    if unless_missing(stat, "snapshot")?.is_none() {
        return Ok(Place::Nowhere);
    }
    let view = ViewSnapshotRequest {
        snapshotter: OVERLAY.to_owned(),
        key: view_key(chain),
        parent: chain.to_string(),
        ..ViewSnapshotRequest::default()
    };
    let key = view.key.clone();
    let mounts = client.snapshots().view(within(namespace, view)?).await;
    let mounts = unless_missing(mounts, "view")?.map(|answer| answer.into_inner().mounts);
    let removal = RemoveSnapshotRequest {
        snapshotter: OVERLAY.to_owned(),
        key,
    };
    let removed = client.snapshots().remove(within(namespace, removal)?).await;
    unless_missing(removed, "remove")?;
    let folder = mounts.as_deref().and_then(uppermost);
    Ok(folder.map_or(Place::NotUnderstood, Place::At))
}

/// One layer alone is a bind mount of its folder; several are an overlay, the uppermost first.
fn uppermost(mounts: &[Mount]) -> Option<PathBuf> {
    let [mount] = mounts else { return None };
    let folder = match mount.r#type.as_str() {
        "bind" => mount.source.as_str(),
        "overlay" => mount
            .options
            .iter()
            .find_map(|option| option.strip_prefix("lowerdir="))?
            .split(':')
            .next()?,
        _ => return None,
    };
    let place = PathBuf::from(folder);
    (place.is_absolute() && !folder.contains('\\')).then_some(place)
}

/// Chains below a snapshot: itself, if it is a chain, and all of its parents.
pub(super) async fn ancestors(
    client: &Client,
    namespace: &str,
    snapshotter: &str,
    key: &str,
) -> Result<BTreeSet<Digest>, RuntimeError> {
    let mut found = BTreeSet::new();
    let mut key = key.to_owned();
    for _ in 0..DEEPEST {
        if key.is_empty() {
            return Ok(found);
        }
        found.extend(key.parse::<Digest>().ok());
        let request = StatSnapshotRequest {
            snapshotter: snapshotter.to_owned(),
            key,
        };
        let stat = client.snapshots().stat(within(namespace, request)?).await;
        let Some(info) = unless_missing(stat, "snapshot")?.and_then(|stat| stat.into_inner().info)
        else {
            return Err(RuntimeError::Malformed { what: "snapshot" });
        };
        key = info.parent;
    }
    Err(RuntimeError::Malformed { what: "snapshot" })
}

/// No two at the same time have the same key.
fn view_key(chain: Digest) -> String {
    static NEXT: AtomicU64 = AtomicU64::new(0);
    let next = NEXT.fetch_add(1, Ordering::Relaxed);
    format!("bailiwick-{}-{next}-{chain}", std::process::id())
}

const OVERLAY: &str = "overlayfs";
/// The kernel's overlay takes 500 layers.
const DEEPEST: usize = 1024;

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn config(ids: &[Digest]) -> ImageConfig {
        let ids: Vec<_> = ids.iter().map(|id| format!("\"{id}\"")).collect();
        let text = format!(
            r#"{{"rootfs":{{"type":"layers","diff_ids":[{}]}}}}"#,
            ids.join(",")
        );
        ImageConfig::parse(text.as_bytes()).unwrap()
    }

    //= OCI image specification, config.md#layer-chainid
    #[test]
    fn the_chain_of_a_layer_covers_everything_below_it_and_nothing_above() {
        let [a, b, c] = ["a", "b", "c"].map(Digest::of);
        let config = config(&[a, b, c]);
        let ab = Digest::of(format!("{a} {b}"));
        assert_eq!(chain_of(&config, 0, a), Some(a));
        assert_eq!(chain_of(&config, 1, b), Some(ab));
        assert_eq!(
            chain_of(&config, 2, c),
            Some(Digest::of(format!("{ab} {c}")))
        );
        assert_eq!(chain_of(&config, 2, c), config.chain_id());
    }

    #[test]
    fn a_layer_that_is_not_there_has_no_chain() {
        let [a, b] = ["a", "b"].map(Digest::of);
        let config = config(&[a, b]);
        assert_eq!(chain_of(&config, 1, a), None);
        assert_eq!(chain_of(&config, 2, b), None);
        assert_eq!(chain_of(&config, u32::MAX, b), None);
    }

    fn mount(kind: &str, source: &str, options: &[&str]) -> Mount {
        Mount {
            r#type: kind.into(),
            source: source.into(),
            options: options.iter().map(|option| (*option).to_owned()).collect(),
            ..Mount::default()
        }
    }

    #[test]
    fn a_view_shows_the_uppermost_layer_first() {
        let one = [mount("bind", "/snapshots/3/fs", &["ro", "rbind"])];
        let many = [mount(
            "overlay",
            "overlay",
            &["index=off", "lowerdir=/s/9/fs:/s/3/fs"],
        )];
        assert_eq!(uppermost(&one), Some("/snapshots/3/fs".into()));
        assert_eq!(uppermost(&many), Some("/s/9/fs".into()));
        for strange in [
            vec![],
            vec![mount("overlay", "overlay", &["upperdir=/u"])],
            vec![mount("overlay", "overlay", &["lowerdir=relative"])],
            vec![mount("overlay", "overlay", &["lowerdir=/a\\:b"])],
            vec![mount("fuse", "/x", &[])],
            vec![mount("bind", "/a", &[]), mount("bind", "/b", &[])],
        ] {
            assert_eq!(uppermost(&strange), None, "{strange:?}");
        }
    }

    proptest! {
        #[test]
        fn hostile_mounts_never_give_a_relative_place(kind in "bind|overlay|x", text in "[/a:\\\\=]{0,20}") {
            let options = [format!("lowerdir={text}")];
            let options: Vec<&str> = options.iter().map(String::as_str).collect();
            if let Some(place) = uppermost(&[mount(&kind, &text, &options)]) {
                prop_assert!(place.is_absolute());
            }
        }
    }
}
