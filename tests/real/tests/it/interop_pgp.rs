//! GnuPG, skopeo (Go's older OpenPGP) and Go's ocicrypt (the newest) judge the `pgp:` recipients, both ways.

use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use fixture::{FixtureError, Recipe, Scratch, run};
use real::{Image, Judge, Program, Said};
use serde_json::json;

const ANNOTATION: &str = "org.opencontainers.image.enc.keys.pgp";
const PASSWORD: &str = "correct horse";

/// Those who have keys, by kind. The last is nobody's recipient.
const PEOPLE: [(&str, &str, &str); 6] = [
    ("ann", "RSA\nKey-Length: 2048", "RSA\nSubkey-Length: 2048"),
    ("bob", "RSA\nKey-Length: 3072", "RSA\nSubkey-Length: 3072"),
    (
        "cid",
        "EDDSA\nKey-Curve: ed25519",
        "ECDH\nSubkey-Curve: cv25519",
    ),
    (
        "dan",
        "ECDSA\nKey-Curve: nistp256",
        "ECDH\nSubkey-Curve: nistp256",
    ),
    (
        "eve",
        "ECDSA\nKey-Curve: nistp521",
        "ECDH\nSubkey-Curve: nistp521",
    ),
    (
        "stranger",
        "RSA\nKey-Length: 2048",
        "RSA\nSubkey-Length: 2048",
    ),
];

/// A plain image, and a home of GnuPG with people's keys in it; the secret keys of each are exported.
struct House {
    /// Of all secret keys; none where it is empty.
    password: &'static str,
    scratch: Scratch,
    home: PathBuf,
    program: Program,
    plain: Image,
}

impl House {
    /// With the keys of everybody, and with a password.
    fn open(name: &str) -> Self {
        Self::open_with(name, PASSWORD, |_| true)
    }

    fn open_with(name: &str, password: &'static str, is_meant: impl Fn(&str) -> bool) -> Self {
        let scratch = Scratch::new(name).unwrap();
        let plain = Image::from(&Recipe::busybox("plain").build(&scratch).unwrap());
        let house = Self {
            password,
            home: scratch.join("home"),
            program: Program::find(),
            plain,
            scratch,
        };
        run("install", ["-d", "-m", "700", text(&house.home)]).unwrap();
        let (file, conf) = (house.scratch.join("password"), house.home.join("gpg.conf"));
        std::fs::write(&file, PASSWORD).unwrap();
        let settings = format!("pinentry-mode loopback\npassphrase-file {}\n", text(&file));
        std::fs::write(conf, settings).unwrap();
        let meant = PEOPLE.iter().filter(|(_, primary, _)| is_meant(primary));
        for (name, primary, subkey) in meant {
            let protection = match password {
                "" => "%no-protection".to_owned(),
                password => format!("Passphrase: {password}"),
            };
            let parameters = format!(
                "Key-Type: {primary}\nKey-Usage: sign\nSubkey-Type: {subkey}\nSubkey-Usage: encrypt\n\
                 Name-Real: {name}\nName-Email: {name}@example.org\n{protection}\n%commit\n"
            );
            let file = house.scratch.join("parameters");
            std::fs::write(&file, parameters).unwrap();
            house.gpg(&["--generate-key", text(&file)]);
            let secret = house.gpg(&["--export-secret-keys", &mail(name)]);
            std::fs::write(house.ring(name), secret).unwrap();
        }
        std::fs::write(house.scratch.join("public.gpg"), house.gpg(&["--export"])).unwrap();
        house
    }

    /// The secret keys of one.
    fn ring(&self, name: &str) -> PathBuf {
        self.scratch.join(format!("{name}.gpg"))
    }

    fn gpg(&self, words: &[&str]) -> Vec<u8> {
        let output = Command::new("gpg")
            .args(["--batch", "--quiet", "--homedir", text(&self.home)])
            .args(words)
            .stdin(Stdio::null())
            .output()
            .unwrap();
        let said = String::from_utf8_lossy(&output.stderr);
        assert!(output.status.success(), "gpg {words:?}: {said}");
        output.stdout
    }

    fn place(&self, name: &str) -> Image {
        Image::at(self.scratch.join(name), "1")
    }

