//! How a container differs from its image, beyond what the platform always adds. Pure comparison; unknown is a difference.

mod isolation;
mod mounts;
mod process;

use std::collections::BTreeSet;

use evidence::Deviation;

use crate::PlatformMount;
use crate::mountinfo::Seen;
use crate::overlay::Root;
use crate::spec::{ImageConfig, Spec};
use crate::users::Users;

pub(crate) use isolation::{default_capability, device_rule_is_default, lacks_masks, starts_own};
pub(crate) use mounts::{is_bind, is_platform as is_platform_mount};

/// What this platform may add, and under which runtime.
pub(crate) struct Platform<'a> {
    /// Whether the container came through CRI: a pod's shared namespaces and files are then the platform's.
    pub(crate) cri: bool,
    pub(crate) mounts: &'a [PlatformMount],
    /// The node's own name, which a container in the host's network gets.
    pub(crate) hostname: &'a str,
    pub(crate) runtime: RuntimeIsKnown,
}

/// Whether runc, or a wrapper that the configuration names, runs the container.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum RuntimeIsKnown {
    Yes,
    No,
}

/// What the specification promises beyond the image.
pub(crate) fn from_spec(
    spec: &Spec,
    image: &ImageConfig,
    users: &Users,
    platform: &Platform<'_>,
) -> BTreeSet<Deviation> {
    let mut found = BTreeSet::new();
    process::compare(&spec.process, &image.run(), users, platform, &mut found);
    for mount in &spec.mounts {
        if !is_platform_mount(mount, platform) {
            found.insert(Deviation::Mount {
                destination: mount.destination.clone(),
                source: mount.source.clone(),
            });
        }
    }
    isolation::compare(spec, platform, &mut found);
    if spec.root.path != "rootfs" {
        found.insert(other("root.path"));
    }
    found.extend(unknown("", spec.others.keys(), &["ociVersion", "hostname"]));
    found.extend(
        spec.annotations
            .keys()
            .filter(|name| !name.starts_with("io.kubernetes.cri."))
            .map(|name| Deviation::Other {
                what: format!("annotations.{name}"),
            }),
    );
    if platform.runtime == RuntimeIsKnown::No {
        found.insert(other("runtime"));
    }
    found
}

/// What the kernel shows beyond the specification: mounts that came later, namespaces shared with the host.
pub(crate) fn from_kernel(
    spec: &Spec,
    root: &Root,
    seen: &[Seen],
    shared: &[&str],
) -> BTreeSet<Deviation> {
    let mut found = mounts::unexplained(spec, root, seen);
    found.extend(shared.iter().map(|name| Deviation::Namespace {
        name: (*name).to_owned(),
    }));
    found
}

/// What shows before there is a process: mounts that the container's root will carry with it, namespaces that will be the
/// host's.
pub(crate) fn before_start(below_root: &[Seen], shared: &[&str]) -> BTreeSet<Deviation> {
    let mounts = below_root.iter().map(|mount| Deviation::Mount {
        destination: mount.point.clone(),
        source: mount.source.clone(),
    });
    let shared = shared.iter().map(|name| Deviation::Namespace {
        name: (*name).to_owned(),
    });
    mounts.chain(shared).collect()
}

fn other(what: &str) -> Deviation {
    Deviation::Other {
        what: what.to_owned(),
    }
}

/// Members that are not on the list: what we do not know may do anything.
fn unknown<'a>(
    prefix: &'a str,
    keys: impl Iterator<Item = &'a String> + 'a,
    known: &'a [&str],
) -> impl Iterator<Item = Deviation> + 'a {
    keys.filter(|key| !known.contains(&key.as_str()))
        .map(move |key| Deviation::Other {
            what: format!("{prefix}{key}"),
        })
}

#[cfg(test)]
mod tests;
