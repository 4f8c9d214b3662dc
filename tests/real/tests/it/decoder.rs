//! Encrypted images that somebody forged in the registry, pulled by a real containerd through the decoder: each is refused, the
//! reason reaches whoever pulls, and nothing of it is left.

use std::fs;
use std::path::PathBuf;
use std::time::Duration;

use base64::Engine;
use base64::engine::general_purpose::STANDARD as B64;
use custody::{KeyDocument, KeyUse, RootPin};
use demo::{Stage, Tell};
use fixture::{Recipe, until_async};
use hpke_xwing::{PrivateKey, Suite};
use jose::EcdsaP256Key;
use real::Image;
use serde_json::{Value, json};

const PACKET: &str = "org.opencontainers.image.enc.keys.provider.bailiwick";
const PUBLIC: &str = "org.opencontainers.image.enc.pubopts";
const PATIENCE: Duration = Duration::from_secs(60);

/// A lab, and what its people need to encrypt for it.
struct House {
    stage: Stage,
    document: PathBuf,
    pin: String,
}

impl House {
    async fn open() -> Self {
        let stage = Stage::set(Tell::silent()).await.unwrap();
        let document = stage.scratch.join("medrec-key.json");
        let key = stage
            .bailiwick
            .ask(&["image", "key", "medrec"])
            .unwrap()
            .ended(0)
            .unwrap();
        fs::write(&document, key.stdout).unwrap();
        let status = stage
            .bailiwick
            .ask(&["status", "--output", "json"])
            .unwrap()
            .json()
            .unwrap();
        let pin = status["root"].as_str().unwrap().to_owned();
        Self {
            stage,
            document,
            pin,
        }
    }

    /// A plain image of two layers like no other: what containerd has unpacked once needs no key again.
    fn plain(&self, name: &str) -> Image {
        let recipe = Recipe::new(name)
            .text("/etc/first", format!("first of {name}\n"), 0o644)
            .layer()
            .text("/etc/second", format!("second of {name}\n"), 0o644)
            .entry_point([format!("/{name}")]);
        Image::from(&recipe.build(&self.stage.scratch).unwrap())
    }

    /// It, encrypted for the authority.
    fn encrypted(&self, name: &str) -> Image {
        self.encrypted_for(name, &self.document.display().to_string(), &self.pin)
    }

    fn encrypted_for(&self, name: &str, document: &str, pin: &str) -> Image {
        let (plain, encrypted) = (
            self.plain(name),
            Image::at(self.stage.scratch.join(format!("{name}-encrypted")), "1"),
        );
        let (from, to) = (plain.transport(), encrypted.transport());
        let words = [
            "image",
            "encrypt",
            &from,
            &to,
            "--recipient",
            "bailiwick:medrec",
            "--key-document",
            document,
            "--root-pin",
            pin,
        ];
        self.stage.bailiwick.run(&words).unwrap().ended(0).unwrap();
        encrypted
    }

    /// A copy to forge.
    fn copy(&self, image: &Image, name: &str) -> Image {
        image.copy_to(&self.stage.scratch.join(format!("{name}-forged")))
    }

    fn push(&self, image: &Image, name: &str) -> String {
        self.stage
            .registry
            .push(&image.layout(), &format!("{name}:1"))
            .unwrap()
    }

    /// Pulls on the node in the right place, which must fail with these words; nothing of it may be there afterwards.
    async fn refused(&self, image: &Image, name: &str, wanted: &str) {
        let reference = self.push(image, name);
        self.refused_at(&reference, name, wanted).await;
    }

    async fn refused_at(&self, reference: &str, name: &str, wanted: &str) {
        let node = &self.stage.dal05;
        let pulled = node.cri.pull(reference).await;
        let reason = pulled.expect_err(name).to_string();
        assert!(reason.contains(wanted), "{name}: {reason}");
        let images = node
            .containerd
            .ctr(["--namespace", "k8s.io", "images", "list", "--quiet"])
            .unwrap();
        assert!(!images.contains(reference), "{name}: {images}");
    }

    /// The newest refusal on record has these words, too.
    async fn on_record(&self, name: &str, wanted: &str) {
        let denied = self.stage.rows.leaves("outcome", "denied").await.unwrap();
        let reason = denied
            .last()
            .map(|leaf| leaf.value("reason"))
            .unwrap_or_default()
            .to_owned();
        assert!(reason.contains(wanted), "{name}: {reason}");
    }

    async fn denials(&self) -> usize {
        self.stage
            .rows
            .leaves("outcome", "denied")
            .await
            .unwrap()
            .len()
    }
}

/// Changes the JSON inside an annotation of every layer.
fn edit_annotations(image: &Image, name: &str, edit: impl Fn(&mut Value)) {
    for index in 0..image.layers().len() {
        image.edit_layer(index, |layer| {
            let text = layer["annotations"][name].as_str().unwrap();
            let mut content: Value = serde_json::from_slice(&B64.decode(text).unwrap()).unwrap();
            edit(&mut content);
            layer["annotations"][name] = json!(B64.encode(content.to_string()));
        });
    }
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "needs root, containerd, swtpm, PostgreSQL, docker-registry, skopeo, umoci and Go; run by make test"]
async fn forged_images_are_refused_with_the_reason_and_the_honest_one_opens() {
    let house = House::open().await;
    honest_images_open(&house).await;
    layers_out_of_place(&house).await;
    changed_bytes(&house).await;
    packets_of_others(&house).await;
}

