//! Why a request is answered as it is, for a person to read.

use std::collections::BTreeMap;
use std::fmt;

use estate::{RuleId, Timestamp};
use evidence::{Action, Strength};
use serde::Serialize;

use crate::answer::Evaluation;
use crate::facts::{Facts, Measured};
use crate::{Policies, Target};

/// An answer with the facts it was made from and what each permit lacks.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Explanation {
    /// What was asked.
    pub question: String,
    /// The facts, a line each; what was not measured says so.
    pub facts: Vec<String>,
    /// The answer.
    pub evaluation: Evaluation,
    /// For each permit about the target the conditions that do not hold.
    pub permits: BTreeMap<RuleId, Vec<String>>,
}

impl Policies {
    /// Explains what [`Policies::evaluate`] answers.
    #[must_use]
    pub fn explain(
        &self,
        facts: &Facts,
        action: Action,
        target: &Target,
        now: Timestamp,
    ) -> Explanation {
        let dataset = match target {
            Target::ImageKey(name) => self.estate().image_set(name).map(|set| &set.dataset),
            Target::Secret(_, dataset) | Target::Credential(_, dataset) => Some(dataset),
            Target::Identity => None,
        };
        let dataset = dataset.and_then(|name| self.estate().dataset(name));
        let question = self.question(facts, action, target, now);
        Explanation {
            question: format!("{} {target}", action.as_str()),
            facts: self.lines(facts, now),
            evaluation: self.evaluate(facts, action, target, now),
            permits: question
                .map(|question| self.lacks(&question, action, dataset))
                .unwrap_or_default(),
        }
    }

    fn lines(&self, facts: &Facts, now: Timestamp) -> Vec<String> {
        let node = &facts.node;
        let places = node.location.as_ref().map(|location| {
            let names: Vec<String> = self
                .estate()
                .ancestors(location)
                .map(|place| place.name.to_string())
                .collect();
            names.join(" in ")
        });
        let age = node
            .quoted_at
            .and_then(|quoted| now.since(quoted))
            .map(|age| format!("{} s ago", age.as_secs()));
        let mut lines = vec![
            format!("node: {}", node.name),
            format!(
                "location: {}",
                or_not(places.filter(|names| !names.is_empty()))
            ),
            format!("cluster: {}", or_not(node.cluster.as_ref())),
            format!("assurance: {}", node.assurance),
            format!("boot profile: {}", or_not(node.boot.as_ref())),
            format!("quoted: {}", or_not(age)),
        ];
        if let Some(measured) = &facts.workload {
            lines.extend(workload_lines(measured));
        }
        lines
    }
}

fn workload_lines(measured: &Measured) -> Vec<String> {
    let shipped = measured.as_shipped.map(|yes| {
        if yes {
            "yes".to_owned()
        } else {
            format!("no: {}", measured.unshipped.join(", "))
        }
    });
    let interactive = measured.interactive.map(|interactive| {
        let strength = match interactive.strength {
            Strength::Weak => "weak",
            Strength::Strong => "strong",
        };
        format!("{} ({strength})", yes_or_no(interactive.yes))
    });
    vec![
        format!("image: {}", or_not(measured.image)),
        format!(
            "image set: {}",
            measured
                .image_set
                .as_ref()
                .map_or("none", |set| set.as_str())
        ),
        format!("as shipped: {}", or_not(shipped)),
        format!(
            "executable from the image: {}",
            or_not(measured.exe_from_image.map(yes_or_no))
        ),
        format!("interactive: {}", or_not(interactive)),
        format!("privileged: {}", or_not(measured.privileged.map(yes_or_no))),
    ]
}

fn or_not(value: Option<impl fmt::Display>) -> String {
    value.map_or_else(|| "not known".to_owned(), |value| value.to_string())
}

fn yes_or_no(yes: bool) -> &'static str {
    if yes { "yes" } else { "no" }
}

impl fmt::Display for Explanation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "{}\n{}", self.question, self.evaluation)?;
        for line in &self.facts {
            writeln!(f, "  {line}")?;
        }
        for (rule, lacks) in &self.permits {
            match lacks.is_empty() {
                true => writeln!(f, "  `{rule}` applies")?,
                false => writeln!(f, "  `{rule}` lacks {}", lacks.join(" and "))?,
            }
        }
        Ok(())
    }
}
