//! `bailiwick image recipients list|add|remove`: in the manifest, where the image lies; layers are not touched.

use std::fmt::Write as _;

use clap::{Args, Subcommand};
use estate::Digest;
use images::{
    CertificateReport, ImageReport, LayerReport, PgpHolderReport, Plan, RecipientReport,
    RecipientsEdit, RecipientsEdited, Selector, edit_recipients,
};
use registry::{Options, Reference, open_source, open_target};
use serde::Serialize;

use super::RegistryArgs;
use super::args::{KeyArgs, OutputArgs, RecipientArgs};
use crate::advice::Advice;

/// Shows and changes who can open an encrypted image. Only manifests change; layers are neither read nor written.
#[derive(Debug, Args)]
pub(super) struct RecipientsArgs {
    #[command(subcommand)]
    command: RecipientsCommand,
}

#[derive(Debug, Subcommand)]
enum RecipientsCommand {
    /// Shows who can open which layer, as far as the key packets tell.
    ///
    /// Example: bailiwick image recipients list docker://registry.example/app:1
    List {
        /// Where the image lies: `oci:DIR[:TAG]` or `docker://HOST/NAME[:TAG|@DIGEST]`.
        image: Reference,
        #[command(flatten)]
        output: OutputArgs,
        #[command(flatten)]
        registries: RegistryArgs,
    },
    /// Adds recipients. It takes a key that opens every encrypted layer.
    ///
    /// Example: bailiwick image recipients add docker://registry.example/app:1
    /// --recipient jwe:bob.pem --key ann-private.pem
    Add {
        /// Where the image lies: `oci:DIR[:TAG]` or `docker://HOST/NAME[:TAG]`.
        image: Reference,
        #[command(flatten)]
        change: ChangeArgs,
    },
    /// Removes recipients. It takes no key, unless others come in their place (`--recipient`).
    ///
    /// A removed key may have been kept by whoever had it: `bailiwick image rekey` makes it useless.
    ///
    /// Example: bailiwick image recipients remove docker://registry.example/app:1 jwe#1
    Remove {
        /// Where the image lies: `oci:DIR[:TAG]` or `docker://HOST/NAME[:TAG]`.
        image: Reference,
        /// Who goes, as `recipients list` names them: `jwe`, `jwe#1`, `jwe:KEY-ID`, `pgp:KEY-ID`, `provider:NAME`, `bailiwick:IMAGE-SET`.
        #[arg(required = true)]
        who: Vec<Selector>,
        #[command(flatten)]
        change: ChangeArgs,
    },
}

#[derive(Debug, Args)]
struct ChangeArgs {
    #[command(flatten)]
    recipients: RecipientArgs,
    #[command(flatten)]
    keys: KeyArgs,
    /// Shows what would change, and changes nothing.
    #[arg(long)]
    dry_run: bool,
    #[command(flatten)]
    output: OutputArgs,
    #[command(flatten)]
    registries: RegistryArgs,
}

/// Runs the command.
pub(super) fn run(args: RecipientsArgs) -> anyhow::Result<()> {
    match args.command {
        RecipientsCommand::List {
            image,
            output,
            registries,
        } => list(&image, &output, &registries.options()),
        RecipientsCommand::Add { image, change } => {
            if change.recipients.recipients.is_empty() {
                let hint = "write `--recipient jwe:PUBLIC-KEY-FILE`";
                return Err(Advice::usage("no recipient is named", hint).error());
            }
            edit(&image, Vec::new(), &change)
        }
        RecipientsCommand::Remove { image, who, change } => edit(&image, who, &change),
    }
}

fn list(image: &Reference, output: &OutputArgs, options: &Options) -> anyhow::Result<()> {
    let from = open_source(image, options)?;
    let report = images::inspect(from.as_ref(), &[])?;
    let listed: Vec<Listed<'_>> = report.images.iter().map(Listed::of).collect();
    output.print(&listed, |listed| {
        listed.iter().map(listed_text).collect::<Vec<_>>().join("")
    })
}

