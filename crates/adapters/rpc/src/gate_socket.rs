//! The agent's socket for the start gate: root only, one question and one answer per connection, JSON behind its length.
//! Asked is whether a container may be made, or a hand be let into one. The client blocks and needs no run-time: the runtime
//! waits for it.

mod server;

use std::{
    fmt, io,
    os::unix::net::UnixStream as StdStream,
    path::{Path, PathBuf},
    time::Duration,
};

use agent::{GateOperation, GateQuestion};
use base64::{Engine, engine::general_purpose::STANDARD as B64};
use estate::Digest;
use evidence::{
    ContainerRef,
    request::{ExecRequest, Hand, StartRequest},
};
use serde::{Deserialize, Serialize};

pub use server::{GateAgent, serve};

use crate::{
    framing::{self, parse},
    released::{OnRecord, Trust, Untrusted},
};

/// A question as it goes over the socket.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
struct GateRequest {
    v: u8,
    operation: GateOperation,
    namespace: String,
    container: String,
    bundle: PathBuf,
    gated: Vec<Digest>,
    argv: Vec<String>,
}

/// What the agent answers.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(
    tag = "outcome",
    rename_all = "kebab-case",
    rename_all_fields = "camelCase",
    deny_unknown_fields
)]
enum GateReply {
    Passed {
        probe: bool,
        exposed: bool,
        records: Vec<Record>,
    },
    Denied {
        code: String,
        reason: String,
        #[serde(default, skip_serializing_if = "Option::is_none")]
        record: Option<Refusal>,
    },
    Unavailable {
        reason: String,
    },
    Refused {
        reason: String,
    },
}

/// What was put on record for an answer, binary in standard base64.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
struct Record {
    request: String,
    leaf: String,
    proof: String,
    ledger_key: String,
    lab: bool,
}

/// The leaf of a denial, and its receipt.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
struct Refusal {
    leaf: String,
    proof: String,
}

/// Nothing stands against it, and what the agent says was put on record for it is on record. Made by [`GateClient::ask`] alone.
#[derive(Debug)]
pub struct Passed {
    probe: bool,
    exposed: bool,
    records: Vec<OnRecord>,
}

impl Passed {
    /// The command is a probe that the owner allows: no hand.
    pub fn is_probe(&self) -> bool {
        self.probe
    }

    /// What the container held counts as exposed from now on.
    pub fn is_exposed(&self) -> bool {
        self.exposed
    }

    /// What was put on record; each is verified.
    pub fn records(&self) -> &[OnRecord] {
        &self.records
    }
}

/// It must not go on.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum GateSocketError {
    /// Fault: this node: no agent listens.
    #[error("no agent answers on `{}`", .path.display())]
    NoAgent {
        /// The socket.
        path: PathBuf,
        /// What the kernel said.
        #[source]
        source: io::Error,
    },
    /// Fault: the agent; it went away or did not answer in time.
    #[error("the agent's answer did not come")]
    Broken(#[source] io::Error),
    /// Fault: the agent, of another version perhaps.
    #[error("the agent's answer is not understood")]
    NotUnderstood,
    /// Fault: the agent: it let pass what it put nothing on record for, or something else.
    #[error("the agent let it pass and shows no record of it")]
    NoRecord,
    /// Fault: the agent, the server, or whoever pinned another ledger.
    #[error("the agent's answer is not shown to be on record")]
    Untrusted(#[source] Untrusted),
    /// Fault: none; policy said no, and that is on record.
    #[error("denied: {reason}")]
    Denied {
        /// Stable code.
        code: String,
        /// A sentence.
        reason: String,
    },
    /// Fault: the server or the way to it.
    #[error("not available now: {0}")]
    Unavailable(String),
    /// Fault: the caller.
    #[error("the agent refused: {0}")]
    Refused(String),
}

impl GateSocketError {
    /// Whether nobody was there to judge.
    pub fn is_agent_away(&self) -> bool {
        matches!(self, Self::NoAgent { .. })
    }
}

/// The blocking client.
pub struct GateClient {
    path: PathBuf,
    patience: Duration,
}

impl fmt::Debug for GateClient {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("GateClient").field(&self.path).finish()
    }
}

impl GateClient {
    /// A client for the socket at `path`.
    pub fn new(path: &Path) -> Self {
        Self {
            path: path.to_owned(),
            patience: PATIENCE,
        }
    }

    /// Whether an agent listens.
    ///
    /// # Errors
    /// [`GateSocketError::NoAgent`]
    pub fn reach(&self) -> Result<(), GateSocketError> {
        self.connect().map(drop)
    }

