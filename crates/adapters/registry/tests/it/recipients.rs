//! Who can open an image is changed where the image lies: what goes over the line, what stays byte for byte, and what is
//! left when the line breaks.

use std::collections::HashMap;

use estate::Digest;
use images::{
    ImageError, ImageSource, ImageTarget, Plan, Recipients, RecipientsEdit, RecipientsEdited,
    RekeyOptions, Selector, Silent, VerifyOptions, edit_recipients, media, opener_of_key_files,
    preview_rebind, preview_rekey, rebind, rekey, verify,
};
use jose::EcdsaP256Key;
use oci_crypt::{JweOpener, PacketOpener};
use registry::{open_source, open_target};
use serde_json::{Value, json};

use crate::fake::{Fake, Mood, quick};
use crate::images_end_to_end::{decrypt_to, encrypt_to, layout, plain_image};

const FOREIGN: &str = "org.opencontainers.image.enc.keys.provider.elsewhere";

/// A registry with an image of two layers for Ann, `team/app:1`.
struct Scene {
    folder: tempfile::TempDir,
    fake: Fake,
    ann: EcdsaP256Key,
    bob: EcdsaP256Key,
}

/// All that a name could stand for.
type Stored = (HashMap<String, Vec<u8>>, HashMap<String, (String, Vec<u8>)>);

impl Scene {
    fn new() -> Self {
        let scene = Self {
            folder: tempfile::tempdir().unwrap(),
            fake: Fake::start(Mood::Honest),
            ann: EcdsaP256Key::generate().unwrap(),
            bob: EcdsaP256Key::generate().unwrap(),
        };
        let plain = plain_image(&scene.folder.path().join("plain"));
        encrypt_to(&scene.ann, &plain, &scene.fake.reference("team/app:1"));
        scene.forget();
        scene
    }

    /// Begins to count anew.
    fn forget(&self) {
        self.fake.inside(|inside| {
            inside.requests.clear();
            inside.cut_after = None;
        });
    }

    fn requests(&self) -> Vec<String> {
        self.fake.inside(|inside| inside.requests.clone())
    }

    fn requests_with(&self, part: &str) -> Vec<String> {
        let mut requests = self.requests();
        requests.retain(|request| request.contains(part));
        requests
    }

    fn stored(&self) -> Stored {
        self.fake
            .inside(|inside| (inside.blobs.clone(), inside.manifests.clone()))
    }

    fn restore(&self, stored: &Stored) {
        self.fake.inside(|inside| {
            (inside.blobs, inside.manifests) = stored.clone();
            inside.uploads.clear();
        });
        self.forget();
    }

    /// The text of the manifest that a tag stands for.
    fn manifest(&self, tag: &str) -> String {
        let bytes = self.fake.inside(|inside| inside.manifests[tag].1.clone());
        String::from_utf8(bytes).unwrap()
    }

    fn json(&self, tag: &str) -> Value {
        serde_json::from_str(&self.manifest(tag)).unwrap()
    }

    fn put(&self, text: &str) {
        self.fake
            .put_manifest("1", media::OCI_MANIFEST, text.as_bytes());
    }

    fn places(&self, to: &str) -> (Box<dyn ImageSource>, Box<dyn ImageTarget>) {
        let (from, to) = (self.fake.reference("team/app:1"), self.fake.reference(to));
        let source = open_source(&from, &quick()).unwrap();
        (source, open_target(&to, &quick()).unwrap())
    }

    fn edit(
        &self,
        add: Option<&EcdsaP256Key>,
        remove: &[&str],
        plan: Plan,
    ) -> Result<RecipientsEdited, ImageError> {
        let (source, target) = self.places("team/app:1");
        let (opener, added) = (opener_of(&self.ann), add.map(recipient));
        let remove = remove.iter().map(|text| text.parse::<Selector>().unwrap());
        let edit = RecipientsEdit {
            remove: remove.collect(),
            add: added.as_ref(),
            openers: vec![&opener],
        };
        edit_recipients(&*source, &*target, &edit, plan)
    }

    /// New keys, for Bob alone.
    fn rekey(&self, to: &str) -> Result<Digest, ImageError> {
        let (source, target) = self.places(to);
        let opener = opener_of(&self.ann);
        let options = options(&opener);
        let done = rekey(&*source, &*target, &recipient(&self.bob), &options, &Silent)?;
        Ok(done.digest)
    }