    /// Encrypted here, for names in GnuPG's ring.
    fn encrypted(&self, names: &[&str]) -> Image {
        let image = self.place("encrypted");
        let (from, to) = (self.plain.transport(), image.transport());
        let recipients: Vec<String> = names
            .iter()
            .map(|name| format!("pgp:{}", mail(name)))
            .collect();
        let mut words = vec![
            "image",
            "encrypt",
            &from,
            &to,
            "--gpg-homedir",
            text(&self.home),
        ];
        words.extend(recipients.iter().flat_map(|one| ["--recipient", one]));
        let _ = self.program.run(words).well();
        image
    }

    fn decrypt(&self, encrypted: &Image, keys: &[&str], name: &str) -> (Said, Image) {
        let plain = self.place(name);
        let (from, to) = (encrypted.transport(), plain.transport());
        let mut words = vec!["image", "decrypt", &from, &to];
        words.extend(keys);
        (self.program.run(words), plain)
    }

    fn decrypt_with(&self, encrypted: &Image, who: &str, name: &str) -> (Said, Image) {
        let file = self.ring(who);
        let key = match self.password {
            "" => text(&file).to_owned(),
            password => format!("{}:pass={password}", text(&file)),
        };
        self.decrypt(encrypted, &["--key", &key], name)
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

/// Its agent would go on waiting in a folder that is gone.
impl Drop for House {
    fn drop(&mut self) {
        let _ = run("gpgconf", ["--homedir", text(&self.home), "--kill", "all"]);
    }
}

fn mail(name: &str) -> String {
    format!("{name}@example.org")
}

fn text(path: &Path) -> &str {
    path.to_str().unwrap()
}

/// skopeo looks for public keys where GnuPG keeps them.
fn skopeo(
    house: &House,
    options: &[&str],
    from: &Image,
    to: &Image,
) -> Result<String, FixtureError> {
    let home = format!("GNUPGHOME={}", text(&house.home));
    let (from, to) = (from.transport(), to.transport());
    let words = ["skopeo", "--insecure-policy", "copy", "--quiet"];
    let words = [home.as_str()]
        .into_iter()
        .chain(words)
        .chain(options.iter().copied());
    run("env", words.chain([from.as_str(), &to]))
}

fn packet(image: &Image) -> Vec<u8> {
    let manifest = image.manifest();
    let packet = manifest["layers"][0]["annotations"][ANNOTATION].as_str();
    STANDARD.decode(packet.unwrap()).unwrap()
}

#[test]
#[ignore = "needs gpg and umoci; run by make test"]
fn gpg_opens_what_we_encrypt_and_shows_whom_for() {
    let house = House::open("pgp-gpg");
    let encrypted = house.encrypted(&["ann", "bob", "cid", "dan", "eve"]);
    let file = house.scratch.join("packet.pgp");
    std::fs::write(&file, packet(&encrypted)).unwrap();
    let options: serde_json::Value =
        serde_json::from_slice(&house.gpg(&["--decrypt", text(&file)])).unwrap();
    assert_eq!(options["digest"], house.plain.layers()[0]);
    for (who, ..) in &PEOPLE[..5] {
        let (said, plain) = house.decrypt_with(&encrypted, who, who);
        let _ = said.well();
        house.is_plain(&plain);
    }
    let _ = house
        .decrypt_with(&encrypted, "stranger", "stolen")
        .0
        .refused(3);
    let wrong = format!("{}:pass=wrong", text(&house.ring("ann")));
    let (said, _) = house.decrypt(&encrypted, &["--key", &wrong], "wrong");
    assert!(said.refused(1).contains("opens none"));

    // GnuPG itself, whose settings say where its password is.
    let (said, plain) = house.decrypt(&encrypted, &["--gpg-homedir", text(&house.home)], "agent");
    let _ = said.well();
    house.is_plain(&plain);

    // One goes, by the id that is listed.
    let from = encrypted.transport();
    let listed = house
        .program
        .run(["image", "recipients", "list", &from, "--output", "json"])
        .well()
        .json();
    let holders = listed[0]["layers"][0]["recipients"][0]["holders"]
        .as_array()
        .unwrap()
        .clone();
    assert_eq!(holders.len(), 5, "{listed}");
    let selector = format!("pgp:{}", holders[0]["key"].as_str().unwrap());
    let _ = house
        .program
        .run(["image", "recipients", "remove", &from, &selector])
        .well();
    let _ = house.decrypt_with(&encrypted, "ann", "gone").0.refused(3);
    house.is_plain(&house.decrypt_with(&encrypted, "bob", "stays").1);
}

#[test]
#[ignore = "needs gpg, skopeo and umoci; run by make test"]
fn skopeo_and_we_open_each_others_layers() {
    // Debian's is old: a ring with newer kinds of keys ends it, and it takes no password with such a file.
    let house = House::open_with("pgp-skopeo", "", |primary| primary.starts_with("RSA"));
    let encrypted = house.encrypted(&["ann", "bob"]);
    for who in ["ann", "bob"] {
        let plain = house.place(who);
        let key = house.ring(who);
        skopeo(
            &house,
            &["--decryption-key", text(&key)],
            &encrypted,
            &plain,
        )
        .unwrap();
        house.is_plain(&plain);
    }
    let key = house.ring("stranger");
    skopeo(
        &house,
        &["--decryption-key", text(&key)],
        &encrypted,
        &house.place("stolen"),
    )
    .unwrap_err();

    let theirs = house.place("theirs");
    let options = [
        "--encryption-key",
        "pgp:ann@example.org",
        "--encryption-key",
        "pgp:bob@example.org",
    ];
    skopeo(&house, &options, &house.plain, &theirs).unwrap();
    for who in ["ann", "bob"] {
        let (said, plain) = house.decrypt_with(&theirs, who, &format!("{who}-here"));
        let _ = said.well();
        house.is_plain(&plain);
    }
    let _ = house
        .decrypt_with(&theirs, "stranger", "stolen-here")
        .0
        .refused(3);
}

#[test]
#[ignore = "needs gpg, umoci and Go; run by make test"]
fn gos_ocicrypt_and_we_open_each_others_layers() {
    let house = House::open("pgp-ocicrypt");
    let judge = Judge::build("judge-ocicrypt");
    let (output, layer) = (house.scratch.join("layer"), house.plain.layers().remove(0));
    let everybody = ["ann", "bob", "cid", "dan", "eve"];

    let encrypted = house.encrypted(&everybody);
    let manifest = encrypted.manifest();
    let descriptor = &manifest["layers"][0];
    let question = |who: &str| {
        json!({
            "op": "decrypt", "layer": encrypted.blob_path(descriptor["digest"].as_str().unwrap()), "output": output,
            "media_type": descriptor["mediaType"], "annotations": descriptor["annotations"],
            "gpg_ring": house.ring(who), "gpg_password": PASSWORD,
        })
    };
    for who in everybody {
        let answer = judge
            .ask(&question(who))
            .unwrap_or_else(|error| panic!("{who}: {error}"));
        assert_eq!(answer["digest"], *layer, "{who}: {answer}");
    }
    judge.ask(&question("stranger")).unwrap_err();

    let theirs = judge
        .ask(&json!({
            "op": "encrypt", "layer": house.plain.blob_path(&layer), "output": output,
            "media_type": house.plain.manifest()["layers"][0]["mediaType"],
            "gpg_ring": house.scratch.join("public.gpg"), "gpg_recipients": everybody.map(mail),
        }))
        .unwrap();
    let image = house.plain.copy_to(&house.scratch.join("theirs"));
    let mut manifest = image.manifest();
    let descriptor = &mut manifest["layers"][0];
    for member in ["digest", "size", "annotations"] {
        descriptor[member] = theirs[member].clone();
    }
    let media_type = descriptor["mediaType"].as_str().unwrap();
    descriptor["mediaType"] = format!("{media_type}+encrypted").into();
    let _ = image.put(&std::fs::read(&output).unwrap());
    image.set_manifest(&manifest);
    for who in everybody {
        let (said, plain) = house.decrypt_with(&image, who, &format!("{who}-here"));
        let _ = said.well();
        house.is_plain(&plain);
    }
    let _ = house
        .decrypt_with(&image, "stranger", "stolen")
        .0
        .refused(3);
}
