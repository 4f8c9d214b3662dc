//! Statements and signatures of images: which count, which survive, and what an attacker gets.

mod cosign;
mod documents;
mod refused;

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
