//! `images.toml`: named sets of images, and what may differ from an image while it still counts as shipped.
//!
//! The members of a set are the config digests under `digests` and the builds that were promoted by signed statement
//! (`promotions/`), but for those that were retired. A set that must be `signed` has no `digests`, and forgets: by `keep`
//! or `max_age`.

use std::collections::{BTreeMap, BTreeSet};
use std::str::FromStr;

use serde::Serialize;

use crate::inventory::key_file;
use crate::read::{Value, document};
use crate::run::{self, RunRules};
use crate::source::{Conflict, EstateError, Problem, Source};
use crate::{DataSetName, Digest, ImageSetName, People, Promoted, Span, TeamName, Timestamp};

/// Images that count as one application.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct ImageSet {
    /// Its name: also the recipient `bailiwick:NAME`, and `ImageSet::"NAME"` in rules.
    pub name: ImageSetName,
    /// The team that owns it.
    pub owner: TeamName,
    /// The data set whose rules open it.
    pub dataset: DataSetName,
    /// Where it is kept.
    pub repository: Option<String>,
    /// What an image must be to become a member.
    pub must_be: BTreeSet<Quality>,
    /// How many promoted builds stay members.
    pub keep: Option<u32>,
    /// How long a promoted build stays a member.
    pub max_age: Option<Span>,
    /// Config digests of the members.
    pub digests: BTreeSet<Digest>,
    /// Who may promote without a human.
    pub promoters: BTreeSet<Promoter>,
    /// What may differ from the image and still count as "as shipped".
    pub run: RunRules,
    /// Promoted builds that `keep` allows, newest first. Not written in `images.toml`: the server keeps them.
    #[serde(skip)]
    pub promoted: Vec<Promoted>,
    /// Images that were taken out, listed or promoted; kept by the server, too.
    #[serde(skip)]
    pub retired: BTreeSet<Digest>,
}

impl ImageSet {
    /// Whether the image with this config digest is a member at the time `now`.
    #[must_use]
    pub fn holds(&self, config: &Digest, now: Timestamp) -> bool {
        let promoted =
            |build: &Promoted| build.configs.contains(config) && build.is_fresh(self.max_age, now);
        !self.retired.contains(config)
            && (self.digests.contains(config) || self.promoted.iter().any(promoted))
    }

    /// All members at the time `now`.
    #[must_use]
    pub fn members(&self, now: Timestamp) -> BTreeSet<Digest> {
        self.possible()
            .filter(|config| self.holds(config, now))
            .copied()
            .collect()
    }

    /// All that are members at some time.
    pub(crate) fn possible(&self) -> impl Iterator<Item = &Digest> {
        let promoted = self.promoted.iter().flat_map(|build| &build.configs);
        self.digests
            .iter()
            .chain(promoted)
            .filter(|config| !self.retired.contains(config))
    }

    /// What keeps a set that must be signed from being one.
    fn unsigned(&self) -> Option<Conflict> {
        let name = self.name.to_string();
        match self.must_be.contains(&Quality::Signed) {
            true if !self.digests.is_empty() => Some(Conflict::ListedUnsigned(name)),
            true if self.keep.is_none() && self.max_age.is_none() => Some(Conflict::NoFloor(name)),
            true | false => None,
        }
    }

    /// Whether the image is a member at some time.
    pub(crate) fn may_hold(&self, config: &Digest) -> bool {
        self.possible().any(|member| member == config)
    }
}

/// What an image must be.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Quality {
    /// Its layers are encrypted.
    Encrypted,
    /// A promoter's signed statement made it a member; nothing that was only written down is one.
    Signed,
}

/// A text names no quality of images.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("`encrypted` or `signed` is wanted")]
pub struct QualityError;

impl FromStr for Quality {
    type Err = QualityError;

    fn from_str(text: &str) -> Result<Self, QualityError> {
        match text {
            "encrypted" => Ok(Self::Encrypted),
            "signed" => Ok(Self::Signed),
            _ => Err(QualityError),
        }
    }
}

