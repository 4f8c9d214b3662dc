//! One block of 512 bytes before each entry (POSIX.1-1988 `ustar`, and GNU's for names and sizes that are longer).

use std::ops::Range;

use super::{TarError, refused};

/// The unit of the format.
pub(in crate::archive) const BLOCK: u64 = 512;

/// What an entry is. Hard links, devices, pipes and files with holes are refused: no writer of images makes them, and
/// readers disagree about them.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Kind {
    File,
    /// A file, or a directory by the slash at the end of its name.
    OldFile,
    Directory,
    Symlink,
    LongName,
    LongLink,
    Extended,
    Global,
}

/// The block's fields that matter here.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Header {
    pub(super) name: String,
    pub(super) link: String,
    pub(super) size: u64,
    pub(super) kind: Kind,
}

impl Header {
    /// `None` for a block of zeros, the mark of the end.
    pub(super) fn parse(block: &[u8; BLOCK as usize]) -> Result<Option<Self>, TarError> {
        if block.iter().all(|byte| *byte == 0) {
            return Ok(None);
        }
        if number(field(block, CHECKSUM)) != Some(checksum(block)) {
            return Err(TarError::Malformed(
                "it is no tar file, or one of its headers is damaged",
            ));
        }
        let name = name(block)?;
        let size = number(field(block, SIZE)).ok_or_else(|| refused(&name, "has no size"))?;
        let kind = match field(block, TYPE) {
            b"0" | b"7" => Kind::File,
            b"\0" => Kind::OldFile,
            b"5" => Kind::Directory,
            b"2" => Kind::Symlink,
            b"L" => Kind::LongName,
            b"K" => Kind::LongLink,
            b"x" => Kind::Extended,
            b"g" => Kind::Global,
            b"S" => return Err(refused(&name, "is a file with holes")),
            _ => return Err(refused(&name, "is neither a file nor a directory")),
        };
        let link = text(field(block, LINK))?;
        Ok(Some(Self {
            name,
            link,
            size,
            kind,
        }))
    }
}

/// The header of a file that we write.
pub(in crate::archive) fn file_header(name: &str, size: u64) -> [u8; BLOCK as usize] {
    header(name, size, b'0', b"0000644\0")
}

/// The header of a directory that we write.
pub(in crate::archive) fn directory_header(name: &str) -> [u8; BLOCK as usize] {
    header(name, 0, b'5', b"0000755\0")
}

/// The mark of the end.
pub(in crate::archive) const fn end_of_archive() -> [u8; 2 * BLOCK as usize] {
    [0; 2 * BLOCK as usize]
}

/// How many zeros follow a file of this size.
pub(in crate::archive) const fn padding(size: u64) -> u64 {
    (BLOCK - size % BLOCK) % BLOCK
}

/// Times and owners are left at zero: the same image makes the same archive everywhere.
fn header(name: &str, size: u64, kind: u8, mode: &[u8; 8]) -> [u8; BLOCK as usize] {
    let mut block = [0; BLOCK as usize];
    let mut put = |range: Range<usize>, bytes: &[u8]| {
        if let Some(place) = block.get_mut(range) {
            place
                .iter_mut()
                .zip(bytes)
                .for_each(|(to, from)| *to = *from);
        }
    };
    put(NAME, name.as_bytes());
    put(MODE, mode);
    put(OWNER, b"0000000\0");
    put(GROUP, b"0000000\0");
    put(TIME, b"00000000000\0");
    put(TYPE, &[kind]);
    if size <= OCTAL_LIMIT {
        put(SIZE, format!("{size:011o}\0").as_bytes());
        put(MAGIC, b"ustar\x0000");
    } else {
        // GNU's form: the first bit set, and the number as it is.
        let mut bytes = [0; 12];
        bytes
            .iter_mut()
            .rev()
            .zip(size.to_le_bytes())
            .for_each(|(to, from)| *to = from);
        if let Some(first) = bytes.first_mut() {
            *first = 0x80;
        }
        put(SIZE, &bytes);
        put(MAGIC, b"ustar  \0");
    }
    put(CHECKSUM, b"        ");
    let sum = format!("{:06o}\0 ", checksum(&block));
    if let Some(place) = block.get_mut(CHECKSUM) {
        place
            .iter_mut()
            .zip(sum.bytes())
            .for_each(|(to, from)| *to = from);
    }
    block
}

/// The name; POSIX headers may have its beginning in a field of its own.
fn name(block: &[u8]) -> Result<String, TarError> {
    let name = text(field(block, NAME))?;
    if field(block, MAGIC) != b"ustar\x0000" {
        return Ok(name);
    }
    let prefix = text(field(block, PREFIX))?;
    Ok(if prefix.is_empty() {
        name
    } else {
        format!("{prefix}/{name}")
    })
}

fn text(field: &[u8]) -> Result<String, TarError> {
    let end = field.iter().position(|byte| *byte == 0);
    let bytes = end.and_then(|end| field.get(..end)).unwrap_or(field);
    String::from_utf8(bytes.to_vec()).map_err(|_| TarError::Malformed("a name is no text"))
}

/// Octal digits between blanks, or GNU's binary form. Negative numbers and those over 64 bits are none.
fn number(field: &[u8]) -> Option<u64> {
    let (first, rest) = field.split_first()?;
    if first & 0x80 != 0 {
        let mut value = u64::from(first & 0x7f);
        for byte in rest {
            value = value.checked_mul(256)?.checked_add(u64::from(*byte))?;
        }
        return Some(value);
    }
    let blank = |byte: &u8| matches!(byte, b' ' | 0);
    let start = field.iter().position(|byte| *byte != b' ')?;
    let digits = field.get(start..)?;
    let end = digits.iter().position(blank).unwrap_or(digits.len());
    let (digits, after) = digits.split_at_checked(end)?;
    if digits.is_empty() || !after.iter().all(blank) {
        return None;
    }
    digits.iter().try_fold(0_u64, |value, digit| match digit {
        b'0'..=b'7' => value.checked_mul(8)?.checked_add(u64::from(digit - b'0')),
        _ => None,
    })
}

/// The sum of all bytes, with blanks in the place of the sum itself.
fn checksum(block: &[u8]) -> u64 {
    let sum = |bytes: &[u8]| bytes.iter().map(|byte| u64::from(*byte)).sum::<u64>();
    sum(block) - sum(field(block, CHECKSUM)) + 8 * u64::from(b' ')
}

fn field(block: &[u8], range: Range<usize>) -> &[u8] {
    block.get(range).unwrap_or_default()
}

const NAME: Range<usize> = 0..100;
const MODE: Range<usize> = 100..108;
const OWNER: Range<usize> = 108..116;
const GROUP: Range<usize> = 116..124;
const SIZE: Range<usize> = 124..136;
const TIME: Range<usize> = 136..148;
const CHECKSUM: Range<usize> = 148..156;
const TYPE: Range<usize> = 156..157;
const LINK: Range<usize> = 157..257;
const MAGIC: Range<usize> = 257..265;
const PREFIX: Range<usize> = 345..500;
/// Eleven octal digits.
const OCTAL_LIMIT: u64 = 0o777_7777_7777;
