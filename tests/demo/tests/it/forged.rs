//! Recombined images on a real runtime: an encrypted layer opens only in the image that it was encrypted for.

use std::fs;
use std::path::{Path, PathBuf};

use demo::{Stage, Tell, steps};
use fixture::{run, until};
use serde_json::{Value, json};

use crate::PATIENCE;

#[tokio::test(flavor = "multi_thread")]
#[ignore = "needs root, containerd, swtpm, PostgreSQL, docker-registry, skopeo and umoci; run by make test"]
async fn a_layer_that_was_moved_or_swapped_does_not_open() {
    let stage = Stage::set(Tell::silent()).await.unwrap();
    let image = steps::image::run(&stage).unwrap();
    let forgeries: [(&str, Forge, &str); 2] = [
        ("moved", move_under_another_config, "config"),
        ("swapped", swap_layers, "index"),
    ];
    for (tag, forge, told) in forgeries {
        let mut forgery = Forgery::of(&stage, &image.reference, tag);
        forge(&mut forgery);
        let (reference, manifest) = forgery.push(&stage, tag);
        let pulled = stage.dal05.cri.pull(&reference).await;
        let refused = pulled.unwrap_err().to_string();
        let leaf = stage
            .rows
            .leaves("kind", "open")
            .await
            .unwrap()
            .pop()
            .unwrap();
        assert_eq!(leaf.value("outcome"), "denied", "{tag}: {refused}");
        assert!(
            refused.contains(leaf.value("reason")),
            "{tag}: {refused} {leaf:?}"
        );
        assert!(leaf.value("reason").contains(told), "{tag}: {leaf:?}");
        assert!(!listed(&stage, "images").contains(&reference));
        // While it lies there, it stands in the way of the right image, too: a node opens for nobody in doubt.
        until("the runtime's collection of garbage", PATIENCE, || {
            collect_garbage(&stage);
            (!listed(&stage, "content").contains(&manifest)).then_some(())
        })
        .unwrap();
    }
    // What was recombined, as it was.
    stage.dal05.cri.pull(&image.reference).await.unwrap();
}

/// What a forger does to an image.
type Forge = fn(&mut Forgery);

/// An image in skopeo's `dir:` form: a manifest and blobs, to be edited.
pub(crate) struct Forgery {
    folder: PathBuf,
    manifest: Value,
}

impl Forgery {
    pub(crate) fn of(stage: &Stage, reference: &str, name: &str) -> Self {
        Self::of_layout(stage, &format!("docker://{reference}"), name)
    }

    /// Of an image as skopeo names it.
    pub(crate) fn of_layout(stage: &Stage, from: &str, name: &str) -> Self {
        let folder = stage.scratch.join(format!("forged-{name}"));
        let to = format!("dir:{}", folder.display());
        run(
            "skopeo",
            [
                "--insecure-policy",
                "copy",
                "--quiet",
                "--src-tls-verify=false",
                from,
                &to,
            ],
        )
        .unwrap();
        let manifest =
            serde_json::from_slice(&fs::read(folder.join("manifest.json")).unwrap()).unwrap();
        Self { folder, manifest }
    }

    fn blob(&self, digest: &Value) -> PathBuf {
        self.folder
            .join(digest.as_str().unwrap().strip_prefix("sha256:").unwrap())
    }

    /// Puts it into the registry as it is, whatever it is; its reference and digest.
    pub(crate) fn push(&self, stage: &Stage, tag: &str) -> (String, String) {
        let manifest = serde_json::to_vec(&self.manifest).unwrap();
        let digest = format!("sha256:{}", sha256(&self.folder, &manifest));
        fs::write(self.folder.join("manifest.json"), manifest).unwrap();
        let reference = stage.registry.reference(&format!("forged:{tag}"));
        let (from, to) = (
            format!("dir:{}", self.folder.display()),
            format!("docker://{reference}"),
        );
        run(
            "skopeo",
            [
                "--insecure-policy",
                "copy",
                "--quiet",
                "--dest-tls-verify=false",
                &from,
                &to,
            ],
        )
        .unwrap();
        (reference, digest)
    }
}

/// What the node in DAL05 has of a kind.
fn listed(stage: &Stage, kind: &str) -> String {
    stage
        .dal05
        .containerd
        .ctr(["--namespace", "k8s.io", kind, "list", "--quiet"])
        .unwrap()
}

/// The runtime collects by itself only after a hundred changes.
fn collect_garbage(stage: &Stage) {
    let ctr = |words: [&str; 2], more: [&str; 1]| {
        let words = ["--namespace", "k8s.io", "leases"].into_iter().chain(words);
        let done = stage.dal05.containerd.ctr(words.chain(more));
        done.unwrap()
    };
    ctr(["create", "--id"], ["collect"]);
    ctr(["delete", "--sync"], ["collect"]);
}

/// The right layers below a command of the forger's.
pub(crate) fn move_under_another_config(forgery: &mut Forgery) {
    let mut config: Value = serde_json::from_slice(
        &fs::read(forgery.blob(&forgery.manifest["config"]["digest"])).unwrap(),
    )
    .unwrap();
    config["config"]["Entrypoint"] = json!(["/bin/cat", "/usr/bin/medrec"]);
    let bytes = serde_json::to_vec(&config).unwrap();
    let digest = sha256(&forgery.folder, &bytes);
    forgery.manifest["config"]["digest"] = json!(format!("sha256:{digest}"));
    forgery.manifest["config"]["size"] = json!(bytes.len());
    fs::write(forgery.folder.join(digest), bytes).unwrap();
}

/// Two layers of the right image, each in the other's place.
fn swap_layers(forgery: &mut Forgery) {
    forgery.manifest["layers"]
        .as_array_mut()
        .unwrap()
        .swap(1, 2);
}

fn sha256(folder: &Path, bytes: &[u8]) -> String {
    let file = folder.join("to-be-hashed");
    fs::write(&file, bytes).unwrap();
    let said = run("sha256sum", [&file]).unwrap();
    fs::remove_file(&file).unwrap();
    said.split_whitespace().next().unwrap().to_owned()
}
