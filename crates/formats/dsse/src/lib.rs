#![doc = include_str!("../README.md")]

mod envelope;
mod key;
mod key_file;
mod statement;

pub use envelope::{Envelope, EnvelopeError, NotVerified, Signature, Verified, WrongType, pae};
pub use key::{NotSigned, SigningKey, VerifyingKey};
pub use key_file::KeyFileError;
pub use statement::{MAX_SUBJECTS, PAYLOAD_TYPE, Statement, StatementError, Subject};
