//! Go's `crypto/hpke` opens a packet that the program made; openssl decrypts the layer with the key inside. No code of ours
//! stands between: context and authenticated data are written here once more, from the format's description.

use std::fs;

use base64::Engine;
use base64::engine::general_purpose::STANDARD as B64;
use custody::{KeyDocument, KeyUse, RootPin};
use fixture::{Recipe, Scratch, run};
use hpke_xwing::{PrivateKey, Suite};
use jose::EcdsaP256Key;
use real::{Image, Judge, Program};
use serde_json::{Value, json};

const AUTHORITY: &str = "spiffe://hospital.lab";
const PACKET: &str = "org.opencontainers.image.enc.keys.provider.bailiwick";
const PUBLIC: &str = "org.opencontainers.image.enc.pubopts";
/// 2000 and 2100, in seconds since 1970.
const LIFE: (i64, i64) = (946_684_800, 4_102_444_800);

#[test]
#[ignore = "needs root, umoci, openssl and Go; run by make test"]
fn go_opens_our_packets_of_both_suites_and_openssl_the_layer() {
    let (scratch, program) = (Scratch::new("hpke").unwrap(), Program::find());
    let judge = Judge::build("judge-hpke");
    let recipe = Recipe::busybox("plain")
        .layer()
        .text("/etc/motd", "welcome\n", 0o644);
    let plain = Image::from(&recipe.build(&scratch).unwrap());
    for suite in [Suite::XWing, Suite::X25519] {
        let key = PrivateKey::generate(suite).unwrap();
        let root = EcdsaP256Key::generate().unwrap();
        let document = KeyDocument::new(
            AUTHORITY,
            "medrec",
            &"records".parse().unwrap(),
            key.public_key(),
            LIFE.0,
            LIFE.1,
        );
        let signed = document
            .sign(KeyUse::Image, root.public_jwk(), &root)
            .unwrap();
        let file = scratch.join("document.json");
        fs::write(&file, signed).unwrap();
        let encrypted = Image::at(scratch.join(suite.name()), "1");
        let encrypt = |recipient: &str, pin: &str| {
            let (from, to) = (plain.transport(), encrypted.transport());
            let words = ["image", "encrypt", &from, &to, "--recipient", recipient];
            program.run(words.iter().chain(&[
                "--key-document",
                file.to_str().unwrap(),
                "--root-pin",
                pin,
            ]))
        };

        // Another root or another image: nothing is encrypted.
        let stranger = EcdsaP256Key::generate().unwrap();
        let other_pin = RootPin::of(stranger.public_jwk()).unwrap().to_string();
        let pin = RootPin::of(root.public_jwk()).unwrap().to_string();
        let reason = encrypt("bailiwick:medrec", &other_pin).refused(4);
        assert!(reason.contains("not signed by the pinned root"), "{reason}");
        let reason = encrypt("bailiwick:payroll", &pin).refused(4);
        assert!(reason.contains("not for `payroll`"), "{reason}");
        assert!(!encrypted.layout().folder.join("index.json").exists());

        let _ = encrypt("bailiwick:medrec", &pin).well();
        let manifest = encrypted.manifest();
        let layers = manifest["layers"].as_array().unwrap();
        assert_eq!(layers.len(), 2);
        for (number, layer) in layers.iter().enumerate() {
            let options = opened_by_go(&judge, layer, &key);
            let wanted = &plain.layers()[number];
            assert_eq!(options["digest"], **wanted);
            assert_eq!(options["bailiwick"]["index"], number, "{options}");
            let bytes = decrypted_by_openssl(&scratch, &encrypted, layer, &options);
            assert!(bytes == plain.blob(wanted), "layer {number} differs");
        }
    }
}

/// The private options of a layer, and the proof that a word changed in the packet closes it.
fn opened_by_go(judge: &Judge, layer: &Value, key: &PrivateKey) -> Value {
    let packet = B64
        .decode(layer["annotations"][PACKET].as_str().unwrap())
        .unwrap();
    let packet: Value = serde_json::from_slice(&packet).unwrap();
    let text = |name: &str| packet[name].as_str().unwrap().to_owned();
    let suite = key.public_key().suite().name();
    assert_eq!(
        (text("authority").as_str(), text("resource").as_str()),
        (AUTHORITY, "medrec")
    );
    assert_eq!(text("suite"), suite);
    // Members in the order of their names, no blanks: the canonical form of JSON for plain texts.
    let aad = |resource: &str| {
        format!(
            r#"{{"authority":"{AUTHORITY}","key":"{}","resource":"{resource}","suite":"{suite}","v":1}}"#,
            text("key")
        )
    };
    let question = |aad: &str| {
        json!({
            "op": "open", "suite": suite, "private_key": hex::encode(key.expose_bytes()),
            "info": hex::encode(format!("bailiwick/image-key/v1\0{AUTHORITY}\0{suite}")), "aad": hex::encode(aad),
            "enc": hex::encode(B64.decode(text("enc")).unwrap()), "ct": hex::encode(B64.decode(text("ct")).unwrap()),
        })
    };
    judge.ask(&question(&aad("payroll"))).unwrap_err();
    let answer = judge.ask(&question(&aad("medrec"))).unwrap();
    let plaintext = hex::decode(answer["plaintext"].as_str().unwrap()).unwrap();
    serde_json::from_slice(&plaintext).unwrap()
}

fn decrypted_by_openssl(
    scratch: &Scratch,
    image: &Image,
    layer: &Value,
    options: &Value,
) -> Vec<u8> {
    let hex_of = |value: &Value| hex::encode(B64.decode(value.as_str().unwrap()).unwrap());
    let (key, nonce) = (
        hex_of(&options["symkey"]),
        hex_of(&options["cipheroptions"]["nonce"]),
    );
    let file = image.blob_path(layer["digest"].as_str().unwrap());
    let file = file.to_str().unwrap();
    let public = B64
        .decode(layer["annotations"][PUBLIC].as_str().unwrap())
        .unwrap();
    let public: Value = serde_json::from_slice(&public).unwrap();
    let said = run(
        "openssl",
        [
            "dgst",
            "-sha256",
            "-mac",
            "HMAC",
            "-macopt",
            &format!("hexkey:{key}"),
            file,
        ],
    );
    let hmac = said.unwrap();
    assert_eq!(
        hmac.split_whitespace().last().unwrap(),
        hex_of(&public["hmac"])
    );
    let out = scratch.join("layer");
    let words = [
        "enc",
        "-d",
        "-aes-256-ctr",
        "-K",
        &key,
        "-iv",
        &nonce,
        "-in",
        file,
        "-out",
        out.to_str().unwrap(),
    ];
    run("openssl", words).unwrap();
    fs::read(out).unwrap()
}
