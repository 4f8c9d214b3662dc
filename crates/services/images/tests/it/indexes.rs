//! Indexes of indexes: every operation goes through all of them, what is not understood stays, and nothing is without a bound.

use images::{
    DecryptOptions, EncryptOptions, Extent, ImageError, Kind, Plan, RawManifest, RecipientsEdit,
    RekeyOptions, Silent, VerifyOptions, decrypt, edit_recipients, encrypt, encrypt_with, inspect,
    media, rebind, rekey, verify,
};
use serde_json::{Value, json};

use crate::build::{CONFIG, GZIP, Person, TAR, content, manifest, raw};
use crate::memory::Memory;

fn entry(memory: &Memory, raw: &RawManifest) -> Value {
    memory.put_manifest(raw.clone());
    json!({"mediaType": raw.media_type, "digest": raw.id().digest, "size": raw.id().size})
}

fn index(entries: &[Value]) -> RawManifest {
    let json = json!({
        "schemaVersion": 2, "mediaType": media::OCI_INDEX, "manifests": entries,
        "x-unknown": {"n": 12345678901234567890_u64},
    });
    raw(media::OCI_INDEX, &json)
}

fn image(memory: &Memory, name: &str) -> RawManifest {
    let layers = [
        (GZIP, content(&format!("{name} one"), 9000)),
        (TAR, content(name, 100)),
    ];
    raw(media::OCI_MANIFEST, &manifest(memory, name, &layers))
}

