//! Boot event logs (`TCG_PCR_EVENT2`, PC Client Platform Firmware Profile 10): read, written, replayed.
//!
//! An event's *type* is in no digest, and its *data* only sometimes: whoever sends a log can relabel events without
//! changing a PCR. So a proven event shows its register, its place in the order and its digest, and its data only
//! where they hash to the digest. The type can be read as a claim and has no way into [`MeasuredEvent`].

use crate::hash::HashAlgorithm;
use crate::pcr::{PCR_COUNT, PcrBank};
use crate::wire::ParseError;

pub use replay::{MeasuredBoot, MeasuredEvent};

mod read;
mod replay;
mod write;

/// Why an event log is refused.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum EventLogError {
    /// Fault: whoever sent the log.
    #[error("the event log can't be read")]
    Malformed {
        /// What is wrong with it.
        #[source]
        source: ParseError,
    },
    /// Fault: whoever sent the log.
    #[error("event {event} does not have exactly one digest for each bank of the log")]
    Digests {
        /// The position of the event.
        event: usize,
    },
    /// Fault: whoever sent the log.
    #[error("event {event} is for the PCR {pcr}, which does not exist")]
    Pcr {
        /// The position of the event.
        event: usize,
        /// The register.
        pcr: u32,
    },
    /// Fault: whoever sent the log; the locality of the start can be told once, before anything is measured.
    #[error("event {event} tells the start-up locality a second time, too late, or wrongly")]
    Locality {
        /// The position of the event.
        event: usize,
    },
    /// Fault: the platform, which keeps no log for the bank, or whoever chose the bank.
    #[error("the event log has no digests for the bank `{bank}`")]
    NoSuchBank {
        /// The bank.
        bank: PcrBank,
    },
}

/// An event log. Nothing in it is proven until a quote is: see [`crate::Quote::prove_log`].
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct EventLog {
    banks: Vec<LogBank>,
    events: Vec<Event>,
}

impl EventLog {
    /// An empty log with digests for these banks.
    #[must_use]
    pub fn new(banks: &[PcrBank]) -> Self {
        let banks = banks
            .iter()
            .map(|bank| LogBank {
                id: bank.algorithm().id(),
                size: bank.algorithm().size(),
            })
            .collect();
        Self {
            banks,
            events: Vec::new(),
        }
    }

    /// Reads a log, as firmware hands it over and Linux shows it in `binary_bios_measurements`.
    ///
    /// # Errors
    /// When it is not exactly one crypto-agile log within bounds.
    pub fn parse(bytes: &[u8]) -> Result<Self, EventLogError> {
        read::log(bytes)
    }

    /// The log as firmware would write it.
    #[must_use]
    pub fn to_bytes(&self) -> Vec<u8> {
        write::log(self)
    }

    /// Adds an event whose digest is that of its own data.
    pub fn measure(&mut self, pcr: PcrSlot, claimed_type: u32, data: &[u8]) {
        self.measure_content(pcr, claimed_type, data, data);
    }

    /// Adds an event whose digest is that of `content`, a file for instance, and whose data only describe it.
    pub fn measure_content(
        &mut self,
        pcr: PcrSlot,
        claimed_type: u32,
        content: &[u8],
        data: &[u8],
    ) {
        let digests = self.banks.iter().map(|bank| {
            bank.hash()
                .map(|hash| hash.digest(&[content]))
                .unwrap_or_default()
        });
        let digests = digests.collect();
        self.events.push(Event {
            pcr: pcr.0,
            claimed_type,
            digests,
            data: data.to_vec(),
        });
    }

    /// The events that extend a PCR, in order, with the register and the digest for `bank`.
    ///
    /// # Errors
    /// When the log has no digests for the bank.
    pub fn extensions(
        &self,
        bank: PcrBank,
    ) -> Result<impl Iterator<Item = (u8, &[u8])>, EventLogError> {
        let column = self.column(bank)?;
        let extending = self.events.iter().filter(|event| event.extends());
        Ok(extending
            .filter_map(move |event| Some((event.pcr, event.digests.get(column)?.as_slice()))))
    }

