//! Statements and signatures of images: which count, which survive, and what an attacker gets.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use dsse::{Envelope, SigningKey};
use estate::{Digest, PromotionPredicate, PromotionStatement, Timestamp};
use images::{
    About, BlobId, EncryptOptions, ImageError, ImageStatement, Kind, NamedKey, Plan, RawManifest,
    RecipientsEdit, Refusal, Refused, RekeyOptions, Selector, Signature, SignedBy, SignedError,
    SignedImage, Signing, Silent, VerifyOptions, edit_recipients, encrypt_with, media, rekey, sign,
    verify, verify_signed,
};
use serde_json::{Value, json};

use crate::build::{CONFIG, GZIP, Person, TAR, content, image, manifest, raw};
use crate::memory::Memory;

const STATEMENT: &str = "application/vnd.bailiwick.image-statement.v1";
const ENVELOPE: &str = "application/vnd.dsse.envelope.v1+json";
const BUNDLE: &str = "application/vnd.dev.sigstore.bundle.v0.3+json";

fn at(text: &str) -> Timestamp {
    text.parse().unwrap()
}

fn now() -> Timestamp {
    at("2026-06-01T00:00:00Z")
}

struct Signer(SigningKey);

impl Signer {
    fn new() -> Self {
        Self(SigningKey::generate_p256().unwrap())
    }

    fn signing(&self, version: u64) -> Signing<'_> {
        Signing {
            key: &self.0,
            name: None,
            version,
            not_before: at("2026-01-01T00:00:00Z"),
            expires: None,
        }
    }

    fn named(&self, name: &str) -> NamedKey {
        NamedKey {
            name: name.to_owned(),
            key: self.0.verifying_key(),
        }
    }

    fn wanted(&self) -> SignedBy {
        SignedBy {
            keys: vec![self.named("release")],
            floor: None,
            now: now(),
        }
    }

    /// Signs the images in a place.
    fn signs(&self, memory: &Memory, version: u64) {
        let _ = sign(memory, memory, &self.signing(version)).unwrap();
    }

    fn envelope(&self, memory: &Memory, edit: impl FnOnce(&mut ImageStatement)) -> Envelope {
        let (config, diff_ids) = identity(memory);
        let mut statement = ImageStatement {
            name: None,
            config,
            diff_ids,
            version: 5,
            not_before: at("2026-01-01T00:00:00Z"),
            expires: None,
        };
        edit(&mut statement);
        statement.sign(&self.0).unwrap()
    }
}

fn config_of(json: &Value) -> Digest {
    json["config"]["digest"].as_str().unwrap().parse().unwrap()
}

fn identity(memory: &Memory) -> (Digest, Vec<Digest>) {
    let config = config_of(&memory.root_json());
    let bytes = memory.get_blob(&config.to_string());
    let json: Value = serde_json::from_slice(&bytes).unwrap();
    let diff_ids = serde_json::from_value(json["rootfs"]["diff_ids"].clone()).unwrap();
    (config, diff_ids)
}

fn check(memory: &Memory, wanted: &SignedBy) -> Result<Vec<SignedImage>, SignedError> {
    let verification = verify(memory, &VerifyOptions::default(), &Silent).unwrap();
    verify_signed(memory, &verification, wanted)
}

fn refusals(memory: &Memory, wanted: &SignedBy) -> Vec<Refused> {
    let error = check(memory, wanted).unwrap_err();
    assert_eq!(error.kind(), Kind::VerificationFailed, "{error}");
    match error {
        SignedError::NotSigned { refused, .. } => refused,
        other => panic!("{other}"),
    }
}

fn only(memory: &Memory, wanted: &SignedBy) -> Refusal {
    let mut refused = refusals(memory, wanted);
    assert_eq!(refused.len(), 1, "{refused:?}");
    refused.pop().unwrap().why
}

/// A document with one layer of these bytes.
fn document(
    memory: &Memory,
    kinds: [&str; 2],
    layer: &[u8],
    subject: Option<BlobId>,
) -> RawManifest {
    let (empty, layer) = (memory.put_blob(b"{}"), memory.put_blob(layer));
    let mut json = json!({
        "schemaVersion": 2, "mediaType": media::OCI_MANIFEST, "artifactType": kinds[0],
        "config": {"mediaType": "application/vnd.oci.empty.v1+json", "digest": empty.digest, "size": 2},
        "layers": [{"mediaType": kinds[1], "digest": layer.digest, "size": layer.size}],
    });
    if let Some(subject) = subject {
        json["subject"] = json!({"mediaType": media::OCI_MANIFEST, "digest": subject.digest, "size": subject.size});
    }
    raw(media::OCI_MANIFEST, &json)
}

