//! OpenPGP packets, told apart (RFC 9580 section 4): tags and lengths, and nothing of what is inside.
//!
//! Written by hand so that hostile bytes meet little code: what reaches the library is one packet of a kind that is
//! wanted, with its true length. It works without the library, too, so that everybody sees the recipients.

use std::borrow::Cow;

use crate::packet::PacketError;

pub(super) const PUBLIC_KEY_SESSION_KEY: u8 = 1;
pub(super) const PASSWORD_SESSION_KEY: u8 = 3;
pub(super) const COMPRESSED: u8 = 8;
pub(super) const UNPROTECTED: u8 = 9;
pub(super) const MARKER: u8 = 10;
pub(super) const LITERAL: u8 = 11;
pub(super) const PROTECTED: u8 = 18;
pub(super) const GNUPG_AEAD: u8 = 20;
pub(super) const PADDING: u8 = 21;

/// What is wrong where packets begin and end.
pub(super) const MALFORMED: PacketError = PacketError::Malformed { part: "framing" };

/// One packet.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Packet<'a> {
    pub(super) tag: u8,
    /// What is inside, put together where it came in parts.
    pub(super) body: Cow<'a, [u8]>,
    /// As it was read, header and all.
    pub(super) whole: &'a [u8],
}

/// Reads packets, one after the other.
#[derive(Debug, Clone, Copy)]
pub(super) struct Packets<'a> {
    rest: &'a [u8],
}

impl<'a> Packets<'a> {
    pub(super) const fn new(bytes: &'a [u8]) -> Self {
        Self { rest: bytes }
    }

    /// The next packet; nothing at the end.
    pub(super) fn next(&mut self) -> Result<Option<Packet<'a>>, PacketError> {
        let start = self.rest;
        if start.is_empty() {
            return Ok(None);
        }
        let (tag, body, rest) = read(start).ok_or(MALFORMED)?;
        let whole = start.get(..start.len() - rest.len()).ok_or(MALFORMED)?;
        self.rest = rest;
        Ok(Some(Packet { tag, body, whole }))
    }
}

type Read<'a> = (u8, Cow<'a, [u8]>, &'a [u8]);

fn read(bytes: &[u8]) -> Option<Read<'_>> {
    let (&first, rest) = bytes.split_first()?;
    match first {
        0xc0.. => read_new(first & 0x3f, rest),
        0x80.. => read_old((first >> 2) & 0x0f, first & 3, rest),
        _ => None,
    }
}

/// The length of one part of a packet of the new form.
enum Length {
    Last(usize),
    Partial(usize),
}

fn read_new(tag: u8, mut rest: &[u8]) -> Option<Read<'_>> {
    let mut parts: Vec<u8> = Vec::new();
    loop {
        let (length, after) = length_new(rest)?;
        match length {
            Length::Last(length) => {
                let (part, after) = after.split_at_checked(length)?;
                let body = match parts.is_empty() {
                    true => Cow::Borrowed(part),
                    false => {
                        parts.extend_from_slice(part);
                        Cow::Owned(parts)
                    }
                };
                return Some((tag, body, after));
            }
            Length::Partial(length) if may_be_long(tag) => {
                let (part, after) = after.split_at_checked(length)?;
                parts.extend_from_slice(part);
                rest = after;
            }
            Length::Partial(_) => return None,
        }
    }
}

fn length_new(bytes: &[u8]) -> Option<(Length, &[u8])> {
    let (&first, rest) = bytes.split_first()?;
    match first {
        0..=191 => Some((Length::Last(usize::from(first)), rest)),
        192..=223 => {
            let (&second, rest) = rest.split_first()?;
            let length = ((usize::from(first) - 192) << 8) + usize::from(second) + 192;
            Some((Length::Last(length), rest))
        }
        224..=254 => Some((Length::Partial(1 << (first & 0x1f)), rest)),
        255 => number(rest, 4).map(|(length, rest)| (Length::Last(length), rest)),
    }
}

