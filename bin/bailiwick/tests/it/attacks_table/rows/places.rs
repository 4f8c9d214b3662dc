//! Layers in places that are not theirs, and under types that are not theirs.

use estate::Digest;
use fixture::Image;
use serde_json::{Value, json};

use super::super::bench::{Attack, Bench, GZIP, TAR, on_bound, on_unbound};

type Why = (&'static [&'static str], &'static str);

const INDEX: Why = (&["bound to index"], "the binding: index");
const CONFIG: Why = (&["bound to config"], "the binding: configuration");
const TYPE: Why = (&["bound to mediaType"], "the binding: media type");

pub(crate) fn attacks() -> Vec<Attack> {
    let mut attacks = moved();
    attacks.extend(replaced());
    attacks.extend(relabelled());
    attacks
}

fn moved() -> Vec<Attack> {
    vec![
        on_bound("two layers swapped", INDEX, Some(0), |_, image| {
            swap(image, "layers")
        }),
        on_bound(
            "two layers swapped, with a configuration that fits",
            CONFIG,
            Some(0),
            |_, image| {
                swap(image, "layers");
                image.edit_config(|config| {
                    config["rootfs"]["diff_ids"]
                        .as_array_mut()
                        .unwrap()
                        .swap(0, 2);
                });
            },
        ),
        on_unbound(
            "two unbound layers swapped",
            (&["does not unpack to"], "the configuration's diff ids"),
            None,
            |_, image| swap(image, "layers"),
        ),
        on_bound("all layers in another order", INDEX, Some(0), |_, image| {
            image.edit_manifest(|manifest| {
                manifest["layers"].as_array_mut().unwrap().rotate_left(1);
            });
        }),
        on_bound(
            "a layer left out",
            (
                &["the configuration lists 3 layers"],
                "the configuration's diff ids",
            ),
            None,
            |_, image| {
                image.edit_manifest(|manifest| {
                    drop(manifest["layers"].as_array_mut().unwrap().pop())
                });
            },
        ),
        on_bound(
            "a layer left out, with a configuration that fits",
            CONFIG,
            Some(0),
            |_, image| {
                image.edit_manifest(|manifest| {
                    drop(manifest["layers"].as_array_mut().unwrap().pop())
                });
                image.edit_config(|config| {
                    drop(config["rootfs"]["diff_ids"].as_array_mut().unwrap().pop());
                });
            },
        ),
        on_bound("one layer twice", INDEX, Some(1), |_, image| {
            image.edit_manifest(|manifest| manifest["layers"][1] = manifest["layers"][0].clone());
        }),
        on_bound(
            "another entry point in the configuration",
            CONFIG,
            Some(0),
            |_, image| {
                image.edit_config(|config| config["config"]["Entrypoint"] = json!(["/bin/thief"]))
            },
        ),
    ]
}

fn swap(image: &Image, member: &str) {
    image.edit_manifest(|manifest| manifest[member].as_array_mut().unwrap().swap(0, 2));
}

fn replaced() -> Vec<Attack> {
    vec![
        on_bound(
            "a layer of another image for the same recipient",
            CONFIG,
            Some(0),
            transplant,
        ),
        on_bound(
            "a readable layer in the place of an encrypted one",
            (&["does not unpack to"], "the configuration's diff ids"),
            None,
            |_, image| {
                plain_in_place_of(image, 1);
            },
        ),
        on_bound(
            "a readable layer, with a configuration that fits",
            CONFIG,
            None,
            |_, image| {
                let diff_id = plain_in_place_of(image, 1);
                image.edit_config(|config| config["rootfs"]["diff_ids"][1] = json!(diff_id));
            },
        ),
        on_bound(
            "readable layers in the place of all",
            (
                &["the image has no encrypted layer", "does not unpack to"],
                "a readable image is not what was asked for",
            ),
            None,
            |_, image| {
                for layer in 0..3 {
                    plain_in_place_of(image, layer);
                }
            },
        ),
    ]
}

fn transplant(bench: &Bench, image: &Image) {
    let stolen = bench.other.manifest()["layers"][0].clone();
    image.put(&bench.other.blob(stolen["digest"].as_str().unwrap()));
    image.edit_layer(0, |layer| *layer = stolen);
}

/// Gives the digest of its content.
fn plain_in_place_of(image: &Image, layer: usize) -> String {
    let blob = image.put(b"a layer of the thief");
    image.edit_layer(layer, |layer| {
        *layer = json!({"mediaType": TAR, "digest": blob.digest, "size": blob.size});
    });
    Digest::of("a layer of the thief").to_string()
}

fn relabelled() -> Vec<Attack> {
    let typed = |name, why: Why, decoder, media_type: String| {
        on_bound(name, why, decoder, move |_: &Bench, image: &Image| {
            image.edit_layer(0, |layer| {
                layer["mediaType"] = Value::from(media_type.clone())
            });
        })
    };
    vec![
        typed(
            "an unpacked layer called packed",
            TYPE,
            Some(0),
            format!("{GZIP}+encrypted"),
        ),
        typed(
            "an encrypted layer called readable",
            (
                &["is not encrypted", "does not unpack to"],
                "encryption annotations on a readable layer; the diff ids",
            ),
            Some(0),
            TAR.to_owned(),
        ),
        typed(
            "a layer of an unknown type",
            (
                &["bound to mediaType", "can't be converted"],
                "the binding: media type",
            ),
            Some(0),
            "application/x-thief+encrypted".to_owned(),
        ),
        typed(
            "an encrypted layer called encrypted twice",
            (
                &[
                    "a media type that no encrypted layer has",
                    "bound to mediaType",
                ],
                "the form of media types",
            ),
            Some(0),
            format!("{TAR}+encrypted+encrypted"),
        ),
        on_bound(
            "a manifest that is an index, too",
            (
                &["a document is two things at once"],
                "a document is one thing",
            ),
            None,
            |_, image| image.edit_manifest(|manifest| manifest["manifests"] = json!([])),
        ),
    ]
}
