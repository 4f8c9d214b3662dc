//! skopeo and Go's ocicrypt judge the `jwe:` recipients, both ways, through layouts and a real registry.

use std::path::Path;

use fixture::{Recipe, Registry, Scratch};
use real::keys::{Algorithm, KeyPair, P256, P521, RSA};
use real::peers::skopeo_copy as skopeo;
use real::{Image, Judge, Program};
use serde_json::json;

/// The people of the play, a plain image of two layers, and a registry.
struct House {
    scratch: Scratch,
    program: Program,
    registry: Registry,
    plain: Image,
    rsa: KeyPair,
    ec: KeyPair,
    ec_521: KeyPair,
    stranger: KeyPair,
}

impl House {
    fn open(name: &str) -> Self {
        let scratch = Scratch::new(name).unwrap();
        let recipe =
            Recipe::busybox("plain")
                .layer()
                .text("/etc/motd", "welcome\n".repeat(20_000), 0o644);
        let plain = Image::from(&recipe.build(&scratch).unwrap());
        assert_eq!(plain.layers().len(), 2);
        let key = |name, algorithm: Algorithm| KeyPair::make(scratch.path(), name, algorithm);
        Self {
            registry: Registry::start(&scratch).unwrap(),
            program: Program::find(),
            rsa: key("rsa", RSA),
            ec: key("ec", P256),
            ec_521: key("ec-521", P521),
            stranger: key("stranger", P256),
            plain,
            scratch,
        }
    }

    /// A place for an image in a layout of its own.
    fn place(&self, name: &str) -> Image {
        Image::at(self.scratch.join(name), "1")
    }

    /// `bailiwick image encrypt`.
    fn encrypt(&self, target: &str, recipients: &[&KeyPair]) {
        let source = self.plain.transport();
        let mut words = vec!["image".to_owned(), "encrypt".into(), source, target.into()];
        for recipient in recipients {
            words.extend(["--recipient".to_owned(), recipient.recipient()]);
        }
        let _ = self.program.run(words).well();
    }

    /// The encrypted image has other blobs under the same configuration.
    fn is_encrypted(&self, image: &Image) {
        assert_eq!(image.config_digest(), self.plain.config_digest());
        let manifest = image.manifest();
        for layer in manifest["layers"].as_array().unwrap() {
            assert!(
                layer["mediaType"].as_str().unwrap().ends_with("+encrypted"),
                "{manifest}"
            );
        }
        let (ours, plain) = (image.layers(), self.plain.layers());
        assert!(ours.iter().all(|layer| !plain.contains(layer)));
    }

    /// Byte for byte what it was.
    fn is_plain(&self, image: &Image) {
        assert_eq!(image.config_digest(), self.plain.config_digest());
        assert_eq!(image.layers(), self.plain.layers());
        for layer in self.plain.layers() {
            assert!(
                image.blob(&layer) == self.plain.blob(&layer),
                "{layer} differs"
            );
        }
    }
}

#[test]
#[ignore = "needs root, skopeo, umoci, openssl and docker-registry; run by make test"]
fn skopeo_decrypts_what_we_encrypt_for_each_kind_of_key() {
    let house = House::open("decrypts");
    let House {
        rsa,
        ec,
        ec_521,
        stranger,
        ..
    } = &house;
    let cases: [(&str, &[&KeyPair]); 4] = [
        ("rsa", &[rsa]),
        ("ec", &[ec]),
        ("ec-521", &[ec_521]),
        ("all", &[rsa, ec, ec_521]),
    ];
    for (name, recipients) in cases {
        let encrypted = house.place(&format!("encrypted-{name}"));
        house.encrypt(&encrypted.transport(), recipients);
        house.is_encrypted(&encrypted);
        for (number, recipient) in recipients.iter().enumerate() {
            let plain = house.place(&format!("decrypted-{name}-{number}"));
            let options = ["--decryption-key", recipient.private()];
            skopeo(&options, &encrypted.transport(), &plain.transport()).unwrap();
            house.is_plain(&plain);
        }
        let nothing = house.place(&format!("stolen-{name}"));
        let options = ["--decryption-key", stranger.private()];
        let stolen = skopeo(&options, &encrypted.transport(), &nothing.transport());
        assert!(stolen.is_err(), "a stranger's key opened `{name}`");
    }
}

