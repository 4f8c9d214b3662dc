//! Options that change what a command checks, keeps or says.

use std::fs;
use std::path::Path;

use estate::Digest;
use serde_json::{Value, json as value};

use crate::images::{Desk, json};

const CERTIFICATE: &[u8] =
    include_bytes!("../../../../crates/formats/oci-crypt/tests/vectors/pkcs7/cert.pem");
const KEY: &[u8] =
    include_bytes!("../../../../crates/formats/oci-crypt/tests/vectors/pkcs7/key.pem");
const DECRYPTED_FROM: &str = "dev.bailiwick.decrypted-from";

fn read(desk: &Desk, layout: &str, path: &str) -> Value {
    let file = Path::new(&desk.path(layout)).join(path);
    serde_json::from_slice(&fs::read(file).unwrap()).unwrap()
}

/// What the plain image in a layout says of where it came from.
fn told(desk: &Desk, layout: &str, digest: &Value) -> Value {
    let hex = digest.as_str().unwrap().trim_start_matches("sha256:");
    let manifest = read(desk, layout, &format!("blobs/sha256/{hex}"));
    manifest["annotations"][DECRYPTED_FROM].clone()
}

#[test]
fn ctr_encs_flag_names_the_certificate_of_a_key() {
    let desk = Desk::new();
    fs::write(desk.path("cert.pem"), CERTIFICATE).unwrap();
    fs::write(desk.path("key.pem"), KEY).unwrap();
    let encrypted = desk.image("encrypt @plain:1 @seven:1 --to pkcs7:$cert.pem");
    assert_eq!(encrypted.status, 0, "{encrypted:?}");
    let decrypt = |more: &str| desk.image(&format!("decrypt @seven:1 @out:1 {more}"));
    for (more, status, says) in [
        ("--key $key.pem", 3, "no key at hand opens layer 0"),
        ("--dec-recipient pkcs7:$cert.pem", 2, "private key"),
        (
            "--key $key.pem --dec-recipient jwe:$cert.pem",
            2,
            "is no certificate",
        ),
        (
            "--key $key.pem --dec-recipient pkcs7:$missing.pem",
            1,
            "missing.pem",
        ),
    ] {
        let refused = decrypt(more);
        assert_eq!(refused.status, status, "{more}: {refused:?}");
        assert!(refused.stderr.contains(says), "{more}: {refused:?}");
        assert!(!Path::new(&desk.path("out")).exists(), "{more}");
    }
    let both = decrypt("--key $key.pem --dec-recipient pkcs7:$cert.pem");
    assert_eq!(both.status, 0, "{both:?}");
    let ours = decrypt("--key $key.pem --key $cert.pem");
    assert_eq!(ours.status, 0, "{ours:?}");
}

#[test]
fn what_unpacks_to_more_than_is_allowed_is_refused_by_every_command_that_unpacks() {
    let desk = Desk::new();
    let commands = [
        "verify @app:1 --key $ann.key",
        "decrypt @app:1 @out:1 --key $ann.key",
        "rekey @app:1 @out:1 --key $ann.key --to jwe:$bob.pub",
        "rebind @app:1 @out:1 --key $ann.key --to jwe:$bob.pub",
    ];
    let size = "what the layer holds".len();
    for command in commands {
        let allowed = |most: &str| desk.image(&format!("{command} --max-unpacked-size {most}"));
        let refused = allowed(&(size - 1).to_string());
        assert_eq!(refused.status, 4, "{command}: {refused:?}");
        assert!(refused.stderr.contains("unpack"), "{command}: {refused:?}");
        assert!(!Path::new(&desk.path("out")).exists(), "{command}");
        for wrong in ["1.5GiB", "-1", "much"] {
            assert_eq!(allowed(wrong).status, 2, "{command} {wrong}");
        }
        for most in [&size.to_string(), "1KiB", "40GiB"] {
            let done = allowed(most);
            assert_eq!(done.status, 0, "{command}: {done:?}");
            let _ = fs::remove_dir_all(desk.path("out"));
        }
    }
}

