//! `identities.toml`: paths of SPIFFE ids as templates over measured attributes, so nobody registers workloads.

use std::fmt;
use std::str::FromStr;

use serde::{Serialize, Serializer};

use crate::read::{Table, Value, document};
use crate::source::{EstateError, Source, most_similar};
use crate::{ClusterName, ImageSetName, LocationName, NodeName, Span};

/// How the identity of a workload is made, if this template applies.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Identity {
    /// The path.
    pub path: PathTemplate,
    /// How long an X.509-SVID lives.
    pub x509_ttl: Span,
    /// How long a JWT-SVID lives.
    pub jwt_ttl: Span,
}

/// A measured attribute that a path may hold.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Variable {
    /// The node's own location.
    Location,
    /// The nearest country that the node is in.
    LocationCountry,
    /// The nearest region or country that the node is in.
    LocationRegion,
    /// The data centre that the node is in.
    LocationDatacenter,
    /// The rack that the node is in.
    LocationRack,
    /// The node's cluster.
    Cluster,
    /// The node.
    Node,
    /// The image set.
    Image,
    /// The pod's namespace.
    PodNamespace,
    /// The pod's service account.
    PodServiceAccount,
    /// The pod's name.
    PodName,
}

/// A path with variables, such as `/cluster/{cluster}/image/{image}`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PathTemplate(Vec<Part>);

#[derive(Debug, Clone, PartialEq, Eq)]
enum Part {
    Fixed(String),
    Variable(Variable),
}

/// What is measured of a workload as far as its identity tells it.
#[derive(Debug, Clone, Default)]
pub struct IdentityFacts {
    /// The node's location.
    pub location: Option<LocationName>,
    /// The node's cluster.
    pub cluster: Option<ClusterName>,
    /// The node.
    pub node: Option<NodeName>,
    /// The image set, if the image is in one.
    pub image: Option<ImageSetName>,
    /// The pod's namespace.
    pub namespace: Option<String>,
    /// The pod's service account.
    pub service_account: Option<String>,
    /// The pod's name.
    pub pod: Option<String>,
}

/// A text is no template of a path.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum PathTemplateError {
    /// Fault: the writer.
    #[error(
        "a path begins with `/`, and each part is a word of letters, digits, `.`, `_`, `-`, or one `{{variable}}`"
    )]
    Shape,
    /// Fault: the writer.
    #[error("unknown variable `{{{}}}`{}", .0.escape_debug(), .1.as_ref().map_or(String::new(), |near| format!("; did you mean `{{{near}}}`?")))]
    Variable(String, Option<String>),
    /// Fault: the writer. Nodes, servers and the unmeasured have ids that no workload may get.
    #[error(
        "a path begins with a fixed word, and `{0}` is kept for others than measured workloads"
    )]
    Reserved(String),
}

impl Variable {
    /// The variable as it stands between braces.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        VARIABLES
            .iter()
            .find(|(_, variable)| *variable == self)
            .map_or("", |(name, _)| name)
    }
}

impl PathTemplate {
    /// The path for the values that `value_of` knows; `None` when one is missing or can't stand in a SPIFFE id.
    #[must_use]
    pub fn render(&self, value_of: impl Fn(Variable) -> Option<String>) -> Option<String> {
        let mut path = String::new();
        for part in &self.0 {
            path.push('/');
            match part {
                Part::Fixed(word) => path.push_str(word),
                Part::Variable(variable) => {
                    path.push_str(&value_of(*variable).filter(|value| is_segment(value))?)
                }
            }
        }
        Some(path)
    }

    /// Whether the path tells the image set.
    #[must_use]
    pub fn tells_image(&self) -> bool {
        self.0.contains(&Part::Variable(Variable::Image))
    }
}

impl FromStr for PathTemplate {
    type Err = PathTemplateError;

    fn from_str(text: &str) -> Result<Self, PathTemplateError> {
        let rest = text
            .strip_prefix('/')
            .filter(|rest| rest.len() <= MAX_PATH)
            .ok_or(PathTemplateError::Shape)?;
        let parts: Vec<Part> = rest.split('/').map(part).collect::<Result<_, _>>()?;
        match parts.first() {
            Some(Part::Fixed(word)) if !RESERVED.contains(&word.as_str()) => Ok(Self(parts)),
            Some(Part::Fixed(word)) => Err(PathTemplateError::Reserved(word.clone())),
            Some(Part::Variable(variable)) => Err(PathTemplateError::Reserved(format!(
                "{{{}}}",
                variable.as_str()
            ))),
            None => Err(PathTemplateError::Shape),
        }
    }
}

impl fmt::Display for PathTemplate {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for part in &self.0 {
            match part {
                Part::Fixed(word) => write!(f, "/{word}")?,
                Part::Variable(variable) => write!(f, "/{{{}}}", variable.as_str())?,
            }
        }
        Ok(())
    }
}