#[test]
#[ignore = "needs root, skopeo, umoci, openssl and docker-registry; run by make test"]
fn we_decrypt_what_skopeo_encrypts_for_each_kind_of_key() {
    let house = House::open("encrypts");
    let House {
        rsa,
        ec,
        ec_521,
        stranger,
        program,
        ..
    } = &house;
    let decrypt = |from: &Image, to: &Image, key: &KeyPair, more: &[&str]| {
        let (from, to) = (from.transport(), to.transport());
        let words = ["image", "decrypt", &from, &to, "--key", key.private()];
        program.run(words.iter().chain(more))
    };
    let cases: [(&str, &[&KeyPair]); 4] = [
        ("rsa", &[rsa]),
        ("ec", &[ec]),
        ("ec-521", &[ec_521]),
        ("all", &[rsa, ec, ec_521]),
    ];
    for (name, recipients) in cases {
        let encrypted = house.place(&format!("encrypted-{name}"));
        let keys: Vec<String> = recipients.iter().map(|key| key.recipient()).collect();
        let options: Vec<&str> = keys
            .iter()
            .flat_map(|key| ["--encryption-key", key])
            .collect();
        skopeo(&options, &house.plain.transport(), &encrypted.transport()).unwrap();
        house.is_encrypted(&encrypted);
        for (number, recipient) in recipients.iter().enumerate() {
            let plain = house.place(&format!("decrypted-{name}-{number}"));
            let said = decrypt(&encrypted, &plain, recipient, &[]).well();
            house.is_plain(&plain);
            assert!(said.stderr.contains("not bound"), "{said:?}");
        }
        let nothing = house.place(&format!("stolen-{name}"));
        let stolen = decrypt(&encrypted, &nothing, stranger, &[]);
        assert_ne!(stolen.code, 0, "{stolen:?}");
        assert!(
            !nothing.layout().folder.join("index.json").exists(),
            "something was published"
        );
        // What others encrypt says nothing about its place.
        let unbound = decrypt(&encrypted, &nothing, recipients[0], &["--require-binding"]);
        assert_eq!(unbound.code, 4, "{unbound:?}");
    }
}

#[test]
#[ignore = "needs root, skopeo, umoci, openssl and docker-registry; run by make test"]
fn both_ways_through_a_registry() {
    let house = House::open("registry");
    let House {
        rsa,
        ec,
        program,
        registry,
        ..
    } = &house;
    let docker = |name: &str| format!("docker://{}", registry.reference(name));

    house.encrypt(&docker("ours:1"), &[rsa, ec]);
    for (name, key) in [("rsa", rsa), ("ec", ec)] {
        let plain = house.place(&format!("by-skopeo-{name}"));
        skopeo(
            &["--decryption-key", key.private()],
            &docker("ours:1"),
            &plain.transport(),
        )
        .unwrap();
        house.is_plain(&plain);
    }

    let (rsa_key, ec_key) = (rsa.recipient(), ec.recipient());
    let options = ["--encryption-key", &rsa_key, "--encryption-key", &ec_key];
    skopeo(&options, &house.plain.transport(), &docker("theirs:1")).unwrap();
    for (name, key) in [("rsa", rsa), ("ec", ec)] {
        let plain = house.place(&format!("by-us-{name}"));
        let (from, to) = (docker("theirs:1"), plain.transport());
        let _ = program
            .run(["image", "decrypt", &from, &to, "--key", key.private()])
            .well();
        house.is_plain(&plain);
    }
}

#[test]
#[ignore = "needs root, skopeo, umoci, openssl, Go and docker-registry; run by make test"]
fn gos_ocicrypt_opens_each_layer_and_refuses_a_changed_one() {
    let house = House::open("ocicrypt");
    let judge = Judge::build("judge-ocicrypt");
    let House {
        rsa, ec, stranger, ..
    } = &house;
    let encrypted = house.place("encrypted");
    house.encrypt(&encrypted.transport(), &[rsa, ec]);
    let manifest = encrypted.manifest();
    let output = house.scratch.join("layer");
    for (number, layer) in manifest["layers"].as_array().unwrap().iter().enumerate() {
        let plain = &house.plain.layers()[number];
        let digest = layer["digest"].as_str().unwrap();
        let question = |key: &KeyPair, file: &Path| {
            json!({
                "op": "decrypt", "layer": file, "output": output, "media_type": layer["mediaType"],
                "keys": [key.private], "annotations": layer["annotations"],
            })
        };
        let file = encrypted.blob_path(digest);
        for key in [rsa, ec] {
            let answer = judge.ask(&question(key, &file)).unwrap();
            assert_eq!(answer["digest"], *plain, "{answer}");
            assert!(std::fs::read(&output).unwrap() == house.plain.blob(plain));
        }
        judge.ask(&question(stranger, &file)).unwrap_err();
        let mut bytes = encrypted.blob(digest);
        let middle = bytes.len() / 2;
        bytes[middle] ^= 1;
        let changed = house.scratch.join("changed");
        std::fs::write(&changed, bytes).unwrap();
        judge.ask(&question(rsa, &changed)).unwrap_err();
    }
}
