//! Images in a layout, through every command that changes who can open them.

use std::{fs, path::Path};

use jose::EcdsaP256Key;
use serde_json::Value;

use crate::promotions::{LAYER, layout};
use crate::runner::{Ran, run};

pub(crate) struct Desk {
    folder: tempfile::TempDir,
}

impl Desk {
    /// Ann's and Bob's keys, a plain image `plain:1`, and the same for Ann alone, `app:1`.
    pub(crate) fn new() -> Self {
        let desk = Self {
            folder: tempfile::tempdir().unwrap(),
        };
        for name in ["ann", "bob"] {
            let key = EcdsaP256Key::generate().unwrap();
            fs::write(desk.path(&format!("{name}.key")), &*key.to_pkcs8().unwrap()).unwrap();
            let public = key.public_jwk().to_spki_der().unwrap();
            fs::write(desk.path(&format!("{name}.pub")), public).unwrap();
        }
        layout(&desk.path("plain"), "what the layer holds", LAYER);
        let encrypted = desk.image("encrypt @plain:1 @app:1 --to jwe:$ann.pub");
        assert_eq!(encrypted.status, 0, "{encrypted:?}");
        desk
    }

    pub(crate) fn path(&self, name: &str) -> String {
        self.folder.path().join(name).to_str().unwrap().to_owned()
    }

    /// Runs `bailiwick image …`; `@NAME` is a layout here, `$NAME` a file.
    pub(crate) fn image(&self, command: &str) -> Ran {
        let place = format!("oci:{}/", self.folder.path().display());
        let file = format!("{}/", self.folder.path().display());
        let words = command.split(' ');
        let words = words.map(|word| word.replace('@', &place).replace('$', &file));
        let args: Vec<String> = ["image".to_owned()].into_iter().chain(words).collect();
        run(&args, "")
    }

    /// The largest files of a layout and their bytes: its layers.
    fn blobs(&self, name: &str) -> usize {
        fs::read_dir(Path::new(&self.path(name)).join("blobs/sha256"))
            .unwrap()
            .count()
    }

    pub(crate) fn opens(&self, image: &str, who: &str) -> i32 {
        let out = format!(
            "out-{who}-{}",
            fs::read_dir(self.folder.path()).unwrap().count()
        );
        self.image(&format!(
            "decrypt {image} @{out}:1 --decryption-key ${who}.key"
        ))
        .status
    }
}

pub(crate) fn json(ran: &Ran) -> Value {
    serde_json::from_str(&ran.stdout).unwrap()
}

#[test]
fn recipients_come_and_go_where_the_image_lies() {
    let desk = Desk::new();
    let before = desk.blobs("app");
    let denied = desk.image("recipients add @app:1 --recipient jwe:$bob.pub --key $bob.key");
    assert_eq!(denied.status, 3, "{denied:?}");
    let keyless = desk.image("recipients add @app:1 --recipient jwe:$bob.pub");
    assert!(
        keyless.status == 2 && keyless.stderr.contains("--key"),
        "{keyless:?}"
    );
    let shown =
        desk.image("recipients add @app:1 --recipient jwe:$bob.pub --key $ann.key --dry-run");
    assert!(
        shown.status == 0 && shown.stdout.contains("would change 1 layer"),
        "{shown:?}"
    );
    assert_eq!(
        (desk.blobs("app"), desk.opens("@app:1", "bob")),
        (before, 3)
    );

    let added =
        desk.image("recipients add @app:1 --encryption-key jwe:$bob.pub --decryption-key $ann.key");
    assert_eq!(added.status, 0, "{added:?}");
    assert_eq!(
        desk.blobs("app"),
        before + 1,
        "one more manifest, and nothing else"
    );
    assert_eq!(
        (desk.opens("@app:1", "ann"), desk.opens("@app:1", "bob")),
        (0, 0)
    );
    let listed = json(&desk.image("recipients list @app:1 --output json"));
    let recipients = &listed[0]["layers"][0]["recipients"];
    assert_eq!(recipients[0]["selector"], "jwe#0");
    assert_eq!(recipients[1]["selector"], "jwe#1");

    let removed = desk.image("recipients remove @app:1 jwe#0");
    assert_eq!(removed.status, 0, "{removed:?}");
    assert!(removed.stderr.contains("may have kept") && removed.stderr.contains("rekey"));
    assert_eq!(
        (desk.opens("@app:1", "ann"), desk.opens("@app:1", "bob")),
        (3, 0)
    );
    let last = desk.image("recipients remove @app:1 jwe");
    assert_eq!((last.status, desk.opens("@app:1", "bob")), (2, 0));
    let absent = desk.image("recipients remove @app:1 bailiwick:medrec");
    assert!(
        absent.status == 2 && absent.stderr.contains("bailiwick:medrec"),
        "{absent:?}"
    );
}

