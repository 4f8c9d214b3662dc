//! A build is promoted and retired by command, against a real server in this process.

use std::{fs, path::Path};

use dsse::SigningKey;
use estate::Digest;
use serde_json::{Value, json};

use crate::{house::House, runner::run};

pub(crate) const LAYER: &str = "application/vnd.oci.image.layer.v1.tar";

/// A layout with one image of this layer type; gives the config digest.
pub(crate) fn layout(folder: &str, name: &str, layer_type: &str) -> Digest {
    let blobs = Path::new(folder).join("blobs/sha256");
    fs::create_dir_all(&blobs).unwrap();
    let put = |bytes: &[u8]| {
        let digest = Digest::of(bytes);
        fs::write(blobs.join(digest.to_hex()), bytes).unwrap();
        (digest, bytes.len())
    };
    let (layer, layer_size) = put(name.as_bytes());
    let config = json!({
        "architecture": "amd64", "os": "linux", "config": {},
        "rootfs": { "type": "layers", "diff_ids": [layer] },
    });
    let (config, config_size) = put(config.to_string().as_bytes());
    let manifest = json!({
        "schemaVersion": 2,
        "mediaType": "application/vnd.oci.image.manifest.v1+json",
        "config": { "mediaType": "application/vnd.oci.image.config.v1+json", "digest": config, "size": config_size },
        "layers": [{ "mediaType": layer_type, "digest": layer, "size": layer_size }],
    });
    let (manifest, size) = put(manifest.to_string().as_bytes());
    let index = json!({
        "schemaVersion": 2,
        "manifests": [{
            "mediaType": "application/vnd.oci.image.manifest.v1+json", "digest": manifest, "size": size,
            "annotations": { "org.opencontainers.image.ref.name": "1" },
        }],
    });
    fs::write(Path::new(folder).join("index.json"), index.to_string()).unwrap();
    fs::write(
        Path::new(folder).join("oci-layout"),
        r#"{"imageLayoutVersion":"1.0.0"}"#,
    )
    .unwrap();
    config
}

/// The house's estate with a promoter of `medrec`, in force; gives the promoter's key file.
pub(crate) fn with_promoter(house: &House) -> String {
    let key = SigningKey::generate_p256().unwrap();
    let file = house.path("promoter.pem");
    fs::write(&file, key.to_pem().unwrap().as_bytes()).unwrap();
    let estate = house.path("estate");
    let at = |path: &str| Path::new(&estate).join(path);
    fs::create_dir_all(at("keys")).unwrap();
    fs::write(at("keys/medrec.pub"), key.verifying_key().to_pem()).unwrap();
    let images = fs::read_to_string(at("images.toml")).unwrap();
    let images = format!("{images}\n[[image.medrec.promoter]]\nkey = \"keys/medrec.pub\"\n");
    fs::write(at("images.toml"), images).unwrap();
    house.furnish();
    file
}

fn json_of(text: &str) -> Value {
    serde_json::from_str(text).unwrap()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_build_is_promoted_seen_and_retired() {
    let house = House::open().await;
    let key = with_promoter(&house);
    let folder = house.path("image");
    let config = layout(&folder, "one", &format!("{LAYER}+encrypted"));
    let place = format!("oci:{folder}:1");
    let command = ["image", "promote", &place, "--to", "medrec", "--key", &key];

    let shown = house.done(&[&command[..], &["--dry-run", "--output", "json"]].concat());
    let shown = json_of(&shown);
    assert_eq!(shown["subject"][0]["digest"]["sha256"], config.to_hex());
    assert_eq!(shown["predicate"]["encrypted"], true);
    assert!(
        house
            .kit
            .server
            .world()
            .estate
            .image_set_of(&config, now(&house))
            .is_none()
    );

    let promoted = json_of(&house.done(&[&command[..], &["--output", "json"]].concat()));
    assert_eq!(promoted["state"], "applied");
    assert_eq!(promoted["configs"][0], config.to_string());
    let set = |house: &House| {
        let world = house.kit.server.world();
        let set = world.estate.image_set_of(&config, now(house));
        set.map(|set| set.name.to_string())
    };
    assert_eq!(set(&house).as_deref(), Some("medrec"));

    let text = promoted["revision"].to_string();
    let again = house.root(&[&command[..], &["--revision", &text]].concat(), "");
    assert!(
        again.status != 0 && again.stderr.contains("an old statement does not come back"),
        "{again:?}"
    );

    let out = house.done(&["image", "retire", &place, "--from", "medrec"]);
    assert!(out.contains(&config.to_string()), "{out}");
    assert_eq!(set(&house), None);
    let back = house.root(&command, "");
    assert!(
        back.status != 0 && back.stderr.contains("was retired"),
        "{back:?}"
    );
}

fn now(house: &House) -> estate::Timestamp {
    house.kit.server.now()
}

#[tokio::test(flavor = "multi_thread")]
async fn only_a_promoter_of_the_set_promotes() {
    let house = House::open().await;
    with_promoter(&house);
    let stranger = house.path("stranger.pem");
    let key = SigningKey::generate_ed25519().unwrap();
    fs::write(&stranger, key.to_pem().unwrap().as_bytes()).unwrap();
    let folder = house.path("image");
    layout(&folder, "one", LAYER);
    let place = format!("oci:{folder}:1");
    let ran = house.root(
        &[
            "image", "promote", &place, "--to", "medrec", "--key", &stranger,
        ],
        "",
    );
    assert!(
        ran.status != 0
            && ran
                .stderr
                .contains("no promoter of image set `medrec` signed"),
        "{ran:?}"
    );
    assert!(ran.stderr.contains("warning: not every layer is encrypted"));
    let nobody = house.root(
        &[
            "image",
            "retire",
            &Digest::of("x").to_string(),
            "--from",
            "medrec",
        ],
        "",
    );
    assert!(
        nobody.status != 0 && nobody.stderr.contains("is not in image set `medrec`"),
        "{nobody:?}"
    );
}

#[test]
fn keys_that_can_not_sign_are_refused_with_a_way_out() {
    let folder = tempfile::tempdir().unwrap();
    let key = folder.path().join("cosign.key");
    let key = key.to_str().unwrap();
    let command = [
        "image",
        "promote",
        "oci:nowhere",
        "--to",
        "medrec",
        "--key",
        key,
    ];
    let missing = run(&command, "");
    assert_eq!(missing.status, 2);
    for (label, hint) in [
        ("ENCRYPTED SIGSTORE PRIVATE KEY", "cosign import-key-pair"),
        ("ENCRYPTED PRIVATE KEY", "openssl pkey -in"),
        ("PUBLIC KEY", "openssl genpkey"),
    ] {
        let text = format!("-----BEGIN {label}-----\nAAAA\n-----END {label}-----\n");
        fs::write(key, text).unwrap();
        let ran = run(&command, "");
        assert!(ran.status == 2 && ran.stderr.contains(hint), "{ran:?}");
    }
}
