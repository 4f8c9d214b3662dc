//! What encrypted texts must and must not be. The vectors were written by go-jose v4.1.9 with keys made for them.

use std::collections::BTreeMap;

use proptest::prelude::*;
use serde::Deserialize;
use serde_json::Value;

use super::*;
use crate::base64url;
use crate::jwk::Curve;
use crate::key_file::{parse_private, parse_public};

#[derive(Deserialize)]
struct Vectors {
    plaintext: String,
    keys: BTreeMap<String, KeyFiles>,
    texts: Vec<Vector>,
}

#[derive(Deserialize)]
struct KeyFiles {
    jwk: Value,
    pkcs8: String,
    traditional: String,
    pkix: String,
}

#[derive(Deserialize)]
struct Vector {
    name: String,
    key: String,
    text: String,
}

fn vectors() -> Vectors {
    serde_json::from_str(include_str!("../../tests/vectors/go-jose.json")).unwrap()
}

fn private(vectors: &Vectors, name: &str) -> DecryptionKey {
    parse_private(vectors.keys[name].pkcs8.as_bytes()).unwrap()
}

fn for_key(key: &DecryptionKey) -> EncryptionKey {
    EncryptionKey::from_jwk(key.public_jwk()).unwrap()
}

fn changed(text: &str, change: impl FnOnce(&mut Value)) -> Vec<u8> {
    let mut value = serde_json::from_str(text).unwrap();
    change(&mut value);
    serde_json::to_vec(&value).unwrap()
}

#[test]
fn every_text_that_go_writes_is_read() {
    let vectors = vectors();
    assert!(vectors.texts.len() > 20);
    for vector in &vectors.texts {
        let opened = decrypt(vector.text.as_bytes(), &private(&vectors, &vector.key));
        assert_eq!(
            *opened.unwrap(),
            vectors.plaintext.as_bytes(),
            "{}",
            vector.name
        );
    }
}

#[test]
fn go_repeats_a_key_in_general_texts() {
    let vectors = vectors();
    let general = vectors
        .texts
        .iter()
        .filter(|vector| vector.text.contains("recipients"));
    let repeats = general.filter(|vector| {
        let value: Value = serde_json::from_str(&vector.text).unwrap();
        value["encrypted_key"] == value["recipients"][0]["encrypted_key"]
    });
    assert!(
        repeats.count() > 0,
        "the vectors would not test what they are for"
    );
}

#[test]
fn key_files_of_all_forms_hold_the_same_key() {
    let vectors = vectors();
    for (name, files) in &vectors.keys {
        let public = parse_public(files.pkix.as_bytes()).unwrap();
        let der = pem::parse(&files.pkix).unwrap().into_contents();
        assert_eq!(parse_public(&der).unwrap(), public, "{name}");
        let jwk = files.jwk.to_string();
        let pkcs8_der = pem::parse(&files.pkcs8).unwrap().into_contents();
        let old_der = pem::parse(&files.traditional).unwrap().into_contents();
        let forms = [
            jwk.as_bytes(),
            files.pkcs8.as_bytes(),
            files.traditional.as_bytes(),
            &pkcs8_der,
            &old_der,
        ];
        for (at, file) in forms.into_iter().enumerate() {
            assert_eq!(
                *parse_private(file).unwrap().public_jwk(),
                public,
                "{name} {at}"
            );
            assert!(
                parse_public(file).is_err(),
                "{name} {at}: a private key is no public key"
            );
        }
    }
}

#[test]
fn each_recipient_opens_what_was_written_for_all() {
    let vectors = vectors();
    let keys = ["rsa", "p256", "p384", "p521"].map(|name| private(&vectors, name));
    let text = encrypt(b"secret", &keys.each_ref().map(for_key)).unwrap();
    let value: Value = serde_json::from_str(&text).unwrap();
    assert_eq!(value["recipients"].as_array().unwrap().len(), 4);
    assert!(value.get("encrypted_key").is_none());
    for key in &keys {
        assert_eq!(*decrypt(text.as_bytes(), key).unwrap(), b"secret");
    }
    let other = DecryptionKey::generate_ec(Curve::P256).unwrap();
    assert!(matches!(
        decrypt(text.as_bytes(), &other),
        Err(DecryptError::NotForThisKey)
    ));
}

