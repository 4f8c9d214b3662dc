//! Where an encrypted image was asked for, there is one, or there is an error and nothing under its name.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use images::{
    BlobId, BlobReader, BlobWriter, EncryptOptions, ImageError, ImageSource, ImageTarget,
    KeyService, Kind, LayerChoice, PortError, Progress, RawManifest, Recipients, RekeyOptions,
    Silent, encrypt, encrypt_with, media, preview_encrypt, rebind, rekey,
};
use oci_crypt::media_type::is_encrypted;
use serde_json::json;
use zeroize::Zeroizing;

use crate::build::{GZIP, Person, TAR, content, image, manifest, raw};
use crate::memory::Memory;

/// Fails, or is cancelled, at one of the moments that it counts.
#[derive(Default)]
struct Moments {
    seen: AtomicUsize,
    at: usize,
}

impl Moments {
    fn until(at: usize) -> Self {
        Self {
            at,
            ..Self::default()
        }
    }

    fn has_come(&self) -> bool {
        self.seen.fetch_add(1, Ordering::SeqCst) >= self.at
    }
}

impl Progress for Moments {
    fn started(&self, _total: u64) {}

    fn advanced(&self, _bytes: u64) {}

    fn cancelled(&self) -> bool {
        self.has_come()
    }
}

/// A disk that is full after some writes.
struct Filling<'a> {
    inside: &'a Memory,
    moments: Moments,
}

impl<'a> Filling<'a> {
    fn after(inside: &'a Memory, writes: usize) -> Self {
        Self {
            inside,
            moments: Moments::until(writes),
        }
    }

    fn room(&self) -> Result<(), PortError> {
        match self.moments.has_come() {
            true => Err(PortError::new(
                Kind::Failed,
                std::io::Error::from(std::io::ErrorKind::StorageFull),
            )),
            false => Ok(()),
        }
    }
}

impl ImageTarget for Filling<'_> {
    fn holds(&self, id: &BlobId) -> Result<bool, PortError> {
        self.inside.holds(id)
    }

    fn write_blob(&self) -> Result<Box<dyn BlobWriter + '_>, PortError> {
        self.room()?;
        let writer = self.inside.write_blob()?;
        Ok(Box::new(FillingWriter { disk: self, writer }))
    }

    fn write_manifest(&self, manifest: &RawManifest) -> Result<(), PortError> {
        self.room()?;
        self.inside.write_manifest(manifest)
    }

    fn publish(&self, root: &RawManifest) -> Result<(), PortError> {
        self.room()?;
        self.inside.publish(root)
    }
}

struct FillingWriter<'a> {
    disk: &'a Filling<'a>,
    writer: Box<dyn BlobWriter + 'a>,
}

impl BlobWriter for FillingWriter<'_> {
    fn write(&mut self, bytes: &[u8]) -> Result<(), PortError> {
        self.disk.room()?;
        self.writer.write(bytes)
    }

    fn finish(self: Box<Self>, digest: &estate::Digest) -> Result<(), PortError> {
        self.disk.room()?;
        self.writer.finish(digest)
    }
}

/// An index of two images, so that manifests are written before the last step.
fn small() -> Memory {
    let plain = Memory::default();
    let entries: Vec<_> = ["a", "b"]
        .iter()
        .map(|name| {
            let layers = [(GZIP, content("shared", 9000)), (TAR, content(name, 100))];
            let raw = raw(media::OCI_MANIFEST, &manifest(&plain, name, &layers));
            plain.put_manifest(raw.clone());
            json!({"mediaType": raw.media_type, "digest": raw.id().digest, "size": raw.id().size})
        })
        .collect();
    let json = json!({"schemaVersion": 2, "mediaType": media::OCI_INDEX, "manifests": entries});
    plain.set_root(raw(media::OCI_INDEX, &json));
    plain
}

/// What stands under the name is encrypted whole.
fn assert_encrypted(memory: &Memory) {
    for entry in memory.root_json()["manifests"].as_array().unwrap() {
        let document = memory.manifest_json(entry["digest"].as_str().unwrap());
        for layer in document["layers"].as_array().unwrap() {
            assert!(is_encrypted(layer["mediaType"].as_str().unwrap()));
        }
    }
}

#[test]
fn whenever_it_is_cancelled_nothing_is_published_or_all_of_it() {
    let person = Person::new();
    let plain = small();
    let mut cancelled = 0;
    for at in 0.. {
        let target = Memory::default();
        match encrypt(&plain, &target, &person.recipients(), &Moments::until(at)) {
            Ok(_) => {
                assert_encrypted(&target);
                break;
            }
            Err(error) => {
                assert!(matches!(error, ImageError::Cancelled), "{at}: {error}");
                assert!(!target.is_published(), "{at}");
                assert!(!target.holds_bytes(b"content of"), "{at}");
                cancelled += 1;
            }
        }
    }
    // Once for each layer and each key at least, and once before the name is given.
    assert!(cancelled >= 9, "{cancelled}");
}

