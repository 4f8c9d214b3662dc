//! Where everything of a lab lies, and the configuration files that it writes there.

use std::{
    fs::{self, File},
    net::SocketAddr,
    os::unix::fs::{DirBuilderExt, PermissionsExt},
    path::{Path, PathBuf},
};

use anyhow::Context;
use rustix::fs::{FlockOperation, flock};

use crate::advice::Advice;

use super::{
    node::NODES,
    processes::{Part, own_command},
};

/// A lab's folder. While one command has it, others wait: `down` must not miss what `up` is about to start.
#[derive(Debug)]
pub(super) struct LabFolder {
    path: PathBuf,
    _lock: File,
}

impl LabFolder {
    /// The folder, made if need be.
    pub(super) fn made(path: &Path) -> anyhow::Result<Self> {
        let failed = || format!("can't make `{}`", path.display());
        fs::DirBuilder::new()
            .recursive(true)
            .mode(0o700)
            .create(path)
            .with_context(failed)?;
        let path = fs::canonicalize(path).with_context(failed)?;
        write(&path.join(MARK), b"made by `bailiwick lab up`\n", 0o600)?;
        Self::existing(&path)
    }

    /// A folder that `up` made.
    pub(super) fn existing(path: &Path) -> anyhow::Result<Self> {
        let missing = || {
            Advice::failed(
                format!("there is no lab in `{}`", path.display()),
                "`bailiwick lab up` makes one; `--dir` says where",
            )
        };
        let path = fs::canonicalize(path).with_context(missing)?;
        let lock = File::open(path.join(MARK)).with_context(missing)?;
        flock(&lock, FlockOperation::LockExclusive).with_context(missing)?;
        Ok(Self { path, _lock: lock })
    }

    pub(super) fn path(&self) -> &Path {
        &self.path
    }

    pub(super) fn join(&self, name: &str) -> PathBuf {
        self.path.join(name)
    }

    /// Where a node keeps its things.
    pub(super) fn node(&self, name: &str) -> PathBuf {
        self.path.join("nodes").join(name)
    }

    /// Where a node's agent listens for workloads: alone in its folder, which containers may see.
    pub(super) fn workload_socket(&self, node: &str) -> PathBuf {
        self.node(node).join("workload/agent.sock")
    }

    pub(super) fn admin_socket(&self) -> PathBuf {
        self.path.join("server.sock")
    }

    pub(super) fn server_config(&self) -> PathBuf {
        self.path.join("server.toml")
    }

    /// Everything that may run, in the order in which it is ended.
    pub(super) fn parts(&self) -> Vec<Part> {
        let agents = NODES.iter().map(|node| self.agent(node.name));
        let tpms = NODES.iter().map(|node| self.tpm(node.name));
        agents.chain([self.server()]).chain(tpms).collect()
    }

    pub(super) fn server(&self) -> Part {
        Part::new("server", &self.path)
    }

    pub(super) fn agent(&self, node: &str) -> Part {
        Part::new(&format!("agent-{node}"), &self.path)
    }

    pub(super) fn tpm(&self, node: &str) -> Part {
        Part::new(&format!("tpm-{node}"), &self.path)
    }

    /// Where a part is reached.
    pub(super) fn place_of(&self, part: &Part) -> String {
        let name = part.name();
        match name.split_once('-') {
            Some(("agent", node)) => self.workload_socket(node).display().to_string(),
            Some(("tpm", node)) => self.node(node).join("tpm/tpm.sock").display().to_string(),
            _ => self.admin_socket().display().to_string(),
        }
    }

