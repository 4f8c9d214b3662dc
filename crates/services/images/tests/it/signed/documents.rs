//! Documents beside images in numbers, sizes and places that nobody should send; and indexes, of which every image must be covered.

use super::*;

#[test]
fn a_thousand_documents_are_bounded_and_told() {
    let (signer, stranger) = (Signer::new(), Signer::new());
    let memory = image("a");
    let subject = root_id(&memory);
    for number in 1..=1000 {
        let envelope = stranger
            .envelope(&memory, |statement| statement.version = number)
            .to_string();
        let raw = document(
            &memory,
            [STATEMENT, ENVELOPE],
            envelope.as_bytes(),
            Some(subject),
        );
        memory.list(About::Manifest(subject.digest), &raw, STATEMENT);
    }
    let refused = refusals(&memory, &signer.wanted());
    assert_eq!(refused.len(), 65);
    assert!(
        refused
            .iter()
            .any(|refused| matches!(refused.why, Refusal::TooMany { more: 936 }))
    );
    // The other way to find one is not flooded.
    signer.signs(&memory, 3);
    assert_eq!(version(&check(&memory, &signer.wanted()).unwrap()), 3);
    let carried = Person::new().encrypts(&memory);
    assert!(carried.documents().len() <= 2 * 64);
    assert_eq!(version(&check(&carried, &signer.wanted()).unwrap()), 3);
}

#[test]
fn oversized_misnamed_and_misplaced_documents_are_refused() {
    let signer = Signer::new();
    let good = |memory: &Memory| signer.envelope(memory, |_| {}).to_string();
    let list = |memory: &Memory, raw: &RawManifest, kind: &str| {
        memory.list(About::Manifest(root_id(memory).digest), raw, kind);
    };
    let memory = image("a");
    let long = format!("{}{}", good(&memory), " ".repeat(300 * 1024));
    put(&memory, &long);
    assert!(matches!(
        only(&memory, &signer.wanted()),
        Refusal::Unusable(_)
    ));
    let memory = image("a");
    let subject = root_id(&memory);
    let mut huge: Value = serde_json::from_slice(
        &document(
            &memory,
            [STATEMENT, ENVELOPE],
            good(&memory).as_bytes(),
            Some(subject),
        )
        .bytes,
    )
    .unwrap();
    huge["annotations"] = json!({"x": "y".repeat(300 * 1024)});
    list(&memory, &raw(media::OCI_MANIFEST, &huge), STATEMENT);
    assert!(matches!(
        only(&memory, &signer.wanted()),
        Refusal::Unusable(_)
    ));
    // Listed under this image, and says that it speaks of another.
    for subject in [Some(BlobId::of(b"other")), None] {
        let memory = image("a");
        let raw = document(
            &memory,
            [STATEMENT, ENVELOPE],
            good(&memory).as_bytes(),
            subject,
        );
        list(&memory, &raw, STATEMENT);
        assert!(
            matches!(only(&memory, &signer.wanted()), Refusal::Unusable(_)),
            "{subject:?}"
        );
    }
    // Listed as a statement, and is something else.
    let memory = image("a");
    let raw = document(
        &memory,
        ["a/b", ENVELOPE],
        good(&memory).as_bytes(),
        Some(root_id(&memory)),
    );
    list(&memory, &raw, STATEMENT);
    assert!(matches!(
        only(&memory, &signer.wanted()),
        Refusal::OtherType
    ));
    let memory = image("a");
    let raw = document(
        &memory,
        [STATEMENT, "a/b"],
        good(&memory).as_bytes(),
        Some(root_id(&memory)),
    );
    list(&memory, &raw, STATEMENT);
    assert!(matches!(
        only(&memory, &signer.wanted()),
        Refusal::OtherType
    ));
}

/// An index of two platforms.
pub(super) fn two_platforms(memory: &Memory) -> [RawManifest; 2] {
    let images = ["one", "two"].map(|name| {
        let json = manifest(memory, name, &[(GZIP, content(name, 900))]);
        let raw = raw(media::OCI_MANIFEST, &json);
        memory.put_manifest(raw.clone());
        raw
    });
    let entry = |raw: &RawManifest, architecture: &str| {
        let id = raw.id();
        json!({"mediaType": media::OCI_MANIFEST, "digest": id.digest, "size": id.size,
            "platform": {"os": "linux", "architecture": architecture}})
    };
    memory.set_root(raw(
        media::OCI_INDEX,
        &json!({
            "schemaVersion": 2, "mediaType": media::OCI_INDEX,
            "manifests": [entry(&images[0], "amd64"), entry(&images[1], "arm64")],
        }),
    ));
    images
}

#[test]
fn every_image_of_an_index_must_be_covered() {
    let (signer, ann) = (Signer::new(), Person::new());
    let memory = Memory::default();
    let images = two_platforms(&memory);
    signer.signs(&memory, 3);
    assert_eq!(check(&memory, &signer.wanted()).unwrap().len(), 2);
    let encrypted = ann.encrypts(&memory);
    assert_eq!(check(&encrypted, &signer.wanted()).unwrap().len(), 2);
    let second = serde_json::from_slice::<Value>(&images[1].bytes).unwrap();
    let (config, digest) = (config_of(&second), images[1].id().digest);
    memory.forget_documents(|about| {
        *about == About::Config(config) || *about == About::Manifest(digest)
    });
    assert!(refusals(&memory, &signer.wanted()).is_empty());
    let verification = verify(
        &memory,
        &VerifyOptions {
            platforms: vec!["linux/amd64".parse().unwrap()],
            ..VerifyOptions::default()
        },
        &Silent,
    )
    .unwrap();
    assert_eq!(
        verify_signed(&memory, &verification, &signer.wanted())
            .unwrap()
            .len(),
        1
    );
}
