//! Which images a name stands for, and whether all of each is encrypted.

use std::collections::BTreeSet;

use estate::Digest;
use images::{ImageError, Kind, RawManifest, identify, media};
use serde_json::{Value, json};

use crate::build::{Person, TAR, content, image, manifest, raw};
use crate::memory::Memory;

/// Puts a manifest and gives the entry of an index for it.
fn entry(memory: &Memory, raw: &RawManifest) -> Value {
    memory.put_manifest(raw.clone());
    json!({"mediaType": raw.media_type, "digest": raw.id().digest, "size": raw.id().size})
}

fn index(entries: &[Value]) -> RawManifest {
    let json = json!({"schemaVersion": 2, "mediaType": media::OCI_INDEX, "manifests": entries});
    raw(media::OCI_INDEX, &json)
}

fn plain(memory: &Memory, name: &str) -> (Value, Digest) {
    let json = manifest(memory, name, &[(TAR, content(name, 100))]);
    let config = json["config"]["digest"].as_str().unwrap().parse().unwrap();
    (entry(memory, &raw(media::OCI_MANIFEST, &json)), config)
}

#[test]
fn encrypting_changes_all_but_the_configuration() {
    let (image, person) = (image("a"), Person::new());
    let before = identify(&image).unwrap();
    let after = identify(&person.encrypts(&image)).unwrap();
    assert_eq!(before.configs, after.configs);
    assert!(before.manifests.is_disjoint(&after.manifests));
    assert_eq!((before.encrypted, after.encrypted), (false, true));
    assert_eq!((before.configs.len(), before.documents), (1, 0));
}

#[test]
fn one_plain_layer_or_none_at_all_is_not_encrypted() {
    let encrypted = Person::new().encrypts(&image("a"));
    let one_plain = encrypted.clone();
    one_plain.edit(|json| json["layers"][1]["mediaType"] = TAR.into());
    assert!(!identify(&one_plain).unwrap().encrypted);
    let memory = Memory::default();
    memory.set_root(raw(media::OCI_MANIFEST, &manifest(&memory, "a", &[])));
    assert!(!identify(&memory).unwrap().encrypted);
}

#[test]
fn lists_of_lists_are_followed_and_documents_counted() {
    let memory = Memory::default();
    let ((one, first), (two, second)) = (plain(&memory, "one"), plain(&memory, "two"));
    let empty = memory.put_blob(b"{}");
    let artifact = json!({
        "schemaVersion": 2, "mediaType": media::OCI_MANIFEST, "layers": [],
        "config": {"mediaType": "application/vnd.oci.empty.v1+json", "digest": empty.digest, "size": empty.size},
    });
    let artifact = entry(&memory, &raw(media::OCI_MANIFEST, &artifact));
    let inner = index(&[two, artifact]);
    let inner_entry = entry(&memory, &inner);
    let outer = index(&[one.clone(), one, inner_entry]);
    memory.set_root(outer.clone());
    let found = identify(&memory).unwrap();
    assert_eq!(found.configs, BTreeSet::from([first, second]));
    assert_eq!(found.manifests.len(), 4);
    assert!(
        found.manifests.contains(&inner.id().digest)
            && found.manifests.contains(&outer.id().digest)
    );
    assert!(!found.configs.contains(&empty.digest));
    assert_eq!(found.documents, 1);
}

#[test]
fn a_name_without_an_image_is_an_error() {
    let memory = Memory::default();
    memory.set_root(index(&[]));
    let error = identify(&memory).unwrap_err();
    assert!(matches!(error, ImageError::NoImage));
    assert_eq!(error.kind(), Kind::Failed);
}

#[test]
fn depth_and_number_are_bounded() {
    let nested = |depth: usize| {
        let memory = Memory::default();
        let (mut inside, _) = plain(&memory, "a");
        for _ in 0..depth {
            inside = entry(&memory, &index(&[inside]));
        }
        memory.set_root(index(&[inside]));
        identify(&memory)
    };
    assert!(nested(7).is_ok());
    assert!(matches!(nested(8), Err(ImageError::TooDeep)));
    let memory = Memory::default();
    let (one, _) = plain(&memory, "a");
    let many = entry(&memory, &index(&vec![one; 100]));
    memory.set_root(index(&vec![many; 3]));
    assert!(matches!(
        identify(&memory),
        Err(ImageError::TooManyPlatforms)
    ));
}

#[test]
fn what_is_not_what_it_is_said_to_be_is_refused() {
    let memory = image("a");
    let config = memory.root_json()["config"]["digest"]
        .as_str()
        .unwrap()
        .to_owned();
    let mut other = memory.get_blob(&config);
    other.push(b' ');
    memory.replace_blob(&config, other);
    let error = identify(&memory).unwrap_err();
    assert_eq!(error.kind(), Kind::VerificationFailed);

    let memory = Memory::default();
    let (mut one, _) = plain(&memory, "a");
    one["size"] = 7.into();
    memory.set_root(index(&[one]));
    assert!(matches!(
        identify(&memory),
        Err(ImageError::WrongDigest { .. })
    ));
}
