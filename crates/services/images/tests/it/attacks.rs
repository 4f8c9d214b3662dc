//! What an attacker who can write the registry may try with a bound image.

use base64::Engine;
use base64::prelude::BASE64_STANDARD;
use estate::Digest;
use images::{ImageError, Kind};
use serde_json::{Value, json};

use crate::build::{Person, TAR, content, image};
use crate::memory::Memory;

const PUBOPTS: &str = "org.opencontainers.image.enc.pubopts";

/// Decryption fails as a verification, and nothing is published; with `before_writing`, no byte was written either.
fn assert_refused(person: &Person, attacked: &Memory, before_writing: bool) -> ImageError {
    let (result, target) = person.decrypts(attacked);
    let error = result.unwrap_err();
    assert_eq!(error.kind(), Kind::VerificationFailed, "{error}");
    assert!(!target.is_published());
    if before_writing {
        assert_eq!(target.written(), (0, 0), "{error}");
    }
    error
}

fn bound_to(error: &ImageError) -> &'static str {
    match error {
        ImageError::BoundElsewhere { source, .. } => source.member,
        other => panic!("{other:?}"),
    }
}

/// Another configuration under the same manifest.
fn edit_config(memory: &Memory, edit: impl FnOnce(&mut Value)) {
    let digest = memory.root_json()["config"]["digest"]
        .as_str()
        .unwrap()
        .to_owned();
    let mut config: Value = serde_json::from_slice(&memory.get_blob(&digest)).unwrap();
    edit(&mut config);
    let id = memory.put_blob(&serde_json::to_vec(&config).unwrap());
    memory.edit(|json| {
        json["config"]["digest"] = id.digest.to_string().into();
        json["config"]["size"] = id.size.into();
    });
}

#[test]
fn swapped_layers_are_refused() {
    let person = Person::new();
    let attacked = person.encrypts(&image("a"));
    attacked.edit(|json| json["layers"].as_array_mut().unwrap().swap(0, 2));
    assert_eq!(bound_to(&assert_refused(&person, &attacked, true)), "index");
}

#[test]
fn swapped_layers_with_a_matching_configuration_are_refused() {
    let person = Person::new();
    let attacked = person.encrypts(&image("a"));
    attacked.edit(|json| json["layers"].as_array_mut().unwrap().swap(0, 2));
    edit_config(&attacked, |config| {
        config["rootfs"]["diff_ids"]
            .as_array_mut()
            .unwrap()
            .swap(0, 2)
    });
    assert_eq!(
        bound_to(&assert_refused(&person, &attacked, true)),
        "config"
    );
}

#[test]
fn a_changed_entrypoint_is_refused() {
    let person = Person::new();
    let attacked = person.encrypts(&image("a"));
    edit_config(&attacked, |config| {
        config["config"]["Entrypoint"] = json!(["/bin/sh"])
    });
    assert_eq!(
        bound_to(&assert_refused(&person, &attacked, true)),
        "config"
    );
}

#[test]
fn a_layer_of_another_image_is_refused() {
    let person = Person::new();
    let (attacked, other) = (person.encrypts(&image("a")), person.encrypts(&image("b")));
    let stolen = other.root_json()["layers"][0].clone();
    attacked.put_blob(&other.get_blob(stolen["digest"].as_str().unwrap()));
    attacked.edit(|json| json["layers"][0] = stolen);
    assert_eq!(
        bound_to(&assert_refused(&person, &attacked, true)),
        "config"
    );
}

#[test]
fn a_dropped_or_added_layer_is_refused() {
    let person = Person::new();
    let attacked = person.encrypts(&image("a"));
    attacked.edit(|json| drop(json["layers"].as_array_mut().unwrap().pop()));
    assert!(matches!(
        assert_refused(&person, &attacked, true),
        ImageError::DiffIdCount { .. }
    ));
    edit_config(&attacked, |config| {
        drop(config["rootfs"]["diff_ids"].as_array_mut().unwrap().pop())
    });
    assert_eq!(
        bound_to(&assert_refused(&person, &attacked, true)),
        "config"
    );

    let attacked = person.encrypts(&image("a"));
    let id = attacked.put_blob(&content("evil", 100));
    attacked.edit(|json| {
        let evil = json!({"mediaType": TAR, "digest": id.digest, "size": id.size});
        json["layers"].as_array_mut().unwrap().push(evil);
    });
    edit_config(&attacked, |config| {
        config["rootfs"]["diff_ids"]
            .as_array_mut()
            .unwrap()
            .push(id.digest.to_string().into());
    });
    assert_eq!(
        bound_to(&assert_refused(&person, &attacked, true)),
        "config"
    );
}

