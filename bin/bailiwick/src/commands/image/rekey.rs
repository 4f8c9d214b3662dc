//! `bailiwick image rekey` and `rebind`: new keys for an image, and new places for its layers.

use clap::Args;
use estate::Digest;
use images::{
    DecryptOptions, Moved, Platform, Preview, RekeyOptions, Unbound, preview_rebind, preview_rekey,
};
use registry::{Reference, open_source, open_target_from};
use serde::Serialize;

use super::args::{KeyArgs, OutputArgs, RecipientArgs, UnpackArgs};
use super::{RegistryArgs, layers, progress};
use crate::advice::Advice;

/// Encrypts every encrypted layer anew, with keys that nobody has kept, for these recipients alone.
///
/// All that `decrypt` verifies is verified; nothing plain is written anywhere.
///
/// Example: bailiwick image rekey docker://registry.example/app:1 docker://registry.example/app:2
/// --key ann-private.pem --recipient jwe:ann.pem
#[derive(Debug, Args)]
pub(super) struct RekeyArgs {
    /// Of several platforms only this one, such as `linux/arm64`; the others are left out. Can be given several times.
    #[arg(long = "platform")]
    platforms: Vec<Platform>,
    /// Refuse layers that are not bound to their image, as other tools make them. Without it, they are bound to where they lie.
    #[arg(long)]
    require_binding: bool,
    #[command(flatten)]
    rewrite: RewriteArgs,
}

/// Binds layers to the image in which they lie now, where they were moved under another configuration.
///
/// It takes a key, and whoever uses it vouches for the image as it is: read what `--dry-run` says first. Each layer is
/// read and verified against the configuration; its bytes stay as they are.
///
/// Example: bailiwick image rebind oci:app:moved oci:app:1 --key ann-private.pem --recipient jwe:ann.pem
#[derive(Debug, Args)]
pub(super) struct RebindArgs {
    #[command(flatten)]
    rewrite: RewriteArgs,
}

#[derive(Debug, Args)]
struct RewriteArgs {
    /// Where the image lies: `oci:DIR[:TAG]` or `docker://HOST/NAME[:TAG|@DIGEST]`.
    source: Reference,
    /// Where the new image goes.
    target: Reference,
    #[command(flatten)]
    recipients: RecipientArgs,
    #[command(flatten)]
    keys: KeyArgs,
    #[command(flatten)]
    unpack: UnpackArgs,
    /// Shows what would change, and changes nothing.
    #[arg(long)]
    dry_run: bool,
    #[command(flatten)]
    output: OutputArgs,
    #[command(flatten)]
    registries: RegistryArgs,
}

impl RewriteArgs {
    /// Somebody must be named, whatever is done.
    fn check(&self) -> anyhow::Result<()> {
        if self.recipients.recipients.is_empty() {
            let hint =
                "write `--recipient jwe:PUBLIC-KEY-FILE`: former recipients are not taken over";
            return Err(Advice::usage("no recipient is named", hint).error());
        }
        Ok(())
    }
}

/// What was done.
#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Done {
    #[serde(skip_serializing_if = "Option::is_none")]
    digest: Option<Digest>,
    layers: usize,
    readable_layers: usize,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    moved: Vec<MovedLayer>,
    dry_run: bool,
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct MovedLayer {
    index: usize,
    config: Digest,
    /// What was different where it lay before; absent when it was bound to nothing.
    #[serde(skip_serializing_if = "Option::is_none")]
    differs: Option<String>,
}

/// Runs `rekey`.
pub(super) fn rekey(args: &RekeyArgs) -> anyhow::Result<()> {
    let rewrite = &args.rewrite;
    rewrite.check()?;
    let registries = rewrite.registries.options();
    let keyring = rewrite.keys.required(KEYLESS)?;
    let recipients = rewrite.recipients.read(&rewrite.keys.gpg())?;
    let options = RekeyOptions {
        openers: keyring.openers(),
        platforms: args.platforms.clone(),
        checks: DecryptOptions {
            unbound: match args.require_binding {
                true => Unbound::Refuse,
                false => Unbound::Accept,
            },
            unpacked: rewrite.unpack.limit(),
            ..DecryptOptions::default()
        },
    };
    let from = open_source(&rewrite.source, &registries)?;
    if rewrite.dry_run {
        let Preview {
            layers,
            readable_layers,
            ..
        } = preview_rekey(from.as_ref(), &recipients, &options)?;
        return answer(rewrite, None, layers, readable_layers, &[]);
    }
    let to = open_target_from(&rewrite.source, &rewrite.target, &registries)?;
    let bar = progress("encrypting anew");
    let done = images::rekey(
        from.as_ref(),
        to.as_ref(),
        &recipients,
        &options,
        bar.as_ref(),
    )?;
    drop(bar);
    eprintln!(
        "{} encrypted anew into {}",
        layers(done.layers),
        rewrite.target
    );
    if done.unbound > 0 {
        eprintln!(
            "warning: bound to nothing before: {}; you vouch for their place, and `--require-binding` refuses them",
            layers(done.unbound)
        );
    }
    let digest = Some(done.digest);
    answer(rewrite, digest, done.layers, done.readable_layers, &[])
}

/// Runs `rebind`.
pub(super) fn rebind(args: &RebindArgs) -> anyhow::Result<()> {
    let rewrite = &args.rewrite;
    rewrite.check()?;
    let registries = rewrite.registries.options();
    let keyring = rewrite.keys.required(KEYLESS)?;
    let recipients = rewrite.recipients.read(&rewrite.keys.gpg())?;
    let from = open_source(&rewrite.source, &registries)?;
    let limit = rewrite.unpack.limit();
    let done = if rewrite.dry_run {
        preview_rebind(from.as_ref(), &keyring.openers(), &recipients)?
    } else {
        let to = open_target_from(&rewrite.source, &rewrite.target, &registries)?;
        let bar = progress("verifying");
        let openers = keyring.openers();
        images::rebind_within(
            from.as_ref(),
            to.as_ref(),
            &openers,
            &recipients,
            limit,
            bar.as_ref(),
        )?
    };
    if !done.moved.is_empty() {
        eprintln!(
            "warning: {} lay elsewhere before; you vouch for their place",
            layers(done.moved.len())
        );
    }
    answer(rewrite, done.digest, done.layers, 0, &done.moved)
}

fn answer(
    args: &RewriteArgs,
    digest: Option<Digest>,
    count: usize,
    readable_layers: usize,
    moved: &[Moved],
) -> anyhow::Result<()> {
    if readable_layers > 0 {
        eprintln!(
            "warning: {} readable for everybody, as before",
            layers(readable_layers)
        );
    }
    let moved = moved.iter().map(|moved| MovedLayer {
        index: moved.index,
        config: moved.config,
        differs: moved.mismatch.as_ref().map(ToString::to_string),
    });
    let done = Done {
        digest,
        layers: count,
        readable_layers,
        moved: moved.collect(),
        dry_run: args.dry_run,
    };
    args.output.print(&done, text)
}

fn text(done: &Done) -> String {
    let mut text = match done.digest {
        Some(digest) => format!("{digest}\n"),
        None => format!("would write {}\n", layers(done.layers)),
    };
    for moved in &done.moved {
        let differs = moved
            .differs
            .as_deref()
            .unwrap_or("layer was bound to nothing");
        text.push_str(&format!("layer {:<3} {differs}\n", moved.index));
    }
    text
}

const KEYLESS: &str = "this can't be done without a key";
