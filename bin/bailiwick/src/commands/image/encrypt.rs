//! `bailiwick image encrypt`: every layer, or those that were chosen; readable layers are never passed over in silence.

use clap::Args;
use estate::Digest;
use images::{EncryptOptions, Encrypted, LayerChoice, Platform, encrypt_with, preview_encrypt};
use registry::{Reference, open_source, open_target_from};
use serde::Serialize;

use super::args::{KeyArgs, OutputArgs, RecipientArgs};
use super::same_place::is_one_place;
use super::sign::SignArgs;
use super::{RegistryArgs, layers, progress};
use crate::advice::Advice;

/// Encrypts the layers of an image for the recipients.
///
/// Example: bailiwick image encrypt oci:app:1 docker://registry.example/app:1
/// --recipient bailiwick:medrec --key-document medrec.json --root-pin sha256:…
#[derive(Debug, Args)]
pub(super) struct EncryptArgs {
    /// Where the image lies: `docker://HOST/NAME[:TAG|@DIGEST]`, `oci:DIR[:TAG]`, `oci-archive:FILE[:TAG]` or
    /// `docker-archive:FILE[:NAME:TAG]`.
    source: Reference,
    /// Where the encrypted image goes: as the first, but for `docker-archive:`, which is only read.
    target: Reference,
    #[command(flatten)]
    recipients: RecipientArgs,
    /// Only this layer: 0 is the bottom, -1 the top. Can be given several times; the other layers stay readable.
    #[arg(
        long = "encrypt-layer",
        alias = "layer",
        value_name = "NUMBER",
        allow_negative_numbers = true
    )]
    layers: Vec<i64>,
    /// Of several platforms only this one, such as `linux/arm64`; the others are left out. Can be given several times.
    #[arg(long = "platform")]
    platforms: Vec<Platform>,
    #[command(flatten)]
    keys: KeyArgs,
    #[command(flatten)]
    sign: SignArgs,
    /// Shows what would be encrypted, and writes nothing.
    #[arg(long)]
    dry_run: bool,
    #[command(flatten)]
    output: OutputArgs,
    #[command(flatten)]
    registries: RegistryArgs,
}

/// What was done.
#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Done {
    #[serde(skip_serializing_if = "Option::is_none")]
    digest: Option<Digest>,
    layers: usize,
    kept: usize,
    readable_layers: usize,
    /// Documents beside the image that everybody can read; not looked for when nothing is done.
    #[serde(skip_serializing_if = "Option::is_none")]
    readable_documents: Option<usize>,
    dry_run: bool,
}

/// Runs the command.
pub(super) fn run(args: &EncryptArgs) -> anyhow::Result<()> {
    if args.recipients.recipients.is_empty() {
        let hint = "write `--recipient jwe:PUBLIC-KEY-FILE` or `--recipient bailiwick:IMAGE-SET`";
        return Err(Advice::usage("no recipient is named", hint).error());
    }
    let recipients = args.recipients.read(&args.keys.gpg())?;
    let keyring = args.keys.read()?;
    let signing_key = args.sign.read()?;
    let signing = signing_key.as_ref();
    let signing = signing.map(|key| args.sign.signing(key, &args.target));
    let options = EncryptOptions {
        layers: LayerChoice::new(args.layers.clone()),
        platforms: args.platforms.clone(),
        openers: keyring.named_openers(),
        signing: signing.as_ref(),
    };
    let registries = args.registries.options();
    let from = open_source(&args.source, &registries)?;
    if args.dry_run {
        let shown = preview_encrypt(from.as_ref(), &recipients, &options)?;
        let done = Done {
            digest: None,
            layers: shown.layers,
            kept: shown.kept,
            readable_layers: shown.readable_layers,
            readable_documents: None,
            dry_run: true,
        };
        return answer(args, &done);
    }
    let to = open_target_from(&args.source, &args.target, &registries)?;
    let bar = progress("encrypting");
    let Encrypted {
        digest,
        layers: count,
        kept,
        readable_layers,
        readable_documents,
    } = encrypt_with(
        from.as_ref(),
        to.as_ref(),
        &recipients,
        &options,
        bar.as_ref(),
    )?;
    drop(bar);
    eprintln!("{} encrypted into {}", layers(count), args.target);
    if readable_documents > 0 {
        eprintln!("warning: {readable_documents} documents beside the image stay readable");
    }
    let done = Done {
        digest: Some(digest),
        layers: count,
        kept,
        readable_layers,
        readable_documents: Some(readable_documents),
        dry_run: false,
    };
    answer(args, &done)
}

fn answer(args: &EncryptArgs, done: &Done) -> anyhow::Result<()> {
    let kept = done.kept;
    if kept > 0 {
        eprintln!(
            "{} of these encrypted before, with new recipients",
            layers(kept)
        );
    }
    if done.readable_layers > 0 {
        eprintln!(
            "warning: not chosen, and readable for everybody: {}",
            layers(done.readable_layers)
        );
    }
    if done.layers > kept && is_one_place(&args.source, &args.target) {
        eprintln!(
            "warning: the plain layers stay in `{}`, for everybody who can read it: encrypt into another place, or delete \
             the plain image there",
            args.source
        );
    }
    args.output.print(done, |done| match done.digest {
        Some(digest) => format!("{digest}\n"),
        None => format!("would encrypt {}\n", layers(done.layers)),
    })
}