fn root_id(memory: &Memory) -> BlobId {
    use images::ImageSource as _;
    memory.root().unwrap().id()
}

/// Puts a statement beside the image as it lies there, by its manifest.
fn put(memory: &Memory, envelope: &str) {
    let subject = root_id(memory);
    let raw = document(
        memory,
        [STATEMENT, ENVELOPE],
        envelope.as_bytes(),
        Some(subject),
    );
    memory.list(About::Manifest(subject.digest), &raw, STATEMENT);
}

fn version(found: &[SignedImage]) -> u64 {
    match found {
        [
            SignedImage {
                signed: Signature::Statement { version, .. },
                ..
            },
        ] => *version,
        other => panic!("{other:?}"),
    }
}

#[test]
fn a_signed_image_is_signed_by_any_of_the_named_keys() {
    let (ann, bob) = (Signer::new(), Signer::new());
    let memory = image("a");
    bob.signs(&memory, 3);
    let wanted = SignedBy {
        keys: vec![ann.named("ann"), bob.named("bob")],
        floor: Some(3),
        now: now(),
    };
    let found = check(&memory, &wanted).unwrap();
    assert_eq!(found[0].key, "bob");
    assert_eq!(version(&found), 3);
    assert_eq!(found[0].config, identity(&memory).0);
    assert!(matches!(only(&memory, &ann.wanted()), Refusal::OtherKey(_)));
}

#[test]
fn an_image_without_a_statement_is_not_signed() {
    assert!(refusals(&image("a"), &Signer::new().wanted()).is_empty());
}

#[test]
fn statements_survive_encryption_recipients_rekey_and_decryption() {
    let (signer, ann, bob) = (Signer::new(), Person::new(), Person::new());
    let plain = image("a");
    signer.signs(&plain, 3);
    let encrypted = ann.encrypts(&plain);
    assert_eq!(version(&check(&encrypted, &signer.wanted()).unwrap()), 3);
    let edited = encrypted.clone();
    let (recipients, opener) = (bob.recipients(), ann.opener());
    let edit = RecipientsEdit {
        add: Some(&recipients),
        openers: vec![&opener],
        ..RecipientsEdit::default()
    };
    let _ = edit_recipients(&edited, &edited, &edit, Plan::Do).unwrap();
    assert_ne!(root_id(&edited), root_id(&encrypted));
    assert_eq!(version(&check(&edited, &signer.wanted()).unwrap()), 3);
    let rekeyed = Memory::default();
    let options = RekeyOptions {
        openers: vec![&opener],
        ..RekeyOptions::default()
    };
    let _ = rekey(&edited, &rekeyed, &bob.recipients(), &options, &Silent).unwrap();
    assert_eq!(version(&check(&rekeyed, &signer.wanted()).unwrap()), 3);
    let (decrypted, again) = bob.decrypts(&rekeyed);
    let _ = decrypted.unwrap();
    assert_eq!(version(&check(&again, &signer.wanted()).unwrap()), 3);
    // Each way to find it is enough alone.
    for gone in [
        (|about| matches!(about, About::Config(_))) as fn(&About) -> bool,
        |about| matches!(about, About::Manifest(_)),
    ] {
        let half = rekeyed.clone();
        half.forget_documents(gone);
        assert_eq!(version(&check(&half, &signer.wanted()).unwrap()), 3);
    }
    rekeyed.forget_documents(|_| true);
    assert!(refusals(&rekeyed, &signer.wanted()).is_empty());
}

#[test]
fn a_statement_is_found_after_another_tool_changed_the_manifest() {
    let signer = Signer::new();
    let memory = image("a");
    signer.signs(&memory, 3);
    memory.edit(|json| json["annotations"]["z"] = "other".into());
    assert_eq!(version(&check(&memory, &signer.wanted()).unwrap()), 3);
}

