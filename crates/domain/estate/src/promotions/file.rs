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
    let malformed =
        |key: String, reason: String| source.error(0, Problem::Malformed { key, reason });
    let whole = |reason: &str| malformed("the file".to_owned(), reason.to_owned());
    let name = source.path.trim_start_matches(DIRECTORY);
    let name = name.trim_end_matches(".json");
    let set: ImageSetName = name
        .parse()
        .map_err(|error| malformed("the file's name".to_owned(), error::chain(&error)))?;
    let json: FileJson =
        strict_json::from_str(source.text).map_err(|error| whole(&error::chain(&error)))?;
    let mut promotions = Promotions::none(set);
    promotions.floor = json.floor;
    promotions.retired = json.retired.iter().copied().collect();
    match () {
        () if json.version != 1 => return Err(whole("`version` is not 1")),
        () if promotions.retired.len() != json.retired.len() => {
            return Err(whole("an image is retired twice"));
        }
        () if promotions.retired.len() > Promotions::MOST_RETIRED => {
            return Err(source.error(
                0,
                bound("the list of retired images", Promotions::MOST_RETIRED),
            ));
        }
        () if json.promotions.len() > Promotions::MOST => {
            return Err(source.error(0, bound("the list of promotions", Promotions::MOST)));
        }
        () => {}
    }
    let Some(set) = images.get(&promotions.set) else {
        return if json.promotions.is_empty() {
            Ok(promotions)
        } else {
            let nearest_name = most_similar(name, images.keys().map(ImageSetName::as_str));
            let (key, name) = ("the file".to_owned(), name.to_owned());
            let kind = "image set";
            let problem = Problem::UnknownName {
                key,
                kind,
                name,
                nearest_name,
            };
            Err(source.error(0, problem))
        };
    };
    let mut last = 0;
    for (number, entry) in json.promotions.iter().enumerate() {
        let key = || format!("promotion {}", number + 1);
        let entry =
            entry_of(entry, set, keys).map_err(|error| malformed(key(), error::chain(&error)))?;
        if entry.promoted.revision <= last {
            let reason = "its revision is not above that of the one before";
            return Err(malformed(key(), reason.to_owned()));
        }
        last = entry.promoted.revision;
        promotions.entries.push(entry);
    }
    if last > promotions.floor {
        return Err(whole("`floor` is below the newest revision"));
    }
    Ok(promotions)
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

fn bound(what: &'static str, limit: usize) -> Problem {
    Problem::TooLarge { what, limit }
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
