//! Mounts: a positive list of what the platform adds, by destination, kind, source and options.

use std::collections::{BTreeMap, BTreeSet};

use estate::MountGroup;
use evidence::Deviation;

use super::Platform;
use crate::mountinfo::Seen;
use crate::overlay::Root;
use crate::spec::{Mount, Spec};
use crate::{PlatformMount, PlatformMountKind};

/// Whether the platform adds this mount to every container.
pub(crate) fn is_platform(mount: &Mount, platform: &Platform<'_>) -> bool {
    if !mount.others.is_empty() {
        return false;
    }
    if !is_bind(mount) {
        return is_pseudo(mount);
    }
    let simple = mount
        .options
        .iter()
        .all(|option| BIND_OPTIONS.contains(&option.as_str()));
    let own = platform.mounts.iter().any(|own| is_ours(own, mount));
    let file = PLATFORM_FILES.iter().any(|(destination, origins)| {
        *destination == mount.destination
            && origins.iter().any(|origin| origin.holds(mount, platform))
    });
    simple && (own || file)
}

fn is_ours(own: &PlatformMount, mount: &Mount) -> bool {
    let there = own.source == mount.source && own.destination == mount.destination;
    // The last of `ro` and `rw` counts.
    let access = mount
        .options
        .iter()
        .rev()
        .find(|option| matches!(option.as_str(), "ro" | "rw"));
    there && (own.kind == PlatformMountKind::Socket || access.is_some_and(|option| option == "ro"))
}

/// An option makes a bind mount, whatever the mount calls its type.
pub(crate) fn is_bind(mount: &Mount) -> bool {
    mount.kind == "bind"
        || mount
            .options
            .iter()
            .any(|option| option == "bind" || option == "rbind")
}

/// Mounts that the kernel shows and the specification does not explain; also one more upon a place than it explains.
pub(super) fn unexplained(spec: &Spec, root: &Root, seen: &[Seen]) -> BTreeSet<Deviation> {
    let mut budget: BTreeMap<String, usize> = BTreeMap::new();
    let linux = &spec.linux;
    let places = spec.mounts.iter().map(|mount| mount.destination.as_str());
    for place in places.chain(
        linux
            .masked_paths
            .iter()
            .chain(&linux.readonly_paths)
            .map(String::as_str),
    ) {
        for place in names(place) {
            *budget.entry(place).or_default() += 1;
        }
    }
    let mut found = BTreeSet::new();
    for mount in seen {
        let explained = match mount.point.as_str() {
            "/" => root.is(mount),
            point => {
                take(&mut budget, point)
                    || below_a_recursive_bind(spec, point)
                    || is_legacy_cgroup(spec, mount)
            }
        };
        if !explained {
            found.insert(Deviation::Mount {
                destination: mount.point.clone(),
                source: mount.source.clone(),
            });
        }
    }
    found
}

/// In most images `/var/run` is a link to `/run`, and the kernel shows where the mount really is.
fn names(place: &str) -> Vec<String> {
    let place = place.trim_end_matches('/');
    let mut names = vec![place.to_owned()];
    names.extend(
        place
            .strip_prefix("/var/run/")
            .map(|rest| format!("/run/{rest}")),
    );
    names
}

fn take(budget: &mut BTreeMap<String, usize>, point: &str) -> bool {
    match budget.get_mut(point) {
        Some(left) if *left > 0 => {
            *left -= 1;
            true
        }
        _ => false,
    }
}

/// Such a bind was judged as a whole: it is a deviation itself, or a mount of ours.
fn below_a_recursive_bind(spec: &Spec, point: &str) -> bool {
    spec.mounts.iter().any(|mount| {
        mount.options.iter().any(|option| option == "rbind")
            && point
                .strip_prefix(mount.destination.trim_end_matches('/'))
                .is_some_and(|rest| rest.starts_with('/'))
    })
}

