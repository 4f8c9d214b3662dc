//! skopeo (the older shape of packets) and Go's ocicrypt (the newest) judge the `pkcs7:` recipients, both ways.

use std::path::{Path, PathBuf};

use fixture::{FixtureError, Recipe, Scratch};
use real::keys::{KeyPair, RSA};
use real::peers::{Ocicrypt, skopeo_copy};
use real::{Image, Program};
use serde_json::{Map, Value, json};

/// A certificate with its private key.
struct Holder {
    certificate: PathBuf,
    private: PathBuf,
}

impl Holder {
    fn make(folder: &Path, name: &str) -> Self {
        let pair = KeyPair::make(folder, name, RSA);
        Self {
            certificate: pair.certificate(name),
            private: pair.private,
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
    skopeo_copy(options, &from.transport(), &to.transport())
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
    let ocicrypt = Ocicrypt::build(Vec::new());
    let House {
        pathology,
        radiology,
        stranger,
        plain,
        ..
    } = &house;
    let encrypted = house.encrypted();
    let keys = |holder: &Holder| {
        object(json!({"keys": [holder.private], "certificates": [holder.certificate]}))
    };
    let wanted: Vec<_> = plain
        .layers()
        .iter()
        .map(|layer| plain.blob(layer))
        .collect();
    for holder in [pathology, radiology] {
        let layers = ocicrypt.decrypt(&encrypted, &keys(holder)).unwrap();
        assert!(layers == wanted, "other bytes came out");
    }
    ocicrypt.decrypt(&encrypted, &keys(stranger)).unwrap_err();

    let both = object(json!({"certificates": [pathology.certificate, radiology.certificate]}));
    let theirs = ocicrypt.encrypt(plain, &house.scratch.join("theirs"), &both);
    let theirs = theirs.unwrap().transport();
    for (holder, name) in [(pathology, "by-pathology"), (radiology, "by-radiology")] {
        let opened = house.place(name);
        let to = opened.transport();
        let (key, certificate) = (text(&holder.private), text(&holder.certificate));
        let keys = ["--key", key, "--key", certificate];
        let words = ["image", "decrypt", &theirs, &to].into_iter().chain(keys);
        let _ = house.program.run(words).well();
        house.is_plain(&opened);
    }
}

fn object(value: Value) -> Map<String, Value> {
    value.as_object().unwrap().clone()
}
