//! `bailiwick plugin containerd-decoder`, also `ctd-decoder`: the stream processor that containerd starts for each encrypted
//! layer. Ciphertext comes on standard input, what layer it is on descriptor 3, plaintext goes to standard output.
//!
//! It blocks on everything and builds no run-time: a pull with many layers starts many of these.

mod decode;
mod keys;
mod payload;
mod refusal;
mod spool;

use std::{
    io::{self, Write},
    os::unix::process::CommandExt,
    path::PathBuf,
    process::{Command, ExitCode, Stdio},
    thread,
    time::Duration,
};

use clap::Args;
use rpc::key_socket::KeyClient;

use self::{
    decode::{Unbound, decode},
    keys::{AgentKeys, JweKeys, KeySource, PlaceSource},
    payload::Payload,
    refusal::Refusal,
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
    /// Folder with private keys (PEM, DER or JWK) for layers that are encrypted to keys of developers. Where an agent runs, a
    /// key that is bound to an image opens a layer only in the images that the agent sees it in.
    #[arg(long, value_name = "DIR")]
    decryption_keys_path: Option<PathBuf>,
    #[command(flatten)]
    trust: TrustArgs,
    /// Releases plaintext before all of it was verified even where the key is not bound to the layer.
    #[arg(long)]
    stream: bool,
    /// Folder in which large unbound layers are put aside, still encrypted, until they were verified.
    #[arg(long, value_name = "DIR", default_value = "/var/tmp")]
    spool: PathBuf,
}

/// Runs the decoder. Call it before anything else was opened: descriptor 3 is the payload.
pub(crate) fn run(args: &ContainerdDecoderArgs) -> ExitCode {
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

fn decrypt(args: &ContainerdDecoderArgs) -> Result<(), Refusal> {
    let mut payload = Payload::parse(&payload::read_descriptor_3()?)?;
    let agent = AgentKeys {
        client: KeyClient::new(&args.socket),
        trust: args.trust.trust().map_err(Refusal::Option)?,
    };
    let agent_is_there = agent.client.is_there();
    let jwe = JweKeys {
        folder: args.decryption_keys_path.clone(),
        sent: std::mem::take(&mut payload.keys),
        agent: agent_is_there.then(|| Box::new(agent.client.clone()) as Box<dyn PlaceSource>),
    };
    let is_only_source = jwe.folder.is_none() && jwe.sent.is_empty();
    let mut sources: Vec<&dyn KeySource> = Vec::new();
    // Where an agent runs, its answer comes first and stands: private keys on the node do not overrule a denial.
    if agent_is_there || is_only_source {
        sources.push(&agent);
    }
    sources.push(&jwe);
    let unbound = match args.stream {
        true => Unbound::Stream,
        false => Unbound::VerifyFirst(Spool::in_folder(args.spool.clone())),
    };
    let (mut ciphertext, mut plaintext) = (io::stdin().lock(), unbuffered_stdout()?);
    decode(
        &payload,
        &sources,
        &unbound,
        &mut ciphertext,
        &mut plaintext,
    )
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

fn refuse(refusal: &Refusal) -> ExitCode {
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
const HOLD: Duration = Duration::from_millis(200);