#[test]
fn whenever_the_disk_is_full_nothing_is_published() {
    let (ann, bob) = (Person::new(), Person::new());
    let (plain, encrypted) = (small(), ann.encrypts(&small()));
    let opener = ann.opener();
    let rekeying = RekeyOptions {
        openers: vec![&opener],
        ..RekeyOptions::default()
    };
    let to = bob.recipients();
    type Work<'w> = Box<dyn Fn(&dyn ImageTarget) -> Result<(), ImageError> + 'w>;
    let works: [Work<'_>; 3] = [
        Box::new(|disk| encrypt(&plain, disk, &to, &Silent).map(drop)),
        Box::new(|disk| rekey(&encrypted, disk, &to, &rekeying, &Silent).map(drop)),
        Box::new(|disk| rebind(&encrypted, disk, &[&opener], &to, &Silent).map(drop)),
    ];
    for work in works {
        let mut refused = 0;
        for writes in 0.. {
            let target = Memory::default();
            match work(&Filling::after(&target, writes)) {
                Ok(()) => {
                    assert_encrypted(&target);
                    break;
                }
                Err(error) => {
                    assert!(matches!(error, ImageError::Target(_)), "{writes}: {error}");
                    assert!(!target.is_published(), "{writes}");
                    assert!(!target.holds_bytes(b"content of"), "{writes}");
                    refused += 1;
                }
            }
        }
        assert!(refused >= 12, "{refused}");
    }
}

#[test]
fn a_choice_that_hits_nothing_in_one_of_the_images_is_refused_for_all() {
    let person = Person::new();
    let plain = small();
    for numbers in [vec![2], vec![0, 7], vec![-3]] {
        let options = EncryptOptions {
            layers: LayerChoice::new(numbers.clone()),
            ..EncryptOptions::default()
        };
        let target = Memory::default();
        let error = encrypt_with(&plain, &target, &person.recipients(), &options, &Silent);
        let error = error.unwrap_err();
        assert!(
            matches!(error, ImageError::NoSuchLayer { .. }),
            "{numbers:?}"
        );
        assert_eq!((target.is_published(), target.written()), (false, (0, 0)));
        let shown = preview_encrypt(&plain, &person.recipients(), &options);
        assert!(shown.is_err(), "{numbers:?}");
    }
}

#[test]
fn a_foreign_layer_whose_bytes_lie_elsewhere_is_never_left_out() {
    let person = Person::new();
    let plain = image("a");
    let retype = |media_type: &str| {
        plain.edit(|json| {
            let layer = &mut json["layers"][0];
            layer["mediaType"] = media_type.into();
            layer["urls"] = json!(["https://elsewhere.example/layer"]);
        });
    };
    // This type has no encrypted form.
    retype("application/vnd.docker.image.rootfs.foreign.diff.tar.gzip");
    let target = Memory::default();
    let error = encrypt(&plain, &target, &person.recipients(), &Silent).unwrap_err();
    assert!(
        matches!(error, ImageError::MediaType { index: 0, .. }),
        "{error}"
    );
    assert_eq!((target.is_published(), target.written()), (false, (0, 0)));
    // This one has: where its bytes are here, it is encrypted as every other, and its address goes.
    retype("application/vnd.oci.image.layer.nondistributable.v1.tar+gzip");
    let encrypted = person.encrypts(&plain);
    let layer = &encrypted.root_json()["layers"][0];
    assert!(is_encrypted(layer["mediaType"].as_str().unwrap()));
    assert!(layer.get("urls").is_none());
    // They are not: no image without it, and none that sends people to the plain layer.
    let elsewhere = estate::Digest::of("elsewhere").to_string();
    plain.edit(|json| json["layers"][0]["digest"] = elsewhere.into());
    let error = encrypt(&plain, &target, &person.recipients(), &Silent).unwrap_err();
    assert!(matches!(error, ImageError::Source(_)), "{error}");
    assert!(!target.is_published());
}

