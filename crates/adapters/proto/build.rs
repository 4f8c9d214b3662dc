//! Turns the vendored `.proto` files into Rust, without protoc.

use std::error::Error;
use std::path::Path;

/// Spoken on both sides.
const OURS: &[&str] = &[
    "bailiwick/node/v1/node.proto",
    "bailiwick/workload/v1/delivery.proto",
];

/// Spoken on both sides; apart, since its messages have no package.
const SPIFFE: &[&str] = &["spiffe/workload/workload.proto"];

/// Asked only.
const CONTAINERD: &[&str] = &[
    "github.com/containerd/containerd/api/events/container.proto",
    "github.com/containerd/containerd/api/events/image.proto",
    "github.com/containerd/containerd/api/events/task.proto",
    "github.com/containerd/containerd/api/services/containers/v1/containers.proto",
    "github.com/containerd/containerd/api/services/content/v1/content.proto",
    "github.com/containerd/containerd/api/services/events/v1/events.proto",
    "github.com/containerd/containerd/api/services/images/v1/images.proto",
    "github.com/containerd/containerd/api/services/namespaces/v1/namespace.proto",
    "github.com/containerd/containerd/api/services/snapshots/v1/snapshots.proto",
    "github.com/containerd/containerd/api/services/tasks/v1/tasks.proto",
    "github.com/containerd/containerd/api/services/version/v1/version.proto",
    "github.com/containerd/containerd/runtime/v2/runc/options/oci.proto",
];

fn main() -> Result<(), Box<dyn Error>> {
    println!("cargo::rerun-if-changed=proto");
    let mut containerd = protox::compile(CONTAINERD, [Path::new("proto")])?;
    for file in &mut containerd.file {
        // Comments of others are no Rust documentation: their links and indented lines would warn.
        file.source_code_info = None;
    }
    tonic_prost_build::configure()
        .build_server(false)
        .build_transport(false)
        .include_file("containerd.rs")
        .compile_fds(containerd)?;
    for (files, to) in [(OURS, "ours.rs"), (SPIFFE, "spiffe.rs")] {
        tonic_prost_build::configure()
            .build_transport(false)
            .include_file(to)
            .compile_fds(protox::compile(files, [Path::new("proto")])?)?;
    }
    Ok(())
}
