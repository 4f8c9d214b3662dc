//! Writes `seeds/`: what the fuzzers begin with, from the vectors of the crates' own tests. Run it from `fuzz/` when a format
//! changes, and commit what comes out: `cargo run --bin seeds`.

#![no_main]
#![expect(unreachable_code, reason = "it ends before it fuzzes")]

use std::error::Error;
use std::fs;
use std::path::Path;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use fuzz::packets::{OPTIONS, SCHEMES, our_key, our_record};
use fuzz::payload::{KIND, wrapped};
use hpke_xwing::Suite;
use oci_crypt::{BailiwickPacket, Digest, PrivateOptions};
use serde_json::Value;

type Done = Result<(), Box<dyn Error>>;

// What is instrumented links only with libFuzzer, so this is a fuzzer that ends before its first input.
libfuzzer_sys::fuzz_target!(
    init: {
        for write in [packets, options, payload, manifests, archives, statements, references] {
            write().expect("the vectors are there, and `seeds/` can be written");
        }
        std::process::exit(0)
    },
    |_input: &[u8]| {}
);

fn seed(target: &str, name: &str, choice: u8, bytes: &[u8]) -> Done {
    let bytes = [&[choice], bytes].concat();
    let check = match target {
        "packets" => fuzz::packets::check,
        "options" => fuzz::options::check,
        "payload" => fuzz::payload::check,
        "manifests" => fuzz::manifests::check,
        "archives" => fuzz::archives::check,
        "statements" => fuzz::statements::check,
        _ => fuzz::references::check,
    };
    // From a seed that is refused, no mutation gets far.
    assert!(check(&bytes), "{target}: `{name}` is refused");
    let folder = Path::new("seeds").join(target);
    fs::create_dir_all(&folder)?;
    Ok(fs::write(
        folder.join(name.replace([' ', '/'], "-")),
        bytes,
    )?)
}

fn vectors(path: &str) -> Result<Value, Box<dyn Error>> {
    Ok(serde_json::from_slice(&fs::read(
        Path::new("../crates/formats").join(path),
    )?)?)
}

fn text(value: &Value) -> &str {
    value.as_str().unwrap_or_default()
}

fn packets() -> Done {
    let choice = |scheme: &str| {
        SCHEMES
            .iter()
            .position(|name| *name == scheme)
            .unwrap_or_default() as u8
    };
    for vector in vectors("jose/tests/vectors/go-jose.json")?["texts"]
        .as_array()
        .into_iter()
        .flatten()
    {
        seed(
            "packets",
            &format!("jwe {}", text(&vector["name"])),
            choice("jwe"),
            text(&vector["text"]).as_bytes(),
        )?;
    }
    for (name, packet) in vectors("oci-crypt/tests/vectors/pkcs7/packets.json")?
        .as_object()
        .into_iter()
        .flatten()
    {
        // Skopeo's hold the options of a layer of their own; the others are of kinds that are not opened.
        let others = ["sha-224", "mixed", "indefinite", "key-id"];
        if !name.starts_with("skopeo") && !others.iter().any(|kind| name.ends_with(kind)) {
            seed(
                "packets",
                &format!("pkcs7 {name}"),
                choice("pkcs7"),
                &STANDARD.decode(text(packet))?,
            )?;
        }
    }
    let coco = vectors("oci-crypt/tests/vectors/coco.json")?;
    for version in ["v1", "v2"] {
        seed(
            "packets",
            &format!("coco {version}"),
            choice("provider.attestation-agent"),
            coco[version].to_string().as_bytes(),
        )?;
    }
    let options = PrivateOptions::parse(OPTIONS)?;
    for suite in Suite::ALL {
        let key = our_key(suite);
        let record = our_record(&key);
        let packet = BailiwickPacket::seal(
            &options,
            &record.authority,
            &record.resource,
            key.public_key(),
        )?;
        seed(
            "packets",
            &format!("bailiwick {suite}"),
            choice("provider.bailiwick"),
            &packet.to_bytes(),
        )?;
    }
    let blob = STANDARD.encode([7; 256]);
    let pkcs11 = format!(
        r#"{{"version":0,"recipients":[{{"version":0,"blob":"{blob}","hash":"sha256"}},{{"version":0,"blob":"{blob}"}}]}}"#
    );
    seed("packets", "pkcs11", choice("pkcs11"), pkcs11.as_bytes())?;
    // A session key for two recipients, and the data that it encrypts.
    let session = |id: u8| [&[0xc1, 13, 3][..], &[id; 8], &[1, 0, 8, 0xff]].concat();
    seed(
        "packets",
        "pgp",
        choice("pgp"),
        &[session(1), session(2), vec![0xd2, 3, 1, 2, 3]].concat(),
    )
}

