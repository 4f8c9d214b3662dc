//! The parts that the demo plays on: registry, database, two nodes with their runtimes, and the lab.

use std::fs;
use std::path::{Path, PathBuf};

use anyhow::{Context, bail};
use fixture::{
    ContainerSpec, Containerd, Cri, Decoder, Mount, Network, NodeConfig, PodNetwork, PodSpec,
    Postgres, Recipe, Registry, Scratch, workspace_binary,
};

use crate::cli::{Bailiwick, Said};
use crate::rows::Rows;
use crate::tell::{Since, Tell};

/// Everything that runs; ends when it is dropped.
pub struct Stage {
    /// What is said.
    pub tell: Tell,
    /// The program.
    pub bailiwick: Bailiwick,
    /// The registry.
    pub registry: Registry,
    /// The database of the records.
    pub postgres: Postgres,
    /// The node in the right place.
    pub dal05: Node,
    /// The node in another place.
    pub fra02: Node,
    /// The server's database.
    pub rows: Rows,
    /// The folder of everything.
    pub scratch: Scratch,
    lab: PathBuf,
}

/// A node: its runtime, and where its agent listens for workloads.
pub struct Node {
    /// Its name in the inventory.
    pub name: &'static str,
    /// The runtime.
    pub containerd: Containerd,
    /// The runtime as a kubelet uses it.
    pub cri: Cri,
    folder: PathBuf,
    socket: PathBuf,
}

impl Stage {
    /// Starts everything.
    ///
    /// # Errors
    /// The first part that does not come up.
    pub async fn set(tell: Tell) -> anyhow::Result<Self> {
        let since = Since::now();
        let scratch = Scratch::new("demo")?;
        scratch.clean_on_interrupt()?;
        let lab = scratch.join("lab");
        let bailiwick = Bailiwick::new(&workspace_binary("bailiwick")?, &lab.join("client.toml"));
        let registry = Registry::start(&scratch)?;
        let network = PodNetwork::start(&scratch)?;
        let postgres = Postgres::start_for_pods(&scratch, &network)?;
        let pause = registry.push(&Recipe::pause().build(&scratch)?, "demo/pause:1")?;
        let node = async |name: &'static str| -> anyhow::Result<Node> {
            let folder = lab.join("nodes").join(name);
            let decoder = decoder(bailiwick.program(), &folder.join("key.sock"));
            let config = NodeConfig::new(name, &registry, &pause)
                .network(&network)
                .decoder(decoder)
                .runtime(folder.join("gate/bailiwick-runc"));
            let containerd = Containerd::start(&scratch, &config)?;
            let cri = containerd.cri().await?;
            Ok(Node {
                name,
                containerd,
                cri,
                socket: folder.join("workload/agent.sock"),
                folder,
            })
        };
        let dal05 = node("dal05-n01").await?;
        let fra02 = node("fra02-n01").await?;
        tell.chapter("0  the stage: registry, PostgreSQL, two containerd nodes; then software TPMs, server, agents");
        tell.step(
            since.took(),
            "docker-registry, postgres, containerd, containerd",
            &format!("in {}", scratch.path().display()),
        );
        let up = lab_up(&bailiwick, &scratch, &lab, [&dal05, &fra02])?;
        tell.step(up.took, &up.command, up.stdout.trim_end());
        let rows = Rows::open(&lab.join("server/server.db")).await?;
        Ok(Self {
            tell,
            bailiwick,
            registry,
            postgres,
            dal05,
            fra02,
            rows,
            scratch,
            lab,
        })
    }

    /// A path in the lab's folder.
    #[must_use]
    pub fn lab(&self, name: &str) -> PathBuf {
        self.lab.join(name)
    }

    /// Submits the lab's estate as it lies there now, and both owners of the records sign: outside a lab these are two people,
    /// each at home.
    ///
    /// # Errors
    /// When it is not in force then.
    pub fn apply_estate(&self) -> anyhow::Result<Said> {
        let folder = self.lab("estate").display().to_string();
        let [chen, eva] = ["chen", "eva"].map(|person| self.key_of(person).display().to_string());
        let words = ["apply", "-f", &folder, "--sign", &chen, "--sign", &eva];
        let applied = self.bailiwick.ask(&words)?.ended(0)?;
        if !applied.stdout.contains("applied") {
            bail!("both owners signed, and yet: {}", applied.stdout);
        }
        Ok(applied)
    }

    /// The private key with which one of the lab's people signs.
    #[must_use]
    pub fn key_of(&self, person: &str) -> PathBuf {
        self.lab("keys").join(person)
    }

    /// What the ledger's checkpoints are verified with.
    ///
    /// # Errors
    /// When the lab has none.
    pub fn ledger_key(&self) -> anyhow::Result<String> {
        let key = fs::read_to_string(self.lab("server/ledger.key"))
            .context("the lab has no ledger key")?;
        Ok(key.trim().to_owned())
    }

    /// Ends everything.
    pub fn end(self) {
        let since = Since::now();
        self.scratch.clean();
        self.tell.chapter("7  the end");
        self.tell.step(
            since.took(),
            "bailiwick lab down --purge, and everything else",
            "nothing is left",
        );
    }
}

