//! The entries behind the leaves, up to 256 in a file (c2sp.org/tlog-tiles, "Log entries").

use std::fmt;
use std::str::FromStr;

use crate::tile::{FULL_WIDTH, parse_place, place_text};
use crate::{MAX_TREE_SIZE, leaf_hash};

/// The longest entry that the two length bytes can announce.
pub const MAX_ENTRY_BYTES: usize = u16::MAX as usize;

/// One file of entries; shown and parsed as its path, `tile/entries/<N>[.p/<W>]`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Bundle {
    index: u64,
    width: u16,
}

/// Why a bundle cannot be named, written or read.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum BundleError {
    /// Fault: whoever wrote the path.
    #[error("`{path}` is not the path of an entry bundle")]
    Path {
        /// The path given.
        path: String,
    },
    /// Fault: the caller.
    #[error("no tree has an entry bundle {index} of {width} entries")]
    BeyondAnyTree {
        /// The number asked for.
        index: u64,
        /// The width asked for.
        width: u16,
    },
    /// Fault: whoever wrote the entry.
    #[error("an entry of {bytes} bytes is too long for a bundle")]
    EntryTooLong {
        /// The entry's length.
        bytes: usize,
    },
    /// Fault: whoever wrote the file, or the caller.
    #[error("the bundle has not the {wanted} entries that its path says")]
    WrongCount {
        /// How many the path says.
        wanted: u16,
    },
    /// Fault: whoever wrote the file.
    #[error("the bundle ends within an entry")]
    Truncated,
}

impl Bundle {
    /// The bundle at this place, of this width.
    ///
    /// # Errors
    /// When no tree has such a bundle.
    pub fn new(index: u64, width: u16) -> Result<Self, BundleError> {
        let end = index
            .checked_mul(FULL_WIDTH.into())
            .and_then(|first| first.checked_add(width.into()));
        match end {
            Some(end) if end <= MAX_TREE_SIZE && (1..=FULL_WIDTH).contains(&width) => {
                Ok(Self { index, width })
            }
            _ => Err(BundleError::BeyondAnyTree { index, width }),
        }
    }

    /// The index of the bundle's first entry.
    #[must_use]
    pub const fn first_entry(&self) -> u64 {
        self.index * FULL_WIDTH as u64
    }

    /// How many entries the bundle holds.
    #[must_use]
    pub const fn width(&self) -> u16 {
        self.width
    }

    /// The content of the bundle's file.
    ///
    /// # Errors
    /// When an entry is too long, or there are more or fewer than the width says.
    pub fn encode<E: AsRef<[u8]>>(&self, entries: &[E]) -> Result<Vec<u8>, BundleError> {
        if entries.len() != usize::from(self.width) {
            return Err(BundleError::WrongCount { wanted: self.width });
        }
        let mut bytes = Vec::new();
        for entry in entries {
            let entry = entry.as_ref();
            let length = u16::try_from(entry.len())
                .map_err(|_| BundleError::EntryTooLong { bytes: entry.len() })?;
            bytes.extend(length.to_be_bytes());
            bytes.extend(entry);
        }
        Ok(bytes)
    }

    /// The entries in a bundle's file. They prove nothing by themselves: compare [`leaf_hash`] of each with
    /// the tile at level zero, or a proof.
    ///
    /// # Errors
    /// When the file is cut short or holds another number of entries.
    pub fn decode<'a>(&self, bytes: &'a [u8]) -> Result<Vec<&'a [u8]>, BundleError> {
        let mut rest = bytes;
        let mut entries = Vec::with_capacity(usize::from(self.width));
        while !rest.is_empty() {
            if entries.len() == usize::from(self.width) {
                return Err(BundleError::WrongCount { wanted: self.width });
            }
            let (length, after) = rest
                .split_first_chunk::<2>()
                .ok_or(BundleError::Truncated)?;
            let length = usize::from(u16::from_be_bytes(*length));
            let (entry, after) = after
                .split_at_checked(length)
                .ok_or(BundleError::Truncated)?;
            entries.push(entry);
            rest = after;
        }
        if entries.len() < usize::from(self.width) {
            return Err(BundleError::WrongCount { wanted: self.width });
        }
        Ok(entries)
    }

    /// Whether the entries in `bytes` are those that `tile`, the level-zero tile of the same place, commits to.
    ///
    /// # Errors
    /// When the file is malformed.
    pub fn matches(&self, bytes: &[u8], tile: &[u8]) -> Result<bool, BundleError> {
        let hashes = self.decode(bytes)?.into_iter().map(leaf_hash);
        Ok(hashes
            .flat_map(|hash| *hash.as_bytes())
            .eq(tile.iter().copied()))
    }
}

impl fmt::Display for Bundle {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "tile/entries/{}", place_text(self.index, self.width))
    }
}

impl FromStr for Bundle {
    type Err = BundleError;

    fn from_str(path: &str) -> Result<Self, BundleError> {
        let place = path.strip_prefix("tile/entries/").and_then(parse_place);
        let (index, width) = place.ok_or_else(|| BundleError::Path {
            path: path.to_owned(),
        })?;
        Self::new(index, width)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn entries_carry_their_length_in_two_bytes() {
        let bundle = Bundle::new(0, 2).unwrap();
        let bytes = bundle.encode(&[b"ab".as_slice(), b""]).unwrap();
        assert_eq!(bytes, [0, 2, b'a', b'b', 0, 0]);
        assert_eq!(bundle.decode(&bytes).unwrap(), [b"ab".as_slice(), b""]);
    }

    #[test]
    fn a_bundle_holds_as_many_entries_as_its_path_says() {
        let bytes = [0, 1, b'a', 0, 1, b'b'];
        for width in [1, 3] {
            let bundle = Bundle::new(0, width).unwrap();
            assert_eq!(
                bundle.decode(&bytes),
                Err(BundleError::WrongCount { wanted: width })
            );
        }
        assert_eq!(
            Bundle::new(0, 2).unwrap().decode(&bytes[..5]),
            Err(BundleError::Truncated)
        );
    }

    #[test]
    fn an_entry_too_long_is_refused() {
        let long = vec![0; MAX_ENTRY_BYTES + 1];
        let bundle = Bundle::new(0, 1).unwrap();
        assert!(bundle.encode(&[&long[1..]]).is_ok());
        assert_eq!(
            bundle.encode(&[&long]),
            Err(BundleError::EntryTooLong { bytes: 65_536 })
        );
    }

    #[test]
    fn paths_are_spelled_as_the_specification_says() {
        let bundle = Bundle::new(1_234_067, 3).unwrap();
        assert_eq!(bundle.to_string(), "tile/entries/x001/x234/067.p/3");
        assert_eq!(bundle.to_string().parse(), Ok(bundle));
        assert!("tile/entries/000.p/0".parse::<Bundle>().is_err());
    }
}
