//! `bailiwick image encrypt|decrypt|inspect|key|promote|retire`.

mod promote;
mod recipients;

use std::{
    io::IsTerminal,
    path::PathBuf,
    process::ExitCode,
    sync::atomic::{AtomicBool, Ordering},
    thread,
};

use clap::{Args, Subcommand};
use images::{
    Binding, CertificateReport, DecryptOptions, ImageReport, LayerReport, Progress,
    RecipientReport, Recipients, Unbound, UnknownPacking,
};
use indicatif::{ProgressBar, ProgressStyle};
use oci_crypt::PacketOpener;
use registry::{Options, Reference, auth_file_candidates, open_source, open_target};

use self::recipients::{opener, read_recipients};

/// Encrypts, decrypts and looks at container images.
#[derive(Debug, Args)]
pub(crate) struct ImageArgs {
    #[command(subcommand)]
    command: ImageCommand,
}

#[derive(Debug, Subcommand)]
enum ImageCommand {
    /// Encrypts every layer of an image for the recipients.
    ///
    /// Example: bailiwick image encrypt oci:app:1 docker://registry.example/app:1
    /// --recipient bailiwick:medrec --key-document medrec.json --root-pin sha256:…
    Encrypt {
        /// Where the image lies: `oci:DIR[:TAG]` or `docker://HOST/NAME[:TAG|@DIGEST]`.
        source: Reference,
        /// Where the encrypted image goes.
        target: Reference,
        /// Who may open it: `jwe:PUBLIC-KEY-FILE` or `bailiwick:IMAGE-SET`. Can be given several times.
        #[arg(long = "recipient", aliases = ["to", "encryption-key"], required = true)]
        recipients: Vec<String>,
        /// Signed key documents of the image sets, as `bailiwick image key` fetches them.
        #[arg(long = "key-document")]
        key_documents: Vec<PathBuf>,
        /// Fingerprint of the trust domain's root, as `bailiwick server init` printed it.
        #[arg(long)]
        root_pin: Option<custody::RootPin>,
        /// The ledger's key, or a file with it: key documents must show that their key was announced there.
        #[arg(long, value_name = "KEY|FILE")]
        ledger_key: Option<String>,
        #[command(flatten)]
        registries: RegistryArgs,
    },
    /// Decrypts an image and verifies all of it.
    ///
    /// Example: bailiwick image decrypt docker://registry.example/app:1 oci:plain:1 --key private.pem
    Decrypt {
        /// Where the image lies.
        source: Reference,
        /// Where the plain image goes.
        target: Reference,
        /// Private key files. Can be given several times.
        #[arg(long = "key", alias = "decryption-key", required = true)]
        keys: Vec<PathBuf>,
        /// Refuse layers that are not bound to their image, as other tools make them.
        #[arg(long)]
        require_binding: bool,
        /// Accept layers whose packing is not known here; their content stays unchecked.
        #[arg(long)]
        accept_unknown_packing: bool,
        #[command(flatten)]
        registries: RegistryArgs,
    },
    /// Fetches the signed key document of an image set, to encrypt with.
    Key(super::image_key::ImageKeyArgs),
    Promote(promote::PromoteArgs),
    Retire(promote::RetireArgs),
    /// Shows who can open which layer, and what everybody can read.
    ///
    /// Example: bailiwick image inspect docker://registry.example/app:1
    Inspect {
        /// Where the image lies.
        source: Reference,
        /// Private key files, to see bindings, too.
        #[arg(long = "key")]
        keys: Vec<PathBuf>,
        /// `text` or `json`.
        #[arg(long, default_value = "text", value_parser = ["text", "json"])]
        output: String,
        #[command(flatten)]
        registries: RegistryArgs,
    },
}

/// How registries are reached.
#[derive(Debug, Args)]
struct RegistryArgs {
    /// Files with credentials; asked before those of docker, podman and skopeo.
    #[arg(long = "authfile")]
    auth_files: Vec<PathBuf>,
    /// Certificate authorities (PEM) that are trusted beside the system's.
    #[arg(long = "registry-ca")]
    authorities: Vec<PathBuf>,
}

