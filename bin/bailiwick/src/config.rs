//! Configuration files of server and agent: TOML, read once; an unknown key is an error.

use std::{
    net::SocketAddr,
    path::{Path, PathBuf},
};

use anyhow::{Context, bail};
use custody::Kek;
use estate::{NodeName, TenantName};
use serde::Deserialize;
use spiffe_id::TrustDomain;
use zeroize::Zeroizing;

use crate::advice::Advice;

/// `server.toml`.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct ServerConfig {
    /// Trust domain; a lab's ends in `.lab`.
    pub(crate) trust_domain: TrustDomain,
    /// Tenant whose data sets this server serves.
    pub(crate) tenant: TenantName,
    /// Folder of the database; its head file lies beside it unless `head_file` says otherwise.
    pub(crate) data: PathBuf,
    /// Head file outside the database, better on another disk.
    pub(crate) head_file: Option<PathBuf>,
    /// Where nodes connect (gRPC over TLS 1.3).
    pub(crate) listen: SocketAddr,
    /// Where people connect with client certificates (HTTP over TLS 1.3); absent: only the socket.
    pub(crate) http: Option<SocketAddr>,
    /// Names and addresses in the server's certificate.
    pub(crate) names: Vec<String>,
    /// Socket for root on this machine.
    pub(crate) socket: PathBuf,
    /// PEM files with the manufacturers whose endorsement certificates count.
    #[serde(default)]
    pub(crate) manufacturers: Vec<PathBuf>,
    /// What wraps the server's keys.
    pub(crate) kek: KekConfig,
    /// Seconds between a node's quotes, 1 to 300; usually 240.
    #[serde(default = "four_minutes")]
    pub(crate) quote_every_seconds: u64,
}

/// What wraps the server's keys.
#[derive(Debug, Clone, Deserialize)]
#[serde(tag = "provider", rename_all = "kebab-case", deny_unknown_fields)]
pub(crate) enum KekConfig {
    /// A file with a passphrase. Meant for labs: whoever reads the disk reads the keys.
    PassphraseFile {
        /// The file.
        path: PathBuf,
    },
    /// A credential that systemd passes in `$CREDENTIALS_DIRECTORY`.
    SystemdCredential {
        /// Its name.
        name: String,
    },
}

/// `agent.toml`.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct AgentConfig {
    /// This node's name in the inventory.
    pub(crate) node: NodeName,
    /// Trust domain.
    pub(crate) trust_domain: TrustDomain,
    /// Servers, `host:port`; the first that answers is used.
    pub(crate) servers: Vec<String>,
    /// PEM file with the trust domain's root certificate.
    pub(crate) roots: PathBuf,
    /// Folder for the node key's handle, the newest checkpoint and the pinned ledger key.
    pub(crate) state: PathBuf,
    /// How the node proves itself.
    pub(crate) attestor: AttestorConfig,
    /// containerd's socket.
    pub(crate) containerd: PathBuf,
    /// Socket for workloads.
    pub(crate) workload_socket: PathBuf,
    /// Where in containers the workload socket may appear, as our own mount.
    #[serde(default = "usual_mounts")]
    pub(crate) workload_mounts: Vec<String>,
    /// Socket for the runtime's decoders, root only.
    pub(crate) key_socket: PathBuf,
    /// Programs that may ask for image keys when the runtime starts them, told by their content; absent: this program. Name
    /// programs, not scripts: a script's program is its interpreter.
    pub(crate) decoders: Option<Vec<PathBuf>>,
    /// The start gate; absent: nobody asks before a container is made, and confidential images don't open here.
    pub(crate) gate: Option<GateSection>,
    /// Checkpoint verifier key of the ledger; absent: the one of the first admission, from then on for ever.
    pub(crate) ledger_key: Option<String>,
    /// Whether a lab's server is accepted.
    #[serde(default)]
    pub(crate) allow_lab: bool,
    /// Seconds without any server after which files and streams end.
    #[serde(default = "ten_minutes")]
    pub(crate) max_offline_seconds: u64,
}

