//! `bailiwick image decrypt`: all of an image, verified, and where it came from.

use clap::Args;
use estate::Digest;
use images::{
    About, BoundContent, DECRYPTED_FROM, DecryptOptions, Decrypted, ImageSource, Provenance,
    Unbound, UnknownPacking, decrypt_from, preview_decrypt,
};
use registry::{Reference, Version, open_source, open_target_from};
use serde::Serialize;

use super::args::{KeyArgs, OutputArgs, UnpackArgs};
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
    unpack: UnpackArgs,
    /// Don't unpack packed, bound layers to compare them with the configuration: several times faster where they were really
    /// pressed. For runtimes that compare it when they unpack, as containerd does: whoever has a public key can have bound
    /// other content to the configuration.
    #[arg(long)]
    leave_content: bool,
    /// Let the plain image say which encrypted one it was, as is done for an image that was named by its digest or is signed.
    #[arg(long)]
    keep_provenance: bool,
    /// Shows what would be decrypted, as far as keys and manifests tell, and writes nothing.
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
    /// What the source's name stood for.
    #[serde(skip_serializing_if = "Option::is_none")]
    former: Option<Digest>,
    #[serde(skip_serializing_if = "Option::is_none")]
    digest: Option<Digest>,
    layers: usize,
    #[serde(skip_serializing_if = "Option::is_none")]
    unbound: Option<usize>,
    #[serde(skip_serializing_if = "Option::is_none")]
    content_left: Option<usize>,
    provenance: bool,
    dry_run: bool,
}

/// Runs the command.
pub(super) fn run(args: &DecryptArgs) -> anyhow::Result<()> {
    let keyring = args.keys.required("there is no key to decrypt with")?;
    let registries = args.registries.options();
    let from = open_source(&args.source, &registries)?;
    let provenance = provenance(args, from.as_ref());
    if args.dry_run {
        let shown = preview_decrypt(from.as_ref(), &keyring.openers(), checks(args))?;
        let done = Done {
            former: None,
            digest: None,
            layers: shown.layers,
            unbound: None,
            content_left: None,
            provenance: provenance != Provenance::Untold,
            dry_run: true,
        };
        return args.output.print(&done, text);
    }
    let to = open_target_from(&args.source, &args.target, &registries)?;
    let bar = progress("decrypting");
    let decrypted = decrypt_from(
        from.as_ref(),
        to.as_ref(),
        &keyring.openers(),
        checks(args),
        &provenance,
        bar.as_ref(),
    )?;
    drop(bar);
    eprintln!(
        "{} decrypted into {}",
        layers(decrypted.layers),
        args.target
    );
    tell(&decrypted, &provenance);
    let done = Done {
        former: Some(decrypted.former),
        digest: Some(decrypted.digest),
        layers: decrypted.layers,
        unbound: Some(decrypted.unbound),
        content_left: Some(decrypted.left),
        provenance: provenance != Provenance::Untold,
        dry_run: false,
    };
    args.output.print(&done, text)
}

fn checks(args: &DecryptArgs) -> DecryptOptions {
    DecryptOptions {
        unbound: match args.require_binding {
            true => Unbound::Refuse,
            false => Unbound::Accept,
        },
        unknown_packing: match args.accept_unknown_packing {
            true => UnknownPacking::Accept,
            false => UnknownPacking::Refuse,
        },
        unpacked: args.unpack.limit(),
        bound_content: match args.leave_content {
            true => BoundContent::Leave,
            false => BoundContent::Verify,
        },
    }
}

/// Whoever names an image by its digest, or signed it, wants to know later that it is the one; a tag promises nothing that
/// could be lost.
fn provenance(args: &DecryptArgs, from: &dyn ImageSource) -> Provenance {
    let (repository, pinned) = match &args.source {
        Reference::Remote(remote) => {
            let name = format!("{}/{}", remote.host(), remote.repository().as_str());
            (Some(name), matches!(remote.version(), Version::Digest(_)))
        }
        _ => (None, false),
    };
    match pinned || args.keep_provenance || is_spoken_of(from) {
        true => Provenance::Told { repository },
        false => Provenance::Untold,
    }
}

/// Whether something beside the image speaks of it, such as a signature or a statement. Where that can't be told it is
/// taken to be so: an annotation too many does no harm. Nothing is believed here.
fn is_spoken_of(from: &dyn ImageSource) -> bool {
    let (Ok(root), Ok(report)) = (from.root(), images::inspect(from, &[])) else {
        return true;
    };
    let manifests = report.images.iter().map(|image| image.manifest);
    let manifests = std::iter::once(root.id().digest).chain(manifests);
    let configs = report.images.iter().map(|image| image.config);
    let mut about = manifests
        .map(About::Manifest)
        .chain(configs.map(About::Config));
    about.any(|about| {
        let none_listed = from.referrers(about).is_ok_and(|listed| listed.is_empty());
        !none_listed || has_cosign_tag(from, about)
    })
}

/// Where cosign puts signatures on registries that list no documents.
fn has_cosign_tag(from: &dyn ImageSource, about: About) -> bool {
    let tag = format!("{}.sig", about.tag());
    let is_absent = || from.tagged(&tag).is_ok_and(|found| found.is_none());
    matches!(about, About::Manifest(_)) && !is_absent()
}

fn tell(decrypted: &Decrypted, provenance: &Provenance) {
    eprintln!(
        "the digest changes: {} -> {}",
        decrypted.former, decrypted.digest
    );
    if *provenance != Provenance::Untold {
        eprintln!(
            "the former one stands in the annotation `{DECRYPTED_FROM}`; signatures of it don't cover the plain image"
        );
    }
    if decrypted.left > 0 {
        let left = layers(decrypted.left);
        eprintln!(
            "not unpacked, and left to the runtime to compare with the configuration: {left}"
        );
    }
    if decrypted.unbound > 0 {
        let unbound = layers(decrypted.unbound);
        eprintln!("warning: not bound to this image: {unbound}");
        eprintln!(
            "hint: only who encrypted them knows that they belong together; `--require-binding` refuses them"
        );
    }
}

fn text(done: &Done) -> String {
    match done.digest {
        Some(digest) => format!("{digest}\n"),
        None => format!("would decrypt {}\n", layers(done.layers)),
    }
}