    /// New places, for Bob alone.
    fn rebind(&self, to: &str) -> Result<Digest, ImageError> {
        let (source, target) = self.places(to);
        let opener = opener_of(&self.ann);
        let bob = recipient(&self.bob);
        let done = rebind(&*source, &*target, &[&opener], &bob, &Silent)?;
        Ok(done.digest.unwrap())
    }

    fn opens(&self, who: &EcdsaP256Key, tag: &str) -> bool {
        let out = self.folder.path().join("out");
        let from = self.fake.reference(&format!("team/app:{tag}"));
        let opened = decrypt_to(who, &from, &layout(&out)).is_ok();
        let _ = std::fs::remove_dir_all(out);
        opened
    }

    /// Puts the image and another manifest of it into an index under the same tag.
    fn collect(&self) {
        let mut manifest = self.json("1");
        let entries = ["amd64", "arm64"].map(|architecture| {
            manifest["annotations"] = json!({"for": architecture});
            let text = manifest.to_string();
            let id = self
                .fake
                .put_manifest("child", media::OCI_MANIFEST, text.as_bytes());
            json!({
                "mediaType": media::OCI_MANIFEST, "digest": id.digest, "size": id.size,
                "platform": {"os": "linux", "architecture": architecture},
            })
        });
        let index =
            json!({"schemaVersion": 2, "mediaType": media::OCI_INDEX, "manifests": entries});
        self.fake
            .put_manifest("1", media::OCI_INDEX, index.to_string().as_bytes());
    }

    /// Puts the layers under another configuration, which holds the same.
    fn move_layers(&self) {
        let mut manifest = self.json("1");
        let digest = manifest["config"]["digest"].as_str().unwrap().to_owned();
        let config = self.fake.inside(|inside| inside.blobs[&digest].clone());
        let mut config: Value = serde_json::from_slice(&config).unwrap();
        config["config"] = json!({"Labels": {"moved": "yes"}});
        let id = self.fake.put_blob(config.to_string().as_bytes());
        manifest["config"]["digest"] = json!(id.digest);
        manifest["config"]["size"] = json!(id.size);
        self.put(&manifest.to_string());
    }
}

fn opener_of(key: &EcdsaP256Key) -> JweOpener {
    let private = key.to_pkcs8().unwrap();
    opener_of_key_files([private.as_slice()]).unwrap()
}

fn options(opener: &dyn PacketOpener) -> RekeyOptions<'_> {
    RekeyOptions {
        openers: vec![opener],
        ..RekeyOptions::default()
    }
}

fn recipient(key: &EcdsaP256Key) -> Recipients {
    let mut recipients = Recipients::new();
    let public = key.public_jwk().to_spki_der().unwrap();
    recipients.add_public_key(&public).unwrap();
    recipients
}

fn layers(manifest: &Value) -> Vec<String> {
    let layers = manifest["layers"].as_array().unwrap().iter();
    layers
        .map(|layer| layer["digest"].as_str().unwrap().to_owned())
        .collect()
}

/// Breaks the line after each number of requests that `change` makes: the tag then stands for what it stood for, with
/// every blob it had, and nobody is told that it went well.
fn breaks_nowhere(scene: &Scene, change: impl Fn(&Scene) -> Result<Digest, ImageError>) {
    let before = scene.stored();
    let old = scene.manifest("1");
    let done = change(scene).unwrap();
    let needed = scene.requests().len();
    assert_eq!(Digest::of(scene.manifest("1")), done);
    assert_ne!(scene.manifest("1"), old);
    for most in 0..needed {
        scene.restore(&before);
        scene.fake.inside(|inside| inside.cut_after = Some(most));
        assert!(change(scene).is_err(), "after {most} of {needed} requests");
        scene.forget();
        assert_eq!(scene.manifest("1"), old, "after {most} of {needed}");
        let now = scene.stored();
        let kept = before.0.iter().all(|(name, blob)| now.0[name] == *blob);
        let named = before.1.iter().all(|(name, entry)| now.1[name] == *entry);
        assert!(kept && named, "after {most} of {needed}");
    }
    assert!(scene.opens(&scene.ann, "1"));
    // And once the line is back, it goes well.
    scene.restore(&before);
    change(scene).unwrap();
}

