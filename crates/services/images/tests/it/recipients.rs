//! Recipients come and go; layers stay where they are.

use std::sync::Mutex;

use images::{
    BlobId, BlobReader, BlobWriter, ImageError, ImageSource, ImageTarget, Kind, Plan, PortError,
    RawManifest, Recipients, RecipientsEdit, RecipientsEdited, Silent, edit_recipients, encrypt,
    media,
};
use oci_crypt::PacketOpener;
use serde_json::{Value, json};

use crate::build::{GZIP, Person, TAR, content, image, manifest, raw};
use crate::memory::Memory;

const JWE: &str = "org.opencontainers.image.enc.keys.jwe";
const FOREIGN: &str = "org.opencontainers.image.enc.keys.provider.kms";
/// Not canonical JSON, and nothing that is understood here.
const PACKET: &str = "eyAgImEiIDoxfQ==,AAECAw==";

/// A place whose layers nobody may touch.
struct Sealed<'a>(&'a Memory, Mutex<Vec<u64>>);

impl<'a> Sealed<'a> {
    fn new(memory: &'a Memory) -> Self {
        Self(memory, Mutex::default())
    }
}

impl ImageSource for Sealed<'_> {
    fn root(&self) -> Result<RawManifest, PortError> {
        self.0.root()
    }

    fn manifest(&self, id: &BlobId) -> Result<RawManifest, PortError> {
        self.0.manifest(id)
    }

    fn blob(&self, id: &BlobId) -> Result<Box<dyn BlobReader + '_>, PortError> {
        self.1.lock().unwrap().push(id.size);
        self.0.blob(id)
    }
}

impl ImageTarget for Sealed<'_> {
    fn holds(&self, _id: &BlobId) -> Result<bool, PortError> {
        panic!("no blob is moved")
    }

    fn write_blob(&self) -> Result<Box<dyn BlobWriter + '_>, PortError> {
        panic!("no blob is written")
    }

    fn write_manifest(&self, manifest: &RawManifest) -> Result<(), PortError> {
        self.0.write_manifest(manifest)
    }

    fn publish(&self, root: &RawManifest) -> Result<(), PortError> {
        self.0.publish(root)
    }
}

fn edit(memory: &Memory, edit: &RecipientsEdit<'_>) -> Result<RecipientsEdited, ImageError> {
    let place = Sealed::new(memory);
    let edited = edit_recipients(&place, &place, edit, Plan::Do);
    let read = place.1.into_inner().unwrap();
    assert!(
        read.iter().all(|size| *size < 600),
        "a layer was read: {read:?}"
    );
    edited
}

fn add(memory: &Memory, who: &Person, key: &Person) -> Result<RecipientsEdited, ImageError> {
    let (recipients, opener) = (who.recipients(), key.opener());
    let openers: Vec<&dyn PacketOpener> = vec![&opener];
    let wanted = RecipientsEdit {
        remove: Vec::new(),
        add: Some(&recipients),
        openers,
    };
    edit(memory, &wanted)
}

fn remove(memory: &Memory, selectors: &[&str]) -> Result<RecipientsEdited, ImageError> {
    let wanted = RecipientsEdit {
        remove: selectors.iter().map(|one| one.parse().unwrap()).collect(),
        ..RecipientsEdit::default()
    };
    edit(memory, &wanted)
}

fn with_foreign_packets(memory: &Memory) {
    memory.edit(|json| {
        for layer in json["layers"].as_array_mut().unwrap() {
            layer["annotations"][FOREIGN] = PACKET.into();
        }
    });
}

fn layers(json: &Value) -> Vec<Value> {
    let layers = json["layers"].as_array().unwrap().iter();
    let stays = |layer: &Value| json!([layer["digest"], layer["size"], layer["mediaType"]]);
    layers.map(stays).collect()
}

#[test]
fn a_new_recipient_opens_and_the_former_one_still_does() {
    let (ann, bob) = (Person::new(), Person::new());
    let encrypted = ann.encrypts(&image("a"));
    with_foreign_packets(&encrypted);
    let before = encrypted.root_json();
    let edited = add(&encrypted, &bob, &ann).unwrap();
    assert_eq!((edited.layers, edited.added, edited.removed), (3, 3, 0));
    let after = encrypted.root_json();
    assert_eq!(layers(&after), layers(&before));
    assert_eq!(after["annotations"], before["annotations"]);
    for (index, layer) in after["layers"].as_array().unwrap().iter().enumerate() {
        let was = before["layers"][index]["annotations"][JWE]
            .as_str()
            .unwrap();
        let is = layer["annotations"][JWE].as_str().unwrap();
        assert!(
            is.starts_with(&format!("{was},")),
            "kept as it was, and one more"
        );
        assert_eq!(layer["annotations"][FOREIGN], PACKET, "byte for byte");
    }
    ann.decrypts(&encrypted).0.unwrap();
    bob.decrypts(&encrypted).0.unwrap();
}

