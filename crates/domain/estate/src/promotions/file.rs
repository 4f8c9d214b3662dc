//! The file: read strictly, each statement verified, and written.

use std::collections::{BTreeMap, BTreeSet};

use dsse::Envelope;
use jose::strict_json;
use serde::{Deserialize, Serialize, Serializer};
use serde_json::value::RawValue;

use super::{DIRECTORY, Entry, PromotionError, Promotions, error, promotion};
use crate::images::ImageSet;
use crate::source::{Conflict, EstateError, Problem, Source, most_similar};
use crate::{Digest, ImageSetName, Timestamp};

/// Reads the files into sets that were read before.
pub(crate) fn parse<'s, 't: 's>(
    sources: impl Iterator<Item = &'s Source<'t>>,
    images: &mut BTreeMap<ImageSetName, ImageSet>,
    keys: &BTreeMap<String, String>,
) -> Result<BTreeMap<ImageSetName, Promotions>, EstateError> {
    let mut all = BTreeMap::new();
    for source in sources {
        let promotions = file(source, images, keys)?;
        if let Some(set) = images.get_mut(&promotions.set) {
            set.promoted = promotions.standing(set).cloned().collect();
            set.retired.clone_from(&promotions.retired);
            no_shared_image(source, &promotions.set, images)?;
        }
        all.insert(promotions.set.clone(), promotions);
    }
    Ok(all)
}

fn file(
    source: &Source<'_>,
    images: &BTreeMap<ImageSetName, ImageSet>,
    keys: &BTreeMap<String, String>,
) -> Result<Promotions, EstateError> {
    let name = source.path.trim_start_matches(DIRECTORY);
    let name = name.trim_end_matches(".json");
    let name: ImageSetName = name
        .parse()
        .map_err(|error| malformed(source, "the file's name", error::chain(&error)))?;
    let json = read(source)?;
    let entries = match images.get(&name) {
        Some(set) => entries(source, &json, set, keys)?,
        // Of a set that went, floor and retired images stay.
        None if json.promotions.is_empty() => Vec::new(),
        None => {
            let known = images.keys().map(ImageSetName::as_str);
            let problem = Problem::UnknownName {
                key: WHOLE.to_owned(),
                kind: "image set",
                nearest_name: most_similar(name.as_str(), known),
                name: name.to_string(),
            };
            return Err(source.error(0, problem));
        }
    };
    Ok(Promotions {
        set: name,
        floor: json.floor,
        entries,
        retired: json.retired.into_iter().collect(),
    })
}

/// The file's JSON, with all that holds for it whatever the set.
fn read(source: &Source<'_>) -> Result<FileJson, EstateError> {
    let json: FileJson = strict_json::from_str(source.text)
        .map_err(|error| malformed(source, WHOLE, error::chain(&error)))?;
    let retired: BTreeSet<&Digest> = json.retired.iter().collect();
    let too_large = |what, limit| Err(source.error(0, Problem::TooLarge { what, limit }));
    match () {
        () if json.version != 1 => Err(malformed(source, WHOLE, "`version` is not 1")),
        () if retired.len() != json.retired.len() => {
            Err(malformed(source, WHOLE, "an image is retired twice"))
        }
        () if retired.len() > Promotions::MOST_RETIRED => {
            too_large("the list of retired images", Promotions::MOST_RETIRED)
        }
        () if json.promotions.len() > Promotions::MOST => {
            too_large("the list of promotions", Promotions::MOST)
        }
        () => Ok(json),
    }
}

fn entries(
    source: &Source<'_>,
    json: &FileJson,
    set: &ImageSet,
    keys: &BTreeMap<String, String>,
) -> Result<Vec<Entry>, EstateError> {
    let mut entries = Vec::new();
    let mut last = 0;
    for (number, entry) in json.promotions.iter().enumerate() {
        let key = format!("promotion {}", number + 1);
        let entry = entry_of(entry, set, keys)
            .map_err(|error| malformed(source, &key, error::chain(&error)))?;
        if entry.promoted.revision <= last {
            let reason = "its revision is not above that of the one before";
            return Err(malformed(source, &key, reason));
        }
        last = entry.promoted.revision;
        entries.push(entry);
    }
    if last > json.floor {
        let reason = "`floor` is below the newest revision";
        return Err(malformed(source, WHOLE, reason));
    }
    Ok(entries)
}

fn malformed(source: &Source<'_>, key: &str, reason: impl Into<String>) -> EstateError {
    let (key, reason) = (key.to_owned(), reason.into());
    source.error(0, Problem::Malformed { key, reason })
}

fn entry_of(
    json: &EntryJson,
    set: &ImageSet,
    keys: &BTreeMap<String, String>,
) -> Result<Entry, PromotionError> {
    let envelope = Envelope::parse(json.envelope.get())
        .map_err(|source| PromotionError::Envelope { source })?;
    let promoted = promotion::verify(&envelope, set, keys, json.at)?;
    Ok(Entry { promoted, envelope })
}

/// One image can't be two applications, promoted or listed.
fn no_shared_image(
    source: &Source<'_>,
    name: &ImageSetName,
    images: &BTreeMap<ImageSetName, ImageSet>,
) -> Result<(), EstateError> {
    let Some(set) = images.get(name) else {
        return Ok(());
    };
    let ours: BTreeSet<&Digest> = set.possible().collect();
    let other = images
        .values()
        .filter(|other| other.name != *name)
        .find(|other| other.possible().any(|config| ours.contains(config)));
    match other {
        None => Ok(()),
        Some(other) => Err(source.error(
            0,
            Problem::Conflict(Conflict::SharedImage {
                first: other.name.to_string(),
                second: name.to_string(),
            }),
        )),
    }
}

/// As the file says it.
impl Serialize for Promotions {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        #[derive(Serialize)]
        struct File<'a> {
            version: u8,
            floor: u64,
            promotions: Vec<One<'a>>,
            retired: &'a BTreeSet<Digest>,
        }
        #[derive(Serialize)]
        struct One<'a> {
            at: Timestamp,
            envelope: &'a Envelope,
        }
        let promotions = self.entries.iter().map(|entry| One {
            at: entry.promoted.at,
            envelope: &entry.envelope,
        });
        File {
            version: 1,
            floor: self.floor,
            promotions: promotions.collect(),
            retired: &self.retired,
        }
        .serialize(serializer)
    }
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct FileJson {
    version: u8,
    floor: u64,
    promotions: Vec<EntryJson>,
    retired: Vec<Digest>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct EntryJson {
    at: Timestamp,
    envelope: Box<RawValue>,
}

const WHOLE: &str = "the file";
