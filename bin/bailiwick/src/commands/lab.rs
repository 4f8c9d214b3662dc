//! `bailiwick lab up|down|status|reboot`: a whole trust domain on this machine's loopback, to try things with.
//!
//! Machines are software TPMs with a manufacturer of the lab's own; server and agents are background processes of this
//! program with separate state. A lab's trust domain ends in `.lab`, and nothing outside a lab accepts it.

mod estate;
mod folder;
mod gate;
mod node;
mod people;
mod processes;

use std::{
    net::{Ipv4Addr, SocketAddr, TcpListener},
    path::{Path, PathBuf},
    str::FromStr,
    time::Duration,
};

use anyhow::{Context, bail};
use clap::{Args, Subcommand};
use serde::Serialize;

use folder::LabFolder;
use node::{LabNode, NODES};
use processes::{background, own_command};

use crate::{
    advice::Advice,
    output::{Format, or_dash, table},
};

/// A whole trust domain on this machine, to try things with.
#[derive(Debug, Args)]
pub(crate) struct LabArgs {
    #[command(subcommand)]
    command: LabCommand,
}

#[derive(Debug, Subcommand)]
enum LabCommand {
    /// Starts software TPMs, a server and two agents on loopback, as root, makes the people of an estate with their keys, and
    /// applies and signs it as its owners; what is there is kept.
    ///
    /// Example: bailiwick lab up
    Up {
        /// Where everything of the lab lies.
        #[arg(long, default_value = DEFAULT_FOLDER)]
        dir: PathBuf,
        /// containerd of a node; it need not run yet. Can be given once for each node.
        #[arg(long = "containerd", value_name = "NODE=SOCKET")]
        containerds: Vec<NodeFile>,
        /// The configuration file of that containerd. The agent looks there whether every runtime goes through the start gate.
        #[arg(long = "containerd-config", value_name = "NODE=FILE")]
        containerd_configs: Vec<NodeFile>,
        /// The port for nodes; usually one that is free.
        #[arg(long)]
        port: Option<u16>,
        /// How what runs then is written.
        #[arg(long, value_enum, default_value_t)]
        output: Format,
    },
    /// Ends what `up` started.
    ///
    /// Example: bailiwick lab down --purge
    Down {
        /// Where everything of the lab lies.
        #[arg(long, default_value = DEFAULT_FOLDER)]
        dir: PathBuf,
        /// Removes keys, ledger and estate, too.
        #[arg(long)]
        purge: bool,
    },
    /// Shows what runs.
    ///
    /// Example: bailiwick lab status
    Status {
        /// Where everything of the lab lies.
        #[arg(long, default_value = DEFAULT_FOLDER)]
        dir: PathBuf,
        /// How the answer is written.
        #[arg(long, value_enum, default_value_t)]
        output: Format,
    },
    /// Boots a node anew, if need be into another kernel, which its boot profile does not accept.
    ///
    /// Example: bailiwick lab reboot fra02-n01 --kernel 6.1.0-17-amd64
    Reboot {
        /// Where everything of the lab lies.
        #[arg(long, default_value = DEFAULT_FOLDER)]
        dir: PathBuf,
        /// The node.
        node: String,
        /// The kernel's version.
        #[arg(long, default_value = node::KERNEL)]
        kernel: String,
    },
}

/// A node and a file of its runtime, written `NODE=FILE`.
#[derive(Debug, Clone)]
struct NodeFile {
    node: String,
    file: PathBuf,
}

impl NodeFile {
    /// The file of a node, of several the first.
    fn of<'a>(all: &'a [Self], node: &str) -> Option<&'a Path> {
        let found = all.iter().find(|given| given.node == node);
        found.map(|given| given.file.as_path())
    }
}

impl FromStr for NodeFile {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let (node, file) = text.split_once('=').ok_or("`NODE=FILE` is wanted")?;
        if !NODES.iter().any(|known| known.name == node) {
            return Err(format!("the lab has no node `{node}`"));
        }
        Ok(Self {
            node: node.to_owned(),
            file: file.into(),
        })
    }
}