#[test]
fn a_rekeyed_image_is_of_use_to_nobody_who_had_the_former_keys() {
    let desk = Desk::new();
    let rekey = "rekey @app:1 @new:1 --to jwe:$bob.pub";
    assert_eq!(desk.image(rekey).status, 2);
    assert_eq!(desk.image(&format!("{rekey} --key $bob.key")).status, 3);
    let shown = desk.image(&format!("{rekey} --key $ann.key --dry-run --output json"));
    assert_eq!(json(&shown)["layers"], 1, "{shown:?}");
    assert!(!Path::new(&desk.path("new")).exists());
    let done = desk.image(&format!("{rekey} --key $ann.key"));
    assert_eq!(done.status, 0, "{done:?}");
    assert_eq!(
        (desk.opens("@new:1", "ann"), desk.opens("@new:1", "bob")),
        (3, 0)
    );
    assert_eq!(
        desk.image("rekey @plain:1 @new:2 --to jwe:$bob.pub --key $ann.key")
            .status,
        4
    );
    assert_eq!(desk.image("inspect @new:2").status, 2);
}

#[test]
fn verify_says_what_it_could_not_check() {
    let desk = Desk::new();
    let keyless = desk.image("verify @app:1");
    assert!(
        keyless.status == 0 && keyless.stderr.contains("without `--key`"),
        "{keyless:?}"
    );
    let full = desk.image("verify @app:1 --key $ann.key --output json");
    assert_eq!(
        json(&full)["images"][0]["layers"][0]["verified"],
        "bound",
        "{full:?}"
    );
    assert_eq!(desk.image("verify @app:1 --key $bob.key").status, 3);
    assert_eq!(desk.image("verify @plain:1 --key $ann.key").status, 4);
    let layer = json(&full)["images"][0]["layers"][0]["digest"]
        .as_str()
        .unwrap()
        .to_owned();
    let file = Path::new(&desk.path("app"))
        .join("blobs/sha256")
        .join(&layer["sha256:".len()..]);
    let mut bytes = fs::read(&file).unwrap();
    bytes[0] ^= 1;
    fs::write(&file, bytes).unwrap();
    for forged in ["verify @app:1", "verify @app:1 --key $ann.key"] {
        assert_eq!(desk.image(forged).status, 4, "{forged}");
    }
}

#[test]
fn rebinding_takes_a_key_and_names_those_who_come() {
    let desk = Desk::new();
    let rebind = "rebind @app:1 @bound:1";
    assert_eq!(desk.image(&format!("{rebind} --key $ann.key")).status, 2);
    assert_eq!(desk.image(&format!("{rebind} --to jwe:$bob.pub")).status, 2);
    assert_eq!(
        desk.image(&format!("{rebind} --to jwe:$bob.pub --key $bob.key"))
            .status,
        3
    );
    assert!(!Path::new(&desk.path("bound")).exists());
    let done = desk.image(&format!("{rebind} --to jwe:$bob.pub --key $ann.key"));
    assert_eq!(done.status, 0, "{done:?}");
    assert_eq!(
        (desk.opens("@bound:1", "ann"), desk.opens("@bound:1", "bob")),
        (3, 0)
    );
}