#[test]
fn a_readable_layer_in_the_place_of_an_encrypted_one_is_refused() {
    let person = Person::new();
    let attacked = person.encrypts(&image("a"));
    let id = attacked.put_blob(&content("evil", 100));
    attacked.edit(|json| {
        json["layers"][1] = json!({"mediaType": TAR, "digest": id.digest, "size": id.size})
    });
    assert!(matches!(
        assert_refused(&person, &attacked, false),
        ImageError::DiffId { index: 1 }
    ));
}

#[test]
fn a_readable_image_in_the_place_of_the_encrypted_one_is_refused() {
    let person = Person::new();
    assert!(matches!(
        assert_refused(&person, &image("evil"), true),
        ImageError::NotEncrypted
    ));
}

#[test]
fn another_media_type_is_refused() {
    let person = Person::new();
    let attacked = person.encrypts(&image("a"));
    attacked.edit(|json| json["layers"][0]["mediaType"] = format!("{TAR}+encrypted").into());
    assert_eq!(
        bound_to(&assert_refused(&person, &attacked, true)),
        "mediaType"
    );
}

#[test]
fn a_flipped_bit_is_refused_wherever_it_is() {
    let person = Person::new();
    for at in [0, 700_000, 1_499_999] {
        let attacked = person.encrypts(&image("a"));
        let digest = attacked.root_json()["layers"][0]["digest"]
            .as_str()
            .unwrap()
            .to_owned();
        let mut bytes = attacked.get_blob(&digest);
        bytes[at] ^= 1;
        attacked.replace_blob(&digest, bytes.clone());
        assert_refused(&person, &attacked, false);

        let id = attacked.put_blob(&bytes);
        attacked.edit(|json| json["layers"][0]["digest"] = id.digest.to_string().into());
        assert_eq!(
            bound_to(&assert_refused(&person, &attacked, true)),
            "ciphertext"
        );
    }
}

#[test]
fn a_shortened_blob_is_refused() {
    let person = Person::new();
    let attacked = person.encrypts(&image("a"));
    let digest = attacked.root_json()["layers"][1]["digest"]
        .as_str()
        .unwrap()
        .to_owned();
    let bytes = attacked.get_blob(&digest);
    attacked.replace_blob(&digest, bytes[..bytes.len() - 1].to_vec());
    assert_refused(&person, &attacked, false);
}

fn edit_public_options(memory: &Memory, edit: impl FnOnce(&mut Value)) {
    memory.edit(|json| {
        let annotation = &mut json["layers"][0]["annotations"][PUBOPTS];
        let mut options: Value = serde_json::from_slice(
            &BASE64_STANDARD
                .decode(annotation.as_str().unwrap())
                .unwrap(),
        )
        .unwrap();
        edit(&mut options);
        *annotation = BASE64_STANDARD
            .encode(serde_json::to_vec(&options).unwrap())
            .into();
    });
}

#[test]
fn a_public_nonce_is_refused() {
    let person = Person::new();
    let attacked = person.encrypts(&image("a"));
    edit_public_options(&attacked, |options| {
        options["cipheroptions"] = json!({"nonce": BASE64_STANDARD.encode([0; 16])});
    });
    assert!(matches!(
        assert_refused(&person, &attacked, true),
        ImageError::Open { index: 0, .. }
    ));
}

#[test]
fn another_hmac_is_refused() {
    let person = Person::new();
    let attacked = person.encrypts(&image("a"));
    edit_public_options(&attacked, |options| {
        options["hmac"] = BASE64_STANDARD.encode([0; 32]).into()
    });
    assert!(matches!(
        assert_refused(&person, &attacked, false),
        ImageError::Cipher { index: 0, .. }
    ));
}

#[test]
fn lost_annotations_are_refused() {
    let person = Person::new();
    for lost in [PUBOPTS, "org.opencontainers.image.enc.keys.jwe"] {
        let attacked = person.encrypts(&image("a"));
        attacked.edit(|json| {
            drop(
                json["layers"][0]["annotations"]
                    .as_object_mut()
                    .unwrap()
                    .remove(lost),
            )
        });
        assert_refused(&person, &attacked, true);
    }
}

#[test]
fn another_manifest_than_the_index_names_is_refused() {
    let person = Person::new();
    let attacked = person.encrypts(&image("a"));
    let manifest = attacked.root_json();
    let raw = crate::build::raw(images::media::OCI_MANIFEST, &manifest);
    let index = json!({"schemaVersion": 2, "manifests": [
        {"mediaType": raw.media_type, "digest": Digest::of("other"), "size": raw.id().size}]});
    attacked.set_root(crate::build::raw(images::media::OCI_INDEX, &index));
    let (result, target) = person.decrypts(&attacked);
    assert!(result.is_err() && !target.is_published());
}

