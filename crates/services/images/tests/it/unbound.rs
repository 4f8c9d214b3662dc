//! Images that other tools encrypted: they carry no binding.

use std::collections::BTreeMap;

use images::{
    BlobId, BoundContent, DecryptOptions, ImageError, Kind, Plan, RecipientsEdit, RekeyOptions,
    Silent, Unbound, UnknownPacking, UnpackedLimit, edit_recipients, rekey,
};
use jose::jwe::EncryptionKey;
use jose::key_file::parse_public;
use oci_crypt::{Bound, JweWrapper, LayerSealer, SystemRandomness, seal_annotations};
use serde_json::{Value, json};

use crate::build::{Person, image};
use crate::memory::Memory;

/// Encrypts one layer as a tool does that knows nothing of bindings; `claimed` is what it says it encrypted.
fn seal_as_peer(person: &Person, memory: &Memory, layer: &mut Value, claimed: &[u8]) {
    let plain = memory.get_blob(layer["digest"].as_str().unwrap());
    let mut sealer = LayerSealer::new(&mut SystemRandomness).unwrap();
    let mut ciphertext = vec![0; plain.len()];
    sealer.update(&plain, &mut ciphertext).unwrap();
    let (public, private) = sealer
        .finish()
        .unwrap()
        .into_options(oci_crypt::Digest::of(claimed), Bound::Unbound);
    let key = EncryptionKey::from_jwk(&parse_public(&person.public).unwrap()).unwrap();
    let annotations: BTreeMap<String, String> =
        seal_annotations(&public, &private, &[&JweWrapper::new(vec![key])]).unwrap();
    let BlobId { digest, size } = memory.put_blob(&ciphertext);
    let media_type = format!("{}+encrypted", layer["mediaType"].as_str().unwrap());
    *layer = json!({"mediaType": media_type, "digest": digest, "size": size, "annotations": annotations});
}

pub(crate) fn peers_image(person: &Person, which: &[usize]) -> Memory {
    let memory = image("a");
    let mut layers = memory.root_json()["layers"].clone();
    for index in which {
        let plain = memory.get_blob(layers[index]["digest"].as_str().unwrap());
        seal_as_peer(person, &memory, &mut layers[index], &plain);
    }
    memory.edit(|json| json["layers"] = layers);
    memory
}

const STRICT: DecryptOptions = DecryptOptions {
    unbound: Unbound::Refuse,
    unknown_packing: UnknownPacking::Refuse,
    unpacked: UnpackedLimit::Usual,
    bound_content: BoundContent::Verify,
};

#[test]
fn they_are_decrypted_and_counted() {
    let person = Person::new();
    for which in [&[0, 1, 2][..], &[1]] {
        let (result, target) = person.decrypts(&peers_image(&person, which));
        let result = result.unwrap();
        assert_eq!((result.layers, result.unbound), (which.len(), which.len()));
        assert_eq!(
            target.root_json()["layers"][1]["digest"],
            image("a").root_json()["layers"][1]["digest"]
        );
    }
}

#[test]
fn they_are_refused_on_demand() {
    let person = Person::new();
    let (result, target) = person.decrypts_with(&peers_image(&person, &[0, 1, 2]), STRICT);
    assert!(matches!(result, Err(ImageError::Unbound { index: 0 })));
    assert_eq!(target.written(), (0, 0));
    person
        .decrypts_with(&person.encrypts(&image("a")), STRICT)
        .0
        .unwrap();
}

/// Whoever rekeys vouches for an image that anybody can have assembled: that is told, and refused on demand.
#[test]
fn a_new_binding_where_there_was_none_is_counted_and_can_be_refused() {
    let person = Person::new();
    let opener = person.opener();
    let counted = |source: &Memory, checks| {
        let options = RekeyOptions {
            openers: vec![&opener],
            checks,
            ..RekeyOptions::default()
        };
        let target = Memory::default();
        let to = person.recipients();
        rekey(source, &target, &to, &options, &Silent).map(|rekeyed| rekeyed.unbound)
    };
    let (loose, bound) = (peers_image(&person, &[0, 2]), person.encrypts(&image("a")));
    let lenient = DecryptOptions::default();
    assert_eq!(counted(&loose, lenient).unwrap(), 2);
    assert_eq!(counted(&bound, lenient).unwrap(), 0);
    assert_eq!(counted(&bound, STRICT).unwrap(), 0);
    let refused = counted(&loose, STRICT);
    assert!(matches!(refused, Err(ImageError::Unbound { index: 0 })));
}

