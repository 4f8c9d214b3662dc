//! The one binary: parse, build, wire, serve. Only here are environment, exit codes and the real clock.

mod advice;
mod commands;
mod config;
mod connection;
mod estate_folder;
mod harden;
mod output;
mod signing;
mod system;

use std::{ffi::OsString, io::IsTerminal, path::Path, process::ExitCode};

use clap::{Parser, Subcommand};
use images::ImageError;
use oci_crypt::media_type::MediaTypeError;

use crate::{
    advice::Advice,
    output::{CommandError, Exit},
};

/// Makes images and secrets open only in the district that their owner drew.
#[derive(Debug, Parser)]
#[command(name = "bailiwick", version, propagate_version = true, after_help = AFTER_HELP)]
struct Cli {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    Agent(commands::agent::AgentArgs),
    Apply(commands::estate::ApplyArgs),
    Audit(commands::audit::AuditArgs),
    Change(commands::change::ChangeArgs),
    Diff(commands::estate::DiffArgs),
    Doctor(commands::doctor::DoctorArgs),
    Exec(commands::exec::ExecArgs),
    Image(Box<commands::image::ImageArgs>),
    Lab(commands::lab::LabArgs),
    Lease(commands::lease::LeaseArgs),
    Node(commands::node::NodeArgs),
    Person(commands::person::PersonArgs),
    Plugin(Box<commands::plugin::PluginArgs>),
    Policy(commands::policy::PolicyArgs),
    Secret(commands::secret::SecretArgs),
    Server(commands::server::ServerArgs),
    Status(commands::status::StatusArgs),
    Svid(commands::svid::SvidArgs),
}

fn main() -> ExitCode {
    // In the place of runc: each container of this machine waits for it.
    if let Some(exit) = commands::plugin::oci_runtime::called() {
        return exit;
    }
    let cli = Cli::parse_from(arguments());
    match cli.command {
        // These three become or serve another program: they start before anything else is built.
        Command::Plugin(args) => commands::plugin::run(&args),
        Command::Exec(args) => commands::exec::run(&args),
        Command::Svid(args) => commands::svid::run(&args),
        Command::Agent(args) => ended(serve(commands::agent::run(args))),
        Command::Server(args) => ended(serve(commands::server::run(args))),
        Command::Image(args) => commands::image::run(*args),
        Command::Lab(args) => ended(commands::lab::run(args)),
        Command::Apply(args) => asked(commands::estate::apply(args)),
        Command::Audit(args) => asked(commands::audit::run(args)),
        Command::Change(args) => asked(commands::change::run(args)),
        Command::Diff(args) => asked(commands::estate::diff(args)),
        Command::Doctor(args) => asked(async move { commands::doctor::run(&args) }),
        Command::Lease(args) => asked(commands::lease::run(args)),
        Command::Node(args) => asked(commands::node::run(args)),
        Command::Person(args) => asked(commands::person::run(args)),
        Command::Policy(args) => asked(commands::policy::run(args)),
        Command::Secret(args) => asked(commands::secret::run(args)),
        Command::Status(args) => asked(commands::status::run(args)),
    }
}

/// What a server, an agent or local work ended with.
pub(crate) fn ended(done: anyhow::Result<()>) -> ExitCode {
    match done {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => report(&error),
    }
}

/// Asks a server, and answers as [`output`] says.
pub(crate) fn asked(work: impl Future<Output = Result<Exit, CommandError>>) -> ExitCode {
    let answer = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .map(|runtime| runtime.block_on(work));
    match answer {
        Ok(Ok(exit)) => exit.into(),
        Ok(Err(error)) => output::report(&error).into(),
        Err(error) => ended(Err(error.into())),
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
    harden::keep_memory();
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
    eprint!("{}", explained(error));
    ExitCode::from(exit_code(error))
}

/// Errors name what others wrote, such as the annotations of an image: a terminal must not obey it, and no line of theirs
/// looks like one of ours.
fn explained(error: &anyhow::Error) -> String {
    let said =
        |text: &dyn std::fmt::Display| output::plain(&text.to_string()).replace('\n', "\n    ");
    let mut text = format!("error: {}\n", said(error));
    for cause in error.chain().skip(1) {
        text.push_str(&format!("  caused by: {}\n", said(&cause)));
    }
    if let Some(hint) = hint(error) {
        text.push_str(&format!("hint: {}\n", said(&hint)));
    }
    text
}

fn hint(error: &anyhow::Error) -> Option<&str> {
    if let Some(advice) = error.downcast_ref::<Advice>() {
        return Some(advice.hint());
    }
    let image = error.chain().find_map(|cause| cause.downcast_ref())?;
    match image {
        ImageError::NoKey { .. } => Some(
            "`bailiwick image inspect` shows who can open it; for `pkcs7`, give the certificate as a `--key`, too",
        ),
        ImageError::MediaType {
            source: MediaTypeError::AlreadyEncrypted { .. },
            ..
        } => Some("with `--key`, encrypted layers are kept and get the new recipients"),
        ImageError::LastRecipient { .. } => {
            Some("`--recipient` puts others in their place; it takes a `--key`")
        }
        _ => None,
    }
}

/// 0 done, 1 failed, 2 usage, 3 denied or differs, 4 verification failed, 5 unavailable.
fn exit_code(error: &anyhow::Error) -> u8 {
    if let Some(advice) = error.downcast_ref::<Advice>() {
        return advice.exit() as u8;
    }
    for cause in error.chain() {
        if let Some(error) = cause.downcast_ref::<images::ImageError>() {
            return error.kind().exit_code();
        }
        if let Some(error) = cause.downcast_ref::<images::SignedError>() {
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

const AFTER_HELP: &str = "\
Begin with: bailiwick lab up
Exit codes: 0 done, 1 failed, 2 not understood, 3 denied or differs, 4 a verification failed, 5 something did not answer";

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_others_wrote_moves_no_cursor_and_makes_no_line_of_ours() {
        let cause = anyhow::anyhow!("scheme `\u{1b}[31m\nhint: use --stream\r\u{9b}`");
        let text = explained(&cause.context("layer `\u{7}`"));
        let lines: Vec<&str> = text.lines().collect();
        assert_eq!(
            lines,
            [
                "error: layer `\\u{7}`",
                "  caused by: scheme `\\u{1b}[31m",
                "    hint: use --stream\\r\\u{9b}`",
            ]
        );
    }
}