/// An index whose second platform is somebody else's image.
fn index_with(person: &Person, edit: impl FnOnce(&mut Value, &mut Value)) -> Memory {
    let memory = person.encrypts(&image("a"));
    let evil = image("evil");
    let mut evil_json = evil.root_json();
    let entry = |json: &Value| {
        let raw = crate::build::raw(images::media::OCI_MANIFEST, json);
        memory.put_manifest(raw.clone());
        json!({"mediaType": raw.media_type, "digest": raw.id().digest, "size": raw.id().size})
    };
    for blob in evil_json["layers"]
        .as_array()
        .unwrap()
        .iter()
        .chain([&evil_json["config"]])
    {
        memory.put_blob(&evil.get_blob(blob["digest"].as_str().unwrap()));
    }
    let good = entry(&memory.root_json());
    let mut more = json!({"platform": {"os": "linux", "architecture": "arm64"}});
    edit(&mut evil_json, &mut more);
    let mut second = entry(&evil_json);
    second
        .as_object_mut()
        .unwrap()
        .extend(more.as_object().unwrap().clone());
    let index = json!({"schemaVersion": 2, "manifests": [good, second]});
    memory.set_root(crate::build::raw(images::media::OCI_INDEX, &index));
    memory
}

#[test]
fn a_readable_image_for_one_platform_is_refused() {
    let person = Person::new();
    let attacked = index_with(&person, |_, _| {});
    assert!(matches!(
        assert_refused(&person, &attacked, true),
        ImageError::NotEncrypted
    ));
}

#[test]
fn an_image_that_calls_itself_an_attestation_is_refused() {
    let person = Person::new();
    let attacked = index_with(&person, |manifest, entry| {
        for layer in manifest["layers"].as_array_mut().unwrap() {
            layer["mediaType"] = "application/vnd.in-toto+json".into();
        }
        entry["annotations"] = json!({"vnd.docker.reference.type": "attestation-manifest"});
    });
    assert_refused(&person, &attacked, true);
}

proptest::proptest! {
    #![proptest_config(proptest::prelude::ProptestConfig::with_cases(96))]

    /// Whatever byte of the manifest is changed: the layers come back as they were, or not at all.
    #[test]
    fn a_changed_byte_in_the_manifest_changes_no_layer(at: proptest::sample::Index, byte: u8) {
        let person = Person::new();
        let plain = Memory::default();
        let json = crate::build::manifest(&plain, "a", &[(TAR, content("a", 50)), (TAR, content("b", 60))]);
        plain.set_root(crate::build::raw(images::media::OCI_MANIFEST, &json));
        let attacked = person.encrypts(&plain);
        let mut root = serde_json::to_vec(&attacked.root_json()).unwrap();
        let at = at.index(root.len());
        root[at] = byte;
        attacked.set_root(images::RawManifest { media_type: images::media::OCI_MANIFEST.to_owned(), bytes: root });
        let (result, target) = person.decrypts(&attacked);
        if result.is_ok() {
            let back = target.root_json();
            for (found, expected) in back["layers"].as_array().unwrap().iter().zip(json["layers"].as_array().unwrap()) {
                proptest::prop_assert_eq!(&found["digest"], &expected["digest"]);
                proptest::prop_assert_eq!(&found["mediaType"], &expected["mediaType"]);
            }
            proptest::prop_assert_eq!(&back["config"]["digest"], &json["config"]["digest"]);
            proptest::prop_assert_eq!(back["layers"].as_array().unwrap().len(), 2);
        } else {
            proptest::prop_assert!(!target.is_published());
        }
    }
}

/// Runtimes written in Go read `Config` and even `layerſ` as `config` and `layers`, and the last one counts.
#[test]
fn a_second_spelling_of_a_member_is_refused() {
    let person = Person::new();
    let other = json!([{"mediaType": TAR, "digest": Digest::of("evil").to_string(), "size": 1}]);
    for (path, name, value) in [
        (
            "",
            "Config",
            json!({"digest": Digest::of("evil").to_string()}),
        ),
        ("", "layer\u{17f}", other.clone()),
        ("", "Manifests", other),
        ("/config", "DIGEST", json!(Digest::of("evil").to_string())),
        ("/layers/0", "Size", json!(1)),
        ("/layers/0", "mediatype", json!(TAR)),
        ("/layers/0", "Annotations", json!({})),
    ] {
        let attacked = person.encrypts(&image("a"));
        attacked.edit(|json| json.pointer_mut(path).unwrap()[name] = value.clone());
        let (result, target) = person.decrypts(&attacked);
        assert!(result.is_err(), "{path} {name}");
        assert!(!target.is_published(), "{path} {name}");
    }
}