#[test]
fn a_plain_image_tells_its_origin_where_somebody_asks_for_it() {
    let desk = Desk::new();
    let decrypt = "decrypt @app:1 @out:1 --key $ann.key --output json";
    let untold = json(&desk.image(decrypt));
    assert_eq!(untold["provenance"], false);
    assert_eq!(told(&desk, "out", &untold["digest"]), Value::Null);
    let kept = desk.image(&format!("{decrypt} --keep-provenance"));
    assert!(kept.stderr.contains(DECRYPTED_FROM), "{kept:?}");
    let kept = json(&kept);
    assert_eq!(kept["provenance"], true);
    assert_eq!(told(&desk, "out", &kept["digest"]), kept["former"]);
    let shown = desk.image(&format!("{decrypt} --keep-provenance --dry-run"));
    assert_eq!(json(&shown)["provenance"], true);
}

#[test]
fn a_signed_image_tells_its_origin_without_being_asked() {
    let desk = Desk::new();
    let key = dsse::SigningKey::generate_p256().unwrap();
    fs::write(desk.path("release.pem"), &*key.to_pem().unwrap()).unwrap();
    fs::write(desk.path("release.pub.pem"), key.verifying_key().to_pem()).unwrap();
    let encrypt = "encrypt @plain:1 @signed:1 --to jwe:$ann.pub --sign $release.pem";
    assert_eq!(desk.image(encrypt).status, 0);
    let decrypt = "decrypt @signed:1 @out:1 --key $ann.key --output json";
    let shown = json(&desk.image(&format!("{decrypt} --dry-run")));
    assert_eq!(shown["provenance"], true);
    let done = desk.image(decrypt);
    assert!(done.stderr.contains(DECRYPTED_FROM), "{done:?}");
    let done = json(&done);
    assert_eq!(done["provenance"], true);
    assert_eq!(told(&desk, "out", &done["digest"]), done["former"]);
    // The statement speaks of the configuration, and so of the plain image too.
    let verified = desk.image("verify @out:1 --signed-by $release.pub.pem");
    assert_eq!(verified.status, 0, "{verified:?}");
}

#[test]
fn a_signature_in_cosigns_place_counts_as_one() {
    let desk = Desk::new();
    let mut index = read(&desk, "app", "index.json");
    let image = index["manifests"][0].clone();
    let mut signature = image.clone();
    let tag = image["digest"].as_str().unwrap().replace(':', "-") + ".sig";
    signature["annotations"] = value!({"org.opencontainers.image.ref.name": tag});
    index["manifests"].as_array_mut().unwrap().push(signature);
    let file = Path::new(&desk.path("app")).join("index.json");
    fs::write(file, index.to_string()).unwrap();
    let done = json(&desk.image("decrypt @app:1 @out:1 --key $ann.key --output json"));
    assert_eq!(done["provenance"], true);
    assert_eq!(told(&desk, "out", &done["digest"]), image["digest"]);
}

#[test]
fn plain_layers_that_stay_beside_the_encrypted_ones_are_said() {
    const SAYS: &str = "warning: the plain layers stay in `oci:";
    let desk = Desk::new();
    let encrypt = |more: &str| {
        let ran = desk.image(&format!("encrypt {more} --to jwe:$ann.pub --output json"));
        assert_eq!(ran.status, 0, "{ran:?}");
        assert_eq!(json(&ran)["layers"], 1);
        let said = ran.stderr.lines().filter(|line| line.starts_with(SAYS));
        let said: Vec<String> = said.map(str::to_owned).collect();
        said
    };
    assert_eq!(encrypt("@plain:1 @elsewhere:1").len(), 0);
    for same in [
        "@plain:1 @plain:2 --dry-run",
        "@plain:1 @plain:2",
        "@plain:1 @app/../plain:3",
    ] {
        let said = encrypt(same);
        assert!(
            said.len() == 1 && said[0].contains("delete"),
            "{same}: {said:?}"
        );
    }
    // The plain bytes do lie there.
    let layer = Digest::of("what the layer holds").to_hex();
    assert!(Path::new(&desk.path(&format!("plain/blobs/sha256/{layer}"))).exists());
    // Nothing plain was there before.
    assert_eq!(encrypt("@app:1 @app:2 --key $ann.key").len(), 0);
}
