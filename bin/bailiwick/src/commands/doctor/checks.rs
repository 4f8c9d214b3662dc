//! What is looked at, and what would be right.

use std::{
    fs,
    os::unix::fs::{FileTypeExt, PermissionsExt},
    path::{Path, PathBuf},
};

use containers::gate::{
    Gated,
    handlers::{self, Leads},
};
use rpc::gate_socket::GateClient;

use super::{Check, decoder, version::Version};
use crate::commands::plugin::oci_runtime::config::{GateConfig, beside};

/// The files that have to fit together.
#[derive(Debug)]
pub(super) struct Setup {
    containerd: PathBuf,
    agent_config: PathBuf,
    agent: Result<toml::Table, String>,
    programs: Vec<PathBuf>,
}

impl Setup {
    /// Reads the agent's configuration; `gate` counts where that names no program.
    pub(super) fn read(containerd: &Path, agent_config: &Path, gate: &Path) -> Self {
        let agent = fs::read_to_string(agent_config)
            .map_err(|error| error.to_string())
            .and_then(|text| {
                text.parse::<toml::Table>()
                    .map_err(|error| error.message().to_owned())
            });
        let named = agent
            .as_ref()
            .ok()
            .and_then(|agent| section(agent, "programs"));
        let programs: Vec<PathBuf> = named
            .and_then(toml::Value::as_array)
            .into_iter()
            .flatten()
            .filter_map(|program| program.as_str().map(PathBuf::from))
            .collect();
        Self {
            containerd: containerd.to_owned(),
            agent_config: agent_config.to_owned(),
            agent,
            programs: if programs.is_empty() {
                vec![gate.to_owned()]
            } else {
                programs
            },
        }
    }

    /// The start gate's programs.
    pub(super) fn programs(&self) -> &[PathBuf] {
        &self.programs
    }

    /// All checks, in the order in which they are worth reading.
    pub(super) fn checks(&self, version: Option<Version>) -> Vec<Check> {
        let mut checks = self.handlers();
        for program in &self.programs {
            checks.extend(self.wrapper(program));
        }
        checks.extend(self.decoder(version));
        checks.extend(self.agents_part());
        checks
    }

    /// Those for a node on which no agent runs: nobody would answer a start gate.
    pub(super) fn checks_without_agent(&self, version: Option<Version>) -> Vec<Check> {
        match handlers::read(&self.containerd, &self.programs) {
            Ok(_) => self.decoder(version),
            Err(error) => vec![not_read("containerd's configuration", &error)],
        }
    }

    fn handlers(&self) -> Vec<Check> {
        let found = match handlers::read(&self.containerd, &self.programs) {
            Ok(found) => found,
            Err(error) => {
                return vec![not_read("runtime handlers", &error)];
            }
        };
        let row = |handler: &handlers::Handler| {
            let what = format!("runtime handler {}", handler.name);
            let set = || {
                format!(
                    "set its `options.BinaryName` to `{}` in `{}`, or use --fix",
                    self.programs
                        .first()
                        .map(|path| path.display().to_string())
                        .unwrap_or_default(),
                    handler.file.display(),
                )
            };
            match &handler.leads {
                Leads::Gate => Check::ok(what, "leads to the start gate"),
                Leads::BuiltIn => Check::wrong(what, "calls runc itself", set()),
                Leads::Program(program) => {
                    let link = "make another link named bailiwick-runc, with this program as `runtime` in its configuration";
                    Check::wrong(
                        what,
                        format!("calls `{program}`"),
                        format!("{}; {link}", set()),
                    )
                }
                Leads::OtherRuntime(kind) => Check::wrong(
                    what,
                    format!("is of another kind: `{kind}`"),
                    "remove it: it calls no runc, so the start gate can't stand before it",
                ),
            }
        };
        found.iter().map(row).collect()
    }

