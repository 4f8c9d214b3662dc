//! Where a plain image came from: told when it is wanted, and else not a byte is added.

use images::{
    DECRYPTED_FROM, DecryptOptions, ImageSource, Kind, Provenance, Silent, decrypt_from, media,
    preview_decrypt,
};
use serde_json::json;

use crate::build::{Person, image, raw};
use crate::memory::Memory;

fn decrypts(person: &Person, source: &Memory, provenance: &Provenance) -> Memory {
    let target = Memory::default();
    let done = decrypt_from(
        source,
        &target,
        &[&person.opener()],
        DecryptOptions::default(),
        provenance,
        &Silent,
    )
    .unwrap();
    assert_eq!(done.former, source.root().unwrap().id().digest);
    assert_eq!(done.digest, target.root().unwrap().id().digest);
    target
}

#[test]
fn untold_the_former_manifest_comes_back_byte_for_byte() {
    let ann = Person::new();
    let plain = image("a");
    let encrypted = ann.encrypts(&plain);
    let back = decrypts(&ann, &encrypted, &Provenance::Untold);
    assert_eq!(back.root().unwrap(), plain.root().unwrap());
}

#[test]
fn told_the_manifest_names_the_encrypted_one_and_the_configuration_stays() {
    let ann = Person::new();
    let encrypted = ann.encrypts(&image("a"));
    let digest = encrypted.root().unwrap().id().digest;
    let name = "registry.example/team/app".to_owned();
    for (repository, told) in [
        (None, digest.to_string()),
        (Some(name), format!("registry.example/team/app@{digest}")),
    ] {
        let back = decrypts(&ann, &encrypted, &Provenance::Told { repository }).root_json();
        assert_eq!(back["annotations"][DECRYPTED_FROM], told);
        assert_eq!(back["annotations"]["z"], "last", "others stay");
        assert_eq!(back["config"], image("a").root_json()["config"]);
    }
}

#[test]
fn each_manifest_of_an_index_names_its_own_and_the_latest_wins() {
    let ann = Person::new();
    let plain = image("a");
    let manifest = plain.root().unwrap();
    plain.put_manifest(manifest.clone());
    let entry = json!({"mediaType": manifest.media_type, "digest": manifest.id().digest, "size": manifest.id().size});
    let index = json!({"schemaVersion": 2, "mediaType": media::OCI_INDEX, "manifests": [entry]});
    plain.set_root(raw(media::OCI_INDEX, &index));
    let told = Provenance::Told { repository: None };
    let mut plain = plain;
    for _ in 0..2 {
        let encrypted = ann.encrypts(&plain);
        let from = encrypted.root_json()["manifests"][0]["digest"].clone();
        plain = decrypts(&ann, &encrypted, &told);
        assert!(plain.root_json().get("annotations").is_none());
        let listed = plain.root_json()["manifests"][0]["digest"].clone();
        let manifest = plain.manifest_json(listed.as_str().unwrap());
        assert_eq!(manifest["annotations"][DECRYPTED_FROM], from);
    }
}

#[test]
fn a_preview_needs_the_key_and_true_bindings() {
    let (ann, bob) = (Person::new(), Person::new());
    let encrypted = ann.encrypts(&image("a"));
    let preview = |person: &Person, memory: &Memory| {
        preview_decrypt(memory, &[&person.opener()], DecryptOptions::default())
    };
    assert_eq!(preview(&ann, &encrypted).unwrap().layers, 3);
    assert_eq!(preview(&bob, &encrypted).unwrap_err().kind(), Kind::Denied);
    encrypted.edit(|json| json["layers"].as_array_mut().unwrap().swap(0, 1));
    assert_eq!(
        preview(&ann, &encrypted).unwrap_err().kind(),
        Kind::VerificationFailed
    );
}
