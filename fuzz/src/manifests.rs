//! Manifests, indexes and configurations.
//!
//! An input has up to three parts: the root, a document beneath it, and a configuration. `%1` to `%3` stand for the digest
//! of a part and `#1` to `#3` for its size, so that the parts still fit after a mutation.

use images::{
    BlobId, Plan, RawManifest, RecipientsEdit, Report, edit_recipients, identify, inspect, media,
};
use serde_json::Value;

use crate::go::Object;
use crate::memory::Memory;
use crate::{chosen, parts};

const TYPES: [&str; 4] = [
    media::OCI_MANIFEST,
    media::OCI_INDEX,
    media::DOCKER_MANIFEST,
    media::DOCKER_LIST,
];
const MOST_LAYERS: usize = 1024;
const MOST_DOCUMENTS: usize = 256;

/// Tries one image; says whether it can be inspected.
pub fn check(input: &[u8]) -> bool {
    let Some((choice, rest)) = chosen(input) else {
        return false;
    };
    let source = assemble(TYPES[usize::from(choice) % TYPES.len()], rest);
    let root = source.root.clone().expect("it was set");
    let identified = identify(&source);
    if let Ok(found) = &identified {
        assert!(!found.configs.is_empty() && found.manifests.len() <= MOST_DOCUMENTS + 1);
    }
    let Ok(report) = inspect(&source, &[]) else {
        return false;
    };
    assert!(report.images.len() + report.readable_documents <= MOST_DOCUMENTS);
    if let Ok(found) = identified {
        assert!(
            found
                .configs
                .iter()
                .all(|config| report.images.iter().any(|image| image.config == *config))
        );
    }
    let seen = manifests_in_go(&source, &root, None, 0);
    assert_eq!(
        seen.len(),
        report.images.len() + report.readable_documents,
        "Go sees other images"
    );
    for image in &report.images {
        let same = |found: &&Found| found.id.digest == image.manifest;
        let mut meant = seen.iter().filter(same);
        assert!(
            meant.any(|found| found.platform == image.platform),
            "Go sees no such image"
        );
        for found in seen.iter().filter(same) {
            means_the_same(&source, &found.manifest, image);
        }
    }
    for found in &seen {
        let is_image = report
            .images
            .iter()
            .any(|image| image.manifest == found.id.digest);
        // What a runtime would choose for a platform is an image, whatever else is said of it.
        let runs = found
            .platform
            .as_ref()
            .is_some_and(|platform| platform != "unknown/unknown");
        assert!(
            is_image || !runs,
            "Go sees an image where we see a document"
        );
    }
    comes_back_the_same(source, &report, &root);
    true
}

/// A manifest as Go finds it.
struct Found {
    id: BlobId,
    manifest: Object,
    platform: Option<String>,
}

/// The platform of an entry, as it is shown: what is missing of operating system and architecture is empty to Go.
fn platform(entry: &Object) -> Option<String> {
    let platform = entry.object("platform");
    let part = |name| platform.value(name).as_str().map(str::to_owned);
    let (os, architecture) = (part("os"), part("architecture"));
    if os.is_none() && architecture.is_none() {
        return None;
    }
    let [os, architecture] = [os, architecture].map(Option::unwrap_or_default);
    let variant = part("variant").filter(|variant| !variant.is_empty());
    let variant = variant.map(|variant| format!("/{variant}"));
    Some(format!(
        "{os}/{architecture}{}",
        variant.unwrap_or_default()
    ))
}

/// The manifests as Go finds them on its way from the root.
fn manifests_in_go(
    source: &Memory,
    raw: &RawManifest,
    listed: Option<String>,
    depth: usize,
) -> Vec<Found> {
    assert!(depth < 16);
    let document = Object::of(std::str::from_utf8(&raw.bytes).expect("JSON is UTF-8"));
    assert_eq!(document.value("schemaVersion"), Value::from(2));
    let own = document.text("mediaType");
    let media_type = if own.is_empty() {
        raw.media_type.clone()
    } else {
        own
    };
    let is_index = [media::OCI_INDEX, media::DOCKER_LIST].contains(&media_type.as_str());
    if !is_index {
        assert!(
            document.field("manifests").is_none(),
            "a manifest that is also an index"
        );
        return vec![Found {
            id: raw.id(),
            manifest: document,
            platform: listed,
        }];
    }
    assert!(
        document.field("layers").is_none() && document.field("config").is_none(),
        "an index that is also a manifest"
    );
    let entries = document.objects("manifests");
    let beneath = entries.iter().map(|entry| {
        let digest = entry.text("digest");
        let blob = source
            .blobs
            .iter()
            .find(|blob| BlobId::of(blob).digest.to_string() == digest);
        let bytes = blob.expect("it was read").clone();
        assert_eq!(entry.value("size"), Value::from(bytes.len()));
        RawManifest {
            media_type: entry.text("mediaType"),
            bytes,
        }
    });
    let beneath: Vec<_> = beneath.collect();
    let listed = entries.iter().map(platform);
    beneath
        .iter()
        .zip(listed)
        .flat_map(|(raw, listed)| manifests_in_go(source, raw, listed, depth + 1))
        .collect()
}

