//! Keys in hardware modules: SoftHSM holds them, Go's ocicrypt and we use them, both ways.
//!
//! SoftHSM 2.6 knows RSA-OAEP with SHA-1 alone, so packets are made with `OCICRYPT_OAEP_HASHALG=sha1` here; SHA-256 is tried in
//! `oci-crypt`, with keys in memory.

use std::path::Path;

use fixture::{Recipe, Scratch};
use real::keys::{KeyPair, P256};
use real::peers::Ocicrypt;
use real::tokens::{PIN, SHA1, SoftHsm, TokenKey};
use real::{Image, Program, Said};
use serde_json::{Map, Value, json};

/// Two tokens, a policy that allows SoftHSM, and a plain image.
struct House {
    tokens: SoftHsm,
    program: Program,
    plain: Image,
    scratch: Scratch,
}

fn text(path: &Path) -> &str {
    path.to_str().unwrap()
}

impl House {
    fn open(name: &str) -> Self {
        let scratch = Scratch::new(name).unwrap();
        Self {
            plain: Image::from(&Recipe::busybox("plain").build(&scratch).unwrap()),
            program: Program::find(),
            tokens: SoftHsm::set_up(scratch.path(), &["house", "lab"]),
            scratch,
        }
    }

    fn key(&self, token: &str, label: &str, bits: u16) -> TokenKey {
        self.tokens.key(token, label, bits)
    }

    fn ocicrypt(&self) -> Ocicrypt {
        Ocicrypt::with_tokens(self.tokens.environment())
    }

    fn run(&self, words: &[&str], more: &[(&str, &str)]) -> Said {
        let policy = self.tokens.policy();
        let mut environment = vec![("OCICRYPT_CONFIG", text(&policy))];
        environment.extend(more);
        let words = std::iter::once("image").chain(words.iter().copied());
        let said = self.program.run_with(words, &environment);
        assert!(
            !said.stderr.contains(PIN) && !said.stdout.contains(PIN),
            "{said:?}"
        );
        said
    }

    fn place(&self, name: &str) -> Image {
        Image::at(self.scratch.join(name), "1")
    }

    fn encrypted(&self, name: &str, recipients: &[&str]) -> Image {
        let image = self.place(name);
        let (from, to) = (self.plain.transport(), image.transport());
        let mut words = vec!["encrypt", &from, &to];
        words.extend(recipients.iter().flat_map(|one| ["--recipient", *one]));
        let _ = self.run(&words, &[SHA1]).well();
        image
    }

    fn decrypt(&self, image: &Image, key: &Path, name: &str) -> Said {
        let to = self.place(name).transport();
        self.run(
            &["decrypt", &image.transport(), &to, "--key", text(key)],
            &[],
        )
    }

    fn opens(&self, image: &Image, key: &Path, name: &str) {
        let _ = self.decrypt(image, key, name).well();
        let (opened, plain) = (self.place(name), &self.plain);
        assert_eq!(opened.layers(), plain.layers());
        for layer in plain.layers() {
            assert!(opened.blob(&layer) == plain.blob(&layer), "{layer} differs");
        }
    }

    /// Verified with a binding, or refused for the want of one.
    fn is_bound(&self, image: &Image, key: &Path) -> bool {
        let words = [
            "verify",
            &image.transport(),
            "--require-binding",
            "--key",
            text(key),
        ];
        let said = self.run(&words, &[]);
        match said.code {
            0 => true,
            4 => {
                assert!(said.stderr.contains("not bound to its image"), "{said:?}");
                false
            }
            _ => panic!("{said:?}"),
        }
    }
}

fn object(value: Value) -> Map<String, Value> {
    value.as_object().unwrap().clone()
}

#[test]
#[ignore = "needs SoftHSM, umoci and openssl; run by make test"]
fn each_size_of_key_opens_its_packets_bound_as_far_as_there_is_room() {
    let house = House::open("pkcs11-sizes");
    for (bits, bound) in [(2048, false), (3072, true), (4096, true)] {
        let label = format!("rsa{bits}");
        let key = house.key("house", &label, bits);
        let by_file = house.encrypted(&format!("{label}-by-file"), &[&key.by_public_key()]);
        let by_token = house.encrypted(&format!("{label}-by-token"), &[&key.by_token()]);
        for (image, name) in [(&by_file, "one"), (&by_token, "two")] {
            house.opens(image, &key.yaml, &format!("{label}-{name}"));
            assert_eq!(house.is_bound(image, &key.yaml), bound, "{label}");
            let shown = house
                .run(&["inspect", &image.transport()], &[])
                .well()
                .stdout;
            assert!(shown.contains(&format!("RSA-{bits}")), "{shown}");
            assert_eq!(shown.contains("not bound: no room"), !bound, "{shown}");
        }
    }
}

