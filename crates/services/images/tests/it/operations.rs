//! Rekey, rebind, verify, and the choice of layers and platforms.

use images::{
    BlobId, BlobReader, BlobWriter, EncryptOptions, Extent, ImageError, ImageSource, ImageTarget,
    Kind, LayerChoice, PortError, RawManifest, RekeyOptions, Silent, VerifyOptions, encrypt_with,
    media, preview_encrypt, preview_rebind, preview_rekey, rebind, rekey, verify,
};
use oci_crypt::PacketOpener;
use serde_json::{Value, json};

use crate::build::{GZIP, Person, TAR, content, image, manifest, raw};
use crate::memory::Memory;

const JWE: &str = "org.opencontainers.image.enc.keys.jwe";

fn digest(memory: &Memory, layer: usize) -> String {
    memory.root_json()["layers"][layer]["digest"]
        .as_str()
        .unwrap()
        .to_owned()
}

fn rekeys(source: &Memory, from: &Person, to: &Person) -> (Result<usize, ImageError>, Memory) {
    let target = Memory::default();
    let opener = from.opener();
    let options = RekeyOptions {
        openers: vec![&opener],
        ..RekeyOptions::default()
    };
    let rekeyed = rekey(source, &target, &to.recipients(), &options, &Silent);
    (rekeyed.map(|rekeyed| rekeyed.layers), target)
}

#[test]
fn former_keys_open_nothing_of_a_rekeyed_image() {
    let (ann, bob) = (Person::new(), Person::new());
    let encrypted = ann.encrypts(&image("a"));
    let (result, target) = rekeys(&encrypted, &ann, &bob);
    assert_eq!(result.unwrap(), 3);
    assert!(
        !target.holds_bytes(b"content of"),
        "nothing plain is written"
    );
    for layer in 0..3 {
        assert_ne!(digest(&target, layer), digest(&encrypted, layer));
        let bytes = target.get_blob(&digest(&target, layer));
        assert_ne!(bytes, encrypted.get_blob(&digest(&encrypted, layer)));
    }
    // The packets of the former image beside the new bytes: a kept key is worth nothing.
    let former = encrypted.root_json();
    let forged = target.clone();
    forged.edit(|json| {
        for (at, layer) in json["layers"]
            .as_array_mut()
            .unwrap()
            .iter_mut()
            .enumerate()
        {
            layer["annotations"] = former["layers"][at]["annotations"].clone();
        }
    });
    assert_eq!(ann.decrypts(&target).0.unwrap_err().kind(), Kind::Denied);
    let refused = ann.decrypts(&forged).0.unwrap_err();
    assert_eq!(refused.kind(), Kind::VerificationFailed);
    let (result, back) = bob.decrypts(&target);
    result.unwrap();
    assert_eq!(back.root_json(), image("a").root_json());
}

#[test]
fn only_a_true_image_is_rekeyed() {
    let (ann, bob) = (Person::new(), Person::new());
    let good = ann.encrypts(&image("a"));
    let (result, target) = rekeys(&good, &bob, &bob);
    assert!(matches!(result, Err(ImageError::NoKey { index: 0 })));
    assert_eq!((target.is_published(), target.written()), (false, (0, 0)));

    let swapped = good.clone();
    swapped.edit(|json| json["layers"].as_array_mut().unwrap().swap(0, 2));
    let (result, target) = rekeys(&swapped, &ann, &bob);
    assert_eq!(result.unwrap_err().kind(), Kind::VerificationFailed);
    assert_eq!((target.is_published(), target.written()), (false, (0, 0)));

    let flipped = good.clone();
    let mut bytes = flipped.get_blob(&digest(&flipped, 0));
    bytes[1000] ^= 1;
    flipped.replace_blob(&digest(&flipped, 0), bytes);
    let (result, target) = rekeys(&flipped, &ann, &bob);
    assert_eq!(result.unwrap_err().kind(), Kind::VerificationFailed);
    assert!(!target.is_published(), "half an image is never published");

    let (result, target) = rekeys(&image("a"), &ann, &bob);
    assert!(matches!(result, Err(ImageError::NotEncrypted)));
    assert!(!target.is_published());
}

#[test]
fn a_preview_writes_nothing_and_needs_the_key_all_the_same() {
    let (ann, bob) = (Person::new(), Person::new());
    let encrypted = ann.encrypts(&image("a"));
    let (right, wrong) = (ann.opener(), bob.opener());
    let of = |opener| RekeyOptions {
        openers: vec![opener],
        ..RekeyOptions::default()
    };
    let shown = preview_rekey(&encrypted, &bob.recipients(), &of(&right)).unwrap();
    assert_eq!((shown.layers, shown.readable_layers), (3, 0));
    assert!(preview_rekey(&encrypted, &bob.recipients(), &of(&wrong)).is_err());
}