#[test]
fn recipients_come_and_go_without_their_layers() {
    let scene = Scene::new();
    let blobs = scene.stored().0;
    let config = scene.json("1")["config"]["digest"].clone();
    let added = scene.edit(Some(&scene.bob), &[], Plan::Do).unwrap();
    assert_eq!((added.layers, added.added, added.removed), (2, 2, 0));
    let read = format!("GET /v2/team/app/blobs/{}", config.as_str().unwrap());
    assert_eq!(scene.requests_with("/blobs/"), [read]);
    assert_eq!(
        scene.requests_with("PUT "),
        ["PUT /v2/team/app/manifests/1"]
    );

    scene.forget();
    let removed = scene.edit(None, &["jwe#0"], Plan::Do).unwrap();
    assert_eq!((removed.added, removed.removed), (0, 2));
    assert_eq!(removed.former, added.digest);
    assert_eq!(scene.requests_with("/blobs/"), Vec::<String>::new());
    assert_eq!(scene.stored().0, blobs);
    assert!(!scene.opens(&scene.ann, "1") && scene.opens(&scene.bob, "1"));
}

#[test]
fn what_nobody_here_understands_stays_byte_for_byte() {
    let scene = Scene::new();
    let odd = r#"{ "z":1.50e1 , "a": [ null,"é"] }"#;
    let packets = "bm90IG91cnM=,c3RpbGwgbm90IG91cnM=";
    let text = scene.manifest("1");
    let text = text.replacen('{', &format!("{{\"x-odd\": {odd},"), 1);
    let named = "\"annotations\":{";
    assert_eq!(text.matches(named).count(), 2, "{text}");
    let note = format!("{named}\"note\" : \"é\\u0041\", \"{FOREIGN}\" : \"{packets}\",");
    scene.put(&text.replace(named, &note));
    for _ in 0..2 {
        scene.edit(Some(&scene.bob), &[], Plan::Do).unwrap();
        scene.edit(None, &["jwe#1"], Plan::Do).unwrap();
        let text = scene.manifest("1");
        assert_eq!(text.matches(odd).count(), 1, "{text}");
        assert_eq!(text.matches("\"é\\u0041\"").count(), 2, "{text}");
        let kept = format!("\"{packets}\"");
        assert_eq!(text.matches(&kept).count(), 2, "{text}");
    }
    assert!(scene.opens(&scene.ann, "1"));
    // The last one whom somebody here knows can go: those of the other service remain.
    scene.edit(None, &["jwe"], Plan::Do).unwrap();
    assert!(!scene.opens(&scene.ann, "1"));
    let layer = &scene.json("1")["layers"][0]["annotations"];
    assert_eq!(layer[FOREIGN], packets);
}

#[test]
fn what_is_only_shown_writes_nothing() {
    let scene = Scene::new();
    scene.move_layers();
    let before = scene.stored();
    scene.restore(&before);
    let opener = opener_of(&scene.ann);
    let bob = recipient(&scene.bob);
    let (source, _) = scene.places("team/app:2");
    let shown = preview_rebind(&*source, &[&opener], &bob).unwrap();
    assert_eq!((shown.layers, shown.moved.len()), (2, 2));

    let scene = Scene::new();
    let before = scene.stored();
    scene.restore(&before);
    let opener = opener_of(&scene.ann);
    for (add, remove) in [
        (Some(&scene.bob), vec![]),
        (Some(&scene.bob), vec!["jwe#0"]),
    ] {
        let shown = scene.edit(add, &remove, Plan::Show).unwrap();
        assert_eq!((shown.added, shown.removed), (2, remove.len() * 2));
    }
    // Nobody would be left.
    assert!(scene.edit(None, &["jwe"], Plan::Show).is_err());
    let (source, _) = scene.places("team/app:2");
    let shown = preview_rekey(&*source, &recipient(&scene.bob), &options(&opener)).unwrap();
    assert_eq!(shown.layers, 2);
    let reads = ["GET ", "HEAD "];
    for request in scene.requests() {
        assert!(
            reads.iter().any(|read| request.starts_with(read)),
            "{request}"
        );
        for layer in layers(&scene.json("1")) {
            assert!(!request.contains(&layer), "{request}");
        }
    }
    assert_eq!(scene.stored(), before);
}

