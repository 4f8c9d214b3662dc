//! `[image.NAME.run]`: the positive list of what may differ from the image.
//!
//! Whatever is not listed makes a workload another than the owner shipped. Variables that load code, move trust or lead
//! a client elsewhere can't be listed at all, nor can mounts over the places that programs are loaded from.

use std::collections::BTreeSet;
use std::fmt;

use serde::Serialize;

use crate::read::Value;
use crate::source::EstateError;

/// What may differ from an image while it still counts as "as shipped".
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize)]
pub struct RunRules {
    env: BTreeSet<String>,
    args: BTreeSet<Vec<String>>,
    mount_groups: BTreeSet<MountGroup>,
    mount_paths: BTreeSet<String>,
    probes: BTreeSet<Vec<String>>,
}

impl RunRules {
    /// Whether a variable of this name may be added or changed.
    #[must_use]
    pub fn allows_env(&self, name: &str) -> bool {
        self.env.contains(name)
    }

    /// Whether this whole command may run instead of the image's.
    #[must_use]
    pub fn allows_args(&self, args: &[String]) -> bool {
        self.args.contains(args)
    }

    /// Whether a mount at `destination` may be there; `group` is what the platform's mount is known to belong to.
    #[must_use]
    pub fn allows_mount(&self, destination: &str, group: Option<MountGroup>) -> bool {
        self.mount_paths.contains(destination)
            || group.is_some_and(|group| self.mount_groups.contains(&group))
    }

    /// Whether this exact command is a probe, and running it no exec session.
    #[must_use]
    pub fn allows_probe(&self, args: &[String]) -> bool {
        self.probes.contains(args)
    }

    /// Whether everything that this allows, `other` allows too.
    #[must_use]
    pub fn is_within(&self, other: &Self) -> bool {
        let Self {
            env,
            args,
            mount_groups,
            mount_paths,
            probes,
        } = self;
        env.is_subset(&other.env)
            && args.is_subset(&other.args)
            && mount_groups.is_subset(&other.mount_groups)
            && mount_paths.is_subset(&other.mount_paths)
            && probes.is_subset(&other.probes)
    }
}

/// Mounts that a platform adds, named as a group.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum MountGroup {
    /// Hosts, resolv.conf, host name, termination log and service account of a pod. What hosts and resolv.conf say is the
    /// pod's author's: whom a workload talks to, it must tell by their keys.
    Kubernetes,
    /// Our sockets and files.
    Bailiwick,
}

impl MountGroup {
    /// The group of a mount, told by where it appears and where on the node it comes from: a fixed list of pairs.
    #[must_use]
    pub fn of(destination: &str, source: &str) -> Option<Self> {
        if !is_clean(destination) || !is_clean(source) {
            return None;
        }
        let kubernetes = match destination {
            "/etc/hosts" => pod_file(source, &["*", "etc-hosts"]) || in_sandbox(source),
            "/dev/termination-log" => pod_file(source, &["*", "containers", "*", "*"]),
            "/etc/hostname" | "/etc/resolv.conf" | "/dev/shm" => in_sandbox(source),
            "/var/run/secrets/kubernetes.io/serviceaccount"
            | "/run/secrets/kubernetes.io/serviceaccount" => pod_file(
                source,
                &[
                    "*",
                    "volumes",
                    "kubernetes.io~projected",
                    "kube-api-access-*",
                ],
            ),
            _ => false,
        };
        let ours = is_under(destination, OUR_ROOT) && is_under(source, OUR_ROOT);
        kubernetes
            .then_some(Self::Kubernetes)
            .or(ours.then_some(Self::Bailiwick))
    }
}

impl fmt::Display for MountGroup {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Kubernetes => "kubernetes",
            Self::Bailiwick => "bailiwick",
        })
    }
}

pub(crate) fn parse(value: &Value<'_>) -> Result<RunRules, EstateError> {
    let table = value.table_of(&["env", "args", "mounts", "probes"])?;
    let commands = |key: &str| table.find(key).map(|value| value.set(command)).transpose();
    let mut rules = RunRules {
        env: table
            .find("env")
            .map(|value| value.set(variable))
            .transpose()?
            .unwrap_or_default(),
        args: commands("args")?.unwrap_or_default(),
        probes: commands("probes")?.unwrap_or_default(),
        ..RunRules::default()
    };
    for mount in table
        .find("mounts")
        .map(|value| value.set(mount))
        .transpose()?
        .unwrap_or_default()
    {
        match mount {
            Mount::Group(group) => rules.mount_groups.insert(group),
            Mount::Path(path) => rules.mount_paths.insert(path),
        };
    }
    Ok(rules)
}

