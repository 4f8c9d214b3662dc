//! What is too large is refused: quickly, by its name, and before anything is published.

use std::io::Write;

use flate2::Compression;
use flate2::write::GzEncoder;
use images::{
    DecryptOptions, ImageError, Kind, RawManifest, Recipients, RekeyOptions, Silent, UnpackedLimit,
    VerifyOptions, encrypt, inspect, media, rebind_within, rekey, verify,
};
use serde_json::{Value, json};

use crate::build::{CONFIG, GZIP, Person, ZSTD, image, raw};
use crate::memory::Memory;

/// So many mebibytes of zeros, packed.
fn bomb(media_type: &str, mebibytes: usize) -> Vec<u8> {
    let zeros = vec![0; 1 << 20];
    let mut gzip = GzEncoder::new(Vec::new(), Compression::fast());
    let mut zstd = zstd::stream::write::Encoder::new(Vec::new(), 1).unwrap();
    for _ in 0..mebibytes {
        match media_type {
            GZIP => gzip.write_all(&zeros).unwrap(),
            _ => zstd.write_all(&zeros).unwrap(),
        }
    }
    match media_type {
        GZIP => gzip.finish().unwrap(),
        _ => zstd.finish().unwrap(),
    }
}

pub(crate) fn with_layer(media_type: &str, packed: &[u8]) -> Memory {
    let memory = Memory::default();
    let config = json!({
        "architecture": "amd64", "os": "linux",
        "rootfs": {"type": "layers", "diff_ids": [estate::Digest::of("nobody knows")]},
    });
    let config = memory.put_blob(&serde_json::to_vec(&config).unwrap());
    let layer = memory.put_blob(packed);
    let json = json!({
        "schemaVersion": 2, "mediaType": media::OCI_MANIFEST,
        "config": {"mediaType": CONFIG, "digest": config.digest, "size": config.size},
        "layers": [{"mediaType": media_type, "digest": layer.digest, "size": layer.size}],
    });
    memory.set_root(raw(media::OCI_MANIFEST, &json));
    memory
}

fn exceeds(error: &ImageError, most: u64) {
    assert!(
        matches!(error, ImageError::UnpacksTooLarge { index: 0, limit } if *limit == most),
        "{error}"
    );
    assert_eq!(error.kind(), Kind::VerificationFailed);
    assert!(error.to_string().contains(&most.to_string()));
}

#[test]
fn a_bomb_ends_at_the_limit_in_every_operation() {
    let ann = Person::new();
    let opener = ann.opener();
    for media_type in [GZIP, ZSTD] {
        let bombed = ann.encrypts(&with_layer(media_type, &bomb(media_type, 32)));
        let checks = DecryptOptions {
            unpacked: UnpackedLimit::AtMost(5_000_000),
            ..DecryptOptions::default()
        };
        let (refused, target) = ann.decrypts_with(&bombed, checks);
        exceeds(&refused.unwrap_err(), 5_000_000);
        assert!(!target.is_published());
        let options = RekeyOptions {
            openers: vec![&opener],
            checks,
            ..RekeyOptions::default()
        };
        let to = ann.recipients();
        exceeds(
            &rekey(&bombed, &target, &to, &options, &Silent).unwrap_err(),
            5_000_000,
        );
        let rebound = rebind_within(&bombed, &target, &[&opener], &to, checks.unpacked, &Silent);
        exceeds(&rebound.unwrap_err(), 5_000_000);
        let options = VerifyOptions {
            openers: vec![&opener],
            checks,
            ..VerifyOptions::default()
        };
        exceeds(&verify(&bombed, &options, &Silent).unwrap_err(), 5_000_000);
        assert!(!target.is_published());
    }
}

#[test]
fn a_bomb_ends_at_a_gibibyte_where_nobody_says_more() {
    let ann = Person::new();
    let bombed = ann.encrypts(&with_layer(ZSTD, &bomb(ZSTD, 1025)));
    let (refused, target) = ann.decrypts(&bombed);
    exceeds(&refused.unwrap_err(), 1 << 30);
    assert!(!target.is_published());
}

#[test]
fn what_may_be_that_large_passes() {
    let ann = Person::new();
    let encrypted = ann.encrypts(&image("a"));
    let checks = |most| DecryptOptions {
        unpacked: UnpackedLimit::AtMost(most),
        ..DecryptOptions::default()
    };
    ann.decrypts_with(&encrypted, checks(2_000_000)).0.unwrap();
    let (refused, target) = ann.decrypts_with(&encrypted, checks(1_000_000));
    exceeds(&refused.unwrap_err(), 1_000_000);
    assert!(!target.is_published());
}