/// The image with one more label in its configuration: the layers lie under another one now.
fn under_another_configuration(memory: &Memory) {
    let config = memory.root_json()["config"]["digest"]
        .as_str()
        .unwrap()
        .to_owned();
    let mut json: Value = serde_json::from_slice(&memory.get_blob(&config)).unwrap();
    json["config"]["Labels"]["more"] = "yes".into();
    let id = memory.put_blob(&serde_json::to_vec(&json).unwrap());
    memory.edit(|json| {
        json["config"]["digest"] = id.digest.to_string().into();
        json["config"]["size"] = id.size.into();
    });
}

#[test]
fn a_layer_under_another_configuration_is_rebound_with_a_key() {
    let (ann, bob) = (Person::new(), Person::new());
    let moved = ann.encrypts(&image("a"));
    under_another_configuration(&moved);
    assert_eq!(
        ann.decrypts(&moved).0.unwrap_err().kind(),
        Kind::VerificationFailed
    );
    let opener = ann.opener();
    let shown = preview_rebind(&moved, &[&opener], &bob.recipients()).unwrap();
    assert_eq!(
        (shown.layers, shown.moved.len(), shown.digest),
        (3, 3, None)
    );
    assert_eq!(shown.moved[1].mismatch.as_ref().unwrap().member, "config");
    let target = Memory::default();
    let done = rebind(&moved, &target, &[&opener], &bob.recipients(), &Silent).unwrap();
    assert_eq!((done.layers, done.moved.len()), (3, 3));
    for layer in 0..3 {
        assert_eq!(digest(&target, layer), digest(&moved, layer));
    }
    bob.decrypts(&target).0.unwrap();
    // Packets that named the former place are gone.
    assert_eq!(ann.decrypts(&target).0.unwrap_err().kind(), Kind::Denied);
}

#[test]
fn a_swapped_layer_is_not_rebound_without_a_key_or_against_its_configuration() {
    let (ann, bob) = (Person::new(), Person::new());
    let swapped = ann.encrypts(&image("a"));
    swapped.edit(|json| json["layers"].as_array_mut().unwrap().swap(0, 2));
    let (right, wrong) = (ann.opener(), bob.opener());
    for (opener, kind, written) in [
        (&wrong as &dyn PacketOpener, Kind::Denied, true),
        (&right, Kind::VerificationFailed, false),
    ] {
        let target = Memory::default();
        let refused = rebind(&swapped, &target, &[opener], &bob.recipients(), &Silent);
        assert_eq!(refused.unwrap_err().kind(), kind);
        assert!(!target.is_published());
        assert!(!written || target.written() == (0, 0));
    }
    let none = rebind(
        &swapped,
        &Memory::default(),
        &[],
        &bob.recipients(),
        &Silent,
    );
    assert_eq!(none.unwrap_err().kind(), Kind::Denied);
}

#[test]
fn bytes_that_a_binding_does_not_name_are_never_rebound() {
    let ann = Person::new();
    let (one, other) = (ann.encrypts(&image("a")), ann.encrypts(&image("a")));
    // The packet of one encryption beside the bytes of another.
    let packets = other.root_json()["layers"][0]["annotations"].clone();
    one.edit(|json| json["layers"][0]["annotations"] = packets);
    let opener = ann.opener();
    let refused = rebind(
        &one,
        &Memory::default(),
        &[&opener],
        &ann.recipients(),
        &Silent,
    );
    assert!(matches!(
        refused,
        Err(ImageError::BoundElsewhere { index: 0, .. })
    ));
}

fn verifies(memory: &Memory, openers: Vec<&dyn PacketOpener>) -> Result<Vec<Extent>, ImageError> {
    let options = VerifyOptions {
        openers,
        ..VerifyOptions::default()
    };
    let found = verify(memory, &options, &Silent)?;
    Ok(found.images[0]
        .layers
        .iter()
        .map(|layer| layer.verified)
        .collect())
}

#[test]
fn what_was_verified_is_said_plainly() {
    let ann = Person::new();
    let opener = ann.opener();
    let encrypted = ann.encrypts(&image("a"));
    assert_eq!(verifies(&image("a"), vec![]).unwrap(), [Extent::Plain; 3]);
    assert_eq!(
        verifies(&encrypted, vec![]).unwrap(),
        [Extent::CiphertextOnly; 3]
    );
    assert_eq!(
        verifies(&encrypted, vec![&opener]).unwrap(),
        [Extent::Bound; 3]
    );
    assert!(matches!(
        verifies(&image("a"), vec![&opener]),
        Err(ImageError::NotEncrypted)
    ));
    let stranger = Person::new().opener();
    let refused = verifies(&encrypted, vec![&stranger]).unwrap_err();
    assert_eq!(refused.kind(), Kind::Denied);
}

