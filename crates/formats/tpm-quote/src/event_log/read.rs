//! Reading of an event log; everything in it is little-endian and bounded.

use super::{Event, EventLog, EventLogError, LogBank, SPEC_ID, event_type};
use crate::pcr::PCR_COUNT;
use crate::wire::{ParseError, Reader};

pub(super) fn log(bytes: &[u8]) -> Result<EventLog, EventLogError> {
    if bytes.len() > MAX_LOG {
        return Err(malformed(ParseError::Oversized {
            what: "event log",
            limit: MAX_LOG,
        }));
    }
    let mut reader = Reader::new(bytes);
    let banks = header(&mut reader).map_err(malformed)?;
    let mut events = Vec::new();
    while !reader.is_empty() {
        if events.len() == MAX_EVENTS {
            return Err(malformed(ParseError::Oversized {
                what: "number of events",
                limit: MAX_EVENTS,
            }));
        }
        let event = event(&mut reader, &banks, events.len())?;
        events.push(event);
    }
    Ok(EventLog { banks, events })
}

/// The first event has the old format and tells which banks follow (10.4.5.1).
fn header(reader: &mut Reader<'_>) -> Result<Vec<LogBank>, ParseError> {
    let what = "event log header";
    let pcr = reader.u32_le(what)?;
    let kind = reader.u32_le(what)?;
    let digest: [u8; 20] = reader.array(what)?;
    let size = reader.u32_le(what)?;
    if pcr != 0 || kind != event_type::NO_ACTION || digest != [0; 20] {
        return Err(ParseError::Malformed { what });
    }
    let data = reader.take(bounded(size, MAX_HEADER, what)?, what)?;
    let mut data = Reader::new(data);
    if data.array(what)? != *SPEC_ID {
        return Err(ParseError::Malformed { what });
    }
    // Platform class, version, errata, size of an integer: nothing depends on them.
    data.take(8, what)?;
    let count = data.u32_le(what)?;
    let mut banks: Vec<LogBank> = Vec::new();
    for _ in 0..bounded(count, MAX_BANKS, "number of banks")? {
        let id = data.u16_le(what)?;
        let size = usize::from(data.u16_le(what)?);
        if banks.iter().any(|bank| bank.id == id) || size == 0 || size > MAX_DIGEST {
            return Err(ParseError::Malformed {
                what: "bank of the event log",
            });
        }
        let bank = LogBank { id, size };
        if bank.hash().is_none() && TRUSTED_IDS.contains(&id) {
            return Err(ParseError::Malformed {
                what: "bank of the event log",
            });
        }
        banks.push(bank);
    }
    let vendor = data.u8(what)?;
    data.take(vendor.into(), what)?;
    data.finish(what)?;
    match banks.is_empty() {
        true => Err(ParseError::Malformed {
            what: "number of banks",
        }),
        false => Ok(banks),
    }
}

fn event(
    reader: &mut Reader<'_>,
    banks: &[LogBank],
    position: usize,
) -> Result<Event, EventLogError> {
    let index = reader.u32_le("event").map_err(malformed)?;
    let pcr = u8::try_from(index).ok().filter(|pcr| *pcr < PCR_COUNT);
    let pcr = pcr.ok_or(EventLogError::Pcr {
        event: position,
        pcr: index,
    })?;
    let claimed_type = reader.u32_le("event").map_err(malformed)?;
    let digests = digests(reader, banks, position)?;
    let size = reader.u32_le("event").map_err(malformed)?;
    let size = bounded(size, MAX_DATA, "event data").map_err(malformed)?;
    let data = reader.take(size, "event data").map_err(malformed)?.to_vec();
    Ok(Event {
        pcr,
        claimed_type,
        digests,
        data,
    })
}

/// One digest for each bank of the header, in whatever order they stand.
fn digests(
    reader: &mut Reader<'_>,
    banks: &[LogBank],
    position: usize,
) -> Result<Vec<Vec<u8>>, EventLogError> {
    let wrong = EventLogError::Digests { event: position };
    let count = reader.u32_le("event").map_err(malformed)?;
    if usize::try_from(count) != Ok(banks.len()) {
        return Err(wrong);
    }
    let mut digests = vec![Vec::new(); banks.len()];
    for _ in banks {
        let id = reader.u16_le("event").map_err(malformed)?;
        let found = banks
            .iter()
            .zip(digests.iter_mut())
            .find(|(bank, digest)| bank.id == id && digest.is_empty());
        let (bank, digest) = found.ok_or_else(|| wrong.clone())?;
        *digest = reader
            .take(bank.size, "event digest")
            .map_err(malformed)?
            .to_vec();
    }
    Ok(digests)
}

fn bounded(size: u32, limit: usize, what: &'static str) -> Result<usize, ParseError> {
    usize::try_from(size)
        .ok()
        .filter(|size| *size <= limit)
        .ok_or(ParseError::Oversized { what, limit })
}

const fn malformed(source: ParseError) -> EventLogError {
    EventLogError::Malformed { source }
}

const MAX_LOG: usize = 4 << 20;
const MAX_EVENTS: usize = 16_384;
const MAX_DATA: usize = 1 << 20;
const MAX_HEADER: usize = 1024;
const MAX_BANKS: usize = 8;
const MAX_DIGEST: usize = 64;
/// SHA-256 and SHA-384: a log must not give them another size.
const TRUSTED_IDS: [u16; 2] = [0x000b, 0x000c];
