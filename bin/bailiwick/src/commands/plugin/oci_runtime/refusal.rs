//! Why the runtime is not called. The sentence stands on stderr and in the runtime's own log, whose last line containerd and
//! the kubelet show.

use std::{
    error::Error,
    fs::OpenOptions,
    io::{self, Write},
    os::unix::fs::OpenOptionsExt,
    path::PathBuf,
};

use containers::gate::{GatedError, MarkError};
use rpc::gate_socket::GateSocketError;

use crate::system::SystemClock;

/// The runtime is not called.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub(crate) enum Refusal {
    /// Fault: whoever set the gate up.
    #[error("the start gate's configuration `{}` is refused: {why}", .path.display())]
    Config {
        /// The file.
        path: PathBuf,
        /// What is wrong.
        why: String,
    },
    /// Fault: whoever set the gate up.
    #[error("the runtime `{}` behind the start gate does not start", .runtime.display())]
    Runtime {
        /// The program.
        runtime: PathBuf,
        /// What the kernel said.
        #[source]
        source: io::Error,
    },
    /// Fault: whoever calls, or this version: the gate has to know what a container is made of.
    #[error("the start gate does not understand `{command}`: {why}")]
    Arguments {
        /// The command.
        command: &'static str,
        /// What is wrong.
        why: String,
    },
    /// Fault: whoever made the bundle.
    #[error("the start gate refuses `{what}`: {why}")]
    Document {
        /// `config.json` or the process.
        what: String,
        /// What is wrong.
        why: String,
    },
    /// Fault: the caller.
    #[error("container with the id `{}` exists already", .id.escape_debug())]
    Exists {
        /// The container's.
        id: String,
    },
    /// Fault: this machine.
    #[error("the start gate can't see the mounts of this machine")]
    Mounts(#[source] io::Error),
    /// Fault: whoever made the bundle, or this machine.
    #[error("the start gate can't tell whose process space `{}` is", .path.display())]
    Joined {
        /// What is joined.
        path: PathBuf,
        /// What the kernel said.
        #[source]
        source: io::Error,
    },
    /// Fault: see the source.
    #[error("the start gate does not know which layers were opened")]
    Gated(#[from] GatedError),
    /// Fault: see the source.
    #[error("the start gate can't use the container's marks")]
    Marks(#[from] MarkError),
    /// Fault: whoever set the gate up.
    #[error("the start gate does not know whose records count: {0}")]
    Trust(String),
    /// Fault: the caller.
    #[error(
        "the command is allowed as a probe, but not with a terminal, user, folder or environment that is not the container's"
    )]
    NoProbe,
    /// Fault: see the source.
    #[error("{what} does not pass the start gate")]
    Agent {
        /// What was to happen.
        what: &'static str,
        /// Why not.
        #[source]
        source: GateSocketError,
    },
}

/// The runtime's log, as it was told.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Log {
    pub(super) path: PathBuf,
    pub(super) is_json: bool,
}

impl Refusal {
    /// The error and its causes in one sentence.
    pub(super) fn explain(&self) -> String {
        let mut text = format!("bailiwick: {self}");
        let mut cause = self.source();
        while let Some(error) = cause {
            text.push_str(": ");
            text.push_str(&error.to_string());
            cause = error.source();
        }
        crate::output::plain(&text).replace('\n', " ")
    }

    /// Says why.
    pub(super) fn tell(&self, log: Option<&Log>) {
        let text = self.explain();
        let _ = writeln!(io::stderr(), "{text}");
        if let Some(log) = log
            && let Err(error) = log.append(&text)
        {
            let _ = writeln!(io::stderr(), "bailiwick: the log can't be written: {error}");
        }
    }
}

impl Log {
    fn append(&self, text: &str) -> io::Result<()> {
        let time = SystemClock.timestamp().to_string();
        let line = if self.is_json {
            serde_json::json!({ "level": "error", "msg": text, "time": time }).to_string()
        } else {
            format!("time={time:?} level=error msg={text:?}")
        };
        let mut file = OpenOptions::new()
            .append(true)
            .create(true)
            .mode(0o644)
            .open(&self.path)?;
        file.write_all(format!("{line}\n").as_bytes())
    }
}
