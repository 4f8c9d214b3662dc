//! What goes in comes out.

use std::collections::HashSet;
use std::sync::atomic::{AtomicU64, Ordering};

use images::{
    DecryptOptions, ImageError, Kind, Progress, Recipients, Silent, decrypt, encrypt, media,
};
use serde_json::{Value, json};

use crate::build::{CONFIG, GZIP, Person, TAR, content, image, manifest, raw};
use crate::memory::Memory;

fn digests(manifest: &Value) -> Vec<String> {
    let layers = manifest["layers"].as_array().unwrap().iter();
    layers
        .map(|layer| layer["digest"].as_str().unwrap().to_owned())
        .collect()
}

#[test]
fn an_image_comes_back_byte_for_byte() {
    let person = Person::new();
    let plain = image("a");
    let encrypted = person.encrypts(&plain);
    let (result, back) = person.decrypts(&encrypted);
    let result = result.unwrap();
    assert_eq!((result.layers, result.unbound), (3, 0));
    assert_eq!(back.root_json(), plain.root_json());
    assert_eq!(
        result.digest,
        raw(media::OCI_MANIFEST, &plain.root_json()).id().digest
    );
    for digest in digests(&plain.root_json()) {
        assert_eq!(back.get_blob(&digest), plain.get_blob(&digest));
    }
}

#[test]
fn an_encrypted_image_shows_its_form_and_nothing_of_its_layers() {
    let person = Person::new();
    let plain = image("a");
    let encrypted = person.encrypts(&plain);
    let (before, after) = (plain.root_json(), encrypted.root_json());
    for member in [
        "schemaVersion",
        "mediaType",
        "config",
        "annotations",
        "subject",
    ] {
        assert_eq!(after[member], before[member], "{member}");
    }
    for (index, layer) in after["layers"].as_array().unwrap().iter().enumerate() {
        let was = &before["layers"][index];
        let media_type = format!("{}+encrypted", was["mediaType"].as_str().unwrap());
        assert_eq!(layer["mediaType"], media_type);
        assert_eq!(layer["size"], was["size"]);
        assert_eq!(layer["annotations"]["note"], "a");
        assert_ne!(layer["digest"], was["digest"]);
    }
    assert!(plain.holds_bytes(b"content of"));
    assert!(!encrypted.holds_bytes(b"content of"));
}

#[test]
fn equal_layers_never_look_equal() {
    let person = Person::new();
    let plain = Memory::default();
    let layer = || (TAR, content("same", 5000));
    let json = manifest(&plain, "a", &[layer(), layer()]);
    plain.set_root(raw(media::OCI_MANIFEST, &json));
    let (first, second) = (person.encrypts(&plain), person.encrypts(&plain));
    let all: HashSet<String> = [first, second]
        .iter()
        .flat_map(|memory| digests(&memory.root_json()))
        .collect();
    assert_eq!(all.len(), 4);
}

