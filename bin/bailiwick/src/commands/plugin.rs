//! `bailiwick plugin …`: what runtimes and image tools call. Not for people, and started before any run-time.

pub(crate) mod containerd_decoder;
pub(crate) mod oci_runtime;
pub(crate) mod ocicrypt_keyprovider;

use std::process::ExitCode;

use clap::{Args, Subcommand};

/// Called by container runtimes and image tools.
#[derive(Debug, Args)]
pub(crate) struct PluginArgs {
    #[command(subcommand)]
    command: PluginCommand,
}

#[derive(Debug, Subcommand)]
enum PluginCommand {
    ContainerdDecoder(containerd_decoder::ContainerdDecoderArgs),
    OciRuntime(oci_runtime::OciRuntimeArgs),
    OcicryptKeyprovider(ocicrypt_keyprovider::OcicryptKeyproviderArgs),
    #[command(hide = true)]
    HoldStdout,
    /// Loads a hardware module and uses one key of it, for the process that started this one.
    #[cfg(feature = "pkcs11")]
    #[command(hide = true)]
    Pkcs11Token,
}

/// Runs the command.
pub(crate) fn run(args: &PluginArgs) -> ExitCode {
    match &args.command {
        PluginCommand::ContainerdDecoder(args) => containerd_decoder::run(args),
        PluginCommand::OciRuntime(args) => oci_runtime::run(args),
        PluginCommand::OcicryptKeyprovider(args) => ocicrypt_keyprovider::run(args),
        PluginCommand::HoldStdout => containerd_decoder::hold_stdout(),
        #[cfg(feature = "pkcs11")]
        PluginCommand::Pkcs11Token => crate::ended(pkcs11::answer_questions().map_err(Into::into)),
    }
}