/// Every door.
fn refused_everywhere(memory: &Memory) -> ImageError {
    let ann = Person::new();
    let opener = ann.opener();
    let target = Memory::default();
    let encrypting = encrypt(memory, &target, &ann.recipients(), &Silent).unwrap_err();
    let decrypting = ann.decrypts(memory).0.unwrap_err();
    let options = VerifyOptions {
        openers: vec![&opener],
        ..VerifyOptions::default()
    };
    let verifying = verify(memory, &options, &Silent).unwrap_err();
    for error in [&encrypting, &decrypting, &verifying] {
        assert!(
            matches!(error.kind(), Kind::Failed | Kind::VerificationFailed),
            "{error}"
        );
    }
    assert_eq!((target.is_published(), target.written()), (false, (0, 0)));
    decrypting
}

fn edited(edit: impl FnOnce(&mut Value)) -> Memory {
    let memory = image("a");
    memory.edit(edit);
    memory
}

#[test]
fn a_hundred_thousand_layers_are_too_many() {
    let many = edited(|json| {
        let layer = json["layers"][0].clone();
        json["layers"] = vec![layer; 100_000].into();
    });
    assert!(matches!(
        refused_everywhere(&many),
        ImageError::TooLarge { .. }
    ));
    assert!(matches!(
        inspect(&many, &[]),
        Err(ImageError::TooLarge { .. })
    ));
    // As many as fit into a manifest that is read.
    let some = edited(|json| {
        let mut layer = json["layers"][0].clone();
        layer.as_object_mut().unwrap().remove("annotations");
        json["layers"] = vec![layer; 20_000].into();
    });
    assert!(matches!(
        refused_everywhere(&some),
        ImageError::TooManyLayers
    ));
}

#[test]
fn ten_mebibytes_of_annotation_are_too_much() {
    let ann = Person::new();
    let encrypted = ann.encrypts(&image("a"));
    encrypted.edit(|json| json["layers"][0]["annotations"]["note"] = "x".repeat(10 << 20).into());
    assert!(matches!(
        refused_everywhere(&encrypted),
        ImageError::TooLarge { .. }
    ));
    // What fits into a manifest is still too long for an annotation of encryption.
    let encrypted = ann.encrypts(&image("a"));
    encrypted.edit(|json| {
        json["layers"][0]["annotations"]["org.opencontainers.image.enc.keys.jwe"] =
            "A".repeat(2 << 20).into();
    });
    let error = ann.decrypts(&encrypted).0.unwrap_err();
    assert_eq!(error.kind(), Kind::VerificationFailed, "{error}");
}

#[test]
fn more_packets_than_are_read_are_neither_read_nor_written() {
    let ann = Person::new();
    let encrypted = ann.encrypts(&image("a"));
    encrypted.edit(|json| {
        let packets =
            &mut json["layers"][0]["annotations"]["org.opencontainers.image.enc.keys.jwe"];
        let one = packets.as_str().unwrap().to_owned();
        *packets = vec![one; 65].join(",").into();
    });
    let error = ann.decrypts(&encrypted).0.unwrap_err();
    assert_eq!(error.kind(), Kind::VerificationFailed, "{error}");

    let mut many = Recipients::new();
    for number in 0..65 {
        many.add_broker_key(&format!("kbs:///default/key/{number}"), &[number; 32])
            .unwrap();
    }
    let target = Memory::default();
    let error = encrypt(&image("a"), &target, &many, &Silent).unwrap_err();
    assert!(matches!(error, ImageError::Seal { .. }), "{error}");
    assert_eq!((error.kind(), target.is_published()), (Kind::Failed, false));
}

#[test]
fn a_manifest_of_nothing_but_names_is_not_compared_for_ever() {
    let mut text = String::from(r#"{"schemaVersion":2"#);
    for number in 0..200_000 {
        text.push_str(&format!(r#","m{number}":1"#));
    }
    text.push('}');
    let memory = Memory::default();
    memory.set_root(RawManifest {
        media_type: media::OCI_MANIFEST.to_owned(),
        bytes: text.into_bytes(),
    });
    refused_everywhere(&memory);
}

/// Names that differ in their last characters only are the dearest to compare.
#[test]
fn a_thousand_long_annotations_cost_no_minutes() {
    let (memory, ann) = (image("a"), Person::new());
    for prefix in ["x", "org.opencontainers.image.enc."] {
        let name = |number| format!("{prefix}{}{number}", "a".repeat(400));
        memory.edit(|json| {
            let names = (0..500).map(|number| (name(number), json!("")));
            let annotations = json["layers"][0]["annotations"].as_object_mut().unwrap();
            annotations.extend(names);
        });
    }
    let encrypted = ann.encrypts(&memory);
    // In as many passes as there are annotations, each of these would take minutes.
    inspect(&encrypted, &[&ann.opener()]).unwrap();
    ann.decrypts(&encrypted).0.unwrap();
}
