//! Each member of a binding counts, and nothing else is a binding.

use super::*;

const LAYER: &str = "application/vnd.oci.image.layer.v1.tar+gzip";

fn binding() -> Binding {
    Binding {
        ciphertext: Digest::of(b"ciphertext"),
        size: 10,
        media_type: LAYER.to_owned(),
        diff_id: Some(Digest::of(b"diff")),
        index: 1,
        of: 3,
        config: Digest::of(b"config"),
    }
}

fn seen<'a>() -> (SeenDescriptor<'a>, SeenPlace) {
    let layer = SeenDescriptor {
        digest: Digest::of(b"ciphertext"),
        size: 10,
        media_type: "application/vnd.oci.image.layer.v1.tar+gzip+encrypted",
    };
    (
        layer,
        SeenPlace {
            index: 1,
            of: 3,
            config: Digest::of(b"config"),
            diff_id: Some(Digest::of(b"diff")),
        },
    )
}

fn hash_of(binding: &Binding) -> Bound {
    Bound::Hash(binding.hash())
}

#[test]
fn the_json_is_the_one_of_the_design() {
    let digest = |text: &str| Digest::of(text.as_bytes());
    let expected = format!(
        r#"{{"ciphertext":"{}","config":"{}","diffId":"{}","index":1,"mediaType":"{LAYER}","of":3,"size":10,"v":1}}"#,
        digest("ciphertext"),
        digest("config"),
        digest("diff"),
    );
    assert_eq!(String::from_utf8(binding().to_json()).unwrap(), expected);
    let artifact = Binding {
        diff_id: None,
        ..binding()
    };
    assert!(
        String::from_utf8(artifact.to_json())
            .unwrap()
            .contains(r#""diffId":null"#)
    );
    for binding in [binding(), artifact] {
        assert_eq!(
            serde_json::from_slice::<Binding>(&binding.to_json()).unwrap(),
            binding
        );
    }
}

#[test]
fn a_layer_in_its_place_matches() {
    let (layer, place) = seen();
    assert_eq!(binding().check(&layer, Some(&place)), Ok(()));
    assert_eq!(binding().check(&layer, None), Ok(()));
    assert_eq!(hash_of(&binding()).check(&layer, Some(&place)), Ok(()));
    let docker = SeenDescriptor {
        media_type: "application/vnd.docker.image.rootfs.diff.tar.gzip+encrypted",
        ..layer
    };
    assert_eq!(
        binding().check(&docker, Some(&place)),
        Ok(()),
        "Docker's name of the same type"
    );
}

#[test]
fn each_member_that_differs_is_named() {
    let (layer, place) = seen();
    let other = Digest::of(b"other");
    let layers = [
        (
            "ciphertext",
            SeenDescriptor {
                digest: other,
                ..layer
            },
        ),
        ("size", SeenDescriptor { size: 11, ..layer }),
        (
            "mediaType",
            SeenDescriptor {
                media_type: "application/vnd.oci.image.layer.v1.tar+encrypted",
                ..layer
            },
        ),
        (
            "mediaType",
            SeenDescriptor {
                media_type: "nonsense",
                ..layer
            },
        ),
    ];
    for (member, layer) in layers {
        for place in [None, Some(&place)] {
            assert_eq!(binding().check(&layer, place).unwrap_err().member, member);
        }
        assert!(hash_of(&binding()).check(&layer, Some(&place)).is_err());
    }
    let places = [
        (
            "config",
            SeenPlace {
                config: other,
                ..place
            },
        ),
        ("of", SeenPlace { of: 4, ..place }),
        ("index", SeenPlace { index: 0, ..place }),
        (
            "diffId",
            SeenPlace {
                diff_id: Some(other),
                ..place
            },
        ),
        (
            "diffId",
            SeenPlace {
                diff_id: None,
                ..place
            },
        ),
    ];
    for (member, place) in places {
        assert_eq!(
            binding().check(&layer, Some(&place)).unwrap_err().member,
            member
        );
        assert!(hash_of(&binding()).check(&layer, Some(&place)).is_err());
    }
}

#[test]
fn a_hash_that_cannot_be_compared_is_no_match() {
    let (layer, _) = seen();
    assert_eq!(
        hash_of(&binding()).check(&layer, None).unwrap_err().member,
        "hash"
    );
    assert_eq!(Bound::Unbound.check(&layer, None), Ok(()));
}

#[test]
fn only_whole_bindings_of_this_version_are_read() {
    let read = |change: &dyn Fn(&mut Value)| {
        let mut value = serde_json::from_slice(&binding().to_json()).unwrap();
        change(&mut value);
        Bound::parse(Some(value))
    };
    assert!(read(&|_| {}).unwrap().is_bound());
    for member in [
        "v",
        "ciphertext",
        "size",
        "mediaType",
        "diffId",
        "index",
        "of",
        "config",
    ] {
        let missing = read(&|value| drop(value.as_object_mut().unwrap().remove(member)));
        assert!(matches!(missing, Err(OptionsError::Binding)), "{member}");
    }
    assert!(read(&|value| value["more"] = 1.into()).is_err());
    assert!(read(&|value| value["v"] = 2.into()).is_err());
    assert!(
        read(&|value| value["index"] = 3.into()).is_err(),
        "index beyond `of`"
    );
    assert!(read(&|value| value["size"] = (-1).into()).is_err());
    assert!(read(&|value| value["config"] = "sha256:00".into()).is_err());
    for member in [
        Value::Null,
        1.into(),
        "v2.AA".into(),
        "v1.AA".into(),
        "".into(),
        Value::Array(Vec::new()),
    ] {
        assert!(
            matches!(
                Bound::parse(Some(member.clone())),
                Err(OptionsError::Binding)
            ),
            "{member}"
        );
    }
}

#[test]
fn the_member_survives_in_both_forms() {
    for bound in [
        Bound::Unbound,
        Bound::Full(Box::new(binding())),
        hash_of(&binding()),
    ] {
        let member = bound
            .to_member()
            .map(|member| serde_json::from_str(&member).unwrap());
        assert_eq!(Bound::parse(member).unwrap(), bound);
    }
}