fn public() -> String {
    format!(
        r#"{{"cipher":"AES_256_CTR_HMAC_SHA256","hmac":"{}","cipheroptions":{{}}}}"#,
        STANDARD.encode([5; 32])
    )
}

fn annotations() -> String {
    let jwe = STANDARD
        .encode(r#"{"protected":"e30","encrypted_key":"","iv":"","ciphertext":"","tag":""}"#);
    let prefix = "org.opencontainers.image.enc";
    format!(
        r#"{{"a":"b","{prefix}.pubopts":"{}","{prefix}.keys.jwe":"{jwe},{jwe}","{prefix}.keys.provider.other":"AAAA"}}"#,
        STANDARD.encode(public())
    )
}

fn options() -> Done {
    seed("options", "public", 0, public().as_bytes())?;
    seed("options", "unbound", 1, OPTIONS)?;
    let digest = Digest::of(b"x");
    let binding = format!(
        r#"{{"ciphertext":"{digest}","config":"{digest}","diffId":null,"index":0,"mediaType":"a/b","of":1,"size":5,"v":1}}"#
    );
    let plain = String::from_utf8(OPTIONS.to_vec())?;
    let open = plain.strip_suffix('}').unwrap_or_default();
    seed(
        "options",
        "bound",
        1,
        format!(r#"{open},"bailiwick":{binding}}}"#).as_bytes(),
    )?;
    let hash = format!(
        r#"{open},"bailiwick":"v1.{}","more":[{{}}]}}"#,
        "A".repeat(43)
    );
    seed("options", "bound-by-hash", 1, hash.as_bytes())?;
    seed("options", "annotations", 2, annotations().as_bytes())
}

fn descriptor(media_type: &str, part: usize, more: &str) -> String {
    format!(r#"{{"mediaType":"{media_type}","digest":"%{part}","size":#{part}{more}}}"#)
}

fn payload() -> Done {
    let digest = Digest::of(b"layer");
    let json = |parameters: &str| {
        format!(
            r#"{{"DecryptConfig":{{"Parameters":{parameters}}},"Descriptor":{{"mediaType":"{LAYER}+encrypted","digest":"{digest}","size":5,"annotations":{},"platform":{{"os":"linux"}}}}}}"#,
            annotations()
        )
    };
    seed(
        "payload",
        "as-it-is",
        0,
        &wrapped(KIND, json("null").as_bytes()),
    )?;
    seed("payload", "json", 1, json("null").as_bytes())?;
    let keys =
        r#"{"privkeys":["a2V5"],"privkeys-passwords":[null],"x509s":[],"gpg-privatekeys":null}"#;
    seed("payload", "keys-along", 1, json(keys).as_bytes())
}

fn manifest(media_type: &str, config: &str, config_part: usize) -> String {
    let layer = descriptor(LAYER, config_part, r#","urls":[]"#);
    let encrypted = descriptor(
        &format!("{LAYER}+encrypted"),
        config_part,
        &format!(r#","annotations":{}"#, annotations()),
    );
    format!(
        r#"{{"schemaVersion":2,"mediaType":"{media_type}","artifactType":"a/b","config":{},"layers":[{layer},{encrypted}],"subject":{{"x":1e2}},"annotations":{{"a":"b"}}}}"#,
        descriptor(config, config_part, "")
    )
}

fn config() -> String {
    let digest = Digest::of(b"x");
    format!(
        r#"{{"architecture":"amd64","os":"linux","config":{{"Env":["PATH=/bin"],"Labels":{{"a":"b"}}}},"rootfs":{{"type":"layers","diff_ids":["{digest}","{digest}"]}},"history":[{{"created_by":"x"}}]}}"#
    )
}

fn joined(parts: &[String]) -> Vec<u8> {
    let parts: Vec<&[u8]> = parts.iter().map(String::as_bytes).collect();
    parts.join(fuzz::BETWEEN)
}

fn manifests() -> Done {
    let docker = manifest(
        DOCKER_MANIFEST,
        "application/vnd.docker.container.image.v1+json",
        2,
    );
    let inner = manifest(OCI_MANIFEST, OCI_CONFIG, 3);
    seed(
        "manifests",
        "oci",
        0,
        &joined(&[manifest(OCI_MANIFEST, OCI_CONFIG, 2), config()]),
    )?;
    seed(
        "manifests",
        "artifact",
        0,
        &joined(&[
            manifest(OCI_MANIFEST, "application/vnd.oci.empty.v1+json", 2),
            "{}".to_owned(),
        ]),
    )?;
    seed("manifests", "docker", 2, &joined(&[docker, config()]))?;
    for (name, more) in [
        (
            "index",
            r#","platform":{"os":"linux","architecture":"amd64","variant":"v8"}"#,
        ),
        (
            "attested",
            r#","platform":{"os":"unknown","architecture":"unknown"},"annotations":{"vnd.docker.reference.type":"attestation-manifest"}"#,
        ),
    ] {
        let entry = descriptor(OCI_MANIFEST, 2, more);
        let index =
            format!(r#"{{"schemaVersion":2,"mediaType":"{OCI_INDEX}","manifests":[{entry}]}}"#);
        seed(
            "manifests",
            name,
            1,
            &joined(&[index, inner.clone(), config()]),
        )?;
    }
    Ok(())
}

fn archives() -> Done {
    let entry = |part: usize| {
        format!(
            r#"{{"mediaType":"{OCI_MANIFEST}","digest":"sha256:%{part}","size":#{part},"annotations":{{"org.opencontainers.image.ref.name":"a"}}}}"#
        )
    };
    let manifest = |part| manifest(OCI_MANIFEST, OCI_CONFIG, part).replace('%', "sha256:%");
    let index = |part| format!(r#"{{"schemaVersion":2,"manifests":[{}]}}"#, entry(part));
    seed(
        "archives",
        "layout",
        0,
        &joined(&[index(2), manifest(3), config()]),
    )?;
    let marker = "0oci-layout\n{\"imageLayoutVersion\":\"1.0.0\"}".to_owned();
    let oci = [
        marker.clone(),
        format!("0index.json\n{}", index(3)),
        format!("0blobs/sha256/%0\n{}", manifest(4)),
        format!("0blobs/sha256/%0\n{}", config()),
    ];
    seed("archives", "oci-archive", 1, &joined(&oci))?;
    let docker = [
        r#"0manifest.json
[{"Config":"c.json","RepoTags":["a"],"Layers":["l/layer.tar","k/layer.tar"]}]"#
            .to_owned(),
        format!("0c.json\n{}", config()),
        "0l/layer.tar\nsome bytes of a layer".to_owned(),
        "2k/layer.tar>../l/layer.tar\n".to_owned(),
        "xpax\n12 path=abc\n11 size=12\n".to_owned(),
        "0short\nsome content".to_owned(),
        "5directory/\n".to_owned(),
    ];
    seed("archives", "docker-archive", 2, &joined(&docker))
}

fn statements() -> Done {
    let digits = "ab".repeat(32);
    let statement = format!(
        r#"{{"_type":"https://in-toto.io/Statement/v1","subject":[{{"name":"x","digest":{{"sha256":"{digits}"}}}}],"predicateType":"https://example/predicate","predicate":{{"a":[1,"b"]}}}}"#
    );
    seed("statements", "statement", 2, statement.as_bytes())?;
    let envelope = format!(
        r#"{{"payloadType":"application/vnd.in-toto+json","payload":"{}","signatures":[{{"keyid":"k","sig":"AAAA"}}]}}"#,
        STANDARD.encode(&statement)
    );
    seed("statements", "envelope", 0, envelope.as_bytes())?;
    seed(
        "statements",
        "key",
        1,
        dsse::SigningKey::generate_p256()?
            .verifying_key()
            .to_pem()
            .as_bytes(),
    )
}

fn references() -> Done {
    let digest = Digest::of(b"x");
    for (name, choice, text) in [
        (
            "tag",
            0,
            "docker://registry.example:5000/hospital/med__rec/a-b---c.d:v1.0_x".to_owned(),
        ),
        ("digest", 0, format!("docker://[::1]:5000/a@{digest}")),
        ("hub", 0, "docker://docker.io/busybox".to_owned()),
        ("layout", 0, "oci:here:localhost/a/b:1.0".to_owned()),
        ("archive", 0, "oci-archive:some/file.tar:a".to_owned()),
        (
            "docker-archive",
            0,
            "docker-archive:/file:busybox:1.36".to_owned(),
        ),
        ("position", 1, "jwe#1".to_owned()),
        ("provider", 1, "provider:other".to_owned()),
        ("key", 1, "jwe:some-id".to_owned()),
        ("platform", 2, "linux/arm64/v8".to_owned()),
    ] {
        seed("references", name, choice, text.as_bytes())?;
    }
    Ok(())
}

const LAYER: &str = "application/vnd.oci.image.layer.v1.tar+gzip";
const OCI_MANIFEST: &str = images::media::OCI_MANIFEST;
const OCI_INDEX: &str = images::media::OCI_INDEX;
const DOCKER_MANIFEST: &str = images::media::DOCKER_MANIFEST;
const OCI_CONFIG: &str = "application/vnd.oci.image.config.v1+json";
