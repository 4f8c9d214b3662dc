//! Step 1: a real image, encrypted for the authority and pushed; the registry's blobs are opaque.

use std::fs;
use std::path::PathBuf;

use anyhow::{Context, bail};
use fixture::{Layout, Recipe, run as run_tool};

use crate::stage::Stage;
use crate::tell::Since;

/// The encrypted image.
#[derive(Clone, Debug)]
pub struct Image {
    /// Where the registry has it.
    pub reference: String,
    /// Digest of its configuration: its identity.
    pub config: String,
    /// The plain image, as only its builder has it.
    pub plain: Layout,
    /// The registry's files of its layers.
    pub blobs: Vec<PathBuf>,
}

/// The credential that the image asks for.
pub const CREDENTIAL: &str = "postgresql/medical-records";
/// A text that the image holds, to be looked for.
pub const NEEDLE: &str = "records.medical_records";

/// Builds, encrypts, pushes, and looks at what the registry got.
///
/// # Errors
/// When a tool fails, or the registry could read the image.
pub fn run(stage: &Stage) -> anyhow::Result<Image> {
    stage
        .tell
        .chapter("1  a real image, encrypted for the authority");
    let since = Since::now();
    let plain = recipe(stage)?.build(&stage.scratch)?;
    let config = config_digest(&plain.transport())?;
    stage.tell.step(
        since.took(),
        "umoci …",
        &format!("medrec: busybox, psql, bailiwick, and the service; config {config}"),
    );
    let reference = stage.registry.reference("medrec:1");
    let document = stage.scratch.join("medrec-key.json").display().to_string();
    let key = stage.bailiwick.ask(&["image", "key", "medrec"])?.ended(0)?;
    fs::write(&document, &key.stdout)?;
    stage.tell.step(
        key.took,
        &key.command,
        "the authority's public key for this image set, signed by the pinned root",
    );
    let pin = root_pin(stage)?;
    let target = format!("docker://{reference}");
    let words = [
        "image",
        "encrypt",
        &plain.transport(),
        &target,
        "--recipient",
        "bailiwick:medrec",
    ];
    let encrypted = stage
        .bailiwick
        .run(
            &[
                words.as_slice(),
                &["--key-document", &document, "--root-pin", &pin],
            ]
            .concat(),
        )?
        .ended(0)?;
    stage.tell.step(
        encrypted.took,
        &encrypted.command,
        encrypted.stderr.trim_end(),
    );
    let since = Since::now();
    let blobs = opaque_blobs(stage, &target)?;
    let found = format!(
        "{} layers: media types say encrypted, no gzip inside, nowhere `{NEEDLE}`",
        blobs.len()
    );
    stage.tell.step(
        since.took(),
        &format!("grep {NEEDLE} REGISTRY/blobs/…"),
        &found,
    );
    Ok(Image {
        reference,
        config,
        plain,
        blobs,
    })
}

/// The fixture's service, started by `bailiwick exec`, which pins the ledger that answers must be on record in.
fn recipe(stage: &Stage) -> anyhow::Result<Recipe> {
    let program = stripped(stage)?;
    let lease = format!("DB={CREDENTIAL}:pgservice");
    let key = stage.ledger_key()?;
    let start = [
        "/usr/bin/bailiwick",
        "exec",
        "--lab",
        "--ledger-key",
        &key,
        "--lease",
        &lease,
        "--",
        "/usr/bin/medrec",
    ];
    Ok(Recipe::medrec()?
        .layer()
        .program("/usr/bin/bailiwick", program)
        .entry_point(start)
        .arguments(["serve"]))
}

/// The program without what only debuggers read.
///
/// # Errors
/// When `strip` fails.
pub fn stripped(stage: &Stage) -> anyhow::Result<PathBuf> {
    let target = stage.scratch.join("bailiwick");
    if !target.exists() {
        let words = [
            "--strip-all".as_ref(),
            "-o".as_ref(),
            target.as_os_str(),
            stage.bailiwick.program().as_os_str(),
        ];
        run_tool("strip", words)?;
    }
    Ok(target)
}

/// Digest of an image's configuration.
///
/// # Errors
/// When skopeo can't read it.
pub fn config_digest(image: &str) -> anyhow::Result<String> {
    let manifest = manifest(image, &[])?;
    let digest = manifest
        .pointer("/config/digest")
        .and_then(serde_json::Value::as_str);
    Ok(digest
        .context("a manifest names no configuration")?
        .to_owned())
}

fn manifest(image: &str, options: &[&str]) -> anyhow::Result<serde_json::Value> {
    let text = run_tool(
        "skopeo",
        ["inspect", "--raw"].iter().chain(options).chain([&image]),
    )?;
    serde_json::from_str(&text).context("skopeo printed no manifest")
}

/// What builders pin.
fn root_pin(stage: &Stage) -> anyhow::Result<String> {
    let config =
        fs::read_to_string(stage.lab("client.toml")).context("the lab has no `client.toml`")?;
    let pin = config
        .lines()
        .find_map(|line| line.strip_prefix("root_pin = "));
    Ok(pin
        .context("`client.toml` pins no root")?
        .trim_matches('"')
        .to_owned())
}

fn opaque_blobs(stage: &Stage, image: &str) -> anyhow::Result<Vec<PathBuf>> {
    let manifest = manifest(image, &["--tls-verify=false"])?;
    let layers = manifest
        .pointer("/layers")
        .and_then(serde_json::Value::as_array)
        .context("a manifest has no layers")?;
    let mut blobs = Vec::new();
    for layer in layers {
        let text = |name: &str| {
            layer
                .get(name)
                .and_then(serde_json::Value::as_str)
                .unwrap_or_default()
        };
        let hex = text("digest")
            .strip_prefix("sha256:")
            .context("a layer has no digest")?
            .to_owned();
        let folder = stage
            .registry
            .storage()
            .join("docker/registry/v2/blobs/sha256");
        let blob = folder
            .join(hex.get(..2).unwrap_or_default())
            .join(&hex)
            .join("data");
        let bytes =
            fs::read(&blob).with_context(|| format!("the registry has no `{}`", blob.display()))?;
        let readable = bytes.starts_with(&[0x1f, 0x8b])
            || bytes
                .windows(NEEDLE.len())
                .any(|part| part == NEEDLE.as_bytes());
        if readable || !text("mediaType").ends_with("+encrypted") {
            bail!("the registry can read layer {hex}");
        }
        blobs.push(blob);
    }
    Ok(blobs)
}
