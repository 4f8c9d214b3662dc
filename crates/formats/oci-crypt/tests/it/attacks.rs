//! What must not work, named after the attack.

use std::collections::BTreeMap;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use hpke_xwing::Suite;
use oci_crypt::*;
use proptest::prelude::*;
use serde_json::Value;

use crate::support::{Keys, Layer};

const OURS: &str = "org.opencontainers.image.enc.keys.provider.bailiwick";
const JWE: &str = "org.opencontainers.image.enc.keys.jwe";

fn layer() -> (Keys, Layer) {
    let keys = Keys::new(Suite::X25519);
    let layer = keys.seal(b"what only medrec may read", 1, Digest::of(b"config"));
    (keys, layer)
}

fn change(annotations: &mut BTreeMap<String, String>, name: &str, change: impl FnOnce(&mut Value)) {
    let text = STANDARD.decode(&annotations[name]).unwrap();
    let mut value = serde_json::from_slice(&text).unwrap();
    change(&mut value);
    annotations.insert(name.to_owned(), STANDARD.encode(value.to_string()));
}

fn refusal(layer: &Layer, keys: &Keys) -> OpenError {
    open_layer_key("sha256:layer", &layer.annotations, &[&keys.opener()])
        .map(drop)
        .unwrap_err()
}

#[test]
fn public_nonce_injected() {
    let (keys, mut layer) = layer();
    change(&mut layer.annotations, PUBOPTS, |options| {
        options["cipheroptions"]["nonce"] = STANDARD.encode([0; 16]).into();
    });
    let OpenError::Annotations {
        layer: named,
        source,
    } = refusal(&layer, &keys)
    else {
        panic!("refused early")
    };
    assert_eq!(named, "sha256:layer");
    assert!(matches!(
        source,
        AnnotationError::Options {
            source: OptionsError::PublicNonce
        }
    ));
}

#[test]
fn bit_flipped() {
    // The attacker repairs the digest of an unbound layer too: only the HMAC stands.
    let (keys, mut layer) = layer();
    layer.ciphertext[3] ^= 1;
    assert!(
        layer
            .open(&keys.opener())
            .unwrap_err()
            .starts_with("binding: layer is bound to ciphertext")
    );
    let (private, public) = open_layer_key("1", &layer.annotations, &[&keys.opener()]).unwrap();
    let mut opener = LayerOpener::new(private.key(), &public).unwrap();
    let mut plain = vec![0; layer.ciphertext.len()];
    opener.update(&layer.ciphertext, &mut plain).unwrap();
    assert_eq!(opener.finish(), Err(CipherError::Altered));
}

#[test]
fn hmac_replaced() {
    let (keys, mut layer) = layer();
    change(&mut layer.annotations, PUBOPTS, |options| {
        options["hmac"] = STANDARD.encode([0; 32]).into()
    });
    assert!(
        layer
            .open(&keys.opener())
            .unwrap_err()
            .starts_with("content: ")
    );
}

#[test]
fn packet_of_another_authority() {
    let (keys, mut layer) = layer();
    layer.annotations.remove(JWE);
    change(&mut layer.annotations, OURS, |packet| {
        packet["authority"] = "spiffe://other.example".into()
    });
    let refused = refusal(&layer, &keys);
    assert!(matches!(refused, OpenError::NoKey { .. }));
    let text = "no key at hand opens layer `sha256:layer`, which has packets of provider.bailiwick";
    assert_eq!(refused.to_string(), text);
}

#[test]
fn other_suite() {
    let (keys, mut layer) = layer();
    layer.annotations.remove(JWE);
    for suite in [Suite::XWing.name(), "x25519-none"] {
        change(&mut layer.annotations, OURS, |packet| {
            packet["suite"] = suite.into()
        });
        assert!(
            matches!(refusal(&layer, &keys), OpenError::NoKey { .. }),
            "{suite}"
        );
    }
}

#[test]
fn packet_relabelled_to_another_image() {
    let (keys, mut layer) = layer();
    change(&mut layer.annotations, OURS, |packet| {
        packet["resource"] = "other".into()
    });
    let OpenError::Packet { scheme, source, .. } = refusal(&layer, &keys) else {
        panic!("ours, and refused")
    };
    assert_eq!(scheme.as_str(), "provider.bailiwick");
    assert!(matches!(source, PacketError::Resource { .. }));
}

#[test]
fn packet_with_a_member_more() {
    let (keys, mut layer) = layer();
    change(&mut layer.annotations, OURS, |packet| {
        packet["lenient"] = true.into()
    });
    assert!(matches!(
        refusal(&layer, &keys),
        OpenError::Annotations {
            source: AnnotationError::Packet { .. },
            ..
        }
    ));
}

#[test]
fn packet_of_another_layer() {
    // Key, nonce and HMAC of the first layer over the second one's bytes.
    let (keys, first) = layer();
    let mut second = keys.seal(b"another one", 2, Digest::of(b"config"));
    second.annotations = first.annotations;
    assert!(
        second
            .open(&keys.opener())
            .unwrap_err()
            .starts_with("binding: layer is bound to ciphertext")
    );
}

#[test]
fn layer_under_another_binding() {
    let (keys, layer) = layer();
    let swapped = Layer { index: 0, ..layer };
    assert!(
        swapped
            .open(&keys.opener())
            .unwrap_err()
            .starts_with("binding: layer is bound to index `1`")
    );
    let transplanted = Layer {
        index: 1,
        config: Digest::of(b"other config"),
        ..swapped
    };
    assert!(
        transplanted
            .open(&keys.opener())
            .unwrap_err()
            .starts_with("binding: layer is bound to config")
    );
}

