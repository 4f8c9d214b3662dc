//! Image statements on a real registry without a list of referrers, and signatures in cosign's form, made by OpenSSL.

use std::path::Path;

use fixture::{Recipe, Registry, Scratch, run};
use real::{Image, Program};
use serde_json::{Value, json};

struct House {
    scratch: Scratch,
    program: Program,
    registry: Registry,
    plain: Image,
}

impl House {
    fn open(name: &str) -> Self {
        let scratch = Scratch::new(name).unwrap();
        let recipe =
            Recipe::busybox("plain")
                .layer()
                .text("/etc/motd", "welcome\n".repeat(2_000), 0o644);
        let house = Self {
            registry: Registry::start(&scratch).unwrap(),
            program: Program::find(),
            plain: Image::from(&recipe.build(&scratch).unwrap()),
            scratch,
        };
        for name in ["release", "stranger", "ann", "bob"] {
            house.key(
                name,
                &["-algorithm", "EC", "-pkeyopt", "ec_paramgen_curve:P-256"],
            );
        }
        house
    }

    fn key(&self, name: &str, algorithm: &[&str]) {
        let (private, public) = (
            self.file(&format!("{name}.pem")),
            self.file(&format!("{name}.pub")),
        );
        let words = ["genpkey", "-quiet", "-out", &private];
        run("openssl", words.iter().chain(algorithm)).unwrap();
        run(
            "openssl",
            ["pkey", "-pubout", "-in", &private, "-out", &public],
        )
        .unwrap();
    }

    fn file(&self, name: &str) -> String {
        self.scratch.join(name).to_str().unwrap().to_owned()
    }

    fn at(&self, name: &str) -> String {
        format!("docker://{}", self.registry.reference(name))
    }

    fn to(&self, name: &str) -> String {
        format!("jwe:{}", self.file(&format!("{name}.pub")))
    }

    fn image(&self, words: &[&str]) {
        let _ = self.program.run(["image"].iter().chain(words)).well();
    }

    /// The version of the statement by `release`, or cosign's word.
    fn signed(&self, place: &str, more: &[&str]) -> Value {
        let key = self.file("release.pub");
        let words = [
            "image",
            "verify",
            place,
            "--signed-by",
            &key,
            "--output",
            "json",
        ];
        let said = self.program.run(words.iter().chain(more)).well();
        said.json()["signed"][0]["signed"].clone()
    }

    fn refused(&self, place: &str, key: &str, more: &[&str]) -> String {
        let key = self.file(&format!("{key}.pub"));
        let words = ["image", "verify", place, "--signed-by", &key];
        self.program.run(words.iter().chain(more)).refused(4)
    }

    fn encrypted(&self, place: &str) {
        let (source, recipient, key) = (
            self.plain.transport(),
            self.to("ann"),
            self.file("release.pem"),
        );
        self.image(&[
            "encrypt",
            &source,
            place,
            "--recipient",
            &recipient,
            "--sign",
            &key,
            "--statement-version",
            "7",
        ]);
    }
}

fn skopeo(from: &str, to: &str) {
    let words = [
        "--insecure-policy",
        "copy",
        "--quiet",
        "--src-tls-verify=false",
        "--dest-tls-verify=false",
        from,
        to,
    ];
    run("skopeo", words).unwrap();
}

#[test]
#[ignore = "needs root, skopeo, umoci, openssl and docker-registry; run by make test"]
fn a_statement_stays_with_an_image_whatever_becomes_of_its_manifest() {
    let house = House::open("statement");
    let (one, two, copy) = (house.at("app:1"), house.at("app:2"), house.at("app:copy"));
    house.encrypted(&one);
    assert_eq!(house.signed(&one, &[])["version"], 7);
    assert!(
        house
            .refused(&one, "stranger", &[])
            .contains("none of the named keys signed it")
    );
    assert!(
        house
            .refused(&one, "release", &["--min-version", "8"])
            .contains("below 8")
    );
    let (ann, bob) = (house.file("ann.pem"), house.file("bob.pem"));
    house.image(&[
        "recipients",
        "add",
        &one,
        "--recipient",
        &house.to("bob"),
        "--key",
        &ann,
    ]);
    assert_eq!(house.signed(&one, &["--key", &bob])["version"], 7);
    house.image(&[
        "rekey",
        &one,
        &two,
        "--key",
        &ann,
        "--recipient",
        &house.to("bob"),
    ]);
    assert_eq!(
        house.signed(&two, &["--key", &bob, "--min-version", "7"])["version"],
        7
    );
    skopeo(&two, &copy);
    assert_eq!(house.signed(&copy, &["--key", &bob])["version"], 7);
    // Out of the registry and back, through our own formats.
    let layout = format!("oci:{}:1", house.file("layout"));
    let archive = format!("oci-archive:{}:1", house.file("archive.tar"));
    house.image(&["decrypt", &copy, &layout, "--key", &bob]);
    assert_eq!(house.signed(&layout, &[])["version"], 7);
    house.image(&[
        "encrypt",
        &layout,
        &archive,
        "--recipient",
        &house.to("ann"),
    ]);
    assert_eq!(house.signed(&archive, &["--key", &ann])["version"], 7);
    // Other tools still find the image of a tag.
    skopeo(&layout, &house.at("plain:1"));
    skopeo(&archive, &house.at("encrypted:1"));
    assert!(
        house
            .refused(&house.at("encrypted:1"), "release", &[])
            .contains("no image statement")
    );
    house.image(&[
        "sign",
        &house.at("plain:1"),
        "--key",
        &house.file("release.pem"),
        "--statement-version",
        "9",
    ]);
    assert_eq!(house.signed(&house.at("plain:1"), &[])["version"], 9);
}