    pub(super) fn write_server_config(
        &self,
        listen: SocketAddr,
        people: SocketAddr,
    ) -> anyhow::Result<()> {
        let mut passphrase = [0; 32];
        ledger::Entropy::fill(&crate::system::SystemEntropy, &mut passphrase);
        write(
            &self.join("passphrase"),
            hex::encode(passphrase).as_bytes(),
            0o600,
        )?;
        let text = |path: PathBuf| toml::Value::from(path.display().to_string());
        let kek = table([
            ("provider", "passphrase-file".into()),
            ("path", text(self.join("passphrase"))),
        ]);
        let config = table([
            ("trust_domain", TRUST_DOMAIN.into()),
            ("tenant", "hospital".into()),
            ("names", vec!["localhost", "127.0.0.1"].into()),
            ("data", text(self.join("server"))),
            ("head_file", text(self.join("head"))),
            ("socket", text(self.admin_socket())),
            ("listen", listen.to_string().into()),
            ("http", people.to_string().into()),
            (
                "manufacturers",
                vec![text(self.join("manufacturer/manufacturer.pem"))].into(),
            ),
            ("kek", kek.into()),
        ]);
        let config =
            toml::to_string(&config).context("the server's configuration can't be written")?;
        write(&self.server_config(), config.as_bytes(), 0o600)
    }

    /// Where nodes reach the server.
    pub(super) fn server_address(&self) -> anyhow::Result<SocketAddr> {
        let config: crate::config::ServerConfig = crate::config::read(&self.server_config())?;
        Ok(config.listen)
    }

    /// Where people reach it over TLS.
    pub(super) fn people_address(&self) -> anyhow::Result<Option<SocketAddr>> {
        let config: crate::config::ServerConfig = crate::config::read(&self.server_config())?;
        Ok(config.http)
    }

    /// What the ledger's checkpoints are verified with.
    pub(super) fn ledger_key(&self) -> anyhow::Result<String> {
        let file = self.join("server/ledger.key");
        let key = fs::read_to_string(&file)
            .with_context(|| format!("can't read `{}`", file.display()))?;
        Ok(key.trim().to_owned())
    }

    /// Whom commands for people ask as root, and what they pin: `--config` takes it.
    pub(super) fn client_config(&self) -> PathBuf {
        self.join("client.toml")
    }

    /// Pins what `server init` printed.
    pub(super) fn write_client_config(&self, init_said: &str) -> anyhow::Result<()> {
        let pin = init_said
            .lines()
            .find_map(|line| line.strip_prefix("root "));
        let pin = pin.context("`server init` printed no fingerprint")?.trim();
        let config = table([
            (
                "server",
                format!("unix:{}", self.admin_socket().display()).into(),
            ),
            ("root_pin", pin.into()),
            ("ledger_key", self.ledger_key()?.into()),
        ]);
        let config =
            toml::to_string(&config).context("the configuration of clients can't be written")?;
        write(&self.client_config(), config.as_bytes(), 0o644)
    }

    /// Runs a command of this program against the lab's server.
    pub(super) fn ask_server(&self, words: &[&str]) -> anyhow::Result<String> {
        let config = self.client_config().display().to_string();
        own_command(words.iter().copied().chain(["--config", &config]))
    }

    /// Removes all of it.
    pub(super) fn purge(&self) -> anyhow::Result<()> {
        fs::remove_dir_all(&self.path)
            .with_context(|| format!("can't remove `{}`", self.path.display()))
    }
}

/// A table of TOML.
pub(super) fn table<const N: usize>(entries: [(&str, toml::Value); N]) -> toml::Table {
    entries
        .into_iter()
        .map(|(key, value)| (key.to_owned(), value))
        .collect()
}

/// Writes a file with a mode.
pub(super) fn write(path: &Path, content: &[u8], mode: u32) -> anyhow::Result<()> {
    let failed = || format!("can't write `{}`", path.display());
    if let Some(folder) = path.parent() {
        fs::create_dir_all(folder).with_context(failed)?;
    }
    fs::write(path, content).with_context(failed)?;
    fs::set_permissions(path, fs::Permissions::from_mode(mode)).with_context(failed)
}

/// A lab's trust domain ends in `.lab`.
pub(super) const TRUST_DOMAIN: &str = "hospital.lab";
/// Without this file a folder is no lab, and nothing in it is removed.
const MARK: &str = "lab";
