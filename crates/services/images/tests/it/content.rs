//! What bound layers unpack to: compared with the configuration, or left to the runtime on demand.

use std::io::Write;

use flate2::Compression;
use flate2::write::GzEncoder;
use images::{
    BoundContent, DecryptOptions, EncryptOptions, ImageError, LayerChoice, RekeyOptions, Silent,
    VerifyOptions, encrypt_with, rekey, verify,
};

use crate::build::{GZIP, Person, TAR, image};
use crate::limits::with_layer;
use crate::memory::Memory;
use crate::unbound::peers_image;

fn leaves() -> DecryptOptions {
    DecryptOptions {
        bound_content: BoundContent::Leave,
        ..DecryptOptions::default()
    }
}

fn gzip(bytes: &[u8]) -> Vec<u8> {
    let mut encoder = GzEncoder::new(Vec::new(), Compression::fast());
    encoder.write_all(bytes).unwrap();
    encoder.finish().unwrap()
}

#[test]
fn other_content_that_somebody_bound_is_found_unless_it_is_left_to_the_runtime() {
    let ann = Person::new();
    // Everybody with Ann's public key can bind this to a configuration of hers.
    let forged = ann.encrypts(&with_layer(GZIP, &gzip(b"not what the configuration says")));
    let (result, target) = ann.decrypts(&forged);
    assert!(matches!(result, Err(ImageError::DiffId { index: 0 })));
    assert!(!target.is_published());
    let left = ann.decrypts_with(&forged, leaves()).0.unwrap();
    assert_eq!((left.layers, left.left), (1, 1));
    let verified = ann.decrypts(&ann.encrypts(&image("a"))).0.unwrap();
    assert_eq!((verified.layers, verified.left), (3, 0));
}

#[test]
fn what_is_left_comes_back_as_it_was_and_everything_else_is_verified() {
    let ann = Person::new();
    let encrypted = ann.encrypts(&image("a"));
    let (result, target) = ann.decrypts_with(&encrypted, leaves());
    // The one between them is not packed.
    assert_eq!(result.unwrap().left, 2);
    assert_eq!(target.root_json(), image("a").root_json());

    encrypted.edit(|json| json["layers"].as_array_mut().unwrap().swap(0, 2));
    let (result, target) = ann.decrypts_with(&encrypted, leaves());
    assert!(matches!(result, Err(ImageError::BoundElsewhere { .. })));
    assert!(!target.is_published());
}

#[test]
fn what_costs_nothing_is_compared_and_what_nobody_can_compare_is_refused() {
    let ann = Person::new();
    let forged = ann.encrypts(&with_layer(TAR, b"not what the configuration says"));
    let (result, target) = ann.decrypts_with(&forged, leaves());
    assert!(matches!(result, Err(ImageError::DiffId { index: 0 })));
    assert!(!target.is_published());
    let wasm = "application/vnd.wasm.content.layer.v1+wasm";
    let unknown = ann.encrypts(&with_layer(wasm, b"of a packing that is not known"));
    let (result, target) = ann.decrypts_with(&unknown, leaves());
    assert!(matches!(result, Err(ImageError::UnknownPacking { .. })));
    assert!(!target.is_published());
}

#[test]
fn verify_and_rekey_leave_nothing() {
    let ann = Person::new();
    let opener = ann.opener();
    let forged = ann.encrypts(&with_layer(GZIP, &gzip(b"not what the configuration says")));
    let options = VerifyOptions {
        openers: vec![&opener],
        checks: leaves(),
        ..VerifyOptions::default()
    };
    let verified = verify(&forged, &options, &Silent).map(drop);
    assert!(matches!(verified, Err(ImageError::DiffId { index: 0 })));
    let options = RekeyOptions {
        openers: vec![&opener],
        checks: leaves(),
        ..RekeyOptions::default()
    };
    let target = Memory::default();
    let rekeyed = rekey(&forged, &target, &ann.recipients(), &options, &Silent).map(drop);
    assert!(matches!(rekeyed, Err(ImageError::DiffId { index: 0 })));
    assert!(!target.is_published());
}

#[test]
fn layers_without_a_binding_are_unpacked_in_any_case() {
    let ann = Person::new();
    let swapped = peers_image(&ann, &[0, 1, 2]);
    swapped.edit(|json| json["layers"].as_array_mut().unwrap().swap(0, 2));
    let result = ann.decrypts_with(&swapped, leaves()).0;
    assert!(matches!(result, Err(ImageError::DiffId { .. })));

    let target = Memory::default();
    let options = EncryptOptions {
        layers: LayerChoice::new(vec![-1]),
        ..EncryptOptions::default()
    };
    encrypt_with(&image("a"), &target, &ann.recipients(), &options, &Silent).unwrap();
    let other = image("b");
    let foreign = other.root_json()["layers"][0].clone();
    target.put_blob(&other.get_blob(foreign["digest"].as_str().unwrap()));
    target.edit(|json| json["layers"][0] = foreign);
    let result = ann.decrypts_with(&target, leaves()).0;
    assert!(matches!(result, Err(ImageError::DiffId { index: 0 })));
}
