//! Replay of an event log to the values that the PCRs must have, and the events as far as that proves them.

use std::collections::BTreeMap;

use super::{Event, EventLog, EventLogError, STARTUP_LOCALITY};
use crate::pcr::{PcrBank, PcrSelection, PcrValues};

impl EventLog {
    /// The values that the selected registers have after all events of this log.
    ///
    /// # Errors
    /// When the log has no digests for the bank, or tells an impossible start-up locality.
    pub fn replayed_values(&self, pcrs: &PcrSelection) -> Result<PcrValues, EventLogError> {
        Ok(self.replay(pcrs)?.values)
    }

    /// Values and events that nothing proves yet: the caller compares them with a quote.
    pub(crate) fn replay(&self, pcrs: &PcrSelection) -> Result<MeasuredBoot, EventLogError> {
        let bank = pcrs.bank();
        let column = self.column(bank)?;
        let mut values: BTreeMap<u8, Vec<u8>> = pcrs
            .indices()
            .map(|index| (index, vec![0; bank.algorithm().size()]))
            .collect();
        if let (Some(locality), Some(value)) = (self.startup_locality()?, values.get_mut(&0)) {
            value.pop();
            value.push(locality);
        }
        let mut events = Vec::new();
        for event in self.events.iter().filter(|event| event.extends()) {
            let (Some(value), Some(digest)) =
                (values.get_mut(&event.pcr), event.digests.get(column))
            else {
                continue;
            };
            *value = bank.algorithm().digest(&[value, digest]);
            events.push(MeasuredEvent::new(event, bank, digest));
        }
        // Registers and lengths come from the selection and its bank, so this can't be refused.
        let values =
            PcrValues::new(bank, values).map_err(|_| EventLogError::NoSuchBank { bank })?;
        Ok(MeasuredBoot { values, events })
    }

    /// A TPM started from locality 3 or 4 has that number in PCR 0 before anything is measured (10.4.5.3).
    fn startup_locality(&self) -> Result<Option<u8>, EventLogError> {
        let mut found = None;
        let mut measured = false;
        for (position, event) in self.events.iter().enumerate() {
            if event.extends() {
                measured |= event.pcr == 0;
                continue;
            }
            let Some(rest) = event.data.strip_prefix(STARTUP_LOCALITY) else {
                continue;
            };
            match rest {
                [locality @ (0 | 3 | 4)] if event.pcr == 0 && !measured && found.is_none() => {
                    found = Some(*locality)
                }
                _ => return Err(EventLogError::Locality { event: position }),
            }
        }
        Ok(found)
    }
}

/// A boot that a quote proves. Made only by [`crate::Quote::prove_log`].
#[derive(Debug, PartialEq, Eq)]
pub struct MeasuredBoot {
    values: PcrValues,
    events: Vec<MeasuredEvent>,
}

impl MeasuredBoot {
    /// The values of the selected registers.
    #[must_use]
    pub const fn values(&self) -> &PcrValues {
        &self.values
    }

    /// The events of the selected registers, in order. There are no others: an event more or less changes the values.
    #[must_use]
    pub fn events(&self) -> &[MeasuredEvent] {
        &self.events
    }
}

/// One event, shown as far as its register's value proves it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct MeasuredEvent {
    pcr: u8,
    digest: Vec<u8>,
    data: Option<Vec<u8>>,
}

impl MeasuredEvent {
    fn new(event: &Event, bank: PcrBank, digest: &[u8]) -> Self {
        let proven = bank.algorithm().digest(&[&event.data]) == digest;
        Self {
            pcr: event.pcr,
            digest: digest.to_vec(),
            data: proven.then(|| event.data.clone()),
        }
    }

    /// The register.
    #[must_use]
    pub const fn pcr(&self) -> u8 {
        self.pcr
    }

    /// What was extended.
    #[must_use]
    pub fn digest(&self) -> &[u8] {
        &self.digest
    }

    /// The event's data, where the digest is theirs.
    #[must_use]
    pub fn data(&self) -> Option<&[u8]> {
        self.data.as_deref()
    }
}