#[test]
fn one_recipient_makes_a_flattened_text_in_the_way_its_key_says() {
    let vectors = vectors();
    for (name, alg) in [
        ("rsa", None),
        ("rsa", Some("RSA-OAEP-256")),
        ("p256", None),
        ("p384", Some("ECDH-ES+A128KW")),
        ("p521", Some("ECDH-ES+A192KW")),
    ] {
        let key = private(&vectors, name);
        let public = key.public_jwk().clone().with_kid("k1");
        let public = alg.map_or(public.clone(), |alg| public.with_alg(alg));
        let text = encrypt(b"secret", &[EncryptionKey::from_jwk(&public).unwrap()]).unwrap();
        let value: Value = serde_json::from_str(&text).unwrap();
        let header: Value = serde_json::from_slice(
            &base64url::decode(value["protected"].as_str().unwrap()).unwrap(),
        )
        .unwrap();
        let expected = alg.unwrap_or(if name == "rsa" {
            "RSA-OAEP"
        } else {
            "ECDH-ES+A256KW"
        });
        assert_eq!(
            (&header["alg"], &header["enc"], &header["kid"]),
            (&expected.into(), &"A256GCM".into(), &"k1".into())
        );
        assert_eq!(*decrypt(text.as_bytes(), &key).unwrap(), b"secret");
    }
}

#[test]
fn a_key_is_not_used_in_a_way_that_does_not_fit() {
    let key = DecryptionKey::generate_ec(Curve::P256).unwrap();
    for alg in ["RSA-OAEP", "RSA1_5", "dir", "ES256", "ECDH-ES"] {
        assert!(
            EncryptionKey::from_jwk(&key.public_jwk().clone().with_alg(alg)).is_err(),
            "{alg}"
        );
    }
}

#[test]
fn nobody_and_too_many_are_refused() {
    let key = for_key(&DecryptionKey::generate_ec(Curve::P256).unwrap());
    assert!(matches!(
        encrypt(b"", &[]),
        Err(EncryptError::Recipients { count: 0 })
    ));
    assert!(matches!(
        encrypt(b"", &vec![key; 65]),
        Err(EncryptError::Recipients { count: 65 })
    ));
}

#[test]
fn every_flipped_bit_is_noticed() {
    let key = DecryptionKey::generate_ec(Curve::P256).unwrap();
    let text = encrypt(b"secret", &[for_key(&key)]).unwrap();
    for part in ["protected", "encrypted_key", "iv", "ciphertext", "tag"] {
        let len = base64url::decode(
            serde_json::from_str::<Value>(&text).unwrap()[part]
                .as_str()
                .unwrap(),
        )
        .unwrap()
        .len();
        for bit in 0..len * 8 {
            let flipped = changed(&text, |value| {
                let mut bytes = base64url::decode(value[part].as_str().unwrap()).unwrap();
                bytes[bit / 8] ^= 1 << (bit % 8);
                value[part] = base64url::encode(bytes).into();
            });
            assert!(decrypt(&flipped, &key).is_err(), "{part} {bit}");
        }
    }
}

#[test]
fn content_that_does_not_fit_its_key_is_called_altered() {
    let key = DecryptionKey::generate_ec(Curve::P256).unwrap();
    let one = encrypt(b"one", &[for_key(&key)]).unwrap();
    let swapped = changed(&one, |value| {
        value["ciphertext"] = base64url::encode(b"two").into()
    });
    assert!(matches!(
        decrypt(&swapped, &key),
        Err(DecryptError::Altered)
    ));
}

#[test]
fn a_short_encrypted_key_is_no_crash() {
    let vectors = vectors();
    let flattened = vectors
        .texts
        .iter()
        .filter(|vector| vector.text.contains("}") && !vector.text.contains("recipients"));
    for vector in flattened {
        for len in [0, 1, 8, 16, 24] {
            let short = changed(&vector.text, |value| {
                value["encrypted_key"] = base64url::encode(vec![0; len]).into()
            });
            let refused = decrypt(&short, &private(&vectors, &vector.key));
            assert!(
                matches!(refused, Err(DecryptError::NotForThisKey)),
                "{} {len}",
                vector.name
            );
        }
    }
}

