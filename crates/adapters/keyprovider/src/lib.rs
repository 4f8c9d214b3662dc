//! Key providers of ocicrypt, spoken to as its other users do: a program, or a service over gRPC or ttrpc.
//!
//! [`Providers`] reads the configuration that `OCICRYPT_KEYPROVIDER_CONFIG` names and gives a [`images::KeyService`] for
//! each name in it; [`protocol`] is the JSON of both sides. A provider sees the options that it is to wrap or the packet that
//! it is to open, and what its caller wrote for it: never the private keys, passwords or other providers' arguments.

mod address;
mod command;
mod config;
mod error;
mod grpc;
pub mod protocol;
mod provider;
mod said;
mod tls;
mod ttrpc;

pub use config::ConfigError;
pub use error::ProviderError;
pub use provider::{Providers, Unusable};
