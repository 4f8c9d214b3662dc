//! What the start gate asks: may this container be made, may this hand go into it.

use std::path::PathBuf;

use estate::Digest;
use evidence::ContainerRef;
use serde::{Deserialize, Serialize};

use crate::agent::Delivered;

/// What a runtime is about to do.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum GateOperation {
    /// Make a container.
    Create,
    /// Make a container from the memory of another life.
    Restore,
    /// Write a container's memory to a file.
    Checkpoint,
    /// Start another process in a container.
    Exec,
    /// Make a container in the process space of another, which is the one that is asked about.
    Join,
}

/// A question of the gate. Nothing in it is believed but what the agent finds itself; what it adds makes an answer stricter.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct GateQuestion {
    /// What is about to happen.
    pub operation: GateOperation,
    /// The container; for [`GateOperation::Join`] the one whose process space is joined.
    pub container: ContainerRef,
    /// The OCI bundle of the container that the gate was called for.
    pub bundle: PathBuf,
    /// Chains of opened layers that the gate found below the container.
    pub gated: Vec<Digest>,
    /// The command of an exec; empty otherwise.
    pub argv: Vec<String>,
}

/// Nothing stands against it.
#[derive(Debug, Clone, Default)]
pub struct GateAnswer {
    /// The command is a probe that the owner allows: no hand.
    pub probe: bool,
    /// What the container held counts as exposed from now on.
    pub exposed: bool,
    /// What was put on record for it; each receipt was verified.
    pub records: Vec<Delivered>,
}
