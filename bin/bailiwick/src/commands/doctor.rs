//! `bailiwick doctor`: whether what stands around bailiwick on this machine is set up so that its promises hold.

mod change;
mod checks;
mod crio;
mod decoder;
mod diff;
mod keys;
mod version;

use std::path::{Path, PathBuf};

use clap::{Args, Subcommand};
use serde::Serialize;

use self::{checks::Setup, crio::Crio, version::Version};
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
    /// Checks what CRI-O opens encrypted layers with: its folder of keys, its key providers, its runtime handlers.
    ///
    /// Exit code 0: all is right; 1: something is wrong. Nothing is changed.
    ///
    /// Example: bailiwick doctor cri-o
    #[command(name = "cri-o")]
    CriO(CriOArgs),
}

#[derive(Debug, Args)]
struct CriOArgs {
    /// CRI-O's configuration.
    #[arg(long, value_name = "FILE", default_value = "/etc/crio/crio.conf")]
    config: PathBuf,
    /// The folder of its drop-ins.
    #[arg(long, value_name = "DIR", default_value = "/etc/crio/crio.conf.d")]
    config_dir: PathBuf,
    /// Units, folders of drop-ins for them, and files with CRI-O's environment; the first that sets a variable counts.
    #[arg(long = "unit", value_name = "FILE|DIR", default_values = UNITS)]
    units: Vec<PathBuf>,
    /// How the result is written.
    #[arg(long, value_enum, default_value_t)]
    output: Format,
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
    /// No agent runs here: images are for keys that lie on this node and for key providers. Neither it nor the start gate,
    /// which asks it, is looked for.
    #[arg(long, conflicts_with_all = ["fix", "agent_config", "gate"])]
    no_agent: bool,
    /// containerd's program, asked for its version.
    #[arg(long, value_name = "PROGRAM", default_value = "containerd")]
    containerd: PathBuf,
    /// Makes the start gate the program of every handler, and adds what leads layers to the decoder, after showing what
    /// changes.
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
    /// `ok`, `note` or `wrong`.
    state: State,
    /// What was found.
    found: String,
    /// What to change; absent if nothing.
    #[serde(skip_serializing_if = "Option::is_none")]
    change: Option<String>,
    /// What to write into the configuration; absent if it is not one thing.
    #[serde(skip_serializing_if = "Option::is_none")]
    write: Option<String>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
enum State {
    Ok,
    /// Worth knowing; whether it is wrong depends on what the node is for.
    Note,
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
            write: None,
        }
    }

    fn wrong(what: impl Into<String>, found: impl Into<String>, change: impl Into<String>) -> Self {
        Self {
            state: State::Wrong,
            change: Some(change.into()),
            ..Self::ok(what, found)
        }
    }

    fn note(what: impl Into<String>, found: impl Into<String>, change: impl Into<String>) -> Self {
        Self {
            state: State::Note,
            ..Self::wrong(what, found, change)
        }
    }

    fn advising(self, text: impl Into<String>) -> Self {
        Self {
            write: Some(text.into()),
            ..self
        }
    }

    fn is_wrong(&self) -> bool {
        self.state == State::Wrong
    }
}

/// Runs the command.
pub(crate) fn run(args: &DoctorArgs) -> Result<Exit, CommandError> {
    match &args.command {
        DoctorCommand::Containerd(args) => containerd(args),
        DoctorCommand::CriO(args) => {
            let crio = Crio {
                config: &args.config,
                drop_ins: &args.config_dir,
                units: &args.units,
                processes: Path::new("/proc"),
            };
            answer(args.output, crio.checks(), "docs/how/cri-o.md")
        }
    }
}

fn containerd(args: &ContainerdArgs) -> Result<Exit, CommandError> {
    let setup = Setup::read(&args.config, &args.agent_config, &args.gate);
    let version = Version::ask(&args.containerd);
    if args.fix {
        let gate = gate_program(&setup, &args.gate);
        is_ready(gate)?;
        change::fix(&args.config, gate, version, args.yes)?;
    }
    let checks = match args.no_agent {
        true => setup.checks_without_agent(version),
        false => setup.checks(version),
    };
    answer(args.output, checks, "docs/how/containerd.md")
}

fn answer(output: Format, checks: Vec<Check>, page: &str) -> Result<Exit, CommandError> {
    let ok = !checks.iter().any(Check::is_wrong);
    output.print(&Report { ok, checks }, text)?;
    if ok {
        return Ok(Exit::Done);
    }
    if output == Format::Text {
        write_out(&format!("\nsomething is wrong: see {page}"))?;
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
                State::Note => "note",
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
    let mut text = table(&["state", "what", "found", "change"], &rows);
    for check in &report.checks {
        if let Some(write) = &check.write {
            text.push_str(&format!("\n# {}\n{write}", check.what));
        }
    }
    text
}

/// Where systemd and distributions keep CRI-O's environment, the strongest first.
const UNITS: [&str; 7] = [
    "/etc/systemd/system/crio.service.d",
    "/run/systemd/system/crio.service.d",
    "/usr/lib/systemd/system/crio.service.d",
    "/etc/systemd/system/crio.service",
    "/usr/lib/systemd/system/crio.service",
    "/etc/default/crio",
    "/etc/sysconfig/crio",
];