#[test]
fn recipients_that_come_over_a_line_that_breaks_leave_the_old_image() {
    let scene = Scene::new();
    let bob = EcdsaP256Key::generate().unwrap();
    breaks_nowhere(&scene, |scene| {
        let edited = scene.edit(Some(&bob), &[], Plan::Do);
        edited.map(|edited| edited.digest)
    });
    let scene = Scene::new();
    scene.edit(Some(&bob), &[], Plan::Do).unwrap();
    scene.forget();
    breaks_nowhere(&scene, |scene| {
        let edited = scene.edit(None, &["jwe#1"], Plan::Do);
        edited.map(|edited| edited.digest)
    });
}

#[test]
fn platforms_change_all_at_once_or_not_at_all() {
    let scene = Scene::new();
    scene.collect();
    breaks_nowhere(&scene, |scene| {
        let edited = scene.edit(Some(&scene.bob), &["jwe#0"], Plan::Do)?;
        assert_eq!((edited.layers, edited.added, edited.removed), (4, 4, 4));
        Ok(edited.digest)
    });
    assert_eq!(scene.json("1")["manifests"].as_array().unwrap().len(), 2);
    assert!(!scene.opens(&scene.ann, "1") && scene.opens(&scene.bob, "1"));
    // The image and those below it, and none of their layers.
    let written = scene.requests_with("PUT ");
    assert!(written.iter().all(|line| line.contains("/manifests/")));
}

#[test]
fn new_keys_over_a_line_that_breaks_leave_the_old_image() {
    let scene = Scene::new();
    breaks_nowhere(&scene, |scene| scene.rekey("team/app:1"));
    assert!(!scene.opens(&scene.ann, "1") && scene.opens(&scene.bob, "1"));
}

#[test]
fn new_places_over_a_line_that_breaks_leave_the_old_image() {
    let scene = Scene::new();
    breaks_nowhere(&scene, |scene| scene.rebind("team/app:1"));
}

#[test]
fn rekeyed_layers_are_others_and_only_the_named_open_them() {
    let scene = Scene::new();
    let old = scene.json("1");
    scene.rekey("team/app:2").unwrap();
    assert_eq!(scene.json("1"), old);
    let new = scene.json("2");
    assert_eq!(new["config"], old["config"]);
    let (old, new) = (layers(&old), layers(&new));
    assert!(new.iter().all(|layer| !old.contains(layer)));
    assert!(!scene.opens(&scene.ann, "2") && scene.opens(&scene.bob, "2"));
    assert!(scene.opens(&scene.ann, "1"));
}

#[test]
fn moved_layers_are_bound_to_their_new_place_and_travel_nowhere() {
    let scene = Scene::new();
    scene.move_layers();
    assert!(!scene.opens(&scene.ann, "1"));
    scene.forget();
    let before = scene.stored().0;
    scene.rebind("team/app:2").unwrap();
    assert_eq!(scene.stored().0, before);
    let uploads = scene.requests_with("/blobs/uploads");
    assert_eq!(uploads, Vec::<String>::new());
    assert_eq!(layers(&scene.json("2")), layers(&scene.json("1")));
    assert!(!scene.opens(&scene.ann, "2") && scene.opens(&scene.bob, "2"));
}

#[test]
fn verifying_reads_all_of_it_and_writes_nothing() {
    let scene = Scene::new();
    let before = scene.stored();
    let opener = opener_of(&scene.ann);
    let stranger = opener_of(&scene.bob);
    let check = |opener: &dyn PacketOpener| {
        let options = VerifyOptions {
            openers: vec![opener],
            ..VerifyOptions::default()
        };
        let (source, _) = scene.places("team/app:1");
        verify(&*source, &options, &Silent).map(|found| found.digest)
    };
    assert_eq!(check(&opener).unwrap(), Digest::of(scene.manifest("1")));
    for layer in layers(&scene.json("1")) {
        let read = format!("GET /v2/team/app/blobs/{layer}");
        assert_eq!(scene.requests_with(&layer), [read]);
    }
    assert!(check(&stranger).is_err());
    assert_eq!(scene.stored(), before);
    scene.fake.inside(|inside| {
        let layer = layers(&serde_json::from_slice(&inside.manifests["1"].1).unwrap()).remove(1);
        inside.blobs.get_mut(&layer).unwrap()[7] ^= 1;
    });
    assert!(check(&opener).is_err());
}