fn edit(image: &Reference, who: Vec<Selector>, change: &ChangeArgs) -> anyhow::Result<()> {
    let comes = !change.recipients.recipients.is_empty();
    let keyring = match comes {
        true => change.keys.required("nobody can be added without a key")?,
        false => change.keys.read()?,
    };
    in_place(image)?;
    let options = change.registries.options();
    let added = comes.then(|| change.recipients.read(&change.keys.gpg()));
    let added = added.transpose()?;
    let wanted = RecipientsEdit {
        remove: who,
        add: added.as_ref(),
        openers: keyring.openers(),
    };
    let from = open_source(image, &options)?;
    let to = open_target(image, &options)?;
    let plan = match change.dry_run {
        true => Plan::Show,
        false => Plan::Do,
    };
    let done = edit_recipients(from.as_ref(), to.as_ref(), &wanted, plan)?;
    let edited = Edited::of(&done, plan);
    change.output.print(&edited, edited_text)?;
    if done.unbound > 0 {
        eprintln!(
            "warning: not bound to this image: {}",
            super::layers(done.unbound)
        );
        eprintln!(
            "hint: only who encrypted them knows that they belong together; whoever is added can open them"
        );
    }
    if done.removed > 0 && plan == Plan::Do {
        eprintln!("warning: whoever was removed may have kept the key of each layer");
        eprintln!(
            "hint: `bailiwick image rekey` encrypts the image anew, with keys that nobody has kept"
        );
    }
    Ok(())
}

/// Manifests change where the image lies, and nowhere else: an archive would be left without its layers.
fn in_place(image: &Reference) -> anyhow::Result<()> {
    if matches!(image, Reference::Layout(_) | Reference::Remote(_)) {
        return Ok(());
    }
    Err(Advice::usage(
        format!("recipients can't be changed inside `{image}`"),
        "name a registry (`docker://`) or a directory (`oci:`)",
    )
    .error())
}

/// What was changed.
#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Edited {
    former: Digest,
    #[serde(skip_serializing_if = "Option::is_none")]
    digest: Option<Digest>,
    layers: usize,
    added: usize,
    removed: usize,
    dry_run: bool,
}

impl Edited {
    fn of(done: &RecipientsEdited, plan: Plan) -> Self {
        Self {
            former: done.former,
            digest: (plan == Plan::Do).then_some(done.digest),
            layers: done.layers,
            added: done.added,
            removed: done.removed,
            dry_run: plan == Plan::Show,
        }
    }
}

fn edited_text(edited: &Edited) -> String {
    let Edited {
        former,
        digest,
        layers,
        added,
        removed,
        ..
    } = edited;
    let counts = format!(
        "{}: key packets added: {added}, removed: {removed}\n",
        super::layers(*layers)
    );
    match digest {
        Some(digest) => format!("{digest}\nformerly {former}\n{counts}"),
        None => format!("{former}\nwould change {counts}"),
    }
}

/// Who can open the layers of one image.
#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Listed<'a> {
    #[serde(skip_serializing_if = "Option::is_none")]
    platform: Option<&'a str>,
    manifest: Digest,
    layers: Vec<ListedLayer<'a>>,
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct ListedLayer<'a> {
    index: usize,
    encrypted: bool,
    recipients: Vec<ListedRecipient<'a>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    problem: Option<&'a str>,
}

#[derive(Serialize)]
struct ListedRecipient<'a> {
    /// What `recipients remove` takes.
    selector: String,
    #[serde(flatten)]
    recipient: &'a RecipientReport,
}

impl<'a> Listed<'a> {
    fn of(image: &'a ImageReport) -> Self {
        Self {
            platform: image.platform.as_deref(),
            manifest: image.manifest,
            layers: image.layers.iter().map(ListedLayer::of).collect(),
        }
    }
}

impl<'a> ListedLayer<'a> {
    fn of(layer: &'a LayerReport) -> Self {
        let mut seen: Vec<String> = Vec::new();
        let recipients = layer.recipients.iter().map(|recipient| {
            let scheme = scheme_of(recipient);
            let position = seen.iter().filter(|seen| **seen == scheme).count();
            seen.push(scheme.clone());
            ListedRecipient {
                selector: format!("{scheme}#{position}"),
                recipient,
            }
        });
        Self {
            index: layer.index,
            encrypted: layer.encrypted,
            recipients: recipients.collect(),
            problem: layer.problem.as_deref(),
        }
    }
}