fn read_old(tag: u8, kind: u8, rest: &[u8]) -> Option<Read<'_>> {
    let (length, rest) = match kind {
        0 => number(rest, 1)?,
        1 => number(rest, 2)?,
        2 => number(rest, 4)?,
        // To the end.
        _ if may_be_long(tag) => (rest.len(), rest),
        _ => return None,
    };
    let (body, rest) = rest.split_at_checked(length)?;
    Some((tag, Cow::Borrowed(body), rest))
}

fn number(bytes: &[u8], digits: usize) -> Option<(usize, &[u8])> {
    let (digits, rest) = bytes.split_at_checked(digits)?;
    let number = digits
        .iter()
        .fold(0usize, |number, digit| (number << 8) | usize::from(*digit));
    Some((number, rest))
}

/// Whether a packet may come in parts, or reach to the end: only those that hold data may.
const fn may_be_long(tag: u8) -> bool {
    matches!(
        tag,
        COMPRESSED | UNPROTECTED | LITERAL | PROTECTED | GNUPG_AEAD
    )
}

/// The header of a packet of the new form in front of a body of this length.
#[cfg(feature = "pgp")]
#[cfg(feature = "pgp")]
pub(super) fn header(tag: u8, length: usize) -> Option<Vec<u8>> {
    let mut header = vec![0xc0 | tag, 0xff];
    header.extend_from_slice(&u32::try_from(length).ok()?.to_be_bytes());
    Some(header)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn all(bytes: &[u8]) -> Option<Vec<Packet<'_>>> {
        let mut packets = Packets::new(bytes);
        let mut read = Vec::new();
        while let Some(packet) = packets.next().ok()? {
            read.push(packet);
        }
        Some(read)
    }

    #[test]
    fn every_form_of_length_is_read() {
        let of = |bytes: &[u8]| {
            all(bytes).map(|packets| {
                packets
                    .iter()
                    .map(|packet| (packet.tag, packet.body.to_vec()))
                    .collect::<Vec<_>>()
            })
        };
        let long = vec![7; 300];
        let with = |header: &[u8]| [header, &long].concat();
        for (bytes, tag) in [
            (with(&[0xcb, 192, 108]), LITERAL),
            (with(&[0xcb, 255, 0, 0, 1, 44]), LITERAL),
            (with(&[0xad, 1, 44]), LITERAL),
            (with(&[0xae, 0, 0, 1, 44]), LITERAL),
            (with(&[0xa3]), COMPRESSED),
        ] {
            assert_eq!(of(&bytes), Some(vec![(tag, long.clone())]), "{bytes:02x?}");
        }
        assert_eq!(
            of(&[0xd2, 0xe1, 1, 2, 0xe0, 3, 1, 4]),
            Some(vec![(PROTECTED, vec![1, 2, 3, 4])])
        );
        assert_eq!(
            of(&[0xa0, 1, 9, 0xcb, 0]),
            Some(vec![(COMPRESSED, vec![9]), (LITERAL, vec![])])
        );
    }

    #[test]
    fn what_does_not_fit_is_refused() {
        for refused in [
            &[0x00u8][..],
            &[0x7f, 0],
            &[0xcb],
            &[0xcb, 1],
            &[0xcb, 192],
            &[0xcb, 255, 255, 255, 255, 255],
            &[0xd2, 0xff, 0xff],
            &[0xd2, 0xe1, 1],
            &[0xd2, 0xfe, 1],
            // Only data may come in parts.
            &[0xc1, 0xe0, 1, 0],
            &[0x87, 1],
        ] {
            assert_eq!(all(refused), None, "{refused:02x?}");
        }
    }

    proptest! {
        #[test]
        fn hostile_bytes_never_reach_beyond_their_frame(bytes in prop::collection::vec(any::<u8>(), 0..300)) {
            let mut packets = Packets::new(&bytes);
            let mut seen = 0;
            while let Ok(Some(packet)) = packets.next() {
                prop_assert!(packet.body.len() < packet.whole.len());
                seen += packet.whole.len();
            }
            prop_assert!(seen <= bytes.len());
        }
    }
}
