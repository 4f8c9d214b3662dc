//! What one reader takes for one thing and another reader for another: platforms under other names, images that are
//! listed as documents, and recipients who are named in one layer only.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use estate::Digest;
use images::{
    ImageError, Plan, RawManifest, RecipientsEdit, RecipientsEdited, Silent, VerifyOptions,
    edit_recipients, encrypt, media, verify,
};
use serde_json::{Value, json};

use crate::build::{GZIP, Person, TAR, content, image, manifest, raw};
use crate::memory::Memory;

fn put(memory: &Memory, name: &str, architecture: &str) -> RawManifest {
    let mut json = manifest(memory, name, &[(GZIP, content(name, 900))]);
    let config = json["config"]["digest"].as_str().unwrap().to_owned();
    let mut config: Value = serde_json::from_slice(&memory.get_blob(&config)).unwrap();
    config["architecture"] = architecture.into();
    let config = memory.put_blob(&serde_json::to_vec(&config).unwrap());
    json["config"]["digest"] = config.digest.to_string().into();
    json["config"]["size"] = config.size.into();
    let raw = raw(media::OCI_MANIFEST, &json);
    memory.put_manifest(raw.clone());
    raw
}

fn entry(raw: &RawManifest) -> Value {
    json!({"mediaType": raw.media_type, "digest": raw.id().digest, "size": raw.id().size})
}

fn set_index(memory: &Memory, entries: &[Value]) {
    let json = json!({"schemaVersion": 2, "mediaType": media::OCI_INDEX, "manifests": entries});
    memory.set_root(raw(media::OCI_INDEX, &json));
}

/// A good image for one platform, and another whose entry says this of its platform.
fn beside(listed: &str, platform: &Value) -> (Memory, Digest) {
    let memory = Memory::default();
    let good = put(&memory, "good", "amd64");
    let other = put(&memory, "other", "s390x");
    let mut good = entry(&good);
    let (os, architecture) = listed.split_once('/').unwrap();
    let (architecture, variant) = architecture.split_once('/').unwrap_or((architecture, ""));
    good["platform"] = json!({"os": os, "architecture": architecture});
    if !variant.is_empty() {
        good["platform"]["variant"] = variant.into();
    }
    let digest = other.id().digest;
    let mut other = entry(&other);
    other["platform"] = platform.clone();
    set_index(&memory, &[other, good]);
    (memory, digest)
}

#[test]
fn a_platform_by_another_name_is_looked_at_too() {
    for (wanted, platform) in [
        (
            "linux/amd64",
            json!({"os": "linux", "architecture": "x86_64"}),
        ),
        (
            "linux/amd64",
            json!({"os": "Linux", "architecture": "AMD64"}),
        ),
        ("linux/amd64", json!({"architecture": "amd64"})),
        ("linux/amd64", json!({"os": "", "architecture": "amd64"})),
        (
            "linux/arm64",
            json!({"os": "linux", "architecture": "aarch64"}),
        ),
        (
            "linux/arm64/v8",
            json!({"os": "linux", "architecture": "arm64"}),
        ),
        (
            "linux/arm/v7",
            json!({"os": "linux", "architecture": "arm"}),
        ),
        (
            "linux/arm/v7",
            json!({"os": "linux", "architecture": "armhf"}),
        ),
    ] {
        let (memory, other) = beside(wanted, &platform);
        let options = VerifyOptions {
            platforms: vec![wanted.parse().unwrap()],
            ..VerifyOptions::default()
        };
        let seen = match verify(&memory, &options, &Silent) {
            Ok(verification) => verification
                .images
                .iter()
                .any(|image| image.manifest == other),
            Err(_) => true,
        };
        assert!(seen, "{platform} is run where {wanted} is wanted");
    }
}

/// An image whose layers call themselves documents, listed as one, for a platform that is not told: some runtimes run
/// it where they find no better.
fn disguised(memory: &Memory) -> Value {
    let mut json = manifest(memory, "hidden", &[(TAR, content("hidden", 900))]);
    json["layers"][0]["mediaType"] = "application/vnd.in-toto+json".into();
    let raw = raw(media::OCI_MANIFEST, &json);
    memory.put_manifest(raw.clone());
    let mut entry = entry(&raw);
    entry["annotations"] = json!({"vnd.docker.reference.type": "attestation-manifest"});
    entry
}

#[test]
fn what_may_be_run_is_no_document_beside_an_image() {
    for platform in [
        Value::Null,
        json!({"architecture": "arm64"}),
        json!({"os": "unknown", "architecture": "unknown", "variant": "v1"}),
    ] {
        let memory = Memory::default();
        let mut good = entry(&put(&memory, "good", "amd64"));
        good["platform"] = json!({"os": "linux", "architecture": "amd64"});
        let mut hidden = disguised(&memory);
        if !platform.is_null() {
            hidden["platform"] = platform.clone();
        }
        set_index(&memory, &[good, hidden]);
        let verified = verify(&memory, &VerifyOptions::default(), &Silent);
        assert!(
            !verified.is_ok_and(|found| found.readable_documents > 0),
            "{platform}"
        );
        let target = Memory::default();
        let encrypted = encrypt(&memory, &target, &Person::new().recipients(), &Silent);
        assert!(
            encrypted.is_err() && !target.is_published(),
            "{platform} stays readable"
        );
    }
}

/// Names the recipient of the JWE packet of one layer.
fn name_recipient(memory: &Memory, layer: usize, id: &str) {
    memory.edit(|json| {
        let list =
            &mut json["layers"][layer]["annotations"]["org.opencontainers.image.enc.keys.jwe"];
        let packets = list.as_str().unwrap().split(',');
        let packets: Vec<String> = packets
            .map(|packet| {
                let mut packet: Value =
                    serde_json::from_slice(&STANDARD.decode(packet).unwrap()).unwrap();
                match packet.get_mut("recipients") {
                    Some(recipients) => recipients[0]["header"]["kid"] = id.into(),
                    None => {
                        let mut header = packet.get("header").cloned().unwrap_or(json!({}));
                        header["kid"] = id.into();
                        packet["header"] = header;
                    }
                }
                STANDARD.encode(serde_json::to_vec(&packet).unwrap())
            })
            .collect();
        *list = packets.join(",").into();
    });
}

fn remove(memory: &Memory, selector: &str) -> Result<RecipientsEdited, ImageError> {
    let edit = RecipientsEdit {
        remove: vec![selector.parse().unwrap()],
        ..RecipientsEdit::default()
    };
    edit_recipients(memory, memory, &edit, Plan::Do)
}

#[test]
fn a_recipient_who_may_stay_unnamed_in_another_layer_is_not_removed_in_silence() {
    let (ann, bob) = (Person::new(), Person::new());
    let encrypted = ann.encrypts(&image("a"));
    name_recipient(&encrypted, 0, "ann");
    let (recipients, opener) = (bob.recipients(), ann.opener());
    let add = RecipientsEdit {
        add: Some(&recipients),
        openers: vec![&opener],
        ..RecipientsEdit::default()
    };
    edit_recipients(&encrypted, &encrypted, &add, Plan::Do).unwrap();
    let before = encrypted.root_json();
    let refused = remove(&encrypted, "jwe:ann").unwrap_err();
    assert!(
        matches!(refused, ImageError::UnnamedRecipients { .. }),
        "{refused}"
    );
    assert_eq!(encrypted.root_json(), before);
}
