//! `bailiwick image inspect`: who can open which layer, and what everybody can read.

use std::fmt::Write as _;

use clap::Args;
use images::{Binding, ImageReport, LayerReport, SuspectPlace, SuspectReason, SuspectReport};
use registry::{Reference, open_source};

use super::args::{KeyArgs, OutputArgs};
use super::{RegistryArgs, recipients_cmd};
use crate::output::plain;

/// Shows who can open which layer, and what everybody can read.
///
/// Example: bailiwick image inspect docker://registry.example/app:1
#[derive(Debug, Args)]
pub(super) struct InspectArgs {
    /// Where the image lies.
    source: Reference,
    #[command(flatten)]
    keys: KeyArgs,
    #[command(flatten)]
    output: OutputArgs,
    #[command(flatten)]
    registries: RegistryArgs,
}

/// Runs the command.
pub(super) fn run(args: &InspectArgs) -> anyhow::Result<()> {
    let from = open_source(&args.source, &args.registries.options())?;
    let keyring = args.keys.read()?;
    let report = images::inspect(from.as_ref(), &keyring.openers())?;
    args.output.print(&report, |report| {
        report.images.iter().map(image_text).collect()
    })?;
    for suspect in report
        .images
        .iter()
        .flat_map(|image| &image.public.suspects)
    {
        eprintln!("warning: {}", looks_secret(suspect));
    }
    Ok(())
}

fn image_text(image: &ImageReport) -> String {
    let platform = image.platform.as_deref().unwrap_or("(one platform)");
    let mut text = format!(
        "image     {platform}\nmanifest  {}\nconfig    {}   the identity of the image, plain or encrypted\n",
        image.manifest, image.config
    );
    text.extend(image.layers.iter().map(layer_text));
    let public = &image.public;
    text.push_str("readable for everybody:\n");
    let environment = public.environment.join(" ");
    let labels = public.labels.join(" ");
    let _ = writeln!(text, "  environment  {}", or_none(&environment));
    let _ = writeln!(text, "  labels       {}", or_none(&labels));
    let _ = writeln!(text, "  history      {} commands", public.history.len());
    for diff_id in &public.diff_ids {
        let _ = writeln!(text, "  unpacked     {diff_id}");
    }
    plain(&text)
}

fn layer_text(layer: &LayerReport) -> String {
    let state = match layer.encrypted {
        true => format!("encrypted, {}", binding(layer)),
        false => "plain".to_owned(),
    };
    let mut text = format!(
        "layer {:<3} {}  {} bytes  {state}\n          {}\n",
        layer.index, layer.digest, layer.size, layer.media_type
    );
    for recipient in &layer.recipients {
        let _ = writeln!(
            text,
            "          opens: {}",
            recipients_cmd::words(recipient)
        );
    }
    if let Some(problem) = &layer.problem {
        let _ = writeln!(text, "          problem: {problem}");
    }
    text
}

/// What looks like a secret; its value is nobody's business here.
fn looks_secret(suspect: &SuspectReport) -> String {
    let place = match suspect.place {
        SuspectPlace::Environment => "environment",
        SuspectPlace::Label => "labels",
        SuspectPlace::History => "history",
        SuspectPlace::Command => "command",
    };
    let reason = match suspect.reason {
        SuspectReason::Name => "is called like a secret",
        SuspectReason::Form => "has the form of a key or password",
        SuspectReason::Random => "looks random",
    };
    let name = suspect.name.escape_debug();
    format!("`{name}` in the {place} {reason}, and everybody can read it")
}

fn binding(layer: &LayerReport) -> &'static str {
    match layer.binding {
        Binding::Bound => "bound to this image",
        Binding::Broken => "bound to another image",
        Binding::Unbound => "not bound to its image",
        Binding::Unknown | Binding::None => "`--key` shows whether it is bound to this image",
    }
}

fn or_none(text: &str) -> &str {
    if text.is_empty() { "(none)" } else { text }
}
