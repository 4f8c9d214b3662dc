//! The content of a compressed archive, unpacked once into a file without a name.
//!
//! A compressed file can only be read from its front, so reading N layers where they lie would unpack it N times. What
//! lies on the disk instead is encrypted with a key that never leaves this process: nobody asked for a plain copy, and a
//! disk keeps what was deleted. The file is gone with the process, however that ends.

use std::fmt;
use std::fs::File;
use std::io::{self, Read, Seek, SeekFrom};
use std::os::unix::fs::FileExt;
use std::path::Path;

use aws_lc_rs::aead::{AES_256_GCM, Aad, LessSafeKey, Nonce, UnboundKey};
use aws_lc_rs::error::Unspecified;
use rustix::fs::{Mode, OFlags};
use zeroize::Zeroizing;

/// The file.
pub(super) struct Spool {
    file: File,
    // INVARIANT: made in `fill`, which seals each piece once under its own number; so no nonce meets two pieces.
    key: LessSafeKey,
    length: u64,
}

impl fmt::Debug for Spool {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Spool").finish_non_exhaustive()
    }
}

impl Spool {
    /// Takes all of `content`, if it is not more than `limit`, into a file in `directory`; `None` when it is more, or no
    /// such file can be made or filled there. Errors are those of `content`.
    pub(super) fn fill(
        directory: &Path,
        content: &mut impl Read,
        limit: u64,
    ) -> io::Result<Option<Self>> {
        let flags = OFlags::TMPFILE | OFlags::EXCL | OFlags::RDWR | OFlags::CLOEXEC;
        let Ok(file) = rustix::fs::open(directory, flags, Mode::RUSR | Mode::WUSR) else {
            return Ok(None);
        };
        let mut spool = Self {
            file: File::from(file),
            key: fresh_key()?,
            length: 0,
        };
        let mut piece = Vec::with_capacity(PIECE + TAG);
        for number in 0.. {
            piece.clear();
            let count = content.take(PIECE as u64).read_to_end(&mut piece)?;
            spool.length = spool.length.saturating_add(count as u64);
            if count == 0 {
                break;
            }
            spool
                .key
                .seal_in_place_append_tag(nonce(number), Aad::empty(), &mut piece)
                .map_err(broken)?;
            let place = number * (PIECE + TAG) as u64;
            // A full disk is a reason to go on without.
            if spool.length > limit || spool.file.write_all_at(&piece, place).is_err() {
                return Ok(None);
            }
        }
        Ok(Some(spool))
    }

    /// A reader with a place of its own.
    pub(super) fn reader(&self) -> SpoolReader<'_> {
        SpoolReader {
            spool: self,
            at: 0,
            piece: Vec::new(),
            number: None,
        }
    }
}

/// Reads the content from anywhere.
pub(super) struct SpoolReader<'s> {
    spool: &'s Spool,
    at: u64,
    /// The piece that was read last, and which it is.
    piece: Vec<u8>,
    number: Option<u64>,
}

impl SpoolReader<'_> {
    fn load(&mut self, number: u64) -> io::Result<()> {
        let Spool { file, key, length } = self.spool;
        self.number = None;
        let left = length.saturating_sub(number * PIECE as u64);
        let size = usize::try_from(left).unwrap_or(PIECE).min(PIECE);
        self.piece.resize(size + TAG, 0);
        file.read_exact_at(&mut self.piece, number * (PIECE + TAG) as u64)?;
        key.open_in_place(nonce(number), Aad::empty(), &mut self.piece)
            .map_err(broken)?;
        self.piece.truncate(size);
        self.number = Some(number);
        Ok(())
    }
}

impl Read for SpoolReader<'_> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        if self.at >= self.spool.length {
            return Ok(0);
        }
        let number = self.at / PIECE as u64;
        if self.number != Some(number) {
            self.load(number)?;
        }
        let within = usize::try_from(self.at % PIECE as u64).unwrap_or(PIECE);
        let mut rest = self.piece.get(within..).unwrap_or_default();
        let count = rest.read(buffer)?;
        self.at = self.at.saturating_add(count as u64);
        Ok(count)
    }
}

impl Seek for SpoolReader<'_> {
    fn seek(&mut self, to: SeekFrom) -> io::Result<u64> {
        let (from, by) = match to {
            SeekFrom::Start(place) => (place, 0),
            SeekFrom::Current(by) => (self.at, by),
            SeekFrom::End(by) => (self.spool.length, by),
        };
        let place = from.checked_add_signed(by);
        self.at = place.ok_or(io::ErrorKind::InvalidInput)?;
        Ok(self.at)
    }
}