#[test]
fn what_is_wrong_is_found_with_and_without_a_key() {
    let ann = Person::new();
    let opener = ann.opener();
    let good = ann.encrypts(&image("a"));
    let flipped = good.clone();
    let mut bytes = flipped.get_blob(&digest(&flipped, 2));
    *bytes.last_mut().unwrap() ^= 1;
    flipped.replace_blob(&digest(&flipped, 2), bytes);
    let swapped = good.clone();
    swapped.edit(|json| json["layers"].as_array_mut().unwrap().swap(0, 1));
    let short = good.clone();
    short.edit(|json| json["layers"][1]["size"] = 7.into());
    let noisy = good.clone();
    noisy.edit(|json| json["layers"][1]["annotations"][JWE] = "!".into());
    for (forged, unseen) in [
        (flipped, false),
        (swapped, true),
        (short, false),
        (noisy, false),
    ] {
        let with_key = verifies(&forged, vec![&opener]).unwrap_err();
        assert_eq!(with_key.kind(), Kind::VerificationFailed);
        assert_eq!(verifies(&forged, vec![]).is_ok(), unseen);
    }
    let plain = image("a");
    plain.edit(|json| json["layers"].as_array_mut().unwrap().swap(0, 2));
    assert!(matches!(
        verifies(&plain, vec![]),
        Err(ImageError::DiffId { .. })
    ));
}

fn only(numbers: &[i64]) -> EncryptOptions<'static> {
    EncryptOptions {
        layers: LayerChoice::new(numbers.to_vec()),
        ..EncryptOptions::default()
    }
}

#[test]
fn chosen_layers_are_encrypted_and_the_rest_is_bound_by_the_configuration() {
    let ann = Person::new();
    let target = Memory::default();
    let options = only(&[-1]);
    let shown = preview_encrypt(&image("a"), &ann.recipients(), &options).unwrap();
    assert_eq!((shown.layers, shown.readable_layers), (1, 2));
    let done = encrypt_with(&image("a"), &target, &ann.recipients(), &options, &Silent).unwrap();
    assert_eq!((done.layers, done.readable_layers), (1, 2));
    assert_eq!(digest(&target, 0), digest(&image("a"), 0));
    assert_ne!(digest(&target, 2), digest(&image("a"), 2));
    let (result, back) = ann.decrypts(&target);
    assert_eq!(result.unwrap().layers, 1);
    assert_eq!(back.root_json(), image("a").root_json());

    let other = image("b");
    let foreign = other.root_json()["layers"][0].clone();
    target.put_blob(&other.get_blob(foreign["digest"].as_str().unwrap()));
    target.edit(|json| json["layers"][0] = foreign);
    assert!(matches!(
        ann.decrypts(&target).0,
        Err(ImageError::DiffId { index: 0 })
    ));
}

#[test]
fn a_layer_that_is_not_there_is_not_passed_over() {
    let ann = Person::new();
    let target = Memory::default();
    for wrong in [3, -4] {
        let refused = encrypt_with(
            &image("a"),
            &target,
            &ann.recipients(),
            &only(&[wrong]),
            &Silent,
        );
        assert!(matches!(refused, Err(ImageError::NoSuchLayer { .. })));
    }
    assert_eq!((target.is_published(), target.written()), (false, (0, 0)));
}

#[test]
fn encrypted_layers_are_kept_and_get_the_new_recipients() {
    let (ann, bob) = (Person::new(), Person::new());
    let partly = Memory::default();
    encrypt_with(
        &image("a"),
        &partly,
        &ann.recipients(),
        &only(&[0]),
        &Silent,
    )
    .unwrap();
    let target = Memory::default();
    let without = encrypt_with(&partly, &target, &bob.recipients(), &only(&[]), &Silent);
    assert!(matches!(
        without,
        Err(ImageError::MediaType { index: 0, .. })
    ));
    let (wrong, right) = (bob.opener(), ann.opener());
    let with = |opener| EncryptOptions {
        openers: vec![opener],
        ..EncryptOptions::default()
    };
    let denied = encrypt_with(&partly, &target, &bob.recipients(), &with(&wrong), &Silent);
    assert_eq!(denied.unwrap_err().kind(), Kind::Denied);
    assert_eq!((target.is_published(), target.written()), (false, (0, 0)));
    let done = encrypt_with(&partly, &target, &bob.recipients(), &with(&right), &Silent).unwrap();
    assert_eq!((done.layers, done.kept, done.readable_layers), (3, 1, 0));
    assert_eq!(digest(&target, 0), digest(&partly, 0));
    let (result, back) = bob.decrypts(&target);
    assert_eq!(result.unwrap().layers, 3);
    assert_eq!(back.root_json(), image("a").root_json());
}

