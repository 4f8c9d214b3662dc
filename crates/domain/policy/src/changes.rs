//! What differs between two versions, where the rules of a file are known better than its text tells.

use std::collections::BTreeSet;

use cedar_policy::Effect as RuleEffect;
use estate::{Change, Effect, ObjectKind, Verb, diff};
use serde_json::Value;

use crate::Policies;
use crate::rules::Rule;

/// What differs between two estates. A changed file of rules narrows when each of its permits stood there before and
/// each forbid still stands; it is neutral when only annotations, comments or the order differ; else it widens.
#[must_use]
pub fn changes_between(old: &Policies, new: &Policies) -> Vec<Change> {
    let refine = |change: Change| match (change.kind, change.verb) {
        (ObjectKind::Policy, Verb::Changed) => Change {
            effect: effect(&change.name, old, new).unwrap_or(Effect::Widening),
            ..change
        },
        _ => change,
    };
    diff(old.estate(), new.estate())
        .into_iter()
        .map(refine)
        .collect()
}

/// `None` when a rule can't be told apart from others.
fn effect(file: &str, old: &Policies, new: &Policies) -> Option<Effect> {
    let (before, after) = (Bodies::of(file, old)?, Bodies::of(file, new)?);
    if before == after {
        return Some(Effect::Neutral);
    }
    let gone = before.permits.difference(&after.permits);
    // An evaluation that errs is a denial, so a permit that may err may also have held others back.
    let none_held_back = gone.into_iter().all(|permit| is_total(permit));
    let narrower = after.permits.is_subset(&before.permits)
        && before.forbids.is_subset(&after.forbids)
        && none_held_back;
    Some(if narrower {
        Effect::Narrowing
    } else {
        Effect::Widening
    })
}

/// The rules of one file without annotations: what they mean, in a form that compares.
#[derive(Debug, PartialEq, Eq, Default)]
struct Bodies {
    permits: BTreeSet<String>,
    forbids: BTreeSet<String>,
}

impl Bodies {
    fn of(file: &str, policies: &Policies) -> Option<Self> {
        let mut bodies = Self::default();
        let in_file = |rule: &&Rule| match &rule.dataset {
            Some(dataset) => dataset.as_str() == file,
            None => file == "guardrails",
        };
        for rule in policies.rules().iter().filter(in_file) {
            let mut body = rule.policy.to_json().ok()?;
            body.as_object_mut()?.remove("annotations");
            match rule.effect {
                RuleEffect::Permit => bodies.permits.insert(body.to_string()),
                RuleEffect::Forbid => bodies.forbids.insert(body.to_string()),
            };
        }
        Some(bodies)
    }
}

/// Whether the rule consists of what can't err once it is validated: no arithmetic, no calculation with times.
fn is_total(body: &str) -> bool {
    fn known(value: &Value) -> bool {
        match value {
            Value::Object(object) => object
                .iter()
                .all(|(key, value)| TOTAL.contains(&key.as_str()) && known(value)),
            Value::Array(items) => items.iter().all(known),
            Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) => true,
        }
    }
    serde_json::from_str(body).is_ok_and(|body| known(&body))
}

/// Members of a rule's JSON form that are parts of its scope, or of expressions that always have a value. Constructors
/// of times and the like are among them, since the validator demands literals there and reads them.
const TOTAL: [&str; 48] = [
    "effect",
    "principal",
    "action",
    "resource",
    "op",
    "entity",
    "entities",
    "entity_type",
    "type",
    "id",
    "conditions",
    "kind",
    "body",
    "Value",
    "Var",
    "__entity",
    "left",
    "right",
    "arg",
    "attr",
    "pattern",
    "Literal",
    "==",
    "!=",
    "in",
    "is",
    "like",
    "<",
    "<=",
    ">",
    ">=",
    "&&",
    "||",
    "!",
    "has",
    ".",
    "if-then-else",
    "if",
    "then",
    "else",
    "Set",
    "contains",
    "containsAll",
    "containsAny",
    "isEmpty",
    "datetime",
    "duration",
    "decimal",
];