#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
enum Mount {
    Group(MountGroup),
    Path(String),
}

fn variable(value: &Value<'_>) -> Result<String, EstateError> {
    let text = value.line()?;
    let head = text.starts_with(|c: char| c.is_ascii_alphabetic() || c == '_');
    if !head || !text.chars().all(|c| c.is_ascii_alphanumeric() || c == '_') {
        return Err(value.malformed("the name of a variable is wanted, without patterns"));
    }
    let upper = text.to_ascii_uppercase();
    let steers = FORBIDDEN_NAMES.contains(&upper.as_str())
        || FORBIDDEN_STARTS
            .iter()
            .any(|start| upper.starts_with(start))
        || upper.ends_with("_PROXY");
    if steers {
        return Err(value.malformed(
            "a variable that loads code, moves trust or leads a client elsewhere can't be listed",
        ));
    }
    Ok(text)
}

fn command(value: &Value<'_>) -> Result<Vec<String>, EstateError> {
    let words: Vec<String> = value
        .list()?
        .iter()
        .map(|item| {
            let text = item.text()?;
            if text.contains('\0') || text.len() > MAX_WORD {
                return Err(
                    item.malformed("a word of a command has no zero byte and at most 4096 bytes")
                );
            }
            Ok(text.to_owned())
        })
        .collect::<Result<_, _>>()?;
    match words.first() {
        Some(program) if !program.is_empty() => Ok(words),
        _ => Err(value.malformed("a command begins with its program")),
    }
}

fn mount(value: &Value<'_>) -> Result<Mount, EstateError> {
    let text = value.line()?;
    match text.as_str() {
        "kubernetes" => return Ok(Mount::Group(MountGroup::Kubernetes)),
        "bailiwick" => return Ok(Mount::Group(MountGroup::Bailiwick)),
        _ => {}
    }
    if !is_clean(&text) {
        return Err(value.malformed(
            "`kubernetes`, `bailiwick`, or an absolute path without `.`, `..`, `//` is wanted",
        ));
    }
    let covers = PROGRAM_ROOTS
        .iter()
        .any(|root| is_under(&text, root) || is_under(root, &text));
    if covers || text.starts_with("/etc/ld.so") {
        return Err(value.malformed("a mount there would replace what runs"));
    }
    Ok(Mount::Path(text))
}

fn is_clean(path: &str) -> bool {
    path.strip_prefix('/').is_some_and(|rest| {
        rest.split('/')
            .all(|part| !part.is_empty() && part != "." && part != "..")
    })
}

fn is_under(path: &str, root: &str) -> bool {
    path.strip_prefix(root)
        .is_some_and(|rest| rest.is_empty() || rest.starts_with('/'))
}

/// Whether kubelet made the file for a pod: the shape of its path below the pods' directory, `*` at a part's end for
/// anything but nothing.
// A volume that the pod's author fills lies elsewhere below the same directory, so its depth and words matter.
fn pod_file(source: &str, shape: &[&str]) -> bool {
    let Some(rest) = source.strip_prefix("/var/lib/kubelet/pods/") else {
        return false;
    };
    let parts: Vec<&str> = rest.split('/').collect();
    parts.len() == shape.len()
        && parts
            .iter()
            .zip(shape)
            .all(|(part, wanted)| match wanted.strip_suffix('*') {
                Some(start) => part
                    .strip_prefix(start)
                    .is_some_and(|rest| !rest.is_empty()),
                None => part == wanted,
            })
}

fn in_sandbox(source: &str) -> bool {
    SANDBOX_ROOTS.iter().any(|root| is_under(source, root))
}

const MAX_WORD: usize = 4096;

const OUR_ROOT: &str = "/run/bailiwick";

/// Where container runtimes keep the files that they mount into every pod.
const SANDBOX_ROOTS: [&str; 3] = [
    "/var/lib/containerd/io.containerd.grpc.v1.cri/sandboxes",
    "/run/containerd/io.containerd.grpc.v1.cri/sandboxes",
    "/run/containers/storage/overlay-containers",
];