    fn wrapper(&self, program: &Path) -> Vec<Check> {
        let what = format!("start gate {}", program.display());
        let own = std::env::current_exe().and_then(fs::canonicalize);
        let mut checks = vec![match (fs::canonicalize(program), own) {
            (Err(error), _) => Check::wrong(
                &what,
                error.to_string(),
                format!("ln -s /usr/bin/bailiwick {}", program.display()),
            ),
            (Ok(_), _) if !containers::gate::is_gate_name(program) => Check::wrong(
                &what,
                "has a name under which it is no gate",
                "call the link bailiwick-runc",
            ),
            (Ok(found), Ok(own)) if found != own => Check::wrong(
                &what,
                format!("is `{}`, which is not this program", found.display()),
                "link it to the bailiwick that the agent runs",
            ),
            (Ok(found), _) => Check::ok(&what, format!("is `{}`", found.display())),
        }];
        let file = beside(program.as_os_str());
        match GateConfig::read(&file) {
            Ok(config) => checks.extend(self.gate_config(&file, &config)),
            Err(error) => checks.push(Check::wrong(
                "start gate's configuration",
                error.to_string(),
                format!(
                    "write `{}.toml` with `runtime` and `gated`",
                    program.display()
                ),
            )),
        }
        checks
    }

    fn gate_config(&self, file: &Path, config: &GateConfig) -> Vec<Check> {
        let name = file.display();
        let is_program = fs::metadata(&config.runtime)
            .is_ok_and(|found| found.is_file() && found.permissions().mode() & 0o111 != 0);
        let runtime = config.runtime.display().to_string();
        let mut checks = vec![
            Check::ok("start gate's configuration", name.to_string()),
            if is_program {
                Check::ok("runtime behind the gate", runtime)
            } else {
                Check::wrong(
                    "runtime behind the gate",
                    format!("`{runtime}` is no program"),
                    format!("name the real runc as `runtime` in `{name}`"),
                )
            },
            tmpfs(&config.state),
            match Gated::read(&config.gated) {
                Ok(gated) => Check::ok(
                    "list of opened layers",
                    format!("{} in `{}`", gated.layers().len(), config.gated.display()),
                ),
                Err(error) => Check::wrong(
                    "list of opened layers",
                    told(&error),
                    "only the agent writes it: restore it, and remove no entry while its layers lie on the disk",
                ),
            },
            self.answers(&config.socket),
        ];
        let same = [
            ("socket", &config.socket),
            ("state", &config.state),
            ("gated", &config.gated),
        ];
        checks.extend(
            same.into_iter()
                .filter_map(|(key, path)| self.same_as_agents(key, path, file)),
        );
        checks
    }

    /// Whether the agent's configuration says the same.
    fn same_as_agents(&self, key: &str, path: &Path, file: &Path) -> Option<Check> {
        let agents = section(self.agent.as_ref().ok()?, key)?.as_str()?;
        let what = format!("`{key}` of agent and gate");
        Some(if Path::new(agents) == path {
            Check::ok(what, agents)
        } else {
            Check::wrong(
                what,
                format!("`{agents}` and `{}`", path.display()),
                format!(
                    "write the same in `{}` and `{}`",
                    self.agent_config.display(),
                    file.display()
                ),
            )
        })
    }

    fn answers(&self, socket: &Path) -> Check {
        let is_socket = fs::metadata(socket).is_ok_and(|found| found.file_type().is_socket());
        match GateClient::new(socket).reach() {
            Ok(()) => Check::ok(
                "agent's gate socket",
                format!("answers on `{}`", socket.display()),
            ),
            Err(error) if is_socket => {
                Check::wrong("agent's gate socket", told(&error), "start the agent")
            }
            Err(error) => Check::wrong(
                "agent's gate socket",
                told(&error),
                format!(
                    "add `[gate]` to `{}` and start the agent",
                    self.agent_config.display()
                ),
            ),
        }
    }

