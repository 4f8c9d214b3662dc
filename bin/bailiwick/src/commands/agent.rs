//! `bailiwick agent run|identify`.

use std::{
    fs, io,
    path::{Path, PathBuf},
    sync::Arc,
    time::Duration,
};

use agent::{Agent, AgentConfig as Settings, ports::NodeKeys};
use anyhow::{Context, bail};
use clap::{Args, Subcommand};
use containers::{
    Config as RuntimeConfig, Containers, GateConfig, NodeProbe, PlatformMount, PlatformMountKind,
    Subject,
};
use peer::Peer;
use rpc::{
    gate_socket, key_socket,
    link::{FileCheckpoints, FileNodeKeys, RpcConnector, ServerAddress},
    unix::{self, Access},
    workload::{self, WorkloadSettings},
};
use serde::Serialize;
use tpm::TpmNodeKeys;

use crate::{
    config::{self, AgentConfig, AttestorConfig},
    output::Format,
    system::SystemClock,
};

/// Runs on a node: attests it, measures the processes on it, and carries what they are given.
#[derive(Debug, Args)]
pub(crate) struct AgentArgs {
    #[command(subcommand)]
    command: AgentCommand,
}

#[derive(Debug, Subcommand)]
enum AgentCommand {
    /// Serves the workloads and decoders of this node until it is told to stop.
    ///
    /// Example: bailiwick agent run --config /etc/bailiwick/agent.toml
    Run {
        /// The agent's configuration.
        #[arg(long, default_value = DEFAULT_CONFIG)]
        config: PathBuf,
    },
    /// Prints this node's lines for `inventory.toml`, with the hash of its endorsement key.
    ///
    /// Example: bailiwick agent identify --config /etc/bailiwick/agent.toml
    Identify {
        /// The agent's configuration.
        #[arg(long, default_value = DEFAULT_CONFIG)]
        config: PathBuf,
        /// How the answer is written.
        #[arg(long, value_enum, default_value_t)]
        output: Format,
    },
}

/// Runs the command.
pub(crate) async fn run(args: AgentArgs) -> anyhow::Result<()> {
    match args.command {
        AgentCommand::Run { config } => serve(config::read(&config)?).await,
        AgentCommand::Identify { config, output } => identify(config::read(&config)?, output),
    }
}

/// A process at the other end of a socket, held by its pidfd.
struct Caller(Peer);

impl Subject for Caller {
    fn pid(&self) -> u32 {
        self.0.pid()
    }
    fn uid(&self) -> u32 {
        self.0.uid()
    }
    fn cgroup(&self) -> io::Result<String> {
        let cgroup = self.0.process().cgroup().map_err(io::Error::other)?;
        Ok(cgroup.path().to_owned())
    }
    fn still_alive(&self) -> bool {
        self.0.still_alive()
    }
}

async fn serve(config: AgentConfig) -> anyhow::Result<()> {
    make_private(&config.state)?;
    let keys = node_keys(&config)?;
    let connector = connector(&config, Arc::clone(&keys))?;
    let mut containers = Containers::new(runtime(&config))?;
    if let Some(gate) = gate(&config)? {
        containers = containers.with_gate(gate);
    }
    tokio::spawn({
        let containers = containers.clone();
        async move { containers.watch().await }
    });
    let checkpoints = Arc::new(FileCheckpoints::at(config.state.join("checkpoint")));
    let probe = probe(&config, containers.clone()).await?;
    let agent = Agent::build(
        settings(&config)?,
        connector,
        probe,
        keys,
        Arc::new(SystemClock),
        checkpoints,
    );
    let workloads = unix::listen(&config.workload_socket, Access::Everybody)?;
    let decoders = unix::listen(&config.key_socket, Access::Root)?;
    let now = Arc::new(|| SystemClock.timestamp());
    let standing = agent.standing();
    let attesting = tokio::spawn(Arc::clone(&agent).run_forever());
    // Before anything is opened: an `open` says whether the gate is answered.
    let gating = match &config.gate {
        Some(section) => {
            let gates = unix::listen(&section.socket, Access::Root)?;
            let agent = Arc::clone(&agent);
            tokio::spawn(Arc::clone(&agent).watch_hands());
            let serving = gate_socket::serve(agent, gates, Caller, crate::shutdown());
            let serving = tokio::spawn(serving);
            containers.gate_is_served();
            Some(serving)
        }
        None => None,
    };
    let opening = tokio::spawn(key_socket::serve(
        Arc::clone(&agent),
        decoders,
        Caller,
        crate::shutdown(),
    ));
    let serving = workload::serve(
        agent,
        workloads,
        Caller,
        WorkloadSettings::new(now),
        crate::shutdown(),
    );
    eprintln!(
        "node {} serves {} and {}",
        config.node,
        config.workload_socket.display(),
        config.key_socket.display()
    );
    tokio::select! {
        served = serving => served?,
        _ = attesting => match standing.borrow().banned {
            true => bail!("node `{}` is banned", config.node),
            false => bail!("the agent stopped attesting"),
        },
    }
    let _ = opening.await;
    if let Some(gating) = gating {
        let _ = gating.await;
    }
    eprintln!("stopping");
    Ok(())
}

