//! A software TPM does what a node needs, and a verifier that has only bytes believes it, or refuses for the right
//! reason. Each test starts its own TPMs and ends them.
#![expect(
    clippy::unwrap_used,
    clippy::indexing_slicing,
    reason = "test code: a failure here is a failed test"
)]

mod hostile;
mod keys;
mod lab;
mod node_keys;
mod refused;
mod tools;

use std::time::{SystemTime, UNIX_EPOCH};

use tempfile::TempDir;
use tpm::Tpm;
use tpm::lab::{Manufacturer, RunningTpm, SoftwareTpm};

/// A software TPM that runs, and its home; the TPM ends before its home goes.
struct Machine {
    running: RunningTpm,
    software: SoftwareTpm,
    _home: TempDir,
}

impl Machine {
    fn start() -> Self {
        let home = tempfile::tempdir().unwrap();
        let manufacturer = Manufacturer::at(&home.path().join("ca")).unwrap();
        let software = manufacturer
            .make(&home.path().join("tpm"), "node-1")
            .unwrap();
        let running = software.start_on_free_port().unwrap();
        Self {
            running,
            software,
            _home: home,
        }
    }

    fn connect(&self) -> Tpm {
        self.running.connect().unwrap()
    }

    /// A power cycle: registers and memory are empty, what is stored stays.
    fn reboot(mut self) -> Self {
        drop(self.running);
        self.running = self.software.start_on_free_port().unwrap();
        self
    }
}

fn now() -> u64 {
    #[expect(
        clippy::disallowed_methods,
        reason = "certificates of this moment are judged at this moment"
    )]
    let now = SystemTime::now();
    now.duration_since(UNIX_EPOCH).unwrap().as_secs()
}