impl RegistryArgs {
    fn options(&self) -> Options {
        let mut auth_files = self.auth_files.clone();
        let folder = |name| std::env::var_os(name).map(PathBuf::from);
        auth_files.extend(auth_file_candidates(
            folder("XDG_RUNTIME_DIR").as_deref(),
            folder("HOME").as_deref(),
        ));
        Options {
            auth_files,
            authorities: self.authorities.clone(),
            ..Options::default()
        }
    }
}

/// Runs the command. Synchronous: the pipeline has its own threads.
pub(crate) fn run(args: ImageArgs) -> ExitCode {
    match args.command {
        ImageCommand::Key(args) => crate::asked(super::image_key::run(args)),
        ImageCommand::Promote(args) => promote::promote(args),
        ImageCommand::Retire(args) => promote::retire(args),
        other => crate::ended(work(other)),
    }
}

fn work(command: ImageCommand) -> anyhow::Result<()> {
    match command {
        ImageCommand::Key(_) | ImageCommand::Promote(_) | ImageCommand::Retire(_) => Ok(()),
        ImageCommand::Encrypt {
            source,
            target,
            recipients,
            key_documents,
            root_pin,
            ledger_key,
            registries,
        } => {
            let ledger = ledger_key
                .as_deref()
                .map(crate::connection::read_ledger_key);
            let ledger = ledger
                .transpose()
                .map_err(|error| anyhow::anyhow!("{error}"))?;
            let recipients =
                read_recipients(&recipients, &key_documents, root_pin, ledger.as_ref())?;
            encrypt(&source, &target, &recipients, &registries.options())
        }
        ImageCommand::Decrypt {
            source,
            target,
            keys,
            require_binding,
            accept_unknown_packing,
            registries,
        } => {
            let options = DecryptOptions {
                unbound: if require_binding {
                    Unbound::Refuse
                } else {
                    Unbound::Accept
                },
                unknown_packing: match accept_unknown_packing {
                    true => UnknownPacking::Accept,
                    false => UnknownPacking::Refuse,
                },
            };
            decrypt(&source, &target, &keys, options, &registries.options())
        }
        ImageCommand::Inspect {
            source,
            keys,
            output,
            registries,
        } => inspect(&source, &keys, output == "json", &registries.options()),
    }
}

fn encrypt(
    source: &Reference,
    target: &Reference,
    recipients: &Recipients,
    options: &Options,
) -> anyhow::Result<()> {
    let from = open_source(source, options)?;
    let to = open_target(target, options)?;
    let bar = progress("encrypting");
    let encrypted = images::encrypt(from.as_ref(), to.as_ref(), recipients, bar.as_ref())?;
    println!("{}", encrypted.digest);
    eprintln!("{} encrypted into {target}", layers(encrypted.layers));
    if encrypted.readable_documents > 0 {
        eprintln!(
            "warning: {} documents beside the image stay readable",
            encrypted.readable_documents
        );
    }
    Ok(())
}

fn decrypt(
    source: &Reference,
    target: &Reference,
    keys: &[PathBuf],
    decrypting: DecryptOptions,
    options: &Options,
) -> anyhow::Result<()> {
    let opener = opener(keys)?;
    let from = open_source(source, options)?;
    let to = open_target(target, options)?;
    let bar = progress("decrypting");
    let decrypted = images::decrypt(
        from.as_ref(),
        to.as_ref(),
        &[&opener],
        decrypting,
        bar.as_ref(),
    )?;
    println!("{}", decrypted.digest);
    eprintln!("{} decrypted into {target}", layers(decrypted.layers));
    if decrypted.unbound > 0 {
        eprintln!(
            "warning: not bound to this image: {}",
            layers(decrypted.unbound)
        );
        eprintln!(
            "hint: only who encrypted them knows that they belong together; `--require-binding` refuses them"
        );
    }
    Ok(())
}

fn inspect(
    source: &Reference,
    keys: &[PathBuf],
    json: bool,
    options: &Options,
) -> anyhow::Result<()> {
    let from = open_source(source, options)?;
    let opener = if keys.is_empty() {
        None
    } else {
        Some(opener(keys)?)
    };
    let openers: Vec<&dyn PacketOpener> = opener
        .iter()
        .map(|opener| opener as &dyn PacketOpener)
        .collect();
    let report = images::inspect(from.as_ref(), &openers)?;
    if json {
        println!("{}", serde_json::to_string_pretty(&report)?);
        return Ok(());
    }
    for image in &report.images {
        show(image);
    }
    Ok(())
}