#[test]
fn annotation_too_long() {
    let (keys, mut layer) = layer();
    layer.annotations.insert(
        format!("{KEYS_PREFIX}pgp"),
        "A".repeat(MAX_ANNOTATION_LEN + 4),
    );
    let refused = refusal(&layer, &keys);
    assert!(matches!(
        refused,
        OpenError::Annotations {
            source: AnnotationError::TooLong { .. },
            ..
        }
    ));
}

#[test]
fn too_many_packets() {
    let (keys, mut layer) = layer();
    let mut with = |count: usize| {
        layer
            .annotations
            .insert(format!("{KEYS_PREFIX}pgp"), vec!["AAAA"; count].join(","));
        open_layer_key("1", &layer.annotations, &[&keys.opener()]).map(drop)
    };
    assert!(with(MAX_PACKETS - 2).is_ok());
    let refused = with(MAX_PACKETS - 1).unwrap_err();
    assert!(matches!(
        refused,
        OpenError::Annotations {
            source: AnnotationError::TooManyPackets,
            ..
        }
    ));
}

#[test]
fn more_packets_than_are_read_are_not_written() {
    let (keys, layer) = layer();
    let (private, public) = open_layer_key("1", &layer.annotations, &[&keys.opener()]).unwrap();
    let packet = keys.wrapper().wrap(&private).unwrap();
    assert!(annotations_of(&public, vec![packet.clone(); MAX_PACKETS]).is_ok());
    for count in [0, MAX_PACKETS + 1] {
        assert!(
            annotations_of(&public, vec![packet.clone(); count]).is_err(),
            "{count}"
        );
    }
}

#[test]
fn nothing_to_open() {
    let (keys, mut layer) = layer();
    layer.annotations.remove(JWE);
    layer.annotations.remove(OURS);
    let refused = refusal(&layer, &keys);
    assert!(matches!(
        refused,
        OpenError::Annotations {
            source: AnnotationError::NoPackets,
            ..
        }
    ));
    layer.annotations.remove(PUBOPTS);
    let refused = refusal(&layer, &keys);
    assert!(matches!(
        refused,
        OpenError::Annotations {
            source: AnnotationError::NoPublicOptions,
            ..
        }
    ));
}

#[test]
fn odd_base64_and_odd_schemes() {
    let (keys, layer) = layer();
    for value in ["", ",AAAA", "AAAA,", "AA", "AA==\n", "AB==", "A-_A"] {
        let mut annotations = layer.annotations.clone();
        annotations.insert(format!("{KEYS_PREFIX}pgp"), value.to_owned());
        let refused = refusal(
            &Layer {
                annotations,
                ..keys.seal(b"", 0, layer.config)
            },
            &keys,
        );
        assert!(
            matches!(
                refused,
                OpenError::Annotations {
                    source: AnnotationError::Base64 { .. },
                    ..
                }
            ),
            "{value:?}"
        );
    }
    for scheme in ["", "a b", "a\n", "ä"] {
        let mut annotations = layer.annotations.clone();
        annotations.insert(format!("{KEYS_PREFIX}{scheme}"), "AAAA".to_owned());
        let refused = refusal(
            &Layer {
                annotations,
                ..keys.seal(b"", 0, layer.config)
            },
            &keys,
        );
        assert!(
            matches!(
                refused,
                OpenError::Annotations {
                    source: AnnotationError::Packet { .. },
                    ..
                }
            ),
            "{scheme:?}"
        );
    }
}

#[test]
fn a_broken_packet_does_not_hide_a_good_one() {
    let (keys, mut layer) = layer();
    change(&mut layer.annotations, JWE, |packet| {
        packet["tag"] = "AAAAAAAAAAAAAAAAAAAAAA".into()
    });
    let developer = JweOpener::new(vec![keys.developer]);
    let keys = Keys {
        developer: jose::jwe::DecryptionKey::generate_ec(jose::Curve::P256).unwrap(),
        ..keys
    };
    let alone = open_layer_key("1", &layer.annotations, &[&developer])
        .map(drop)
        .unwrap_err();
    assert!(matches!(
        alone,
        OpenError::Packet {
            source: PacketError::Jwe { .. },
            ..
        }
    ));
    assert!(open_layer_key("1", &layer.annotations, &[&developer, &keys.opener()]).is_ok());
}

proptest! {
    #[test]
    fn hostile_annotations_are_an_error_and_no_crash(
        pubopts in ".{0,80}", scheme in "jwe|provider.bailiwick|pgp|.{0,5}", list in "[A-Za-z0-9+/=,{}\"]{0,120}",
    ) {
        let annotations = BTreeMap::from([
            (PUBOPTS.to_owned(), pubopts),
            (format!("{KEYS_PREFIX}{scheme}"), list.clone()),
        ]);
        prop_assert!(LayerAnnotations::parse(&annotations).is_err());
        let (_, mut layer) = layer();
        layer.annotations.insert(format!("{KEYS_PREFIX}{scheme}"), list);
        let keys = Keys::new(Suite::X25519);
        prop_assert!(open_layer_key("1", &layer.annotations, &[&keys.opener(), &JweOpener::new(vec![keys.developer])]).is_err());
    }
}