#[test]
fn texts_with_two_readings_are_refused() {
    let vectors = vectors();
    let key = private(&vectors, "rsa");
    let general = &vectors
        .texts
        .iter()
        .find(|vector| vector.text.contains("recipients"))
        .unwrap()
        .text;
    let malformed =
        |text: Vec<u8>| matches!(decrypt(&text, &key), Err(DecryptError::Malformed { .. }));
    assert!(malformed(changed(
        general,
        |value| value["encrypted_key"] = "AAAA".into()
    )));
    assert!(malformed(changed(general, |value| value["header"] =
        serde_json::json!({ "kid": "x" }))));
    assert!(malformed(changed(general, |value| value["unprotected"] =
        serde_json::json!({ "enc": "A128GCM" }))));
    assert!(malformed(
        changed(general, |value| value["recipients"] = serde_json::json!([]))
    ));
    let twice = general.replacen("{\"protected\"", "{\"tag\":\"\",\"protected\"", 1);
    assert!(matches!(
        decrypt(twice.as_bytes(), &key),
        Err(DecryptError::Json { .. })
    ));
}

#[test]
fn recipients_that_name_different_contents_are_refused() {
    let keys = [0, 1].map(|_| DecryptionKey::generate_ec(Curve::P256).unwrap());
    let text = encrypt(b"secret", &keys.each_ref().map(for_key)).unwrap();
    let split = changed(&text, |value| {
        value["protected"] = base64url::encode("{}").into();
        value["recipients"][0]["header"]["enc"] = "A256GCM".into();
        value["recipients"][1]["header"]["enc"] = "A128GCM".into();
    });
    let refused = decrypt(&split, &keys[0]);
    assert!(matches!(
        refused,
        Err(DecryptError::Malformed { part: "enc" })
    ));
}

#[test]
fn too_many_recipients_are_refused_unread() {
    let key = DecryptionKey::generate_ec(Curve::P256).unwrap();
    let text = encrypt(b"secret", &[for_key(&key), for_key(&key)]).unwrap();
    let many = |count: usize| {
        changed(&text, |value| {
            let one = value["recipients"][0].clone();
            value["recipients"] = vec![one; count].into();
        })
    };
    assert!(decrypt(&many(MAX_RECIPIENTS), &key).is_ok());
    assert!(matches!(
        decrypt(&many(MAX_RECIPIENTS + 1), &key),
        Err(DecryptError::TooLarge)
    ));
}

#[test]
fn a_nonce_or_tag_of_the_wrong_length_is_named() {
    let key = DecryptionKey::generate_ec(Curve::P256).unwrap();
    let text = encrypt(b"secret", &[for_key(&key)]).unwrap();
    for (part, lens) in [("iv", [0, 11, 16]), ("tag", [0, 12, 15])] {
        for len in lens {
            let short = changed(&text, |value| {
                value[part] = base64url::encode(vec![0; len]).into()
            });
            let refused = decrypt(&short, &key);
            assert!(
                matches!(refused, Err(DecryptError::Malformed { part: said }) if said == part),
                "{part} {len}"
            );
        }
    }
}

#[test]
fn headers_that_demand_more_are_refused() {
    let key = DecryptionKey::generate_ec(Curve::P256).unwrap();
    let text = encrypt(b"secret", &[for_key(&key)]).unwrap();
    for (member, value) in [
        ("crit", Value::Null),
        ("crit", serde_json::json!(["x"])),
        ("zip", "DEF".into()),
    ] {
        let demanding = changed(&text, |text| {
            let header = base64url::decode(text["protected"].as_str().unwrap()).unwrap();
            let mut header: Value = serde_json::from_slice(&header).unwrap();
            header[member] = value;
            text["protected"] = base64url::encode(header.to_string()).into();
        });
        let refused = decrypt(&demanding, &key);
        assert!(
            matches!(refused, Err(DecryptError::Unsupported { member: said }) if said == member)
        );
    }
}

/// The first text of the vectors that is flattened and for this key.
fn flattened(vectors: &Vectors, key: &str) -> Value {
    let texts = vectors.texts.iter().filter(|vector| vector.key == key);
    let mut values = texts.filter_map(|vector| serde_json::from_str::<Value>(&vector.text).ok());
    values
        .find(|value| value.get("recipients").is_none() && value.get("encrypted_key").is_some())
        .unwrap()
}

