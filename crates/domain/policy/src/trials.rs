//! Runs the estate's own tests: examples, and what must never be.

use std::fmt;
use std::str::FromStr;
use std::time::Duration;

use cedar_policy::{EvalResult, Expression, eval_expression};
use estate::{Assurance, Case, Digest, Epoch, Given, Never, Timestamp, Want};
use evidence::{Attestor, Interactive, NodeFacts, Strength};

use crate::Policies;
use serde::Serialize;

use crate::answer::{DeniedBy, Evaluation};
use crate::facts::{Facts, Measured};
use crate::fleet::{Row, action_of, conceivable};
use crate::rules::DEFAULT;

/// The results of all tests.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct TestReport {
    /// In the order of files and tests.
    pub results: Vec<TestResult>,
}

/// The result of one test.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct TestResult {
    /// The file.
    pub file: String,
    /// The test's name.
    pub name: String,
    /// How it went.
    pub verdict: TestVerdict,
}

/// How a test went.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum TestVerdict {
    /// As wanted; for a `never`, over so many combinations.
    Passed {
        /// How many evaluations were made.
        asked: usize,
    },
    /// Otherwise.
    Failed {
        /// What was wanted and what came, as a person reads it.
        why: String,
    },
}

impl TestReport {
    /// Whether every test passed.
    #[must_use]
    pub fn passed(&self) -> bool {
        self.results
            .iter()
            .all(|result| matches!(result.verdict, TestVerdict::Passed { .. }))
    }
}

impl Policies {
    /// Runs all tests of the estate.
    #[must_use]
    pub fn test(&self, now: Timestamp) -> TestReport {
        let mut results = Vec::new();
        for file in self.estate().tests() {
            let result = |name: &String, verdict| TestResult {
                file: file.path.clone(),
                name: name.clone(),
                verdict,
            };
            results.extend(
                file.tests
                    .iter()
                    .map(|case| result(&case.name, self.example(case, now))),
            );
            results.extend(
                file.nevers
                    .iter()
                    .map(|never| result(&never.name, self.never(never, now))),
            );
        }
        TestReport { results }
    }

    fn example(&self, case: &Case, now: Timestamp) -> TestVerdict {
        let Some(action) = action_of(&case.ask) else {
            return failed("nothing that can be asked");
        };
        let targets = self.targets(action, &case.ask.object);
        if targets.is_empty() {
            return failed(format!(
                "{}: the estate has nothing that this could be asked for",
                case.ask
            ));
        }
        let facts = match self.given(&case.given, action == evidence::Action::Open, now) {
            Ok(facts) => facts,
            Err(why) => return failed(why),
        };
        for target in &targets {
            let answer = self.evaluate(&facts, action, target, now);
            if let Err(why) = compare(&case.want, &answer) {
                return failed(format!("{}: {why}", target));
            }
        }
        TestVerdict::Passed {
            asked: targets.len(),
        }
    }

    fn never(&self, never: &Never, now: Timestamp) -> TestVerdict {
        let unless = match never
            .unless
            .as_deref()
            .map(Expression::from_str)
            .transpose()
        {
            Ok(unless) => unless,
            Err(error) => return failed(format!("`unless` is not an expression: {error}")),
        };
        let seats = conceivable(self.estate());
        let rows = self.ask_fleet(&seats, &never.ask, now);
        if rows.is_empty() {
            return failed(format!(
                "{}: nobody is there to ask, so nothing was shown",
                never.ask
            ));
        }
        for (seat, row) in rows.iter().filter(|(_, row)| row.evaluation.is_allowed()) {
            let facts = self.facts_at(seat, row.image.as_ref(), now);
            if !unless
                .as_ref()
                .is_some_and(|unless| self.holds(unless, row, &facts, now))
            {
                return failed(row.to_string());
            }
        }
        TestVerdict::Passed { asked: rows.len() }
    }

    fn holds(&self, unless: &Expression, row: &Row, facts: &Facts, now: Timestamp) -> bool {
        let Some(question) = self.question(facts, row.action, &row.target, now) else {
            return false;
        };
        matches!(
            eval_expression(&question.request, &question.entities, unless),
            Ok(EvalResult::Bool(true))
        )
    }