/// A node as `inventory.toml` names it.
#[derive(Serialize)]
struct Identified {
    node: String,
    /// SHA-256 of the endorsement key; absent where the node has no TPM.
    #[serde(skip_serializing_if = "Option::is_none")]
    ek: Option<String>,
    /// How the node attests, where that is not by its TPM.
    #[serde(skip_serializing_if = "Option::is_none")]
    attest: Option<&'static str>,
}

fn identify(config: AgentConfig, output: Format) -> anyhow::Result<()> {
    make_private(&config.state)?;
    let keys = node_keys(&config)?;
    let mut identified = Identified {
        node: config.node.to_string(),
        ek: None,
        attest: None,
    };
    match keys.identify()? {
        agent::ports::Identification::Tpm {
            ek_public,
            ek_chain,
            ..
        } => {
            let ek = tpm_quote::PublicArea::parse(&ek_public)?;
            identified.ek = Some(estate::Digest::from_bytes(ek.spki_sha256()).to_string());
            if ek_chain.is_empty() {
                eprintln!("warning: the TPM holds no certificate of its manufacturer");
            }
        }
        agent::ports::Identification::Token(_) => identified.attest = Some("join-token"),
    }
    output.print(&identified, inventory_lines)?;
    eprintln!("hint: add `cluster`, `location` and `boot`, then `bailiwick apply`");
    Ok(())
}

fn inventory_lines(identified: &Identified) -> String {
    let Identified { node, ek, attest } = identified;
    let mut lines = format!("[node.{node}]\n");
    if let Some(ek) = ek {
        lines.push_str(&format!("ek = \"{ek}\"\n"));
    }
    if let Some(attest) = attest {
        lines.push_str(&format!("attest = \"{attest}\"\n"));
    }
    lines
}

fn settings(config: &AgentConfig) -> anyhow::Result<Settings> {
    let ledger_key = config.ledger_key.as_deref().map(str::parse).transpose();
    Ok(Settings {
        node: config.node.clone(),
        trust_domain: config.trust_domain.clone(),
        ledger_key: ledger_key.context("`ledger_key` is not a checkpoint verifier key")?,
        allow_lab: config.allow_lab,
        max_offline: Duration::from_secs(config.max_offline_seconds),
    })
}

fn node_keys(config: &AgentConfig) -> anyhow::Result<Arc<dyn NodeKeys>> {
    Ok(match &config.attestor {
        AttestorConfig::Tpm { address, event_log } => {
            let address = address
                .parse()
                .context("`address` is not the address of a TPM")?;
            Arc::new(TpmNodeKeys::open(
                &address,
                event_log,
                &config.state.join("node-key"),
            )?)
        }
        AttestorConfig::JoinToken { token_file } => Arc::new(FileNodeKeys::open(
            &config.state.join("node-key.pk8"),
            token_file,
        )?),
    })
}