fn with_header(text: &Value, change: impl FnOnce(&mut Value)) -> Vec<u8> {
    let mut text = text.clone();
    let header = base64url::decode(text["protected"].as_str().unwrap()).unwrap();
    let mut header: Value = serde_json::from_slice(&header).unwrap();
    change(&mut header);
    text["protected"] = base64url::encode(header.to_string()).into();
    serde_json::to_vec(&text).unwrap()
}

#[test]
fn an_ephemeral_key_off_its_curve_is_malformed() {
    // An invalid-curve attack learns the private key from what the agreement says about such points.
    let vectors = vectors();
    for curve in Curve::ALL {
        let name = curve.name().replace("P-", "p");
        let text = flattened(&vectors, &name);
        let len = curve.coordinate_len();
        let coordinate = |first: u8, last: u8| {
            let mut bytes = vec![first; len];
            bytes[len - 1] = last;
            Value::from(base64url::encode(bytes))
        };
        let zero = || coordinate(0, 0);
        for (x, y) in [
            (zero(), zero()),
            (coordinate(0, 1), coordinate(0, 1)),
            (coordinate(0xff, 0xff), coordinate(0xff, 0xff)),
            (zero(), coordinate(0, 5)),
            ("".into(), "".into()),
            (Value::Null, Value::Null),
            ("AAAA".into(), "AAAA".into()),
        ] {
            let hostile = with_header(&text, |header| {
                header["epk"]["x"] = x.clone();
                header["epk"]["y"] = y.clone();
            });
            let refused = decrypt(&hostile, &private(&vectors, &name));
            assert!(
                matches!(refused, Err(DecryptError::Malformed { part: "epk" })),
                "{name} {x} {y}"
            );
        }
    }
}

#[test]
fn an_ephemeral_key_of_another_kind_opens_nothing() {
    let vectors = vectors();
    let text = flattened(&vectors, "p256");
    let keys = [
        serde_json::json!({ "kty": "OKP", "crv": "X25519", "x": base64url::encode([9; 32]) }),
        serde_json::json!({ "kty": "oct", "k": "AAAA" }),
        serde_json::json!({ "kty": "EC", "crv": "secp256k1", "x": "AAAA", "y": "AAAA" }),
        vectors.keys["p256"].jwk.clone(),
        Value::Null,
        Value::from("P-256"),
    ];
    for key in keys {
        let hostile = with_header(&text, |header| header["epk"] = key.clone());
        let refused = decrypt(&hostile, &private(&vectors, "p256"));
        assert!(
            matches!(refused, Err(DecryptError::Malformed { part: "epk" })),
            "{key}"
        );
    }
    let missing = with_header(&text, |header| {
        header.as_object_mut().unwrap().remove("epk");
    });
    let refused = decrypt(&missing, &private(&vectors, "p256"));
    assert!(matches!(
        refused,
        Err(DecryptError::Malformed { part: "epk" })
    ));
    // The point of one curve under the name of another.
    let renamed = with_header(&text, |header| header["epk"]["crv"] = "P-384".into());
    assert!(decrypt(&renamed, &private(&vectors, "p256")).is_err());
}

#[test]
fn a_missing_or_empty_encrypted_key_is_no_crash() {
    // CVE-2026-34986: with a key wrap and nothing to unwrap, another library crashed.
    let vectors = vectors();
    for name in ["rsa", "p256", "p384", "p521"] {
        let key = private(&vectors, name);
        for alg in KeyManagement::ALL {
            let text = flattened(&vectors, name);
            let text = with_header(&text, |header| header["alg"] = alg.name().into());
            let text = String::from_utf8(text).unwrap();
            let empty = changed(&text, |value| value["encrypted_key"] = "".into());
            let missing = changed(&text, |value| {
                value.as_object_mut().unwrap().remove("encrypted_key");
            });
            let general = changed(&text, |value| {
                let members = value.as_object_mut().unwrap();
                members.remove("encrypted_key");
                members.insert("recipients".to_owned(), serde_json::json!([{}]));
            });
            let parts: Value = serde_json::from_str(&text).unwrap();
            let part = |name: &str| parts[name].as_str().unwrap().to_owned();
            let compact = [
                part("protected"),
                String::new(),
                part("iv"),
                part("ciphertext"),
                part("tag"),
            ]
            .join(".");
            for hostile in [empty, missing, general, compact.into_bytes()] {
                let refused = decrypt(&hostile, &key).unwrap_err();
                let is_refused = matches!(
                    refused,
                    DecryptError::NotForThisKey | DecryptError::Malformed { part: "epk" }
                );
                assert!(is_refused, "{name} {alg:?}: {refused}");
            }
        }
    }
}

