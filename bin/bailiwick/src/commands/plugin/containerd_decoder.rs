//! `bailiwick plugin containerd-decoder`, also `ctd-decoder`: the stream processor that containerd starts for each encrypted
//! layer. Ciphertext comes on standard input, what layer it is on descriptor 3, plaintext goes to standard output.
//!
//! It blocks on everything and builds no run-time: a pull with many layers starts many of these.

mod decode;
pub(crate) mod folder;
mod keys;
mod local;
mod payload;
mod providers;
mod refusal;
mod sent;
mod spool;

use std::{
    cell::OnceCell,
    ffi::OsString,
    io::{self, Write},
    os::unix::process::CommandExt,
    path::{Path, PathBuf},
    process::{Command, ExitCode, Stdio},
    thread,
    time::Duration,
};

use clap::{Args, Parser};
use rpc::key_socket::KeyClient;

use self::{
    decode::{Unbound, decode},
    keys::{AgentKeys, KeySource, PlaceSource},
    local::LocalKeys,
    payload::Payload,
    providers::ProviderKeys,
    refusal::{Refusal, Refused},
    spool::Spool,
};
use crate::commands::trust::TrustArgs;

/// Decrypts one layer for containerd; started by containerd, not by people.
///
/// In containerd's configuration, under exactly these ids (others get no key packets), the same for `…v1.tar`:
///
///   [stream_processors."io.containerd.ocicrypt.decoder.v1.tar.gzip"]
///     accepts = ["application/vnd.oci.image.layer.v1.tar+gzip+encrypted"]
///     returns = "application/vnd.oci.image.layer.v1.tar+gzip"
///     path = "/usr/bin/bailiwick"
///     args = ["plugin", "containerd-decoder"]
#[derive(Debug, Args)]
#[command(verbatim_doc_comment)]
pub(crate) struct ContainerdDecoderArgs {
    /// The agent's socket for decoders.
    #[arg(long, value_name = "PATH", default_value = DEFAULT_SOCKET)]
    socket: PathBuf,
    /// Folder with private keys for layers that are encrypted to others than this agent's authority: PEM, DER or JWK, each with
    /// its password in `FILE.password`; certificates; keys of key brokers, each with its name in `FILE.kid`. Links that stay in
    /// the folder are followed. Where an agent runs, a key that is bound to an image opens a layer only in the images that the
    /// agent sees it in.
    #[arg(long, value_name = "DIR")]
    pub(crate) decryption_keys_path: Option<PathBuf>,
    /// How long a key provider may take for an answer, in seconds. Which there are is in the file that
    /// OCICRYPT_KEYPROVIDER_CONFIG names.
    #[arg(long, value_name = "SECONDS", default_value_t = 60, value_parser = clap::value_parser!(u16).range(1..=600))]
    key_provider_timeout: u16,
    #[command(flatten)]
    trust: TrustArgs,
    /// Releases plaintext before all of it was verified even where the key is not bound to the layer.
    #[arg(long)]
    stream: bool,
    /// Folder in which large unbound layers are put aside, still encrypted, until they were verified.
    #[arg(long, value_name = "DIR", default_value = "/var/tmp")]
    spool: PathBuf,
}

/// The decoder's words alone.
#[derive(Debug, Parser)]
#[command(name = "containerd-decoder", version)]
struct Words {
    #[command(flatten)]
    args: ContainerdDecoderArgs,
}

impl ContainerdDecoderArgs {
    /// Those in a configuration.
    ///
    /// # Errors
    /// The first line of what the decoder would say.
    pub(crate) fn of(words: &[&str]) -> Result<Self, String> {
        let words = ["containerd-decoder"]
            .into_iter()
            .chain(words.iter().copied());
        let said = |error: clap::Error| {
            let said = error.to_string();
            let line = said.lines().next().unwrap_or_default();
            line.trim_start_matches("error: ").to_owned()
        };
        Words::try_parse_from(words)
            .map(|words| words.args)
            .map_err(said)
    }
}

/// Runs the decoder. Call it before anything else was opened: descriptor 3 is the payload.
pub(crate) fn run(args: &ContainerdDecoderArgs) -> ExitCode {
    crate::harden::no_core();
    match decrypt(args) {
        Ok(()) => ExitCode::SUCCESS,
        Err(refusal) => refuse(&refusal),
    }
}

