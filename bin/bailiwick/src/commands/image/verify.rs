//! `bailiwick image verify`: reads all of an image, and says what was checked and what could not be.

use std::fmt::Write as _;

use clap::Args;
use images::{DecryptOptions, Extent, Platform, SignedImage, Unbound, Verification, VerifyOptions};
use registry::{Reference, open_source};
use serde::Serialize;

use super::args::{KeyArgs, OutputArgs, UnpackArgs};
use super::signed_by::{self, SignedByArgs};
use super::{RegistryArgs, progress};

/// Reads all of an image and looks for anything wrong. Nothing is written.
///
/// With a key: bindings, digests, sizes, HMACs and contents. Without one: digests and sizes, and the contents of
/// readable layers.
///
/// Example: bailiwick image verify docker://registry.example/app:1 --key private.pem --signed-by release.pub
#[derive(Debug, Args)]
pub(super) struct VerifyArgs {
    /// Where the image lies: `oci:DIR[:TAG]` or `docker://HOST/NAME[:TAG|@DIGEST]`.
    source: Reference,
    #[command(flatten)]
    keys: KeyArgs,
    /// Of several platforms only this one, such as `linux/arm64`. Can be given several times.
    #[arg(long = "platform")]
    platforms: Vec<Platform>,
    /// Refuse layers that are not bound to their image, as other tools make them.
    #[arg(long)]
    require_binding: bool,
    #[command(flatten)]
    signed_by: SignedByArgs,
    #[command(flatten)]
    unpack: UnpackArgs,
    #[command(flatten)]
    output: OutputArgs,
    #[command(flatten)]
    registries: RegistryArgs,
}

/// What was found.
#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Found<'a> {
    #[serde(flatten)]
    verification: &'a Verification,
    /// Who signed which image; empty when nobody was asked for.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    signed: Vec<SignedImage>,
    /// What nobody could check, in words.
    unchecked: Vec<&'static str>,
}

/// Runs the command.
pub(super) fn run(args: &VerifyArgs) -> anyhow::Result<()> {
    let wanted = args.signed_by.read()?;
    let from = open_source(&args.source, &args.registries.options())?;
    let keyring = args.keys.read()?;
    let options = VerifyOptions {
        openers: keyring.named_openers(),
        platforms: args.platforms.clone(),
        checks: DecryptOptions {
            unbound: match args.require_binding {
                true => Unbound::Refuse,
                false => Unbound::Accept,
            },
            unpacked: args.unpack.limit(),
            ..DecryptOptions::default()
        },
    };
    let bar = progress("verifying");
    let verification = images::verify(from.as_ref(), &options, bar.as_ref())?;
    drop(bar);
    let signed = match &wanted {
        Some(wanted) => signed_by::check(from.as_ref(), &verification, wanted)?,
        None => Vec::new(),
    };
    let found = Found {
        signed,
        unchecked: unchecked(&verification),
        verification: &verification,
    };
    args.output.print(&found, text)?;
    for sentence in &found.unchecked {
        eprintln!("warning: {sentence}");
    }
    Ok(())
}

fn text(found: &Found<'_>) -> String {
    let mut text = format!("{}\n", found.verification.digest);
    for image in &found.verification.images {
        let platform = image.platform.as_deref().unwrap_or("(one platform)");
        let _ = writeln!(text, "image     {platform}");
        let _ = writeln!(text, "manifest  {}", image.manifest);
        let _ = writeln!(text, "config    {}", image.config);
        for layer in &image.layers {
            let extent = words(layer.verified);
            let _ = writeln!(text, "layer {:<3} {}  {extent}", layer.index, layer.digest);
        }
    }
    text.push_str(&signed_by::text(&found.signed));
    text
}

const fn words(extent: Extent) -> &'static str {
    match extent {
        Extent::Plain => "readable; digest, size and content are right",
        Extent::CiphertextOnly => {
            "encrypted; digest and size are right, nothing inside was checked"
        }
        Extent::Bound => "encrypted; digest, size, HMAC and content are right, bound to this image",
        Extent::Unbound => "encrypted; digest, size, HMAC and content are right, bound to no image",
        Extent::Bytes => "readable; digest and size are right",
    }
}

fn unchecked(verification: &Verification) -> Vec<&'static str> {
    let layers = || verification.images.iter().flat_map(|image| &image.layers);
    let any = |extent: Extent| layers().any(|layer| layer.verified == extent);
    let mut sentences = Vec::new();
    if any(Extent::CiphertextOnly) {
        sentences.push("without `--key` neither bindings nor HMACs nor contents of encrypted layers can be checked");
    }
    if any(Extent::Unbound) {
        sentences.push("only who encrypted the unbound layers knows that they belong together; `--require-binding` refuses them");
    }
    if verification.readable_documents > 0 {
        sentences.push("documents beside the image were not looked at");
    }
    sentences
}