#[test]
fn a_removed_recipient_leaves_the_statement() {
    let (signer, ann, bob) = (Signer::new(), Person::new(), Person::new());
    let memory = image("a");
    signer.signs(&memory, 3);
    let encrypted = ann.encrypts(&memory);
    let (recipients, opener) = (bob.recipients(), ann.opener());
    let remove: Vec<Selector> = vec!["jwe".parse().unwrap()];
    let edit = RecipientsEdit {
        remove,
        add: Some(&recipients),
        openers: vec![&opener],
    };
    let _ = edit_recipients(&encrypted, &encrypted, &edit, Plan::Do).unwrap();
    assert!(ann.decrypts(&encrypted).0.is_err());
    assert_eq!(version(&check(&encrypted, &signer.wanted()).unwrap()), 3);
}

#[test]
fn nothing_is_published_when_the_statement_can_not_be() {
    let (signer, ann) = (Signer::new(), Person::new());
    let signing = signer.signing(3);
    let options = EncryptOptions {
        signing: Some(&signing),
        ..EncryptOptions::default()
    };
    let target = Memory::default();
    target.keep_no_documents();
    let refused = encrypt_with(&image("a"), &target, &ann.recipients(), &options, &Silent);
    assert!(matches!(refused, Err(ImageError::Target(_))));
    assert!(!target.is_published());
    let bad = Signing {
        version: 0,
        ..signer.signing(0)
    };
    let options = EncryptOptions {
        signing: Some(&bad),
        ..EncryptOptions::default()
    };
    let target = Memory::default();
    let refused = encrypt_with(&image("a"), &target, &ann.recipients(), &options, &Silent);
    assert!(matches!(refused, Err(ImageError::Statement { .. })));
    assert!(!target.is_published());
    let good = Memory::default();
    let signing = signer.signing(4);
    let options = EncryptOptions {
        signing: Some(&signing),
        ..EncryptOptions::default()
    };
    let _ = encrypt_with(&image("a"), &good, &ann.recipients(), &options, &Silent).unwrap();
    assert_eq!(version(&check(&good, &signer.wanted()).unwrap()), 4);
}

#[test]
fn what_describes_no_file_system_is_never_stated() {
    let signer = Signer::new();
    let memory = Memory::default();
    let config = memory.put_blob(b"{}");
    let layer = memory.put_blob(b"layer");
    memory.set_root(raw(
        media::OCI_MANIFEST,
        &json!({
            "schemaVersion": 2, "mediaType": media::OCI_MANIFEST,
            "config": {"mediaType": "application/vnd.oci.empty.v1+json", "digest": config.digest, "size": 2},
            "layers": [{"mediaType": TAR, "digest": layer.digest, "size": layer.size}],
        }),
    ));
    let refused = sign(&memory, &memory, &signer.signing(1));
    assert!(matches!(refused, Err(ImageError::NotStatable)));
    let statement = ImageStatement {
        name: None,
        config: config.digest,
        diff_ids: Vec::new(),
        version: 1,
        not_before: now(),
        expires: None,
    };
    put(&memory, &statement.sign(&signer.0).unwrap().to_string());
    assert!(matches!(
        only(&memory, &signer.wanted()),
        Refusal::NoFileSystem
    ));
}

#[test]
fn a_statement_of_another_image_is_refused() {
    let signer = Signer::new();
    let (memory, other) = (image("a"), image("b"));
    put(&memory, &signer.envelope(&other, |_| {}).to_string());
    assert!(matches!(
        only(&memory, &signer.wanted()),
        Refusal::OtherImage { .. }
    ));
    let memory = image("a");
    let (_, layers) = identity(&other);
    put(
        &memory,
        &signer
            .envelope(&memory, |statement| statement.diff_ids = layers)
            .to_string(),
    );
    assert!(matches!(
        only(&memory, &signer.wanted()),
        Refusal::OtherLayers
    ));
    let memory = image("a");
    put(
        &memory,
        &signer
            .envelope(&memory, |statement| statement.diff_ids.clear())
            .to_string(),
    );
    assert!(matches!(
        only(&memory, &signer.wanted()),
        Refusal::OtherLayers
    ));
}

