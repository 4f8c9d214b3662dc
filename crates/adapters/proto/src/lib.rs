//! Generated code only: what we say over gRPC, and what containerd says. Sources and their licences are in `proto/README.md`.
//!
//! - [`bailiwick::node::v1`]: node and server; [`bailiwick::workload::v1`]: workload and agent.
//! - [`spiffe`]: the SPIFFE Workload API.
//! - [`containerd`]: containerd's own services, client side.

pub use generated::asked::containerd;
pub use generated::spiffe;
pub use generated::spoken::bailiwick;

#[expect(
    missing_docs,
    unreachable_pub,
    clippy::allow_attributes,
    clippy::allow_attributes_without_reason,
    reason = "written by the build script; the .proto files hold the documentation"
)]
mod generated {
    pub mod asked {
        include!(concat!(env!("OUT_DIR"), "/containerd.rs"));
    }

    pub mod spoken {
        include!(concat!(env!("OUT_DIR"), "/ours.rs"));
    }

    pub mod spiffe {
        include!(concat!(env!("OUT_DIR"), "/spiffe.rs"));
    }
}