#[test]
#[ignore = "needs SoftHSM, umoci and openssl; run by make test"]
fn what_can_not_work_says_the_way_out() {
    let house = House::open("pkcs11-way-out");
    let (small, large) = (
        house.key("house", "small", 2048),
        house.key("house", "large", 3072),
    );
    let (from, to) = (house.plain.transport(), house.place("never").transport());
    for recipient in [small.by_public_key(), small.by_token()] {
        let words = ["encrypt", &from, &to, "--recipient", &recipient];
        let said = house.run(&words, &[]).refused(2);
        for way in ["3072", "OCICRYPT_OAEP_HASHALG=sha1", "jwe"] {
            assert!(said.contains(way), "{said}");
        }
    }
    // The module's own limit is named, too, where it has one.
    let image = house.place("sha256");
    let recipient = large.by_public_key();
    let _ = house
        .run(
            &[
                "encrypt",
                &from,
                &image.transport(),
                "--recipient",
                &recipient,
            ],
            &[],
        )
        .well();
    let said = house.decrypt(&image, &large.yaml, "opened");
    assert!(
        said.code == 0 || said.stderr.contains("no RSA-OAEP with this hash"),
        "{said:?}"
    );
}

#[test]
#[ignore = "needs SoftHSM, umoci, openssl and Go; run by make test"]
fn gos_ocicrypt_and_we_open_each_others_packets() {
    let house = House::open("pkcs11-ocicrypt");
    let ocicrypt = house.ocicrypt();
    for bits in [2048, 3072, 4096] {
        let label = format!("rsa{bits}");
        let key = house.key("lab", &label, bits);
        for (number, recipient) in [key.by_public_key(), key.by_token()].iter().enumerate() {
            let ours = house.encrypted(&format!("{label}-ours-{number}"), &[recipient]);
            let opened = ocicrypt.decrypt(&ours, &object(json!({"keys": [key.yaml]})));
            let plain = house.plain.layers();
            let plain: Vec<_> = plain.iter().map(|layer| house.plain.blob(layer)).collect();
            assert!(opened.unwrap() == plain, "{label}");
        }
        for member in ["public_keys", "yamls"] {
            let file = match member {
                "yamls" => &key.yaml,
                _ => &key.public,
            };
            let theirs = house.scratch.join(format!("{label}-{member}"));
            let theirs = ocicrypt.encrypt(&house.plain, &theirs, &object(json!({member: [file]})));
            let opened = format!("{label}-{member}-opened");
            house.opens(&theirs.unwrap(), &key.yaml, &opened);
        }
    }
}

#[test]
#[ignore = "needs SoftHSM, umoci, openssl and Go; run by make test"]
fn the_binding_survives_gos_wrapping_and_our_adding_of_recipients() {
    let house = House::open("pkcs11-rewrap");
    let ocicrypt = house.ocicrypt();
    let key = house.key("house", "large", 3072);
    let ann = KeyPair::make(house.scratch.path(), "ann", P256);

    let image = house.encrypted("by-go", &[&key.by_public_key()]);
    let layer = &image.manifest()["layers"][0];
    let question = json!({
        "op": "rewrap", "layer": image.blob_path(layer["digest"].as_str().unwrap()), "media_type": layer["mediaType"],
        "annotations": layer["annotations"], "keys": [key.yaml], "jwe_public_keys": [ann.public],
    });
    let annotations = ocicrypt.ask(&question).unwrap()["annotations"].clone();
    image.edit_layer(0, |layer| {
        for (name, value) in annotations.as_object().unwrap() {
            layer["annotations"][name] = value.clone();
        }
    });
    assert!(
        house.is_bound(&image, &ann.private),
        "Go dropped the binding"
    );

    let image = house.encrypted("by-us", &[&key.by_token()]);
    let (place, recipient) = (image.transport(), ann.recipient());
    let words = [
        "recipients",
        "add",
        &place,
        "--recipient",
        &recipient,
        "--key",
        text(&key.yaml),
    ];
    let _ = house.run(&words, &[]).well();
    assert!(
        house.is_bound(&image, &ann.private),
        "we dropped the binding"
    );
    assert!(house.is_bound(&image, &key.yaml));
}

