//! `tests/*.toml`: what the rules must permit and deny, and what must never be.

use std::fmt;
use std::str::FromStr;

use serde::{Serialize, Serializer};

use crate::read::{Table, Value, document};
use crate::source::{EstateError, Source};
use crate::{
    Assurance, ClusterName, CredentialName, DataSetName, ImageSetName, LocationName, NodeName,
    RuleId, SecretName, Span,
};

/// One file of tests.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct TestFile {
    /// The file.
    pub path: String,
    /// Examples.
    pub tests: Vec<Case>,
    /// What no machine and image of the estate may get.
    pub nevers: Vec<Never>,
}

/// A question: an action and what it is done to.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct Ask {
    /// `open`, `start`, `read`, `lease` or `issue`.
    pub verb: String,
    /// What is asked for.
    pub object: AskObject,
}

/// What can be asked for; written `Credential::"NAME"` or `credential/NAME`.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub enum AskObject {
    /// The key of an image set's images.
    ImageKey(ImageSetName),
    /// A secret.
    Secret(SecretName),
    /// A credential.
    Credential(CredentialName),
    /// Anything of a data set.
    DataSet(DataSetName),
    /// An identity.
    Identity,
}

/// An example: facts, a question, an answer.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Case {
    /// What it shows.
    pub name: String,
    /// The question.
    pub ask: Ask,
    /// The facts.
    pub given: Given,
    /// The answer.
    pub want: Want,
}

/// Facts of an example; what is not given is the best that can be measured.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize)]
pub struct Given {
    /// The image set; none means an image in no set.
    pub image: Option<ImageSetName>,
    /// The node's name.
    pub node: Option<NodeName>,
    /// The node's location.
    pub location: Option<LocationName>,
    /// The node's cluster.
    pub cluster: Option<ClusterName>,
    /// Whether somebody had a hand inside.
    pub interactive: Option<bool>,
    /// Whether it runs as shipped.
    pub as_shipped: Option<bool>,
    /// Whether it has host-level power.
    pub privileged: Option<bool>,
    /// Whether the node's boot state was accepted.
    pub attested: Option<bool>,
    /// How well the place is known.
    pub assurance: Option<Assurance>,
    /// How old the quote is.
    pub age: Option<Span>,
}

/// The answer that an example expects.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Want {
    /// This rule permits it.
    Permit(RuleId),
    /// It is denied.
    Deny {
        /// By this rule or guardrail, or by `default`.
        by: RuleId,
        /// A condition that the nearest rule lacks.
        lacks: Option<String>,
    },
}

/// A release that must not exist.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Never {
    /// What it forbids, in words.
    pub name: String,
    /// The question that nobody may get a yes to.
    pub ask: Ask,
    /// Except those for whom this Cedar expression holds.
    pub unless: Option<String>,
}

/// A text asks nothing that is known.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error(
    "a question is open, start, read, lease or issue, and then ImageKey::\"…\", Secret::\"…\", Credential::\"…\", \
     DataSet::\"…\" (or credential/…) or Identity"
)]
pub struct AskError;

impl FromStr for Ask {
    type Err = AskError;

    fn from_str(text: &str) -> Result<Self, AskError> {
        let (verb, object) = text.split_once(' ').ok_or(AskError)?;
        if !VERBS.contains(&verb) {
            return Err(AskError);
        }
        Ok(Self {
            verb: verb.to_owned(),
            object: object.parse()?,
        })
    }
}

impl FromStr for AskObject {
    type Err = AskError;

    fn from_str(text: &str) -> Result<Self, AskError> {
        if text == "Identity" || text == "identity" {
            return Ok(Self::Identity);
        }
        let (kind, name) = match text.split_once("::") {
            Some((kind, quoted)) => (
                kind,
                quoted
                    .strip_prefix('"')
                    .and_then(|rest| rest.strip_suffix('"'))
                    .ok_or(AskError)?,
            ),
            None => text.split_once('/').ok_or(AskError)?,
        };
        match kind {
            "ImageKey" | "image" => name.parse().map(Self::ImageKey),
            "Secret" | "secret" => name.parse().map(Self::Secret),
            "Credential" | "credential" => name.parse().map(Self::Credential),
            "DataSet" | "dataset" => name.parse().map(Self::DataSet),
            _ => return Err(AskError),
        }
        .map_err(|_| AskError)
    }
}

impl fmt::Display for Ask {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} {}", self.verb, self.object)
    }
}

impl fmt::Display for AskObject {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::ImageKey(name) => write!(f, "ImageKey::\"{name}\""),
            Self::Secret(name) => write!(f, "Secret::\"{name}\""),
            Self::Credential(name) => write!(f, "Credential::\"{name}\""),
            Self::DataSet(name) => write!(f, "DataSet::\"{name}\""),
            Self::Identity => f.write_str("Identity"),
        }
    }
}