    /// Asks, and verifies whatever record the answer rests on.
    ///
    /// # Errors
    /// [`GateSocketError`]: none of them lets anything pass.
    pub fn ask(&self, question: &GateQuestion, trust: &Trust) -> Result<Passed, GateSocketError> {
        let mut stream = self.connect()?;
        let reply = framing::ask(&mut stream, &GateRequest::of(question), self.patience)
            .map_err(GateSocketError::Broken)?;
        let passed = parse_reply(&reply)?;
        for record in &passed.records {
            trust.verify(record).map_err(GateSocketError::Untrusted)?;
        }
        rests_on_records(question, &passed)?;
        Ok(passed)
    }

    fn connect(&self) -> Result<StdStream, GateSocketError> {
        StdStream::connect(&self.path).map_err(|source| GateSocketError::NoAgent {
            path: self.path.clone(),
            source,
        })
    }
}

impl GateRequest {
    fn of(question: &GateQuestion) -> Self {
        let GateQuestion {
            operation,
            container,
            bundle,
            gated,
            argv,
        } = question.clone();
        Self {
            v: 1,
            operation,
            namespace: container.runtime_namespace,
            container: container.id,
            bundle,
            gated,
            argv,
        }
    }

    fn into_question(self) -> Result<GateQuestion, &'static str> {
        let Self {
            v,
            operation,
            namespace: runtime_namespace,
            container: id,
            bundle,
            gated,
            argv,
        } = self;
        if v != 1 {
            return Err("the question has an unknown version");
        }
        if operation != GateOperation::Exec && !argv.is_empty() {
            return Err("a command belongs to an exec alone");
        }
        Ok(GateQuestion {
            operation,
            container: ContainerRef {
                runtime_namespace,
                id,
            },
            bundle,
            gated,
            argv,
        })
    }
}

fn parse_reply(body: &[u8]) -> Result<Passed, GateSocketError> {
    match parse(body).ok_or(GateSocketError::NotUnderstood)? {
        GateReply::Passed {
            probe,
            exposed,
            records,
        } => Ok(Passed {
            probe,
            exposed,
            records: records
                .into_iter()
                .map(Record::into_on_record)
                .collect::<Option<_>>()
                .ok_or(GateSocketError::NotUnderstood)?,
        }),
        GateReply::Denied {
            code,
            reason,
            record: _,
        } => Err(GateSocketError::Denied { code, reason }),
        GateReply::Unavailable { reason } => Err(GateSocketError::Unavailable(reason)),
        GateReply::Refused { reason } => Err(GateSocketError::Refused(reason)),
    }
}

impl Record {
    fn into_on_record(self) -> Option<OnRecord> {
        let Self {
            request,
            leaf,
            proof,
            ledger_key,
            lab,
        } = self;
        Some(OnRecord {
            request: B64.decode(request).ok()?,
            leaf: B64.decode(leaf).ok()?,
            proof,
            ledger_key,
            lab,
        })
    }
}

/// What is known to hold opened layers passes on record only, and each record is about the question. Where the gate found
/// nothing, the agent may find nothing either, and then there is nothing to record; nor is there for a probe that the image
/// itself brings.
fn rests_on_records(question: &GateQuestion, passed: &Passed) -> Result<(), GateSocketError> {
    let wants_record = passed.exposed || !question.gated.is_empty() && !passed.probe;
    if passed.probe && question.operation != GateOperation::Exec {
        return Err(GateSocketError::NotUnderstood);
    }
    if wants_record && passed.records.is_empty() {
        return Err(GateSocketError::NoRecord);
    }
    if passed
        .records
        .iter()
        .all(|record| is_about(&record.request, question))
    {
        Ok(())
    } else {
        Err(GateSocketError::NoRecord)
    }
}

fn is_about(request: &[u8], question: &GateQuestion) -> bool {
    let hand = match question.operation {
        GateOperation::Create => return parse::<StartRequest>(request).is_some(),
        // The new container starts; what its memory held is another matter.
        GateOperation::Restore if parse::<StartRequest>(request).is_some() => return true,
        GateOperation::Restore => Hand::Seen,
        GateOperation::Checkpoint => Hand::Checkpoint,
        GateOperation::Exec => Hand::Exec,
        GateOperation::Join => Hand::Join,
    };
    parse::<ExecRequest>(request)
        .is_some_and(|asked| asked.hand == hand && asked.argv == question.argv)
}

/// A start may wait for a server that is being restarted; the kubelet's own limit is two minutes.
const PATIENCE: Duration = Duration::from_secs(60);

#[cfg(test)]
mod tests;