#[test]
fn time_and_floor_decide() {
    let signer = Signer::new();
    let memory = image("a");
    let later = at("2026-06-01T00:00:00.001Z");
    put(
        &memory,
        &signer
            .envelope(&memory, |statement| statement.not_before = later)
            .to_string(),
    );
    assert!(matches!(
        only(&memory, &signer.wanted()),
        Refusal::NotYet { .. }
    ));
    let mut wanted = signer.wanted();
    wanted.now = later;
    assert_eq!(version(&check(&memory, &wanted).unwrap()), 5);
    let memory = image("a");
    put(
        &memory,
        &signer
            .envelope(&memory, |statement| statement.expires = Some(now()))
            .to_string(),
    );
    assert!(matches!(
        only(&memory, &signer.wanted()),
        Refusal::Expired { .. }
    ));
    let memory = image("a");
    put(&memory, &signer.envelope(&memory, |_| {}).to_string());
    let mut wanted = signer.wanted();
    wanted.floor = Some(6);
    let refused = only(&memory, &wanted);
    assert!(matches!(
        refused,
        Refusal::BelowFloor {
            version: 5,
            floor: 6
        }
    ));
    wanted.floor = Some(5);
    assert_eq!(version(&check(&memory, &wanted).unwrap()), 5);
}

#[test]
fn contradicting_statements_cancel_each_other() {
    let signer = Signer::new();
    let memory = image("a");
    put(&memory, &signer.envelope(&memory, |_| {}).to_string());
    let until = Some(at("2027-01-01T00:00:00Z"));
    put(
        &memory,
        &signer
            .envelope(&memory, |statement| statement.expires = until)
            .to_string(),
    );
    let refused = refusals(&memory, &signer.wanted());
    assert_eq!(refused.len(), 2);
    assert!(
        refused
            .iter()
            .all(|refused| matches!(refused.why, Refusal::Contradicts { version: 5 }))
    );
    // A later word settles it; and somebody else's has no part in it.
    put(
        &memory,
        &signer
            .envelope(&memory, |statement| statement.version = 6)
            .to_string(),
    );
    assert_eq!(version(&check(&memory, &signer.wanted()).unwrap()), 6);
    let memory = image("a");
    put(&memory, &signer.envelope(&memory, |_| {}).to_string());
    let stranger = Signer::new();
    put(
        &memory,
        &stranger
            .envelope(&memory, |statement| statement.expires = until)
            .to_string(),
    );
    assert_eq!(version(&check(&memory, &signer.wanted()).unwrap()), 5);
}

#[test]
fn a_promotion_is_no_image_statement() {
    let signer = Signer::new();
    let memory = image("a");
    let promotion = PromotionStatement {
        name: None,
        configs: [identity(&memory).0].into(),
        predicate: PromotionPredicate {
            trust_domain: "hospital.example".to_owned(),
            image_set: "medrec".parse().unwrap(),
            revision: 7,
            manifests: Vec::new(),
            encrypted: true,
            created: now(),
        },
    };
    put(&memory, &promotion.sign(&signer.0).unwrap().to_string());
    assert!(matches!(
        only(&memory, &signer.wanted()),
        Refusal::Statement(_)
    ));
}

#[test]
fn an_envelope_of_another_type_or_with_doubled_members_is_refused() {
    let signer = Signer::new();
    let memory = image("a");
    let good = signer.envelope(&memory, |_| {});
    let verified = good.verify(&[signer.0.verifying_key()]).unwrap();
    let payload = verified.payload(dsse::PAYLOAD_TYPE).unwrap();
    let confused = Envelope::sign("application/json", payload, &signer.0).unwrap();
    put(&memory, &confused.to_string());
    assert!(matches!(
        only(&memory, &signer.wanted()),
        Refusal::Statement(_)
    ));
    let memory = image("a");
    let doubled = good.to_string().replacen(
        "{\"payloadType\"",
        "{\"payloadType\":\"x\",\"payloadType\"",
        1,
    );
    put(&memory, &doubled);
    assert!(matches!(
        only(&memory, &signer.wanted()),
        Refusal::Envelope(_)
    ));
    let memory = image("a");
    let text = String::from_utf8(payload.to_vec()).unwrap();
    let doubled = text.replacen("\"version\":5", "\"version\":9,\"version\":5", 1);
    assert_ne!(doubled, text);
    let doubled = Envelope::sign(dsse::PAYLOAD_TYPE, doubled.as_bytes(), &signer.0).unwrap();
    put(&memory, &doubled.to_string());
    assert!(matches!(
        only(&memory, &signer.wanted()),
        Refusal::Statement(_)
    ));
}

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
fn two_platforms(memory: &Memory) -> [RawManifest; 2] {
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
