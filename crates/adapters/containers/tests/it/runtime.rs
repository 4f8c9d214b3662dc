//! One containerd in a mount namespace of its own, and images made on the spot.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::atomic::{AtomicU32, Ordering};
use std::thread::sleep;
use std::time::Duration;

use containers::{
    Config, Containers, GateConfig, MeasureError, PlatformMount, PlatformMountKind, Subject,
};
use estate::Digest;
use evidence::{Deviation, WorkloadFacts};
use tempfile::TempDir;

/// Ends with everything that it started.
pub(crate) struct Runtime {
    folder: TempDir,
    daemon: Child,
    started: Vec<String>,
    driver: tokio::runtime::Runtime,
}

/// An image that was imported.
pub(crate) struct Image {
    pub(crate) name: String,
    pub(crate) manifest: Digest,
    pub(crate) config: Digest,
    pub(crate) layer: Digest,
    pub(crate) diff_id: Digest,
}

/// A process by number; good enough where the test itself keeps it alive.
pub(crate) struct ByNumber(pub(crate) u32);

impl Subject for ByNumber {
    fn pid(&self) -> u32 {
        self.0
    }

    fn uid(&self) -> u32 {
        0
    }

    fn cgroup(&self) -> io::Result<String> {
        let text = fs::read_to_string(format!("/proc/{}/cgroup", self.0))?;
        let path = text.lines().find_map(|line| line.strip_prefix("0::"));
        path.map(str::to_owned)
            .ok_or_else(|| io::ErrorKind::InvalidData.into())
    }

    fn still_alive(&self) -> bool {
        let stat = fs::read_to_string(format!("/proc/{}/stat", self.0));
        stat.is_ok_and(|stat| !stat.contains(") Z "))
    }
}

impl Runtime {
    pub(crate) fn start() -> Self {
        let folder = tempfile::tempdir().unwrap();
        let at = folder.path().display();
        let config = format!(
            "version = 2\nroot = \"{at}/root\"\nstate = \"{at}/state\"\ndisabled_plugins = [\"io.containerd.grpc.v1.cri\"]\n\
             [grpc]\naddress = \"{at}/containerd.sock\"\n[ttrpc]\naddress = \"{at}/ttrpc.sock\"\n\
             [plugins.\"io.containerd.internal.v1.opt\"]\npath = \"{at}/opt\"\n"
        );
        fs::write(folder.path().join("config.toml"), config).unwrap();
        let log = fs::File::create(folder.path().join("log")).unwrap();
        // runc and ctr keep state in /run/containerd whatever their configuration says.
        let script = "mkdir -p /run/containerd && mount -t tmpfs none /run/containerd && exec containerd --config \"$0\"";
        let daemon = Command::new("unshare")
            .args(["--mount", "--propagation", "private", "sh", "-c", script])
            .arg(folder.path().join("config.toml"))
            .env_clear()
            .env("PATH", PATH)
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(log)
            .spawn()
            .unwrap();
        let driver = tokio::runtime::Runtime::new().unwrap();
        let runtime = Self {
            folder,
            daemon,
            started: Vec::new(),
            driver,
        };
        let ready = (0..100).any(|_| {
            sleep(Duration::from_millis(100));
            runtime.try_ctr(&["version"]).is_some()
        });
        assert!(ready, "containerd did not start");
        runtime
    }

    /// Measuring begins now; what was created before is unknown to it.
    pub(crate) fn watched(&self) -> Containers {
        let containers = self.unwatched();
        let watcher = containers.clone();
        self.driver.spawn(async move { watcher.watch().await });
        self.driver.block_on(containers.watching());
        containers
    }

    /// The same, with a start gate; a new one each time, as after a restart of the agent.
    pub(crate) fn gated(&self, gate: GateConfig) -> Containers {
        let containers = self.unwatched().with_gate(gate);
        let watcher = containers.clone();
        self.driver.spawn(async move { watcher.watch().await });
        self.driver.block_on(containers.watching());
        containers
    }

    pub(crate) fn unwatched(&self) -> Containers {
        let _context = self.driver.enter();
        Containers::new(Config {
            socket: self.path("containerd.sock"),
            platform_mounts: vec![PlatformMount {
                source: self.path("agent.sock").display().to_string(),
                destination: "/run/bailiwick.sock".into(),
                kind: PlatformMountKind::Socket,
            }],
            runtime_binaries: Vec::new(),
        })
        .unwrap()
    }

    pub(crate) fn block_on<T>(&self, future: impl Future<Output = T>) -> T {
        self.driver.block_on(future)
    }

    pub(crate) fn try_measure(
        &self,
        containers: &Containers,
        pid: u32,
    ) -> Result<WorkloadFacts, MeasureError> {
        self.block_on(containers.measure(&ByNumber(pid)))
    }

    pub(crate) fn measure(&self, containers: &Containers, pid: u32) -> WorkloadFacts {
        self.try_measure(containers, pid).unwrap()
    }

