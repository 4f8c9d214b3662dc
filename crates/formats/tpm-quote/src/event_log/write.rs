//! Writing of an event log: what a firmware would hand over.

use super::{EventLog, SPEC_ID, event_type};

pub(super) fn log(log: &EventLog) -> Vec<u8> {
    let mut out = header(log);
    for event in &log.events {
        out.extend_from_slice(&u32::from(event.pcr).to_le_bytes());
        out.extend_from_slice(&event.claimed_type.to_le_bytes());
        put_len(&mut out, event.digests.len());
        for (bank, digest) in log.banks.iter().zip(&event.digests) {
            out.extend_from_slice(&bank.id.to_le_bytes());
            out.extend_from_slice(digest);
        }
        put_len(&mut out, event.data.len());
        out.extend_from_slice(&event.data);
    }
    out
}

fn header(log: &EventLog) -> Vec<u8> {
    let mut data = SPEC_ID.to_vec();
    // Platform class 0 (client), version 2.0 errata 0 (minor first), integers of 64 bits.
    data.extend_from_slice(&[0, 0, 0, 0, 0, 2, 0, 2]);
    put_len(&mut data, log.banks.len());
    for bank in &log.banks {
        data.extend_from_slice(&bank.id.to_le_bytes());
        data.extend_from_slice(&u16::try_from(bank.size).unwrap_or(u16::MAX).to_le_bytes());
    }
    data.push(0);
    let mut out = 0_u32.to_le_bytes().to_vec();
    out.extend_from_slice(&event_type::NO_ACTION.to_le_bytes());
    out.extend_from_slice(&[0; 20]);
    put_len(&mut out, data.len());
    out.extend(data);
    out
}

fn put_len(out: &mut Vec<u8>, len: usize) {
    out.extend_from_slice(&u32::try_from(len).unwrap_or(u32::MAX).to_le_bytes());
}
