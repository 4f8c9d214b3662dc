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
        let Given {
            image,
            node,
            location,
            cluster,
            interactive,
            as_shipped,
            privileged,
            attested,
            assurance,
            age,
        } = given;
        let listed = match node {
            Some(name) => Some(
                estate
                    .node(name)
                    .ok_or_else(|| format!("the estate has no node `{name}`"))?,
            ),
            None => None,
        };
        let location = location
            .clone()
            .or_else(|| listed.map(|node| node.location.clone()));
        let cluster = cluster
            .clone()
            .or_else(|| listed.map(|node| node.cluster.clone()));
        if let Some(name) = location
            .as_ref()
            .filter(|name| estate.location(name).is_none())
        {
            return Err(format!("the estate has no location `{name}`"));
        }
        if let Some(name) = cluster
            .as_ref()
            .filter(|name| estate.cluster(name).is_none())
        {
            return Err(format!("the estate has no cluster `{name}`"));
        }
        if let Some(name) = image
            .as_ref()
            .filter(|name| estate.image_set(name).is_none())
        {
            return Err(format!("the estate has no image set `{name}`"));
        }
        let boot = attested.unwrap_or(true).then(|| {
            listed
                .and_then(|node| node.boot.clone())
                .or(stand_in("any").ok())
        });
        let node = NodeFacts {
            name: node
                .clone()
                .map_or_else(|| stand_in("any-other-node"), Ok)?,
            cluster,
            location,
            assurance: assurance.unwrap_or(Assurance::ENROLLED),
            attestor: Attestor::Tpm,
            boot: boot.flatten(),
            quoted_at: Some(now.minus(age.map_or(Duration::ZERO, estate::Span::duration))),
            epoch: Epoch::default(),
        };
        let digest = image
            .as_ref()
            .map_or_else(|| Digest::of("an image in no set"), |set| self.sample(set));
        let mut measured = Measured::ideal(digest, image.clone());
        measured.as_shipped = Some(as_shipped.unwrap_or(true));
        measured.privileged = Some(privileged.unwrap_or(false));
        measured.interactive = Some(Interactive {
            yes: interactive.unwrap_or(false),
            strength: Strength::Weak,
        });
        Ok(Facts {
            node,
            workload: (!node_asks).then_some(measured),
        })
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
