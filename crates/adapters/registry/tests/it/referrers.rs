//! Documents beside an image: in registries with and without a list of their own, in layouts and in archives.

use estate::Digest;
use images::{About, BlobId, RawManifest, Referrer, media};
use registry::{Options, Reference, open_source, open_target};
use serde_json::json;
use tempfile::TempDir;

use crate::fake::{Fake, Mood, quick};

const TYPE: &str = "application/vnd.example.statement";

fn document(name: &str, subject: Option<BlobId>) -> RawManifest {
    let mut json = json!({
        "schemaVersion": 2, "mediaType": media::OCI_MANIFEST, "artifactType": TYPE,
        "annotations": {"name": name},
    });
    if let Some(id) = subject {
        json["subject"] =
            json!({"mediaType": media::OCI_MANIFEST, "digest": id.digest, "size": id.size});
    }
    RawManifest {
        media_type: media::OCI_MANIFEST.to_owned(),
        bytes: json.to_string().into_bytes(),
    }
}

fn attach(place: &Reference, options: &Options, about: About, documents: &[&RawManifest]) {
    let target = open_target(place, options).unwrap();
    for document in documents {
        target.attach(about, document, TYPE).unwrap();
    }
}

fn listed(place: &Reference, options: &Options, about: About) -> Vec<Digest> {
    let source = open_source(place, options).unwrap();
    let found = source.referrers(about).unwrap();
    let mut digests: Vec<Digest> = found
        .into_iter()
        .map(|Referrer { id, artifact_type }| {
            assert_eq!(artifact_type.as_deref(), Some(TYPE));
            id.digest
        })
        .collect();
    digests.sort_unstable();
    digests
}

fn digests(documents: &[&RawManifest]) -> Vec<Digest> {
    let mut digests: Vec<Digest> = documents.iter().map(|raw| raw.id().digest).collect();
    digests.sort_unstable();
    digests
}

#[test]
fn a_registry_without_a_list_keeps_an_index_under_a_tag() {
    let fake = Fake::start(Mood::Honest);
    let place = fake.reference("team/app:1");
    let subject = fake.put_manifest("1", media::OCI_MANIFEST, b"{}");
    let about = About::Manifest(subject.digest);
    assert!(listed(&place, &quick(), about).is_empty());
    let (one, two) = (
        document("one", Some(subject)),
        document("two", Some(subject)),
    );
    attach(&place, &quick(), about, &[&one, &two, &one]);
    assert_eq!(listed(&place, &quick(), about), digests(&[&one, &two]));
    let tag = format!("sha256-{}", subject.digest.to_hex());
    let index = fake.inside(|inside| inside.manifests[&tag].clone());
    assert_eq!(index.0, media::OCI_INDEX);
    let json: serde_json::Value = serde_json::from_slice(&index.1).unwrap();
    assert_eq!(json["mediaType"], media::OCI_INDEX);
    assert_eq!(json["manifests"].as_array().unwrap().len(), 2);
    let config = About::Config(Digest::of("config"));
    attach(&place, &quick(), config, &[&one]);
    assert_eq!(listed(&place, &quick(), config), digests(&[&one]));
    assert!(fake.inside(|inside| inside.manifests.contains_key(&config.tag())));
}

#[test]
fn a_registry_with_a_list_needs_no_tag() {
    let fake = Fake::start(Mood::ListsReferrers);
    let place = fake.reference("team/app:1");
    let subject = fake.put_manifest("1", media::OCI_MANIFEST, b"{}");
    let about = About::Manifest(subject.digest);
    let one = document("one", Some(subject));
    attach(&place, &quick(), about, &[&one]);
    assert_eq!(listed(&place, &quick(), about), digests(&[&one]));
    assert!(!fake.inside(|inside| inside.manifests.contains_key(&about.tag())));
}

#[test]
fn an_entry_that_somebody_overwrites_is_written_again_beside_his() {
    let fake = Fake::start(Mood::Honest);
    let place = fake.reference("team/app:1");
    let subject = BlobId::of(b"subject");
    let about = About::Manifest(subject.digest);
    let (mine, his) = (
        document("mine", Some(subject)),
        document("his", Some(subject)),
    );
    let id = his.id();
    let list = json!({
        "schemaVersion": 2, "mediaType": media::OCI_INDEX,
        "manifests": [{"mediaType": media::OCI_MANIFEST, "digest": id.digest, "size": id.size, "artifactType": TYPE}],
    });
    fake.inside(|inside| inside.overwritten = Some((about.tag(), list.to_string())));
    attach(&place, &quick(), about, &[&mine]);
    assert_eq!(listed(&place, &quick(), about), digests(&[&mine, &his]));
}

#[test]
fn a_list_that_is_none_is_an_error_and_not_an_empty_one() {
    for (media_type, text) in [
        (media::OCI_INDEX, "{}"),
        (
            media::OCI_INDEX,
            r#"{"manifests":[{"mediaType":"a","digest":"sha256:x","size":1}]}"#,
        ),
        (media::OCI_MANIFEST, r#"{"manifests":[]}"#),
    ] {
        let fake = Fake::start(Mood::Honest);
        let place = fake.reference("team/app:1");
        let about = About::Manifest(Digest::of("subject"));
        let _ = fake.put_manifest(&about.tag(), media_type, text.as_bytes());
        let source = open_source(&place, &quick()).unwrap();
        assert!(source.referrers(about).is_err(), "{text}");
        let target = open_target(&place, &quick()).unwrap();
        assert!(
            target.attach(about, &document("x", None), TYPE).is_err(),
            "{text}"
        );
    }
    let fake = Fake::start(Mood::Status(503));
    let source = open_source(&fake.reference("team/app:1"), &quick()).unwrap();
    assert!(source.referrers(About::Manifest(Digest::of("x"))).is_err());
    assert!(source.tagged("sha256-x.sig").is_err());
}

#[test]
fn layouts_and_archives_list_documents_beside_the_image_that_has_the_name() {
    let folder = TempDir::new().unwrap();
    let path = folder.path().display();
    for place in [
        format!("oci:{path}/layout:a"),
        format!("oci:{path}/nameless"),
        format!("oci-archive:{path}/archive.tar:a"),
    ] {
        let place: Reference = place.parse().unwrap();
        let options = Options::default();
        let root = RawManifest {
            media_type: media::OCI_MANIFEST.to_owned(),
            bytes: b"{}".to_vec(),
        };
        let about = About::Manifest(root.id().digest);
        let (one, two) = (
            document("one", Some(root.id())),
            document("two", Some(root.id())),
        );
        let publish = |root: &RawManifest, documents: &[&RawManifest]| {
            let target = open_target(&place, &options).unwrap();
            for document in documents {
                target.attach(about, document, TYPE).unwrap();
            }
            target.publish(root).unwrap();
        };
        publish(&root, &[&one]);
        publish(&root, &[&two, &one]);
        assert_eq!(
            listed(&place, &options, about),
            digests(&[&one, &two]),
            "{place}"
        );
        let source = open_source(&place, &options).unwrap();
        assert_eq!(source.root().unwrap(), root, "a document is no image");
        assert_eq!(source.manifest(&one.id()).unwrap().bytes, one.bytes);
        // What takes the name takes no documents of the former image.
        let next = RawManifest {
            bytes: b"{ }".to_vec(),
            ..root.clone()
        };
        publish(&next, &[]);
        assert!(listed(&place, &options, about).is_empty(), "{place}");
    }
}