/// What is refused below is refused for what was changed.
async fn honest_images_open(house: &House) {
    let image = house.encrypted("honest");
    let reference = house.push(&image, "honest");
    let before = house.denials().await;
    house.stage.dal05.cri.pull(&reference).await.unwrap();
    let opened = house.stage.rows.leaves("kind", "open").await.unwrap();
    assert_eq!(opened.len(), 2, "a leaf for each layer: {opened:?}");
    assert_eq!(house.denials().await, before);
}

async fn layers_out_of_place(house: &House) {
    let honest = house.encrypted("config");
    let forged = house.copy(&honest, "config");
    forged.edit_config(|config| config["config"]["Entrypoint"] = json!(["/bin/thief"]));
    house.refused(&forged, "config", "bound to config").await;
    house.on_record("config", "bound to config").await;
    // A forgery that was refused does not keep the node from the honest image for long.
    let reference = house.push(&honest, "config-honest");
    let opens = until_async("the honest image", PATIENCE, async || {
        house.stage.dal05.cri.pull(&reference).await.ok()
    });
    opens.await.unwrap();

    let forged = house.copy(&house.encrypted("swapped"), "swapped");
    let mut manifest = forged.manifest();
    manifest["layers"].as_array_mut().unwrap().swap(0, 1);
    forged.set_manifest(&manifest);
    house.refused(&forged, "swapped", "bound to index").await;
    house.on_record("swapped", "bound to index").await;

    // With a configuration that says the same, the configuration is another one.
    let forged = house.copy(&forged, "swapped-whole");
    forged.edit_config(|config| {
        config["rootfs"]["diff_ids"]
            .as_array_mut()
            .unwrap()
            .swap(0, 1)
    });
    house.refused(&forged, "swapped-whole", "bound to").await;
    house.on_record("swapped-whole", "bound to").await;

    // A layer of one image in the place that it had, in another.
    let (victim, thief) = (
        house.encrypted("victim"),
        house.copy(&house.encrypted("thief"), "thief"),
    );
    let stolen = victim.manifest()["layers"][0].clone();
    let digest = stolen["digest"].as_str().unwrap();
    thief.put(&victim.blob(digest));
    thief.edit_layer(0, |layer| *layer = stolen.clone());
    house.refused(&thief, "thief", "bound to config").await;
    house.on_record("thief", "bound to config").await;
}

async fn changed_bytes(house: &House) {
    let forged = house.copy(&house.encrypted("flipped"), "flipped");
    forged.replace_layer(0, |bytes| bytes[20] ^= 1);
    house
        .refused(&forged, "flipped", "bound to ciphertext")
        .await;
    house.on_record("flipped", "bound to ciphertext").await;

    let forged = house.copy(&house.encrypted("shortened"), "shortened");
    forged.replace_layer(0, |bytes| bytes.truncate(bytes.len() - 1));
    house
        .refused(&forged, "shortened", "bound to ciphertext")
        .await;
    house.on_record("shortened", "bound to ciphertext").await;

    // Behind the registry's back: the runtime itself finds it.
    let image = house.encrypted("rotten");
    let reference = house.push(&image, "rotten");
    let layer = &image.layers()[0];
    let hex = layer.strip_prefix("sha256:").unwrap();
    let folder = house
        .stage
        .registry
        .storage()
        .join("docker/registry/v2/blobs/sha256");
    let blob = folder.join(&hex[..2]).join(hex).join("data");
    let mut bytes = fs::read(&blob).unwrap();
    *bytes.last_mut().unwrap() ^= 0x80;
    fs::write(&blob, bytes).unwrap();
    house.refused_at(&reference, "rotten", "digest").await;

    let forged = house.copy(&house.encrypted("nonce"), "nonce");
    edit_annotations(&forged, PUBLIC, |options| {
        options["cipheroptions"] = json!({ "nonce": B64.encode([0; 16]) })
    });
    house.refused(&forged, "nonce", "nonce").await;

    let forged = house.copy(&house.encrypted("hmac"), "hmac");
    edit_annotations(&forged, PUBLIC, |options| {
        options["hmac"] = json!(B64.encode([0; 32]))
    });
    house.refused(&forged, "hmac", "did not decrypt").await;
}

async fn packets_of_others(house: &House) {
    for (name, authority) in [
        ("authority", "spiffe://stranger.lab"),
        ("impostor", "spiffe://hospital.lab"),
    ] {
        let root = EcdsaP256Key::generate().unwrap();
        let key = PrivateKey::generate(Suite::XWing).unwrap();
        let dataset = "medical-records".parse().unwrap();
        let document = KeyDocument::new(
            authority,
            "medrec",
            &dataset,
            key.public_key(),
            0,
            4_102_444_800,
        );
        let file = house.stage.scratch.join(format!("{name}.json"));
        fs::write(
            &file,
            document
                .sign(KeyUse::Image, root.public_jwk(), &root)
                .unwrap(),
        )
        .unwrap();
        let pin = RootPin::of(root.public_jwk()).unwrap().to_string();
        let image = house.encrypted_for(name, &file.display().to_string(), &pin);
        house.refused(&image, name, "packet").await;
    }

    let forged = house.copy(&house.encrypted("suite"), "suite");
    edit_annotations(&forged, PACKET, |packet| {
        packet["suite"] = json!(Suite::X25519.name())
    });
    house.refused(&forged, "suite", "packet").await;

    let forged = house.copy(&house.encrypted("renamed"), "renamed");
    edit_annotations(&forged, PACKET, |packet| {
        packet["resource"] = json!("payroll")
    });
    house.refused(&forged, "renamed", "no such image set").await;
}