fn connector(config: &AgentConfig, keys: Arc<dyn NodeKeys>) -> anyhow::Result<RpcConnector> {
    let servers: Result<Vec<ServerAddress>, _> =
        config.servers.iter().map(|server| server.parse()).collect();
    let text = fs::read(&config.roots)
        .with_context(|| format!("can't read `{}`", config.roots.display()))?;
    let roots: Vec<Vec<u8>> = pem::parse_many(&text)
        .with_context(|| format!("`{}` holds no certificates", config.roots.display()))?
        .into_iter()
        .filter(|block| block.tag() == "CERTIFICATE")
        .map(pem::Pem::into_contents)
        .collect();
    Ok(RpcConnector::new(
        servers?,
        &roots,
        &config.trust_domain,
        keys,
    )?)
}

fn runtime(config: &AgentConfig) -> RuntimeConfig {
    let socket = &config.workload_socket;
    let own = [socket.display().to_string()];
    let places = config.workload_mounts.iter().chain(&own);
    let folder = folder_of_its_own(config);
    let mut platform_mounts = Vec::new();
    for place in places {
        platform_mounts.push(PlatformMount {
            source: socket.display().to_string(),
            destination: place.clone(),
            kind: PlatformMountKind::Socket,
        });
        let place = Path::new(place);
        if let (Some(folder), Some(above)) = (folder, place.parent())
            && place.file_name() == socket.file_name()
        {
            platform_mounts.push(PlatformMount {
                source: folder.display().to_string(),
                destination: above.display().to_string(),
                kind: PlatformMountKind::Folder,
            });
        }
    }
    RuntimeConfig {
        socket: config.containerd.clone(),
        platform_mounts,
        runtime_binaries: Vec::new(),
    }
}

/// The workload socket's folder, if containers may see the whole of it: nothing else of the agent's is configured to lie there.
/// A container keeps a folder when the agent is started anew; a socket it would lose.
fn folder_of_its_own(config: &AgentConfig) -> Option<&Path> {
    let folder = config
        .workload_socket
        .parent()
        .filter(|folder| folder.parent().is_some())?;
    let gate = config
        .gate
        .iter()
        .flat_map(|gate| [&gate.socket, &gate.state]);
    let private = gate.chain([&config.state, &config.key_socket, &config.containerd]);
    let alone = private.into_iter().all(|path| !path.starts_with(folder));
    alone.then_some(folder)
}

/// The agent's eyes. A decoder that was named and isn't there is an error; this program itself may lie where it can't be told
/// from others, and other work goes on without decoders.
async fn probe(config: &AgentConfig, containers: Containers) -> anyhow::Result<NodeProbe<Caller>> {
    let probe = NodeProbe::new(containers, decoders(config)?);
    match probe.read_decoders().await {
        Err(error) if config.decoders.is_some() => return Err(error.into()),
        Err(error) => eprintln!("warning: no decoder gets image keys: {error}"),
        Ok(()) => {}
    }
    Ok(probe)
}

/// Programs that may ask for image keys.
fn decoders(config: &AgentConfig) -> anyhow::Result<Vec<PathBuf>> {
    let Some(decoders) = &config.decoders else {
        let own = std::env::current_exe().context("this program does not know where it lies")?;
        return Ok(vec![own]);
    };
    if let Some(path) = decoders.iter().find(|path| !path.is_absolute()) {
        bail!("`{}` in `decoders` is not an absolute path", path.display());
    }
    Ok(decoders.clone())
}

/// What gate and agent share; `None`: no gate is set up.
fn gate(config: &AgentConfig) -> anyhow::Result<Option<GateConfig>> {
    let Some(section) = &config.gate else {
        return Ok(None);
    };
    let programs = match &section.programs {
        Some(programs) => programs.clone(),
        None => {
            vec![std::env::current_exe().context("this program does not know where it lies")?]
        }
    };
    let gate = GateConfig {
        state: section.state.clone(),
        gated: section
            .gated
            .clone()
            .unwrap_or_else(|| config.state.join("gated.json")),
        programs,
        containerd_config: section.containerd_config.clone(),
    };
    let paths = [&gate.state, &gate.gated, &gate.containerd_config];
    let relative = paths
        .into_iter()
        .chain(&gate.programs)
        .find(|path| !path.is_absolute());
    match relative {
        Some(path) => bail!("`{}` in `[gate]` is not an absolute path", path.display()),
        None => Ok(Some(gate)),
    }
}

