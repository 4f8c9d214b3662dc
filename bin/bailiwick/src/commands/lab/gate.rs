//! A node's start gate: beside the lab's other things lies a wrapper, under the name by which it is one, for a runtime whose
//! configuration names it as `BinaryName`.

use std::{
    fs,
    os::unix::fs::symlink,
    path::{Path, PathBuf},
};

use anyhow::Context;

use super::folder::{LabFolder, table, write};

/// Where the parts of a node's start gate lie.
#[derive(Debug)]
pub(super) struct Gate {
    folder: PathBuf,
}

impl Gate {
    /// The gate of a node.
    pub(super) fn of(lab: &LabFolder, node: &str) -> Self {
        Self {
            folder: lab.node(node).join("gate"),
        }
    }

    /// What a runtime names as `BinaryName`.
    pub(super) fn wrapper(&self) -> PathBuf {
        self.folder.join("bailiwick-runc")
    }

    /// Where the wrapper asks the agent.
    pub(super) fn socket(&self) -> PathBuf {
        self.folder.join("gate.sock")
    }

    /// Where marks lie: what was created, touched, held.
    fn state(&self) -> PathBuf {
        self.folder.join("state")
    }

    /// Which layers were opened here.
    fn gated(&self) -> PathBuf {
        self.folder.join("gated.json")
    }

    /// The section of the agent's configuration. `containerd_config` tells the agent whether every container goes through the
    /// wrapper.
    pub(super) fn agent_section(&self, containerd_config: Option<&Path>) -> toml::Table {
        let mut section = table([
            ("socket", text(&self.socket())),
            ("state", text(&self.state())),
            ("gated", text(&self.gated())),
            ("programs", vec![text(&self.wrapper())].into()),
        ]);
        if let Some(config) = containerd_config {
            section.insert("containerd_config".to_owned(), text(config));
        }
        section
    }

    /// Writes the wrapper and its configuration anew.
    pub(super) fn write(&self, ledger_key: &str, containerd: &Path) -> anyhow::Result<()> {
        let config = table([
            ("runtime", RUNTIME.into()),
            ("state", text(&self.state())),
            ("gated", text(&self.gated())),
            ("socket", text(&self.socket())),
            ("containerd", text(containerd)),
            ("ledger_key", ledger_key.into()),
            ("allow_lab", true.into()),
        ]);
        let config =
            toml::to_string(&config).context("the gate's configuration can't be written")?;
        let wrapper = self.wrapper();
        write(
            &self.folder.join("bailiwick-runc.toml"),
            config.as_bytes(),
            0o600,
        )?;
        let own = std::env::current_exe().context("this program does not know where it lies")?;
        let failed = || format!("can't make `{}`", wrapper.display());
        // Made beside it and renamed over it: a container that starts just now finds one or the other.
        let fresh = self.folder.join(".bailiwick-runc.new");
        let _ = fs::remove_file(&fresh);
        symlink(own, &fresh).with_context(failed)?;
        fs::rename(&fresh, &wrapper).with_context(failed)
    }
}

fn text(path: &Path) -> toml::Value {
    path.display().to_string().into()
}

const RUNTIME: &str = "/usr/sbin/runc";