#[test]
fn ways_that_are_not_done_here_are_somebody_elses() {
    // `dir` and bare ECDH-ES would let the sender choose what key opens; PKCS#1 v1.5 is an oracle.
    let vectors = vectors();
    for name in ["rsa", "p256"] {
        for alg in [
            "RSA1_5",
            "dir",
            "ECDH-ES",
            "A256KW",
            "PBES2-HS256+A128KW",
            "none",
            "",
        ] {
            let text = with_header(&flattened(&vectors, name), |header| {
                header["alg"] = alg.into()
            });
            let refused = decrypt(&text, &private(&vectors, name));
            assert!(matches!(refused, Err(DecryptError::NotForThisKey)), "{alg}");
        }
    }
}

#[test]
fn a_line_end_around_a_text_is_passed_over() {
    let vectors = vectors();
    for vector in &vectors.texts {
        let padded = format!("\n {}\r\n", vector.text);
        let opened = decrypt(padded.as_bytes(), &private(&vectors, &vector.key)).unwrap();
        assert_eq!(*opened, vectors.plaintext.as_bytes(), "{}", vector.name);
    }
}

#[test]
fn an_ephemeral_key_on_another_curve_is_not_for_this_key() {
    let key = DecryptionKey::generate_ec(Curve::P256).unwrap();
    let other = DecryptionKey::generate_ec(Curve::P384).unwrap();
    let text = encrypt(b"secret", &[for_key(&other)]).unwrap();
    assert!(matches!(
        decrypt(text.as_bytes(), &key),
        Err(DecryptError::NotForThisKey)
    ));
}

#[test]
fn a_very_long_text_is_refused_unread() {
    let key = DecryptionKey::generate_ec(Curve::P256).unwrap();
    assert!(matches!(
        decrypt(&vec![b'{'; MAX_LEN + 1], &key),
        Err(DecryptError::TooLarge)
    ));
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    #[test]
    fn any_plaintext_survives(plaintext in prop::collection::vec(any::<u8>(), 0..600)) {
        let key = DecryptionKey::generate_ec(Curve::P384).unwrap();
        let text = encrypt(&plaintext, &[for_key(&key)]).unwrap();
        let opened = decrypt(text.as_bytes(), &key).unwrap();
        prop_assert_eq!(opened.as_slice(), plaintext);
    }

    #[test]
    fn a_mangled_text_is_an_error_and_no_crash(at in any::<prop::sample::Index>(), which in any::<prop::sample::Index>(), byte in any::<u8>()) {
        let vectors = vectors();
        let vector = which.get(&vectors.texts);
        let mut text = vector.text.clone().into_bytes();
        let at = at.index(text.len());
        prop_assume!(text[at] != byte);
        text[at] = byte;
        // A change in what only other recipients read may pass, and then it changes nothing.
        if let Ok(plaintext) = decrypt(&text, &private(&vectors, &vector.key)) {
            prop_assert_eq!(plaintext.as_slice(), vectors.plaintext.as_bytes());
        }
    }

    #[test]
    fn hostile_bytes_are_an_error_and_no_crash(text in prop::collection::vec(any::<u8>(), 0..400)) {
        let key = DecryptionKey::generate_ec(Curve::P256).unwrap();
        prop_assert!(decrypt(&text, &key).is_err());
        prop_assert!(parse_private(&text).is_err());
        prop_assert!(parse_public(&text).is_err());
    }

    #[test]
    fn mangled_key_files_are_no_crash(name in "rsa|p256|p521", form in 0..4, at in any::<prop::sample::Index>(), byte in any::<u8>()) {
        let vectors = vectors();
        let files = &vectors.keys[&name];
        let mut file = match form {
            0 => files.jwk.to_string().into_bytes(),
            1 => files.pkcs8.clone().into_bytes(),
            2 => pem::parse(&files.traditional).unwrap().into_contents(),
            _ => pem::parse(&files.pkix).unwrap().into_contents(),
        };
        let at = at.index(file.len());
        file[at] = byte;
        let _ = (parse_private(&file).is_ok(), parse_public(&file).is_ok());
    }
}
