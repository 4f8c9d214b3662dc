//! `docker save | gzip`: archives that are compressed as a whole, as tar and gzip make them.

use std::fs;
use std::path::Path;
use std::process::{Command, Stdio};

use estate::Digest;
use images::{BlobId, RawManifest, Recipients, Silent, encrypt};
use jose::EcdsaP256Key;
use registry::{Reference, open_source, open_target};
use serde_json::{Value, json};

use crate::archive::{blob, open};
use crate::fake::quick;
use crate::images_end_to_end::{decrypt_to, layout};

/// Bytes that gzip does not make smaller.
fn content(number: usize, length: usize) -> Vec<u8> {
    let mut state = Digest::of(number.to_le_bytes());
    let mut bytes = Vec::new();
    while bytes.len() < length {
        bytes.extend_from_slice(state.as_bytes());
        state = Digest::of(state);
    }
    bytes
}

/// What newer dockers save: a layout with a list, all in one archive, whose blobs come in the order of their digests.
fn saved(folder: &Path, packer: &str, contents: &[Vec<u8>]) -> String {
    let blobs = folder.join("saved/blobs/sha256");
    fs::create_dir_all(&blobs).unwrap();
    let put = |bytes: &[u8]| {
        let hex = Digest::of(bytes).to_hex();
        fs::write(blobs.join(&hex), bytes).unwrap();
        format!("blobs/sha256/{hex}")
    };
    let layers: Vec<String> = contents.iter().map(|content| put(content)).collect();
    let diff_ids: Vec<Digest> = contents.iter().map(Digest::of).collect();
    let config = json!({"os": "linux", "architecture": "amd64", "rootfs": {"type": "layers", "diff_ids": diff_ids}});
    let config = put(config.to_string().as_bytes());
    let list = json!([{"Config": config, "RepoTags": ["app:1"], "Layers": layers}]);
    fs::write(folder.join("saved/manifest.json"), list.to_string()).unwrap();
    let file = folder.join(format!("app.tar.{packer}"));
    let mut tar = Command::new("tar")
        .args(["--sort=name", "-C"])
        .arg(folder.join("saved"))
        .args(["-cf", "-", "blobs", "manifest.json"])
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    let packed = Command::new(packer)
        .arg("-c")
        .stdin(tar.stdout.take().unwrap())
        .output()
        .unwrap();
    assert!(tar.wait().unwrap().success() && packed.status.success());
    fs::write(&file, packed.stdout).unwrap();
    fs::remove_dir_all(folder.join("saved")).unwrap();
    format!("docker-archive:{}", file.display())
}

/// How many bytes this thread has read so far.
fn read_here() -> u64 {
    let io = fs::read_to_string("/proc/thread-self/io").unwrap();
    let line = io.lines().find_map(|line| line.strip_prefix("rchar: "));
    line.unwrap().parse().unwrap()
}

#[test]
fn a_saved_and_packed_image_is_encrypted_and_comes_back() {
    let root = tempfile::tempdir().unwrap();
    let contents: Vec<Vec<u8>> = (0..6).map(|number| content(number, 200_000)).collect();
    let key = EcdsaP256Key::generate().unwrap();
    let mut recipients = Recipients::new();
    let public = key.public_jwk().to_spki_der().unwrap();
    recipients.add_public_key(&public).unwrap();
    let from: Reference = saved(root.path(), "gzip", &contents).parse().unwrap();
    let there = layout(&root.path().join("there"));
    let source = open_source(&from, &quick()).unwrap();
    let target = open_target(&there, &quick()).unwrap();
    let done = encrypt(&*source, &*target, &recipients, &Silent).unwrap();
    assert_eq!(done.layers, 6);
    let back = layout(&root.path().join("back"));
    decrypt_to(&key, &there, &back).unwrap();
    let back = open_source(&back, &quick()).unwrap();
    for content in &contents {
        assert!(blob(&*back, &BlobId::of(content)) == *content);
    }
}

#[test]
fn the_archive_is_unpacked_once_however_many_layers_it_has() {
    for packer in ["gzip", "zstd"] {
        let root = tempfile::tempdir().unwrap();
        let contents: Vec<Vec<u8>> = (0..40).map(|number| content(number, 200_000)).collect();
        let name = saved(root.path(), packer, &contents);
        let size: u64 = contents.iter().map(|content| content.len() as u64).sum();
        let before = read_here();
        let source = open(&name).unwrap();
        let RawManifest { bytes, .. } = source.root().unwrap();
        let manifest: Value = serde_json::from_slice(&bytes).unwrap();
        assert_eq!(manifest["layers"].as_array().unwrap().len(), 40);
        for content in &contents {
            assert!(blob(&*source, &BlobId::of(content)) == *content);
        }
        let read = read_here() - before;
        assert!(
            read < 4 * size,
            "{packer}: {read} bytes were read for {size}"
        );
        // Nothing with a name lies beside it, not even now.
        assert_eq!(fs::read_dir(root.path()).unwrap().count(), 1);
    }
}

#[test]
fn a_packed_archive_that_was_cut_is_refused() {
    let root = tempfile::tempdir().unwrap();
    let name = saved(root.path(), "gzip", &[content(0, 100_000)]);
    let file = root.path().join("app.tar.gzip");
    let bytes = fs::read(&file).unwrap();
    for length in [20, 1000, bytes.len() / 2, bytes.len() - 1] {
        fs::write(&file, &bytes[..length]).unwrap();
        assert!(open(&name).is_err(), "{length} of {}", bytes.len());
    }
}