fn fresh_key() -> io::Result<LessSafeKey> {
    let mut bytes = Zeroizing::new([0; 32]);
    aws_lc_rs::rand::fill(bytes.as_mut_slice()).map_err(broken)?;
    let key = UnboundKey::new(&AES_256_GCM, bytes.as_slice()).map_err(broken)?;
    Ok(LessSafeKey::new(key))
}

fn nonce(number: u64) -> Nonce {
    let mut bytes = [0; 12];
    bytes
        .iter_mut()
        .zip(number.to_le_bytes())
        .for_each(|(to, from)| *to = from);
    Nonce::assume_unique_for_key(bytes)
}

fn broken(_: Unspecified) -> io::Error {
    io::Error::other("what was put aside of the archive is not what it was")
}

const PIECE: usize = 64 * 1024;
const TAG: usize = 16;

#[cfg(test)]
mod tests {
    use super::*;

    fn content(length: usize) -> Vec<u8> {
        (0_u32..).flat_map(u32::to_le_bytes).take(length).collect()
    }

    fn spool(content: &[u8]) -> Spool {
        let directory = tempfile::tempdir().unwrap();
        let spool = Spool::fill(directory.path(), &mut &content[..], u64::MAX);
        let spool = spool.unwrap().unwrap();
        assert_eq!(std::fs::read_dir(directory.path()).unwrap().count(), 0);
        spool
    }

    #[test]
    fn any_part_comes_back_in_any_order() {
        for length in [0, 1, PIECE - 1, PIECE, PIECE + 1, 3 * PIECE, 300_001] {
            let content = content(length);
            let spool = spool(&content);
            let mut reader = spool.reader();
            assert_eq!(reader.seek(SeekFrom::End(0)).unwrap(), length as u64);
            for place in [length, length / 2, 0, length.saturating_sub(3), PIECE, 7] {
                let mut rest = Vec::new();
                reader.seek(SeekFrom::Start(place as u64)).unwrap();
                reader.read_to_end(&mut rest).unwrap();
                let wanted = content.get(place..).unwrap_or_default();
                assert!(rest == wanted, "{length} from {place}");
            }
            assert!(reader.seek(SeekFrom::Current(i64::MIN)).is_err());
        }
    }

    #[test]
    fn nothing_plain_lies_on_the_disk() {
        let content = [7; 200_000];
        let spool = spool(&content);
        let mut stored = vec![0; spool.file.metadata().unwrap().len() as usize];
        spool.file.read_exact_at(&mut stored, 0).unwrap();
        assert!(stored.len() > content.len());
        assert!(!stored.windows(8).any(|part| part == [7; 8]));
        // Neither do two pieces with the same content look alike.
        let (first, second) = (&stored[..PIECE], &stored[PIECE + TAG..2 * PIECE + TAG]);
        assert!(first != second);
    }

    #[test]
    fn what_was_changed_or_exchanged_is_refused() {
        let spool = spool(&content(3 * PIECE));
        let mut piece = vec![0; PIECE + TAG];
        spool.file.read_exact_at(&mut piece, 0).unwrap();
        let mut read = vec![0; 10];
        let mut reader = spool.reader();
        let mut at = |place: usize| {
            reader.seek(SeekFrom::Start(place as u64)).unwrap();
            reader.read(&mut read)
        };
        spool
            .file
            .write_all_at(&piece, (PIECE + TAG) as u64)
            .unwrap();
        assert!(at(0).is_ok() && at(PIECE).is_err());
        spool.file.set_len(2 * (PIECE + TAG) as u64).unwrap();
        assert!(at(2 * PIECE).is_err() && at(0).is_ok());
    }

    #[test]
    fn without_a_place_or_beyond_the_limit_there_is_none() {
        let directory = tempfile::tempdir().unwrap();
        let fill = |directory: &Path, limit| {
            let spool = Spool::fill(directory, &mut &[1; 100_000][..], limit);
            spool.unwrap().is_some()
        };
        assert!(fill(directory.path(), 100_000));
        assert!(!fill(directory.path(), 99_999));
        assert!(!fill(Path::new("/proc"), 100_000));
        assert!(!fill(&directory.path().join("missing"), 100_000));
    }
}