/// `[gate]` of `agent.toml`: where the start gate asks, and what both sides keep.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct GateSection {
    /// Socket for the gate, root only.
    #[serde(default = "usual_gate_socket")]
    pub(crate) socket: PathBuf,
    /// Folder of the marks of containers; in memory, so that they end with the boot.
    #[serde(default = "usual_gate_state")]
    pub(crate) state: PathBuf,
    /// List of the layers that were opened here; absent: `gated.json` in the agent's state.
    pub(crate) gated: Option<PathBuf>,
    /// Programs that are the gate, told by their content; absent: this program.
    pub(crate) programs: Option<Vec<PathBuf>>,
    /// containerd's configuration, which tells whether every container starts through the gate.
    #[serde(default = "usual_containerd_config")]
    pub(crate) containerd_config: PathBuf,
}

/// How the node proves itself.
#[derive(Debug, Clone, Deserialize)]
#[serde(tag = "kind", rename_all = "kebab-case", deny_unknown_fields)]
pub(crate) enum AttestorConfig {
    /// A TPM.
    Tpm {
        /// `device:/dev/tpmrm0`, `swtpm:host=…,port=…` or `swtpm:path=…`.
        address: String,
        /// The firmware's event log.
        event_log: PathBuf,
    },
    /// A one-time token; lab.
    JoinToken {
        /// File with the token.
        token_file: PathBuf,
    },
}

fn usual_mounts() -> Vec<String> {
    vec!["/run/bailiwick/agent.sock".to_owned()]
}

fn usual_gate_socket() -> PathBuf {
    containers::gate::DEFAULT_SOCKET.into()
}

fn usual_gate_state() -> PathBuf {
    containers::gate::DEFAULT_STATE.into()
}

fn usual_containerd_config() -> PathBuf {
    "/etc/containerd/config.toml".into()
}

fn four_minutes() -> u64 {
    240
}

fn ten_minutes() -> u64 {
    600
}

/// Reads a configuration file.
pub(crate) fn read<T: serde::de::DeserializeOwned>(path: &Path) -> anyhow::Result<T> {
    let refused = |what: String| Advice::usage(what, KEYS);
    let text = std::fs::read_to_string(path)
        .with_context(|| refused(format!("can't read `{}`", path.display())))?;
    toml::from_str(&text)
        .with_context(|| refused(format!("`{}` is not a valid configuration", path.display())))
}

impl ServerConfig {
    /// Whether this is a lab: its trust domain says so, in every certificate, for ever.
    pub(crate) fn is_lab(&self) -> bool {
        self.trust_domain.as_str().ends_with(".lab")
    }

    /// How often a node is asked for a fresh quote: evidence older than ten minutes satisfies no guardrail.
    pub(crate) fn quote_interval(&self) -> std::time::Duration {
        std::time::Duration::from_secs(self.quote_every_seconds.clamp(1, 300))
    }

    /// The database's file.
    pub(crate) fn database(&self) -> PathBuf {
        self.data.join("server.db")
    }

    /// The store's configuration.
    pub(crate) fn store(&self, create: store::Create) -> store::StoreConfig {
        store::StoreConfig {
            path: self.database(),
            tenant: self.tenant.clone(),
            create,
            head_file: Some(
                self.head_file
                    .clone()
                    .unwrap_or_else(|| self.data.join("head")),
            ),
        }
    }

    /// The folder of a head file that does not lie beside the database.
    pub(crate) fn head_folder(&self) -> Option<&Path> {
        self.head_file.as_deref()?.parent()
    }

