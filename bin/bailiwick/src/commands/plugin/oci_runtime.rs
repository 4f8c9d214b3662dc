//! The start gate: the binary under the name `bailiwick-runc`, which containerd calls instead of runc. It looks at what the
//! runtime is told to do, marks or asks where that matters, and then becomes the real runtime, with the same arguments,
//! environment and descriptors.
//!
//! A container without opened layers must not wait: neither a run-time nor the command line's parser is built, and no agent
//! is asked. Whatever is not understood of a call that makes a container or lets a hand into one is refused.

mod arguments;
mod bundle;
pub(crate) mod config;
mod decide;
pub(crate) mod refusal;

use std::{
    env,
    ffi::{OsStr, OsString},
    os::unix::process::CommandExt,
    path::{Path, PathBuf},
    process::{Command, ExitCode},
};

use clap::Args;
use containers::gate::is_gate_name;

use self::{arguments::Call, config::GateConfig, decide::Gate, refusal::Refusal};

/// Called by a container runtime instead of runc; usually through a link named `bailiwick-runc`, which needs no arguments of
/// its own and reads `bailiwick-runc.toml` beside it, or `/etc/bailiwick/oci-runtime.toml`.
#[derive(Debug, Args)]
pub(crate) struct OciRuntimeArgs {
    /// The gate's configuration.
    #[arg(long, value_name = "FILE", default_value = config::DEFAULT)]
    config: PathBuf,
    /// What runc is to be told.
    #[arg(last = true, value_name = "RUNC-ARGS")]
    arguments: Vec<OsString>,
}

/// Runs `bailiwick plugin oci-runtime`.
pub(crate) fn run(args: &OciRuntimeArgs) -> ExitCode {
    pass(&args.config, &args.arguments)
}

/// Runs the gate if the program was called by one of its names; this is the first thing that `main` does.
pub(crate) fn called() -> Option<ExitCode> {
    let mut words = env::args_os();
    let name = words.next().filter(|name| is_gate_name(Path::new(name)))?;
    let arguments: Vec<OsString> = words.collect();
    Some(pass(&config::beside(&name), &arguments))
}

/// Judges the call and becomes the runtime; returns only if it must not, or can't.
fn pass(config: &Path, arguments: &[OsString]) -> ExitCode {
    let (call, log) = arguments::read(arguments);
    let refusal = match passed(config, call) {
        Ok(runtime) => become_runtime(&runtime, arguments),
        Err(refusal) => refusal,
    };
    refusal.tell(log.as_ref());
    ExitCode::FAILURE
}

fn passed(config: &Path, call: Result<Call, Refusal>) -> Result<PathBuf, Refusal> {
    let config = GateConfig::read(config)?;
    match call? {
        Call::Unguarded => {}
        Call::Guarded(call) => Gate::new(&config).judge(&call)?,
    }
    Ok(config.runtime)
}

/// Nothing that this program opened stays open: the standard library opens everything for itself alone.
fn become_runtime(runtime: &Path, arguments: &[impl AsRef<OsStr>]) -> Refusal {
    let source = Command::new(runtime).args(arguments).exec();
    Refusal::Runtime {
        runtime: runtime.to_owned(),
        source,
    }
}
