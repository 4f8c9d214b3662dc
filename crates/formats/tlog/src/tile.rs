//! The tree as immutable files of up to 256 hashes (c2sp.org/tlog-tiles, "Merkle Tree").

use std::fmt;
use std::str::FromStr;

use crate::text::decimal;
use crate::{BuildError, Hash, HashReader, MAX_TREE_SIZE, PlanError, stored_hash_index};

/// Hashes in a full tile.
pub(crate) const FULL_WIDTH: u16 = 256;
/// Levels of the tree between one tile and the next.
const HEIGHT: u8 = 8;
/// Tile levels that a tree of the greatest size has.
const LEVELS: u8 = 8;

/// One tile; shown and parsed as its path, `tile/<L>/<N>[.p/<W>]`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Tile {
    level: u8,
    index: u64,
    width: u16,
}

/// Why there is no such tile.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum TileError {
    /// Fault: whoever wrote the path.
    #[error("`{path}` is not the path of a tile")]
    Path {
        /// The path given.
        path: String,
    },
    /// Fault: the caller.
    #[error("no tree has a tile {index} at level {level}")]
    BeyondAnyTree {
        /// The level asked for.
        level: u8,
        /// The number asked for.
        index: u64,
    },
    /// Fault: the caller.
    #[error("a tile has 1 to 256 hashes, not {width}")]
    Width {
        /// The width asked for.
        width: u16,
    },
}

impl Tile {
    /// The tile at this level and place, of this width.
    ///
    /// # Errors
    /// When no tree has such a tile.
    pub fn new(level: u8, index: u64, width: u16) -> Result<Self, TileError> {
        if width == 0 || width > FULL_WIDTH {
            return Err(TileError::Width { width });
        }
        let beyond = TileError::BeyondAnyTree { level, index };
        if level >= LEVELS {
            return Err(beyond);
        }
        let end = index
            .checked_mul(FULL_WIDTH.into())
            .and_then(|first| first.checked_add(width.into()));
        match end {
            Some(end) if end <= MAX_TREE_SIZE >> (HEIGHT * level) => Ok(Self {
                level,
                index,
                width,
            }),
            _ => Err(beyond),
        }
    }

    /// The tiles to write when a log grows from `old` to `new` leaves, partial ones included.
    #[must_use]
    pub fn grown(old: u64, new: u64) -> Vec<Self> {
        let full = u64::from(FULL_WIDTH);
        let mut tiles = Vec::new();
        for level in 0..LEVELS {
            let (before, after) = (
                old >> (HEIGHT * level),
                new.min(MAX_TREE_SIZE) >> (HEIGHT * level),
            );
            if after <= before {
                break;
            }
            let complete = (before / full..after / full).map(|index| Self {
                level,
                index,
                width: FULL_WIDTH,
            });
            tiles.extend(complete);
            if let Ok(width @ 1..) = u16::try_from(after % full) {
                tiles.push(Self {
                    level,
                    index: after / full,
                    width,
                });
            }
        }
        tiles
    }

    /// The tile's level; zero holds the leaves' hashes.
    #[must_use]
    pub const fn level(&self) -> u8 {
        self.level
    }

    /// The tile's number within its level.
    #[must_use]
    pub const fn index(&self) -> u64 {
        self.index
    }

    /// How many hashes the tile holds.
    #[must_use]
    pub const fn width(&self) -> u16 {
        self.width
    }

    /// The stored hashes that the tile consists of, in order.
    #[must_use]
    pub fn indexes(&self) -> Vec<u64> {
        let first = self.index * u64::from(FULL_WIDTH);
        let places = first..first + u64::from(self.width);
        places
            .map(|place| stored_hash_index(HEIGHT * self.level, place))
            .collect()
    }

    /// The content of the tile's file: its hashes, one after the other.
    ///
    /// # Errors
    /// When the store does not answer.
    pub fn data<R: HashReader + ?Sized>(
        &self,
        reader: &R,
    ) -> Result<Vec<u8>, BuildError<R::Error>> {
        let hashes = reader.read(&self.indexes()).map_err(BuildError::Read)?;
        if hashes.len() != usize::from(self.width) {
            let (given, wanted) = (hashes.len(), usize::from(self.width));
            return Err(BuildError::Plan(PlanError::WrongCount { given, wanted }));
        }
        Ok(hashes.iter().flat_map(Hash::as_bytes).copied().collect())
    }
}