    fn agents_part(&self) -> Vec<Check> {
        let name = self.agent_config.display();
        match &self.agent {
            Err(error) => vec![Check::wrong(
                "agent's configuration",
                format!("`{name}`: {error}"),
                "give the right file with --agent-config",
            )],
            Ok(agent) if !agent.contains_key("gate") => vec![Check::wrong(
                "agent's configuration",
                format!("`{name}` has no `[gate]`"),
                "add it: without it no data set's start gate counts",
            )],
            Ok(_) => vec![Check::ok("agent's configuration", name.to_string())],
        }
    }

    fn decoder(&self, version: Option<Version>) -> Vec<Check> {
        // What is wrong with the files is told with the handlers.
        let tables = self.tables();
        match tables.is_empty() {
            true => Vec::new(),
            false => decoder::checks(&tables, version),
        }
    }

    /// containerd's configuration and what it imports, in the order in which they count.
    pub(super) fn tables(&self) -> Vec<(PathBuf, toml::Table)> {
        let files = handlers::files(&self.containerd).unwrap_or_default();
        let parsed = files.into_iter();
        parsed
            .filter_map(|(path, text)| Some((path, text.parse().ok()?)))
            .collect()
    }
}

fn not_read(what: &str, error: &handlers::HandlersError) -> Check {
    let change = "write a configuration of version 2 or 3: `containerd config default` prints one";
    Check::wrong(what, told(error), change)
}

/// Marks end with the boot, as the containers do.
fn tmpfs(state: &Path) -> Check {
    let what = "folder of marks";
    let there = state
        .ancestors()
        .find(|path| path.exists())
        .unwrap_or(Path::new("/"));
    match rustix::fs::statfs(there) {
        Ok(found) if found.f_type == TMPFS => {
            Check::ok(what, format!("`{}` is in memory", state.display()))
        }
        Ok(_) => Check::wrong(
            what,
            format!("`{}` would outlive a boot", state.display()),
            "choose a folder under /run, which is a tmpfs",
        ),
        Err(error) => Check::wrong(what, error.to_string(), "choose a folder under /run"),
    }
}

fn section<'a>(agent: &'a toml::Table, key: &str) -> Option<&'a toml::Value> {
    agent.get("gate")?.as_table()?.get(key)
}

/// An error and its causes.
pub(super) fn told(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut cause = error.source();
    while let Some(error) = cause {
        text.push_str(": ");
        text.push_str(error.to_string().trim_end());
        cause = error.source();
    }
    text.replace('\n', " ")
}

/// `TMPFS_MAGIC` of linux/magic.h.
const TMPFS: rustix::fs::FsWord = 0x0102_1994;

#[cfg(test)]
mod tests {
    use super::*;
    use crate::commands::doctor::State;

    #[test]
    fn without_an_agent_the_decoder_is_judged_and_a_file_that_is_not_read_is_wrong() {
        let folder = tempfile::tempdir().unwrap();
        let [config, none] = ["config.toml", "none"].map(|name| folder.path().join(name));
        let setup = Setup::read(&config, &none, &none);
        for (text, missing) in [
            ("version = 2", "stream processor"),
            ("version = [", "containerd's configuration"),
            ("version = 1", "containerd's configuration"),
        ] {
            fs::write(&config, text).unwrap();
            let checks = setup.checks_without_agent(None);
            let wrong = |check: &Check| check.is_wrong() && check.what.starts_with(missing);
            assert!(checks.iter().any(wrong), "{checks:?}");
            let stranger = |what: &str| what.contains("gate") || what.contains("agent");
            assert!(
                !checks.iter().any(|check| stranger(&check.what)),
                "{checks:?}"
            );
        }
    }

    #[test]
    fn marks_belong_into_memory() {
        assert_eq!(tmpfs(Path::new("/proc/self/nothing")).state, State::Wrong);
        if rustix::fs::statfs("/dev/shm").is_ok_and(|found| found.f_type == TMPFS) {
            assert_eq!(tmpfs(Path::new("/dev/shm/bailiwick/gate")).state, State::Ok);
        }
    }
}
