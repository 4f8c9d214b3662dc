//! The start gate's files, shared by the plug-in that a runtime calls instead of runc and by the agent: which layers were
//! opened on this node ([`Gated`]), what is known of each container since before it existed ([`MarksFolder`]), what lies
//! beneath a container's root ([`MountTable`]), and whether containerd leads every container through the gate
//! ([`handlers`]).
//!
//! But for [`layers_of_container`], which asks containerd when nobody else knows, nothing here asks anybody and nothing needs
//! a run-time: a container that the gate lets pass must not wait for it.

mod files;
mod gated;
pub mod handlers;
mod marks;
mod rootfs;
mod snapshots;

use std::path::Path;

pub use gated::{Gated, GatedError, GatedLayer, Gatedness};
pub use marks::{
    ContainerMarks, Created, HeldMark, Making, MarkError, MarksFolder, MarksLock, Touch,
};
pub use rootfs::{Beneath, MountTable};
pub use snapshots::layers_of_container;

/// Names under which the binary is the gate.
pub const GATE_NAMES: [&str; 2] = ["bailiwick-runc", "bailiwick-oci-runtime"];

/// Where marks lie unless the configuration says otherwise.
pub const DEFAULT_STATE: &str = "/run/bailiwick/gate";

/// Where the agent answers unless the configuration says otherwise.
pub const DEFAULT_SOCKET: &str = "/run/bailiwick/gate.sock";

/// Whether a program of this name is the gate.
pub fn is_gate_name(program: &Path) -> bool {
    program
        .file_name()
        .is_some_and(|name| GATE_NAMES.iter().any(|gate| name == *gate))
}

/// The ids of the containers whose processes share a process or mount space with whoever owns `namespace`, a file such as
/// `/proc/7/ns/pid`; told by control groups. `kind` is its name there.
pub fn containers_in_namespace(
    namespace: &Path,
    kind: &str,
) -> std::io::Result<std::collections::BTreeSet<String>> {
    rootfs::containers_in_namespace(namespace, kind)
}