#[test]
fn an_image_without_layers_beside_one_with_layers_is_refused() {
    let person = Person::new();
    let plain = small();
    let empty = raw(media::OCI_MANIFEST, &manifest(&plain, "empty", &[]));
    plain.put_manifest(empty.clone());
    plain.edit(|json| {
        let entry = json!({"mediaType": empty.media_type, "digest": empty.id().digest, "size": empty.id().size});
        json["manifests"].as_array_mut().unwrap().push(entry);
    });
    let target = Memory::default();
    let error = encrypt(&plain, &target, &person.recipients(), &Silent).unwrap_err();
    assert!(matches!(error, ImageError::NothingToEncrypt), "{error}");
    assert_eq!((target.is_published(), target.written()), (false, (0, 0)));

    let nothing = Memory::default();
    let json = json!({"schemaVersion": 2, "mediaType": media::OCI_INDEX, "manifests": []});
    nothing.set_root(raw(media::OCI_INDEX, &json));
    let error = encrypt(&nothing, &target, &person.recipients(), &Silent).unwrap_err();
    assert!(matches!(error, ImageError::NothingToEncrypt), "{error}");
    assert!(!target.is_published());
}

#[test]
fn an_image_is_encrypted_where_it_lies() {
    let person = Person::new();
    let place = small();
    encrypt(&place, &place, &person.recipients(), &Silent).unwrap();
    assert_encrypted(&place);
    let (result, back) = person.decrypts(&place);
    assert_eq!(result.unwrap().layers, 4);
    assert_eq!(back.root_json(), small().root_json());
}

/// Counts how many questions are open, and refuses from some question on.
struct Service {
    open: AtomicUsize,
    most: AtomicUsize,
    asked: AtomicUsize,
    refuses_from: usize,
}

impl Service {
    fn refusing_from(refuses_from: usize) -> Arc<Self> {
        Arc::new(Self {
            open: AtomicUsize::new(0),
            most: AtomicUsize::new(0),
            asked: AtomicUsize::new(0),
            refuses_from,
        })
    }
}

impl KeyService for Service {
    fn name(&self) -> &str {
        "kms"
    }

    fn wrap(&self, _: &[String], options: &[u8]) -> Result<Vec<u8>, PortError> {
        let open = self.open.fetch_add(1, Ordering::SeqCst) + 1;
        self.most.fetch_max(open, Ordering::SeqCst);
        let number = self.asked.fetch_add(1, Ordering::SeqCst);
        // Long enough for all others to come.
        std::thread::sleep(std::time::Duration::from_millis(30));
        self.open.fetch_sub(1, Ordering::SeqCst);
        if number >= self.refuses_from {
            return Err(PortError::new(Kind::Denied, std::io::Error::other("no")));
        }
        Ok([b"wrapped:", options].concat())
    }

    fn unwrap(&self, _: &[String], packet: &[u8]) -> Result<Zeroizing<Vec<u8>>, PortError> {
        Ok(Zeroizing::new(
            packet.strip_prefix(b"wrapped:").unwrap().to_vec(),
        ))
    }
}

/// Reads are counted: keys are wrapped when all layers are through.
struct Counting<'a>(&'a Memory, &'a Service);

impl ImageSource for Counting<'_> {
    fn root(&self) -> Result<RawManifest, PortError> {
        self.0.root()
    }

    fn manifest(&self, id: &BlobId) -> Result<RawManifest, PortError> {
        self.0.manifest(id)
    }

    fn blob(&self, id: &BlobId) -> Result<Box<dyn BlobReader + '_>, PortError> {
        assert_eq!(self.1.asked.load(Ordering::SeqCst), 0, "too early");
        self.0.blob(id)
    }
}

fn many_layers(count: usize) -> Memory {
    let memory = Memory::default();
    let layers: Vec<_> = (0..count)
        .map(|number| (TAR, content(&number.to_string(), 50)))
        .collect();
    let json = manifest(&memory, "a", &layers);
    memory.set_root(raw(media::OCI_MANIFEST, &json));
    memory
}

#[test]
fn a_service_is_asked_for_all_layers_together_and_not_for_more_than_a_few_at_a_time() {
    let service = Service::refusing_from(usize::MAX);
    let mut recipients = Recipients::new();
    recipients.add_service(service.clone(), "Enabled");
    let plain = many_layers(40);
    let target = Memory::default();
    let source = Counting(&plain, &service);
    encrypt(&source, &target, &recipients, &Silent).unwrap();
    assert_eq!(service.asked.load(Ordering::SeqCst), 40);
    let most = service.most.load(Ordering::SeqCst);
    assert!((8..=16).contains(&most), "{most} at a time");
}

#[test]
fn a_service_that_refuses_one_key_refuses_the_image() {
    for refuses_from in [0, 2] {
        let service = Service::refusing_from(refuses_from);
        let mut recipients = Person::new().recipients();
        recipients.add_service(service.clone(), "Enabled");
        let target = Memory::default();
        let error = encrypt(&many_layers(3), &target, &recipients, &Silent).unwrap_err();
        assert!(matches!(error, ImageError::KeyService { .. }), "{error}");
        assert_eq!((error.kind(), target.is_published()), (Kind::Denied, false));
    }
}
