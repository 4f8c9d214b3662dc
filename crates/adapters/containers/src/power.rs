//! Whether a container has power over its host.

use crate::deviations::{
    Platform, default_capability, device_rule_is_default, is_bind, is_platform_mount, lacks_masks,
    starts_own,
};
use crate::spec::{Mount, Spec};

/// Privileged in effect: powers beyond the default, host namespaces, devices, hooks, or the host's own folders.
pub(crate) fn is_privileged(
    spec: &Spec,
    platform: &Platform<'_>,
    shared_with_host: &[&str],
) -> bool {
    let capabilities = spec.process.capabilities.values().flatten().flatten();
    let linux = &spec.linux;
    capabilities
        .into_iter()
        .any(|name| !default_capability(name))
        || !starts_own(spec, "pid")
        || !starts_own(spec, "mount")
        || shared_with_host
            .iter()
            .any(|name| matches!(*name, "pid" | "ipc" | "mount"))
        || !linux.devices.is_empty()
        || !linux.resources.devices.iter().all(device_rule_is_default)
        || lacks_masks(spec)
        || spec.hooks.values().flatten().flatten().next().is_some()
        || spec
            .mounts
            .iter()
            .any(|mount| reaches_host(mount, platform))
}

fn reaches_host(mount: &Mount, platform: &Platform<'_>) -> bool {
    if is_platform_mount(mount, platform) {
        return false;
    }
    let writable_kernel = matches!(
        mount.kind.as_str(),
        "sysfs" | "cgroup" | "cgroup2" | "proc" | "debugfs" | "bpf"
    );
    let source = mount.source.trim_end_matches('/');
    let climbs = source.split('/').any(|part| part == "..");
    let host_folder = is_bind(mount)
        && (source.is_empty()
            || climbs
            || HOST_FOLDERS.iter().any(|folder| {
                source == *folder
                    || source
                        .strip_prefix(folder)
                        .is_some_and(|rest| rest.starts_with('/'))
            }));
    writable_kernel || host_folder
}

/// Whoever writes here, or talks to a socket here, is root soon.
const HOST_FOLDERS: &[&str] = &[
    "/bin", "/boot", "/dev", "/etc", "/lib", "/proc", "/root", "/run", "/sbin", "/sys", "/usr",
    "/var/lib", "/var/run",
];