fn two_platforms() -> Memory {
    let plain = Memory::default();
    let mut entries = Vec::new();
    for (name, architecture) in [("a", "amd64"), ("b", "arm64")] {
        let layers = [(GZIP, content("shared", 9000)), (TAR, content(name, 100))];
        let raw = raw(media::OCI_MANIFEST, &manifest(&plain, name, &layers));
        plain.put_manifest(raw.clone());
        entries.push(
            json!({"mediaType": raw.media_type, "digest": raw.id().digest, "size": raw.id().size,
            "platform": {"os": "linux", "architecture": architecture}}),
        );
    }
    let json = json!({"schemaVersion": 2, "mediaType": media::OCI_INDEX, "manifests": entries});
    plain.set_root(raw(media::OCI_INDEX, &json));
    plain
}

#[test]
fn platforms_that_are_not_chosen_are_left_out_and_never_published_readable() {
    let ann = Person::new();
    let plain = two_platforms();
    let target = Memory::default();
    let options = |platform: &str| EncryptOptions {
        platforms: vec![platform.parse().unwrap()],
        ..EncryptOptions::default()
    };
    let wrong = encrypt_with(
        &plain,
        &target,
        &ann.recipients(),
        &options("linux/riscv64"),
        &Silent,
    );
    assert!(matches!(wrong, Err(ImageError::NoSuchPlatform { .. })));
    let done = encrypt_with(
        &plain,
        &target,
        &ann.recipients(),
        &options("linux/arm64"),
        &Silent,
    );
    assert_eq!(done.unwrap().layers, 2);
    let index = target.root_json();
    assert_eq!(index["manifests"].as_array().unwrap().len(), 1);
    assert_eq!(index["manifests"][0]["platform"]["architecture"], "arm64");
    assert!(!target.holds_bytes(b"content of"));
    ann.decrypts(&target).0.unwrap();
}

/// A target that fails at its last step.
struct Full<'a>(&'a Memory);

impl ImageTarget for Full<'_> {
    fn holds(&self, id: &BlobId) -> Result<bool, PortError> {
        self.0.holds(id)
    }

    fn write_blob(&self) -> Result<Box<dyn BlobWriter + '_>, PortError> {
        self.0.write_blob()
    }

    fn write_manifest(&self, _manifest: &RawManifest) -> Result<(), PortError> {
        Err(PortError::new(Kind::Failed, std::io::Error::other("full")))
    }

    fn publish(&self, root: &RawManifest) -> Result<(), PortError> {
        self.0.publish(root)
    }
}

/// A source whose last blob breaks.
struct Broken<'a>(&'a Memory, u64);

struct Breaks;

impl BlobReader for Breaks {
    fn read(&mut self, _buffer: &mut [u8]) -> Result<usize, PortError> {
        Err(PortError::new(
            Kind::Unavailable,
            std::io::Error::other("gone"),
        ))
    }
}

impl ImageSource for Broken<'_> {
    fn root(&self) -> Result<RawManifest, PortError> {
        self.0.root()
    }

    fn manifest(&self, id: &BlobId) -> Result<RawManifest, PortError> {
        self.0.manifest(id)
    }

    fn blob(&self, id: &BlobId) -> Result<Box<dyn BlobReader + '_>, PortError> {
        if id.size == self.1 {
            return Ok(Box::new(Breaks));
        }
        self.0.blob(id)
    }
}

#[test]
fn a_half_written_target_is_never_published() {
    let ann = Person::new();
    let opener = ann.opener();
    let rekeying = RekeyOptions {
        openers: vec![&opener],
        ..RekeyOptions::default()
    };
    let inside = Memory::default();
    let index = Memory::default();
    encrypt_with(
        &two_platforms(),
        &index,
        &ann.recipients(),
        &only(&[]),
        &Silent,
    )
    .unwrap();
    let full = Full(&inside);
    assert!(
        encrypt_with(
            &two_platforms(),
            &full,
            &ann.recipients(),
            &only(&[]),
            &Silent
        )
        .is_err()
    );
    assert!(rekey(&index, &full, &ann.recipients(), &rekeying, &Silent).is_err());
    assert!(rebind(&index, &full, &[&opener], &ann.recipients(), &Silent).is_err());
    let single = ann.encrypts(&image("a"));
    let size = single.root_json()["layers"][2]["size"].as_u64().unwrap();
    let broken = Broken(&single, size);
    let failed = rekey(&broken, &inside, &ann.recipients(), &rekeying, &Silent).unwrap_err();
    assert_eq!(failed.kind(), Kind::Unavailable);
    assert!(rebind(&broken, &inside, &[&opener], &ann.recipients(), &Silent).is_err());
    assert!(!inside.is_published());
}
