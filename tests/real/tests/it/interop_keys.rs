//! Every way to wrap a key, for every kind of key, between this program and Go's ocicrypt; and every container of keys.

use std::path::{Path, PathBuf};

use fixture::{Recipe, Scratch};
use real::peers::Ocicrypt;
use real::{Image, Program};
use serde_json::{Map, Value, json};

const RSA: &[&str] = &["RSA-OAEP", "RSA-OAEP-256"];
const EC: &[&str] = &["ECDH-ES+A128KW", "ECDH-ES+A192KW", "ECDH-ES+A256KW"];
const MATRIX: [(&str, &[&str]); 4] = [("rsa", RSA), ("p256", EC), ("p384", EC), ("p521", EC)];

/// A plain image of one layer, and the keys of the vectors as files.
struct House {
    scratch: Scratch,
    program: Program,
    ocicrypt: Ocicrypt,
    plain: Image,
    keys: Value,
}

/// The files of one key.
struct Files {
    /// A public JWK that says its way.
    public: PathBuf,
    /// The private key as JWK, and as PKCS#8.
    private: [PathBuf; 2],
}

impl House {
    fn open(name: &str) -> Self {
        let scratch = Scratch::new(name).unwrap();
        let plain = Image::from(&Recipe::busybox("plain").build(&scratch).unwrap());
        let vectors = std::fs::read(vectors().join("go-jose.json")).unwrap();
        let vectors: Value = serde_json::from_slice(&vectors).unwrap();
        Self {
            program: Program::find(),
            ocicrypt: Ocicrypt::build(Vec::new()),
            keys: vectors["keys"].clone(),
            plain,
            scratch,
        }
    }

    fn files(&self, key: &str, alg: &str) -> Files {
        let write = |name: &str, text: &str| {
            let path = self.scratch.join(format!("{key}.{name}"));
            std::fs::write(&path, text).unwrap();
            path
        };
        let private = &self.keys[key];
        let mut public = private["jwk"].clone();
        for member in ["d", "p", "q", "dp", "dq", "qi"] {
            public.as_object_mut().unwrap().remove(member);
        }
        public["alg"] = alg.into();
        public["kid"] = format!("{key} of the vectors").into();
        Files {
            public: write("public.jwk", &public.to_string()),
            private: [
                write("private.jwk", &private["jwk"].to_string()),
                write("pem", private["pkcs8"].as_str().unwrap()),
            ],
        }
    }

    /// A place for an image in a layout of its own.
    fn place(&self, name: &str) -> Image {
        Image::at(self.scratch.join(name), "1")
    }

    /// `bailiwick image encrypt` for the holders of these keys.
    fn encrypt(&self, target: &Image, recipients: &[&Files]) {
        let (from, to) = (self.plain.transport(), target.transport());
        let mut words = vec!["image".to_owned(), "encrypt".into(), from, to];
        for files in recipients {
            let recipient = format!("jwe:{}", files.public.display());
            words.extend(["--recipient".to_owned(), recipient]);
        }
        let _ = self.program.run(words).well();
    }

    /// The same by Go's ocicrypt.
    fn encrypt_by_go(&self, target: &Path, recipients: &[&Files]) -> Image {
        let public: Vec<_> = recipients.iter().map(|files| &files.public).collect();
        let recipients = Map::from_iter([("recipients".to_owned(), json!(public))]);
        let image = self.ocicrypt.encrypt(&self.plain, target, &recipients);
        image.unwrap()
    }

    /// Every layer opens for Go, and is what it was.
    fn opens_for_go(&self, image: &Image, private: &Path) {
        let keys = Map::from_iter([("keys".to_owned(), json!([private]))]);
        let layers = self.ocicrypt.decrypt(image, &keys).unwrap();
        let plain = self.plain.layers();
        let plain: Vec<_> = plain.iter().map(|layer| self.plain.blob(layer)).collect();
        assert!(layers == plain, "other bytes came out");
    }