/// With version 1 groups runc makes one mount for each controller below the one that was asked for.
fn is_legacy_cgroup(spec: &Spec, seen: &Seen) -> bool {
    seen.kind == "cgroup"
        && seen.point.starts_with("/sys/fs/cgroup/")
        && spec
            .mounts
            .iter()
            .any(|mount| mount.destination == "/sys/fs/cgroup" && mount.kind == "cgroup")
}

/// File systems of the kernel that show nothing of the host.
fn is_pseudo(mount: &Mount) -> bool {
    PSEUDO.iter().any(|(destination, kind, source, read_only)| {
        (*destination, *kind, *source) == (&mount.destination, &mount.kind, &mount.source)
            && mount.options.iter().all(|option| is_pseudo_option(option))
            && (!read_only || mount.options.iter().any(|option| option == "ro"))
    })
}

fn is_pseudo_option(option: &str) -> bool {
    PSEUDO_OPTIONS.contains(&option) || PSEUDO_SETTINGS.iter().any(|name| option.starts_with(name))
}

/// Destination, type, source, and whether it must be read-only.
const PSEUDO: &[(&str, &str, &str, bool)] = &[
    ("/proc", "proc", "proc", false),
    ("/dev", "tmpfs", "tmpfs", false),
    ("/dev/pts", "devpts", "devpts", false),
    ("/dev/shm", "tmpfs", "shm", false),
    ("/dev/mqueue", "mqueue", "mqueue", false),
    ("/sys", "sysfs", "sysfs", true),
    ("/sys/fs/cgroup", "cgroup", "cgroup", true),
    ("/run", "tmpfs", "tmpfs", false),
];
const PSEUDO_OPTIONS: &[&str] = &[
    "nosuid",
    "noexec",
    "nodev",
    "relatime",
    "strictatime",
    "newinstance",
    "ro",
    "rw",
];
const PSEUDO_SETTINGS: &[&str] = &["mode=", "size=", "gid=", "ptmxmode="];
const BIND_OPTIONS: &[&str] = &[
    "bind", "rbind", "ro", "rw", "rprivate", "private", "rslave", "slave", "nosuid", "nodev",
    "noexec",
];

/// Where a file of the platform may come from.
enum Origin {
    /// The pod's sandbox, kept by containerd.
    Sandbox(&'static str),
    /// A pod's folder, kept by the kubelet: not a volume in it that the pod's author fills.
    Kubelet,
    /// The host's own file, for a container in the host's network.
    Host(&'static str),
}

impl Origin {
    fn holds(&self, mount: &Mount, platform: &Platform<'_>) -> bool {
        let source = mount.source.as_str();
        let climbs = source.split('/').any(|part| part == "..");
        match self {
            Self::Sandbox(file) => {
                platform.cri
                    && !climbs
                    && source.contains(SANDBOXES)
                    && source.rsplit('/').next() == Some(file)
            }
            Self::Kubelet => {
                platform.cri
                    && source.starts_with(KUBELET_PODS)
                    && MountGroup::of(&mount.destination, source) == Some(MountGroup::Kubernetes)
            }
            Self::Host(file) => source == *file,
        }
    }
}

const SANDBOXES: &str = "/io.containerd.grpc.v1.cri/sandboxes/";
const KUBELET_PODS: &str = "/var/lib/kubelet/pods/";
const PLATFORM_FILES: &[(&str, &[Origin])] = &[
    ("/dev/shm", &[Origin::Sandbox("shm")]),
    ("/etc/hostname", &[Origin::Sandbox("hostname")]),
    (
        "/etc/hosts",
        &[
            Origin::Sandbox("hosts"),
            Origin::Kubelet,
            Origin::Host("/etc/hosts"),
        ],
    ),
    (
        "/etc/resolv.conf",
        &[
            Origin::Sandbox("resolv.conf"),
            Origin::Host("/etc/resolv.conf"),
        ],
    ),
    ("/dev/termination-log", &[Origin::Kubelet]),
    (
        "/var/run/secrets/kubernetes.io/serviceaccount",
        &[Origin::Kubelet],
    ),
];
