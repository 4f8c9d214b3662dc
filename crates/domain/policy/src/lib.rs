//! Decides: rules over measured properties, with guardrails that come with the program.
//!
//! Default is deny, and an error is a denial. One evaluation, [`Policies::evaluate`], answers requests, the estate's
//! tests and questions alike; it sees [`Facts`] only, in which what was not measured is absent. The one proof minted
//! here is [`Permit`].

mod answer;
mod changes;
mod compare;
mod error;
mod explain;
mod facts;
mod fleet;
mod kinds;
mod names;
mod permit;
mod policies;
mod probe;
mod question;
mod rules;
mod shortcomings;
mod slices;
mod target;
mod trials;
mod vocabulary;

pub use answer::{DeniedBy, Evaluation};
pub use changes::changes_between;
pub use compare::{RuleChange, Shift};
pub use error::PolicyError;
pub use explain::Explanation;
pub use facts::{Facts, Measured};
pub use fleet::{Row, WhoCan};
pub use kinds::{Issue, Kind, Lease, Open, PrincipalKind, Read, Request, Start};
pub use permit::{Basis, ConnectionPermit, Denial, DenialReason, Permit, Subject, Verdict};
pub use policies::Policies;
pub use rules::GUARDRAILS;
pub use target::Target;
pub use trials::{TestReport, TestResult, TestVerdict};
pub use vocabulary::SCHEMA;