#[test]
fn a_removed_recipient_opens_no_more_and_no_byte_of_a_layer_moves() {
    let (ann, bob) = (Person::new(), Person::new());
    let encrypted = ann.encrypts(&image("a"));
    with_foreign_packets(&encrypted);
    add(&encrypted, &bob, &ann).unwrap();
    let before = encrypted.root_json();
    let edited = remove(&encrypted, &["jwe#0"]).unwrap();
    assert_eq!((edited.layers, edited.added, edited.removed), (3, 0, 3));
    let after = encrypted.root_json();
    assert_eq!(layers(&after), layers(&before));
    assert_eq!(after["layers"][1]["annotations"][FOREIGN], PACKET);
    assert_eq!(ann.decrypts(&encrypted).0.unwrap_err().kind(), Kind::Denied);
    bob.decrypts(&encrypted).0.unwrap();
    remove(&encrypted, &["provider:kms"]).unwrap();
    assert!(encrypted.root_json()["layers"][0]["annotations"][FOREIGN].is_null());
    bob.decrypts(&encrypted).0.unwrap();
}

#[test]
fn some_replace_others_in_one_step() {
    let (ann, bob) = (Person::new(), Person::new());
    let encrypted = ann.encrypts(&image("a"));
    let (recipients, opener) = (bob.recipients(), ann.opener());
    let wanted = RecipientsEdit {
        remove: vec!["jwe".parse().unwrap()],
        add: Some(&recipients),
        openers: vec![&opener],
    };
    edit(&encrypted, &wanted).unwrap();
    assert_eq!(ann.decrypts(&encrypted).0.unwrap_err().kind(), Kind::Denied);
    bob.decrypts(&encrypted).0.unwrap();
}

#[test]
fn a_wrong_key_changes_nothing() {
    let (ann, bob) = (Person::new(), Person::new());
    let encrypted = ann.encrypts(&image("a"));
    let before = encrypted.root_json();
    assert_eq!(
        add(&encrypted, &bob, &bob).unwrap_err().kind(),
        Kind::Denied
    );
    assert_eq!(encrypted.root_json(), before);
    let nobody = Recipients::new();
    let opener = ann.opener();
    let wanted = RecipientsEdit {
        remove: Vec::new(),
        add: Some(&nobody),
        openers: vec![&opener],
    };
    assert!(matches!(
        edit(&encrypted, &wanted),
        Err(ImageError::NoRecipient)
    ));
    assert_eq!(encrypted.root_json(), before);
}

#[test]
fn a_key_of_only_some_layers_changes_nothing() {
    let (ann, bob) = (Person::new(), Person::new());
    let encrypted = ann.encrypts(&image("a"));
    let other = bob.encrypts(&image("a")).root_json();
    encrypted
        .edit(|json| json["layers"][2]["annotations"] = other["layers"][2]["annotations"].clone());
    let before = encrypted.root_json();
    assert!(matches!(
        add(&encrypted, &bob, &ann),
        Err(ImageError::NoKey { index: 2 })
    ));
    assert_eq!(encrypted.root_json(), before);
}

#[test]
fn a_moved_layer_gets_no_new_recipient() {
    let (ann, bob) = (Person::new(), Person::new());
    let encrypted = ann.encrypts(&image("a"));
    encrypted.edit(|json| json["layers"].as_array_mut().unwrap().swap(0, 2));
    let before = encrypted.root_json();
    let refused = add(&encrypted, &bob, &ann).unwrap_err();
    assert_eq!(refused.kind(), Kind::VerificationFailed);
    assert_eq!(encrypted.root_json(), before);
}

#[test]
fn nobody_removes_the_last_recipient_or_one_who_is_not_there() {
    let ann = Person::new();
    let encrypted = ann.encrypts(&image("a"));
    let before = encrypted.root_json();
    assert!(matches!(
        remove(&encrypted, &["jwe"]),
        Err(ImageError::LastRecipient { index: 0 })
    ));
    for absent in ["jwe#1", "pkcs7", "bailiwick:medrec", "provider:kms"] {
        let refused = remove(&encrypted, &[absent]);
        assert!(
            matches!(refused, Err(ImageError::NoSuchRecipient { .. })),
            "{absent}"
        );
    }
    // The packet does not say that it is not for her.
    let unnamed = remove(&encrypted, &["jwe:ann"]).unwrap_err();
    assert!(
        matches!(unnamed, ImageError::UnnamedRecipients { .. })
            && unnamed.to_string().contains("jwe#0"),
        "{unnamed}"
    );
    assert_eq!(encrypted.root_json(), before);
    assert!(matches!(
        remove(&image("a"), &["jwe"]),
        Err(ImageError::NotEncrypted)
    ));
}