    /// All events, as claimed by whoever sent the log: for display only.
    #[must_use]
    pub fn claimed(&self) -> &[Event] {
        &self.events
    }

    fn column(&self, bank: PcrBank) -> Result<usize, EventLogError> {
        let id = bank.algorithm().id();
        self.banks
            .iter()
            .position(|other| other.id == id)
            .ok_or(EventLogError::NoSuchBank { bank })
    }
}

/// One event as claimed: not proven, for display only.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Event {
    pcr: u8,
    claimed_type: u32,
    /// One for each bank of the log, in the log's order.
    digests: Vec<Vec<u8>>,
    data: Vec<u8>,
}

impl Event {
    /// The register.
    #[must_use]
    pub const fn pcr(&self) -> u8 {
        self.pcr
    }

    /// The type that the sender claims. It is in no digest: never judge by it.
    #[must_use]
    pub const fn claimed_type(&self) -> u32 {
        self.claimed_type
    }

    /// The data that the sender claims. They may be in no digest: never judge by them.
    #[must_use]
    pub fn claimed_data(&self) -> &[u8] {
        &self.data
    }

    /// Whether firmware extended a PCR for this event. Relabelling an event either way makes the replay miss the quote.
    const fn extends(&self) -> bool {
        self.claimed_type != event_type::NO_ACTION
    }
}

/// A register that can be measured into: 0 to 23.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct PcrSlot(u8);

impl PcrSlot {
    /// The register `index`, if there is one.
    #[must_use]
    pub const fn new(index: u8) -> Option<Self> {
        if index < PCR_COUNT {
            Some(Self(index))
        } else {
            None
        }
    }

    /// The register's number.
    #[must_use]
    pub const fn index(self) -> u8 {
        self.0
    }
}

/// Event types that firmware and boot loaders write (PC Client Platform Firmware Profile 10.4.1).
pub mod event_type {
    /// Information only, nothing is extended.
    pub const NO_ACTION: u32 = 0x03;
    /// Four bytes that end a register's pre-boot part.
    pub const SEPARATOR: u32 = 0x04;
    /// A string that names an action.
    pub const ACTION: u32 = 0x05;
    /// The firmware's version.
    pub const S_CRTM_VERSION: u32 = 0x08;
    /// What the boot loader measures.
    pub const IPL: u32 = 0x0d;
    /// A UEFI variable that configures the platform.
    pub const EFI_VARIABLE_DRIVER_CONFIG: u32 = 0x8000_0001;
    /// A UEFI variable of the boot order.
    pub const EFI_VARIABLE_BOOT: u32 = 0x8000_0002;
    /// A UEFI application that was loaded.
    pub const EFI_BOOT_SERVICES_APPLICATION: u32 = 0x8000_0003;
    /// The partition table.
    pub const EFI_GPT_EVENT: u32 = 0x8000_0006;
    /// A UEFI action.
    pub const EFI_ACTION: u32 = 0x8000_0007;
    /// A firmware volume.
    pub const EFI_PLATFORM_FIRMWARE_BLOB: u32 = 0x8000_0008;
    /// SMBIOS tables and the like.
    pub const EFI_HANDOFF_TABLES: u32 = 0x8000_0009;
    /// The certificate that allowed a loaded application.
    pub const EFI_VARIABLE_AUTHORITY: u32 = 0x8000_00e0;
}

/// A bank of the log: also banks that are not trusted are read, and passed over.
#[derive(Debug, Clone, PartialEq, Eq)]
struct LogBank {
    id: u16,
    size: usize,
}

impl LogBank {
    fn hash(&self) -> Option<HashAlgorithm> {
        HashAlgorithm::from_id(self.id, "PCR bank")
            .ok()
            .filter(|hash| hash.size() == self.size)
    }
}

const SPEC_ID: &[u8; 16] = b"Spec ID Event03\0";
const STARTUP_LOCALITY: &[u8; 16] = b"StartupLocality\0";