impl Serialize for PathTemplate {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

pub(crate) fn parse(source: Source<'_>) -> Result<Vec<Identity>, EstateError> {
    document(source, &["identity"], |top| {
        let Some(list) = top.find("identity") else {
            return Ok(Vec::new());
        };
        list.list()?
            .iter()
            .map(|item| identity(&item.table_of(&["path", "ttl"])?))
            .collect()
    })
}

fn identity(table: &Table<'_>) -> Result<Identity, EstateError> {
    let path = table.need("path")?.parse()?;
    let ttl = table
        .find("ttl")
        .map(|value| value.table_of(&["x509", "jwt"]))
        .transpose()?;
    let length = |key: &str, usual: Span, longest: Span| match ttl
        .as_ref()
        .and_then(|table| table.find(key))
    {
        Some(value) => bounded(&value, longest),
        None => Ok(usual),
    };
    Ok(Identity {
        path,
        x509_ttl: length("x509", Span::hours(1), Span::hours(24))?,
        jwt_ttl: length("jwt", Span::minutes(5), Span::hours(1))?,
    })
}

fn bounded(value: &Value<'_>, longest: Span) -> Result<Span, EstateError> {
    let span: Span = value.parse()?;
    if span.seconds() == 0 || span > longest {
        return Err(value.malformed(&format!("more than 0 and at most {longest} is wanted")));
    }
    Ok(span)
}

fn part(text: &str) -> Result<Part, PathTemplateError> {
    let Some(inner) = text
        .strip_prefix('{')
        .and_then(|rest| rest.strip_suffix('}'))
    else {
        return if is_segment(text) {
            Ok(Part::Fixed(text.to_owned()))
        } else {
            Err(PathTemplateError::Shape)
        };
    };
    let known = VARIABLES.iter().find(|(name, _)| *name == inner);
    known
        .map(|(_, variable)| Part::Variable(*variable))
        .ok_or_else(|| {
            let near = most_similar(inner, VARIABLES.iter().map(|(name, _)| *name));
            PathTemplateError::Variable(inner.chars().take(64).collect(), near)
        })
}

//= SPIFFE-ID section 2.2: letters, digits, dots, dashes and underscores; no relative parts
fn is_segment(text: &str) -> bool {
    let plain = |c: char| c.is_ascii_alphanumeric() || matches!(c, '.' | '_' | '-');
    !text.is_empty()
        && text.len() <= MAX_SEGMENT
        && text != "."
        && text != ".."
        && text.chars().all(plain)
}

const MAX_PATH: usize = 1024;
const MAX_SEGMENT: usize = 255;

/// First words of ids that are not made from templates.
const RESERVED: [&str; 5] = ["node", "server", "agent", "authority", "unmeasured"];

const VARIABLES: [(&str, Variable); 11] = [
    ("location", Variable::Location),
    ("location.country", Variable::LocationCountry),
    ("location.region", Variable::LocationRegion),
    ("location.datacenter", Variable::LocationDatacenter),
    ("location.rack", Variable::LocationRack),
    ("cluster", Variable::Cluster),
    ("node", Variable::Node),
    ("image", Variable::Image),
    ("pod.namespace", Variable::PodNamespace),
    ("pod.service_account", Variable::PodServiceAccount),
    ("pod.name", Variable::PodName),
];

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_template_renders_what_was_measured() {
        let template: PathTemplate = "/region/{location.region}/cluster/{cluster}"
            .parse()
            .unwrap();
        let path = template.render(|variable| match variable {
            Variable::LocationRegion => Some("US".into()),
            Variable::Cluster => Some("hipaaCluster".into()),
            _ => None,
        });
        assert_eq!(path.as_deref(), Some("/region/US/cluster/hipaaCluster"));
        assert_eq!(template.render(|_| None), None);
        assert_eq!(template.to_string().parse(), Ok(template));
    }

    #[test]
    fn a_measured_value_can_not_climb_or_add_parts() {
        let template: PathTemplate = "/ns/{pod.namespace}".parse().unwrap();
        for value in ["..", ".", "", "a/b", "a%2fb", "a b", "é"] {
            assert_eq!(template.render(|_| Some(value.to_owned())), None, "{value}");
        }
    }

    #[test]
    fn a_template_can_not_imitate_a_node_or_use_what_is_not_known() {
        for text in [
            "/node/{cluster}",
            "/{cluster}/x",
            "/unmeasured/x",
            "/server",
            "x",
            "/",
            "//x",
            "/x/",
            "/x/../y",
        ] {
            assert!(text.parse::<PathTemplate>().is_err(), "{text}");
        }
        let error = "/x/{pod.serviceaccount}"
            .parse::<PathTemplate>()
            .unwrap_err();
        assert_eq!(
            error.to_string(),
            "unknown variable `{pod.serviceaccount}`; did you mean `{pod.service_account}`?"
        );
        for text in [
            "/x/{",
            "/x/}",
            "/x/a{cluster}",
            "/x/{cluster}{node}",
            "/x/{}",
        ] {
            assert!(text.parse::<PathTemplate>().is_err(), "{text}");
        }
    }
}
