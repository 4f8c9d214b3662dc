//! cosign's signatures, in both forms.

use super::documents::two_platforms;
use super::*;

/// What cosign puts under a tag.
fn cosign(memory: &Memory, signer: &Signer, over: Digest, claims: Digest) {
    let payload = json!({
        "critical": {
            "identity": {"docker-reference": "registry.example/app"},
            "image": {"docker-manifest-digest": claims},
            "type": "cosign container image signature",
        },
        "optional": null,
    })
    .to_string();
    let signature = STANDARD.encode(signer.0.sign(payload.as_bytes()).unwrap());
    let layer = memory.put_blob(payload.as_bytes());
    let config = memory.put_blob(b"config");
    let json = json!({
        "schemaVersion": 2, "mediaType": media::OCI_MANIFEST,
        "config": {"mediaType": CONFIG, "digest": config.digest, "size": config.size},
        "layers": [{
            "mediaType": "application/vnd.dev.cosign.simplesigning.v1+json",
            "digest": layer.digest, "size": layer.size,
            "annotations": {"dev.cosignproject.cosign/signature": signature},
        }],
    });
    let tag = format!("sha256-{}.sig", over.to_hex());
    memory.tag(&tag, raw(media::OCI_MANIFEST, &json));
}

#[test]
fn the_signatures_of_all_documents_are_bounded_together() {
    let signer = Signer::new();
    let memory = image("a");
    let subject = root_id(&memory);
    for number in 0..64_u32 {
        let part = memory.put_blob(&number.to_le_bytes());
        let part = json!({"mediaType": BUNDLE, "digest": part.digest, "size": part.size});
        let json = json!({
            "schemaVersion": 2, "mediaType": media::OCI_MANIFEST, "artifactType": BUNDLE,
            "config": {"mediaType": "a/b", "digest": subject.digest, "size": 2},
            "layers": vec![part; 64],
            "subject": {"mediaType": media::OCI_MANIFEST, "digest": subject.digest, "size": subject.size},
        });
        let raw = raw(media::OCI_MANIFEST, &json);
        memory.list(About::Manifest(subject.digest), &raw, BUNDLE);
    }
    let refused = refusals(&memory, &signer.wanted());
    assert_eq!(refused.len(), 65);
    let more = |refused: &Refused| matches!(refused.why, Refusal::TooMany { more: 4032 });
    assert!(refused.iter().any(more));
}

#[test]
fn a_cosign_signature_of_the_manifest_counts_and_of_another_does_not() {
    let signer = Signer::new();
    let memory = image("a");
    let digest = root_id(&memory).digest;
    cosign(&memory, &signer, digest, Digest::of("other"));
    assert!(matches!(
        only(&memory, &signer.wanted()),
        Refusal::OtherManifest
    ));
    cosign(&memory, &signer, digest, digest);
    let found = check(&memory, &signer.wanted()).unwrap();
    assert_eq!(found[0].signed, Signature::Cosign { over: digest });
    assert!(matches!(
        only(&memory, &Signer::new().wanted()),
        Refusal::OtherSigner
    ));
    // An old image could be replayed with it: cosign says no version.
    let mut wanted = signer.wanted();
    wanted.floor = Some(1);
    assert!(matches!(only(&memory, &wanted), Refusal::NoVersion));
    // It does not survive encryption: the manifest is another.
    assert!(refusals(&Person::new().encrypts(&memory), &signer.wanted()).is_empty());
}

#[test]
fn a_cosign_signature_of_an_index_covers_its_images() {
    let signer = Signer::new();
    let memory = Memory::default();
    let images = two_platforms(&memory);
    let index = root_id(&memory).digest;
    cosign(
        &memory,
        &signer,
        images[0].id().digest,
        images[0].id().digest,
    );
    assert!(refusals(&memory, &signer.wanted()).is_empty());
    cosign(&memory, &signer, index, index);
    let found = check(&memory, &signer.wanted()).unwrap();
    assert_eq!(found.len(), 2);
    let over: Vec<&Signature> = found.iter().map(|image| &image.signed).collect();
    assert!(over.contains(&&Signature::Cosign { over: index }));
}

#[test]
fn a_cosign_bundle_among_the_referrers_counts() {
    let signer = Signer::new();
    let memory = image("a");
    let subject = root_id(&memory);
    let statement = json!({
        "_type": "https://in-toto.io/Statement/v1",
        "subject": [{"digest": {"sha256": subject.digest.to_hex()}}],
        "predicateType": "https://sigstore.dev/cosign/sign/v1",
        "predicate": {},
    });
    let envelope = Envelope::sign(
        dsse::PAYLOAD_TYPE,
        statement.to_string().as_bytes(),
        &signer.0,
    );
    let bundle = json!({
        "mediaType": BUNDLE,
        "verificationMaterial": {"publicKey": {"hint": "x"}},
        "dsseEnvelope": envelope.unwrap(),
    });
    let raw = document(
        &memory,
        [BUNDLE, BUNDLE],
        bundle.to_string().as_bytes(),
        Some(subject),
    );
    memory.list(About::Manifest(subject.digest), &raw, BUNDLE);
    let found = check(&memory, &signer.wanted()).unwrap();
    assert_eq!(
        found[0].signed,
        Signature::Cosign {
            over: subject.digest
        }
    );
}