fn listed_text(listed: &Listed<'_>) -> String {
    let platform = listed.platform.unwrap_or("(one platform)");
    let mut text = format!("image     {platform}\nmanifest  {}\n", listed.manifest);
    for layer in &listed.layers {
        let state = if layer.encrypted {
            "encrypted"
        } else {
            "readable for everybody"
        };
        let _ = writeln!(text, "layer {:<3} {state}", layer.index);
        for one in &layer.recipients {
            let _ = writeln!(
                text,
                "          {:<14} {}",
                one.selector,
                words(one.recipient)
            );
        }
        if let Some(problem) = layer.problem {
            let _ = writeln!(text, "          problem: {problem}");
        }
    }
    text
}

/// The scheme of a packet, as selectors name it.
fn scheme_of(recipient: &RecipientReport) -> String {
    match recipient {
        RecipientReport::Jwe { .. } => "jwe".to_owned(),
        RecipientReport::Bailiwick { .. } => "bailiwick".to_owned(),
        RecipientReport::Pgp { .. } => "pgp".to_owned(),
        RecipientReport::Pkcs7 { .. } => "pkcs7".to_owned(),
        RecipientReport::Pkcs11 { .. } => "pkcs11".to_owned(),
        RecipientReport::Other { name } | RecipientReport::ConfidentialContainers { name, .. } => {
            match name.strip_prefix("provider.") {
                Some(provider) => format!("provider:{provider}"),
                None => name.clone(),
            }
        }
    }
}

/// Who can open a packet, for people.
pub(super) fn words(recipient: &RecipientReport) -> String {
    match recipient {
        RecipientReport::Jwe { keys } => {
            let ids: Vec<String> = keys
                .iter()
                .map(|key| key.id.clone().unwrap_or_else(|| "unnamed".to_owned()))
                .map(|id| id.escape_debug().to_string())
                .collect();
            let count = keys.len();
            let holders = if count == 1 {
                "holder of a private key"
            } else {
                "holders of private keys"
            };
            format!("{count} {holders} (jwe): {}", ids.join(", "))
        }
        RecipientReport::Bailiwick {
            authority,
            image,
            suite,
            ..
        } => format!(
            "{} by policy for `{}` ({})",
            authority.escape_debug(),
            image.escape_debug(),
            suite.escape_debug()
        ),
        RecipientReport::Pgp { holders } if holders.is_empty() => {
            "a packet that can't be read (pgp)".to_owned()
        }
        RecipientReport::Pgp { holders } => {
            let holders = holders.iter().map(|holder| match holder {
                PgpHolderReport::Key(id) => format!("holder of key {id} (pgp)"),
                PgpHolderReport::Hidden => "holder of a key that is not told (pgp)".to_owned(),
                PgpHolderReport::Password => "whoever knows a password (pgp)".to_owned(),
            });
            holders.collect::<Vec<_>>().join(", ")
        }
        RecipientReport::Pkcs7 { certificates } if certificates.is_empty() => {
            "a packet that can't be read (pkcs7)".to_owned()
        }
        RecipientReport::Pkcs7 { certificates } => {
            let holders = certificates
                .iter()
                .map(|CertificateReport { issuer, serial }| {
                    let (issuer, serial) = (issuer.escape_debug(), serial.escape_debug());
                    format!("holder of certificate {serial} of `{issuer}` (pkcs7)")
                });
            holders.collect::<Vec<_>>().join(", ")
        }
        RecipientReport::Pkcs11 { keys } if keys.is_empty() => {
            "a packet that can't be read (pkcs11)".to_owned()
        }
        RecipientReport::Pkcs11 { keys } => {
            let holders = keys.iter().map(|key| {
                let unbound = match key.has_room_for_binding {
                    true => "",
                    false => ", not bound: no room",
                };
                format!(
                    "holder of an RSA-{} key in a module ({}{unbound}; pkcs11)",
                    key.bits, key.hash
                )
            });
            holders.collect::<Vec<_>>().join(", ")
        }
        RecipientReport::ConfidentialContainers { key, keeper, .. } => format!(
            "whom `{}` gives `{}` (confidential containers)",
            keeper.escape_debug(),
            key.escape_debug()
        ),
        RecipientReport::Other { name } => format!("`{name}` (not read here)"),
    }
}
