//! Private keys that stay in hardware modules (PKCS#11), named as ocicrypt's users name them.
//!
//! A [`KeyFile`] is the YAML with the key's URI; [`ModulePolicy`] says which modules may be loaded at all; [`Token`] uses the
//! key. A module is a vendor's library: to load it is to run its code. So it never runs in our process, where other keys lie
//! and where its crash would be ours: a helper, our own program anew with the module's environment, loads it and answers
//! questions over pipes ([`answer_questions`]). What a key file gives as environment is then simply the helper's.
//!
//! A wrong PIN brings a token nearer to its lock, so none is tried twice.

mod error;
mod helper;
mod key_file;
mod policy;
mod protocol;
mod token;
mod uri;
mod yaml;

pub use error::{KeyFileError, PolicyError, TokenFault, UriError};
pub use helper::answer_questions;
pub use key_file::{KeyFile, MAX_LEN};
pub use policy::{ModulePolicy, PermittedModule};
pub use protocol::RsaNumbers;
pub use token::{HelperProgram, Token, Tokens};
pub use uri::{Pin, PinSource, Uri};
