//! Archives that are compressed as a whole, as `docker save | gzip` makes them.
//!
//! Nothing unpacked is kept here, neither on a disk, where it would be a plain copy that nobody asked for, nor in memory.
//! The price: whoever reads a part unpacks all that lies before it. So this is how a [`super::spool`] is filled, and how
//! parts are read where there is no place for one.

use std::fs::File;
use std::io::{self, BufReader, Read, Seek, SeekFrom};
use std::os::unix::fs::FileExt;

use flate2::bufread::MultiGzDecoder;

/// How a file is compressed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Packing {
    Gzip,
    Zstd,
}

impl Packing {
    /// What the first bytes of a file say; `None` where it is not compressed, or in a way that nobody knows here.
    pub(super) fn of(file: &File) -> io::Result<Option<Self>> {
        let mut start = [0; 4];
        let count = file.read_at(&mut start, 0)?;
        Ok(match (start, count) {
            ([0x1f, 0x8b, ..], 2..) => Some(Self::Gzip),
            ([0x28, 0xb5, 0x2f, 0xfd], 4) => Some(Self::Zstd),
            _ => None,
        })
    }
}

/// The content of a compressed file. Going back means beginning anew, and is put off until something is read there.
pub(super) struct Unpacked<'f> {
    file: &'f File,
    packing: Packing,
    decoder: Box<dyn Read + Send + 'f>,
    /// Where the decoder is.
    at: u64,
    /// Where the next read begins.
    wanted: u64,
    /// A small file can unpack to any size.
    limit: u64,
}

impl<'f> Unpacked<'f> {
    pub(super) fn new(file: &'f File, packing: Packing) -> io::Result<Self> {
        let packed = file.metadata()?.len();
        Self::within(file, packing, packed.saturating_mul(RATIO).max(FLOOR))
    }

    fn within(file: &'f File, packing: Packing, limit: u64) -> io::Result<Self> {
        Ok(Self {
            file,
            packing,
            decoder: decoder(file, packing)?,
            at: 0,
            wanted: 0,
            limit,
        })
    }

    fn next(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let count = self.decoder.read(buffer)?;
        self.at = self.at.saturating_add(count as u64);
        if self.at > self.limit {
            return Err(io::Error::other(
                "it unpacks to far more than an archive of images: unpack it first, if that is right",
            ));
        }
        Ok(count)
    }

    /// Brings the decoder to where the next read begins; `false` at the end.
    fn arrive(&mut self) -> io::Result<bool> {
        if self.wanted < self.at {
            self.decoder = decoder(self.file, self.packing)?;
            self.at = 0;
        }
        let mut passed = vec![0; SCRATCH];
        while let Some(left) = self.wanted.checked_sub(self.at).filter(|left| *left > 0) {
            let most = usize::try_from(left).unwrap_or(SCRATCH).min(SCRATCH);
            let (passed, _) = passed.split_at_mut(most);
            if self.next(passed)? == 0 {
                return Ok(false);
            }
        }
        Ok(true)
    }

    fn length(&mut self) -> io::Result<u64> {
        let mut passed = vec![0; SCRATCH];
        while self.next(&mut passed)? > 0 {}
        Ok(self.at)
    }
}

impl Read for Unpacked<'_> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        if self.wanted != self.at && !self.arrive()? {
            return Ok(0);
        }
        let count = self.next(buffer)?;
        self.wanted = self.at;
        Ok(count)
    }
}

impl Seek for Unpacked<'_> {
    fn seek(&mut self, to: SeekFrom) -> io::Result<u64> {
        let (from, by) = match to {
            SeekFrom::Start(place) => (place, 0),
            SeekFrom::Current(by) => (self.wanted, by),
            SeekFrom::End(by) => (self.length()?, by),
        };
        let place = from.checked_add_signed(by);
        self.wanted = place.ok_or(io::ErrorKind::InvalidInput)?;
        Ok(self.wanted)
    }
}

