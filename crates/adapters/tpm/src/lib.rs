//! The TPM of this machine: our own transport to device files and software TPMs, and the keys of an attested node.
//!
//! [`Tpm`] is one connection, shared by threads, one command at a time. Keys ([`EndorsementKey`], [`AttestationKey`],
//! [`NodeKey`]) hold the connection and leave the TPM's memory when they are dropped. Calls block; nothing that passes
//! to or from the TPM is ever logged. What is attested is judged elsewhere, by `tpm-quote`, from bytes.

pub use address::TpmAddress;
pub use client::Tpm;
pub use error::TpmError;
pub use keys::{Attestation, AttestationKey, EkKind, EndorsementKey, NodeKey};
pub use node_keys::TpmNodeKeys;

mod address;
mod client;
mod commands;
mod error;
mod keys;
pub mod lab;
mod node_keys;
mod transport;