    /// The whole image opens for us, and is what it was.
    fn opens_for_us(&self, image: &Image, key: &str, environment: &[(&str, &str)]) {
        let opened = self.place("opened-image");
        let _ = std::fs::remove_dir_all(&opened.layout().folder);
        let (from, to) = (image.transport(), opened.transport());
        let words = ["image", "decrypt", &from, &to, "--key", key];
        let _ = self.program.run_with(words, environment).well();
        assert_eq!(opened.layers(), self.plain.layers());
        for layer in self.plain.layers() {
            assert!(
                opened.blob(&layer) == self.plain.blob(&layer),
                "{layer} differs"
            );
        }
    }
}

fn vectors() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../../crates/formats/jose/tests/vectors")
}

#[test]
#[ignore = "needs umoci and Go; run by make test"]
fn every_way_and_kind_of_key_both_ways_with_gos_ocicrypt() {
    let house = House::open("keys-matrix");
    for (key, ways) in MATRIX {
        for alg in ways {
            let files = house.files(key, alg);
            let ours = house.place(&format!("ours-{key}-{alg}"));
            house.encrypt(&ours, &[&files]);
            let theirs = house.scratch.join(format!("theirs-{key}-{alg}"));
            let theirs = house.encrypt_by_go(&theirs, &[&files]);
            for private in &files.private {
                house.opens_for_go(&ours, private);
                house.opens_for_us(&ours, private.to_str().unwrap(), &[]);
                house.opens_for_us(&theirs, private.to_str().unwrap(), &[]);
            }
            println!("{key:<5} {alg:<15} ours -> Go: yes   Go -> us: yes");
        }
    }
}

#[test]
#[ignore = "needs umoci and Go; run by make test"]
fn one_packet_for_all_ways_both_ways_with_gos_ocicrypt() {
    let house = House::open("keys-all");
    let all = [
        house.files("rsa", "RSA-OAEP-256"),
        house.files("p256", "ECDH-ES+A128KW"),
        house.files("p384", "ECDH-ES+A192KW"),
        house.files("p521", "ECDH-ES+A256KW"),
    ];
    let recipients: Vec<&Files> = all.iter().collect();
    let ours = house.place("ours");
    house.encrypt(&ours, &recipients);
    let theirs = house.encrypt_by_go(&house.scratch.join("theirs"), &recipients);
    for files in &all {
        house.opens_for_go(&ours, &files.private[1]);
        house.opens_for_us(&theirs, files.private[1].to_str().unwrap(), &[]);
    }
}

#[test]
#[ignore = "needs umoci and Go; run by make test"]
fn every_container_of_keys_opens_what_go_encrypts() {
    let house = House::open("keys-containers");
    let password = house.scratch.join("password");
    std::fs::write(&password, "correct horse\n").unwrap();
    let environment = [("PASSWORD", "correct horse"), ("UMLAUTS", "pässwörd")];
    for (key, alg) in [("rsa", "RSA-OAEP"), ("p256", "ECDH-ES+A256KW")] {
        let files = house.files(key, alg);
        let theirs = house.encrypt_by_go(&house.scratch.join(format!("theirs-{key}")), &[&files]);
        let folder = vectors().join("key-files");
        for entry in std::fs::read_dir(folder).unwrap() {
            let path = entry.unwrap().path();
            let name = path.file_name().unwrap().to_str().unwrap().to_owned();
            if !name.starts_with(key) || name.contains("public") || name.contains("certificate") {
                continue;
            }
            let path = path.display();
            let places = match name.contains("umlauts") {
                true => vec!["env=UMLAUTS".to_owned()],
                false => vec![
                    "env=PASSWORD".to_owned(),
                    format!("file={}", password.display()),
                ],
            };
            for place in places {
                house.opens_for_us(&theirs, &format!("{path}:{place}"), &environment);
            }
            let (from, to) = (theirs.transport(), house.place("nothing").transport());
            let words = |key: String| {
                [
                    "image".to_owned(),
                    "decrypt".into(),
                    from.clone(),
                    to.clone(),
                    "--key".into(),
                    key,
                ]
            };
            let without = house.program.run(words(path.to_string())).refused(2);
            assert!(without.contains("no terminal"), "{without}");
            let wrong = house.program.run(words(format!("{path}:pass=hunter2")));
            let wrong = wrong.refused(2);
            assert!(
                wrong.contains("password is wrong") && !wrong.contains("hunter2"),
                "{wrong}"
            );
        }
    }
}
