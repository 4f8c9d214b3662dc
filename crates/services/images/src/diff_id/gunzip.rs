//! gzip (RFC 1952) that is unpacked as it passes by: any number of members, one after another.

use std::io::{self, Write};

use flate2::{Decompress, FlushDecompress, Status};

/// Unpacks into one large buffer: after each call the decoder keeps the last 32 KiB for itself, which costs less the more each
/// call gives.
pub(crate) struct Gunzip<W> {
    member: Decompress,
    room: Box<[u8]>,
    /// The last byte so far ended a member.
    ended: bool,
    to: W,
}

impl<W: Write> Gunzip<W> {
    pub(super) fn new(to: W) -> Self {
        Self {
            member: Decompress::new_gzip(WINDOW_BITS),
            room: vec![0; ROOM].into(),
            ended: false,
            to,
        }
    }

    /// Takes the next piece, and passes on all that can be told by now.
    pub(super) fn update(&mut self, bytes: &[u8]) -> io::Result<()> {
        let mut rest = bytes;
        let mut more = false;
        while more || !rest.is_empty() {
            if self.ended {
                self.member.reset(true);
                self.ended = false;
            }
            let (read, written) = self.step(rest)?;
            if !self.ended && read == 0 && written == 0 && !rest.is_empty() {
                return Err(io::Error::other("gzip does not go on"));
            }
            rest = rest.get(read..).unwrap_or_default();
            // What did not fit is still inside, even if nothing is left to be read.
            more = !self.ended && written == self.room.len();
        }
        Ok(())
    }

    fn step(&mut self, bytes: &[u8]) -> io::Result<(usize, usize)> {
        let (read, written) = (self.member.total_in(), self.member.total_out());
        let status = self
            .member
            .decompress(bytes, &mut self.room, FlushDecompress::None)?;
        self.ended = status == Status::StreamEnd;
        let since = |now: u64, before: u64| usize::try_from(now - before).unwrap_or(usize::MAX);
        let read = since(self.member.total_in(), read);
        let written = since(self.member.total_out(), written);
        self.to
            .write_all(self.room.get(..written).unwrap_or_default())?;
        Ok((read, written))
    }

    /// Whether the last member is whole; a file without any is none.
    pub(super) fn end(&self) -> io::Result<()> {
        match self.ended {
            true => Ok(()),
            false => Err(io::ErrorKind::UnexpectedEof.into()),
        }
    }

    pub(super) fn to(&self) -> &W {
        &self.to
    }

    pub(super) fn into_to(self) -> W {
        self.to
    }
}

const WINDOW_BITS: u8 = 15;
/// Measured from 32 KiB to 1 MiB: from 128 on it makes no difference.
const ROOM: usize = 128 * 1024;

#[cfg(test)]
mod tests {
    use flate2::Compression;
    use flate2::write::GzEncoder;
    use proptest::prelude::*;

    use super::*;

    fn gzip(bytes: &[u8], level: u32) -> Vec<u8> {
        let mut encoder = GzEncoder::new(Vec::new(), Compression::new(level));
        encoder.write_all(bytes).unwrap();
        encoder.finish().unwrap()
    }