    /// A head file that can't be written would leave an old database that is put back unnoticed: nothing is served without
    /// its folder, which may be on a disk that is not mounted.
    pub(crate) fn check_head_folder(&self) -> anyhow::Result<()> {
        match self.head_folder() {
            Some(folder) if !folder.is_dir() => Err(Advice::failed(
                format!(
                    "there is no folder `{}` for the head file",
                    folder.display()
                ),
                "mount its disk; without the head file an old database that was put back is not noticed",
            )
            .error()),
            _ => Ok(()),
        }
    }

    /// A lab listens on this machine only.
    pub(crate) fn check(&self) -> anyhow::Result<()> {
        let addresses = [Some(self.listen), self.http];
        if self.is_lab()
            && addresses
                .into_iter()
                .flatten()
                .any(|address| !address.ip().is_loopback())
        {
            bail!("a lab listens on loopback addresses only");
        }
        Ok(())
    }

    /// The key-encryption key.
    pub(crate) fn kek(&self) -> anyhow::Result<Kek> {
        match &self.kek {
            KekConfig::PassphraseFile { path } => {
                let passphrase = secret_file(path)?;
                let salt_file = self.data.join("kek.salt");
                let salt = std::fs::read(&salt_file)
                    .with_context(|| format!("can't read `{}`", salt_file.display()))?;
                Ok(Kek::from_passphrase(passphrase.trim_ascii(), &salt)?)
            }
            KekConfig::SystemdCredential { name } => {
                let folder = std::env::var_os("CREDENTIALS_DIRECTORY")
                    .with_context(|| {
                        Advice::failed(
                            "there is no `$CREDENTIALS_DIRECTORY`: systemd did not start this with a credential",
                            format!("`LoadCredentialEncrypted={name}` in the unit; for `init`: systemd-run --pipe -p LoadCredentialEncrypted={name} bailiwick server init …"),
                        )
                    })?;
                if name.contains('/') {
                    bail!("`{name}` is not the name of a credential");
                }
                Ok(Kek::from_material(&secret_file(
                    &Path::new(&folder).join(name),
                )?)?)
            }
        }
    }

    /// Makes the salt of a passphrase's key, unless it is there.
    pub(crate) fn make_salt(&self) -> anyhow::Result<()> {
        let KekConfig::PassphraseFile { .. } = self.kek else {
            return Ok(());
        };
        let file = self.data.join("kek.salt");
        // Left by an attempt that failed, or by a database that may come back: nothing speaks for another one.
        if file.exists() {
            return Ok(());
        }
        let mut salt = [0; 32];
        ledger::Entropy::fill(&crate::system::SystemEntropy, &mut salt);
        std::fs::write(&file, salt).with_context(|| format!("can't write `{}`", file.display()))
    }

    /// Manufacturers whose endorsement certificates count.
    pub(crate) fn manufacturers(&self) -> anyhow::Result<Option<tpm_quote::ManufacturerRoots>> {
        let mut pem = Vec::new();
        for path in &self.manufacturers {
            let bytes =
                std::fs::read(path).with_context(|| format!("can't read `{}`", path.display()))?;
            pem.extend(bytes);
            pem.push(b'\n');
        }
        if self.manufacturers.is_empty() {
            return Ok(None);
        }
        Ok(Some(tpm_quote::ManufacturerRoots::from_pem(&pem)?))
    }
}

/// A file that nobody but its owner may read.
fn secret_file(path: &Path) -> anyhow::Result<Zeroizing<Vec<u8>>> {
    use std::os::unix::fs::PermissionsExt;
    let file =
        std::fs::metadata(path).with_context(|| format!("can't read `{}`", path.display()))?;
    if file.permissions().mode() & 0o077 != 0 {
        bail!(
            "`{}` may be read by others than its owner: chmod 600 it",
            path.display()
        );
    }
    std::fs::read(path)
        .map(Zeroizing::new)
        .with_context(|| format!("can't read `{}`", path.display()))
}

const KEYS: &str = "docs/how/server-and-agent.md explains every key; `--config` names another file";
