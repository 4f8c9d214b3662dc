#![doc = include_str!("../README.md")]

mod armor;
mod key;
mod material;
mod proof;
mod signature;
mod signing;
mod wire;

pub use key::{KeyKind, PublicKey, PublicKeyError};
pub use signature::{SshSigError, SshSignature};
pub use signing::{SigningKey, SigningKeyError};