/// Runs the command.
pub(crate) fn run(args: LabArgs) -> anyhow::Result<()> {
    match args.command {
        LabCommand::Up {
            dir,
            containerds,
            containerd_configs,
            port,
            output,
        } => up(&dir, &containerds, &containerd_configs, port, output),
        LabCommand::Down { dir, purge } => down(&LabFolder::existing(&dir)?, purge),
        LabCommand::Status { dir, output } => status(&LabFolder::existing(&dir)?, output),
        LabCommand::Reboot { dir, node, kernel } => {
            reboot(&LabFolder::existing(&dir)?, &node, &kernel)
        }
    }
}

fn up(
    dir: &Path,
    containerds: &[NodeFile],
    containerd_configs: &[NodeFile],
    port: Option<u16>,
    output: Format,
) -> anyhow::Result<()> {
    // The server's socket answers root alone, and so would refuse the first `apply`.
    if !rustix::process::geteuid().is_root() {
        return Err(
            Advice::failed("a lab is made and run by root", "sudo bailiwick lab up").error(),
        );
    }
    let lab = LabFolder::made(dir)?;
    eprintln!(
        "this is a lab: its keys lie in `{}`, and nobody outside should trust them",
        lab.path().display()
    );
    if let Some(part) = lab
        .parts()
        .into_iter()
        .find(|part| part.running().is_some())
    {
        return Err(Advice::failed(
            format!("`{}` runs already", part.name()),
            "`bailiwick lab status` shows what runs; `bailiwick lab down` ends it",
        )
        .error());
    }
    let manufacturer = tpm::lab::Manufacturer::at(&lab.join("manufacturer"))?;
    for node in &NODES {
        node.switch_on(&lab, &manufacturer, node::KERNEL)
            .with_context(|| {
                Advice::failed(
                    format!("the software TPM of `{}` did not start", node.name),
                    "Debian's packages swtpm and swtpm-tools are needed",
                )
            })?;
    }
    people::make_keys(&lab)?;
    estate::write(&lab)?;
    start_server(&lab, port)?;
    apply_estate(&lab)?;
    people::make_certificates(&lab)?;
    for node in &NODES {
        node.configure(
            &lab,
            NodeFile::of(containerds, node.name),
            NodeFile::of(containerd_configs, node.name),
        )?;
        node.start_agent(&lab)?;
    }
    for node in &NODES {
        node.await_sockets(&lab)?;
        node.await_admission(&lab)?;
    }
    status(&lab, output)?;
    advise(&lab, containerds);
    Ok(())
}

/// What to do next.
fn advise(lab: &LabFolder, containerds: &[NodeFile]) {
    let [first, second] = people::FOUNDERS.map(|person| person.key_file(lab).display().to_string());
    eprintln!(
        "hint: after you changed the estate: bailiwick apply -f {} --config {} --sign {first} --sign {second}",
        lab.join("estate").display(),
        lab.client_config().display()
    );
    eprintln!(
        "hint: `--config {}` asks as that person, and so for the others",
        people::FOUNDERS[0].client_config(lab).display()
    );
    for node in containerds {
        eprintln!(
            "hint: a container of {} is gated whose runc has in containerd's configuration: BinaryName = \"{}\"",
            node.node,
            gate::Gate::of(lab, &node.node).wrapper().display()
        );
    }
    if containerds.is_empty() {
        eprintln!(
            "hint: without `--containerd NODE=SOCKET` no workload can be measured, and none gets anything"
        );
    }
}

fn start_server(lab: &LabFolder, port: Option<u16>) -> anyhow::Result<()> {
    let config = lab.server_config();
    if !config.exists() {
        // Two that are free at once, so that they differ.
        let [nodes, people] = free_ports()?;
        let here = |port| SocketAddr::from((Ipv4Addr::LOCALHOST, port));
        lab.write_server_config(here(port.unwrap_or(nodes)), here(people))?;
    }
    if !lab.join("server/server.db").exists() {
        let config = config.display().to_string();
        let words = ["server", "init", "--lab", "--config", &config].map(str::to_owned);
        let founders = people::founder_options(lab);
        let said = own_command(words.into_iter().chain(founders))?;
        lab.write_client_config(&said)?;
    }
    let part = lab.server();
    background(&part, ["server", "run", "--config"], &config)?;
    part.wait_until("serves", PATIENCE, || {
        std::os::unix::net::UnixStream::connect(lab.admin_socket()).is_ok()
    })
}