/// A builder's attestation of `image`, in the new form too, which names its subject inside.
fn attestation(memory: &Memory, image: &Value) -> Value {
    let statement = memory.put_blob(br#"{"_type":"https://in-toto.io/Statement/v1"}"#);
    let config = memory.put_blob(b"{}");
    let raw = raw(
        media::OCI_MANIFEST,
        &json!({
            "schemaVersion": 2, "mediaType": media::OCI_MANIFEST,
            "config": {"mediaType": CONFIG, "digest": config.digest, "size": config.size},
            "layers": [{"mediaType": "application/vnd.in-toto+json", "digest": statement.digest, "size": statement.size}],
            "subject": {"mediaType": media::OCI_MANIFEST, "digest": image["digest"], "size": image["size"], "zz": 1.50},
        }),
    );
    let mut entry = entry(memory, &raw);
    entry["platform"] = json!({"os": "unknown", "architecture": "unknown"});
    entry["annotations"] = json!({
        "vnd.docker.reference.type": "attestation-manifest",
        "vnd.docker.reference.digest": image["digest"],
    });
    entry
}

/// Two images, one of them three indexes deep and without a platform; attestations stand before what they speak of.
fn nested() -> Memory {
    let memory = Memory::default();
    let mut outer = entry(&memory, &image(&memory, "outer"));
    outer["platform"] = json!({"os": "linux", "architecture": "arm64"});
    let inner = entry(&memory, &image(&memory, "inner"));
    let attests = attestation(&memory, &inner);
    let deep = entry(&memory, &index(&[attests, inner.clone()]));
    let middle = entry(&memory, &index(&[deep]));
    // Speaks of an image that lies deeper than the attestation itself.
    let from_above = attestation(&memory, &inner);
    let attests_outer = attestation(&memory, &outer);
    memory.set_root(index(&[from_above, attests_outer, middle, outer]));
    memory
}

fn walk(memory: &Memory, json: &Value, each: &mut dyn FnMut(&Value, &Value)) {
    for entry in json["manifests"].as_array().unwrap() {
        let document = memory.manifest_json(entry["digest"].as_str().unwrap());
        if document.get("manifests").is_some() {
            walk(memory, &document, each);
        } else {
            each(entry, &document);
        }
    }
}

/// Digests of images, and digests that attestations name, in the index and inside.
fn named(memory: &Memory) -> (Vec<String>, Vec<(String, String)>) {
    let (mut images, mut links) = (Vec::new(), Vec::new());
    walk(memory, &memory.root_json(), &mut |entry, document| {
        match entry["annotations"]["vnd.docker.reference.digest"].as_str() {
            Some(named) => links.push((
                named.to_owned(),
                document["subject"]["digest"].as_str().unwrap().to_owned(),
            )),
            None => images.push(entry["digest"].as_str().unwrap().to_owned()),
        }
    });
    (images, links)
}

fn assert_linked(memory: &Memory) {
    let (images, links) = named(memory);
    assert_eq!((images.len(), links.len()), (2, 3));
    for (listed, inside) in links {
        assert_eq!(listed, inside);
        assert!(images.contains(&listed), "{listed} is no image any more");
    }
}

#[test]
fn every_operation_goes_through_all_of_them_and_attestations_follow() {
    let (ann, bob) = (Person::new(), Person::new());
    let plain = nested();
    let encrypted = ann.encrypts(&plain);
    assert_linked(&encrypted);
    assert_ne!(named(&plain).0, named(&encrypted).0);
    assert!(!encrypted.holds_bytes(b"content of"));

    let report = inspect(&encrypted, &[&ann.opener()]).unwrap();
    assert_eq!((report.images.len(), report.readable_documents), (2, 3));

    let opener = ann.opener();
    let options = VerifyOptions {
        openers: vec![&opener],
        ..VerifyOptions::default()
    };
    let verified = verify(&encrypted, &options, &Silent).unwrap();
    let layers = verified.images.iter().flat_map(|image| &image.layers);
    let extents: Vec<Extent> = layers.map(|layer| layer.verified).collect();
    assert_eq!(extents, [Extent::Bound; 4]);

    let rekeyed = Memory::default();
    let options = RekeyOptions {
        openers: vec![&opener],
        ..RekeyOptions::default()
    };
    rekey(&encrypted, &rekeyed, &bob.recipients(), &options, &Silent).unwrap();
    assert_linked(&rekeyed);

    let rebound = Memory::default();
    let done = rebind(
        &rekeyed,
        &rebound,
        &[&bob.opener()],
        &ann.recipients(),
        &Silent,
    );
    assert_eq!(done.unwrap().layers, 4);
    assert_linked(&rebound);

    let recipients = bob.recipients();
    let edit = RecipientsEdit {
        add: Some(&recipients),
        openers: vec![&opener],
        ..RecipientsEdit::default()
    };
    let edited = edit_recipients(&rebound, &rebound, &edit, Plan::Do).unwrap();
    assert_eq!((edited.layers, edited.added), (4, 4));
    assert_linked(&rebound);

    for (person, image) in [
        (&ann, &encrypted),
        (&bob, &rekeyed),
        (&ann, &rebound),
        (&bob, &rebound),
    ] {
        let (result, back) = person.decrypts(image);
        assert_eq!(result.unwrap().layers, 4);
        assert_eq!(
            back.root_json(),
            plain.root_json(),
            "byte for byte as it was, attestations and unknown members too"
        );
    }
}

#[test]
fn a_platform_is_found_inside_indexes_and_in_configurations() {
    let ann = Person::new();
    let options = |platform: &str| EncryptOptions {
        platforms: vec![platform.parse().unwrap()],
        ..EncryptOptions::default()
    };
    // `inner` is listed for no platform; its configuration says linux/amd64.
    for (platform, attestations) in [("linux/amd64", 1), ("linux/arm64", 1)] {
        let target = Memory::default();
        let done = encrypt_with(
            &nested(),
            &target,
            &ann.recipients(),
            &options(platform),
            &Silent,
        );
        assert_eq!(done.unwrap().layers, 2, "{platform}");
        let (images, links) = named(&target);
        assert_eq!((images.len(), links.len()), (1, attestations), "{platform}");
        assert_eq!(links[0].0, images[0]);
        assert!(!target.holds_bytes(b"content of"));
    }
    let target = Memory::default();
    let none = encrypt_with(
        &nested(),
        &target,
        &ann.recipients(),
        &options("linux/s390x"),
        &Silent,
    );
    assert!(matches!(none, Err(ImageError::NoSuchPlatform { .. })));
    assert_eq!((target.is_published(), target.written()), (false, (0, 0)));
}

fn refused(memory: &Memory) -> ImageError {
    let ann = Person::new();
    let target = Memory::default();
    let error = encrypt(memory, &target, &ann.recipients(), &Silent).unwrap_err();
    assert_eq!((target.is_published(), target.written()), (false, (0, 0)));
    let seen = inspect(memory, &[]).unwrap_err();
    assert_eq!(seen.to_string(), error.to_string());
    error
}

#[test]
fn depth_and_numbers_are_bounded() {
    let memory = Memory::default();
    let mut deepest = entry(&memory, &image(&memory, "deep"));
    for _ in 0..9 {
        deepest = entry(&memory, &index(&[deepest]));
    }
    memory.set_root(index(&[deepest]));
    assert!(matches!(refused(&memory), ImageError::TooDeep));

    // Sixteen times the same index of sixteen times the same index: 4096 images from three documents.
    let memory = Memory::default();
    let mut wide = entry(&memory, &image(&memory, "wide"));
    for _ in 0..3 {
        wide = entry(&memory, &index(&vec![wide; 16]));
    }
    memory.set_root(index(&[wide]));
    assert!(matches!(refused(&memory), ImageError::TooManyPlatforms));

    let ann = Person::new();
    let options = EncryptOptions {
        platforms: vec!["linux/amd64".parse().unwrap()],
        ..EncryptOptions::default()
    };
    let target = Memory::default();
    let error = encrypt_with(&memory, &target, &ann.recipients(), &options, &Silent).unwrap_err();
    assert!(matches!(error, ImageError::TooManyPlatforms), "{error}");
}

#[test]
fn manifests_are_not_read_without_end() {
    let memory = Memory::default();
    let mut large: Value = serde_json::from_slice(&image(&memory, "large").bytes).unwrap();
    large["x-padding"] = "x".repeat(3 * 1024 * 1024).into();
    let entry = entry(&memory, &raw(media::OCI_MANIFEST, &large));
    memory.set_root(index(&vec![entry; 30]));
    assert!(matches!(refused(&memory), ImageError::TooMuchText));
}

#[test]
fn an_index_that_lists_itself_is_not_the_one_that_is_listed() {
    // No digest can stand inside its own document; a registry that pretends so gives other bytes than were asked for.
    let memory = Memory::default();
    let inner = index(&[entry(&memory, &image(&memory, "a"))]);
    let listed = entry(&memory, &inner);
    let outer = index(std::slice::from_ref(&listed));
    memory.set_root(outer.clone());
    memory.replace_manifest(listed["digest"].as_str().unwrap(), outer);
    let error = refused(&memory);
    assert_eq!(error.kind(), Kind::VerificationFailed, "{error}");
}

#[test]
fn artifacts_beside_images_are_encrypted_and_come_back() {
    let ann = Person::new();
    let memory = Memory::default();
    let config = memory.put_blob(b"{}");
    let chart = memory.put_blob(&content("chart", 5000));
    let artifact = raw(
        media::OCI_MANIFEST,
        &json!({
            "schemaVersion": 2, "mediaType": media::OCI_MANIFEST, "artifactType": "application/vnd.example.chart",
            "config": {"mediaType": "application/vnd.oci.empty.v1+json", "digest": config.digest, "size": config.size, "data": "e30="},
            "layers": [{"mediaType": "application/vnd.oci.image.layer.v1.tar", "digest": chart.digest, "size": chart.size}],
        }),
    );
    let image = entry(&memory, &image(&memory, "a"));
    let artifact = entry(&memory, &artifact);
    memory.set_root(index(&[artifact, image]));
    let encrypted = ann.encrypts(&memory);
    assert!(!encrypted.holds_bytes(b"content of"));
    let target = Memory::default();
    let opener = ann.opener();
    let done = decrypt(
        &encrypted,
        &target,
        &[&opener],
        DecryptOptions::default(),
        &Silent,
    );
    assert_eq!(done.unwrap().layers, 3);
    assert_eq!(target.root_json(), memory.root_json());
}