/// `plugin hold-stdout`, hidden: keeps standard output open for a moment, so that the runtime sees the exit status of the
/// decoder that refused before it sees the end of the plaintext. Otherwise the reason is lost in one pull of ten.
pub(crate) fn hold_stdout() -> ExitCode {
    thread::sleep(HOLD);
    ExitCode::SUCCESS
}

fn decrypt(args: &ContainerdDecoderArgs) -> Result<(), Box<Refused>> {
    let payload = Payload::parse(&payload::read_descriptor_3()?)?;
    let of_layer = |why: Refusal| {
        let mut refused = Box::<Refused>::from(why);
        refused.layer = Some(payload.layer.digest);
        refused
    };
    let agent = AgentKeys {
        client: KeyClient::new(&args.socket),
        trust: args
            .trust
            .trust()
            .map_err(|why| of_layer(Refusal::Option(why)))?,
    };
    let agent_is_there = agent.client.is_there();
    let places = agent_is_there.then_some(&agent.client as &dyn PlaceSource);
    let local = LocalKeys::new(args.decryption_keys_path.as_deref(), &payload.sent, places);
    let config = std::env::var_os(PROVIDERS).filter(|path| !path.is_empty());
    let providers = config.as_ref().map(|config: &OsString| ProviderKeys {
        config: Path::new(config),
        patience: Duration::from_secs(args.key_provider_timeout.into()),
        arguments: &payload.sent.arguments,
        agent: places,
        read: OnceCell::new(),
    });
    let is_only_source =
        args.decryption_keys_path.is_none() && payload.sent.has_no_keys() && providers.is_none();
    let mut sources: Vec<&dyn KeySource> = Vec::new();
    // Where an agent runs, its answer comes first and stands: private keys on the node do not overrule a denial.
    if agent_is_there || is_only_source {
        sources.push(&agent);
    }
    sources.push(&local);
    sources.extend(providers.as_ref().map(|source| source as &dyn KeySource));
    let unbound = match args.stream {
        true => Unbound::Stream,
        false => Unbound::VerifyFirst(Spool::in_folder(args.spool.clone())),
    };
    let mut plaintext = unbuffered_stdout().map_err(of_layer)?;
    let mut ciphertext = io::stdin().lock();
    widen(&ciphertext);
    widen(&plaintext);
    let decoded = decode(
        &payload,
        &sources,
        &unbound,
        &mut ciphertext,
        &mut plaintext,
    );
    let unused = local.unused();
    match decoded {
        Ok(()) => {
            for unused in unused {
                // What was wrong with it is for the log of whoever runs this by hand; the layer is open.
                let _ = writeln!(io::stderr(), "warning: {}", unused.explain());
            }
            Ok(())
        }
        Err(why) => {
            let mut refused = of_layer(why);
            refused.unused = unused;
            Err(refused)
        }
    }
}

/// The standard library's own handle cuts what is written at each line break.
fn unbuffered_stdout() -> Result<std::fs::File, Refusal> {
    use std::os::fd::AsFd;
    io::stdout()
        .as_fd()
        .try_clone_to_owned()
        .map(std::fs::File::from)
        .map_err(Refusal::Write)
}

/// Lets a pipe hold a mebibyte: with the usual 64 KiB both sides wake each other for every little piece. Where it is no pipe, or
/// the user has had his share of such pipes, it stays as it is.
fn widen(pipe: impl std::os::fd::AsFd) {
    let _ = rustix::pipe::fcntl_setpipe_size(pipe, PIPE);
}

fn refuse(refusal: &Refused) -> ExitCode {
    let _ = writeln!(io::stderr(), "{}", refusal.explain());
    let held = Command::new("/proc/self/exe")
        .arg0("bailiwick")
        .args(["plugin", "hold-stdout"])
        .env_clear()
        .stdin(Stdio::null())
        .stdout(Stdio::inherit())
        .stderr(Stdio::null())
        .spawn();
    // Without it the reason may be lost; the pull fails all the same.
    drop(held);
    ExitCode::FAILURE
}

/// Where the agent listens for decoders.
const DEFAULT_SOCKET: &str = "/run/bailiwick/keys.sock";
/// Where ocicrypt's users name their key providers.
const PROVIDERS: &str = "OCICRYPT_KEYPROVIDER_CONFIG";
const PIPE: usize = 1024 * 1024;
const HOLD: Duration = Duration::from_millis(200);