/// Who may promote a build into a set.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Promoter {
    /// Whoever signs with the key in this file of the estate.
    Key(String),
    /// A pipeline that an issuer names.
    Pipeline {
        /// The issuer.
        issuer: String,
        /// The pipeline's exact name there.
        identity: String,
    },
}

/// What `images.toml` refers to.
pub(crate) struct Known<'a> {
    pub(crate) people: &'a People,
    pub(crate) datasets: Vec<&'a DataSetName>,
    pub(crate) keys: &'a BTreeMap<String, String>,
}

pub(crate) fn parse(
    source: Source<'_>,
    known: &Known<'_>,
) -> Result<BTreeMap<ImageSetName, ImageSet>, EstateError> {
    document(source, &["image"], |top| {
        let mut sets: BTreeMap<ImageSetName, ImageSet> = BTreeMap::new();
        for (name, value) in top.named_under::<ImageSetName>("image")? {
            let set = image_set(name, &value, known)?;
            if let Some(other) = sets
                .values()
                .find(|other| !other.digests.is_disjoint(&set.digests))
            {
                let (first, second) = (other.name.to_string(), set.name.to_string());
                return Err(value.error(Problem::Conflict(Conflict::SharedImage { first, second })));
            }
            sets.insert(set.name.clone(), set);
        }
        Ok(sets)
    })
}

fn image_set(
    name: ImageSetName,
    value: &Value<'_>,
    known: &Known<'_>,
) -> Result<ImageSet, EstateError> {
    let table = value.table_of(&[
        "owner",
        "dataset",
        "repository",
        "must_be",
        "keep",
        "max_age",
        "digests",
        "promoter",
        "run",
    ])?;
    let promoters = |value: Value<'_>| value.set(|item| promoter(item, known.keys));
    let set = ImageSet {
        name,
        owner: table
            .need("owner")?
            .name_of("team", known.people.teams.keys())?,
        dataset: table
            .need("dataset")?
            .name_of("data set", known.datasets.iter().copied())?,
        repository: table
            .find("repository")
            .map(|value| repository(&value))
            .transpose()?,
        must_be: table
            .find("must_be")
            .map(|value| value.set_of())
            .transpose()?
            .unwrap_or_default(),
        keep: table
            .find("keep")
            .map(|value| value.integer())
            .transpose()?,
        max_age: table
            .find("max_age")
            .map(|value| value.parse())
            .transpose()?,
        digests: table
            .find("digests")
            .map(|value| value.set_of())
            .transpose()?
            .unwrap_or_default(),
        promoters: table
            .find("promoter")
            .map(promoters)
            .transpose()?
            .unwrap_or_default(),
        run: table
            .find("run")
            .map(|value| run::parse(&value))
            .transpose()?
            .unwrap_or_default(),
        promoted: Vec::new(),
        retired: BTreeSet::new(),
    };
    match set.unsigned() {
        Some(conflict) => Err(value.error(Problem::Conflict(conflict))),
        None => Ok(set),
    }
}

fn repository(value: &Value<'_>) -> Result<String, EstateError> {
    let text = value.line()?;
    let allowed = |c: char| c.is_ascii_alphanumeric() || matches!(c, '.' | '-' | '_' | '/' | ':');
    if !text.contains('/') || !text.chars().all(allowed) {
        return Err(value.malformed(
            "a repository is wanted, such as `registry.example/app`, without tag or digest",
        ));
    }
    Ok(text)
}

fn promoter(value: &Value<'_>, keys: &BTreeMap<String, String>) -> Result<Promoter, EstateError> {
    let table = value.table_of(&["key", "issuer", "identity"])?;
    match (
        table.find("key"),
        table.find("issuer"),
        table.find("identity"),
    ) {
        (Some(key), None, None) => Ok(Promoter::Key(key_file(&key, keys)?)),
        (None, Some(issuer), Some(identity)) => Ok(Promoter::Pipeline {
            issuer: crate::people::issuer(&issuer)?,
            identity: identity.line()?,
        }),
        _ => Err(value.malformed("either `key`, or `issuer` and `identity` are wanted")),
    }
}