/// The estate of the folder, signed by its founders, unless it is in force already.
fn apply_estate(lab: &LabFolder) -> anyhow::Result<()> {
    let applied = lab.join("applied");
    if applied.exists() {
        return Ok(());
    }
    let [first, second] = people::FOUNDERS;
    eprintln!(
        "the lab signs as {} and {}: outside a lab these are two people",
        first.0, second.0
    );
    let folder = lab.join("estate").display().to_string();
    let keys = [first, second].map(|person| person.key_file(lab).display().to_string());
    let [first, second] = &keys;
    let words = ["apply", "-f", &folder, "--sign", first, "--sign", second];
    let said = lab.ask_server(&[&words[..], &["--output", "json"]].concat())?;
    let submitted: serde_json::Value =
        serde_json::from_str(&said).context("`apply` did not say what became of the estate")?;
    if submitted
        .get("state")
        .is_none_or(|state| state != "applied")
    {
        bail!("the first estate is not in force: {}", said.trim());
    }
    std::fs::write(&applied, "the first estate was applied\n")
        .context("can't write into the lab's folder")
}

fn down(lab: &LabFolder, purge: bool) -> anyhow::Result<()> {
    for part in lab.parts() {
        if part.stop()? {
            eprintln!("ended {}", part.name());
        }
    }
    if purge {
        lab.purge()?;
        eprintln!("removed `{}`", lab.path().display());
    }
    Ok(())
}

/// A part of the lab.
#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct PartReport {
    name: String,
    running: bool,
    #[serde(skip_serializing_if = "Option::is_none")]
    pid: Option<u32>,
    #[serde(rename = "where")]
    place: String,
}

fn status(lab: &LabFolder, output: Format) -> anyhow::Result<()> {
    let parts = lab.parts().into_iter().map(|part| {
        let pid = part.running();
        PartReport {
            name: part.name().to_string(),
            running: pid.is_some(),
            pid: pid.and_then(|pid| pid.to_string().parse().ok()),
            place: lab.place_of(&part).to_string(),
        }
    });
    output.print(&parts.collect::<Vec<_>>(), |parts| {
        let rows: Vec<_> = parts.iter().map(PartReport::row).collect();
        table(&["part", "state", "pid", "where"], &rows)
    })?;
    eprintln!(
        "hint: bailiwick node list --config {}",
        lab.join("client.toml").display()
    );
    Ok(())
}

impl PartReport {
    fn row(&self) -> Vec<String> {
        let state = if self.running { "running" } else { "ended" };
        let (name, place) = (self.name.clone(), self.place.clone());
        vec![name, state.to_owned(), or_dash(self.pid), place]
    }
}

fn reboot(lab: &LabFolder, name: &str, kernel: &str) -> anyhow::Result<()> {
    let node: &LabNode = NODES
        .iter()
        .find(|node| node.name == name)
        .with_context(|| format!("the lab has no node `{name}`"))?;
    lab.agent(node.name).stop()?;
    lab.tpm(node.name).stop()?;
    let manufacturer = tpm::lab::Manufacturer::at(&lab.join("manufacturer"))?;
    node.switch_on(lab, &manufacturer, kernel)?;
    node.start_agent(lab)?;
    eprintln!("{name} booted {kernel}");
    Ok(())
}

fn free_ports() -> anyhow::Result<[u16; 2]> {
    let listen = || TcpListener::bind((Ipv4Addr::LOCALHOST, 0));
    let listeners = [listen(), listen()];
    let mut ports = [0; 2];
    for (port, listener) in ports.iter_mut().zip(listeners) {
        let listener = listener.context("can't bind a port of loopback")?;
        *port = listener.local_addr().context("can't read the port")?.port();
    }
    Ok(ports)
}

const DEFAULT_FOLDER: &str = ".lab";
const PATIENCE: Duration = Duration::from_secs(20);
