//! `bailiwick doctor`: whether what stands around bailiwick on this machine is set up so that its promises hold.

mod change;
mod checks;
mod diff;

use std::path::{Path, PathBuf};

use clap::{Args, Subcommand};
use serde::Serialize;

use self::checks::Setup;
use crate::{
    commands::plugin::oci_runtime,
    output::{CommandError, Exit, Format, table, write_out},
};

/// Checks how this machine is set up.
#[derive(Debug, Args)]
pub(crate) struct DoctorArgs {
    #[command(subcommand)]
    command: DoctorCommand,
}

#[derive(Debug, Subcommand)]
enum DoctorCommand {
    /// Checks that containerd leads every container through the start gate, and every encrypted layer to the decoder.
    ///
    /// Exit code 0: all is right; 1: something is wrong. What containerd was told since it was started counts from its next
    /// start only.
    ///
    /// Example: bailiwick doctor containerd --fix
    Containerd(ContainerdArgs),
}

#[derive(Debug, Args)]
struct ContainerdArgs {
    /// containerd's configuration.
    #[arg(
        long,
        value_name = "FILE",
        default_value = "/etc/containerd/config.toml"
    )]
    config: PathBuf,
    /// The agent's configuration.
    #[arg(long, value_name = "FILE", default_value = "/etc/bailiwick/agent.toml")]
    agent_config: PathBuf,
    /// The start gate, where the agent's configuration names none.
    #[arg(
        long,
        value_name = "PROGRAM",
        default_value = "/usr/local/sbin/bailiwick-runc"
    )]
    gate: PathBuf,
    /// Makes the start gate the program of every handler, after showing what changes.
    #[arg(long)]
    fix: bool,
    /// Does not ask before it writes.
    #[arg(long, requires = "fix")]
    yes: bool,
    /// How the result is written.
    #[arg(long, value_enum, default_value_t)]
    output: Format,
}

/// One thing that was looked at.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub(crate) struct Check {
    /// What.
    what: String,
    /// `ok` or `wrong`.
    state: State,
    /// What was found.
    found: String,
    /// What to change; absent if nothing.
    #[serde(skip_serializing_if = "Option::is_none")]
    change: Option<String>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
enum State {
    Ok,
    Wrong,
}

#[derive(Debug, Serialize)]
struct Report {
    ok: bool,
    checks: Vec<Check>,
}

impl Check {
    fn ok(what: impl Into<String>, found: impl Into<String>) -> Self {
        Self {
            what: what.into(),
            state: State::Ok,
            found: found.into(),
            change: None,
        }
    }

    fn wrong(what: impl Into<String>, found: impl Into<String>, change: impl Into<String>) -> Self {
        Self {
            what: what.into(),
            state: State::Wrong,
            found: found.into(),
            change: Some(change.into()),
        }
    }
}

/// Runs the command.
pub(crate) fn run(args: &DoctorArgs) -> Result<Exit, CommandError> {
    let DoctorCommand::Containerd(args) = &args.command;
    let setup = Setup::read(&args.config, &args.agent_config, &args.gate);
    if args.fix {
        let gate = gate_program(&setup, &args.gate);
        is_ready(gate)?;
        change::fix(&args.config, gate, args.yes)?;
    }
    let checks = setup.checks();
    let ok = checks.iter().all(|check| check.state == State::Ok);
    args.output.print(&Report { ok, checks }, text)?;
    if ok {
        return Ok(Exit::Done);
    }
    if args.output == Format::Text {
        write_out("\nsomething is wrong: see docs/how/containerd.md")?;
    }
    Ok(Exit::Failed)
}

fn gate_program<'a>(setup: &'a Setup, default: &'a Path) -> &'a Path {
    setup
        .programs()
        .iter()
        .map(PathBuf::as_path)
        .find(|program| containers::gate::is_gate_name(program))
        .unwrap_or(default)
}

/// A gate that is not there, or refuses its own configuration, would let no container start at all.
fn is_ready(gate: &Path) -> Result<(), CommandError> {
    let not_ready = |hint: String| {
        let what = format!(
            "`{}` is not ready: with it in containerd's configuration no container would start",
            gate.display()
        );
        CommandError::failed(what).hint(hint)
    };
    if let Err(error) = std::fs::metadata(gate) {
        let hint = format!("ln -s /usr/bin/bailiwick {}", gate.display());
        return Err(not_ready(hint).caused_by(&error));
    }
    let file = oci_runtime::config::beside(gate.as_os_str());
    let hint = || format!("write `{}.toml` with `runtime` and `gated`", gate.display());
    match oci_runtime::config::GateConfig::read(&file) {
        Ok(_) => Ok(()),
        Err(error) => Err(not_ready(hint()).caused_by(&error)),
    }
}

fn text(report: &Report) -> String {
    let rows: Vec<Vec<String>> = report
        .checks
        .iter()
        .map(|check| {
            let state = match check.state {
                State::Ok => "ok",
                State::Wrong => "WRONG",
            };
            vec![
                state.to_owned(),
                check.what.clone(),
                check.found.clone(),
                check.change.clone().unwrap_or_default(),
            ]
        })
        .collect();
    table(&["state", "what", "found", "change"], &rows)
}