fn means_the_same(source: &Memory, manifest: &Object, image: &images::ImageReport) {
    let config = manifest.object("config");
    assert_eq!(config.text("digest"), image.config.to_string());
    let layers = manifest.objects("layers");
    assert!(layers.len() <= MOST_LAYERS);
    assert_eq!(layers.len(), image.layers.len());
    for (theirs, ours) in layers.iter().zip(&image.layers) {
        assert_eq!(theirs.text("digest"), ours.digest.to_string());
        assert_eq!(theirs.text("mediaType"), ours.media_type);
        assert_eq!(theirs.value("size"), Value::from(ours.size));
        assert_eq!(
            theirs.text("mediaType").ends_with("+encrypted"),
            ours.encrypted
        );
        let _ = theirs.object("annotations").texts();
    }
    let bytes = source
        .blobs
        .iter()
        .find(|blob| BlobId::of(blob).digest == image.config)
        .expect("it was read");
    if [OCI_CONFIG, DOCKER_CONFIG].contains(&config.text("mediaType").as_str()) {
        let config = Object::of(std::str::from_utf8(bytes).expect("JSON is UTF-8"));
        let diff_ids = config.object("rootfs").value("diff_ids");
        let ours: Vec<_> = image
            .public
            .diff_ids
            .iter()
            .map(ToString::to_string)
            .collect();
        assert_eq!(diff_ids.as_array().cloned().unwrap_or_default(), ours);
    }
}

/// Without one recipient, the image is what it was.
fn comes_back_the_same(source: Memory, before: &Report, root: &RawManifest) {
    let Some(image) = before.images.first() else {
        return;
    };
    if before.images.len() != 1
        || before.readable_documents != 0
        || image.manifest != root.id().digest
    {
        return;
    }
    let edit = RecipientsEdit {
        remove: vec!["provider:other".parse().expect("a selector")],
        ..RecipientsEdit::default()
    };
    let target = Memory::default();
    if edit_recipients(&source, &target, &edit, Plan::Do).is_err() {
        return;
    }
    let written = target.into_published().expect("it said so");
    let [old, new] = [root, &written]
        .map(|raw| Object::of(std::str::from_utf8(&raw.bytes).expect("JSON is UTF-8")));
    let ours = ["config", "layers", "mediaType"];
    assert_eq!(
        old.others(&ours),
        new.others(&ours),
        "a member that is not ours changed"
    );
    let mut source = source;
    source.root = Some(written);
    let after = inspect(&source, &[]).expect("what was written is read");
    let after = &after.images[0];
    assert_eq!(after.config, image.config);
    assert_eq!(after.layers.len(), image.layers.len());
    for ((was, is), (old, new)) in image
        .layers
        .iter()
        .zip(&after.layers)
        .zip(old.objects("layers").iter().zip(new.objects("layers")))
    {
        assert_eq!(
            (was.digest, was.size, &was.media_type),
            (is.digest, is.size, &is.media_type)
        );
        assert_eq!(old.others(&["annotations"]), new.others(&["annotations"]));
        let kept = |layer: &Object| {
            let texts = layer.object("annotations").texts();
            texts
                .into_iter()
                .filter(|(name, _)| !name.ends_with(".provider.other"))
                .collect::<Vec<_>>()
        };
        assert_eq!(kept(old), kept(&new));
    }
}

fn assemble(media_type: &str, input: &[u8]) -> Memory {
    let mut blobs: Vec<Vec<u8>> = Vec::new();
    // From the innermost part outwards: a digest is known when the bytes are.
    let parts = parts(input);
    for (place, part) in parts.iter().take(4).enumerate().rev() {
        let mut bytes = part.to_vec();
        for (inner, blob) in (place + 2..).zip(blobs.iter().rev()) {
            bytes = replaced(
                &bytes,
                &format!("%{inner}"),
                &BlobId::of(blob).digest.to_string(),
            );
            bytes = replaced(&bytes, &format!("#{inner}"), &blob.len().to_string());
        }
        blobs.push(bytes);
    }
    let root = blobs.last().cloned().unwrap_or_default();
    Memory::of(
        blobs,
        RawManifest {
            media_type: media_type.to_owned(),
            bytes: root,
        },
    )
}

pub(crate) fn replaced(bytes: &[u8], from: &str, to: &str) -> Vec<u8> {
    let mut written = Vec::with_capacity(bytes.len());
    let mut rest = bytes;
    while let Some(at) = rest
        .windows(from.len())
        .position(|window| window == from.as_bytes())
    {
        written.extend_from_slice(&rest[..at]);
        written.extend_from_slice(to.as_bytes());
        rest = &rest[at + from.len()..];
    }
    written.extend_from_slice(rest);
    written
}

const OCI_CONFIG: &str = "application/vnd.oci.image.config.v1+json";
const DOCKER_CONFIG: &str = "application/vnd.docker.container.image.v1+json";