impl Serialize for Ask {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

pub(crate) fn parse(source: Source<'_>) -> Result<TestFile, EstateError> {
    document(source, &["ask", "test", "never"], |top| {
        let usual: Option<Ask> = top.find("ask").map(|value| value.parse()).transpose()?;
        let items = |key: &str| {
            top.find(key)
                .map_or_else(|| Ok(Vec::new()), |value| value.list())
        };
        let tests = items("test")?
            .iter()
            .map(|item| case(item, usual.as_ref()))
            .collect::<Result<_, _>>()?;
        let nevers = items("never")?
            .iter()
            .map(|item| never(item, usual.as_ref()))
            .collect::<Result<_, _>>()?;
        Ok(TestFile {
            path: source.path.to_owned(),
            tests,
            nevers,
        })
    })
}

fn case(item: &Value<'_>, usual: Option<&Ask>) -> Result<Case, EstateError> {
    let table = item.table_of(&["name", "ask", "given", "want"])?;
    Ok(Case {
        name: table.need("name")?.line()?,
        ask: ask(&table, usual)?,
        given: table
            .find("given")
            .map(|value| given(&value))
            .transpose()?
            .unwrap_or_default(),
        want: want(&table.need("want")?)?,
    })
}

fn never(item: &Value<'_>, usual: Option<&Ask>) -> Result<Never, EstateError> {
    let table = item.table_of(&["name", "ask", "unless"])?;
    Ok(Never {
        name: table.need("name")?.line()?,
        ask: ask(&table, usual)?,
        unless: table.find("unless").map(|value| value.line()).transpose()?,
    })
}

fn ask(table: &Table<'_>, usual: Option<&Ask>) -> Result<Ask, EstateError> {
    match (table.find("ask"), usual) {
        (None, Some(usual)) => Ok(usual.clone()),
        _ => table.need("ask")?.parse(),
    }
}

fn given(value: &Value<'_>) -> Result<Given, EstateError> {
    let table = value.table_of(&[
        "image",
        "node",
        "location",
        "cluster",
        "interactive",
        "as_shipped",
        "privileged",
        "attested",
        "assurance",
        "age",
    ])?;
    let flag = |key: &str| table.find(key).map(|value| value.boolean()).transpose();
    let assurance = |value: Value<'_>| {
        Assurance::try_from(value.integer::<u8>()?)
            .map_err(|error| value.malformed(&error.to_string()))
    };
    Ok(Given {
        image: table.find("image").map(|value| value.parse()).transpose()?,
        node: table.find("node").map(|value| value.parse()).transpose()?,
        location: table
            .find("location")
            .map(|value| value.parse())
            .transpose()?,
        cluster: table
            .find("cluster")
            .map(|value| value.parse())
            .transpose()?,
        interactive: flag("interactive")?,
        as_shipped: flag("as_shipped")?,
        privileged: flag("privileged")?,
        attested: flag("attested")?,
        assurance: table.find("assurance").map(assurance).transpose()?,
        age: table.find("age").map(|value| value.parse()).transpose()?,
    })
}

fn want(value: &Value<'_>) -> Result<Want, EstateError> {
    let table = value.table_of(&["permit", "deny", "lacks"])?;
    match (
        table.find("permit"),
        table.find("deny"),
        table.find("lacks"),
    ) {
        (Some(permit), None, None) => Ok(Want::Permit(permit.parse()?)),
        (None, Some(deny), lacks) => Ok(Want::Deny {
            by: deny.parse()?,
            lacks: lacks.map(|value| value.line()).transpose()?,
        }),
        _ => Err(value.malformed("either `permit`, or `deny` and perhaps `lacks` are wanted")),
    }
}

const VERBS: [&str; 5] = ["open", "start", "read", "lease", "issue"];

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn both_ways_of_asking_mean_the_same() {
        let cedar: Ask = "lease Credential::\"cloudant/medical-records\""
            .parse()
            .unwrap();
        assert_eq!(
            "lease credential/cloudant/medical-records".parse(),
            Ok(cedar.clone())
        );
        assert_eq!(cedar.to_string().parse(), Ok(cedar));
        assert_eq!(
            "issue Identity".parse::<Ask>().unwrap().object,
            AskObject::Identity
        );
    }

    #[test]
    fn other_questions_are_refused() {
        for text in [
            "",
            "lease",
            "steal Secret::\"a\"",
            "lease Person::\"a\"",
            "read Secret::\"a\"b\"",
            "read Secret::a",
            "read secret/",
        ] {
            assert!(text.parse::<Ask>().is_err(), "{text}");
        }
    }
}
