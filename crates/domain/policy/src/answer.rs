//! Answers, so written that a person knows what to change.

use std::fmt;

use estate::RuleId;
use serde::Serialize;

/// What the rules say to one request.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(transparent)]
#[must_use]
pub struct Evaluation(pub(crate) Outcome);

#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub(crate) enum Outcome {
    Allowed(Vec<RuleId>),
    Denied(DeniedBy),
}

/// Why the rules say no.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(tag = "by", rename_all = "kebab-case")]
#[non_exhaustive]
pub enum DeniedBy {
    /// A guardrail forbids it.
    Guardrail {
        /// The guardrail.
        rule: RuleId,
        /// What it misses, in words; empty for a guardrail of the estate's own.
        lacks: Vec<String>,
    },
    /// A rule of the data set forbids it.
    Forbid {
        /// The rule.
        rule: RuleId,
    },
    /// No rule permits it.
    Default {
        /// The permit that came nearest.
        nearest: Option<RuleId>,
        /// The conditions of that permit that do not hold.
        lacks: Vec<String>,
    },
    /// A rule could not be evaluated, so nothing is known for sure.
    Errored {
        /// The rule.
        rule: Option<RuleId>,
    },
    /// The estate has no such thing.
    Unknown {
        /// What was asked for.
        target: String,
    },
}

impl Evaluation {
    /// The rules that permit it, or why not.
    ///
    /// # Errors
    /// [`DeniedBy`]: not a fault, but an answer.
    pub fn outcome(self) -> Result<Vec<RuleId>, DeniedBy> {
        match self.0 {
            Outcome::Allowed(rules) => Ok(rules),
            Outcome::Denied(why) => Err(why),
        }
    }

    /// Whether it is permitted.
    #[must_use]
    pub fn is_allowed(&self) -> bool {
        matches!(self.0, Outcome::Allowed(_))
    }

    /// The rules that permit it; none for a denial.
    #[must_use]
    pub fn rules(&self) -> &[RuleId] {
        match &self.0 {
            Outcome::Allowed(rules) => rules,
            Outcome::Denied(_) => &[],
        }
    }

    /// Why not; `None` for a permit.
    #[must_use]
    pub fn denied_by(&self) -> Option<&DeniedBy> {
        match &self.0 {
            Outcome::Allowed(_) => None,
            Outcome::Denied(why) => Some(why),
        }
    }
}

impl fmt::Display for Evaluation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.0 {
            Outcome::Allowed(rules) => {
                let rules: Vec<String> = rules.iter().map(|rule| format!("`{rule}`")).collect();
                write!(f, "permitted by {}", rules.join(", "))
            }
            Outcome::Denied(why) => write!(f, "denied: {why}"),
        }
    }
}

impl DeniedBy {
    /// The rule that decided, or the word `default` where none did.
    #[must_use]
    pub fn rule(&self) -> Option<&RuleId> {
        match self {
            Self::Guardrail { rule, .. } | Self::Forbid { rule } => Some(rule),
            Self::Errored { rule } => rule.as_ref(),
            Self::Default { .. } | Self::Unknown { .. } => None,
        }
    }
}

impl fmt::Display for DeniedBy {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Guardrail { rule, lacks } if lacks.is_empty() => write!(f, "`{rule}` forbids it"),
            Self::Guardrail { rule, lacks } => {
                write!(f, "`{rule}` forbids it: {}", lacks.join("; "))
            }
            Self::Forbid { rule } => write!(f, "`{rule}` forbids it"),
            Self::Default { nearest: None, .. } => f.write_str("no rule permits it"),
            Self::Default {
                nearest: Some(rule),
                lacks,
            } => {
                write!(
                    f,
                    "no rule permits; nearest is `{rule}`, which lacks {}",
                    lacks.join(" and ")
                )
            }
            Self::Errored { rule: Some(rule) } => write!(f, "`{rule}` could not be evaluated"),
            Self::Errored { rule: None } => f.write_str("the rules could not be evaluated"),
            Self::Unknown { target } => write!(f, "the estate has no {target}"),
        }
    }
}
