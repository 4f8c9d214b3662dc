//! `bailiwick image decrypt`: all of an image, verified, and where it came from.

use clap::Args;
use estate::Digest;
use images::{DecryptOptions, Unbound, UnknownPacking};
use registry::{Reference, open_source, open_target_from};
use serde::Serialize;

use super::args::{KeyArgs, OutputArgs};
use super::{RegistryArgs, layers, progress};

/// Decrypts an image and verifies all of it.
///
/// Example: bailiwick image decrypt docker://registry.example/app:1 oci:plain:1 --key private.pem
#[derive(Debug, Args)]
pub(super) struct DecryptArgs {
    /// Where the image lies: `docker://HOST/NAME[:TAG|@DIGEST]`, `oci:DIR[:TAG]` or `oci-archive:FILE[:TAG]`.
    source: Reference,
    /// Where the plain image goes: the same forms.
    target: Reference,
    #[command(flatten)]
    keys: KeyArgs,
    /// Refuse layers that are not bound to their image, as other tools make them.
    #[arg(long)]
    require_binding: bool,
    /// Accept layers whose packing is not known here; their content stays unchecked.
    #[arg(long)]
    accept_unknown_packing: bool,
    #[command(flatten)]
    output: OutputArgs,
    #[command(flatten)]
    registries: RegistryArgs,
}

/// What was done.
#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Done {
    digest: Digest,
    layers: usize,
    unbound: usize,
}

/// Runs the command.
pub(super) fn run(args: &DecryptArgs) -> anyhow::Result<()> {
    let keyring = args.keys.required("there is no key to decrypt with")?;
    let registries = args.registries.options();
    let options = DecryptOptions {
        unbound: match args.require_binding {
            true => Unbound::Refuse,
            false => Unbound::Accept,
        },
        unknown_packing: match args.accept_unknown_packing {
            true => UnknownPacking::Accept,
            false => UnknownPacking::Refuse,
        },
    };
    let from = open_source(&args.source, &registries)?;
    let to = open_target_from(&args.source, &args.target, &registries)?;
    let bar = progress("decrypting");
    let decrypted = images::decrypt(
        from.as_ref(),
        to.as_ref(),
        &keyring.openers(),
        options,
        bar.as_ref(),
    )?;
    drop(bar);
    eprintln!(
        "{} decrypted into {}",
        layers(decrypted.layers),
        args.target
    );
    if decrypted.unbound > 0 {
        eprintln!(
            "warning: not bound to this image: {}",
            layers(decrypted.unbound)
        );
        eprintln!(
            "hint: only who encrypted them knows that they belong together; `--require-binding` refuses them"
        );
    }
    let done = Done {
        digest: decrypted.digest,
        layers: decrypted.layers,
        unbound: decrypted.unbound,
    };
    args.output
        .print(&done, |done| format!("{}\n", done.digest))
}