#[test]
#[ignore = "needs root, skopeo, umoci, openssl and docker-registry; run by make test"]
fn what_openssl_signs_in_cosigns_form_counts() {
    let house = House::open("cosign");
    let place = house.at("app:1");
    skopeo(&house.plain.transport(), &place);
    let digest = house
        .program
        .run(["image", "verify", &place, "--output", "json"])
        .well();
    let digest = digest.json()["digest"].as_str().unwrap().to_owned();
    for (name, algorithm) in [
        (
            "release",
            &["-algorithm", "EC", "-pkeyopt", "ec_paramgen_curve:P-256"] as &[&str],
        ),
        (
            "release",
            &["-algorithm", "RSA", "-pkeyopt", "rsa_keygen_bits:3072"],
        ),
    ] {
        house.key(name, algorithm);
        push_signature(&house, &digest, &digest);
        let signed = house.signed(&place, &[]);
        assert_eq!(
            (&signed["kind"], &signed["over"]),
            (&json!("cosign"), &json!(digest))
        );
        assert!(
            house
                .refused(&place, "stranger", &[])
                .contains("none of the named keys")
        );
    }
    let other = format!("sha256:{}", "ab".repeat(32));
    push_signature(&house, &digest, &other);
    assert!(
        house
            .refused(&place, "release", &[])
            .contains("another manifest")
    );
}

/// Puts a signature of `claims` where cosign puts the one of `digest`.
fn push_signature(house: &House, digest: &str, claims: &str) {
    let payload = json!({
        "critical": {
            "identity": {"docker-reference": "registry.example/app"},
            "image": {"docker-manifest-digest": claims},
            "type": "cosign container image signature",
        },
        "optional": null,
    });
    let layout = house.scratch.join("signature");
    let _ = std::fs::remove_dir_all(&layout);
    let blobs = layout.join("blobs/sha256");
    std::fs::create_dir_all(&blobs).unwrap();
    let (file, signature) = (house.file("payload"), house.file("payload.sig"));
    std::fs::write(&file, payload.to_string()).unwrap();
    let key = house.file("release.pem");
    run(
        "openssl",
        ["dgst", "-sha256", "-sign", &key, "-out", &signature, &file],
    )
    .unwrap();
    let base64 = run("openssl", ["base64", "-A", "-in", &signature]).unwrap();
    let layer = put(&blobs, payload.to_string().as_bytes());
    let config = put(
        &blobs,
        br#"{"architecture":"","os":"","rootfs":{"type":"layers","diff_ids":[]}}"#,
    );
    let manifest = json!({
        "schemaVersion": 2, "mediaType": "application/vnd.oci.image.manifest.v1+json",
        "config": described("application/vnd.oci.image.config.v1+json", &config),
        "layers": [{
            "mediaType": "application/vnd.dev.cosign.simplesigning.v1+json",
            "digest": layer.0, "size": layer.1,
            "annotations": {"dev.cosignproject.cosign/signature": base64.trim()},
        }],
    });
    let manifest = put(&blobs, manifest.to_string().as_bytes());
    let mut entry = described("application/vnd.oci.image.manifest.v1+json", &manifest);
    entry["annotations"] = json!({"org.opencontainers.image.ref.name": "1"});
    std::fs::write(
        layout.join("oci-layout"),
        r#"{"imageLayoutVersion":"1.0.0"}"#,
    )
    .unwrap();
    let index = json!({"schemaVersion": 2, "manifests": [entry]});
    std::fs::write(layout.join("index.json"), index.to_string()).unwrap();
    let tag = format!("{}.sig", digest.replace(':', "-"));
    skopeo(
        &format!("oci:{}:1", layout.display()),
        &house.at(&format!("app:{tag}")),
    );
}

fn put(blobs: &Path, bytes: &[u8]) -> (String, usize) {
    let digest = estate::Digest::of(bytes);
    std::fs::write(blobs.join(digest.to_hex()), bytes).unwrap();
    (digest.to_string(), bytes.len())
}

fn described(media_type: &str, blob: &(String, usize)) -> Value {
    json!({"mediaType": media_type, "digest": blob.0, "size": blob.1})
}
