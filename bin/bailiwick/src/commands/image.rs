//! `bailiwick image encrypt|decrypt|inspect|verify|rekey|rebind|recipients|key|promote|retire`.

mod args;
mod encrypt;
mod keys;
mod promote;
mod providers;
mod recipients;
mod recipients_cmd;
mod rekey;
mod verify;

use std::{
    ffi::OsString,
    io::IsTerminal,
    path::PathBuf,
    process::ExitCode,
    sync::atomic::{AtomicBool, Ordering},
    thread,
};

use clap::{Args, Subcommand};
use images::{
    Binding, DecryptOptions, ImageReport, LayerReport, Progress, SuspectPlace, SuspectReason,
    SuspectReport, Unbound, UnknownPacking,
};
use indicatif::{ProgressBar, ProgressStyle};
use registry::{
    Helpers, Host, Options, Reference, auth_file_candidates, open_source, open_target_from,
};

use self::keys::read_keys;
use crate::advice::Advice;

/// Encrypts, decrypts and looks at container images.
#[derive(Debug, Args)]
pub(crate) struct ImageArgs {
    #[command(subcommand)]
    command: ImageCommand,
}

#[derive(Debug, Subcommand)]
enum ImageCommand {
    Encrypt(Box<encrypt::EncryptArgs>),
    /// Decrypts an image and verifies all of it.
    ///
    /// Example: bailiwick image decrypt docker://registry.example/app:1 oci:plain:1 --key private.pem
    Decrypt {
        /// Where the image lies: `docker://HOST/NAME[:TAG|@DIGEST]`, `oci:DIR[:TAG]` or `oci-archive:FILE[:TAG]`.
        source: Reference,
        /// Where the plain image goes: the same forms.
        target: Reference,
        /// Private key file. Can be given several times. Where its password is can follow: `:file=PATH`, `:fd=N`, `:env=NAME`
        /// or `:pass=PASSWORD`; without, it is asked for. Key providers that are configured here are asked, too;
        /// `provider:NAME:ARGUMENTS` tells one of them more.
        #[arg(long = "key", alias = "decryption-key", value_name = "FILE[:PASSWORD]")]
        keys: Vec<OsString>,
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
    Recipients(recipients_cmd::RecipientsArgs),
    Rekey(rekey::RekeyArgs),
    Rebind(rekey::RebindArgs),
    Verify(verify::VerifyArgs),
    Promote(promote::PromoteArgs),
    Retire(promote::RetireArgs),
    /// Shows who can open which layer, and what everybody can read.
    ///
    /// Example: bailiwick image inspect docker://registry.example/app:1
    Inspect {
        /// Where the image lies.
        source: Reference,
        /// Private key file, to see bindings, too; with its password as for `decrypt`.
        #[arg(long = "key", value_name = "FILE[:PASSWORD]")]
        keys: Vec<OsString>,
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
    /// Files with credentials; asked before `$REGISTRY_AUTH_FILE` and those of docker, podman and skopeo.
    #[arg(long = "authfile")]
    auth_files: Vec<PathBuf>,
    /// Certificate authorities (PEM) that are trusted beside the system's.
    #[arg(long = "registry-ca")]
    authorities: Vec<PathBuf>,
    /// Registries that are spoken to without TLS; those on this machine are anyway. Can be given several times.
    #[arg(long, value_name = "HOST[:PORT]")]
    plain_http: Vec<Host>,
}

impl RegistryArgs {
    fn options(&self) -> Options {
        let mut auth_files = self.auth_files.clone();
        let folder = |name| std::env::var_os(name).map(PathBuf::from);
        auth_files.extend(auth_file_candidates(
            folder("REGISTRY_AUTH_FILE").as_deref(),
            folder("XDG_RUNTIME_DIR").as_deref(),
            folder("HOME").as_deref(),
        ));
        Options {
            auth_files,
            authorities: self.authorities.clone(),
            helpers: Helpers {
                directories: std::env::var_os("PATH")
                    .map(|path| std::env::split_paths(&path).collect())
                    .unwrap_or_default(),
                ..Helpers::default()
            },
            plain_http: self.plain_http.clone(),
            ..Options::default()
        }
    }
}

/// Runs the command. Synchronous: the pipeline has its own threads.
pub(crate) fn run(args: ImageArgs) -> ExitCode {
    match args.command {
        ImageCommand::Key(args) => crate::asked(super::image_key::run(args)),
        ImageCommand::Encrypt(args) => crate::ended(encrypt::run(&args)),
        ImageCommand::Recipients(args) => crate::ended(recipients_cmd::run(args)),
        ImageCommand::Rekey(args) => crate::ended(rekey::rekey(&args)),
        ImageCommand::Rebind(args) => crate::ended(rekey::rebind(&args)),
        ImageCommand::Verify(args) => crate::ended(verify::run(&args)),
        ImageCommand::Promote(args) => promote::promote(args),
        ImageCommand::Retire(args) => promote::retire(args),
        other => crate::ended(work(other)),
    }
}

fn work(command: ImageCommand) -> anyhow::Result<()> {
    match command {
        ImageCommand::Key(_)
        | ImageCommand::Encrypt(_)
        | ImageCommand::Recipients(_)
        | ImageCommand::Rekey(_)
        | ImageCommand::Rebind(_)
        | ImageCommand::Verify(_)
        | ImageCommand::Promote(_)
        | ImageCommand::Retire(_) => Ok(()),
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

fn decrypt(
    source: &Reference,
    target: &Reference,
    keys: &[OsString],
    decrypting: DecryptOptions,
    options: &Options,
) -> anyhow::Result<()> {
    let (services, files) = providers::openers(keys)?;
    if files.is_empty() && services.is_empty() {
        return Err(Advice::usage(
            "there is no key to decrypt with",
            "give `--key FILE`, or configure a key provider: docs/how/key-providers.md",
        )
        .error());
    }
    let keys = read_keys(&files)?;
    let mut openers = keys.openers();
    openers.push(&services);
    let from = open_source(source, options)?;
    let to = open_target_from(source, target, options)?;
    let bar = progress("decrypting");
    let decrypted = images::decrypt(
        from.as_ref(),
        to.as_ref(),
        &openers,
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
    keys: &[OsString],
    json: bool,
    options: &Options,
) -> anyhow::Result<()> {
    let from = open_source(source, options)?;
    let (services, files) = providers::openers(keys)?;
    let keys = read_keys(&files)?;
    let mut openers = keys.openers();
    openers.push(&services);
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
    for suspect in &public.suspects {
        eprintln!("warning: {}", looks_secret(suspect));
    }
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
        println!("          opens: {}", recipients_cmd::words(recipient));
    }
    if let Some(problem) = &layer.problem {
        println!("          problem: {problem}");
    }
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