#[test]
#[ignore = "needs SoftHSM, umoci and openssl; run by make test"]
fn an_unbound_packet_beside_a_bound_one_gives_an_attacker_nothing() {
    let house = House::open("pkcs11-mixed");
    let small = house.key("house", "small", 2048);
    let large = house.key("lab", "large", 3072);
    let recipients = [small.by_public_key(), large.by_public_key()];
    let image = house.encrypted("both", &[&recipients[0], &recipients[1]]);
    // One packet for two tokens: each opens alone.
    house.opens(&image, &small.yaml, "by-small");
    house.opens(&image, &large.yaml, "by-large");
    assert!(house.is_bound(&image, &large.yaml));
    assert!(!house.is_bound(&image, &small.yaml));
    // Who holds both is told the binding, in either order.
    for keys in [[&small, &large], [&large, &small]] {
        let words = [
            "verify",
            &image.transport(),
            "--require-binding",
            "--key",
            text(&keys[0].yaml),
            "--key",
            text(&keys[1].yaml),
        ];
        let _ = house.run(&words, &[]).well();
    }
    // The layer under another configuration: refused by the bound key, and by whoever requires a binding.
    let moved = image.copy_to(&house.scratch.join("moved"));
    moved.edit_config(|config| config["config"] = json!({"Env": ["EVIL=1"]}));
    let said = house.decrypt(&moved, &large.yaml, "moved-large").refused(4);
    assert!(said.contains("bound to"), "{said}");
    assert!(!house.is_bound(&moved, &small.yaml));
}

#[test]
#[ignore = "needs SoftHSM, umoci and openssl; run by make test"]
fn failures_of_tokens_and_modules_are_told_apart() {
    let house = House::open("pkcs11-failures");
    let key = house.key("house", "large", 3072);
    let image = house.encrypted("encrypted", &[&key.by_public_key()]);
    let uri = |text: &str| house.tokens.yaml("changed", text);
    let softhsm = "module-name=softhsm2";
    let elsewhere = house.scratch.join("libsofthsm2.so");
    std::fs::copy("/usr/lib/softhsm/libsofthsm2.so", &elsewhere).unwrap();
    for (uri_text, code, words) in [
        (
            format!("pkcs11:token=house;object=large?pin-value=0000&{softhsm}"),
            3,
            "refused the PIN",
        ),
        (
            format!("pkcs11:token=house;object=large?{softhsm}"),
            2,
            "wants a PIN",
        ),
        (
            format!("pkcs11:token=gone;object=large?pin-value={PIN}&{softhsm}"),
            5,
            "no such token",
        ),
        (
            format!("pkcs11:token=house;object=gone?pin-value={PIN}&{softhsm}"),
            1,
            "no such RSA key",
        ),
        (
            format!("pkcs11:token=house;object=large?pin-value={PIN}&module-name=gone"),
            2,
            "there is no module",
        ),
        (
            format!(
                "pkcs11:token=house;object=large?pin-value={PIN}&module-path={}",
                text(&elsewhere)
            ),
            2,
            "not allowed by the policy",
        ),
    ] {
        let said = house
            .decrypt(&image, &uri(&uri_text), "opened")
            .refused(code);
        assert!(said.contains(words), "{words}: {said}");
    }
    // The PIN in the ways of other passwords.
    let without = uri(&format!("pkcs11:token=house;object=large?{softhsm}"));
    std::fs::write(house.scratch.join("pin"), format!("{PIN}\n")).unwrap();
    let from_file = format!(
        "{}:file={}",
        text(&without),
        text(&house.scratch.join("pin"))
    );
    house.opens(&image, Path::new(&from_file), "by-file");
    let policy = house.tokens.policy();
    std::fs::remove_file(policy).unwrap();
    let said = house.decrypt(&image, &key.yaml, "opened").refused(2);
    assert!(said.contains("OCICRYPT_CONFIG"), "{said}");
}