#[test]
fn all_platforms_are_encrypted_and_attestations_follow() {
    let person = Person::new();
    let plain = Memory::default();
    let mut entries = Vec::new();
    for (name, architecture) in [("a", "amd64"), ("b", "arm64")] {
        let json = manifest(
            &plain,
            name,
            &[(GZIP, content("shared", 9000)), (TAR, content(name, 100))],
        );
        let raw = raw(media::OCI_MANIFEST, &json);
        plain.put_manifest(raw.clone());
        entries.push(
            json!({"mediaType": raw.media_type, "digest": raw.id().digest, "size": raw.id().size,
            "platform": {"os": "linux", "architecture": architecture}}),
        );
    }
    let statement = plain.put_blob(b"{\"statement\":1}");
    let config = plain.put_blob(b"{}");
    let attestation = raw(
        media::OCI_MANIFEST,
        &json!({"schemaVersion": 2, "mediaType": media::OCI_MANIFEST,
        "config": {"mediaType": CONFIG, "digest": config.digest, "size": config.size},
        "layers": [{"mediaType": "application/vnd.in-toto+json", "digest": statement.digest, "size": statement.size}]}),
    );
    plain.put_manifest(attestation.clone());
    entries.push(json!({"mediaType": attestation.media_type, "digest": attestation.id().digest, "size": attestation.id().size,
        "annotations": {"vnd.docker.reference.type": "attestation-manifest", "vnd.docker.reference.digest": entries[0]["digest"]},
        "platform": {"os": "unknown", "architecture": "unknown"}}));
    plain.set_root(raw(
        media::OCI_INDEX,
        &json!({"schemaVersion": 2, "mediaType": media::OCI_INDEX, "manifests": entries,
        "annotations": {"index": "kept"}}),
    ));

    let encrypted = Memory::default();
    let result = encrypt(&plain, &encrypted, &person.recipients(), &Silent).unwrap();
    assert_eq!((result.layers, result.readable_documents), (4, 1));
    let index = encrypted.root_json();
    assert_eq!(index["annotations"]["index"], "kept");
    assert_eq!(index["manifests"][1]["platform"]["architecture"], "arm64");
    assert_eq!(index["manifests"][2]["digest"], entries[2]["digest"]);
    assert_eq!(
        index["manifests"][2]["annotations"]["vnd.docker.reference.digest"],
        index["manifests"][0]["digest"]
    );
    let shared: HashSet<String> = (0..2)
        .map(|at| {
            digests(&encrypted.manifest_json(index["manifests"][at]["digest"].as_str().unwrap()))[0]
                .clone()
        })
        .collect();
    assert_eq!(
        shared.len(),
        2,
        "a layer that platforms share is encrypted for each"
    );

    let (result, back) = person.decrypts(&encrypted);
    assert_eq!(result.unwrap().layers, 4);
    assert_eq!(back.root_json(), plain.root_json());
}

#[test]
fn dockers_images_become_ocis() {
    let person = Person::new();
    let plain = Memory::default();
    let mut json = manifest(
        &plain,
        "a",
        &[(
            "application/vnd.docker.image.rootfs.diff.tar.gzip",
            content("a", 9000),
        )],
    );
    json["mediaType"] = media::DOCKER_MANIFEST.into();
    json["config"]["mediaType"] = "application/vnd.docker.container.image.v1+json".into();
    plain.set_root(raw(media::DOCKER_MANIFEST, &json));
    let encrypted = person.encrypts(&plain);
    assert_eq!(encrypted.root_type(), media::OCI_MANIFEST);
    let after = encrypted.root_json();
    assert_eq!(after["mediaType"], media::OCI_MANIFEST);
    assert_eq!(after["config"]["mediaType"], CONFIG);
    assert_eq!(after["config"]["digest"], json["config"]["digest"]);
    assert_eq!(after["layers"][0]["mediaType"], format!("{GZIP}+encrypted"));
    let (result, back) = person.decrypts(&encrypted);
    result.unwrap();
    assert_eq!(digests(&back.root_json()), digests(&json));
}

#[test]
fn each_of_several_recipients_can_open() {
    let people = [Person::new(), Person::new(), Person::new()];
    let mut recipients = Recipients::new();
    for person in &people[..2] {
        recipients.add_public_key(&person.public).unwrap();
    }
    let encrypted = Memory::default();
    encrypt(&image("a"), &encrypted, &recipients, &Silent).unwrap();
    let packets =
        encrypted.root_json()["layers"][0]["annotations"]["org.opencontainers.image.enc.keys.jwe"]
            .clone();
    assert!(
        !packets.as_str().unwrap().contains(','),
        "one packet for all, as other tools write it"
    );
    people[0].decrypts(&encrypted).0.unwrap();
    people[1].decrypts(&encrypted).0.unwrap();
    let (result, target) = people[2].decrypts(&encrypted);
    assert_eq!(result.unwrap_err().kind(), Kind::Denied);
    assert_eq!(target.written(), (0, 0));
}

