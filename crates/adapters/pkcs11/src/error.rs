//! What can go wrong with keys in tokens. No message quotes a PIN, or a URI, which may hold one.

use std::io;
use std::path::PathBuf;

use images::Kind;

/// Why a text is no PKCS#11 URI that is used here.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum UriError {
    /// Fault: whoever wrote it.
    #[error("URI does not begin with `pkcs11:`")]
    Scheme,
    /// Fault: whoever wrote it; an attribute has no `=`, no name, or bytes that stand for nothing.
    #[error("an attribute of the URI is malformed")]
    Malformed,
    /// Fault: whoever wrote it.
    #[error("the URI's attribute `{name}` stands twice")]
    Duplicate {
        /// Its name.
        name: String,
    },
    /// Fault: whoever wrote it; what is not understood might restrict which key is meant (RFC 7512 section 2.3).
    #[error("the URI's attribute `{}` is not known", name.escape_debug())]
    Unknown {
        /// Its name.
        name: String,
    },
    /// Fault: whoever wrote it.
    #[error("the URI's attribute `{name}` has no acceptable value")]
    Value {
        /// Its name.
        name: &'static str,
    },
    /// Fault: whoever wrote it.
    #[error("the URI names {what}")]
    Missing {
        /// What it lacks, in words.
        what: &'static str,
    },
}

/// Why a file is no key file for a token.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum KeyFileError {
    /// Fault: whoever wrote it.
    #[error("file has more than {limit} bytes")]
    TooLong {
        /// The most that is read.
        limit: usize,
    },
    /// Fault: whoever wrote it. What the file says is not quoted: it may be a PIN.
    #[error("file is no YAML that is read here: line {line}, {what}")]
    Yaml {
        /// Where.
        line: usize,
        /// What is wrong there.
        what: &'static str,
    },
    /// Fault: whoever wrote it.
    #[error("file has no `{member}` of the right shape")]
    Member {
        /// The member.
        member: &'static str,
    },
    /// Fault: whoever wrote it, or whoever wants other code to run.
    #[error("file sets `{}`, which decides what code runs", name.escape_debug())]
    Environment {
        /// The variable.
        name: String,
    },
    /// Fault: whoever wrote it.
    #[error("file's URI is refused")]
    Uri(#[source] UriError),
    /// Fault: whoever wrote it, or the file that it names.
    #[error("PIN can't be read from `{}`", path.display())]
    Pin {
        /// The file.
        path: PathBuf,
        /// What came of it.
        source: io::Error,
    },
}

/// Why no module is loaded.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum PolicyError {
    /// Fault: whoever set up this machine: without a policy, no module may be loaded.
    #[error("no file says which PKCS#11 modules may be loaded")]
    NoFile,
    /// Fault: whoever wrote it.
    #[error("policy `{}` can't be read", path.display())]
    Read {
        /// The file.
        path: PathBuf,
        /// What came of it.
        source: io::Error,
    },
    /// Fault: whoever wrote it.
    #[error("policy `{}` is malformed", path.display())]
    Malformed {
        /// The file.
        path: PathBuf,
        /// What came of it.
        source: KeyFileError,
    },
    /// Fault: whoever wrote the key file, or whoever set up this machine.
    #[error("module `{}` is not allowed by the policy", path.display())]
    Forbidden {
        /// The module.
        path: PathBuf,
    },
    /// Fault: whoever wrote the key file, or whoever set up this machine: it may decide which code the module runs.
    #[error("variable `{}` is not allowed by the policy", name.escape_debug())]
    Environment {
        /// Its name.
        name: String,
    },
    /// Fault: whoever wrote the key file, or whoever set up this machine.
    #[error("there is no module `{}`", name.escape_debug())]
    NotFound {
        /// Its name, or where it should be.
        name: String,
    },
    /// Fault: whoever wrote the key file.
    #[error("key file names no module")]
    NoModule,
}

/// Why a token did not do what it was asked for.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error, serde::Serialize, serde::Deserialize)]
#[serde(rename_all = "kebab-case")]
#[non_exhaustive]
pub enum TokenFault {
    /// Fault: whoever installed the module.
    #[error("the module can't be loaded or started")]
    Module,
    /// Fault: whoever plugged in, or named, the token.
    #[error("there is no such token")]
    NoToken,
    /// Fault: whoever wrote the key file.
    #[error("several tokens are called so: add `serial` or `slot-id` to the URI")]
    SeveralTokens,
    /// Fault: whoever wrote the key file.
    #[error("the token has no such RSA key")]
    NoKey,
    /// Fault: whoever wrote the key file.
    #[error("the token has several such keys: give both `id` and `object`")]
    SeveralKeys,
    /// Fault: the caller.
    #[error("the token wants a PIN")]
    PinMissing,
    /// Fault: the caller. It is not tried again.
    #[error("the token refused the PIN")]
    PinRefused,
    /// Fault: the caller, earlier; see [`crate::Tokens`].
    #[error("not asked: this module has refused a PIN already")]
    PinRefusedBefore,
    /// Fault: whoever tried wrong PINs. Nothing is risked here.
    #[error("one more wrong PIN would lock the token: log in with its own tool first")]
    LastTry,
    /// Fault: whoever tried wrong PINs.
    #[error("the token's PIN is locked")]
    PinLocked,
    /// Fault: whoever encrypted, or the token's maker.
    #[error("the token knows no RSA-OAEP with this hash")]
    Mechanism,
    /// Fault: none; the ciphertext is another key's, or was altered.
    #[error("the ciphertext is not for this key")]
    NotForThisKey,
    /// Fault: the token or its module.
    #[error("the token failed: {said}")]
    Failed {
        /// PKCS#11's name for it.
        said: String,
    },
    /// Fault: the module, which crashed or ended its process.
    #[error("the module's process ended: {how}")]
    Crashed {
        /// How it ended.
        how: String,
    },
    /// Fault: the module or the token.
    #[error("the module did not answer within {seconds} s")]
    Silent {
        /// How long it was waited for.
        seconds: u64,
    },
    /// Fault: the module, which wrote into our answer, or this program.
    #[error("the module's process gave no answer that is understood")]
    Garbled,
    /// Fault: this machine.
    #[error("the module's process can't be started")]
    Start,
}

impl TokenFault {
    /// What it means to whoever called.
    #[must_use]
    pub const fn kind(&self) -> Kind {
        match self {
            Self::PinMissing | Self::SeveralTokens | Self::SeveralKeys => Kind::Usage,
            Self::PinRefused | Self::PinRefusedBefore | Self::LastTry | Self::PinLocked => {
                Kind::Denied
            }
            Self::NoToken | Self::Silent { .. } => Kind::Unavailable,
            Self::NotForThisKey => Kind::Denied,
            Self::Module
            | Self::NoKey
            | Self::Mechanism
            | Self::Failed { .. }
            | Self::Crashed { .. }
            | Self::Garbled
            | Self::Start => Kind::Failed,
        }
    }
}