    pub(crate) fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    /// Makes an image out of busybox, and imports it under `name`. Images of one `layer` text share their layer.
    pub(crate) fn image(&self, name: &str, layer: &str, config: &[&str]) -> Image {
        let work = self.path(&format!("image-{}", next()));
        let base = self.path(&format!("layer-{layer}"));
        if !base.exists() {
            make_layer(&base, layer);
        }
        run(Command::new("cp").arg("-a").arg(&base).arg(&work));
        let image = format!("{}:v1", work.display());
        let command: &[&str] = if config.contains(&"--config.entrypoint") {
            &[]
        } else {
            &SLEEP
        };
        run(Command::new("umoci")
            .args(["config", "--image", &image])
            .args(STANDARD)
            .args(command)
            .args(config));
        let archive = self.path(&format!("archive-{}.tar", next()));
        let to = format!("oci-archive:{}:{name}", archive.display());
        run(Command::new("skopeo").args(["copy", "--quiet", &format!("oci:{image}"), &to]));
        self.ctr(&["images", "import", &archive.display().to_string()]);

        let listed = self.ctr(&["images", "ls", &format!("name=={name}")]);
        let manifest = listed
            .split_whitespace()
            .find_map(|word| word.parse::<Digest>().ok())
            .unwrap();
        let text = self.ctr(&["content", "get", &manifest.to_string()]);
        let document: serde_json::Value = serde_json::from_str(&text).unwrap();
        let digest = |pointer: &str| {
            document
                .pointer(pointer)
                .unwrap()
                .as_str()
                .unwrap()
                .parse::<Digest>()
                .unwrap()
        };
        let config = digest("/config/digest");
        let text = self.ctr(&["content", "get", &config.to_string()]);
        let diff = serde_json::from_str::<serde_json::Value>(&text).unwrap();
        Image {
            name: name.to_owned(),
            manifest,
            config,
            layer: digest("/layers/0/digest"),
            diff_id: diff
                .pointer("/rootfs/diff_ids/0")
                .unwrap()
                .as_str()
                .unwrap()
                .parse()
                .unwrap(),
        }
    }

    /// Starts a container and returns its id and the number of its first process.
    pub(crate) fn run(&mut self, options: &[&str], image: &str, command: &[&str]) -> (String, u32) {
        let id = format!("bw-test-{}-{}", std::process::id(), next());
        self.started.push(id.clone());
        self.ctr(&[&["run", "-d", "--null-io"], options, &[image, &id], command].concat());
        let pid = self.processes(&id).first().copied().unwrap();
        (id, pid)
    }

    pub(crate) fn processes(&self, id: &str) -> Vec<u32> {
        let listed = self.ctr(&["tasks", "ps", id]);
        listed
            .lines()
            .filter_map(|line| line.split_whitespace().next()?.parse().ok())
            .collect()
    }

    pub(crate) fn remove(&self, id: &str) {
        self.try_ctr(&["tasks", "rm", "--force", id]);
        self.try_ctr(&["containers", "rm", id]);
    }

    pub(crate) fn ctr(&self, args: &[&str]) -> String {
        self.try_ctr(args)
            .unwrap_or_else(|| panic!("ctr {args:?} failed"))
    }

    pub(crate) fn try_ctr(&self, args: &[&str]) -> Option<String> {
        let output = Command::new("nsenter")
            .args([
                "--mount",
                "--target",
                &self.daemon.id().to_string(),
                "ctr",
                "--address",
            ])
            .arg(self.path("containerd.sock"))
            .args(args)
            .env_clear()
            .env("PATH", PATH)
            .stdin(Stdio::null())
            .output()
            .unwrap();
        output
            .status
            .success()
            .then(|| String::from_utf8(output.stdout).unwrap())
    }
}

impl Drop for Runtime {
    fn drop(&mut self) {
        for id in std::mem::take(&mut self.started) {
            self.remove(&id);
        }
        let _ = self.daemon.kill();
        let _ = self.daemon.wait();
    }
}

pub(crate) fn mount(destination: &str, source: &str) -> Deviation {
    Deviation::Mount {
        destination: destination.into(),
        source: source.into(),
    }
}

pub(crate) fn busybox() -> Digest {
    Digest::of(fs::read(BUSYBOX).unwrap())
}

fn make_layer(at: &Path, text: &str) {
    let image = format!("{}:v1", at.display());
    run(Command::new("umoci").args(["init", "--layout"]).arg(at));
    run(Command::new("umoci").args(["new", "--image", &image]));
    let bundle = at.with_extension("bundle");
    run(Command::new("umoci")
        .args(["unpack", "--image", &image])
        .arg(&bundle));
    let root = bundle.join("rootfs");
    for folder in ["bin", "etc", "tmp"] {
        fs::create_dir_all(root.join(folder)).unwrap();
    }
    for program in ["bin/busybox", "bin/busybox-app"] {
        fs::copy(BUSYBOX, root.join(program)).unwrap();
    }
    for applet in ["sh", "sleep", "cp", "mv", "true", "mount"] {
        std::os::unix::fs::symlink("busybox", root.join("bin").join(applet)).unwrap();
    }
    fs::write(root.join("etc/text"), text).unwrap();
    fs::write(
        root.join("etc/passwd"),
        "root:x:0:0::/:/bin/sh\napp:x:1000:1000::/:/bin/sh\n",
    )
    .unwrap();
    fs::write(root.join("etc/group"), "root:x:0:root\napp:x:1000:\n").unwrap();
    run(Command::new("umoci")
        .args(["repack", "--image", &image])
        .arg(&bundle));
}

fn run(command: &mut Command) {
    let output = command.env("PATH", PATH).output().unwrap();
    assert!(
        output.status.success(),
        "{command:?}: {}",
        String::from_utf8_lossy(&output.stderr)
    );
}

fn next() -> u32 {
    static NEXT: AtomicU32 = AtomicU32::new(0);
    NEXT.fetch_add(1, Ordering::Relaxed)
}

const BUSYBOX: &str = "/bin/busybox";
const PATH: &str = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin";
const STANDARD: [&str; 4] = ["--config.env", "PATH=/bin", "--config.workingdir", "/"];
const SLEEP: [&str; 4] = ["--config.entrypoint", "/bin/sleep", "--config.cmd", "1000"];