impl fmt::Display for Tile {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "tile/{}/{}",
            self.level,
            place_text(self.index, self.width)
        )
    }
}

impl FromStr for Tile {
    type Err = TileError;

    fn from_str(path: &str) -> Result<Self, TileError> {
        let malformed = || TileError::Path {
            path: path.to_owned(),
        };
        let (level, place) = path
            .strip_prefix("tile/")
            .and_then(|rest| rest.split_once('/'))
            .ok_or_else(malformed)?;
        let level = decimal(level)
            .and_then(|level| u8::try_from(level).ok())
            .ok_or_else(malformed)?;
        let (index, width) = parse_place(place).ok_or_else(malformed)?;
        Self::new(level, index, width)
    }
}

/// `x001/x234/067`, and `.p/<W>` behind it when the tile is partial.
pub(crate) fn place_text(index: u64, width: u16) -> String {
    let mut text = format!("{:03}", index % 1000);
    let mut rest = index / 1000;
    while rest > 0 {
        text = format!("x{:03}/{text}", rest % 1000);
        rest /= 1000;
    }
    if width < FULL_WIDTH {
        format!("{text}.p/{width}")
    } else {
        text
    }
}

/// Reads what [`place_text`] writes, and no other spelling of it.
pub(crate) fn parse_place(text: &str) -> Option<(u64, u16)> {
    let (number, width) = match text.split_once(".p/") {
        Some((number, width)) => (number, u16::try_from(decimal(width)?).ok()?),
        None => (text, FULL_WIDTH),
    };
    let digits: String = number.chars().filter(char::is_ascii_digit).collect();
    let index = digits.parse().ok()?;
    (place_text(index, width) == text).then_some((index, width))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn paths_are_spelled_as_the_specification_says() {
        assert_eq!(
            Tile::new(0, 1_234_067, 256).unwrap().to_string(),
            "tile/0/x001/x234/067"
        );
        assert_eq!(Tile::new(1, 0, 17).unwrap().to_string(), "tile/1/000.p/17");
    }

    #[test]
    fn other_spellings_are_refused() {
        for bad in [
            "",
            "tile",
            "tile/0",
            "tile/0/",
            "tile/0/0",
            "tile/00/000",
            "tile/0/x000/001",
            "tile/0/001/002",
            "tile/0/000.p/0",
            "tile/0/000.p/256",
            "tile/0/000.p/01",
            "tile/0/000.p",
            "tile/8/000",
            "tile/63/000",
            "tile/entries/000",
            "/tile/0/000",
            "tile/0/000/",
            "tile/0/x999/x999/x999/x999/x999/x999/999",
            "tile/7/x001/000",
        ] {
            assert!(bad.parse::<Tile>().is_err(), "`{bad}`");
        }
    }

    #[test]
    fn a_tree_of_70000_has_the_tiles_of_the_specification() {
        let tiles = Tile::grown(0, 70_000);
        let at = |level| tiles.iter().filter(move |tile| tile.level() == level);
        assert_eq!(at(0).filter(|tile| tile.width() == 256).count(), 273);
        assert_eq!(at(0).next_back().unwrap().to_string(), "tile/0/273.p/112");
        assert_eq!(at(1).map(Tile::width).collect::<Vec<_>>(), [256, 17]);
        assert_eq!(at(2).map(Tile::width).collect::<Vec<_>>(), [1]);
        assert_eq!(at(3).count(), 0);
    }

    #[test]
    fn a_tree_of_256_has_a_full_tile_and_a_partial_one_above() {
        let paths: Vec<String> = Tile::grown(255, 256).iter().map(Tile::to_string).collect();
        assert_eq!(paths, ["tile/0/000", "tile/1/000.p/1"]);
        assert_eq!(Tile::grown(256, 256), []);
    }
}