/// How much of what the file unpacks to is put aside. Images shrink to a third or so; what unpacks to far more has no claim
/// on the disk.
pub(super) fn spool_limit(file: &File) -> io::Result<u64> {
    let packed = file.metadata()?.len();
    Ok(packed.saturating_mul(SPOOL_RATIO).max(FLOOR))
}

fn decoder(file: &File, packing: Packing) -> io::Result<Box<dyn Read + Send + '_>> {
    let input = BufReader::with_capacity(SCRATCH, FromStart { file, at: 0 });
    Ok(match packing {
        Packing::Gzip => Box::new(MultiGzDecoder::new(input)),
        Packing::Zstd => {
            let mut decoder = zstd::stream::read::Decoder::with_buffer(input)?;
            decoder.window_log_max(WINDOW_LOG)?;
            Box::new(decoder)
        }
    })
}

/// A file with a place of its own, so that several can read it at once.
struct FromStart<'f> {
    file: &'f File,
    at: u64,
}

impl Read for FromStart<'_> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let count = self.file.read_at(buffer, self.at)?;
        self.at = self.at.saturating_add(count as u64);
        Ok(count)
    }
}

const SCRATCH: usize = 128 * 1024;
const FLOOR: u64 = 1024 * 1024 * 1024;
const RATIO: u64 = 200;
const SPOOL_RATIO: u64 = 16;
/// 128 MiB: what `zstd` itself takes without being told otherwise.
const WINDOW_LOG: u32 = 27;

#[cfg(test)]
mod tests {
    use std::io::Write;

    use super::*;

    fn packed(packing: Packing, bytes: &[u8]) -> File {
        let mut file = tempfile::tempfile().unwrap();
        let packed = match packing {
            Packing::Gzip => {
                let mut encoder =
                    flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
                encoder.write_all(bytes).unwrap();
                encoder.finish().unwrap()
            }
            Packing::Zstd => zstd::encode_all(bytes, 1).unwrap(),
        };
        file.write_all(&packed).unwrap();
        file
    }

    fn content() -> Vec<u8> {
        (0..1_000_000_u32).flat_map(u32::to_le_bytes).collect()
    }

    #[test]
    fn any_part_is_read_in_any_order() {
        let content = content();
        for packing in [Packing::Gzip, Packing::Zstd] {
            let file = packed(packing, &content);
            assert_eq!(Packing::of(&file).unwrap(), Some(packing));
            let mut unpacked = Unpacked::new(&file, packing).unwrap();
            assert_eq!(
                unpacked.seek(SeekFrom::End(0)).unwrap(),
                content.len() as u64
            );
            for place in [3_000_000, 5, 5, 0, 3_999_990, 400_000] {
                let mut part = vec![0; 10];
                unpacked.seek(SeekFrom::Start(place as u64)).unwrap();
                unpacked.read_exact(&mut part).unwrap();
                assert_eq!(part, content[place..place + 10], "{packing:?} {place}");
            }
            unpacked.seek(SeekFrom::Start(5_000_000)).unwrap();
            assert_eq!(unpacked.read(&mut [0; 8]).unwrap(), 0);
        }
    }

    #[test]
    fn a_bomb_ends_at_the_limit() {
        for packing in [Packing::Gzip, Packing::Zstd] {
            let file = packed(packing, &vec![0; 3_000_000]);
            let mut unpacked = Unpacked::within(&file, packing, 2_000_000).unwrap();
            assert!(unpacked.seek(SeekFrom::End(0)).is_err());
        }
    }

    #[test]
    fn what_is_cut_or_broken_is_an_error() {
        for packing in [Packing::Gzip, Packing::Zstd] {
            let file = packed(packing, &content());
            let length = file.metadata().unwrap().len();
            file.set_len(length / 2).unwrap();
            let mut unpacked = Unpacked::new(&file, packing).unwrap();
            assert!(unpacked.seek(SeekFrom::End(0)).is_err(), "{packing:?}");
        }
        assert_eq!(Packing::of(&tempfile::tempfile().unwrap()).unwrap(), None);
    }
}