/// Places that programs, libraries and the loader's and resolver's settings are read from.
const PROGRAM_ROOTS: [&str; 15] = [
    "/bin",
    "/sbin",
    "/lib",
    "/lib32",
    "/lib64",
    "/libx32",
    "/usr",
    "/proc",
    "/sys",
    "/dev",
    "/etc/ld.so.preload",
    "/etc/ssl",
    "/etc/nsswitch.conf",
    "/etc/passwd",
    "/etc/pki",
];

const FORBIDDEN_STARTS: [&str; 20] = [
    "LD_",
    "DYLD_",
    "PYTHON",
    "PERL5",
    "RUBY",
    "BASH_",
    "DOTNET_",
    "CORECLR_",
    "COMPLUS_",
    "OPENSSL_",
    "SSL_CERT_",
    "MALLOC_",
    "GIT_",
    "NODE_",
    "PGSSL",
    "PGSERVICE",
    "PGHOST",
    "CURL_",
    "AWS_CA_",
    "SPIFFE_",
];

const FORBIDDEN_NAMES: [&str; 34] = [
    "PATH",
    "IFS",
    "ENV",
    "PS4",
    "SHELLOPTS",
    "BASHOPTS",
    "PROMPT_COMMAND",
    "GCONV_PATH",
    "LOCPATH",
    "NLSPATH",
    "GLIBC_TUNABLES",
    "GETCONF_DIR",
    "HOSTALIASES",
    "LOCALDOMAIN",
    "RES_OPTIONS",
    "RESOLV_HOST_CONF",
    "TZDIR",
    "JAVA_TOOL_OPTIONS",
    "_JAVA_OPTIONS",
    "JDK_JAVA_OPTIONS",
    "JAVA_OPTS",
    "CLASSPATH",
    "PERLLIB",
    "PERL_MM_OPT",
    "GODEBUG",
    "REQUESTS_CA_BUNDLE",
    "PGPORT",
    "PGPASSFILE",
    "PGSYSCONFDIR",
    "PGREQUIREPEER",
    "PGCHANNELBINDING",
    "PGREQUIREAUTH",
    "KRB5_CONFIG",
    "PSQLRC",
];

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_platforms_mount_is_told_by_both_its_ends() {
        let pod = "/var/lib/kubelet/pods/4c1e/etc-hosts";
        assert_eq!(
            MountGroup::of("/etc/hosts", pod),
            Some(MountGroup::Kubernetes)
        );
        assert_eq!(MountGroup::of("/etc/hosts", "/tmp/hosts"), None);
        assert_eq!(
            MountGroup::of("/etc/hosts", "/var/lib/kubelet/pods/../../../tmp/hosts"),
            None
        );
        assert_eq!(MountGroup::of("/etc/ld.so.preload", pod), None);
        assert_eq!(
            MountGroup::of("/run/bailiwick/agent.sock", "/run/bailiwick/agent.sock"),
            Some(MountGroup::Bailiwick)
        );
        assert_eq!(
            MountGroup::of("/run/bailiwick", "/run/bailiwick-fake"),
            None
        );
        let filled_by_the_author =
            "/var/lib/kubelet/pods/4c1e/volumes/kubernetes.io~empty-dir/etc-hosts";
        assert_eq!(MountGroup::of("/etc/hosts", filled_by_the_author), None);
        let config_map = "/var/lib/kubelet/pods/4c1e/volumes/kubernetes.io~configmap/x";
        assert_eq!(
            MountGroup::of("/var/run/secrets/kubernetes.io/serviceaccount", config_map),
            None
        );
    }

    #[test]
    fn a_service_accounts_folder_is_filled_by_the_cluster_alone() {
        let at = |volume: &str| {
            let source = format!("/var/lib/kubelet/pods/4c1e/volumes/{volume}");
            MountGroup::of("/var/run/secrets/kubernetes.io/serviceaccount", &source)
        };
        assert_eq!(
            at("kubernetes.io~projected/kube-api-access-x7k2p"),
            Some(MountGroup::Kubernetes)
        );
        for volume in [
            "kubernetes.io~projected/mine",
            "kubernetes.io~projected/kube-api-access-",
            "kubernetes.io~projected/kube-api-access-x7k2p/below",
            "kubernetes.io~configmap/kube-api-access-x7k2p",
            "kubernetes.io~empty-dir/kube-api-access-x7k2p",
        ] {
            assert_eq!(at(volume), None, "{volume}");
        }
    }
}
