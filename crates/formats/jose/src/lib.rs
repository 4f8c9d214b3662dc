#![doc = include_str!("../README.md")]

mod algorithm;
mod base64url;
mod jwk;
mod key;

pub mod jwe;
pub mod jws;
pub mod key_file;
pub mod strict_json;

pub use algorithm::Algorithm;
pub use jwk::{Curve, Jwk, JwkError, JwkSet, Thumbprint};
pub use jws::{
    Expected, ExpectedTyp, Header, Verified, VerifyError, decode_unverified_header, sign_compact,
    verify_compact,
};
pub use key::{EcdsaP256Key, PrivateKeyError, SignError, Signer, VerifyingKey};