impl Node {
    /// Where its agent listens for workloads.
    #[must_use]
    pub fn socket(&self) -> &Path {
        &self.socket
    }

    /// Where the lab keeps what belongs to it.
    #[must_use]
    pub fn folder(&self) -> &Path {
        &self.folder
    }

    /// A pod in a network of its own.
    #[must_use]
    pub fn pod(&self, name: &str) -> PodSpec {
        PodSpec {
            name: name.to_owned(),
            namespace: "clinical".to_owned(),
            network: Network::Own,
            ..PodSpec::default()
        }
    }

    /// A container of this image as it is shipped, with the folder of the agent's socket.
    #[must_use]
    pub fn container(&self, image: &str) -> ContainerSpec {
        let socket = Mount {
            host: self.folder().join("workload"),
            container: "/run/bailiwick".into(),
            read_only: true,
        };
        ContainerSpec {
            name: "medrec".to_owned(),
            image: image.to_owned(),
            mounts: vec![socket],
            ..ContainerSpec::default()
        }
    }
}

fn decoder(program: &Path, socket: &Path) -> Decoder {
    let words = ["plugin", "containerd-decoder", "--lab", "--socket"].map(str::to_owned);
    Decoder {
        program: program.to_owned(),
        arguments: words
            .into_iter()
            .chain([socket.display().to_string()])
            .collect(),
        environment: Vec::new(),
    }
}

fn lab_up(
    bailiwick: &Bailiwick,
    scratch: &Scratch,
    lab: &Path,
    nodes: [&Node; 2],
) -> anyhow::Result<Said> {
    let dir = lab.display().to_string();
    let (ending, folder) = (bailiwick.clone(), dir.clone());
    scratch.at_end(move || {
        if let Ok(down) = ending.run(&["lab", "down", "--purge", "--dir", &folder])
            && down.code != 0
        {
            eprintln!("warning: {}", down.stderr.trim());
        }
    });
    let of_node = |node: &Node| {
        let (socket, config) = (node.containerd.socket(), node.containerd.config_file());
        [("--containerd", socket), ("--containerd-config", config)].map(|(option, file)| {
            [
                option.to_owned(),
                format!("{}={}", node.name, file.display()),
            ]
        })
    };
    let options: Vec<String> = nodes.into_iter().flat_map(of_node).flatten().collect();
    let words = ["lab", "up", "--dir", &dir];
    let words: Vec<&str> = words
        .into_iter()
        .chain(options.iter().map(String::as_str))
        .collect();
    let mut up = bailiwick.run(&words)?.ended(0)?;
    up.command = "bailiwick lab up".to_owned();
    Ok(up)
}
