//! What can go wrong between us and a provider, and which exit code each failure deserves.

use std::io;
use std::path::PathBuf;
use std::time::Duration;

use images::Kind;

use crate::config::ConfigError;
use crate::protocol::AnswerError;

/// Why a provider did not do its part.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ProviderError {
    /// Fault: whoever wrote the configuration.
    #[error("it is configured in a way that can't be used here")]
    Config(#[source] ConfigError),
    /// Fault: whoever wrote the configuration; or the program is not installed.
    #[error("`{}` can't be started", program.display())]
    Start {
        /// The program.
        program: PathBuf,
        /// What the kernel said.
        source: io::Error,
    },
    /// Fault: the provider's program; its own words follow.
    #[error("it ended with {status} and said: {said}")]
    Ended {
        /// Exit status or signal.
        status: String,
        /// What it wrote to its standard error, cut and harmless.
        said: String,
    },
    /// Fault: the provider; asking again may help.
    #[error("it did not answer within {} seconds", limit.as_secs_f32())]
    Slow {
        /// How long it had.
        limit: Duration,
    },
    /// Fault: the provider.
    #[error("its answer is longer than {limit} bytes")]
    TooLong {
        /// How long it may be.
        limit: usize,
    },
    /// Fault: the provider, or the way to it.
    #[error("it can't be spoken to at `{address}`")]
    Unreachable {
        /// Where it should listen.
        address: String,
        /// What came of it.
        source: io::Error,
    },
    /// Fault: the provider's service; its own words follow.
    #[error("it answered with `{code}` and said: {said}")]
    Refused {
        /// The status's name or number.
        code: String,
        /// What that means here.
        kind: Kind,
        /// Its message, cut and harmless.
        said: String,
    },
    /// Fault: the provider, or who is in its place.
    #[error("it does not speak ttrpc")]
    Framing,
    /// Fault: the provider.
    #[error("its answer is of no use")]
    Answer(#[source] AnswerError),
    /// Fault: the provider; anybody could have read the layer.
    #[error("it made a packet that holds the key in clear")]
    InClear,
    /// Fault: this machine.
    #[error("the question could not be put")]
    Machine(#[source] io::Error),
}

impl ProviderError {
    /// What this failure means to whoever called.
    #[must_use]
    pub const fn kind(&self) -> Kind {
        match self {
            Self::Config(_) | Self::Start { .. } => Kind::Usage,
            Self::Slow { .. } | Self::Unreachable { .. } => Kind::Unavailable,
            Self::Refused { kind, .. } => *kind,
            Self::InClear => Kind::VerificationFailed,
            Self::Ended { .. }
            | Self::TooLong { .. }
            | Self::Framing
            | Self::Answer(_)
            | Self::Machine(_) => Kind::Failed,
        }
    }
}
