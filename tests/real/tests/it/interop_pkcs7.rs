//! skopeo (the older shape of packets) and Go's ocicrypt (the newest) judge the `pkcs7:` recipients, both ways.

use std::path::{Path, PathBuf};

use fixture::{FixtureError, Recipe, Scratch, run};
use real::{Image, Judge, Program};
use serde_json::json;

/// A certificate with its private key, made by openssl.
struct Holder {
    certificate: PathBuf,
    private: PathBuf,
}

impl Holder {
    fn make(folder: &Path, name: &str) -> Self {
        let path = |ending: &str| folder.join(format!("{name}.{ending}"));
        let (certificate, private) = (path("crt"), path("key"));
        let subject = format!("/O=Example Hospital/CN={name}");
        let words = [
            "req", "-x509", "-newkey", "rsa:3072", "-nodes", "-days", "2", "-subj", &subject,
        ];
        let files = ["-keyout", text(&private), "-out", text(&certificate)];
        run("openssl", words.iter().chain(&files)).unwrap();
        Self {
            certificate,
            private,
        }
    }

    fn recipient(&self) -> String {
        format!("pkcs7:{}", text(&self.certificate))
    }
}

fn text(path: &Path) -> &str {
    path.to_str().unwrap()
}

/// A plain image and those who may see it.
struct House {
    scratch: Scratch,
    program: Program,
    plain: Image,
    pathology: Holder,
    radiology: Holder,
    stranger: Holder,
}

impl House {
    fn open(name: &str) -> Self {
        let scratch = Scratch::new(name).unwrap();
        let plain = Image::from(&Recipe::busybox("plain").build(&scratch).unwrap());
        let holder = |name| Holder::make(scratch.path(), name);
        Self {
            program: Program::find(),
            pathology: holder("pathology"),
            radiology: holder("radiology"),
            stranger: holder("stranger"),
            plain,
            scratch,
        }
    }

    fn place(&self, name: &str) -> Image {
        Image::at(self.scratch.join(name), "1")
    }

    /// Encrypted here for both.
    fn encrypted(&self) -> Image {
        let image = self.place("encrypted");
        let (from, to) = (self.plain.transport(), image.transport());
        let (one, two) = (self.pathology.recipient(), self.radiology.recipient());
        let words = [
            "image",
            "encrypt",
            &from,
            &to,
            "--recipient",
            &one,
            "--recipient",
            &two,
        ];
        let _ = self.program.run(words).well();
        image
    }

    fn is_plain(&self, image: &Image) {
        assert_eq!(image.layers(), self.plain.layers());
        for layer in self.plain.layers() {
            assert!(
                image.blob(&layer) == self.plain.blob(&layer),
                "{layer} differs"
            );
        }
    }
}

fn skopeo(options: &[&str], from: &Image, to: &Image) -> Result<String, FixtureError> {
    let words = ["--insecure-policy", "copy", "--quiet"].into_iter();
    let (from, to) = (from.transport(), to.transport());
    run(
        "skopeo",
        words
            .chain(options.iter().copied())
            .chain([from.as_str(), &to]),
    )
}

#[test]
#[ignore = "needs skopeo, umoci and openssl; run by make test"]
fn skopeo_decrypts_what_we_encrypt_to_certificates() {
    let house = House::open("pkcs7-decrypts");
    let encrypted = house.encrypted();
    let open = |holder: &Holder, name: &str| {
        let plain = house.place(name);
        let (key, certificate) = (text(&holder.private), text(&holder.certificate));
        let options = ["--decryption-key", key, "--decryption-key", certificate];
        skopeo(&options, &encrypted, &plain).map(|_| plain)
    };
    house.is_plain(&open(&house.pathology, "one").unwrap());
    house.is_plain(&open(&house.radiology, "two").unwrap());
    assert!(
        open(&house.stranger, "stolen").is_err(),
        "a stranger opened it"
    );
}

#[test]
#[ignore = "needs skopeo, umoci and openssl; run by make test"]
fn we_decrypt_what_skopeo_encrypts_to_certificates_and_show_whom_for() {
    let house = House::open("pkcs7-encrypts");
    let encrypted = house.place("encrypted");
    let (one, two) = (house.pathology.recipient(), house.radiology.recipient());
    let options = ["--encryption-key", &one, "--encryption-key", &two];
    skopeo(&options, &house.plain, &encrypted).unwrap();
    let from = encrypted.transport();
    let decrypt = |files: &[&Path], name: &str| {
        let plain = house.place(name);
        let to = plain.transport();
        let mut words = vec!["image", "decrypt", &from, &to];
        words.extend(files.iter().flat_map(|file| ["--key", text(file)]));
        (house.program.run(words), plain)
    };
    for (holder, name) in [(&house.pathology, "one"), (&house.radiology, "two")] {
        // In either order.
        let files: [&Path; 2] = [&holder.certificate, &holder.private];
        let (said, plain) = decrypt(&files, name);
        let _ = said.well();
        house.is_plain(&plain);
        let alone = decrypt(&[&holder.certificate], "alone").0;
        assert_eq!(alone.code, 2, "{alone:?}");
    }
    let Holder {
        certificate,
        private,
    } = &house.stranger;
    let stolen = decrypt(&[certificate, private], "stolen").0;
    assert_ne!(stolen.code, 0, "{stolen:?}");

    let shown = house.program.run(["image", "inspect", &from]).well();
    for name in ["CN=pathology", "CN=radiology"] {
        assert!(shown.stdout.contains(name), "{shown:?}");
    }
}

