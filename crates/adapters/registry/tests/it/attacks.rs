//! The attack table's rows about places: each a clear error with exit code 1 or 4, and nothing written.

use std::fs;
use std::os::unix::fs::symlink;
use std::path::Path;
use std::process::Command;

use images::{BlobId, ImageTarget, Kind, RawManifest, inspect, media};
use registry::{Options, open_source, open_target};

/// A layout whose only image is this manifest.
fn layout(directory: &Path, manifest: &str, blobs: &[&[u8]]) {
    let name = format!("oci:{}", directory.display());
    let target = open_target(&name.parse().unwrap(), &Options::default()).unwrap();
    for bytes in blobs {
        put(&*target, bytes);
    }
    let raw = RawManifest {
        media_type: media::OCI_MANIFEST.to_owned(),
        bytes: manifest.as_bytes().to_vec(),
    };
    target.publish(&raw).unwrap();
}

fn put(target: &dyn ImageTarget, bytes: &[u8]) {
    let mut writer = target.write_blob().unwrap();
    writer.write(bytes).unwrap();
    writer.finish(&BlobId::of(bytes).digest).unwrap();
}

/// What comes of looking at an image through `name`; reads its configuration too.
fn kind_of(name: &str) -> Kind {
    let source = match open_source(&name.parse().unwrap(), &Options::default()) {
        Ok(source) => source,
        Err(error) => return error.kind(),
    };
    match inspect(&*source, &[]) {
        Ok(_) => panic!("`{name}` was read"),
        Err(error) => error.kind(),
    }
}

fn pack(directory: &Path, to: &Path, more: &[&str]) {
    let mut command = Command::new("tar");
    command
        .arg("-C")
        .arg(directory)
        .arg("-cPf")
        .arg(to)
        .args(more)
        .arg(".");
    assert!(command.status().unwrap().success());
}

/// The same content as a directory and as an archive.
fn both(directory: &Path) -> [String; 2] {
    let archive = directory.with_extension("tar");
    pack(directory, &archive, &[]);
    [
        format!("oci:{}", directory.display()),
        format!("oci-archive:{}", archive.display()),
    ]
}

fn manifest(size: u64, layers: &str, annotations: &str) -> String {
    let id = BlobId::of(CONFIG);
    format!(
        r#"{{"schemaVersion":2,"config":{{"mediaType":"application/vnd.oci.image.config.v1+json","digest":"{}","size":{size}}},"layers":[{layers}],"annotations":{{{annotations}}}}}"#,
        id.digest
    )
}

const CONFIG: &[u8] = br#"{"rootfs":{"type":"layers","diff_ids":[]}}"#;

#[test]
fn an_image_without_tricks_passes() {
    let root = tempfile::tempdir().unwrap();
    let place = root.path().join("l");
    layout(&place, &manifest(CONFIG.len() as u64, "", ""), &[CONFIG]);
    for name in both(&place) {
        let source = open_source(&name.parse().unwrap(), &Options::default()).unwrap();
        inspect(&*source, &[]).unwrap();
    }
}

#[test]
fn sizes_that_lie_are_found() {
    for size in [0, 1, CONFIG.len() as u64 - 1, CONFIG.len() as u64 + 1] {
        let root = tempfile::tempdir().unwrap();
        let place = root.path().join("l");
        layout(&place, &manifest(size, "", ""), &[CONFIG]);
        for name in both(&place) {
            assert_eq!(kind_of(&name), Kind::VerificationFailed, "{name} {size}");
        }
    }
    for size in [u64::MAX, 1 << 40] {
        let root = tempfile::tempdir().unwrap();
        let place = root.path().join("l");
        layout(&place, &manifest(size, "", ""), &[CONFIG]);
        for name in both(&place) {
            assert_eq!(kind_of(&name), Kind::Failed, "{name} {size}");
        }
    }
}

#[test]
fn a_hundred_thousand_layers_are_refused() {
    let layer = format!(
        r#"{{"mediaType":"application/vnd.oci.image.layer.v1.tar","digest":"{}","size":1}}"#,
        BlobId::of(b"x").digest
    );
    for layer in [layer.as_str(), "0"] {
        let root = tempfile::tempdir().unwrap();
        let place = root.path().join("l");
        let layers = vec![layer; 100_000].join(",");
        layout(
            &place,
            &manifest(CONFIG.len() as u64, &layers, ""),
            &[CONFIG],
        );
        for name in both(&place) {
            assert_eq!(kind_of(&name), Kind::Failed, "{name}");
        }
    }
}

#[test]
fn an_annotation_of_ten_megabytes_is_refused() {
    let root = tempfile::tempdir().unwrap();
    let place = root.path().join("l");
    let annotation = format!(r#""a":"{}""#, "x".repeat(10 << 20));
    layout(
        &place,
        &manifest(CONFIG.len() as u64, "", &annotation),
        &[CONFIG],
    );
    for name in both(&place) {
        assert_eq!(kind_of(&name), Kind::Failed, "{name}");
    }
}

#[test]
fn links_in_the_place_of_blobs_are_refused() {
    for linked in ["blobs", "blobs/sha256", "one blob"] {
        let root = tempfile::tempdir().unwrap();
        let place = root.path().join("l");
        layout(&place, &manifest(CONFIG.len() as u64, "", ""), &[CONFIG]);
        let path = match linked {
            "one blob" => place
                .join("blobs/sha256")
                .join(BlobId::of(CONFIG).digest.to_hex()),
            other => place.join(other),
        };
        // The link leads to exactly the right content, so nothing but the link itself can be the reason.
        let outside = root.path().join("outside");
        fs::rename(&path, &outside).unwrap();
        symlink(&outside, &path).unwrap();
        for name in both(&place) {
            assert_eq!(kind_of(&name), Kind::Failed, "{name} {linked}");
        }
        if linked != "one blob" {
            let name = format!("oci:{}:new", place.display());
            let target = open_target(&name.parse().unwrap(), &Options::default()).unwrap();
            put(&*target, b"ours");
            let raw = RawManifest {
                media_type: media::OCI_MANIFEST.to_owned(),
                bytes: b"{}".to_vec(),
            };
            assert!(
                target.publish(&raw).is_err(),
                "{linked}: written through a link"
            );
        }
    }
}

#[test]
fn names_in_archives_that_lead_outside_are_refused() {
    for transform in [
        "--transform=s,^./index,../index,",
        "--transform=s,^./index,/tmp/index,",
        "--transform=s,^./blobs/sha256/,./blobs/../blobs/sha256/,",
        "--transform=s,^./oci-layout,./index.json,",
    ] {
        let root = tempfile::tempdir().unwrap();
        let place = root.path().join("l");
        layout(&place, &manifest(CONFIG.len() as u64, "", ""), &[CONFIG]);
        let archive = root.path().join("a.tar");
        pack(&place, &archive, &[transform]);
        let name = format!("oci-archive:{}", archive.display());
        assert_eq!(kind_of(&name), Kind::Failed, "{transform}");
    }
}
