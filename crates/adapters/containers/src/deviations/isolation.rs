//! Namespaces, hooks, devices, masks and filters: what keeps a container apart.

use std::collections::BTreeSet;

use evidence::Deviation;

use super::{Platform, other, unknown};
use crate::spec::{DeviceRule, Spec};

pub(super) fn compare(spec: &Spec, platform: &Platform<'_>, found: &mut BTreeSet<Deviation>) {
    namespaces(spec, platform, found);
    let hooks = spec.hooks.values().flatten().flatten();
    found.extend(hooks.map(|hook| Deviation::Hook {
        path: hook.path.clone(),
    }));

    let linux = &spec.linux;
    if !linux.devices.is_empty() {
        found.insert(other("linux.devices"));
    }
    if !linux.resources.devices.iter().all(device_rule_is_default) {
        found.insert(other("linux.resources.devices"));
    }
    found.extend(linux.sysctl.keys().map(|name| Deviation::Other {
        what: format!("linux.sysctl.{name}"),
    }));
    for (name, paths, known) in [
        ("maskedPaths", &linux.masked_paths, MASKED),
        ("readonlyPaths", &linux.readonly_paths, READ_ONLY),
    ] {
        // Hiding one of the image's own files changes what the program does.
        found.extend(
            paths
                .iter()
                .filter(|path| !known.contains(&path.as_str()))
                .map(|path| Deviation::Other {
                    what: format!("linux.{name}.{path}"),
                }),
        );
    }
    if lacks_masks(spec) {
        found.insert(other("linux.maskedPaths"));
    }
    if linux
        .seccomp
        .as_ref()
        .is_some_and(|filter| asks_others(&filter.to_string()))
    {
        found.insert(other("linux.seccomp"));
    }
    found.extend(unknown(
        "linux.",
        linux.others.keys(),
        &["cgroupsPath", "mountLabel"],
    ));
}

/// Whether the container has this namespace for itself.
pub(crate) fn starts_own(spec: &Spec, kind: &str) -> bool {
    spec.linux
        .namespaces
        .iter()
        .any(|namespace| namespace.kind == kind && namespace.path.is_empty())
}

/// Whether a path that shows the host's memory, keys or firmware lies open.
pub(crate) fn lacks_masks(spec: &Spec) -> bool {
    let has = |paths: &[String], path: &str| paths.iter().any(|has| has == path);
    let linux = &spec.linux;
    !(ALWAYS_MASKED
        .iter()
        .all(|path| has(&linux.masked_paths, path))
        && ALWAYS_READ_ONLY
            .iter()
            .all(|path| has(&linux.readonly_paths, path)))
}

/// Whether containerd gives this capability to every container.
pub(crate) fn default_capability(name: &str) -> bool {
    DEFAULT_CAPABILITIES.contains(&name)
}

/// Whether containerd gives this rule to every container: nothing but null, zero, full, random, urandom, terminals.
pub(crate) fn device_rule_is_default(rule: &DeviceRule) -> bool {
    let number = (rule.major, rule.minor);
    !rule.allow
        || rule.kind == "c"
            && (DEFAULT_DEVICES.contains(&number) || matches!(number, (Some(136), None | Some(-1))))
}

fn namespaces(spec: &Spec, platform: &Platform<'_>, found: &mut BTreeSet<Deviation>) {
    let mut report = |name: &str| {
        found.insert(Deviation::Namespace {
            name: name.to_owned(),
        });
    };
    for kind in ["pid", "ipc", "uts", "mount", "network"] {
        // The containers of a pod share what the pod's sandbox holds; whether that is the host's own, the kernel tells.
        let of_the_pod = platform.cri
            && matches!(kind, "ipc" | "uts" | "network")
            && spec
                .linux
                .namespaces
                .iter()
                .any(|namespace| namespace.kind == kind);
        if !starts_own(spec, kind) && !of_the_pod {
            report(kind);
        }
    }
    for namespace in &spec.linux.namespaces {
        let expected = matches!(
            namespace.kind.as_str(),
            "pid" | "ipc" | "uts" | "mount" | "network"
        );
        let own_cgroup = namespace.kind == "cgroup" && namespace.path.is_empty();
        if !expected && !own_cgroup {
            report(&namespace.kind);
        }
    }
}

/// Whether a filter hands system calls to a tracer or listener outside.
fn asks_others(filter: &str) -> bool {
    ["SCMP_ACT_NOTIFY", "SCMP_ACT_TRACE", "listenerPath"]
        .iter()
        .any(|word| filter.contains(word))
}

const DEFAULT_CAPABILITIES: &[&str] = &[
    "CAP_AUDIT_WRITE",
    "CAP_CHOWN",
    "CAP_DAC_OVERRIDE",
    "CAP_FOWNER",
    "CAP_FSETID",
    "CAP_KILL",
    "CAP_MKNOD",
    "CAP_NET_BIND_SERVICE",
    "CAP_NET_RAW",
    "CAP_SETFCAP",
    "CAP_SETGID",
    "CAP_SETPCAP",
    "CAP_SETUID",
    "CAP_SYS_CHROOT",
];
const DEFAULT_DEVICES: &[(Option<i64>, Option<i64>)] = &[
    (Some(1), Some(3)),
    (Some(1), Some(5)),
    (Some(1), Some(7)),
    (Some(1), Some(8)),
    (Some(1), Some(9)),
    (Some(5), Some(0)),
    (Some(5), Some(1)),
    (Some(5), Some(2)),
];
/// Masked by every containerd that is in use.
const ALWAYS_MASKED: &[&str] = &[
    "/proc/kcore",
    "/proc/keys",
    "/proc/timer_list",
    "/sys/firmware",
];
const ALWAYS_READ_ONLY: &[&str] = &[
    "/proc/bus",
    "/proc/fs",
    "/proc/irq",
    "/proc/sys",
    "/proc/sysrq-trigger",
];
/// Masked by one of them.
const MASKED: &[&str] = &[
    "/proc/acpi",
    "/proc/asound",
    "/proc/interrupts",
    "/proc/kcore",
    "/proc/keys",
    "/proc/latency_stats",
    "/proc/sched_debug",
    "/proc/scsi",
    "/proc/timer_list",
    "/proc/timer_stats",
    "/sys/devices/virtual/powercap",
    "/sys/firmware",
];
const READ_ONLY: &[&str] = &[
    "/proc/asound",
    "/proc/bus",
    "/proc/fs",
    "/proc/irq",
    "/proc/sys",
    "/proc/sysrq-trigger",
];