    fn unpack<'p>(pieces: impl IntoIterator<Item = &'p [u8]>) -> io::Result<Vec<u8>> {
        let mut gunzip = Gunzip::new(Vec::new());
        for piece in pieces {
            gunzip.update(piece)?;
        }
        gunzip.end()?;
        Ok(gunzip.into_to())
    }

    #[test]
    fn a_file_without_a_member_is_no_gzip() {
        assert!(unpack([]).is_err());
        assert!(unpack([b"".as_slice()]).is_err());
    }

    #[test]
    fn what_fills_the_room_exactly_or_nearly_comes_out_whole() {
        for len in [ROOM - 1, ROOM, ROOM + 1, 2 * ROOM, 3 * ROOM + 7] {
            for level in [0, 1, 9] {
                let plain = vec![7; len];
                let packed = gzip(&plain, level);
                assert!(unpack([&*packed]).unwrap() == plain, "{len}, {level}");
                let (most, last) = packed.split_at(packed.len() - 8);
                assert!(unpack([most, last]).unwrap() == plain, "{len}, {level}");
            }
        }
    }

    #[test]
    fn what_follows_the_last_member_must_be_one() {
        let mut packed = gzip(b"text", 6);
        for tail in [b"\0".as_slice(), b"garbage after the end", b"\x1f\x8b"] {
            let end = packed.len();
            packed.extend(tail);
            assert!(unpack([&*packed]).is_err(), "{tail:?}");
            assert!(unpack([&packed[..end], tail]).is_err(), "{tail:?}");
            packed.truncate(end);
        }
    }

    #[test]
    fn a_wrong_checksum_or_length_is_an_error() {
        let packed = gzip(b"text that is long enough", 6);
        for at in packed.len() - 8..packed.len() {
            let mut wrong = packed.clone();
            wrong[at] ^= 1;
            assert!(unpack([&*wrong]).is_err(), "{at}");
            assert!(unpack([&packed[..at]]).is_err(), "{at}");
        }
    }

    #[test]
    fn members_without_bytes_are_taken_by_the_thousand() {
        let mut packed = gzip(b"", 6).repeat(3000);
        packed.extend(gzip(b"text", 6));
        assert_eq!(unpack([&*packed]).unwrap(), b"text");
        packed.truncate(packed.len() - 1);
        assert!(unpack(packed.chunks(7)).is_err());
    }

    #[test]
    fn a_header_with_a_long_name_and_a_checksum_of_its_own_is_read_and_checked() {
        let mut header = vec![0x1f, 0x8b, 8, 0x02 | 0x08, 0, 0, 0, 0, 0, 255];
        header.extend([b'n'; 70_000]);
        header.push(0);
        let mut checksum = flate2::Crc::new();
        checksum.update(&header);
        let mut packed = header.clone();
        packed.extend(&checksum.sum().to_le_bytes()[..2]);
        packed.extend(&gzip(b"text", 6)[10..]);
        assert_eq!(unpack(packed.chunks(999)).unwrap(), b"text");
        packed[header.len()] ^= 1;
        assert!(unpack(packed.chunks(999)).is_err());
    }

    proptest! {
        #[test]
        fn any_members_in_any_pieces_come_out_whole(
            members in prop::collection::vec(
                (prop::collection::vec(0..3_u8, 0..40_000), 0..10_u32, 1..12_usize),
                1..4,
            ),
            piece in 1..3000_usize,
        ) {
            let (mut plain, mut packed) = (Vec::new(), Vec::new());
            for (bytes, level, times) in members {
                let bytes = bytes.repeat(times);
                packed.extend(gzip(&bytes, level));
                plain.extend(bytes);
            }
            prop_assert!(unpack(packed.chunks(piece)).unwrap() == plain);
        }

        #[test]
        fn hostile_bytes_are_an_error_or_what_another_reader_sees(
            mut packed in prop::collection::vec(any::<u8>(), 0..300),
            plain in prop::collection::vec(any::<u8>(), 0..300),
            at in any::<prop::sample::Index>(),
            flip in any::<u8>(),
        ) {
            let mut genuine = gzip(&plain, 6);
            let at = at.index(genuine.len());
            genuine[at] ^= flip;
            for bytes in [&packed, &genuine] {
                let mut other = flate2::write::MultiGzDecoder::new(Vec::new());
                let read = other.write_all(bytes).and_then(|()| other.finish());
                if let Ok(found) = unpack([bytes.as_slice()]) {
                    prop_assert_eq!(found, read.unwrap());
                }
            }
            packed.splice(0..0, [0x1f, 0x8b, 8, 0]);
            let _ = unpack([packed.as_slice()]);
        }
    }
}
