//! Which file of an estate is which, told by its path.

use std::collections::{BTreeMap, BTreeSet};

use crate::source::{EstateError, Problem, Source, most_similar};

/// What a file is for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Room {
    People,
    DataSets,
    Inventory,
    Images,
    Promotions,
    Identities,
    Credentials,
    Policies,
    Tests,
    Events,
    Keys,
}

/// The files of an estate, sorted by what they are for.
#[derive(Debug)]
pub(crate) struct Files<'t>(BTreeMap<Room, Vec<Source<'t>>>);

impl<'t> Files<'t> {
    /// Refuses files that are unknown, doubled, or too many or too large to be meant.
    pub(crate) fn sort<P: AsRef<str>, T: AsRef<str>>(
        files: &'t [(P, T)],
    ) -> Result<Self, EstateError> {
        let mut sorted: BTreeMap<Room, Vec<Source<'t>>> = BTreeMap::new();
        let mut seen = BTreeSet::new();
        let mut total = 0_usize;
        for (path, text) in files {
            let source = Source {
                path: path.as_ref(),
                text: text.as_ref(),
            };
            let room = room_of(source.path).ok_or_else(|| {
                let nearest_path = most_similar(source.path, TOP.iter().map(|(name, _)| *name));
                source.error(0, Problem::UnknownFile { nearest_path })
            })?;
            if !seen.insert(source.path) {
                return Err(source.error(0, Problem::DoubledFile));
            }
            total = total.saturating_add(source.text.len());
            let bound = |what, limit| Err(source.error(0, Problem::TooLarge { what, limit }));
            match () {
                () if source.text.len() > MAX_FILE => return bound("the file", MAX_FILE),
                () if total > MAX_TOTAL => return bound("the estate", MAX_TOTAL),
                () if seen.len() > MAX_FILES => return bound("the number of files", MAX_FILES),
                () => sorted.entry(room).or_default().push(source),
            }
        }
        Ok(Self(sorted))
    }

    /// The files of a room.
    pub(crate) fn of(&self, room: Room) -> impl Iterator<Item = &Source<'t>> {
        self.0.get(&room).into_iter().flatten()
    }

    /// Reads the one file of a room; a file that is not there says nothing.
    pub(crate) fn read<V: Default>(
        &self,
        room: Room,
        read: impl FnOnce(Source<'t>) -> Result<V, EstateError>,
    ) -> Result<V, EstateError> {
        self.of(room)
            .next()
            .map_or_else(|| Ok(V::default()), |source| read(*source))
    }

    /// The texts of a room by path.
    pub(crate) fn texts(&self, room: Room) -> BTreeMap<String, String> {
        self.of(room)
            .map(|source| (source.path.to_owned(), source.text.to_owned()))
            .collect()
    }
}

fn room_of(path: &str) -> Option<Room> {
    if let Some((_, room)) = TOP.iter().find(|(name, _)| *name == path) {
        return Some(*room);
    }
    let (directory, name) = path.split_once('/')?;
    let plain = |name: &str| {
        !name.starts_with('.')
            && name.len() <= 128
            && name
                .chars()
                .all(|c| c.is_ascii_alphanumeric() || matches!(c, '.' | '_' | '-'))
    };
    match (
        directory,
        name.rsplit_once('.')
            .map(|(stem, ending)| (plain(stem) && !stem.is_empty(), ending)),
    ) {
        ("policies", Some((true, "cedar"))) => Some(Room::Policies),
        ("tests", Some((true, "toml"))) => Some(Room::Tests),
        ("events", Some((true, "toml"))) => Some(Room::Events),
        ("promotions", Some((true, "json"))) => Some(Room::Promotions),
        ("keys", _) if plain(name) && !name.is_empty() => Some(Room::Keys),
        _ => None,
    }
}

const TOP: [(&str, Room); 6] = [
    ("people.toml", Room::People),
    ("datasets.toml", Room::DataSets),
    ("inventory.toml", Room::Inventory),
    ("images.toml", Room::Images),
    ("identities.toml", Room::Identities),
    ("credentials.toml", Room::Credentials),
];

const MAX_FILE: usize = 4 * 1024 * 1024;
const MAX_TOTAL: usize = 32 * 1024 * 1024;
const MAX_FILES: usize = 4096;