#[test]
fn what_has_no_file_system_is_bound_all_the_same() {
    let person = Person::new();
    let plain = image("a");
    plain.edit(|json| json["config"]["mediaType"] = "application/vnd.artifact.config+json".into());
    let encrypted = person.encrypts(&plain);
    let (result, back) = person.decrypts(&encrypted);
    assert_eq!(result.unwrap().unbound, 0);
    assert_eq!(back.root_json(), plain.root_json());
    encrypted.edit(|json| json["config"]["mediaType"] = CONFIG.into());
    assert_eq!(
        person.decrypts(&encrypted).0.unwrap_err().kind(),
        Kind::VerificationFailed
    );
}

/// Cancels after some bytes.
struct Impatient(AtomicU64);

impl Progress for Impatient {
    fn started(&self, total: u64) {
        assert!(total > 2_000_000);
    }

    fn advanced(&self, bytes: u64) {
        self.0.fetch_add(bytes, Ordering::Relaxed);
    }

    fn cancelled(&self) -> bool {
        self.0.load(Ordering::Relaxed) > 500_000
    }
}

#[test]
fn cancelled_work_publishes_nothing() {
    let person = Person::new();
    let target = Memory::default();
    let cancelled = encrypt(
        &image("a"),
        &target,
        &person.recipients(),
        &Impatient(AtomicU64::new(0)),
    );
    assert!(matches!(cancelled, Err(ImageError::Cancelled)));
    assert!(!target.is_published());
    let encrypted = person.encrypts(&image("a"));
    let impatient = Impatient(AtomicU64::new(0));
    let cancelled = decrypt(
        &encrypted,
        &target,
        &[&person.opener()],
        DecryptOptions::default(),
        &impatient,
    );
    assert!(matches!(cancelled, Err(ImageError::Cancelled)));
    assert!(!target.is_published());
}

fn refused(plain: &Memory, recipients: &Recipients) -> ImageError {
    let target = Memory::default();
    let error = encrypt(plain, &target, recipients, &Silent).unwrap_err();
    assert!(!target.is_published());
    assert_eq!(target.written(), (0, 0), "{error}");
    assert_eq!(error.kind(), Kind::Usage, "{error}");
    error
}

#[test]
fn what_can_not_be_encrypted_whole_is_not_encrypted() {
    let person = Person::new();
    let recipients = person.recipients();
    assert!(matches!(
        refused(&image("a"), &Recipients::new()),
        ImageError::NoRecipient
    ));
    assert!(matches!(
        refused(&person.encrypts(&image("a")), &recipients),
        ImageError::MediaType { index: 0, .. }
    ));

    let empty = Memory::default();
    let json = manifest(&empty, "a", &[]);
    empty.set_root(raw(media::OCI_MANIFEST, &json));
    assert!(matches!(
        refused(&empty, &recipients),
        ImageError::NothingToEncrypt
    ));

    let odd = image("a");
    odd.edit(|json| json["layers"][2]["mediaType"] = "application/vnd.in-toto+json".into());
    assert!(matches!(
        refused(&odd, &recipients),
        ImageError::MediaType { index: 2, .. }
    ));
}

#[test]
fn a_source_that_gives_other_bytes_is_refused() {
    let person = Person::new();
    for index in 0..3 {
        let plain = image("a");
        let digest = digests(&plain.root_json())[index].clone();
        let mut bytes = plain.get_blob(&digest);
        bytes[50] ^= 1;
        plain.replace_blob(&digest, bytes);
        let target = Memory::default();
        let error = encrypt(&plain, &target, &person.recipients(), &Silent).unwrap_err();
        assert_eq!(error.kind(), Kind::VerificationFailed);
        assert!(!target.is_published());
    }
}

#[test]
fn former_addresses_do_not_outlive_encryption() {
    let person = Person::new();
    let plain = image("a");
    plain.edit(|json| {
        json["layers"][1]["urls"] = json!(["https://cdn.example/plain"]);
        json["layers"][1]["data"] = "cGxhaW4=".into();
    });
    let encrypted = person.encrypts(&plain).root_json();
    assert!(
        encrypted["layers"][1].get("urls").is_none()
            && encrypted["layers"][1].get("data").is_none()
    );
}