fn make_private(folder: &std::path::Path) -> anyhow::Result<()> {
    use std::os::unix::fs::DirBuilderExt;
    fs::DirBuilder::new()
        .recursive(true)
        .mode(0o700)
        .create(folder)
        .with_context(|| format!("can't make `{}`", folder.display()))
}

const DEFAULT_CONFIG: &str = "/etc/bailiwick/agent.toml";

#[cfg(test)]
mod tests {
    use super::*;

    fn decoders_of(line: &str) -> anyhow::Result<Vec<PathBuf>> {
        decoders(&config_with(line, "")?)
    }

    fn config_with(line: &str, section: &str) -> anyhow::Result<AgentConfig> {
        let text = format!(
            r#"
            node = "n1"
            trust_domain = "example.lab"
            servers = []
            roots = "/roots.pem"
            state = "/state"
            containerd = "/containerd.sock"
            workload_socket = "/agent.sock"
            key_socket = "/key.sock"
            {line}
            [attestor]
            kind = "join-token"
            token_file = "/token"
            {section}
            "#
        );
        Ok(toml::from_str(&text)?)
    }

    fn gate_of(section: &str) -> anyhow::Result<Option<GateConfig>> {
        gate(&config_with("", section)?)
    }

    #[test]
    fn a_gate_is_set_up_by_its_section_alone() {
        assert!(gate_of("").unwrap().is_none());
        let usual = gate_of("[gate]").unwrap().unwrap();
        assert_eq!(usual.programs, [std::env::current_exe().unwrap()]);
        assert_eq!(usual.state, PathBuf::from("/run/bailiwick/gate"));
        // What was opened must not be forgotten with the boot.
        assert_eq!(usual.gated, PathBuf::from("/state/gated.json"));
        let own = gate_of(
            r#"
            [gate]
            state = "/g"
            gated = "/d/gated.json"
            programs = ["/usr/local/sbin/bailiwick-runc"]
            "#,
        );
        let own = own.unwrap().unwrap();
        assert_eq!(own.gated, PathBuf::from("/d/gated.json"));
        assert_eq!(
            own.programs,
            [PathBuf::from("/usr/local/sbin/bailiwick-runc")]
        );
        assert!(gate_of("[gate]\nprograms = [\"bailiwick-runc\"]").is_err());
        assert!(gate_of("[gate]\ngatd = \"/x\"").is_err());
    }

    #[test]
    fn a_folder_is_shown_to_containers_only_where_the_socket_lies_alone() {
        let folders = |socket: &str| -> Vec<String> {
            let mut config = config_with("", "").unwrap();
            config.workload_socket = socket.into();
            let mounts = runtime(&config).platform_mounts.into_iter();
            mounts
                .filter(|mount| mount.kind == PlatformMountKind::Folder)
                .map(|mount| format!("{} {}", mount.source, mount.destination))
                .collect()
        };
        assert_eq!(
            folders("/run/w/agent.sock"),
            ["/run/w /run/bailiwick", "/run/w /run/w"]
        );
        for beside in ["/agent.sock", "/state/agent.sock"] {
            assert!(folders(beside).is_empty(), "{beside}");
        }
        let whole = folders("/state/w/agent.sock");
        assert_eq!(whole.len(), 2, "{whole:?}");
    }

    #[test]
    fn decoders_are_what_is_configured_and_else_this_very_program() {
        let own = std::env::current_exe().unwrap();
        assert_eq!(decoders_of("").unwrap(), [own]);
        let two = decoders_of(r#"decoders = ["/usr/bin/bailiwick", "/opt/ctd-decoder"]"#);
        assert_eq!(
            two.unwrap(),
            ["/usr/bin/bailiwick", "/opt/ctd-decoder"].map(PathBuf::from)
        );
        assert!(decoders_of("decoders = []").unwrap().is_empty());
        assert!(decoders_of(r#"decoders = ["bailiwick"]"#).is_err());
    }
}
