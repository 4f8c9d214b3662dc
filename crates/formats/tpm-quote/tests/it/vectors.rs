//! The recorded bytes.

use std::fs;
use std::path::Path;

use tpm_quote::{EventLog, ManufacturerRoots, PcrBank, PcrSelection, PublicArea};

/// What the recorded attestations were asked to sign along.
pub(crate) const CHALLENGE: [u8; 32] = [7; 32];
/// 2026-12-01, a week after the certificates were made.
pub(crate) const NOW: u64 = 1_796_083_200;

pub(crate) fn bytes(name: &str) -> Vec<u8> {
    fs::read(
        Path::new(env!("CARGO_MANIFEST_DIR"))
            .join("tests/vectors")
            .join(name),
    )
    .unwrap()
}

pub(crate) fn public(name: &str) -> PublicArea {
    PublicArea::parse_sized(&bytes(name)).unwrap()
}

pub(crate) fn pcrs(bank: PcrBank) -> PcrSelection {
    PcrSelection::new(bank, [0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 14]).unwrap()
}

pub(crate) fn boot_log() -> EventLog {
    EventLog::parse(&bytes("boot.log")).unwrap()
}

pub(crate) fn roots() -> ManufacturerRoots {
    ManufacturerRoots::from_pem(&bytes("manufacturer.pem")).unwrap()
}