    /// Facts of an example; what is not given is the best that can be measured.
    fn given(&self, given: &Given, node_asks: bool, now: Timestamp) -> Result<Facts, String> {
        let estate = self.estate();
        let missing =
            |kind: &str, name: &dyn fmt::Display| Err(format!("the estate has no {kind} `{name}`"));
        match given {
            Given {
                node: Some(name), ..
            } if estate.node(name).is_none() => return missing("node", name),
            Given {
                location: Some(name),
                ..
            } if estate.location(name).is_none() => return missing("location", name),
            Given {
                cluster: Some(name),
                ..
            } if estate.cluster(name).is_none() => return missing("cluster", name),
            Given {
                image: Some(name), ..
            } if estate.image_set(name).is_none() => return missing("image set", name),
            _ => {}
        }
        let node = self.given_node(given, now)?;
        Ok(Facts {
            node,
            workload: (!node_asks).then(|| self.given_workload(given)),
        })
    }

    fn given_node(&self, given: &Given, now: Timestamp) -> Result<NodeFacts, String> {
        let listed = given
            .node
            .as_ref()
            .and_then(|name| self.estate().node(name));
        let boot = listed
            .and_then(|node| node.boot.clone())
            .or(stand_in("any").ok());
        Ok(NodeFacts {
            name: given
                .node
                .clone()
                .map_or_else(|| stand_in("any-other-node"), Ok)?,
            cluster: given
                .cluster
                .clone()
                .or_else(|| listed.map(|node| node.cluster.clone())),
            location: given
                .location
                .clone()
                .or_else(|| listed.map(|node| node.location.clone())),
            assurance: given.assurance.unwrap_or(Assurance::ENROLLED),
            attestor: Attestor::Tpm,
            boot: boot.filter(|_| given.attested.unwrap_or(true)),
            quoted_at: Some(now.minus(given.age.map_or(Duration::ZERO, estate::Span::duration))),
            epoch: Epoch::default(),
        })
    }

    fn given_workload(&self, given: &Given) -> Measured {
        let stranger = || Digest::of("an image in no set");
        let digest = given
            .image
            .as_ref()
            .map_or_else(stranger, |set| self.sample(set));
        let yes = given.interactive.unwrap_or(false);
        Measured {
            as_shipped: Some(given.as_shipped.unwrap_or(true)),
            privileged: Some(given.privileged.unwrap_or(false)),
            interactive: Some(Interactive {
                yes,
                strength: Strength::Strong,
            }),
            ..Measured::ideal(digest, given.image.clone())
        }
    }
}

fn stand_in<N: FromStr<Err: fmt::Display>>(name: &str) -> Result<N, String> {
    name.parse().map_err(|error: N::Err| error.to_string())
}

fn compare(want: &Want, answer: &Evaluation) -> Result<(), String> {
    let fits = match (want, answer.denied_by()) {
        (Want::Permit(rule), None) => answer.rules().contains(rule),
        (Want::Deny { by, lacks }, Some(why)) => {
            let decided = match why {
                DeniedBy::Default { .. } => by.as_str() == DEFAULT,
                other => other.rule() == Some(by),
            };
            let missing = match why {
                DeniedBy::Default { lacks, .. } | DeniedBy::Guardrail { lacks, .. } => {
                    lacks.as_slice()
                }
                _ => &[],
            };
            decided && lacks.as_ref().is_none_or(|wanted| missing.contains(wanted))
        }
        _ => false,
    };
    if fits {
        Ok(())
    } else {
        Err(format!("wanted {}, got {answer}", wanted(want)))
    }
}

fn wanted(want: &Want) -> String {
    match want {
        Want::Permit(rule) => format!("a permit by `{rule}`"),
        Want::Deny { by, lacks: None } => format!("a denial by `{by}`"),
        Want::Deny {
            by,
            lacks: Some(lacks),
        } => format!("a denial by `{by}` that lacks {lacks}"),
    }
}

fn failed(why: impl Into<String>) -> TestVerdict {
    TestVerdict::Failed { why: why.into() }
}

impl fmt::Display for TestReport {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for TestResult {
            file,
            name,
            verdict,
        } in &self.results
        {
            match verdict {
                TestVerdict::Passed { asked } => {
                    writeln!(f, "pass  {file}: {name} ({asked} asked)")?
                }
                TestVerdict::Failed { why } => writeln!(f, "FAIL  {file}: {name}\n      {why}")?,
            }
        }
        let failures = self
            .results
            .iter()
            .filter(|result| matches!(result.verdict, TestVerdict::Failed { .. }))
            .count();
        writeln!(f, "{} tests, {failures} failed", self.results.len())
    }
}
