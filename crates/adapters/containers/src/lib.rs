//! What runs in a container, measured: containerd says which container a process belongs to, and everything else is
//! taken from content.
//!
//! Names, tags, manifest digests as the runtime reports them, and labels that an image may carry, prove nothing and are not
//! used. A fact that can't be measured is absent; absent satisfies no rule. The way:
//!
//! 1. control group → container id, confirmed by the runtime's first process in the same groups;
//! 2. the container's snapshot → its parent → the chain id → configurations whose diff ids give that chain id again;
//! 3. the runtime's specification, and what the kernel shows of the process, against that configuration → deviations;
//! 4. the running file against the file in the image's layers, by inode;
//! 5. events since this program watches → whether somebody may have had a hand inside.

mod client;
mod deviations;
mod exe;
pub mod gate;
mod image;
mod layers;
mod locate;
mod marks;
mod measure;
mod mountinfo;
mod overlay;
mod pod;
mod power;
mod probe;
mod spec;
mod start;
mod users;

use std::fs::File;
use std::io;
use std::path::PathBuf;
use std::sync::Arc;

use estate::Digest;
use evidence::WorkloadFacts;
use evidence::request::LayerUse;

use crate::client::Client;
use crate::exe::Hashes;
use crate::image::SeenImages;
use crate::marks::Marks;
use crate::start::Keeping;

pub use crate::probe::{DecoderError, NodeProbe};
pub use crate::start::{GateConfig, NodeGate};

/// How to reach the runtime, and what this platform adds to every container.
#[derive(Debug, Clone)]
pub struct Config {
    /// containerd's gRPC socket.
    pub socket: PathBuf,
    /// Mounts that are ours, such as the agent's socket.
    pub platform_mounts: Vec<PlatformMount>,
    /// Runtime binaries beside runc that a container may run under: the start gate's wrapper.
    pub runtime_binaries: Vec<String>,
}

/// One mount that the platform adds: from exactly here to exactly there.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PlatformMount {
    /// Path on the node.
    pub source: String,
    /// Path in the container.
    pub destination: String,
    /// What lies there.
    pub kind: PlatformMountKind,
}

/// What a mount of the platform holds.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum PlatformMountKind {
    /// The socket itself: gone for a running container once whoever listens is started anew.
    Socket,
    /// The folder in which the socket lies alone. Only read-only: otherwise one container could put its own socket there for all
    /// the others.
    Folder,
}

/// The process to measure. Whoever implements this holds the process, so that its number can't pass to another one.
pub trait Subject: Send + Sync {
    /// Its number on this node.
    fn pid(&self) -> u32;
    /// Its user.
    fn uid(&self) -> u32;
    /// The path of its control group.
    fn cgroup(&self) -> io::Result<String>;
    /// Whether it still runs.
    fn still_alive(&self) -> bool;
}

/// Why the runtime told nothing.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum RuntimeError {
    /// Fault: the configuration; the path of the socket can't be written as an address.
    #[error("`{}` is not the path of a socket", .socket.display())]
    Address {
        /// The path.
        socket: PathBuf,
        /// What is wrong with it.
        #[source]
        source: tonic::transport::Error,
    },
    /// Fault: the runtime; it is away or refused. Asked again at the next measurement.
    #[error("the container runtime did not answer `{what}`")]
    Refused {
        /// What was asked.
        what: &'static str,
        /// The answer.
        #[source]
        source: Box<tonic::Status>,
    },
    /// Fault: the runtime, or whoever wrote what it keeps.
    #[error("the container runtime answered `{what}` with something else")]
    Malformed {
        /// What was asked.
        what: &'static str,
    },
}

/// Why a process was not measured.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum MeasureError {
    /// Fault: none; the process ended meanwhile.
    #[error("the process ended while it was measured")]
    Gone,
    /// Fault: this machine.
    #[error("the process can't be read")]
    Unreadable {
        /// What the kernel said.
        #[source]
        source: io::Error,
    },
    /// Fault: the runtime.
    #[error("the container runtime can't be asked about the process")]
    Runtime {
        /// What went wrong.
        #[source]
        source: RuntimeError,
    },
}

/// One containerd.
#[derive(Clone)]
pub struct Containers {
    client: Client,
    config: Arc<Config>,
    marks: Arc<Marks>,
    hashes: Arc<Hashes>,
    seen: Arc<SeenImages>,
    /// Where there is a start gate.
    keeping: Option<Arc<Keeping>>,
}

impl Containers {
    /// Prepares to ask; the connection is made when it is needed. Call it inside a tokio run-time.
    pub fn new(config: Config) -> Result<Self, RuntimeError> {
        Ok(Self {
            client: Client::new(&config.socket)?,
            config: Arc::new(config),
            marks: Arc::default(),
            hashes: Arc::default(),
            seen: Arc::default(),
            keeping: None,
        })
    }

    /// With a start gate: what it marks is believed, and what is opened or delivered is written down for it.
    #[must_use]
    pub fn with_gate(mut self, config: GateConfig) -> Self {
        self.keeping = Some(Keeping::new(config));
        self
    }

    /// The gate's questions are answered from now on: only then is a gate that is called everywhere a gate.
    pub fn gate_is_served(&self) {
        if let Some(keeping) = &self.keeping {
            keeping.serves();
        }
    }

    /// Follows the runtime's events for ever. Containers that were created before, or while the runtime was away, count as
    /// interactive: nobody knows what was done in them.
    pub async fn watch(&self) {
        let keep = async {
            match &self.keeping {
                Some(keeping) => start::keep(self, keeping).await,
                None => std::future::pending().await,
            }
        };
        let keeping = self.keeping.as_deref();
        tokio::join!(marks::watch(&self.client, &self.marks, keeping), keep);
    }

    /// Returns when events are being followed.
    pub async fn watching(&self) {
        self.marks.watching().await;
    }

    /// Measures a process.
    pub async fn measure(&self, subject: &dyn Subject) -> Result<WorkloadFacts, MeasureError> {
        measure::measure(self, subject).await
    }

    /// Every place in every manifest of the content store where this layer is listed, in any namespace.
    pub async fn manifests_listing_layer(
        &self,
        layer: Digest,
    ) -> Result<Vec<LayerUse>, RuntimeError> {
        layers::manifests_listing(&self.client, layer).await
    }

    /// The digest of a program of the host; hashed again when its inode, size or times are others.
    pub(crate) async fn digest_of(&self, path: PathBuf) -> io::Result<Option<Digest>> {
        let hashes = Arc::clone(&self.hashes);
        let hashed = tokio::task::spawn_blocking(move || hashes.of_host_file(&File::open(path)?));
        hashed.await.map_err(io::Error::other).flatten()
    }

    /// Whether it is the digest of one of these programs. What can't be read is nobody's program.
    pub(crate) async fn is_one_of(&self, digest: Digest, programs: &[PathBuf]) -> bool {
        for path in programs {
            match self.digest_of(path.clone()).await {
                Ok(Some(known)) if known == digest => return true,
                _ => {}
            }
        }
        false
    }
}