#[test]
fn bound_and_unbound_layers_are_no_image() {
    let person = Person::new();
    let bound = person.encrypts(&image("a"));
    let peers = peers_image(&person, &[0, 1, 2]);
    let loose = peers.root_json()["layers"][2].clone();
    bound.put_blob(&peers.get_blob(loose["digest"].as_str().unwrap()));
    bound.edit(|json| json["layers"][2] = loose);
    let (result, target) = person.decrypts(&bound);
    assert!(matches!(result, Err(ImageError::Unbound { index: 2 })));
    assert_eq!(target.written(), (0, 0));
}

#[test]
fn swapped_layers_do_not_match_their_configuration() {
    let person = Person::new();
    let attacked = peers_image(&person, &[0, 1, 2]);
    attacked.edit(|json| json["layers"].as_array_mut().unwrap().swap(0, 2));
    let (result, target) = person.decrypts(&attacked);
    assert!(matches!(result, Err(ImageError::DiffId { .. })));
    assert!(!target.is_published());
}

#[test]
fn hiding_the_configuration_does_not_switch_the_check_off() {
    let person = Person::new();
    let attacked = peers_image(&person, &[0, 1, 2]);
    attacked.edit(|json| {
        json["layers"].as_array_mut().unwrap().swap(0, 2);
        json["config"]["mediaType"] = "application/vnd.oci.empty.v1+json".into();
    });
    let (result, target) = person.decrypts(&attacked);
    assert!(matches!(result, Err(ImageError::Unbound { index: 0 })));
    assert_eq!(target.written(), (0, 0));
}

#[test]
fn a_wrong_digest_of_the_author_is_found() {
    let person = Person::new();
    let memory = image("a");
    let mut layers = memory.root_json()["layers"].clone();
    seal_as_peer(&person, &memory, &mut layers[1], b"something else");
    memory.edit(|json| json["layers"] = layers);
    let (result, _) = person.decrypts(&memory);
    assert!(matches!(result, Err(ImageError::PlainDigest { index: 1 })));
}

/// As skopeo encrypts a layer that was not packed yet: the digest is that of the tar, the layer is its gzip.
#[test]
fn a_layer_that_was_packed_on_its_way_is_judged_by_its_content() {
    let person = Person::new();
    let memory = image("a");
    let mut layers = memory.root_json()["layers"].clone();
    let packed = layers.as_array().unwrap().iter().position(|layer| {
        let media_type = layer["mediaType"].as_str().unwrap();
        media_type.ends_with("gzip")
    });
    let packed = packed.unwrap();
    seal_as_peer(&person, &memory, &mut layers[packed], b"what it was before");
    memory.edit(|json| json["layers"] = layers);
    let (result, target) = person.decrypts(&memory);
    result.unwrap();
    assert!(target.is_published());
}

#[test]
fn an_unknown_packing_needs_to_be_waived() {
    let person = Person::new();
    let memory = image("a");
    let mut layers = memory.root_json()["layers"].clone();
    layers[1]["mediaType"] = "application/vnd.new.layer+brotli".into();
    let plain = memory.get_blob(layers[1]["digest"].as_str().unwrap());
    seal_as_peer(&person, &memory, &mut layers[1], &plain);
    memory.edit(|json| json["layers"] = layers);
    let (result, target) = person.decrypts(&memory);
    let error = result.unwrap_err();
    assert!(matches!(error, ImageError::UnknownPacking { index: 1, .. }));
    assert_eq!(error.kind(), Kind::VerificationFailed);
    assert_eq!(target.written(), (0, 0));
    let waived = DecryptOptions {
        unknown_packing: UnknownPacking::Accept,
        ..DecryptOptions::default()
    };
    person.decrypts_with(&memory, waived).0.unwrap();
}

/// Another's layer may have been put there so that somebody new gets its key.
#[test]
fn whoever_is_added_to_them_is_told() {
    let (ann, bob) = (Person::new(), Person::new());
    let (recipients, opener) = (bob.recipients(), ann.opener());
    let add = |memory: &Memory| {
        let edit = RecipientsEdit {
            add: Some(&recipients),
            openers: vec![&opener],
            ..RecipientsEdit::default()
        };
        edit_recipients(memory, memory, &edit, Plan::Do).unwrap()
    };
    assert_eq!(add(&peers_image(&ann, &[0, 2])).unbound, 2);
    assert_eq!(add(&ann.encrypts(&image("a"))).unbound, 0);
}