#[test]
fn what_is_only_shown_is_not_done() {
    let (ann, bob) = (Person::new(), Person::new());
    let encrypted = ann.encrypts(&image("a"));
    let before = encrypted.root_json();
    let (recipients, opener) = (bob.recipients(), ann.opener());
    let wanted = RecipientsEdit {
        remove: vec!["jwe".parse().unwrap()],
        add: Some(&recipients),
        openers: vec![&opener],
    };
    let shown = edit_recipients(&encrypted, &encrypted, &wanted, Plan::Show).unwrap();
    assert_eq!((shown.layers, shown.added, shown.removed), (3, 3, 3));
    assert_eq!(encrypted.root_json(), before);
}

#[test]
fn every_platform_is_changed_in_indexes_of_any_depth() {
    let (ann, bob) = (Person::new(), Person::new());
    let plain = Memory::default();
    let entry = |memory: &Memory, raw: RawManifest, architecture: &str| {
        memory.put_manifest(raw.clone());
        json!({"mediaType": raw.media_type, "digest": raw.id().digest, "size": raw.id().size,
            "platform": {"os": "linux", "architecture": architecture}})
    };
    let one = |name: &str| {
        let layers = [(GZIP, content("shared", 9000)), (TAR, content(name, 900))];
        raw(media::OCI_MANIFEST, &manifest(&plain, name, &layers))
    };
    let index = |entries: &[Value]| {
        let json = json!({"schemaVersion": 2, "mediaType": media::OCI_INDEX, "manifests": entries});
        raw(media::OCI_INDEX, &json)
    };
    let inner = index(&[entry(&plain, one("a"), "arm64")]);
    let outer = index(&[
        entry(&plain, one("b"), "amd64"),
        entry(&plain, inner, "unknown"),
    ]);
    plain.set_root(outer);
    let encrypted = Memory::default();
    assert_eq!(
        encrypt(&plain, &encrypted, &ann.recipients(), &Silent)
            .unwrap()
            .layers,
        4
    );
    let former = encrypted.root_json();
    let edited = add(&encrypted, &bob, &ann).unwrap();
    assert_eq!((edited.layers, edited.added), (4, 4));
    let present = encrypted.root_json();
    for at in 0..2 {
        assert_ne!(
            present["manifests"][at]["digest"],
            former["manifests"][at]["digest"]
        );
        assert_eq!(
            present["manifests"][at]["platform"],
            former["manifests"][at]["platform"]
        );
    }
    remove(&encrypted, &["jwe#0"]).unwrap();
    let (result, back) = bob.decrypts(&encrypted);
    assert_eq!(result.unwrap().layers, 4);
    assert_eq!(back.root_json(), plain.root_json());
}

/// A place that somebody else writes to while we read.
struct Busy<'a>(&'a Memory, Mutex<usize>);

impl ImageSource for Busy<'_> {
    fn root(&self) -> Result<RawManifest, PortError> {
        let mut asked = self.1.lock().unwrap();
        *asked += 1;
        if *asked == 2 {
            self.0
                .edit(|json| json["annotations"]["z"] = "another".into());
        }
        self.0.root()
    }

    fn manifest(&self, id: &BlobId) -> Result<RawManifest, PortError> {
        self.0.manifest(id)
    }

    fn blob(&self, id: &BlobId) -> Result<Box<dyn BlobReader + '_>, PortError> {
        self.0.blob(id)
    }
}

#[test]
fn what_somebody_else_published_meanwhile_is_not_overwritten() {
    let ann = Person::new();
    let encrypted = ann.encrypts(&image("a"));
    with_foreign_packets(&encrypted);
    let wanted = RecipientsEdit {
        remove: vec!["provider:kms".parse().unwrap()],
        ..RecipientsEdit::default()
    };
    let busy = Busy(&encrypted, Mutex::default());
    let refused = edit_recipients(&busy, &encrypted, &wanted, Plan::Do);
    assert!(matches!(refused, Err(ImageError::ChangedMeanwhile)));
    assert_eq!(
        encrypted.root_json()["layers"][0]["annotations"][FOREIGN],
        PACKET
    );
}
