//! A machine of the lab: a software TPM that has seen a boot, and an agent.

use std::{
    fs,
    path::{Path, PathBuf},
};

use anyhow::Context;
use tpm::{
    EndorsementKey, Tpm, TpmAddress,
    lab::{Manufacturer, boot_log, play},
};

use super::{
    PATIENCE,
    folder::{LabFolder, TRUST_DOMAIN, table, write},
    gate::Gate,
    processes::background,
};

/// A machine of the lab; its place and cluster stand in the estate.
#[derive(Debug)]
pub(super) struct LabNode {
    /// As in the inventory.
    pub(super) name: &'static str,
}

/// The machines of the lab.
pub(super) const NODES: [LabNode; 2] =
    [LabNode { name: "dal05-n01" }, LabNode { name: "fra02-n01" }];
/// The kernel that the boot profile accepts.
pub(super) const KERNEL: &str = "6.1.0-18-amd64";

impl LabNode {
    /// Starts the TPM and plays a boot into it, as firmware and loaders do before anything else runs.
    pub(super) fn switch_on(
        &self,
        lab: &LabFolder,
        manufacturer: &Manufacturer,
        kernel: &str,
    ) -> anyhow::Result<()> {
        let software = manufacturer.make(&lab.node(self.name).join("tpm"), self.name)?;
        let running = software.start_on_socket()?;
        let log = boot_log(kernel);
        play(&running.connect()?, &log)?;
        write(&self.event_log(lab), &log.to_bytes(), 0o600)?;
        let pid = running
            .detach()
            .context("the software TPM has no process")?;
        lab.tpm(self.name).record(pid)
    }

    /// SHA-256 of the endorsement key's SubjectPublicKeyInfo.
    pub(super) fn endorsement_key(&self, lab: &LabFolder) -> anyhow::Result<[u8; 32]> {
        let tpm = Tpm::connect(&self.address(lab))?;
        Ok(EndorsementKey::find(&tpm)?.public().spki_sha256())
    }

    /// Writes the agent's configuration anew, and a runtime's start gate. Without a runtime the agent knows no workloads.
    pub(super) fn configure(
        &self,
        lab: &LabFolder,
        containerd: Option<&Path>,
        containerd_config: Option<&Path>,
    ) -> anyhow::Result<()> {
        let folder = lab.node(self.name);
        let text = |path: PathBuf| toml::Value::from(path.display().to_string());
        let attestor = table([
            ("kind", "tpm".into()),
            ("address", self.address(lab).to_string().into()),
            ("event_log", text(self.event_log(lab))),
        ]);
        let gate = Gate::of(lab, self.name);
        let mut config = table([
            ("node", self.name.into()),
            ("trust_domain", TRUST_DOMAIN.into()),
            ("servers", vec![lab.server_address()?.to_string()].into()),
            ("roots", text(lab.join("server/root.pem"))),
            ("state", text(folder.join("state"))),
            (
                "containerd",
                text(containerd.map_or_else(|| folder.join("containerd.sock"), Path::to_owned)),
            ),
            ("workload_socket", text(lab.workload_socket(self.name))),
            ("key_socket", text(folder.join(KEY_SOCKET))),
            ("ledger_key", lab.ledger_key()?.into()),
            ("allow_lab", true.into()),
            ("attestor", attestor.into()),
        ]);
        if let Some(socket) = containerd {
            gate.write(&lab.ledger_key()?, socket)?;
            let section = gate.agent_section(containerd_config);
            config.insert("gate".to_owned(), section.into());
        }
        let config =
            toml::to_string(&config).context("the agent's configuration can't be written")?;
        write(&folder.join(CONFIG), config.as_bytes(), 0o600)
    }

    /// Starts the agent.
    pub(super) fn start_agent(&self, lab: &LabFolder) -> anyhow::Result<()> {
        let folder = lab.node(self.name);
        let state = folder.join("state");
        fs::create_dir_all(&state).with_context(|| format!("can't make `{}`", state.display()))?;
        background(
            &lab.agent(self.name),
            ["agent", "run", "--config"],
            &folder.join(CONFIG),
        )
    }

    /// Waits until workloads and decoders can ask the agent.
    pub(super) fn await_sockets(&self, lab: &LabFolder) -> anyhow::Result<()> {
        let sockets = [
            lab.workload_socket(self.name),
            lab.node(self.name).join(KEY_SOCKET),
        ];
        let part = lab.agent(self.name);
        part.wait_until("listens", PATIENCE, || {
            sockets.iter().all(|socket| socket.exists())
        })
    }

    /// Waits until the server has admitted the node.
    pub(super) fn await_admission(&self, lab: &LabFolder) -> anyhow::Result<()> {
        let part = lab.agent(self.name);
        part.wait_until("is admitted", PATIENCE, || {
            let said = lab.ask_server(&["node", "show", self.name, "--output", "json"]);
            let node = said
                .ok()
                .and_then(|said| serde_json::from_str::<serde_json::Value>(&said).ok());
            node.as_ref()
                .and_then(|node| node.get("state"))
                .is_some_and(|state| state == "attested" || state == "banned")
        })
    }

    fn address(&self, lab: &LabFolder) -> TpmAddress {
        TpmAddress::Unix(lab.node(self.name).join("tpm/tpm.sock"))
    }

    fn event_log(&self, lab: &LabFolder) -> PathBuf {
        lab.node(self.name).join("event-log")
    }
}

const CONFIG: &str = "agent.toml";
const KEY_SOCKET: &str = "key.sock";