#[test]
fn what_is_not_encrypted_is_said_and_what_is_not_there_is_refused() {
    let desk = Desk::new();
    let encrypt = "encrypt @plain:1 @chosen:1 --to jwe:$ann.pub";
    assert_eq!(desk.image("encrypt @plain:1 @chosen:1").status, 2);
    for wrong in [
        "--encrypt-layer 1",
        "--layer -2",
        "--platform linux/riscv64",
        "--platform x",
    ] {
        assert_eq!(
            desk.image(&format!("{encrypt} {wrong}")).status,
            2,
            "{wrong}"
        );
    }
    let shown = desk.image(&format!("{encrypt} --encrypt-layer -1 --dry-run"));
    assert!(shown.stdout.contains("would encrypt 1 layer"), "{shown:?}");
    assert!(!Path::new(&desk.path("chosen")).exists());
    let done = desk.image(&format!(
        "{encrypt} --encrypt-layer -1 --platform linux/amd64 --output json"
    ));
    assert_eq!(json(&done)["layers"], 1, "{done:?}");
    assert_eq!(desk.opens("@chosen:1", "ann"), 0);
    // Encrypted already: a key is needed, and the layer is kept.
    let again = "encrypt @chosen:1 @again:1 --to jwe:$bob.pub";
    assert_eq!(desk.image(again).status, 2);
    assert_eq!(desk.image(&format!("{again} --key $bob.key")).status, 3);
    let kept = desk.image(&format!("{again} --decryption-key $ann.key --output json"));
    assert_eq!(json(&kept)["kept"], 1, "{kept:?}");
    assert_eq!(
        (desk.opens("@again:1", "ann"), desk.opens("@again:1", "bob")),
        (0, 0)
    );
}

#[test]
fn a_signed_image_stays_signed_and_old_ones_fall_below_the_floor() {
    let desk = Desk::new();
    for name in ["release", "stranger"] {
        let key = dsse::SigningKey::generate_p256().unwrap();
        fs::write(desk.path(&format!("{name}.pem")), &*key.to_pem().unwrap()).unwrap();
        let public = key.verifying_key().to_pem();
        fs::write(desk.path(&format!("{name}.pub.pem")), public).unwrap();
    }
    let unsigned = desk.image("verify @plain:1 --signed-by $release.pub.pem");
    assert!(
        unsigned.status == 4 && unsigned.stderr.contains("no image statement"),
        "{unsigned:?}"
    );
    let signed = desk.image(
        "encrypt @plain:1 @signed:1 --to jwe:$ann.pub --sign $release.pem --statement-version 7",
    );
    assert_eq!(signed.status, 0, "{signed:?}");
    let added = desk.image("recipients add @signed:1 --to jwe:$bob.pub --key $ann.key");
    assert_eq!(added.status, 0, "{added:?}");
    let verified = desk.image(
        "verify @signed:1 --key $bob.key --signed-by $stranger.pub.pem --signed-by $release.pub.pem --min-version 7 --output json",
    );
    assert_eq!(verified.status, 0, "{verified:?}");
    let statement = &json(&verified)["signed"][0];
    assert_eq!(statement["signed"]["version"], 7);
    assert!(
        statement["key"]
            .as_str()
            .unwrap()
            .ends_with("release.pub.pem")
    );
    let old = desk.image("verify @signed:1 --signed-by $release.pub.pem --min-version 8");
    assert!(old.status == 4 && old.stderr.contains("below 8"), "{old:?}");
    let stranger = desk.image("verify @signed:1 --signed-by $stranger.pub.pem");
    assert!(
        stranger.status == 4 && stranger.stderr.contains("none of the named keys"),
        "{stranger:?}"
    );
    // Nothing under the name when the statement can't be made.
    let past = "--sign $release.pem --expires 2020-01-01T00:00:00Z";
    let never = desk.image(&format!(
        "encrypt @plain:1 @never:1 --to jwe:$ann.pub {past}"
    ));
    assert_eq!(never.status, 2, "{never:?}");
    assert!(!Path::new(&desk.path("never")).exists());
    let nothing =
        desk.image("encrypt @plain:1 @never:1 --to jwe:$ann.pub --expires 2099-01-01T00:00:00Z");
    assert_eq!(nothing.status, 2, "{nothing:?}");
}
