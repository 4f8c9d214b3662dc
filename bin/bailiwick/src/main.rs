//! The one binary: parse, build, wire, serve. Only here are environment, exit codes and the real clock.

mod commands;
mod config;
mod system;

use std::{ffi::OsString, io::IsTerminal, path::Path, process::ExitCode};

use clap::{Parser, Subcommand};

/// Makes images and secrets open only in the district that their owner drew.
#[derive(Debug, Parser)]
#[command(name = "bailiwick", version, propagate_version = true)]
struct Cli {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    Agent(commands::agent::AgentArgs),
    Exec(commands::exec::ExecArgs),
    Image(commands::image::ImageArgs),
    Lab(commands::lab::LabArgs),
    Plugin(commands::plugin::PluginArgs),
    Server(commands::server::ServerArgs),
    Svid(commands::svid::SvidArgs),
}

fn main() -> ExitCode {
    let cli = Cli::parse_from(arguments());
    let done = match cli.command {
        // These three become or serve another program: they start before anything else is built.
        Command::Plugin(args) => return commands::plugin::run(&args),
        Command::Exec(args) => return commands::exec::run(&args),
        Command::Svid(args) => return commands::svid::run(&args),
        Command::Agent(args) => serve(commands::agent::run(args)),
        Command::Server(args) => serve(commands::server::run(args)),
        Command::Image(args) => commands::image::run(args),
        Command::Lab(args) => commands::lab::run(args),
    };
    match done {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => report(&error),
    }
}

/// The command line; called as `ctd-decoder`, it is that plug-in.
fn arguments() -> Vec<OsString> {
    let mut arguments: Vec<OsString> = std::env::args_os().collect();
    let called = arguments.first().map(Path::new).and_then(Path::file_name);
    if called.is_some_and(|name| name == "ctd-decoder") {
        arguments.splice(
            0..1,
            ["bailiwick", "plugin", "containerd-decoder"].map(OsString::from),
        );
    }
    arguments
}

/// Runs a server or an agent: with a log on stderr.
fn serve(work: impl Future<Output = anyhow::Result<()>>) -> anyhow::Result<()> {
    tracing_subscriber::fmt()
        .with_writer(std::io::stderr)
        .with_ansi(std::io::stderr().is_terminal())
        .with_max_level(tracing::Level::INFO)
        .init();
    block_on(work)
}

fn block_on(work: impl Future<Output = anyhow::Result<()>>) -> anyhow::Result<()> {
    tokio::runtime::Builder::new_multi_thread()
        .enable_all()
        .build()?
        .block_on(work)
}

/// Waits for the signal to stop.
pub(crate) async fn shutdown() {
    use tokio::signal::unix::{SignalKind, signal};
    let Ok(mut terminate) = signal(SignalKind::terminate()) else {
        return;
    };
    tokio::select! {
        _ = terminate.recv() => {}
        _ = tokio::signal::ctrl_c() => {}
    }
}

fn report(error: &anyhow::Error) -> ExitCode {
    eprintln!("error: {error}");
    for cause in error.chain().skip(1) {
        eprintln!("  caused by: {cause}");
    }
    ExitCode::from(exit_code(error))
}

/// 0 done, 1 failed, 2 usage, 3 denied or differs, 4 verification failed, 5 unavailable.
fn exit_code(error: &anyhow::Error) -> u8 {
    for cause in error.chain() {
        if let Some(error) = cause.downcast_ref::<images::ImageError>() {
            return error.kind().exit_code();
        }
        if let Some(error) = cause.downcast_ref::<images::RecipientError>() {
            return error.kind().exit_code();
        }
        if let Some(error) = cause.downcast_ref::<registry::RegistryError>() {
            return error.kind().exit_code();
        }
    }
    1
}
