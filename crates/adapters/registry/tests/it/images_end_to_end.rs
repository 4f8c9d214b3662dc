//! Encrypting and decrypting through real places, with all that can go wrong on the way.

use std::fs;
use std::path::Path;

use estate::Digest;
use images::{
    BlobId, DecryptOptions, Decrypted, ImageError, ImageTarget, Kind, RawManifest, Recipients,
    Silent, decrypt, encrypt, media, opener_of_key_files,
};
use jose::EcdsaP256Key;
use registry::{Reference, open_source, open_target};

use crate::fake::{Fake, Mood, quick};

const TAR: &str = "application/vnd.oci.image.layer.v1.tar";

pub(crate) fn layout(directory: &Path) -> Reference {
    format!("oci:{}:app", directory.display()).parse().unwrap()
}

fn put(target: &dyn ImageTarget, bytes: &[u8]) -> BlobId {
    let id = BlobId::of(bytes);
    let mut writer = target.write_blob().unwrap();
    writer.write(bytes).unwrap();
    writer.finish(&id.digest).unwrap();
    id
}

/// A plain image of two layers in a layout.
pub(crate) fn plain_image(directory: &Path) -> Reference {
    let reference = layout(directory);
    let target = open_target(&reference, &quick()).unwrap();
    let contents: Vec<Vec<u8>> = [1_200_000, 40]
        .iter()
        .map(|size| (0..*size).map(|at| (at % 241) as u8).collect())
        .collect();
    let layers: Vec<String> = contents
        .iter()
        .map(|content| put(&*target, content))
        .map(|id| {
            format!(
                r#"{{"mediaType":"{TAR}","digest":"{}","size":{}}}"#,
                id.digest, id.size
            )
        })
        .collect();
    let diff_ids: Vec<String> = contents
        .iter()
        .map(|content| format!("\"{}\"", Digest::of(content)))
        .collect();
    let config = format!(
        r#"{{"rootfs":{{"type":"layers","diff_ids":[{}]}}}}"#,
        diff_ids.join(",")
    );
    let config = put(&*target, config.as_bytes());
    let manifest = format!(
        r#"{{"schemaVersion":2,"config":{{"mediaType":"application/vnd.oci.image.config.v1+json","digest":"{}","size":{}}},"layers":[{}]}}"#,
        config.digest,
        config.size,
        layers.join(",")
    );
    target
        .publish(&RawManifest {
            media_type: media::OCI_MANIFEST.to_owned(),
            bytes: manifest.into_bytes(),
        })
        .unwrap();
    reference
}

pub(crate) fn encrypt_to(key: &EcdsaP256Key, from: &Reference, to: &Reference) {
    let mut recipients = Recipients::new();
    recipients
        .add_public_key(&key.public_jwk().to_spki_der().unwrap())
        .unwrap();
    let (source, target) = (
        open_source(from, &quick()).unwrap(),
        open_target(to, &quick()).unwrap(),
    );
    encrypt(&*source, &*target, &recipients, &Silent).unwrap();
}

pub(crate) fn decrypt_to(
    key: &EcdsaP256Key,
    from: &Reference,
    to: &Reference,
) -> Result<Decrypted, ImageError> {
    let private = key.to_pkcs8().unwrap();
    let opener = opener_of_key_files([private.as_slice()]).unwrap();
    let (source, target) = (
        open_source(from, &quick()).unwrap(),
        open_target(to, &quick()).unwrap(),
    );
    decrypt(
        &*source,
        &*target,
        &[&opener],
        DecryptOptions::default(),
        &Silent,
    )
}

fn blobs(directory: &Path) -> Vec<(String, Vec<u8>)> {
    let mut blobs: Vec<_> = fs::read_dir(directory.join("blobs/sha256"))
        .unwrap()
        .map(|entry| entry.unwrap())
        .map(|entry| {
            (
                entry.file_name().into_string().unwrap(),
                fs::read(entry.path()).unwrap(),
            )
        })
        .collect();
    blobs.sort();
    blobs
}

/// Copies what lies in one registry into another with a mood of its own.
fn moody_copy(honest: &Fake, mood: Mood) -> Fake {
    let fake = Fake::start(mood);
    let (stored, manifests) =
        honest.inside(|inside| (inside.blobs.clone(), inside.manifests.clone()));
    fake.inside(|inside| {
        inside.blobs = stored;
        inside.manifests = manifests;
    });
    fake
}

#[test]
fn an_image_goes_to_a_registry_and_comes_back() {
    let root = tempfile::tempdir().unwrap();
    let key = EcdsaP256Key::generate().unwrap();
    let plain = plain_image(&root.path().join("plain"));
    let fake = Fake::start(Mood::Honest);
    let remote = fake.reference("team/app:1");
    encrypt_to(&key, &plain, &remote);
    let back = layout(&root.path().join("back"));
    decrypt_to(&key, &remote, &back).unwrap();
    assert_eq!(
        blobs(&root.path().join("back")),
        blobs(&root.path().join("plain"))
    );

    let other = fake.reference("team/app:2");
    decrypt_to(&key, &remote, &other).unwrap();
    decrypt_to(&key, &remote, &back).unwrap();
}

#[test]
fn a_lying_registry_gets_nothing_published() {
    let root = tempfile::tempdir().unwrap();
    let key = EcdsaP256Key::generate().unwrap();
    let plain = plain_image(&root.path().join("plain"));
    let honest = Fake::start(Mood::Honest);
    encrypt_to(&key, &plain, &honest.reference("team/app:1"));
    for (mood, kind) in [
        (Mood::FlipsABit, Kind::VerificationFailed),
        (Mood::SendsMore, Kind::VerificationFailed),
        (Mood::LiesAboutLength, Kind::VerificationFailed),
        (Mood::TruncatesBlobs, Kind::Unavailable),
        (Mood::EndlessManifest, Kind::Failed),
        (Mood::Status(503), Kind::Unavailable),
        (Mood::Status(403), Kind::Denied),
    ] {
        let fake = moody_copy(&honest, mood);
        let back = root.path().join("back");
        let error = decrypt_to(&key, &fake.reference("team/app:1"), &layout(&back)).unwrap_err();
        assert_eq!(error.kind(), kind, "{mood:?}: {error}");
        assert!(!back.exists(), "{mood:?} left something behind");
    }
}

#[test]
fn a_stranger_gets_nothing_and_leaves_nothing() {
    let root = tempfile::tempdir().unwrap();
    let key = EcdsaP256Key::generate().unwrap();
    let plain = plain_image(&root.path().join("plain"));
    let encrypted = layout(&root.path().join("encrypted"));
    encrypt_to(&key, &plain, &encrypted);
    let stranger = EcdsaP256Key::generate().unwrap();
    let back = root.path().join("back");
    assert_eq!(
        decrypt_to(&stranger, &encrypted, &layout(&back))
            .unwrap_err()
            .kind(),
        Kind::Denied
    );
    assert!(!back.exists());
}
