//! Options and packets: what stands in a layer's annotations. Attackers know the recipient's public key, and can wrap for it.

use base64::Engine;
use base64::engine::general_purpose::STANDARD as B64;
use fixture::Image;
use serde_json::{Value, json};

use super::super::bench::{
    Attack, Bench, PACKETS, PUBLIC, edit_annotation, edit_annotation_text, on_bound, on_unbound,
};

type Why = (&'static [&'static str], &'static str);

const NONCE: Why = (
    &["public options carry a nonce"],
    "a nonce in the public options is refused",
);
const TWICE: Why = (
    &["options are not the expected JSON"],
    "duplicate members are refused",
);
const PRIVATE: Why = (
    &[
        "options are malformed",
        "private options",
        "has the wrong length",
    ],
    "lengths of key and nonce",
);

pub(crate) fn attacks() -> Vec<Attack> {
    let mut attacks = public();
    attacks.extend(private());
    attacks.extend(annotations());
    attacks
}

fn public() -> Vec<Attack> {
    vec![
        on_bound(
            "a nonce in the public options",
            NONCE,
            Some(0),
            |_, image| public_nonce(image, 16),
        ),
        on_unbound(
            "a nonce in the public options of an unbound layer",
            NONCE,
            Some(0),
            |_, image| public_nonce(image, 16),
        ),
        on_bound("a public nonce of 15 bytes", NONCE, Some(0), |_, image| {
            public_nonce(image, 15)
        }),
        on_bound(
            "another HMAC in the public options",
            (&["fails its cipher", "did not decrypt"], "the HMAC"),
            Some(0),
            |_, image| {
                edit_annotation(image, 0, PUBLIC, |options| {
                    options["hmac"] = json!(B64.encode([0; 32]));
                });
            },
        ),
        on_bound(
            "a member twice in the public options",
            TWICE,
            Some(0),
            |_, image| {
                edit_annotation_text(image, 0, PUBLIC, |text| {
                    text.replacen('{', r#"{"cipher":"AES_256_CTR_HMAC_SHA256","#, 1)
                });
            },
        ),
    ]
}

fn public_nonce(image: &Image, length: usize) {
    edit_annotation(image, 0, PUBLIC, |options| {
        options["cipheroptions"] = json!({"nonce": B64.encode(vec![0; length])});
    });
}

fn private() -> Vec<Attack> {
    let key = |bytes: usize| B64.encode(vec![1; bytes]);
    let options = move |symkey: usize, nonce: usize| {
        json!({"symkey": key(symkey), "digest": format!("sha256:{}", "0".repeat(64)), "cipheroptions": {"nonce": key(nonce)}})
            .to_string()
    };
    let twice = options(32, 16).replacen('{', &format!(r#"{{"symkey":"{}","#, key(32)), 1);
    let twice_bound = options(32, 16).replacen('{', r#"{"bailiwick":null,"bailiwick":null,"#, 1);
    let wrapped = |name, why, text: String| {
        on_bound(name, why, Some(0), move |bench: &Bench, image: &Image| {
            let packet = bench.wrapped(text.as_bytes());
            image.edit_layer(0, |layer| layer["annotations"][PACKETS] = json!(packet));
        })
    };
    vec![
        wrapped("a key of 16 bytes in the packet", PRIVATE, options(16, 16)),
        wrapped(
            "a nonce of 15 bytes in the packet",
            PRIVATE,
            options(32, 15),
        ),
        wrapped("two keys in one packet", TWICE, twice),
        wrapped("two bindings in one packet", TWICE, twice_bound),
        wrapped(
            "a packet with a key of the attacker",
            (
                &["is not bound to its image", "did not decrypt"],
                "bound and unbound layers are no image; the HMAC",
            ),
            options(32, 16),
        ),
    ]
}

fn annotations() -> Vec<Attack> {
    vec![
        on_bound(
            "a member twice in the packet",
            (
                &["could not be opened", "did not open"],
                "duplicate members are refused",
            ),
            Some(0),
            |_, image| {
                edit_annotation_text(image, 0, PACKETS, |text| {
                    text.replacen('{', r#"{"tag":"AAAA","#, 1)
                });
            },
        ),
        on_bound(
            "an annotation of 10 MiB",
            (
                &[
                    "longer than",
                    "too long",
                    "larger than is read",
                    "larger than any payload",
                ],
                "limits of manifests and annotations",
            ),
            Some(0),
            |_, image| {
                image.edit_layer(0, |layer| {
                    layer["annotations"][PACKETS] = Value::from("A".repeat(10 << 20));
                });
            },
        ),
        on_bound(
            "a thousand packets on one layer",
            (&["packets"], "at most 64 packets"),
            Some(0),
            |_, image| {
                image.edit_layer(0, |layer| {
                    layer["annotations"][PACKETS] = Value::from(vec!["AAAA"; 1000].join(","));
                });
            },
        ),
    ]
}