#[test]
#[ignore = "needs umoci, openssl and Go; run by make test"]
fn gos_ocicrypt_and_we_open_each_others_packets() {
    let house = House::open("pkcs7-ocicrypt");
    let judge = Judge::build("judge-ocicrypt");
    let House {
        pathology,
        radiology,
        stranger,
        ..
    } = &house;
    let (output, layer) = (house.scratch.join("layer"), house.plain.layers().remove(0));

    let encrypted = house.encrypted();
    let manifest = encrypted.manifest();
    let descriptor = &manifest["layers"][0];
    let question = |holder: &Holder| {
        json!({
            "op": "decrypt", "layer": encrypted.blob_path(descriptor["digest"].as_str().unwrap()), "output": output,
            "media_type": descriptor["mediaType"], "annotations": descriptor["annotations"],
            "keys": [holder.private], "certificates": [holder.certificate],
        })
    };
    for holder in [pathology, radiology] {
        let answer = judge.ask(&question(holder)).unwrap();
        assert_eq!(answer["digest"], *layer, "{answer}");
    }
    judge.ask(&question(stranger)).unwrap_err();

    // The other way: the judge's packets take the place of ours, over the layer that it encrypted.
    let theirs = judge
        .ask(&json!({
            "op": "encrypt", "layer": house.plain.blob_path(&layer), "output": output,
            "media_type": house.plain.manifest()["layers"][0]["mediaType"],
            "certificates": [pathology.certificate, radiology.certificate],
        }))
        .unwrap();
    let place = house.scratch.join("theirs");
    let answer = opened_here(&house, &theirs, &output, &place);
    assert_eq!(answer, house.plain.blob(&layer));
}

/// The layer of an image that has nothing but it.
fn opened_here(house: &House, sealed: &serde_json::Value, layer: &Path, place: &Path) -> Vec<u8> {
    let encrypted = Image::at(place.to_owned(), "1");
    let mut manifest = house.plain.manifest();
    let descriptor = &mut manifest["layers"][0];
    for member in ["digest", "size", "annotations"] {
        descriptor[member] = sealed[member].clone();
    }
    let media_type = descriptor["mediaType"].as_str().unwrap();
    descriptor["mediaType"] = format!("{media_type}+encrypted").into();
    let blobs = place.join("blobs/sha256");
    std::fs::create_dir_all(&blobs).unwrap();
    let put = |bytes: &[u8]| {
        let digest = run_sha256(bytes, place);
        std::fs::write(blobs.join(&digest), bytes).unwrap();
        format!("sha256:{digest}")
    };
    put(&std::fs::read(layer).unwrap());
    put(&house.plain.blob(&house.plain.config_digest()));
    let bytes = serde_json::to_vec(&manifest).unwrap();
    let index = json!({"schemaVersion": 2, "manifests": [{
        "mediaType": "application/vnd.oci.image.manifest.v1+json", "digest": put(&bytes), "size": bytes.len(),
        "annotations": {"org.opencontainers.image.ref.name": "1"},
    }]});
    std::fs::write(place.join("index.json"), index.to_string()).unwrap();
    std::fs::write(
        place.join("oci-layout"),
        r#"{"imageLayoutVersion":"1.0.0"}"#,
    )
    .unwrap();

    let plain = house.place("by-us");
    let (from, to) = (encrypted.transport(), plain.transport());
    let (key, certificate) = (
        text(&house.radiology.private),
        text(&house.radiology.certificate),
    );
    let words = [
        "image",
        "decrypt",
        &from,
        &to,
        "--key",
        key,
        "--key",
        certificate,
    ];
    let _ = house.program.run(words).well();
    plain.blob(&plain.layers()[0])
}

fn run_sha256(bytes: &[u8], folder: &Path) -> String {
    let file = folder.join("hashed");
    std::fs::write(&file, bytes).unwrap();
    let line = run("sha256sum", [text(&file)]).unwrap();
    line.split(' ').next().unwrap().to_owned()
}