fn show(image: &ImageReport) {
    println!(
        "image     {}",
        image.platform.as_deref().unwrap_or("(one platform)")
    );
    println!("manifest  {}", image.manifest);
    println!(
        "config    {}   the identity of the image, plain or encrypted",
        image.config
    );
    for layer in &image.layers {
        show_layer(layer);
    }
    let public = &image.public;
    println!("readable for everybody:");
    println!("  environment  {}", or_none(&public.environment.join(" ")));
    println!("  labels       {}", or_none(&public.labels.join(" ")));
    println!("  history      {} commands", public.history.len());
}

fn show_layer(layer: &LayerReport) {
    let state = if layer.encrypted {
        format!("encrypted, {}", binding(layer))
    } else {
        "plain".to_owned()
    };
    println!(
        "layer {:<3} {}  {} bytes  {}",
        layer.index, layer.digest, layer.size, state
    );
    for recipient in &layer.recipients {
        match recipient {
            RecipientReport::Jwe { .. } => {
                println!("          opens: holders of private keys (jwe)")
            }
            RecipientReport::Bailiwick {
                authority,
                image,
                suite,
                ..
            } => {
                println!("          opens: {authority} by policy for `{image}` ({suite})");
            }
            RecipientReport::Pkcs7 { certificates } if certificates.is_empty() => {
                println!("          opens: a packet that can't be read (pkcs7)");
            }
            RecipientReport::Pkcs7 { certificates } => {
                for CertificateReport { issuer, serial } in certificates {
                    println!(
                        "          opens: holder of certificate {serial} of `{issuer}` (pkcs7)"
                    );
                }
            }
            RecipientReport::ConfidentialContainers { key, keeper, .. } => {
                println!(
                    "          opens: whom `{keeper}` gives `{key}` (confidential containers)"
                );
            }
            RecipientReport::Other { name } => {
                println!("          opens: `{name}` (not read here)")
            }
        }
    }
    if let Some(problem) = &layer.problem {
        println!("          problem: {problem}");
    }
}

fn binding(layer: &LayerReport) -> &'static str {
    match layer.binding {
        Binding::Bound => "bound to this image",
        Binding::Broken => "bound to another image",
        Binding::Unbound => "not bound to its image",
        Binding::Unknown | Binding::None => "`--key` shows whether it is bound to this image",
    }
}

fn layers(count: usize) -> String {
    match count {
        1 => "1 layer".to_owned(),
        count => format!("{count} layers"),
    }
}

fn or_none(text: &str) -> &str {
    if text.is_empty() { "(none)" } else { text }
}

/// A bar on a terminal; on Ctrl-C the work is told to stop, so that nothing half-written stays.
fn progress(what: &'static str) -> Box<dyn Progress> {
    thread::spawn(|| {
        let waiting = tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .build();
        if let Ok(waiting) = waiting {
            waiting.block_on(crate::shutdown());
            STOPPED.store(true, Ordering::Relaxed);
        }
    });
    if !std::io::stderr().is_terminal() {
        return Box::new(Quiet);
    }
    let style = ProgressStyle::with_template(
        "{prefix} {wide_bar} {bytes}/{total_bytes} {bytes_per_sec} {eta}",
    );
    let bar = ProgressBar::new(0).with_prefix(what);
    if let Ok(style) = style {
        bar.set_style(style);
    }
    Box::new(Bar(bar))
}

struct Bar(ProgressBar);

impl Progress for Bar {
    fn started(&self, total: u64) {
        self.0.set_length(total);
    }
    fn advanced(&self, bytes: u64) {
        self.0.inc(bytes);
    }
    fn cancelled(&self) -> bool {
        STOPPED.load(Ordering::Relaxed)
    }
}

struct Quiet;

impl Progress for Quiet {
    fn started(&self, _total: u64) {}
    fn advanced(&self, _bytes: u64) {}
    fn cancelled(&self) -> bool {
        STOPPED.load(Ordering::Relaxed)
    }
}

static STOPPED: AtomicBool = AtomicBool::new(false);

impl Drop for Bar {
    fn drop(&mut self) {
        self.0.finish_and_clear();
    }
}
