//! Which manifests list a layer: what the decoder's caller must know before it releases a key, since a runtime tells its
//! decoder nothing but the layer.

use std::collections::BTreeMap;

use estate::Digest;
use evidence::request::LayerUse;
use images::RawObject;
use proto::containerd::services::content::v1::Info;

use crate::RuntimeError;
use crate::client::Client;
use crate::spec::ImageConfig;

pub(crate) async fn manifests_listing(
    client: &Client,
    layer: Digest,
) -> Result<Vec<LayerUse>, RuntimeError> {
    let mut uses = BTreeMap::new();
    for namespace in client.namespaces().await? {
        for info in client.content(&namespace, Vec::new()).await? {
            let Some((digest, listed)) = may_list(&info, layer) else {
                continue;
            };
            let Some(bytes) = client.document(&namespace, digest).await? else {
                if listed {
                    return Err(RuntimeError::Malformed { what: "content" });
                }
                continue;
            };
            let manifest = match (parse(&bytes), listed) {
                (Some(manifest), _) => manifest,
                // Another reader may understand it, and run it.
                (None, true) => return Err(RuntimeError::Malformed { what: "content" }),
                (None, false) => continue,
            };
            let found = manifest.uses(digest, layer)?;
            if listed && found.is_empty() {
                return Err(RuntimeError::Malformed { what: "content" });
            }
            if let Some(first) = found.first() {
                let config = client.document(&namespace, first.config).await?;
                let config = config.and_then(|bytes| ImageConfig::parse(&bytes));
                for mut found in found {
                    found.diff_id = config
                        .as_ref()
                        .and_then(|config| config.diff_id(found.index));
                    uses.entry((found.manifest, found.index)).or_insert(found);
                }
            }
        }
    }
    Ok(uses.into_values().collect())
}

/// Whether a document may be a manifest that lists the layer, and whether the runtime says that it is one. A manifest has
/// its labels before its layers are unpacked; one without any labels is read to be sure.
fn may_list(info: &Info, layer: Digest) -> Option<(Digest, bool)> {
    let digest = info.digest.parse().ok()?;
    let layer = layer.to_string();
    let mut references = info
        .labels
        .iter()
        .filter(|(name, _)| name.starts_with("containerd.io/gc.ref."))
        .peekable();
    if references.peek().is_none() {
        return (info.size <= LARGEST_UNLABELLED).then_some((digest, false));
    }
    references
        .any(|(_, value)| *value == layer)
        .then_some((digest, true))
}

const LARGEST_UNLABELLED: i64 = 128 << 10;

#[derive(Debug)]
struct Manifest {
    config: Descriptor,
    layers: Vec<Descriptor>,
}

#[derive(Debug)]
struct Descriptor {
    digest: String,
}

/// `None` also where the runtime might read something else: it takes `Config` for `config`, and the last one counts.
fn parse(bytes: &[u8]) -> Option<Manifest> {
    let manifest: RawObject = serde_json::from_slice(bytes).ok()?;
    let layers: Vec<RawObject> = manifest.read("layers").ok()??;
    Some(Manifest {
        config: descriptor(&manifest.read("config").ok()??)?,
        layers: layers.iter().map(descriptor).collect::<Option<_>>()?,
    })
}

fn descriptor(members: &RawObject) -> Option<Descriptor> {
    Some(Descriptor {
        digest: members.read("digest").ok()??,
    })
}

impl Manifest {
    fn uses(&self, manifest: Digest, layer: Digest) -> Result<Vec<LayerUse>, RuntimeError> {
        let malformed = || RuntimeError::Malformed { what: "content" };
        let layer = layer.to_string();
        let of = u32::try_from(self.layers.len()).map_err(|_| malformed())?;
        let places = (0..of)
            .zip(&self.layers)
            .filter(|(_, descriptor)| descriptor.digest == layer);
        places
            .map(|(index, _)| {
                Ok(LayerUse {
                    manifest,
                    config: self.config.digest.parse().map_err(|_| malformed())?,
                    index,
                    of,
                    diff_id: None,
                })
            })
            .collect()
    }
}

impl ImageConfig {
    fn diff_id(&self, index: u32) -> Option<Digest> {
        self.rootfs
            .diff_ids
            .get(usize::try_from(index).ok()?)
            .copied()
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn info(labels: &[(&str, String)], size: i64) -> Info {
        Info {
            digest: Digest::of("manifest").to_string(),
            size,
            labels: labels
                .iter()
                .map(|(name, value)| ((*name).to_owned(), value.clone()))
                .collect(),
            ..Info::default()
        }
    }

    #[test]
    fn a_labelled_manifest_is_known_and_an_unlabelled_one_is_read() {
        let (layer, other) = (Digest::of("layer"), Digest::of("other"));
        let label = "containerd.io/gc.ref.content.l.0";
        let listed = |info: &Info| may_list(info, layer).map(|(_, listed)| listed);
        assert_eq!(
            listed(&info(&[(label, layer.to_string())], 500)),
            Some(true)
        );
        assert_eq!(listed(&info(&[(label, other.to_string())], 500)), None);
        assert_eq!(
            listed(&info(
                &[("containerd.io/distribution.source.x", "y".into())],
                500
            )),
            Some(false)
        );
        assert_eq!(listed(&info(&[], 10 << 20)), None);
    }

    #[test]
    fn a_layer_that_repeats_is_found_at_each_place() {
        let [config, layer, other] = ["config", "layer", "other"].map(Digest::of);
        let text = format!(
            r#"{{"config":{{"digest":"{config}"}},"layers":[{{"digest":"{layer}"}},{{"digest":"{other}"}},{{"digest":"{layer}"}}]}}"#
        );
        let uses = parse(text.as_bytes())
            .unwrap()
            .uses(Digest::of("m"), layer)
            .unwrap();
        let places: Vec<_> = uses
            .iter()
            .map(|found| (found.index, found.of, found.config))
            .collect();
        assert_eq!(places, [(0, 3, config), (2, 3, config)]);
    }

    #[test]
    fn a_manifest_with_two_configurations_is_not_understood() {
        let [a, b] = ["a", "b"].map(Digest::of);
        let text =
            format!(r#"{{"config":{{"digest":"{a}"}},"config":{{"digest":"{b}"}},"layers":[]}}"#);
        assert!(parse(text.as_bytes()).is_none());
    }

    /// The runtime reads `Config` as `config`, and the last one counts.
    #[test]
    fn a_manifest_that_the_runtime_reads_otherwise_is_not_understood() {
        let [a, b] = ["a", "b"].map(Digest::of);
        for text in [
            format!(r#"{{"config":{{"digest":"{a}"}},"Config":{{"digest":"{b}"}},"layers":[]}}"#),
            format!(r#"{{"config":{{"digest":"{a}","DIGEST":"{b}"}},"layers":[]}}"#),
            format!(
                r#"{{"config":{{"digest":"{a}"}},"layers":[],"layer\u017f":[{{"digest":"{b}"}}]}}"#
            ),
            format!(
                r#"{{"config":{{"digest":"{a}"}},"layers":[{{"digest":"{a}","Digest":"{b}"}}]}}"#
            ),
        ] {
            assert!(parse(text.as_bytes()).is_none(), "{text}");
        }
    }

    proptest! {
        #[test]
        fn hostile_manifests_never_panic(bytes: Vec<u8>, text in "[\\[\\]{}:,\"a-z0-9]{0,200}") {
            for bytes in [bytes.as_slice(), text.as_bytes()] {
                if let Some(manifest) = parse(bytes) {
                    let _ = manifest.uses(Digest::of("m"), Digest::of("l"));
                }
            }
        }
    }
}
